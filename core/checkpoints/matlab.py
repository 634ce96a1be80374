"""MATLAB 5 files (`.mat`, up to -v7): plain numeric and text variables, by scipy, after their sizes were checked.

Source of the layout: "MAT-File Format" (The MathWorks), level 5. Cells, structs, objects and complex numbers are left
out and named in the metadata: no published face model keeps weights in them, and their sizes can lie at every level.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import scipy.io
from torch import Tensor

from .limits import MAX_TENSOR_BYTES, Budget, UnreadableError, checked_shape, damaged, quoted
from .tensors import from_numpy

MAGIC = b"MATLAB 5.0 MAT-file"

_HEADER_BYTES = 128
_MATRIX, _COMPRESSED = 14, 15
"""Element types miMATRIX and miCOMPRESSED."""

_CLASSES = {4: "text", 5: "sparse", 6: 8, 7: 4, 8: 1, 9: 1, 10: 2, 11: 2, 12: 4, 13: 4, 14: 8, 15: 8}
"""Array classes that are read: mxCHAR, mxSPARSE, and bytes an element for mxDOUBLE … mxUINT64."""

_COMPLEX_FLAG = 0x800
"""In a variable's flags, beside its class."""

_HEAD = 1024
"""Unpacked bytes of a variable that surely hold its class, dimensions and name (63 characters at most)."""

_MAX_RATIO = 1100
"""Deflate cannot shrink further than 1032:1."""


@dataclass(frozen=True)
class _Variable:
    name: str
    kind: str | int | None
    shape: tuple[int, ...]


def read_matlab(path: Path, size: int, budget: Budget) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Numeric variables as stored by MATLAB (two dimensions at least), text as strings in the metadata."""
    with path.open("rb") as file:
        variables = _scan(file, size)
    wanted = [variable for variable in variables if variable.kind is not None]
    for variable in wanted:
        budget.spend_bytes(math.prod(variable.shape) * (variable.kind if isinstance(variable.kind, int) else 8))
    try:
        loaded = scipy.io.loadmat(path, mat_dtype=True, variable_names=[variable.name for variable in wanted])
    except Exception as error:  # scipy's reader raises all sorts on malformed bytes
        raise damaged(f"MATLAB variables cannot be decoded ({type(error).__name__}: {error})") from error
    tensors: dict[str, Tensor] = {}
    metadata: dict[str, Any] = {}
    for variable in wanted:
        array = loaded.get(variable.name)
        array = array.toarray() if scipy.sparse.issparse(array) else array
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biufcSU":
            raise damaged(f"the MATLAB variable {quoted(variable.name)} is not what it claims")
        if array.dtype.kind in "SU":
            metadata[variable.name] = array.tolist()
        else:
            tensors[variable.name] = from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))
    left_out = [variable.name for variable in variables if variable.kind is None]
    return tensors, metadata | ({"left_out": left_out} if left_out else {})


def _scan(file: BinaryIO, size: int) -> list[_Variable]:
    """Every variable's name, class and shape, read without unpacking more than its head."""
    header = file.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES or header[126:128] not in (b"IM", b"MI"):
        raise damaged("its MATLAB header is cut short")
    order = "<" if header[126:128] == b"IM" else ">"
    variables = []
    place, unpacked = _HEADER_BYTES, 0
    while place + 8 <= size:
        file.seek(place)
        kind, length = struct.unpack(order + "II", file.read(8))
        place += 8
        if length > size - place or kind not in (_MATRIX, _COMPRESSED):
            raise damaged("a MATLAB variable ends outside the file")
        head = file.read(min(length, _HEAD))
        declared = length
        if kind == _COMPRESSED:
            head, declared = _unpacked_head(head, order)
            if declared > _MAX_RATIO * length + _HEAD:
                raise damaged("a MATLAB variable claims to unpack to more than it can")
        unpacked += declared
        if unpacked > MAX_TENSOR_BYTES:
            raise UnreadableError("would unpack to an absurd size, like a zip bomb. Use the authors' own file.")
        if head:
            variables.append(_described(head, order, declared))
        place += length
    names = [variable.name for variable in variables]
    if len(set(names)) != len(names):
        raise damaged("two MATLAB variables have the same name")
    return [variable for variable in variables if variable.name]


def _unpacked_head(packed: bytes, order: str) -> tuple[bytes, int]:
    """The first bytes inside a compressed variable and the length that it declares; none where it is no variable."""
    try:
        head = zlib.decompressobj().decompress(packed, _HEAD)
    except zlib.error as error:
        raise damaged(f"a MATLAB variable cannot be unpacked ({error})") from error
    if len(head) < 8:
        raise damaged("a MATLAB variable is cut short")
    kind, length = struct.unpack_from(order + "II", head)
    return (head[8:], length) if kind == _MATRIX else (b"", 0)


def _described(head: bytes, order: str, declared: int) -> _Variable:
    """Class, shape and name, which stand first in a variable; checks that the values can be as many as they claim."""
    flags, place = _element(head, 0, order)
    dimensions, place = _element(head, place, order)
    name, place = _element(head, place, order)
    if len(flags) != 8 or len(dimensions) % 4:
        raise damaged("a MATLAB variable has no proper description")
    flag = struct.unpack_from(order + "I", flags)[0]
    shape = checked_shape(struct.unpack(f"{order}{len(dimensions) // 4}i", dimensions))
    kind = None if flag & _COMPLEX_FLAG else _CLASSES.get(flag & 0xFF)
    if kind not in (None, "sparse") and (math.prod(shape) > declared or _element_length(head, place, order) > declared):
        raise damaged(f"the MATLAB variable {quoted(name.decode('latin-1'))} claims the shape {list(shape)}")
    return _Variable(name.decode("latin-1"), kind if len(shape) >= 2 else None, shape)


def _element_length(head: bytes, place: int, order: str) -> int:
    if len(head) < place + 8:
        return 0
    first, length = struct.unpack_from(order + "II", head, place)
    return first >> 16 or length


def _element(head: bytes, place: int, order: str) -> tuple[bytes, int]:
    """The data of the element at `place` and where the next begins. Up to four bytes of data may sit inside the tag."""
    if len(head) < place + 8:
        raise damaged("a MATLAB variable is cut short")
    length = _element_length(head, place, order)
    small = struct.unpack_from(order + "I", head, place)[0] >> 16
    begin = place + (4 if small else 8)
    if len(head) < begin + length or small > 4:
        raise damaged("a MATLAB variable is cut short")
    return head[begin : begin + length], place + 8 if small else begin + -(-length // 8) * 8
