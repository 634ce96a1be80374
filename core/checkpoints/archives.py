"""Zip containers: torch's (since 2020) and NumPy's, opened so that no entry can unpack to more than it should.

Source of the layouts: `torch.save` writes `NAME/data.pkl`, `NAME/byteorder` and one stored entry `NAME/data/KEY` a
storage; `numpy.savez` writes `KEY.npy` entries. Nothing is ever extracted to disk, so names of entries do no harm.
"""

from __future__ import annotations

import io
import sys
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO

import torch

from .legacy import storage_reference
from .limits import MAX_TENSOR_BYTES, Budget, UnreadableError, damaged, quoted
from .machine import unpickle
from .npy import read_npy
from .storages import Storage
from .stream import Stream

MAX_RATIO = 100
"""Unpacked over packed size of an entry. Weights shrink to a half at best, index lists and masks to a tenth."""

RATIO_FREE_BYTES = 16 << 20
"""Unpacked size up to which the ratio does not matter: a mask of zeros may shrink a thousandfold."""

MAX_ENTRIES = 200_000
"""Entries of one archive; one for each storage."""

_CHUNK = 4 << 20
"""Bytes unpacked at a time."""

_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""What torch and NumPy write; the others can unpack much from little before a size is known."""


class Archive:
    """A zip file whose declared sizes are plausible; entries are read in full or refused."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        try:
            self._zip = zipfile.ZipFile(file)
            entries = self._zip.infolist()
        except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, OSError) as error:
            raise damaged(f"its zip container cannot be read ({quoted(error)})") from error
        if len(entries) > MAX_ENTRIES:
            raise UnreadableError(f"is a zip file of more than {MAX_ENTRIES:,} entries. Use the authors' own file.")
        self.entries = {entry.filename: entry for entry in entries}
        if len(self.entries) != len(entries):
            raise damaged("two entries of its zip container have the same name")
        if any(entry.compress_type not in _PACKINGS for entry in entries):
            raise UnreadableError("is a zip file packed in a way that weights never are. Use the authors' own file.")
        packed = sum(entry.compress_size for entry in entries)
        self.declared = sum(entry.file_size for entry in entries)
        if packed > size:
            raise damaged("the entries of its zip container are larger than the file")
        if self.declared > MAX_TENSOR_BYTES or any(_suspicious(entry) for entry in entries):
            raise UnreadableError(
                f"would unpack to {self.declared / 2**30:.1f} GiB from {size / 2**20:.1f} MiB, which looks like a zip "
                "bomb; it was not unpacked. Use the authors' own file."
            )

    def fill(self, name: str, buffer: memoryview) -> None:
        """The entry's bytes into a buffer of exactly its size."""
        done = 0
        try:
            with self._zip.open(self.entries[name]) as entry:
                while part := entry.read(_CHUNK):
                    buffer[done : done + len(part)] = part
                    done += len(part)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
            raise damaged(f"the entry {quoted(name)} cannot be unpacked ({quoted(error)})") from error
        if done != len(buffer):
            raise damaged(f"the entry {quoted(name)} has another length than declared")

    def read(self, name: str, budget: Budget) -> bytes:
        size = self.entries[name].file_size
        budget.spend_bytes(size)
        content = bytearray(size)
        self.fill(name, memoryview(content))
        return bytes(content)


def is_torch(archive: Archive) -> bool:
    return _root(archive) is not None


def is_npz(archive: Archive) -> bool:
    return bool(archive.entries) and all(name.endswith(".npy") for name in archive.entries)


def read_torch_zip(archive: Archive, budget: Budget) -> Any:
    """The pickled value; storages fetch their bytes from the archive, which must stay open as long as they are used."""
    root = _root(archive)
    if f"{root}constants.pkl" in archive.entries:
        raise UnreadableError("is a TorchScript program, not weights. Use the file with the network's state dict.")
    order = archive.read(f"{root}byteorder", budget) if f"{root}byteorder" in archive.entries else b"little"
    if order not in (b"little", b"big"):
        raise damaged("it does not say which byte order it has")
    storages: dict[str, tuple[torch.dtype, int, Storage]] = {}

    def persistent(reference: Any) -> Storage:
        key, dtype, count = storage_reference(reference)
        name = f"{root}data/{key}"
        if key not in storages:
            if name not in archive.entries:
                raise damaged(f"the storage {quoted(key)} is missing")
            if archive.entries[name].file_size != count * dtype.itemsize:
                raise damaged(f"the storage {quoted(key)} has another length than its tensors say")
            swapped = order.decode() != sys.byteorder
            storages[key] = dtype, count, Storage(dtype, count, _fetcher(archive, name), swapped)
        if storages[key][:2] != (dtype, count):
            raise damaged("two tensors disagree about their storage")
        return storages[key][2]

    description = archive.read(f"{root}data.pkl", budget)
    return unpickle(Stream(io.BytesIO(description), len(description)), budget, persistent)


def read_npz(archive: Archive, budget: Budget) -> dict[str, Any]:
    """The arrays by name, as records."""
    arrays = {}
    for name in archive.entries:
        content = archive.read(name, budget)
        arrays[name.removesuffix(".npy")] = read_npy(io.BytesIO(content), len(content), budget)
    return arrays


def _root(archive: Archive) -> str | None:
    """The folder, with its slash, in which torch keeps its pickle."""
    found = [name for name in archive.entries if name.rpartition("/")[2] == "data.pkl" and name.count("/") <= 1]
    return found[0].removesuffix("data.pkl") if len(found) == 1 else None


def _suspicious(entry: zipfile.ZipInfo) -> bool:
    return entry.file_size > max(RATIO_FREE_BYTES, MAX_RATIO * entry.compress_size)


def _fetcher(archive: Archive, name: str) -> Callable[[memoryview], None]:
    return lambda buffer: archive.fill(name, buffer)
