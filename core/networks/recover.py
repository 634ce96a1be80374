"""What every network file needs to come back from a checkpoint: unknown options with their defaults, strict loading."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..errors import UserError

LISTED = 6
"""Names that an error lists before it only counts."""

N = TypeVar("N", bound=nn.Module)


class Known:
    """Options that weights cannot tell, as far as the file names them; defaults taken on no evidence are noted.

    A file that names some constructor arguments but not this one was made with its repository's default, which is then
    certain. Only a file without any leaves a guess.
    """

    def __init__(self, named: Mapping[str, Any], defaults: Mapping[str, Any], certain: bool) -> None:
        self.named, self.defaults, self.certain = named, defaults, certain
        self.guessed: list[str] = []

    def __getitem__(self, name: str) -> Any:
        if name in self.named:
            return self.named[name]
        if not self.certain:
            self.guessed.append(f"{name} = {self.defaults[name]}")
        return self.defaults[name]


def load_strictly(build: Callable[[], N], tensors: Mapping[str, Tensor], what: str) -> N:
    """The network that `build` makes, holding copies of `tensors` as float32; frozen, in evaluation mode.

    FIR filters take the file's shape. Works inside inference mode without leaving inference tensors behind, and draws
    no random number. UserError lists what is missing, unexpected or of another shape.
    """
    with torch.inference_mode(False), torch.no_grad():
        with torch.device("meta"):
            network = build()
        for name, buffer in list(network.named_buffers()):
            if name.endswith("_filter") and name in tensors and tensors[name].shape != buffer.shape:
                owner, _, leaf = name.rpartition(".")
                network.get_submodule(owner).register_buffer(leaf, torch.empty(tensors[name].shape, device="meta"))
        own = network.state_dict()
        _refuse_differences(own, tensors, what)
        network.load_state_dict({key: tensors[key].detach().to(torch.float32, copy=True) for key in own}, assign=True)
    return network.eval().requires_grad_(False)


def _refuse_differences(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], what: str) -> None:
    complaints = []
    if missing := sorted(own.keys() - tensors.keys()):
        complaints.append(f"missing: {_listed(missing)}")
    if unexpected := sorted(tensors.keys() - own.keys()):
        complaints.append(f"unexpected: {_listed(unexpected)}")
    if reshaped := [
        f"{key} {list(tensors[key].shape)} instead of {list(own[key].shape)}"
        for key in sorted(own.keys() & tensors.keys())
        if tensors[key].shape != own[key].shape
    ]:
        complaints.append(f"of another shape: {_listed(reshaped)}")
    if complaints:
        raise UserError(
            f"This file does not hold a complete {what}; {'; '.join(complaints)}. "
            "Use the file as its authors published it."
        )


def _listed(names: list[str]) -> str:
    rest = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {rest} more" if rest > 0 else "")
