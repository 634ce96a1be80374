"""The pack's own finder of drawn faces: two small networks, one that looks where faces are, one that marks a face.

The scout is fully convolutional and knows faces of one octave of sizes; larger ones it finds in smaller pictures
(`core.methods.find_toon` goes through them). The marker looks at a square round a face and gives its 68 points and
whether there is a face at all, which decides. Both are ResNets (`core.networks.resnet`) with heads of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from .recover import load_strictly
from .resnet import ResNet, ResNetOptions, recover_options

STRIDE = 8
"""Pixels of a picture for one cell of the scout's maps."""
FACE_SIDE = 32.0
"""Side in pixels of the box of a face of which the scout says size 0; half and double of it are near its limits."""
SCOUT_MAPS = 4
"""Logit of a face's middle, its place x and y from the cell's middle in cells, logarithm to base 2 of its size."""
RARE = -3.0
"""Logit of a face at the start: few cells hold one."""
POINTS = 68
MARKER_STEPS = 16
"""The marker's picture by its last maps: stem and pooling divide by 4, two of the three stages by 2 each."""


SCOUT, MARKER = ResNetOptions.basic((1, 2), 24), ResNetOptions.basic((1, 1, 1), 32)
"""Trunks of the embedded finder: 90,000 and 750,000 weights with their heads."""


@dataclass(frozen=True)
class FinderOptions:
    """scout, marker: trunks, the scout's of two stages, the marker's of three. side: of the marker's pictures, a
    multiple of 16 pixels.
    """

    scout: ResNetOptions = SCOUT
    marker: ResNetOptions = MARKER
    side: int = 80


class Scout(nn.Module):
    """[B, 3, H, W] RGB 0…1 -> [B, SCOUT_MAPS, H / 8, W / 8], sides rounded up."""

    def __init__(self, trunk: ResNetOptions) -> None:
        super().__init__()
        self.trunk = ResNet(trunk)
        self.head = nn.Conv2d(trunk.channels, SCOUT_MAPS, 1)
        nn.init.zeros_(self.head.bias)
        with torch.no_grad():
            self.head.bias[0] = RARE

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(self.trunk(pictures * 2 - 1))


class Marker(nn.Module):
    """[B, 3, side, side] RGB 0…1 -> points [B, 68, 2] and logit [B] of a face.

    Points are in sides of the picture from its middle, x to the right, y down; they start as `mean`.
    """

    mean: Tensor

    def __init__(self, trunk: ResNetOptions, side: int) -> None:
        super().__init__()
        self.trunk, self.side = ResNet(trunk), side
        self.head = nn.Linear(trunk.channels * (side // MARKER_STEPS) ** 2, 2 * POINTS + 1)
        nn.init.normal_(self.head.weight, std=1e-3)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("mean", torch.zeros(POINTS, 2))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        if pictures.shape[1:] != (3, self.side, self.side):
            raise UserError(f"The marker takes pictures [B, 3, {self.side}, {self.side}]; got {list(pictures.shape)}.")
        found = self.head(self.trunk(pictures * 2 - 1).flatten(1))
        return self.mean + found[:, :-1].unflatten(1, (POINTS, 2)), found[:, -1]


class LandmarkFinder(nn.Module):
    """Both; a fresh one draws its weights from torch's generator and is in training mode."""

    def __init__(self, options: FinderOptions | None = None) -> None:
        super().__init__()
        self.options = options = options or FinderOptions()
        self.scout = Scout(options.scout)
        self.marker = Marker(options.marker, options.side)

    def forward(self, pictures: Tensor, faces: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures for the scout and for the marker -> maps, points, logits, as each gives them; for trainings."""
        return self.scout(pictures), *self.marker(faces)

    def describe(self) -> str:
        """One line: what was recognised."""
        weights = sum(p.numel() for p in self.parameters())
        return f"finder of drawn faces, 68 points, {weights:,} weights, marks pictures of {self.marker.side} pixels"


def matches(tensors: Mapping[str, Tensor]) -> bool:
    """The two heads and the mean face."""
    return {"scout.head.weight", "marker.head.weight", "marker.mean"} <= tensors.keys()


def from_tensors(tensors: Mapping[str, Tensor], init: Mapping[str, Any] | None = None) -> LandmarkFinder:
    """All sizes are read off the shapes; strict, frozen, evaluating. UserError where the file is not whole."""
    try:
        scout, marker = (recover_options(_below(tensors, f"{part}.trunk.")) for part in ("scout", "marker"))
        cells = tensors["marker.head.weight"].shape[1] // marker.channels
    except (KeyError, IndexError, ZeroDivisionError) as error:
        raise UserError(f"This file does not hold a complete finder of drawn faces: {error} is missing.") from error
    options = FinderOptions(scout, marker, MARKER_STEPS * round(cells**0.5))
    return load_strictly(lambda: LandmarkFinder(options), tensors, "finder of drawn faces")


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
