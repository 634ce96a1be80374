"""What checkpoints keep of optimisers, by the names of the parameters, so that their order may change."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.optim import Optimizer


def kept_adam(prefix: str, optimiser: Optimizer, network: nn.Module) -> dict[str, Tensor]:
    """The optimiser's running moments, as '<prefix><moment>.<parameter>'."""
    found = {}
    for name, parameter in network.named_parameters():
        for key, value in optimiser.state.get(parameter, {}).items():
            found[f"{prefix}{key}.{name}"] = value
    return found


def restore_adam(prefix: str, optimiser: Optimizer, network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Puts them back; parameters that had none keep none."""
    optimised = {id(p): place for place, p in enumerate(p for g in optimiser.param_groups for p in g["params"])}
    parameters = dict(network.named_parameters())
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in below(tensors, prefix).items():
        moment, name = key.split(".", 1)
        state.setdefault(optimised[id(parameters[name])], {})[moment] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})


def below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with `prefix`, without it."""
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
