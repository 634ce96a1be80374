"""Pictures to train on, made on the spot: a coloured disc before a gradient; for tests and benchmarks."""

from __future__ import annotations

import torch
from torch import Tensor


def disc(number: int, size: tuple[int, int] = (32, 32)) -> Tensor:
    """[3, H, W] RGB 0…1: a warm disc before a sky from blue to pale; place, radius and shades depend on the number."""
    random = torch.Generator().manual_seed(number)
    height, width = size
    x, y, radius, shade = torch.rand(4, generator=random).tolist()
    down = torch.linspace(0, 1, height)[:, None].expand(height, width)
    sky = torch.stack([0.2 + 0.5 * down, 0.4 + 0.4 * down, 0.9 - 0.1 * down]) * (0.8 + 0.2 * shade)
    rows, columns = torch.arange(height)[:, None] + 0.5, torch.arange(width) + 0.5
    centre = (0.3 + 0.4 * y) * height, (0.3 + 0.4 * x) * width
    distance = ((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2).sqrt()
    inside = ((0.15 + 0.1 * radius) * min(size) - distance + 0.5).clamp(0, 1)
    warm = torch.tensor([0.95, 0.35 + 0.4 * shade, 0.15])[:, None, None]
    return torch.lerp(sky, warm.expand_as(sky), inside)


def discs(count: int, size: tuple[int, int] = (32, 32)) -> Tensor:
    """[count, 3, H, W]."""
    return torch.stack([disc(number, size) for number in range(count)])
