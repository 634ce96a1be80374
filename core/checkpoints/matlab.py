"""MATLAB 5 files (`.mat`, up to -v7): numeric, logical, sparse and text variables.

Source of the layout: "MAT-File Format" (The MathWorks), level 5. scipy's reader is not used, since damaged bytes make
it crash the whole process (a bus error within 1,000 mutated files, scipy 1.17). Cells, structs, objects and complex
numbers are left out and named in the metadata: no published face model keeps weights in them.
"""

from __future__ import annotations

import math
import struct
import zlib
from typing import Any, BinaryIO

import numpy as np
from torch import Tensor

from .limits import Budget, UnreadableError, checked_shape, damaged, quoted
from .tensors import dense_matrix, from_numpy

MAGIC = b"MATLAB 5.0 MAT-file"

_HEADER_BYTES = 128
_MATRIX, _COMPRESSED = 14, 15
"""Element types miMATRIX and miCOMPRESSED."""

_ELEMENT_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""How numbers lie on disk (miINT8 … miUINT64), often narrower than their class."""

_TEXT_TYPES = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
"""How characters lie on disk. MATLAB itself writes miUINT16."""

_TEXT, _SPARSE = 4, 5
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
"""Array classes mxCHAR, mxSPARSE, and those of plain numbers, mxDOUBLE … mxUINT64."""

_LOGICAL_FLAG, _COMPLEX_FLAG = 0x200, 0x800
"""In a variable's flags, beside its class."""

_MAX_RATIO = 1100
"""Deflate cannot shrink further than 1032:1; a variable that claims more is a lie."""


def read_matlab(file: BinaryIO, size: int, budget: Budget) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors of MATLAB's own shape (two dimensions at least) and class; text and the list `left_out` as metadata."""
    header = file.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES or header[126:128] not in (b"IM", b"MI"):
        raise damaged("its MATLAB header is cut short")
    order = "<" if header[126:128] == b"IM" else ">"
    tensors: dict[str, Tensor] = {}
    metadata: dict[str, Any] = {}
    left_out: list[str] = []
    place = _HEADER_BYTES
    while place + 8 <= size:
        kind, length = struct.unpack(order + "II", file.read(8))
        place += 8 + length
        if kind not in (_MATRIX, _COMPRESSED) or place > size:
            raise damaged("a MATLAB variable ends outside the file")
        content = file.read(length)
        name, value = _variable(_unpacked(content, order, budget) if kind == _COMPRESSED else content, order, budget)
        if name in tensors or name in metadata:
            raise damaged(f"two MATLAB variables are named {quoted(name)}")
        if isinstance(value, np.ndarray):
            tensors[name] = from_numpy(value)
        elif value is not None:
            metadata[name] = value
        elif name:
            left_out.append(name)
    return tensors, metadata | ({"left_out": left_out} if left_out else {})


def _unpacked(packed: bytes, order: str, budget: Budget) -> bytes:
    """The inside of a compressed variable; no more is unpacked than it declares, no more declared than can be."""
    try:
        packer = zlib.decompressobj()
        tag = packer.decompress(packed, 8)
        if len(tag) < 8:
            raise damaged("a MATLAB variable is cut short")
        kind, length = struct.unpack(order + "II", tag)
        if kind != _MATRIX or length > _MAX_RATIO * len(packed):
            raise damaged("a packed MATLAB variable is not what it claims")
        budget.spend_bytes(length)
        content = packer.decompress(packer.unconsumed_tail, max(length, 1))
    except zlib.error as error:
        raise damaged(f"a MATLAB variable cannot be unpacked ({error})") from error
    if len(content) < length:
        raise damaged("a MATLAB variable is cut short")
    return content[:length]


class _Elements:
    """The elements inside a variable, one after another, each with its type and padded to 8 bytes."""

    def __init__(self, content: bytes, order: str) -> None:
        self.content = content
        self.order = order
        self.place = 0

    def next(self) -> tuple[int, bytes]:
        """Type and data. Up to four bytes of data may sit inside the tag."""
        if len(self.content) < self.place + 8:
            raise damaged("a MATLAB variable is cut short")
        kind, length = struct.unpack_from(self.order + "II", self.content, self.place)
        begin, used = self.place + 8, 8 + -(-length // 8) * 8
        if kind >> 16:
            kind, length, begin, used = kind & 0xFFFF, kind >> 16, self.place + 4, 8
        if len(self.content) < begin + length or (used == 8 and length > 4):
            raise damaged("a MATLAB variable is cut short")
        self.place += used
        return kind, self.content[begin : begin + length]

    def numbers(self) -> np.ndarray[Any, Any]:
        """The next element as [N] numbers of the type on disk, in native byte order."""
        kind, content = self.next()
        if kind not in _ELEMENT_TYPES:
            raise damaged("a MATLAB variable has numbers of an unknown type")
        dtype = np.dtype(_ELEMENT_TYPES[kind])
        if len(content) % dtype.itemsize:
            raise damaged("a MATLAB variable has half a number")
        return np.frombuffer(content, dtype.newbyteorder(self.order)).astype(dtype)


def _variable(content: bytes, order: str, budget: Budget) -> tuple[str, Any]:
    """Name and value: an array, lines of text, or None for what is left out."""
    elements = _Elements(content, order)
    flags, dimensions = elements.numbers(), elements.numbers()
    name = elements.next()[1].decode("latin-1")
    if len(flags) != 2 or flags.dtype != np.uint32 or dimensions.dtype != np.int32:
        raise UnreadableError(f"holds the MATLAB variable {quoted(name)} of an unknown layout. Save it again with -v7.")
    shape = checked_shape(dimensions.tolist())
    number = int(flags[0]) & 0xFF
    if int(flags[0]) & _COMPLEX_FLAG or len(shape) < 2:
        return name, None
    if number == _TEXT:
        return name, _text(elements, shape, name)
    if number == _SPARSE:
        rows, ends, values = elements.numbers(), elements.numbers(), elements.numbers()
        return name, dense_matrix("csc", shape, values, (rows, ends), budget)
    if number not in _CLASSES:
        return name, None
    values = elements.numbers()
    if len(values) != math.prod(shape):
        raise damaged(f"the MATLAB variable {quoted(name)} claims the shape {list(shape)}")
    dtype = np.dtype(bool if int(flags[0]) & _LOGICAL_FLAG else _CLASSES[number])
    budget.spend_bytes(len(values) * dtype.itemsize)
    return name, np.ascontiguousarray(values.reshape(shape, order="F").astype(dtype))


def _text(elements: _Elements, shape: tuple[int, ...], name: str) -> list[str]:
    """One string for each row; characters lie column by column."""
    kind, content = elements.next()
    suffix = {"<": "-le", ">": "-be"}[elements.order]
    try:
        encoding = _TEXT_TYPES[kind]
        text = content.decode(encoding + suffix if encoding in ("utf-16", "utf-32") else encoding)
    except (KeyError, UnicodeDecodeError) as error:
        raise damaged(f"the MATLAB text {quoted(name)} cannot be decoded") from error
    if len(shape) != 2 or len(text) != math.prod(shape):
        raise damaged(f"the MATLAB text {quoted(name)} claims the shape {list(shape)}")
    return [text[row :: shape[0]] for row in range(shape[0])] if text else []
