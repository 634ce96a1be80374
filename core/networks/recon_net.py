"""Deep3DFaceRecon's regressor: a picture of a face to the coefficients of a morphable model, in one pass.

Source: Deng et al. 2019, "Accurate 3D face reconstruction with weakly-supervised learning"; Deep3DFaceRecon_pytorch,
models/networks.py, `ReconNetWrapper`. Published as `epoch_20.pth`, whose `net_recon` is the network; the same module at
another width and with other heads serves any morphable model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from .recover import load_strictly
from .resnet import ResNet, ResNetOptions, recover_options

PREFIX = "net_recon."
"""The network's place in `epoch_20.pth`, beside the optimiser's."""
HEADS = (80, 64, 80, 3, 27, 2, 1)
"""Outputs of the published heads: identity, expression, albedo, angles, light, translation x and y, translation z."""
PICTURE = 224
"""Side in pixels of the crops that the published networks were trained on; the layers take any size."""
BACKBONE, HEAD, LAST = "backbone.", "final_layers.", "backbone.fc."


@dataclass(frozen=True)
class ReconNetOptions:
    """trunk: the ResNet. heads: outputs of each, in order.

    one_layer: upstream's `use_last_fc`, a single linear layer `backbone.fc` instead of a 1 × 1 convolution for each
    head; its file does not tell where one group ends, so `heads` then holds one number.
    """

    trunk: ResNetOptions = field(default_factory=ResNetOptions)
    heads: tuple[int, ...] = HEADS
    one_layer: bool = False


class ReconNet(nn.Module):
    """[B, 3, H, W] RGB 0…1, not normalised -> [B, sum of heads]; 0 before training, as upstream starts."""

    def __init__(self, options: ReconNetOptions = ReconNetOptions()) -> None:
        super().__init__()
        self.options = options
        self.backbone = ResNet(options.trunk)
        channels = self.backbone.channels
        for layer in self.backbone.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        self.final_layers = nn.ModuleList()
        if options.one_layer:
            self.backbone.fc = _silent(nn.Linear(channels, sum(options.heads)))
        else:
            self.final_layers.extend(_silent(nn.Conv2d(channels, outputs, 1)) for outputs in options.heads)

    @property
    def outputs(self) -> int:
        """Values a face."""
        return sum(self.options.heads)

    def forward(self, pictures: Tensor) -> Tensor:
        if pictures.dim() != 4 or pictures.shape[1] != 3:
            raise UserError(f"The regressor takes pictures [B, 3, H, W]; got {list(pictures.shape)}.")
        pooled = self.backbone(pictures).mean((2, 3), keepdim=True)
        if self.options.one_layer:
            return self.backbone.fc(pooled.flatten(1))
        return torch.cat([head(pooled) for head in self.final_layers], 1).flatten(1)

    def describe(self) -> str:
        """One line: what was recognised."""
        trunk, heads = self.options.trunk, self.options.heads
        narrow = "" if trunk.stem == 64 else f", {trunk.stem} channels wide"
        ends = "one last layer" if self.options.one_layer else f"{len(heads)} heads"
        return f"ResNet-{trunk.depth}{narrow}, {ends}, {sum(heads)} values a face"


def matches(tensors: Mapping[str, Tensor]) -> bool:
    """`epoch_20.pth`, which may hold an optimiser's tensors beside the network's, or the network alone."""
    own = _own(tensors)
    return "backbone.conv1.weight" in own and ("final_layers.0.weight" in own or "backbone.fc.weight" in own)


def from_tensors(tensors: Mapping[str, Tensor], init: Mapping[str, Any] | None = None) -> ReconNet:
    """Depth, widths and heads are read off the shapes; strict. UserError where the file is not whole."""
    own = _own(tensors)
    try:
        options = _options(own)
    except (LookupError, ValueError, ZeroDivisionError) as error:
        raise UserError(
            f"This file does not hold a complete Deep3DFaceRecon regressor: {error} is missing or empty. Use the file "
            "as its authors published it."
        ) from error
    return load_strictly(lambda: ReconNet(options), own, "Deep3DFaceRecon regressor")


def _own(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The network's tensors under its own names; without the prefix where the file has one."""
    inside = {key[len(PREFIX) :]: tensor for key, tensor in tensors.items() if key.startswith(PREFIX)}
    return inside or tensors


def _options(own: Mapping[str, Tensor]) -> ReconNetOptions:
    trunk = recover_options({key[len(BACKBONE) :]: t for key, t in own.items() if key.startswith(BACKBONE)})
    if f"{LAST}weight" in own:
        return ReconNetOptions(trunk, (own[f"{LAST}weight"].shape[0],), one_layer=True)
    numbers = sorted(int(key.split(".")[1]) for key in own if key.startswith(HEAD) and key.endswith(".weight"))
    heads = tuple(own[f"{HEAD}{number}.weight"].shape[0] for number in numbers or [0])
    return ReconNetOptions(trunk, heads)


def _silent(layer: nn.Linear | nn.Conv2d) -> nn.Module:
    """Weights and biases 0."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
