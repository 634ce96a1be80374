"""From a pickled tree to a checkpoint: tensors by dotted names, the rest as plain data, modules as descriptions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import Tensor

from .checkpoint import BARE, VALUE, ModuleInfo
from .limits import MAX_DEPTH, MAX_NAME, MAX_TENSORS, Budget, UnreadableError, checked_shape, damaged, quoted
from .records import ArrayRecord, DtypeRecord, Instance, Name, TensorRecord
from .tensors import chumpy_array, from_numpy, is_object, numpy_array, sparse_matrix, torch_tensor

MAX_ATTRIBUTE = 4096
"""Values of an array that a module's attributes show as a list. StyleGAN3's sizes and cutoffs have below 10."""

_MAX_BYTES_SHOWN = 4096
"""Longest byte string that metadata keeps, as Latin-1 text."""

_TORCH_MODULE = {"_parameters", "_buffers", "_modules"}
"""What the state of every torch.nn.Module holds."""

_TF_NETWORKS = ("G", "D", "Gs")
"""The three networks of a TensorFlow StyleGAN pickle, in their order."""

_NOTHING = object()
"""Stands for a value that became tensors and modules altogether, so that metadata keeps no trace of it."""


class Tree:
    """Collects one file's tensors, metadata and modules."""

    def __init__(self, value: Any, budget: Budget) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.modules: dict[str, ModuleInfo] = {}
        self._budget = budget
        self._made: dict[int, Tensor] = {}
        self._above: set[int] = set()
        if _is_tensorflow(value):
            value = dict(zip(_TF_NETWORKS, value, strict=True))
        plain = self._visit(value, "", 0)
        self.metadata: dict[str, Any] = plain if isinstance(plain, dict) else {}
        if plain is not _NOTHING and not isinstance(plain, dict):
            self.metadata = {VALUE: plain}

    def _visit(self, value: Any, name: str, depth: int) -> Any:
        """Plain data of `value`, whose tensors go to `self.tensors` under `name`; _NOTHING where only tensors were."""
        self._budget.spend_steps()
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, TensorRecord) or (isinstance(value, ArrayRecord) and not value.scalar):
            return self._array(value, name, depth)
        if not isinstance(value, dict | list | tuple | set | Instance):
            return self._plain(value, depth)
        self._enter(value, depth)
        if isinstance(value, Instance):
            seen = self._instance(value, name, depth)
        elif isinstance(value, dict):
            seen = self._table(value, name, depth)
        else:
            seen = self._list(value, name, depth)
        self._above.discard(id(value))
        return seen

    def _enter(self, value: Any, depth: int) -> None:
        if id(value) in self._above:
            raise UnreadableError("contains itself, which weights never do. Use the authors' own file.")
        if depth >= MAX_DEPTH:
            raise UnreadableError(
                f"is nested deeper than {MAX_DEPTH} levels, unlike weights. Use the authors' own file."
            )
        self._above.add(id(value))

    def _table(self, table: dict[Any, Any], name: str, depth: int) -> Any:
        kept: dict[str, Any] = {}
        for key, value in table.items():
            seen = self._visit(value, _joined(name, key), depth + 1)
            if seen is not _NOTHING:
                if str(key) in kept:
                    raise damaged(f"it holds two values named {quoted(_joined(name, key))}")
                kept[str(key)] = seen
        return kept if kept or not table else _NOTHING

    def _list(self, values: list[Any] | tuple[Any, ...] | set[Any], name: str, depth: int) -> Any:
        if isinstance(values, set):
            values = sorted(values, key=str)
        seen = [self._visit(value, _joined(name, i), depth + 1) for i, value in enumerate(values)]
        if seen and all(value is _NOTHING for value in seen):
            return _NOTHING
        return [None if value is _NOTHING else value for value in seen]

    def _array(self, record: ArrayRecord | TensorRecord, name: str, depth: int) -> Any:
        if isinstance(record, ArrayRecord):
            if is_object(record):
                return self._objects(record, name, depth)
            if _is_text(record):
                return self._text(record)
        self._add(name, self._tensor(record))
        return _NOTHING

    def _objects(self, record: ArrayRecord, name: str, depth: int) -> Any:
        """An object array as what it holds: its only value where it has no dimension, else a flat list."""
        values = _object_values(record)
        self._enter(record, depth)
        seen = self._visit(values if checked_shape(record.shape) else values[0], name, depth + 1)
        self._above.discard(id(record))
        return seen

    def _text(self, record: ArrayRecord) -> Any:
        """An array of strings as nested lists."""
        array = numpy_array(record, self._budget)
        self._budget.spend_steps(array.size)
        return (np.char.decode(array, "latin-1") if array.dtype.kind == "S" else array).tolist()

    def _tensor(self, record: ArrayRecord | TensorRecord) -> Tensor:
        """Made once, however often the file refers to it."""
        if id(record) not in self._made:
            if isinstance(record, TensorRecord):
                self._made[id(record)] = torch_tensor(record, self._budget)
            else:
                self._made[id(record)] = from_numpy(numpy_array(record, self._budget))
        return self._made[id(record)]

    def _add(self, name: str, tensor: Tensor) -> None:
        name = name or BARE
        if name in self.tensors:
            raise damaged(f"it holds two tensors named {quoted(name)}")
        if len(self.tensors) >= MAX_TENSORS:
            raise UnreadableError(f"holds more than {MAX_TENSORS:,} tensors. Use the authors' own file.")
        self.tensors[name] = tensor

    def _instance(self, instance: Instance, name: str, depth: int) -> Any:
        state = instance.state
        if instance.class_name.startswith("chumpy."):
            return self._array(chumpy_array(instance), name, depth)
        if instance.class_name.startswith("scipy.sparse."):
            self._add(name, from_numpy(sparse_matrix(instance, self._budget)))
            return _NOTHING
        if isinstance(state, dict) and state.keys() >= _TORCH_MODULE:
            self._torch_module(instance, state, name, depth)
            return _NOTHING
        if isinstance(state, dict) and _is_tensorflow_state(state):
            self._tensorflow_network(state, name, ".", depth)
            return _NOTHING
        contents = {**(state if isinstance(state, dict) else {}), **instance.items}
        if instance.entries:
            contents["entries"] = instance.entries
        return self._table(contents, name, depth) if contents else instance.class_name

    def _torch_module(self, instance: Instance, state: dict[str, Any], name: str, depth: int) -> None:
        """Its own parameters and persistent buffers, then its children, in the order of `state_dict`."""
        self._describe(
            name,
            ModuleInfo(
                instance.class_name.rpartition(".")[2],
                "torch",
                self._plain(list(state.get("_init_args") or ()), depth),
                self._plain(_dict_or_empty(state.get("_init_kwargs")), depth),
                self._plain({key: part for key, part in state.items() if not str(key).startswith("_")}, depth),
            ),
        )
        passing = state.get("_non_persistent_buffers_set") or ()
        kept = {key: part for key, part in _dict_or_empty(state["_buffers"]).items() if key not in passing}
        for key, part in (*_dict_or_empty(state["_parameters"]).items(), *kept.items()):
            if part is None:
                continue
            if not isinstance(part, TensorRecord):
                raise damaged(f"the parameter {quoted(_joined(name, key))} is no tensor")
            self._add(_joined(name, key), self._tensor(part))
        for key, child in _dict_or_empty(state["_modules"]).items():
            if child is not None:
                self._visit(child, _joined(name, key), depth + 1)

    def _tensorflow_network(self, state: dict[str, Any], name: str, joint: str, depth: int) -> None:
        """Variables as component/variable; the first part, the network's own name, is set off by a dot."""
        facts = {key: part for key, part in state.items() if key not in ("variables", "components", "build_module_src")}
        self._describe(
            name,
            ModuleInfo(
                str(state.get("build_func_name")),
                "tensorflow",
                init_kwargs=self._plain(_dict_or_empty(state.get("static_kwargs")), depth),
                attributes=self._plain(facts, depth),
            ),
        )
        for variable in state["variables"]:
            if not isinstance(variable, tuple | list) or len(variable) != 2 or not isinstance(variable[1], ArrayRecord):
                raise damaged("a variable of a network is no array")
            self._add(_joined(name, variable[0], joint), self._tensor(variable[1]))
        for key, part in _dict_or_empty(state.get("components")).items():
            inner = part.state if isinstance(part, Instance) else None
            if not isinstance(inner, dict) or not _is_tensorflow_state(inner):
                raise damaged("a component of a network is no network")
            self._enter(part, depth + 1)
            self._tensorflow_network(inner, _joined(name, key, joint), "/", depth + 1)
            self._above.discard(id(part))

    def _describe(self, name: str, module: ModuleInfo) -> None:
        if name in self.modules:
            raise damaged(f"it holds two modules named {quoted(name)}")
        if len(self.modules) >= MAX_TENSORS:
            raise UnreadableError(f"holds more than {MAX_TENSORS:,} modules. Use the authors' own file.")
        self.modules[name] = module

    def _plain(self, value: Any, depth: int) -> Any:
        """Plain data without tensors: small arrays become lists, larger ones and foreign objects a note."""
        self._budget.spend_steps()
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, bytes):
            if len(value) > _MAX_BYTES_SHOWN:
                return f"({len(value)} bytes)"
            self._budget.spend_bytes(len(value))
            return value.decode("latin-1")
        if isinstance(value, Name):
            return value.full
        if isinstance(value, Instance):
            return self._plain(value.state, depth) if value.class_name == "argparse.Namespace" else value.class_name
        if isinstance(value, ArrayRecord | TensorRecord):
            return self._plain_array(value)
        if isinstance(value, DtypeRecord):
            return value.code
        if not isinstance(value, dict | list | tuple | set):
            return f"({type(value).__name__})"
        self._enter(value, depth)
        if isinstance(value, dict):
            seen: Any = {str(key): self._plain(part, depth + 1) for key, part in value.items()}
        else:
            parts = sorted(value, key=str) if isinstance(value, set) else value
            seen = [self._plain(part, depth + 1) for part in parts]
        self._above.discard(id(value))
        return seen

    def _plain_array(self, record: ArrayRecord | TensorRecord) -> Any:
        if isinstance(record, ArrayRecord) and is_object(record):
            return "(array of objects)"
        shape = checked_shape(record.size if isinstance(record, TensorRecord) else record.shape)
        if math.prod(shape) > MAX_ATTRIBUTE:
            return f"(array {list(shape)})"
        self._budget.spend_steps(math.prod(shape))
        if isinstance(record, TensorRecord):
            return self._tensor(record).tolist()
        if _is_text(record):
            return self._text(record)
        array = numpy_array(record, self._budget)
        return array.astype(str).tolist() if np.iscomplexobj(array) else array.tolist()


def _joined(name: str, key: object, joint: str = ".") -> str:
    joined = f"{name}{joint}{key}" if name else str(key)
    if len(joined) > MAX_NAME:
        raise damaged(f"a name is longer than {MAX_NAME} characters")
    return joined


def _is_text(record: ArrayRecord) -> bool:
    return isinstance(record.dtype, DtypeRecord) and record.dtype.code[:1] in ("S", "U")


def _object_values(record: ArrayRecord) -> list[Any]:
    shape = checked_shape(record.shape)
    if not isinstance(record.content, list) or len(record.content) != math.prod(shape):
        raise damaged(f"an array of shape {list(shape)} has the wrong number of values")
    return record.content


def _dict_or_empty(value: Any) -> dict[Any, Any]:
    if not isinstance(value, dict) and value is not None:
        raise damaged("a network's description holds something else where a table belongs")
    return value or {}


def _is_tensorflow_state(state: dict[Any, Any]) -> bool:
    return isinstance(state.get("variables"), list) and "build_func_name" in state


def _is_tensorflow(value: Any) -> bool:
    return (
        isinstance(value, tuple | list)
        and len(value) == len(_TF_NETWORKS)
        and all(isinstance(part, Instance) and isinstance(part.state, dict) for part in value)
        and all(_is_tensorflow_state(part.state) for part in value)
    )
