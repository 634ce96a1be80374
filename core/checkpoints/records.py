"""What a pickle describes, as inert records: nothing here runs, imports or allocates what the file asked for.

The machine fills these in; `tree` turns them into tensors and plain data once the whole file is known to be harmless.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from .storages import PackedStorage, Storage


@dataclass(frozen=True)
class Name:
    """A class or function that the file mentions, never looked up."""

    full: str


@dataclass(eq=False)
class Instance:
    """An object of a foreign class: its class, what it was made from, and the state it was given."""

    class_name: str
    args: tuple[Any, ...] = ()
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)
    entries: list[Any] = field(default_factory=list)


@dataclass(eq=False)
class DtypeRecord:
    """A NumPy dtype: its code, e.g. `f8`, and its byte order; fields are set for structured ones."""

    code: str
    order: str = "|"
    structured: bool = False


@dataclass(eq=False)
class ArrayRecord:
    """A NumPy array or, with `scalar`, a number. content: bytes, Latin-1 text of Python 2, or a list of objects."""

    shape: Any = (0,)
    dtype: Any = None
    content: Any = None
    fortran: bool = False
    scalar: bool = False


@dataclass(eq=False)
class TensorRecord:
    """A view on a storage; offset and stride in elements. dtype is None where the storage knows it."""

    storage: Storage | PackedStorage
    offset: Any
    size: Any
    stride: Any
    dtype: torch.dtype | None = None
