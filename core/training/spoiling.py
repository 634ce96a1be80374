"""Pictures made worse, as generators, croppers and cameras make them: what a network has to see through."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

SIZES_A_STEP = 2
"""Lower resolutions in one batch."""


def warped(pictures: Tensor, matrices: Tensor, side: int) -> Tensor:
    """[B, C, S, S] and matrices [B, 3, 3], old pixels -> new, give [B, C, side, side]; bilinear, mirrored outside."""
    old, new = (torch.tensor([[2 / size, 0, -1], [0, 2 / size, -1], [0, 0, 1]]) for size in (pictures.shape[-1], side))
    back = old @ torch.linalg.inv(matrices) @ torch.linalg.inv(new)
    grid = functional.affine_grid(back[:, :2], [*pictures.shape[:2], side, side], align_corners=False)
    return functional.grid_sample(pictures, grid, "bilinear", "reflection", align_corners=False)


def coarser(pictures: Tensor, share: float, coarsest: float, random: torch.Generator) -> Tensor:
    """The first `share` of the batch [B, C, S, S] seen at lower resolutions from `coarsest` · S on, back at S."""
    size, count = pictures.shape[-1], int(len(pictures) * share) // SIZES_A_STEP
    parts = []
    for number in range(SIZES_A_STEP):
        side = int(torch.randint(max(round(coarsest * size), 1), size + 1, (), generator=random))
        part = pictures[number * count : (number + 1) * count]
        small = functional.interpolate(part, (side, side), mode="bilinear", antialias=True)
        parts.append(functional.interpolate(small, (size, size), mode="bilinear"))
    return torch.cat([*parts, pictures[SIZES_A_STEP * count :]])


def spoiled(pictures: Tensor, grain: float, glare: float, random: torch.Generator) -> Tensor:
    """Brightness of [B, C, S, S] 0…1 off by up to `glare`, and noise of a deviation up to `grain` on every second."""
    count = len(pictures)
    bright = 1 + (torch.rand(count, 1, 1, 1, generator=random) * 2 - 1) * glare
    strength = torch.rand(count, 1, 1, 1, generator=random) * grain
    strength[::2] = 0
    noise = torch.randn(pictures.shape, generator=random)
    return (pictures * bright + noise * strength).clamp(0, 1)
