"""The allow-list: every name a pickle may mention, and the record that stands for calling it.

Nothing here imports what a file names. A name on the list becomes a `Name`; "calling" it makes one of our records from
arguments that are checked first. Any other name ends the reading, with that name in the message.

The names are those of published files: Deep3D, DECA, FLAME, PIRender, StyleFlow (torch and NumPy), NVIDIA's persistence
pickles from StyleGAN2-ADA to EG3D, StyleGAN2 for TensorFlow, chumpy and scipy.sparse inside FLAME.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from .limits import Budget, UnreadableError, damaged, quoted
from .records import ArrayRecord, DtypeRecord, Instance, Name, TensorRecord
from .storages import STORAGE_TYPES, PackedStorage, Storage

_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg", "numpy._core": "numpy.core"}
"""Modules of Python 2 and NumPy 2 by the names that the tables below use."""

DICT_CLASSES = frozenset(
    {
        "builtins.dict",
        "collections.OrderedDict",
        "collections.defaultdict",
        "collections.Counter",
        "dnnlib.util.EasyDict",
        "dnnlib.EasyDict",
        "easydict.EasyDict",
    }
)
"""Classes that come out as a plain dict."""

INERT_PREFIXES = (
    "torch.nn.",
    "torch.optim.",
    "torch_utils.",
    "training.",
    "dnnlib.",
    "models.",
    "chumpy.",
    "scipy.sparse.",
)
"""Packages whose classes become an `Instance`: class name and state, no code. `training` and `models` are the
top-level packages of NVIDIA's and of the pSp family's repositories."""

INERT_NAMES = frozenset(
    {"argparse.Namespace", "builtins.object", "numpy.ndarray", "numpy.matrix", "numpy.matrixlib.defmatrix.matrix"}
    | {f"torch.{name}" for name in ("Tensor", "_tensor.Tensor", "strided")}
    | {f"builtins.{name}" for name in ("int", "float", "bool", "str", "list")}
)
"""Single classes that are mentioned, as a base or a default, or that become an `Instance`."""

TORCH_DTYPES = {
    str(dtype): dtype
    for dtype in (
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128, torch.bool),
        *(torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.int8, torch.int16, torch.int32, torch.int64),
    )
}

STORAGES = {
    f"{package}.{name}": dtype
    for name, dtype in STORAGE_TYPES.items()
    for package in ("torch", "torch.cuda", "torch.storage")
}


def resolve(module: object, name: object) -> Name:
    """The inert name for `module.name`; UnreadableError, naming it, where it is not on the list."""
    if not isinstance(module, str) or not isinstance(name, str):
        raise damaged("it names a class by something that is not text")
    for old, new in _RENAMED.items():
        if module == old or module.startswith(old + "."):
            module = new + module[len(old) :]
    full = f"{module}.{name}"
    known = full in CALLS or full in DICT_CLASSES or full in INERT_NAMES or full in TORCH_DTYPES or full in STORAGES
    if not known and not full.startswith(INERT_PREFIXES):
        raise UnreadableError(
            f"wants to run {quoted(full)}, which is not on the list of what weights need; nothing was executed. "
            "Use the authors' own file, or save its tensors as .safetensors where it was made."
        )
    return Name(full)


def construct(name: object, args: object, budget: Budget) -> Any:
    """What calling `name` with `args` would give, as plain data or a record."""
    if not isinstance(name, Name) or not isinstance(args, tuple):
        raise damaged("it calls something that is not a class or function")
    if name.full in DICT_CLASSES:
        return _dict(name.full, args, budget)
    if name.full in CALLS:
        return CALLS[name.full](args, budget)
    if name.full in TORCH_DTYPES or name.full in STORAGES:
        raise damaged(f"it calls {quoted(name.full)}")
    return Instance(name.full, args)


def hashable(value: object) -> Any:
    """`value` if it may be a key or a set's element: plain, or a flat tuple of plain values.

    Nested tuples are refused since hashing them can take exponential time, huge integers since they can be made to
    collide.
    """
    parts = value if isinstance(value, tuple) else (value,)
    for part in parts:
        if not (part is None or isinstance(part, str | bytes | bool | int | float | Name)):
            raise damaged(f"it uses a {type(part).__name__} as the key of a table")
        if isinstance(part, int) and abs(part) >= 1 << 61:
            raise damaged("it uses a huge integer as the key of a table")
    return value


def _dict(name: str, args: tuple[Any, ...], budget: Budget) -> dict[Any, Any]:
    """A dict from nothing, from pairs or from another dict; the factory of a defaultdict is dropped."""
    source = args[1:] if name == "collections.defaultdict" else args
    if not source:
        return {}
    (pairs,) = _shaped(source, 1)
    if isinstance(pairs, dict):
        budget.spend_steps(len(pairs))
        return dict(pairs)
    made = {}
    for pair in _sequence(pairs, budget):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise damaged("a table is not made of pairs")
        made[hashable(pair[0])] = pair[1]
    return made


def _set(args: tuple[Any, ...], budget: Budget) -> set[Any]:
    return {hashable(part) for part in _sequence(args[0], budget)} if args else set()


def _encode(args: tuple[Any, ...], budget: Budget) -> bytes:
    """Protocol 2 writes bytes as Latin-1 text and this call."""
    text, encoding = _shaped(args, 2)
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise damaged("it encodes text in an unexpected way")
    return _latin_bytes(text, budget)


def _bytes(args: tuple[Any, ...], budget: Budget) -> bytes:
    if not args:
        return b""
    if isinstance(args[0], str):
        return _latin_bytes(args[0], budget)
    if not isinstance(args[0], bytes):
        raise damaged("it makes bytes from something else")
    return args[0]


def _latin_bytes(text: str, budget: Budget) -> bytes:
    budget.spend_bytes(len(text))
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise damaged("it holds bytes that are none") from error


def _reconstructor(args: tuple[Any, ...], budget: Budget) -> Any:
    """Protocols 0 and 1 make objects by copy_reg: class, base, state of the base."""
    name, base, state = _shaped(args, 3)
    if not isinstance(name, Name) or not isinstance(base, Name):
        raise damaged("it makes an object without a class")
    return construct(name, () if state is None else (state,), budget)


def _path(args: tuple[Any, ...], budget: Budget) -> str:
    """Training options may hold paths; they come out as text."""
    return "/".join(part for part in args if isinstance(part, str))


def _text(args: tuple[Any, ...], budget: Budget) -> str:
    return str(args[0]) if args and isinstance(args[0], str) else ""


def _size(args: tuple[Any, ...], budget: Budget) -> list[Any]:
    return list(_sequence(args[0], budget)) if args else []


def _dtype(args: tuple[Any, ...], budget: Budget) -> DtypeRecord:
    if not args or not isinstance(args[0], str):
        raise UnreadableError(
            "holds a NumPy array of records, which weights are not. Save its columns as plain arrays."
        )
    return DtypeRecord(args[0])


def _array(args: tuple[Any, ...], budget: Budget) -> ArrayRecord:
    """An empty array that BUILD fills; the real shape comes with the state."""
    return ArrayRecord()


def _array_from_buffer(args: tuple[Any, ...], budget: Budget) -> ArrayRecord:
    """How protocol 5 writes arrays."""
    content, dtype, shape, order = _shaped(args, 4)
    return ArrayRecord(shape, dtype, content, fortran=order == "F")


def _scalar(args: tuple[Any, ...], budget: Budget) -> ArrayRecord:
    dtype, content = _shaped(args, 2)
    return ArrayRecord((), dtype, content, scalar=True)


def _tensor(args: tuple[Any, ...], budget: Budget) -> TensorRecord:
    """(storage, offset, size, stride, …): gradients and hooks are dropped."""
    storage, offset, size, stride = _shaped(args[:4], 4)
    if not isinstance(storage, Storage | PackedStorage):
        raise damaged("a tensor has no storage")
    return TensorRecord(storage, offset, size, stride)


def _tensor_of_dtype(args: tuple[Any, ...], budget: Budget) -> TensorRecord:
    """(storage, offset, size, stride, requires_grad, hooks, dtype): bytes, read as dtype."""
    record = _tensor(args, budget)
    if len(args) < 7 or not isinstance(args[6], Name) or args[6].full not in TORCH_DTYPES:
        raise damaged("a tensor has no type")
    record.dtype = TORCH_DTYPES[args[6].full]
    return record


def _parameter(args: tuple[Any, ...], budget: Budget) -> Any:
    """A parameter is its tensor."""
    if not args or not isinstance(args[0], TensorRecord):
        raise damaged("a parameter has no tensor")
    return args[0]


def _tensor_subclass(args: tuple[Any, ...], budget: Budget) -> TensorRecord:
    """(rebuilder, class, its arguments, state): the attributes that Python code hung on the tensor are dropped."""
    rebuilder, _, inner, _ = _shaped(args, 4)
    if not isinstance(rebuilder, Name) or rebuilder.full not in _TENSOR_CALLS or not isinstance(inner, tuple):
        raise damaged("a tensor is made in an unknown way")
    return _TENSOR_CALLS[rebuilder.full](inner, budget)


def _storage_bytes(args: tuple[Any, ...], budget: Budget) -> PackedStorage:
    """A storage that carries a small torch file of its own."""
    (content,) = _shaped(args, 1)
    if not isinstance(content, bytes):
        raise damaged("a storage has no bytes")
    return PackedStorage(content)


def _persistent_module(args: tuple[Any, ...], budget: Budget) -> Instance:
    """NVIDIA's self-contained modules: their source text travels along, and is dropped here unread."""
    (meta,) = _shaped(args, 1)
    if not isinstance(meta, dict) or not isinstance(meta.get("class_name"), str):
        raise damaged("a network's description lacks its class")
    return Instance(meta["class_name"], state=meta.get("state"))


def _shaped(args: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    if len(args) != count:
        raise damaged(f"a call has {len(args)} arguments in place of {count}")
    return args


def _sequence(value: object, budget: Budget) -> Iterable[Any]:
    if not isinstance(value, list | tuple | set):
        raise damaged(f"a list was expected, not a {type(value).__name__}")
    budget.spend_steps(len(value))
    return value


_Call = Callable[[tuple[Any, ...], Budget], Any]

_TENSOR_CALLS: dict[str, _Call] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_dtype,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
}

CALLS: dict[str, _Call] = _TENSOR_CALLS | {
    "torch._tensor._rebuild_from_type_v2": _tensor_subclass,
    "torch.storage._load_from_bytes": _storage_bytes,
    "torch.Size": _size,
    "torch.device": _text,
    "torch_utils.persistence._reconstruct_persistent_obj": _persistent_module,
    "numpy.dtype": _dtype,
    "numpy.core.multiarray._reconstruct": _array,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _array_from_buffer,
    "builtins.set": _set,
    "builtins.frozenset": _set,
    "builtins.bytes": _bytes,
    "builtins.bytearray": _bytes,
    "_codecs.encode": _encode,
    "copyreg._reconstructor": _reconstructor,
    **{
        f"{module}.{name}": _path
        for module in ("pathlib", "pathlib._local")  # the latter in Python 3.13
        for name in ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")
    },
}
"""Functions and classes whose call has a meaning here."""
