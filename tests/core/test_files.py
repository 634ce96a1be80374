"""Files are replaced whole or not at all."""

from __future__ import annotations

import stat
import sys

import pytest
from portrait_rig.core.files import replacing


def test_the_new_file_takes_the_olds_place(tmp_path):
    file = tmp_path / "new folder" / "a.txt"
    for text in ("one", "two"):
        with replacing(file) as temporary:
            assert temporary.parent == file.parent and temporary.suffix == ".txt"
            temporary.write_text(text)
        assert file.read_text() == text
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_stop_keeps_the_old_file_and_leaves_no_other(tmp_path, error):
    file = tmp_path / "a.txt"
    file.write_text("old")
    with pytest.raises(error), replacing(file) as temporary:
        temporary.write_text("half")
        raise error
    assert file.read_text() == "old" and list(tmp_path.iterdir()) == [file]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
def test_the_file_is_as_readable_as_any_other(tmp_path):
    with replacing(tmp_path / "a") as temporary:
        temporary.write_text("x")
    (tmp_path / "b").write_text("x")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE((tmp_path / "b").stat().st_mode)
