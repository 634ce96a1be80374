"""Torch storages: the flat memory that tensors of a `.pt` or `.pkl` file look into."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .limits import Budget

STORAGE_TYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}
"""The class names under which torch pickles storages, and what they hold."""


class Storage:
    """Flat memory that is fetched once, when the first tensor needs it."""

    def __init__(self, dtype: torch.dtype, count: int, fetch: Callable[[memoryview], None], swapped: bool) -> None:
        """fetch: fills the given buffer of count · itemsize bytes. swapped: the bytes are in the other byte order."""
        self.dtype = dtype
        self.nbytes = count * dtype.itemsize
        self._fetch = fetch
        self.swapped = swapped
        self._content: Tensor | None = None

    def content(self, budget: Budget) -> Tensor:
        """[nbytes] uint8; the same memory at every call."""
        if self._content is None:
            budget.spend_bytes(self.nbytes)
            content = torch.empty(self.nbytes, dtype=torch.uint8)
            if self.nbytes:
                self._fetch(memoryview(content.numpy()))
            if self.swapped:
                width = self.dtype.itemsize // (2 if self.dtype.is_complex else 1)
                content = content.view(-1, width).flip(1).reshape(-1)
            self._content = content
        return self._content


class PackedStorage:
    """A storage inside a pickle: the bytes of a small torch file, unpacked only when a tensor needs it."""

    def __init__(self, content: bytes) -> None:
        self.packed = content
        self.unpacked: Storage | None = None
