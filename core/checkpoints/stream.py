"""Bytes in order, never past their end, and the literal values that pickle writes.

Source of the encodings: CPython `Lib/pickletools.py` (the documented list of opcodes and their arguments).
"""

from __future__ import annotations

import codecs
import pickle
import struct
from collections.abc import Callable
from typing import BinaryIO

from .limits import damaged

MAX_INTEGER_BYTES = 64
"""Longest integer taken from a pickle. Longer ones cost quadratic time to print and occur in no weights."""

_MAX_NUMBER_TEXT = 200
"""Characters of a number written as text (protocol 0)."""


class Stream:
    """A binary file of known size, read forwards; asking for more than is left is an error, not an allocation."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file = file
        self.left = size - file.tell()

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise damaged("it ends in the middle of a value")
        taken = self.file.read(count)
        if len(taken) != count:
            raise damaged("it ends in the middle of a value")
        self.left -= count
        return taken

    def line(self) -> bytes:
        """Up to the next line end, which is taken but not returned."""
        taken = self.file.readline()
        self.left -= len(taken)
        if not taken.endswith(b"\n"):
            raise damaged("it ends in the middle of a value")
        return taken[:-1]

    def skip(self, count: int) -> None:
        if not 0 <= count <= self.left:
            raise damaged("it ends in the middle of a value")
        self.file.seek(count, 1)
        self.left -= count

    def unsigned(self, width: int) -> int:
        return int.from_bytes(self.take(width), "little")

    def signed(self, width: int) -> int:
        return int.from_bytes(self.take(width), "little", signed=True)


def _long(width: int) -> Callable[[Stream], int]:
    def read(stream: Stream) -> int:
        count = stream.unsigned(width)
        if count > MAX_INTEGER_BYTES:
            raise damaged(f"it holds an integer of {count} bytes")
        return stream.signed(count)

    return read


def _number(line: bytes, convert: Callable[[str], int | float]) -> int | float:
    if len(line) > _MAX_NUMBER_TEXT:
        raise damaged("it holds a number of absurd length")
    try:
        return convert(line.decode("ascii"))
    except ValueError as error:
        raise damaged("it holds a number that is none") from error


def _text_integer(stream: Stream) -> int | float:
    """Protocol 0 writes booleans as the integers 00 and 01."""
    line = stream.line()
    return line == b"01" if line in (b"00", b"01") else _number(line, int)


def _text_long(stream: Stream) -> int | float:
    return _number(stream.line().removesuffix(b"L"), int)


def _text_float(stream: Stream) -> int | float:
    return _number(stream.line(), float)


def _quoted_string(stream: Stream) -> str:
    """A string as Python 2 printed it, with quotes and escapes; its bytes are kept as Latin-1."""
    line = stream.line().strip()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise damaged("it holds a string without its quotes")
    try:
        return codecs.escape_decode(line[1:-1])[0].decode("latin-1")
    except ValueError as error:
        raise damaged("it holds a string with broken escapes") from error


def _escaped_text(stream: Stream) -> str:
    try:
        return stream.line().decode("raw-unicode-escape")
    except ValueError as error:
        raise damaged("it holds a string with broken escapes") from error


def _latin(width: int) -> Callable[[Stream], str]:
    """Strings of Python 2: text and bytes alike, told apart by whoever uses them."""
    return lambda stream: stream.take(stream.unsigned(width)).decode("latin-1")


def _utf8(width: int) -> Callable[[Stream], str]:
    def read(stream: Stream) -> str:
        try:
            return stream.take(stream.unsigned(width)).decode("utf-8", "surrogatepass")
        except ValueError as error:
            raise damaged("it holds text that is not UTF-8") from error

    return read


def _bytes(width: int) -> Callable[[Stream], bytes]:
    return lambda stream: stream.take(stream.unsigned(width))


LITERALS: dict[bytes, Callable[[Stream], object]] = {
    pickle.NONE: lambda stream: None,
    pickle.NEWTRUE: lambda stream: True,
    pickle.NEWFALSE: lambda stream: False,
    pickle.INT: _text_integer,
    pickle.LONG: _text_long,
    pickle.FLOAT: _text_float,
    pickle.BININT: lambda stream: stream.signed(4),
    pickle.BININT1: lambda stream: stream.unsigned(1),
    pickle.BININT2: lambda stream: stream.unsigned(2),
    pickle.LONG1: _long(1),
    pickle.LONG4: _long(4),
    pickle.BINFLOAT: lambda stream: struct.unpack(">d", stream.take(8))[0],
    pickle.STRING: _quoted_string,
    pickle.BINSTRING: _latin(4),
    pickle.SHORT_BINSTRING: _latin(1),
    pickle.UNICODE: _escaped_text,
    pickle.SHORT_BINUNICODE: _utf8(1),
    pickle.BINUNICODE: _utf8(4),
    pickle.BINUNICODE8: _utf8(8),
    pickle.SHORT_BINBYTES: _bytes(1),
    pickle.BINBYTES: _bytes(4),
    pickle.BINBYTES8: _bytes(8),
    pickle.BYTEARRAY8: _bytes(8),
    pickle.EMPTY_DICT: lambda stream: {},
    pickle.EMPTY_LIST: lambda stream: [],
    pickle.EMPTY_SET: lambda stream: set(),
    pickle.EMPTY_TUPLE: lambda stream: (),
}
"""Instructions that put one value on the stack."""

MEMO_INDEX: dict[bytes, Callable[[Stream], int | float]] = {
    pickle.PUT: lambda stream: _number(stream.line(), int),
    pickle.BINPUT: lambda stream: stream.unsigned(1),
    pickle.LONG_BINPUT: lambda stream: stream.unsigned(4),
    pickle.GET: lambda stream: _number(stream.line(), int),
    pickle.BINGET: lambda stream: stream.unsigned(1),
    pickle.LONG_BINGET: lambda stream: stream.unsigned(4),
}
"""Instructions that store or recall a value, with the way their index is written."""
