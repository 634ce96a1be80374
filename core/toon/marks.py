"""Where the 68 landmarks lie on the toon head, and which of its triangles are what."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from . import field
from .assemble import Head
from .brows import SIDES
from .mesh import EYE_SEGMENTS, LIP_FRACTIONS, MOUTH_SEGMENTS
from .part import Array, Index

RIDGE = ((0.0, 0.0), (0.0, -0.085), (0.0, -0.165), (0.0, -0.245))
"""Frontal places of landmarks 27 to 30, down the nose."""
NOSE_BASE = ((-0.098, -0.345), (-0.048, -0.375), (0.0, -0.385), (0.048, -0.375), (0.098, -0.345))
"""Frontal places of landmarks 31 to 35, under it."""
OUTER_LIPS = (0.0, 0.14, 0.21, 0.25, 0.29, 0.36, 0.5)
"""Landmarks 54 back to 48 as turns round the vermilion border, from the left corner over the upper lip."""
INNER_LIPS = (0.0, 0.18, 0.25, 0.32, 0.5)
"""Landmarks 64 back to 60, round the slit."""


def landmarks(head: Head) -> Index:
    """[68] vertex of every landmark in iBUG's order; the subject's right comes first."""
    marks = np.zeros(68, np.int64)
    marks[:17] = [_outline_vertex(head, number) for number in range(17)]
    rings = head.own["brow_left"][:-2].reshape(-1, SIDES)
    marks[22:27] = rings[np.linspace(0, len(rings) - 1, 5).round().astype(int), 0]
    marks[17:22] = head.mirror[marks[22:27]][::-1]
    marks[27:36] = _nearest(head, field.cast_front(np.array(RIDGE + NOSE_BASE)))
    third, half = EYE_SEGMENTS // 6, EYE_SEGMENTS // 2  # the lids' marks lie a third of the way from the corners
    outer_over_to_inner = np.array([0, third, half - third, half, half + third, EYE_SEGMENTS - third])
    marks[36:42] = head.skin.eye_right[0, outer_over_to_inner]
    marks[42:48] = head.skin.eye[0, outer_over_to_inner[[3, 2, 1, 0, 5, 4]]]
    marks[48:60] = _round_lips(head.skin.mouth[len(LIP_FRACTIONS) - 1], OUTER_LIPS)
    marks[60:68] = _round_lips(head.skin.mouth[0], INNER_LIPS)
    return marks


def _round_lips(loop: Index, turns: tuple[float, ...]) -> Index:
    """From the right corner over the upper lip to the left one, and back under the lower lip."""
    over = np.round(np.array(turns[::-1]) * MOUTH_SEGMENTS).astype(int)
    under = (MOUTH_SEGMENTS - over[::-1][1:-1]) % MOUTH_SEGMENTS
    return loop[np.concatenate([over, under])]


def surface_points(head: Head, vertices: Index) -> tuple[Index, Array]:
    """[N] vertices -> [N] a triangle that each is a corner of, [N, 3] barycentrics with a single 1."""
    triangle, corner = np.zeros(len(head.vertices), np.int64), np.zeros(len(head.vertices), np.int64)
    for k in range(3):
        triangle[head.faces[:, k]] = np.arange(len(head.faces))
        corner[head.faces[:, k]] = k
    return triangle[vertices], np.eye(3)[corner[vertices]]


def regions(head: Head) -> tuple[Array, Array]:
    """face_region, skin_region: [F] bool."""
    middle = head.vertices[head.faces].mean(1)
    part = np.array(head.parts)[head.face_part]
    face = (part == "skin") & (middle[:, 2] > 0.05) & (middle[:, 1] < 0.62)
    face &= middle[:, 1] > np.maximum(-1.0, -0.80 - 0.55 * np.clip(middle[:, 2], 0.0, 0.4))  # down to the jaw's line
    skin = ["skin", "ear_left", "ear_right", "lid_edge_left", "lid_edge_right", "neck_cap"]
    return face, np.isin(part, skin)


def _outline_vertex(head: Head, number: int) -> int:
    """The outermost skin vertex of a contour line, as seen from the front."""
    line = _nearest(head, _sweep(number, np.linspace(-0.2, 0.5, 15)))
    return int(line[np.argmax(head.vertices[line] @ _out(number))])


def _out(number: int) -> Array:
    """Frontal direction of a jaw landmark from the middle of the face: 0 right ear, 8 chin, 16 left ear."""
    turn = np.interp(abs(number - 8) / 8.0, [0.0, 0.25, 0.5, 1.0], [-0.5 * np.pi, -1.12, -0.72, 0.02])
    side = np.sign(number - 8)
    return np.array([side * np.cos(turn), np.sin(turn), 0.0])


def _sweep(number: int, turns: Array) -> Array:
    """Points of the sealed face in the plane of the landmark's direction and the viewer; below, never on the neck."""
    out = _out(number)
    low = -out[1]
    turns = np.maximum(turns, 1.02 * low - 0.55) if low > 0 else turns
    return field.cast(np.cos(turns)[:, None] * out + np.sin(turns)[:, None] * np.array([0.0, 0.0, 1.0]))


def _nearest(head: Head, points: Array) -> Index:
    skin = head.own["skin"]
    return skin[cKDTree(head.vertices[skin]).query(points)[1]]
