"""What is behind the portrait: soft light on a wall, sometimes with faint shapes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

BACKDROPS = {"glow": 2.0, "slope": 1.0, "discs": 1.5, "window": 0.7, "horizon": 0.7}
"""Kinds, and how often each is drawn."""
DISCS = 5
FLAT, SHADOW = 0.17, 0.38
"""A figure's shadow on the floor: height over width, and the light it takes."""
GOLDEN = 0.618034
"""Spreads discs evenly over any phase."""


def paint(kind: str, inner: Tensor, outer: Tensor, phase: float, size: tuple[int, int]) -> Tensor:
    """Two colours [3] -> [3, H, W]. phase: 0…1."""
    height, width = size
    y = (torch.arange(height, device=inner.device, dtype=inner.dtype) + 0.5)[:, None] / height * 2 - 1
    x = (torch.arange(width, device=inner.device, dtype=inner.dtype) + 0.5)[None] / height * 2 - width / height
    side = 0.5 * math.cos(2 * math.pi * phase)
    far = torch.sqrt((x - 0.3 * side) ** 2 + (y + 0.15) ** 2)
    share = _smooth((far - 0.15) / 1.25)
    if kind == "slope":
        share = _smooth(0.5 + 0.45 * (y + side * x))
    elif kind == "discs":
        for k in range(DISCS):
            place = (phase + GOLDEN * k) % 1.0
            cx, cy, radius = 2.2 * place - 1.1, 1.7 * ((phase * 3 + 0.382 * k) % 1.0) - 1.0, 0.16 + 0.07 * k
            inside = _smooth((radius - torch.sqrt((x - cx) ** 2 + (y - cy) ** 2)) / 0.03)
            share = share * (1 - 0.28 * inside)
    elif kind == "window":
        slant = x + 0.35 * y - 0.8 * side
        pane = _smooth((0.42 - (slant - 0.1).abs()) / 0.06) * _smooth(((slant - 0.1).abs() - 0.03) / 0.03)
        share = 0.75 * share + 0.25 - 0.30 * pane
    elif kind == "horizon":
        share = 0.8 * share + 0.30 * _smooth((y - 0.25 - 0.1 * side) / 0.03)
    return inner[:, None, None] + (outer - inner)[:, None, None] * share


def grounded(wall: Tensor, foot: tuple[float, float], wide: float) -> Tensor:
    """`wall` [3, H, W] with a soft shadow on the floor. foot: its middle in pixels (x, y). wide: half-width, pixels."""
    y = (torch.arange(wall.shape[1], device=wall.device, dtype=wall.dtype) + 0.5)[:, None] - foot[1]
    x = (torch.arange(wall.shape[2], device=wall.device, dtype=wall.dtype) + 0.5)[None] - foot[0]
    far = (x / wide) ** 2 + (y / (FLAT * wide)) ** 2
    return wall * (1 - SHADOW * torch.exp(-far))


def _smooth(t: Tensor) -> Tensor:
    t = t.clamp(0, 1)
    return t * t * (3 - 2 * t)
