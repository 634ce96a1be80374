"""Clothes: shoulders that do not turn with the head, a collar round the neck, and patterns painted per pixel."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..part import Array
from .shapes import Piece, ball, grid, joined, tube

NECK = np.array([0.0, -1.30, -0.25])
"""Middle of the neck where a collar holds it."""
LOFT = ((-1.08, 0.220, 0.220), (-1.15, 0.345, 0.335), (-1.205, 0.420, 0.375), (-1.27, 0.560, 0.410),
        (-1.36, 0.780, 0.445), (-1.47, 0.970, 0.480), (-1.60, 1.075, 0.510), (-1.80, 1.130, 0.540),
        (-2.60, 1.160, 0.560))
"""Height, half-width and half-depth of the shoulders' cross-sections."""
ROUNDNESS = 2.3
"""Exponent of the super-ellipses; 2 is an ellipse."""
SECTION = 64
"""Vertices of a cross-section."""
COLLARS = ("crew", "turtleneck", "scarf", "shirt", "hood", "v_neck", "tank")
PATTERNS = ("plain", "stripes", "dots", "checks", "chevron", "pinstripes")
BARE = {"v_neck", "tank"}
"""Collars that are a neckline: skin is painted inside."""


def body() -> Piece:
    """Shoulders and chest; uv is (x, y) of the front view."""
    heights = [*np.linspace(LOFT[0][0], -1.80, 26), LOFT[-1][0]]
    rows = np.array([[np.interp(-y, -np.array(LOFT)[:, 0], column) for column in np.array(LOFT).T] for y in heights])
    turn = 2.0 * np.pi * np.arange(SECTION) / SECTION
    x = np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** (2.0 / ROUNDNESS)
    z = np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** (2.0 / ROUNDNESS)
    points = np.stack([rows[:, 1:2] * x, np.repeat(rows[:, :1], SECTION, 1), NECK[2] + rows[:, 2:3] * z], -1)
    drop = 0.10 * np.clip(z, 0.0, 1.0) * np.exp(-(((rows[:, :1] + 1.15) / 0.14) ** 2))  # the neckline dips in front
    points[..., 1] -= drop
    shade = 0.5 * np.exp(-(((rows[:, :1] + 1.10) / 0.05) ** 2)) * np.ones_like(x)
    return grid(points, NECK, points[..., :2], shade, around=True)


def collar(kind: str) -> Piece | None:
    """What stands round the neck; None where there is only a neckline."""
    made = {"crew": _crew, "turtleneck": _turtleneck, "scarf": _scarf, "shirt": _shirt, "hood": _hood}.get(kind)
    return None if made is None else made()


def _ring(height: float, wide: float, deep: float, dip: float, count: int = 56) -> Array:
    turn = 2.0 * np.pi * np.arange(count) / count
    return np.stack([wide * np.sin(turn), height - dip * np.cos(turn), NECK[2] + deep * np.cos(turn)], 1)


def _crew() -> Piece:
    return tube(_ring(-1.185, 0.372, 0.355, 0.055), 0.050, NECK, sides=12, loop=True)


def _turtleneck() -> Piece:
    folds = ((-1.06, 0.338, 0.062), (-1.15, 0.358, 0.068))
    return joined(*(tube(_ring(h, r, r * 0.98, 0.045), w, NECK, sides=12, loop=True) for h, r, w in folds))


def _scarf() -> Piece:
    ring = tube(_ring(-1.14, 0.425, 0.405, 0.05), 0.135, NECK, sides=18, loop=True, grooves=7)
    drop = np.linspace(0.0, 1.0, 10)[:, None]
    path = np.array([0.22, -1.22, 0.24]) + drop * np.array([0.06, -0.75, 0.10])
    end = tube(path, 0.125, NECK, sides=16, flat=0.45, grooves=5)
    return joined(ring, end)


def _shirt() -> Piece:
    """Two flaps that meet under the chin and stand up behind."""
    back = np.linspace(0.0, 1.0, 26)
    turn = np.pi * (1.0 - back * 0.985)
    inner = np.stack([0.350 * np.sin(turn), -1.085 - 0.105 * back**2, NECK[2] + 0.345 * np.cos(turn)], 1)
    reach = 0.075 + 0.20 * np.exp(-(((back - 0.93) / 0.20) ** 2))
    spread = 0.05 + 0.09 * back
    outward = np.stack([np.sin(turn) + 0.25 * back, np.zeros_like(turn), np.cos(turn)], 1)
    crest = inner + outward * 0.045 + np.array([0.0, 0.030, 0.0])
    outer = inner + outward * (0.075 + spread[:, None]) - np.array([0.0, 1.0, 0.0]) * reach[:, None]
    mid = 0.5 * (crest + outer) + outward * 0.030
    lining = inner - np.array([0.0, 0.14, 0.0]) - 0.03 * outward
    points = np.stack([lining, inner, crest, mid, outer, outer - outward * 0.03 + np.array([0.0, 0.012, 0.0])])
    uv = np.stack(np.broadcast_arrays(back[None], np.linspace(0.0, 1.0, len(points))[:, None]), -1)
    left = grid(points, NECK, uv, np.zeros(points.shape[:2]))
    button = ball(np.array([0.0, -1.42, 0.222]), np.array([0.028, 0.028, 0.015]), NECK, 8, 12)
    return joined(left, left.mirrored(), button)


def _hood() -> Piece:
    ring = _ring(-1.17, 0.44, 0.42, 0.10)
    front = np.cos(2.0 * np.pi * np.arange(len(ring)) / len(ring))
    hood = tube(ring, 0.095 + 0.085 * (0.5 - 0.5 * front), NECK, sides=16, loop=True)
    string = np.array([0.17, -1.30, 0.27]) + np.linspace(0.0, 1.0, 6)[:, None] * np.array([0.02, -0.28, 0.06])
    left = tube(string, 0.022, NECK, sides=8)
    return joined(hood, left, left.mirrored())


def paint(kind: str, pattern: str, uv: Tensor, first: Tensor, second: Tensor, skin: Tensor) -> Tensor:
    """uv: [N, 2] places in the front view, head units; three colours [3] -> [N, 3]."""
    x, y = uv.unbind(1)
    share = _pattern(pattern, x, y)[:, None]
    colour = first + (second - first) * share
    if kind in BARE:
        bare, hem = _neckline(kind, x, y)
        colour = torch.where(hem[:, None], second * 0.9, colour)
        colour = torch.where(bare[:, None], skin, colour)
    return colour


def bib(uv: Tensor, under: Tensor, cloth: Tensor) -> Tensor:
    """The bib and the straps of dungarees over `under` [N, 3]; uv as above, on a figure."""
    x, y = uv.abs()[:, 0], uv[:, 1]
    on = ((y < -1.85) & (x < 0.40)) | (y < -2.30) | ((x - 0.34).abs() < 0.07)
    return torch.where(on[:, None], cloth, under)


def _pattern(pattern: str, x: Tensor, y: Tensor) -> Tensor:
    """[N] 0 or 1: where the second colour goes."""
    if pattern == "stripes":
        on = torch.frac(y / 0.19 + 40.0) < 0.45
    elif pattern == "dots":
        row = torch.floor(y / 0.125)
        off_x, off_y = x / 0.14 + 0.5 * torch.remainder(row, 2.0), y / 0.125
        on = (off_x - torch.round(off_x)) ** 2 * 0.14**2 + (off_y - row - 0.5) ** 2 * 0.125**2 < 0.037**2
    elif pattern == "checks":
        return 0.5 * ((torch.frac(x / 0.24 + 40.0) < 0.5).to(x) + (torch.frac(y / 0.24 + 40.0) < 0.5).to(x))
    elif pattern == "chevron":
        zigzag = 0.5 * (torch.frac(x / 0.30 + 40.0) - 0.5).abs()
        on = torch.frac((y + zigzag * 0.30) / 0.17 + 40.0) < 0.4
    elif pattern == "pinstripes":
        on = torch.frac(x / 0.115 + 40.25) < 0.22
    else:
        return torch.zeros_like(x)
    return on.to(x)


def _neckline(kind: str, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """[N] bool twice: bare skin, and the hem beside it."""
    if kind == "v_neck":
        inside = 0.42 * (1.0 + (y + 1.13) / 0.42) - x.abs()
        return inside > 0.0, inside > -0.055
    inside = torch.maximum(y + 1.42 + 0.25 * x.abs(), y + 1.30 + 0.9 * (x.abs() - 0.62).clamp(min=0))
    strap = ((x.abs() - 0.47).abs() < 0.105) & (y > -1.60)
    return (inside > 0.0) & ~strap, (inside > -0.05) & ~strap
