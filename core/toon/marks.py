"""Where the 68 landmarks lie on the toon head, along which vertices the jaw's may slide, and which triangles are what."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from . import field
from .assemble import Head
from .brows import SIDES
from .mesh import EYE_SEGMENTS, LIP_FRACTIONS, MOUTH_SEGMENTS
from .part import Array, Index

CONTOUR = 11
"""Vertices that each of the 17 jaw landmarks may slide along."""
CONTOUR_SWEEP = (-0.55, 1.05)
"""Radians from the side: backwards (negative) and towards the face."""


def landmarks(head: Head) -> Index:
    """[68] vertex of every landmark in iBUG's order; the subject's right comes first."""
    marks = np.zeros(68, np.int64)
    marks[:17] = [_outline_vertex(head, number) for number in range(17)]
    rows = head.own["brow_left"][:-2].reshape(-1, SIDES)
    along = rows[np.linspace(0, len(rows) - 1, 5).round().astype(int), 0]
    marks[22:27] = along
    marks[17:22] = head.mirror[along][::-1]
    ridge = [(0.0, y, 1.4) for y in (0.0, -0.085, -0.165, -0.245)]
    base = [(x, y, 1.4) for x, y in ((-0.098, -0.345), (-0.048, -0.375), (0.0, -0.385), (0.048, -0.375), (0.098, -0.345))]
    front = field.cast_front(np.array(ridge + base)[:, :2])
    marks[27:36] = _nearest(head, front)
    n = EYE_SEGMENTS
    left = head.skin.eye[0]
    corners = [n // 2, n // 2 - n // 6, n // 6, 0, n - n // 6, n // 2 + n // 6]  # inner corner, over the top, outer, below
    marks[42:48] = left[corners]
    right = head.skin.eye_right[0]
    marks[36:42] = right[[0, n // 6, n // 2 - n // 6, n // 2, n // 2 + n // 6, n - n // 6]]
    border = head.skin.mouth[len(LIP_FRACTIONS) - 1]
    slit = head.skin.mouth[0]
    m = MOUTH_SEGMENTS
    half = m // 2
    steps = [half, round(m * 0.36), round(m * 0.29), m // 4, m - 0 - (m - (half - round(m * 0.29))), half - round(m * 0.36), 0]
    lower = [m - (half - round(m * 0.36)), m - (half - round(m * 0.29)), m - m // 4, half + half - round(m * 0.29), half + half - round(m * 0.36)]
    marks[48:60] = border[[*steps, *lower]]
    inner = [half, round(m * 0.32), m // 4, half - round(m * 0.32), 0, m - (half - round(m * 0.32)), m - m // 4, m - round(m * 0.32)]
    marks[60:68] = slit[inner]
    return marks


def surface_points(head: Head, vertices: Index) -> tuple[Index, Array]:
    """[N] vertices -> [N] a triangle that each is a corner of, [N, 3] barycentrics with a single 1."""
    first = np.full(len(head.vertices), -1)
    corner = np.zeros(len(head.vertices), np.int64)
    for k in (2, 1, 0):
        first[head.faces[::-1, k]] = np.arange(len(head.faces))[::-1]
        corner[head.faces[::-1, k]] = k
    return first[vertices], np.eye(3)[corner[vertices]]


def contour(head: Head) -> Index:
    """[17, CONTOUR] vertices from behind to the face, along lines that cross the jaw's outline."""
    return np.stack([_nearest(head, _sweep(number, np.linspace(*CONTOUR_SWEEP, CONTOUR))) for number in range(17)])


def _outline_vertex(head: Head, number: int) -> int:
    """The outermost skin vertex of a contour line, as seen from the front."""
    line = _nearest(head, _sweep(number, np.linspace(-0.2, 0.5, 15)))
    out = _out(number)
    return int(line[np.argmax(head.vertices[line] @ out)])


def _out(number: int) -> Array:
    """Direction of a jaw landmark from the middle of the face, in the frontal plane: 0 right ear, 8 chin, 16 left ear."""
    turn = np.interp(abs(number - 8) / 8.0, [0.0, 0.25, 0.5, 1.0], [-0.5 * np.pi, -1.12, -0.72, 0.02])
    side = 1.0 if number >= 8 else -1.0
    return np.array([side * np.cos(turn) * (number != 8), np.sin(turn), 0.0])


def _sweep(number: int, turns: Array) -> Array:
    """Points of the sealed face in the plane of the landmark's direction and the viewer."""
    out = _out(number)
    low = -out[1]
    turns = np.maximum(turns, -0.15 + 0.62 * low - 0.4 * (1 - low)) if low > 0 else turns
    ahead = np.array([0.0, 0.0, 1.0])
    return field.cast(np.cos(turns)[:, None] * out + np.sin(turns)[:, None] * ahead)


def _nearest(head: Head, points: Array) -> Index:
    skin = head.own["skin"]
    return skin[cKDTree(head.vertices[skin]).query(points)[1]]


def regions(head: Head) -> tuple[Array, Array]:
    """face_region, skin_region: [F] bool."""
    p = head.vertices[head.faces].mean(1)
    part = np.array(head.parts)[head.face_part]
    skin = part == "skin"
    face = skin & (p[:, 2] > 0.05) & (p[:, 1] > -1.0) & (p[:, 1] < 0.62)
    face &= p[:, 1] > -0.80 - 0.55 * np.clip(p[:, 2], 0.0, 0.4)
    return face, skin | np.isin(part, ["ear_left", "ear_right", "lid_edge_left", "lid_edge_right", "neck_cap"])
