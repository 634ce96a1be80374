"""Picture Sheet as ComfyUI calls it."""

from __future__ import annotations

import pytest
import torch
from portrait_rig.core.errors import UserError
from portrait_rig.core.methods.sheet import sheet
from portrait_rig.nodes.sheet import PictureSheet


def laid_out(captions="", height=32, **rows):
    with torch.inference_mode():
        return PictureSheet.EXECUTE_NORMALIZED(captions=captions, height=height, **rows).args[0]


def test_each_row_has_the_caption_of_its_number():
    a, b = torch.rand(2, 16, 16, 3), torch.rand(1, 16, 8, 4)
    found = laid_out("first\n\n  third ", row_3=b, row_1=a)
    rows = [("first", a.permute(0, 3, 1, 2)), ("third", b[..., :3].permute(0, 3, 1, 2))]
    assert torch.equal(found[0].permute(2, 0, 1), sheet(rows, 32))
    assert found.dtype == torch.float32 and found.is_contiguous()


def test_missing_captions_leave_rows_without_words():
    row = torch.rand(1, 16, 16, 3)
    assert torch.equal(laid_out("", row_2=row), laid_out("one\n", row_2=row))


def test_what_it_refuses():
    with pytest.raises(UserError, match="no picture for the sheet"):
        laid_out()
    with pytest.raises(UserError, match="'row_2' holds values that are no numbers"):
        laid_out(row_2=torch.full((1, 4, 4, 3), torch.nan))
