"""NumPy's `.npy`: a header in Python's notation, then the bytes, or a pickle for object arrays.

Source: NumPy Enhancement Proposal 1 and `numpy/lib/format.py` (versions 1 to 3). The header is matched against the one
form NumPy writes, not evaluated.
"""

from __future__ import annotations

import re
from typing import Any, BinaryIO

from .limits import Budget, UnreadableError, damaged
from .machine import unpickle
from .records import ArrayRecord, DtypeRecord
from .stream import Stream

MAGIC = b"\x93NUMPY"

_MAX_HEADER = 10_000
"""Bytes; NumPy's own limit (`numpy.lib.format`, _MAX_HEADER_SIZE)."""

_HEADER = re.compile(
    r"\{\s*'descr':\s*'(?P<order>[<>|=]?)(?P<code>[A-Za-z?]\d*)',\s*'fortran_order':\s*(?P<fortran>True|False),"
    r"\s*'shape':\s*\((?P<shape>[\dL, ]*)\),?\s*\}\s*"
)


def read_npy(file: BinaryIO, size: int, budget: Budget) -> Any:
    """The array as a record; for object arrays whatever their pickle describes."""
    stream = Stream(file, size)
    if stream.take(len(MAGIC)) != MAGIC:
        raise damaged("it does not begin as NumPy files do")
    version = stream.unsigned(1)
    stream.take(1)
    if version not in (1, 2, 3):
        raise UnreadableError(f"is a NumPy file of the unknown version {version}. Save it again with numpy.save.")
    length = stream.unsigned(2 if version == 1 else 4)
    if length > _MAX_HEADER:
        raise damaged("its header is absurdly long")
    header = stream.take(length).decode("latin-1")
    found = _HEADER.fullmatch(header)
    if not found:
        if "'descr': [" in header:
            raise UnreadableError(
                "holds a NumPy array of records, which weights are not. Save its columns as plain arrays."
            )
        raise damaged("its header is not one that NumPy writes")
    if found["code"].startswith("O"):
        return unpickle(stream, budget)
    shape = tuple(int(extent) for extent in re.findall(r"\d+", found["shape"]))
    content = stream.take(stream.left)
    return ArrayRecord(shape, DtypeRecord(found["code"], found["order"] or "|"), content, found["fortran"] == "True")
