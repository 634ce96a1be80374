"""Sheets of pictures: where each lies, in which size, and that words are written."""

from __future__ import annotations

import pytest
import torch
from portrait_rig.core.errors import UserError
from portrait_rig.core.methods.sheet import INK, PAPER, sheet

RED, BLUE = torch.tensor([1.0, 0.0, 0.0])[:, None, None], torch.tensor([0.0, 0.0, 1.0])[:, None, None]


def plain(colour, height, width, count=1):
    return colour.expand(count, 3, height, width)


def test_rows_lie_below_each_other_and_keep_their_proportions():
    found = sheet([("", plain(RED, 10, 10, 3)), ("", plain(BLUE, 80, 40))], 40)
    gap = 2
    assert found.shape == (3, gap + 2 * (40 + gap), gap + 3 * (40 + gap))
    for number in range(3):
        left = gap + number * (40 + gap)
        assert torch.allclose(found[:, gap : gap + 40, left : left + 40], RED.expand(3, 40, 40), atol=1e-6)
    below = found[:, 2 * gap + 40 :]
    assert torch.allclose(below[:, :40, gap : gap + 20], BLUE.expand(3, 40, 20), atol=1e-6)
    empty = torch.tensor(PAPER)[:, None]
    assert torch.equal(found[:, 0], empty.expand(3, found.shape[2]))
    assert torch.equal(below[:, 5, gap + 20 :], empty.expand(3, found.shape[2] - gap - 20))


def test_a_caption_is_written_above_its_row_and_takes_room():
    bare, told = (sheet([(caption, plain(RED, 40, 200))], 40) for caption in ("", "Eyes"))
    line = told.shape[1] - bare.shape[1]
    assert line > 10 and torch.equal(told[:, 2 + line :], bare[:, 2:])
    strip = told[:, 2 : 2 + line]
    assert strip.amax((1, 2)).tolist() == pytest.approx(INK, abs=0.05) and torch.equal(strip[:, 0], bare[:, 0])


def test_a_caption_longer_than_its_row_widens_the_sheet():
    found = sheet([("a caption that is much longer than one picture", plain(RED, 16, 16))], 16)
    assert found.shape[2] > 200 and (found[:, :, -12:] > 0.5).any()


def test_rows_without_pictures_are_left_out():
    row = plain(RED, 8, 8)
    assert torch.equal(sheet([("nobody", row[:0]), ("", row)], 8), sheet([("", row)], 8))


@pytest.mark.parametrize("rows", [[], [("nobody", torch.zeros(0, 3, 8, 8))]])
def test_a_sheet_of_nothing_is_refused(rows):
    with pytest.raises(UserError, match=r"There is no picture for the sheet\. Connect at least one row\."):
        sheet(rows)


def test_what_is_brighter_than_white_is_white_and_the_input_stays():
    row = plain(RED, 8, 8).clone() * 3 - 1
    before = row.clone()
    found = sheet([("", row)], 8)
    assert torch.equal(row, before) and found.min() >= 0 and found.max() <= 1
