"""Full figures: the portrait's head on a small body, in outfits and poses.

Units and axes are the head's; the figure stands three heads high. Every limb is one bent tube, so nothing breaks at a
joint. Places were found by looking.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..part import Array
from .clothes import NECK, ROUNDNESS
from .shapes import Piece, ball, grid, joined, tube

Place = tuple[float, float, float]


@dataclass(frozen=True)
class Outfit:
    """sleeve, trousers: share of arm and leg that is covered, 0…1. hem: height at which the top ends. skirt: height at
    which a skirt ends, or None; it is `flare` wide there. whole: the skirt is of the top's cloth. bib: dungarees.
    """

    sleeve: float
    trousers: float
    hem: float = -2.78
    skirt: float | None = None
    flare: float = 0.95
    whole: bool = False
    bib: bool = False


OUTFITS: dict[str, Outfit] = {
    "jeans": Outfit(0.36, 1.0),
    "sweater": Outfit(0.97, 1.0, -2.90),
    "shorts": Outfit(0.36, 0.42),
    "dress": Outfit(0.22, 0.0, skirt=-3.75, flare=1.05, whole=True),
    "skirt": Outfit(0.97, 0.0, -2.45, skirt=-3.45, flare=0.98),
    "coat": Outfit(0.97, 1.0, skirt=-3.65, flare=0.80, whole=True),
    "dungarees": Outfit(0.60, 1.0, bib=True),
}
ARMS: dict[str, tuple[Place, Place]] = {
    "down": ((0.98, -2.12, -0.28), (1.02, -2.80, -0.12)),
    "hip": ((1.32, -2.12, -0.40), (0.84, -2.60, -0.02)),
    "wave": ((1.22, -1.98, -0.12), (1.36, -1.22, 0.10)),
    "up": ((1.28, -1.32, -0.20), (1.34, -0.52, -0.10)),
    "offer": ((1.02, -2.10, -0.05), (1.16, -2.04, 0.55)),
    "back": ((1.06, -2.08, -0.58), (0.82, -2.65, -0.86)),
}
"""Elbow and wrist of the left arm."""
LEGS: dict[str, tuple[tuple[Place, Place], tuple[Place, Place]]] = {
    "straight": (((0.33, -3.90, -0.20), (0.34, -4.80, -0.30)), ((0.33, -3.90, -0.20), (0.34, -4.80, -0.30))),
    "apart": (((0.44, -3.90, -0.20), (0.56, -4.78, -0.30)), ((0.44, -3.90, -0.20), (0.56, -4.78, -0.30))),
    "ease": (((0.33, -3.90, -0.22), (0.33, -4.80, -0.34)), ((0.46, -3.85, 0.00), (0.56, -4.74, -0.12))),
    "walk": (((0.32, -3.86, 0.10), (0.32, -4.72, 0.12)), ((0.32, -3.92, -0.30), (0.34, -4.66, -0.80))),
}
"""Knee and ankle of the left and of the right leg, the right one mirrored."""
SHOULDER, HIP = np.array([0.50, -1.545, -0.25]), np.array([0.30, -2.92, -0.25])
TORSO = ((-1.08, 0.220, 0.220), (-1.15, 0.330, 0.320), (-1.205, 0.390, 0.350), (-1.27, 0.500, 0.380),
         (-1.36, 0.630, 0.400), (-1.48, 0.715, 0.410), (-1.62, 0.725, 0.420), (-1.90, 0.650, 0.420),
         (-2.30, 0.590, 0.410), (-2.60, 0.610, 0.420), (-2.85, 0.640, 0.430), (-3.05, 0.600, 0.400),
         (-3.20, 0.330, 0.280), (-3.24, 0.010, 0.010))  # fmt: skip
"""Height, half-width and half-depth of the body's cross-sections."""
ARM, LEG = (0.205, 0.150), (0.280, 0.165)
"""Radius at the root and at the end of a limb."""
CLOTH = 0.032
"""How far cloth stands off a limb."""
SKIRT_FROM = -2.36
ROUNDING = 7
"""Of 36 points along a limb, those over which its bend is rounded."""


FLOOR = -5.05
"""Height of the soles."""


def pieces(outfit: Outfit, arms: tuple[str, str], legs: str) -> list[tuple[str, Piece]]:
    """Material and mesh of everything below the neck. arms: left, right."""
    found = [("body", _loft(TORSO, outfit.hem, 0.02)), ("bottom", _loft(TORSO, -3.24, 0.0))]
    for side, name in zip((1.0, -1.0), arms, strict=True):
        path = _limb(SHOULDER, *ARMS[name])
        found += _placed(side, "limb", tube(path, np.linspace(*ARM, len(path)), NECK, sides=18))
        found += _placed(side, "limb", _hand(path))
        found += _placed(side, "body", _sleeve(path, ARM, outfit.sleeve))
    for side, (knee, ankle) in zip((1.0, -1.0), LEGS[legs], strict=True):
        path = _limb(HIP, knee, ankle)
        found += _placed(side, "limb", tube(path, np.linspace(*LEG, len(path)), NECK, sides=18))
        found += _placed(side, "shoe", _shoe(path[-1]))
        if outfit.trousers:
            found += _placed(side, "bottom", _sleeve(path, LEG, outfit.trousers))
    if outfit.skirt is not None:
        rows = ((SKIRT_FROM, 0.600, 0.425), (-2.70, 0.690, 0.490), (outfit.skirt, outfit.flare, 0.78 * outfit.flare))
        found.append(("body" if outfit.whole else "bottom", _loft(rows, outfit.skirt, 0.03, folds=9)))
    return found


def _placed(side: float, material: str, piece: Piece) -> list[tuple[str, Piece]]:
    return [(material, piece if side > 0 else piece.mirrored())]


def _limb(root: Array, bend: Place, end: Place) -> Array:
    """[36, 3], straight from root to bend to end, rounded at the bend."""
    keys = np.stack([root, np.array(bend), np.array(end)])
    t = np.linspace(0.0, 2.0, 36)
    path = np.stack([np.interp(t, range(3), column) for column in keys.T], 1)
    padded = np.concatenate([np.repeat(path[:1], ROUNDING, 0), path, np.repeat(path[-1:], ROUNDING, 0)])
    window = np.ones(2 * ROUNDING + 1) / (2 * ROUNDING + 1)
    smooth = np.stack([np.convolve(column, window, "valid") for column in padded.T], 1)
    keep = np.clip(np.minimum(t, 2.0 - t) / 0.4, 0.0, 1.0)[:, None]
    return path + (smooth - path) * keep


def _sleeve(path: Array, radii: tuple[float, float], share: float) -> Piece:
    """Cloth round the first part of a limb; uv is its place in the front view."""
    count = max(4, round(share * len(path)))
    radius = np.linspace(*radii, len(path))[:count] + CLOTH
    radius[-2:] += (0.012, 0.004)  # the cuff
    radius[:3] *= (0.35, 0.75, 0.95)  # closed inside the body
    piece = tube(path[:count], radius, NECK, sides=20)
    return Piece(piece.vertices, piece.faces, piece.anchors, piece.vertices[:, :2], piece.shade)


def _hand(path: Array) -> Piece:
    ahead = path[-1] - path[-4]
    ahead /= np.linalg.norm(ahead)
    palm = ball(path[-1] + 0.13 * ahead, np.array([0.185, 0.200, 0.160]), NECK, 14, 22)
    inward = np.array([-0.55, 0.10, 0.75])
    thumb = tube(path[-1] + 0.05 * ahead + np.linspace(0.0, 1.0, 6)[:, None] * (0.22 * inward + 0.14 * ahead),
                 np.array([0.080, 0.080, 0.078, 0.070, 0.055, 0.015]), NECK, sides=10)  # fmt: skip
    return joined(palm, thumb)


def _shoe(ankle: Array) -> Piece:
    upper = ball(ankle + np.array([0.0, -0.07, 0.13]), np.array([0.205, 0.170, 0.355]), NECK, 16, 28)
    sole = ball(ankle + np.array([0.0, -0.20, 0.14]), np.array([0.215, 0.055, 0.375]), NECK, 8, 28)
    return joined(upper, sole)


def _loft(rows: tuple[tuple[float, float, float], ...], end: float, off: float, folds: int = 0) -> Piece:
    """Cross-sections from the first row down to `end`, `off` outside of them; folds grow towards the hem."""
    table = np.array(rows)
    heights = np.linspace(table[0, 0], end, 40)
    wide, deep = (np.interp(-heights, -table[:, 0], table[:, k])[:, None] + off for k in (1, 2))
    turn = 2.0 * np.pi * np.arange(72) / 72
    x = np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** (2.0 / ROUNDNESS)
    z = np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** (2.0 / ROUNDNESS)
    down = np.linspace(0.0, 1.0, 40)[:, None]
    fold = np.cos(folds * turn + 0.7) if folds else np.zeros(72)
    swell = 1.0 + 0.055 * fold * down
    points = np.stack([wide * x * swell, np.repeat(heights[:, None], 72, 1), NECK[2] + deep * z * swell], -1)
    return grid(points, NECK, points[..., :2], 0.35 * (0.5 - 0.5 * fold) * down if folds else np.zeros((40, 72)), True)
