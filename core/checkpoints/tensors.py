"""From records to tensors: the only place where what a file describes becomes memory."""

from __future__ import annotations

import io
import math
import re
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .legacy import read_legacy
from .limits import MAX_EXTENT, Budget, UnreadableError, checked_shape, damaged, quoted
from .records import ArrayRecord, DtypeRecord, Instance, TensorRecord
from .storages import PackedStorage, Storage

_DTYPE_CODE = re.compile(r"\?|[bhilqefdFDBHILQ]|[biufc](?:1|2|4|8|16)|[SU][0-9]{1,9}|O[48]?")
"""NumPy's codes for numbers, text and objects; anything else (dates, records) is not weights."""


def torch_tensor(record: TensorRecord, budget: Budget) -> Tensor:
    """The tensor of a view on a storage, contiguous; UnreadableError where it would leave the storage.

    A tensor that is the whole storage shares its memory, any other is a copy and paid for.
    """
    storage = _opened(record.storage, budget)
    dtype = record.dtype or storage.dtype
    size, stride, offset = checked_shape(record.size), checked_shape(record.stride), record.offset
    count, rest = divmod(storage.nbytes, dtype.itemsize)
    if type(offset) is not int or not 0 <= offset <= MAX_EXTENT or len(size) != len(stride) or rest:
        raise damaged("a tensor has no proper place in its storage")
    if storage.swapped and dtype.itemsize != storage.dtype.itemsize:
        raise UnreadableError("was written on a machine of the other byte order. Save it as .safetensors there.")
    if 0 in size:
        return torch.empty(size, dtype=dtype)
    last = offset + sum((extent - 1) * step for extent, step in zip(size, stride, strict=True))
    if last >= count:
        raise damaged(f"a tensor of shape {list(size)} reaches beyond its storage of {count} elements")
    seen = storage.content(budget).view(dtype).as_strided(size, stride, offset)
    if seen.numel() == count and seen.is_contiguous():
        return seen
    budget.spend_bytes(seen.numel() * dtype.itemsize)
    return seen.clone(memory_format=torch.contiguous_format)


def numpy_array(record: ArrayRecord, budget: Budget) -> np.ndarray[Any, Any]:
    """A fresh array of numbers or text in native byte order; object arrays are not for here (`is_object`)."""
    dtype, shape = numpy_dtype(record.dtype), checked_shape(record.shape)
    content = record.content
    if isinstance(content, str):
        try:
            content = content.encode("latin-1")
        except UnicodeEncodeError as error:
            raise damaged("an array's bytes are none") from error
    if content is None and 0 in shape:
        content = b""
    if not isinstance(content, bytes) or len(content) != math.prod(shape) * dtype.itemsize or not dtype.itemsize:
        raise damaged(f"an array of shape {list(shape)} has the wrong number of bytes")
    budget.spend_bytes(len(content))
    array = np.frombuffer(content, dtype).reshape(shape, order="F" if record.fortran else "C")
    return np.array(array, dtype=dtype.newbyteorder("="), order="C")


def is_object(record: ArrayRecord) -> bool:
    return isinstance(record.dtype, DtypeRecord) and record.dtype.code.startswith("O")


def numpy_dtype(record: object) -> np.dtype[Any]:
    if not isinstance(record, DtypeRecord):
        raise damaged("an array has no type")
    if record.structured or not _DTYPE_CODE.fullmatch(record.code):
        raise UnreadableError(f"holds a NumPy array of type {quoted(record.code)}, which is neither numbers nor text.")
    try:
        dtype = np.dtype(record.code)
    except TypeError as error:
        raise damaged(f"an array has the unknown type {quoted(record.code)}") from error
    return dtype if record.order in "|=" else dtype.newbyteorder(record.order)


def from_numpy(array: np.ndarray[Any, Any]) -> Tensor:
    """The same memory as a tensor; UnreadableError for number types that torch lacks (80-bit floats)."""
    try:
        return torch.from_numpy(array)
    except TypeError as error:
        raise UnreadableError(
            f"holds an array of {array.dtype}, which torch cannot hold. Save it as float64."
        ) from error


def chumpy_array(instance: Instance) -> ArrayRecord:
    """The array inside a `chumpy.ch.Ch`, FLAME's wrapper; UnreadableError for values that chumpy has to compute."""
    state = instance.state
    inner = state.get("x") if isinstance(state, dict) else None
    if not isinstance(inner, ArrayRecord):
        raise UnreadableError(
            f"holds a value that only chumpy can compute ({quoted(instance.class_name)}). Load it once where chumpy is "
            "installed, replace such values by numpy.array(value) and save it again."
        )
    return inner


_SPARSE_KINDS = {f"{kind}_{form}": kind for kind in ("csc", "csr", "coo") for form in ("matrix", "array")}
"""Class names of scipy.sparse whose contents are arrays of rows, columns and values."""


def sparse_matrix(instance: Instance, budget: Budget) -> np.ndarray[Any, Any]:
    """A scipy.sparse matrix, dense [rows, columns]; FLAME's joint regressor is one."""
    kind = _SPARSE_KINDS.get(instance.class_name.rpartition(".")[2])
    state = instance.state
    if kind is None or not isinstance(state, dict):
        raise UnreadableError(
            f"holds a sparse matrix of the kind {quoted(instance.class_name)}. Save it dense or as csc."
        )
    shape = checked_shape(state.get("_shape"))
    values = _part(state, "data", budget)
    if kind == "coo":
        pair = state["coords"] if "coords" in state else (state.get("row"), state.get("col"))
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise damaged("a sparse matrix lacks its coordinates")
        places = tuple(_part({"": part}, "", budget) for part in pair)
    else:
        places = _part(state, "indices", budget), _part(state, "indptr", budget)
    return dense_matrix(kind, shape, values, places, budget)


def dense_matrix(
    kind: str,
    shape: tuple[int, ...],
    values: np.ndarray[Any, Any],
    places: tuple[np.ndarray[Any, Any], ...],
    budget: Budget,
) -> np.ndarray[Any, Any]:
    """[rows, columns] from N values and where they lie.

    kind: `coo` with places (rows [N], columns [N]); `csc` and `csr` with (indices [N], where each column or row begins
    in them, and the end). Values at the same place are added, as scipy does.
    """
    if len(shape) != 2:
        raise damaged("a sparse matrix has no two dimensions")
    rows, columns = places
    if kind != "coo":
        minor, ends = places
        majors = shape[1] if kind == "csc" else shape[0]
        steps = np.diff(ends.astype(np.int64))
        if len(ends) != majors + 1 or ends[0] != 0 or ends[-1] != len(values) or (steps < 0).any():
            raise damaged("a sparse matrix has inconsistent pointers")
        major = np.repeat(np.arange(majors), steps)
        rows, columns = (minor, major) if kind == "csc" else (major, minor)
    if not len(rows) == len(columns) == len(values):
        raise damaged("a sparse matrix has lists of different lengths")
    for index, extent in ((rows, shape[0]), (columns, shape[1])):
        if index.dtype.kind not in "iu" or (len(index) and not 0 <= int(index.min()) <= int(index.max()) < extent):
            raise damaged("a sparse matrix has an entry outside itself")
    budget.spend_bytes(math.prod(shape) * values.dtype.itemsize)
    dense = np.zeros(shape, dtype=values.dtype)
    np.add.at(dense, (rows, columns), values)
    return dense


def _part(state: dict[str, Any], name: str, budget: Budget) -> np.ndarray[Any, Any]:
    """One list of a sparse matrix: [N] numbers; integers unless it is `data`."""
    record = state.get(name)
    if not isinstance(record, ArrayRecord):
        raise damaged("a sparse matrix lacks a part")
    array = numpy_array(record, budget)
    if array.ndim != 1 or array.dtype.kind not in ("biufc" if name == "data" else "iu"):
        raise damaged("a sparse matrix has a part of a wrong kind")
    return array


def _opened(storage: Storage | PackedStorage, budget: Budget) -> Storage:
    if isinstance(storage, Storage):
        return storage
    if storage.unpacked is None:
        inner = read_legacy(io.BytesIO(storage.packed), len(storage.packed), budget)
        if not isinstance(inner, Storage):
            raise damaged("the bytes of a storage hold something else")
        storage.unpacked = inner
    return storage.unpacked
