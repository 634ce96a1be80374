"""Torch's container from before 2020: pickles one after another, then the bytes of every storage.

Source: the layout that `torch.save(..., _use_new_zipfile_serialization=False)` writes (magic number, protocol, machine,
object, storage keys; then for each key its element count as int64 and its elements).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, BinaryIO

import torch

from .allowed import STORAGES
from .limits import MAX_EXTENT, Budget, UnreadableError, damaged
from .machine import unpickle
from .records import Name
from .storages import Storage
from .stream import Stream

MAGIC = 0x1950A86A20F9469CFC6C
"""torch/serialization.py: MAGIC_NUMBER."""

MAGIC_BYTES = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e"
"""The magic number as the protocol 2 pickle that a legacy file begins with."""

_PROTOCOL = 1001
"""torch/serialization.py: PROTOCOL_VERSION."""


def read_legacy(file: BinaryIO, size: int, budget: Budget) -> Any:
    """The pickled value; its storages fetch their bytes from `file`, which must stay open as long as they are used."""
    stream = Stream(file, size)
    if unpickle(stream, budget) != MAGIC or unpickle(stream, budget) != _PROTOCOL:
        raise damaged("it does not begin as torch files do")
    machine = unpickle(stream, budget)
    if not isinstance(machine, dict) or type(machine.get("little_endian")) is not bool:
        raise damaged("it does not say which byte order it has")
    places: dict[str, int] = {}
    swapped = machine["little_endian"] is not (sys.byteorder == "little")
    storages: dict[str, tuple[torch.dtype, int, Storage]] = {}

    def persistent(reference: Any) -> Storage | Name:
        if isinstance(reference, tuple) and len(reference) == 4 and isinstance(reference[1], Name):
            return reference[1]  # ("module", class, file, source): a whole module's class; the source is dropped
        key, dtype, count = storage_reference(reference)
        if len(reference) > 5 and reference[5] is not None:
            raise UnreadableError(
                "holds storages inside storages, as very old torch wrote them. Save it with a newer one."
            )
        if key not in storages:
            storages[key] = dtype, count, Storage(dtype, count, _fetcher(file, places, key), swapped)
        if storages[key][:2] != (dtype, count):
            raise damaged("two tensors disagree about their storage")
        return storages[key][2]

    value = unpickle(stream, budget, persistent)
    keys = unpickle(stream, budget)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise damaged("it does not list its storages")
    for key in keys:
        if key not in storages or key in places:
            raise damaged("its list of storages does not fit its tensors")
        dtype, count, _ = storages[key]
        if stream.signed(8) != count:
            raise damaged("a storage has another length than its tensors say")
        places[key] = file.tell()
        stream.skip(count * dtype.itemsize)
    if len(places) != len(storages):
        raise damaged("it lacks some of its storages")
    return value


def storage_reference(reference: object) -> tuple[str, torch.dtype, int]:
    """Key, dtype and element count of ('storage', class, key, device, count, …); the device is not used."""
    if not isinstance(reference, tuple) or len(reference) not in (5, 6) or reference[0] != "storage":
        raise damaged("a storage is referred to in an unknown way")
    kind, key, count = reference[1], reference[2], reference[4]
    if not isinstance(kind, Name) or kind.full not in STORAGES or not isinstance(key, str):
        raise damaged("a storage is referred to in an unknown way")
    if type(count) is not int or not 0 <= count <= MAX_EXTENT:
        raise damaged("a storage has an absurd length")
    return key, STORAGES[kind.full], count


def _fetcher(file: BinaryIO, places: dict[str, int], key: str) -> Callable[[memoryview], None]:
    def fetch(buffer: memoryview) -> None:
        if key not in places:
            raise damaged("a storage is missing")
        file.seek(places[key])
        if file.readinto(buffer) != len(buffer):  # type: ignore[attr-defined]
            raise damaged("it ends in the middle of a tensor")

    return fetch
