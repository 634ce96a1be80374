"""What `read` returns: named tensors, plain metadata and, for pickled networks, a description of every module."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from ..errors import UserError
from .limits import quoted

BARE = "array"
"""Name of the tensor in a file that holds one tensor or array and nothing else."""

VALUE = "value"
"""Name in the metadata of plain data that is not a table, where it stands alone."""

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class ModuleInfo:
    """One module of a pickled network, as data. Its weights are in `Checkpoint.tensors` under the same dotted name.

    class_name: as the authors call it, e.g. `SynthesisLayer` (TensorFlow: the function that builds the network).
    framework: `torch` or `tensorflow`.
    init_args, init_kwargs: what the constructor was given (TensorFlow: the static arguments), as plain data.
    attributes: public attributes as plain data; arrays up to 4,096 values as nested lists, larger ones as a note.
    """

    class_name: str
    framework: str = "torch"
    init_args: list[Any] = field(default_factory=list)
    init_kwargs: dict[str, Any] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The contents of one file (or folder of OBJs); nothing of it was executed.

    format: `safetensors`, `torch zip`, `torch legacy`, `pickle`, `npy`, `npz`, `mat`, `onnx`, `obj` or `obj folder`.
    tensors: flat, dotted names, e.g. `G_ema.synthesis.b4.const`, in the file's order. On the CPU, contiguous, dtype as
        stored. TensorFlow networks keep their slashes: `Gs.synthesis/4x4/Const/const`. Names that share one tensor in
        the file share it here: treat tensors as read-only.
    metadata: everything else of the same tree as plain data (dict, list, str, int, float, bool, None).
    modules: pickled modules by dotted name, e.g. `G_ema`, `G_ema.synthesis.b4`; empty for files that hold weights only.
    """

    path: Path
    format: str
    tensors: dict[str, Tensor]
    metadata: dict[str, Any] = field(default_factory=dict)
    modules: dict[str, ModuleInfo] = field(default_factory=dict)

    @property
    def module(self) -> ModuleInfo | None:
        """The module that this checkpoint (or subset) is, where it is one."""
        return self.modules.get("")

    def __contains__(self, prefix: str) -> bool:
        """There is something under `prefix`: a tensor, a module or metadata."""
        return bool(_under(self.tensors, prefix) or _under(self.modules, prefix) or self._metadata_under(prefix))

    def subset(self, prefix: str) -> Checkpoint:
        """What lies under `prefix` (`G_ema`, `G_ema.synthesis`), named as if it were a file of its own.

        UserError where there is nothing, naming what there is.
        """
        if prefix not in self:
            raise UserError(
                f"'{self.path.name}' holds no {quoted(prefix)}. It holds: {', '.join(self.top_names()) or 'nothing'}. "
                "Use a file that has it, or one made for another loader."
            )
        return replace(
            self,
            tensors=_under(self.tensors, prefix),
            metadata=self._metadata_under(prefix),
            modules=_under(self.modules, prefix),
        )

    def _metadata_under(self, prefix: str) -> dict[str, Any]:
        found: Any = self.metadata
        for part in prefix.split("."):
            if not isinstance(found, dict) or part not in found:
                return {}
            found = found[part]
        return found if isinstance(found, dict) else {VALUE: found}

    def top_names(self) -> list[str]:
        """First parts of all names, in order, without repetition: what a message lists, at most twelve and `…`."""
        names = dict.fromkeys(name.split(".")[0] for name in (*self.tensors, *self.modules, *self.metadata) if name)
        return [*list(names)[:12], *(["…"] if len(names) > 12 else [])]


def _under(table: dict[str, _Value], prefix: str) -> dict[str, _Value]:
    exact = {"": table[prefix]} if prefix in table else {}
    return exact | {name[len(prefix) + 1 :]: value for name, value in table.items() if name.startswith(prefix + ".")}
