"""Texture coordinates: the skin as a stretched cylinder with its seam at the back, other parts on islands below."""

from __future__ import annotations

import numpy as np

from . import field
from .part import Array, Index, Part

SKIN_BOTTOM = 0.235
"""The skin takes everything above this height of the texture."""
GAP = 0.006
"""Free border round every island."""
ISLANDS = {
    "eye_left": (0.0, 0.0, 0.23, 0.23), "eye_right": (0.23, 0.0, 0.23, 0.23),
    "ear_left": (0.46, 0.115, 0.23, 0.115), "ear_right": (0.46, 0.0, 0.23, 0.115),
    "teeth_upper": (0.69, 0.165, 0.19, 0.065), "teeth_lower": (0.69, 0.10, 0.19, 0.065),
    "tongue": (0.69, 0.0, 0.10, 0.10), "mouth_bag": (0.79, 0.0, 0.09, 0.10),
    "brow_left": (0.88, 0.195, 0.12, 0.035), "brow_right": (0.88, 0.16, 0.12, 0.035),
    "lashes_left": (0.88, 0.135, 0.12, 0.025), "lashes_right": (0.88, 0.11, 0.12, 0.025),
    "lid_edge_left": (0.88, 0.055, 0.06, 0.055), "lid_edge_right": (0.94, 0.055, 0.06, 0.055),
    "neck_cap": (0.88, 0.0, 0.06, 0.055),
}
"""x, y, width, height of the other parts' islands."""
UNTANGLE_ROUNDS, UNTANGLE_AREA = 60, 1e-9
"""Steps at most, and the area below which a triangle counts as lying face down."""
AZIMUTH = ((0.0, 0.0), (0.55, 0.155), (1.05, 0.295), (1.60, 0.385), (np.pi, 0.492))
"""Azimuth from the front in radians -> distance from the texture's middle: the face takes nearly 60 % of the width."""
ELEVATION = ((-1.42, 0.05), (-1.05, 0.10), (-0.80, 0.20), (0.60, 0.80), (1.0, 0.90), (np.pi / 2, 1.0))
"""Elevation seen from `STAR` in radians -> height within the skin's rectangle."""


def unwrap(parts: list[Part]) -> tuple[Array, Index]:
    """Every part's own coordinates laid on its island -> uv [T, 2], (0, 0) at the bottom left, and uv_faces [F, 3]."""
    uvs, faces, count = [], [], 0
    for part in parts:
        uv, uv_faces = part.uv, part.uv_faces
        if part.name in ISLANDS:
            uv = _fit(uv, ISLANDS[part.name])
        uvs.append(uv)
        faces.append(uv_faces + count)
        count += len(uv)
    return np.concatenate(uvs), np.concatenate(faces)


def unwrap_skin(sealed: Array, faces: Index, neck: Index) -> tuple[Array, Index]:
    """Places on the sealed face -> their coordinates; triangles over the seam use copies beyond its left edge.

    neck: rings from the chin down; their flare is not star-shaped, so that they are laid one under the other.
    """
    d = sealed - field.STAR
    azimuth = np.arctan2(d[:, 0], d[:, 2])
    elevation = np.arctan2(d[:, 1], np.hypot(d[:, 0], d[:, 2]))
    uv = np.column_stack([_across(azimuth), _up(elevation)])
    uv[neck, 1] = np.linspace(uv[neck[0], 1].mean(), SKIN_BOTTOM + GAP, len(neck))[:, None]
    pole = np.abs(np.hypot(d[:, 0], d[:, 2])) < 1e-6
    uv_faces = faces.copy()
    seam = float(_across(np.array([-np.pi]))[0])
    extra: list[Array] = []
    for number, corners in enumerate(faces):
        turn = azimuth[corners]
        if pole[corners].any():
            others = corners[~pole[corners]]
            extra.append(np.array([uv[others, 0].mean(), uv[corners[pole[corners]], 1][0]]))
            uv_faces[number, pole[corners]] = len(uv) + len(extra) - 1
        elif turn.max() - turn.min() > np.pi:
            for k in np.flatnonzero(turn > 0):
                extra.append(np.array([2.0 * seam - 1.0 + uv[corners[k], 0], uv[corners[k], 1]]))
                uv_faces[number, k] = len(uv) + len(extra) - 1
    uv = np.concatenate([uv, np.array(extra).reshape(-1, 2)])
    return _untangle(uv, uv_faces), uv_faces


def _untangle(uv: Array, faces: Index) -> Array:
    """Moves the inner corners of triangles that lie face down to the middle of their neighbours until none does.

    Only where the sealed face overhangs (under the nose) does its view from `STAR` fold at all.
    """
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    both, count = np.unique(np.sort(edges, axis=1), axis=0, return_counts=True)
    border = np.unique(both[count == 1])
    for _ in range(UNTANGLE_ROUNDS):
        down = faces[_areas(uv, faces) <= UNTANGLE_AREA]
        if not len(down):
            break
        loose = np.setdiff1d(np.unique(down), border)
        total, number = np.zeros_like(uv), np.zeros((len(uv), 1))
        for a, b in ((0, 1), (1, 0)):
            np.add.at(total, both[:, a], uv[both[:, b]])
            np.add.at(number, both[:, a], 1.0)
        uv = uv.copy()
        uv[loose] = (total / np.maximum(number, 1.0))[loose]
    return uv


def _areas(uv: Array, faces: Index) -> Array:
    """[F] signed areas."""
    a, b, c = uv[faces[:, 0]], uv[faces[:, 1]], uv[faces[:, 2]]
    return 0.5 * ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0])


def _across(azimuth: Array) -> Array:
    angles, widths = zip(*AZIMUTH, strict=True)
    return 0.5 + np.sign(azimuth) * np.interp(np.abs(azimuth), angles, widths)


def _up(elevation: Array) -> Array:
    angles, heights = zip(*ELEVATION, strict=True)
    return SKIN_BOTTOM + GAP + (1.0 - SKIN_BOTTOM - 2.0 * GAP) * np.interp(elevation, angles, heights)


def _fit(uv: Array, island: tuple[float, float, float, float]) -> Array:
    x, y, width, height = island
    low, high = uv.min(0), uv.max(0)
    return np.array([x, y]) + GAP / 2 + (uv - low) / (high - low) * (np.array([width, height]) - GAP)
