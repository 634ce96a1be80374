"""Protocol Buffers' wire format: the fields of one message, in order, without a schema and never past its end.

Source: Protocol Buffers documentation, "Encoding". Values of unknown fields are passed over unread, as it prescribes.
"""

from __future__ import annotations

from collections.abc import Iterator

from .limits import Budget, damaged

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
"""Wire types; 3 and 4, groups, are long deprecated and taken for damage."""
FIXED_BYTES = {FIXED64: 8, FIXED32: 4}
VARINT_BYTES = 10
"""Of the longest varint, 64 bits in sevens."""
MASK64 = (1 << 64) - 1

Value = int | memoryview
"""A varint as an unsigned number of 64 bits; anything else as its bytes."""


def fields(message: memoryview, budget: Budget) -> Iterator[tuple[int, Value]]:
    """(number, value) of every field; UnreadableError where one does not end inside the message."""
    place = 0
    while place < len(message):
        budget.spend_steps()
        tag, place = _varint(message, place)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            value, place = _varint(message, place)
            yield number, value
            continue
        if kind == LENGTH:
            length, place = _varint(message, place)
        elif kind in FIXED_BYTES:
            length = FIXED_BYTES[kind]
        else:
            raise damaged("a field of it is of an unknown kind")
        if not number or length > len(message) - place:
            raise damaged("it ends in the middle of a value")
        yield number, message[place : place + length]
        place += length


def unsigned_of(value: Value, budget: Budget) -> list[int]:
    """A repeated field's numbers, which come one in a field or all packed into one."""
    if isinstance(value, int):
        return [value]
    numbers, place = [], 0
    while place < len(value):
        budget.spend_steps()
        number, place = _varint(value, place)
        numbers.append(number)
    return numbers


def integer_of(value: Value) -> int:
    """A signed number of 64 bits in two's complement."""
    if not isinstance(value, int):
        raise damaged("it holds bytes where a number was expected")
    return value - (1 << 64) if value >> 63 else value


def bytes_of(value: Value) -> memoryview:
    if isinstance(value, int):
        raise damaged("it holds a number where bytes were expected")
    return value


def text_of(value: Value) -> str:
    """Names inside a hostile file may be anything, so what is no UTF-8 is replaced."""
    return bytes(bytes_of(value)).decode("utf-8", "replace")


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """The number that begins at `place`, and where it ends."""
    number = 0
    for index, byte in enumerate(message[place : place + VARINT_BYTES]):
        number |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return number & MASK64, place + index + 1
    raise damaged("it ends in the middle of a number")
