"""Eyeballs, the thickness of the lids, lashes, and how lids slide.

A lid never bends freely: a blink moves the frontal place of every loop towards the closed line and casts it onto the
sealed face again, so that the closed lid *is* the sealed face, round and always clear of the ball.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import Delaunay

from . import field
from .mesh import CANTHUS_TILT, EYE_LOOPS, EYE_SEGMENTS, OPENING, eye_outline
from .part import Array, Index, Part, strip, tube

PUPIL, IRIS = 0.262, 0.592
"""Edges of the pupil and of the iris, as angles seen from the eye's centre; a large iris stares less."""
RINGS = ((0.11, 8), (0.20, 18), (0.252, 36), (0.272, 36), (0.34, 36), (0.42, 36), (0.50, 40), (0.545, 44), (0.582, 44),
         (0.602, 44), (0.68, 36), (0.82, 30), (1.04, 26), (1.30, 22), (1.70, 16), (2.30, 10))
"""Rings of the eyeball: angle from the gaze and number of vertices; pairs of close rings keep painted edges crisp."""
CATCHLIGHTS = ((0.215, 0.235, 0.112), (0.235, -0.225, 0.052))
"""Discs where light is mirrored: centre and radius in the eye's angular plane, each at both signs of x."""
LID_INSIDE = 0.955
"""The inner edge of the lids lies inside the ball; straight moves keep it there, since a ball is convex."""
CLOSED_DIP = 0.080
"""Shut lids meet this far below the eye's centre, in a smiling curve; the upper lid goes most of the way."""
FADE = 0.150
"""Distance from the rim at which the skin no longer follows the lid."""


def build_eye() -> Part:
    """The left eyeball: a sphere about its centre whose pole looks at the viewer."""
    points = [np.zeros((1, 2))]
    discs = [(np.array([sx * x, y]), radius) for x, y, radius in CATCHLIGHTS for sx in (1.0, -1.0)]
    for angle, count in RINGS:
        turn = 2.0 * np.pi * np.arange(count) / count
        ring = angle * np.column_stack([np.cos(turn), np.sin(turn)])
        clear = np.ones(count, bool)
        for centre, radius in discs:
            clear &= np.linalg.norm(ring - centre, axis=1) > radius + 0.022
        points.append(ring[clear])
    for centre, radius in discs:
        count = 16 if radius > 0.08 else 10
        turn = 2.0 * np.pi * np.arange(count) / count
        circle = np.column_stack([np.cos(turn), np.sin(turn)])
        points += [centre + radius * circle, centre + (radius - 0.018) * circle, centre[None]]
    plane = np.concatenate(points)
    faces = Delaunay(plane).simplices.astype(np.int64)
    a, b, c = plane[faces[:, 0]], plane[faces[:, 1]], plane[faces[:, 2]]
    turned = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0] < 0
    faces[turned] = faces[turned][:, ::-1]
    angle = np.linalg.norm(plane, axis=1)
    scale = np.sin(angle) / np.maximum(angle, 1e-9)
    ball = np.column_stack([plane * scale[:, None], np.cos(angle)])
    rim = np.flatnonzero(np.isclose(angle, RINGS[-1][0]))
    rim = rim[np.argsort(np.arctan2(plane[rim, 1], plane[rim, 0]))]
    tip = len(ball)
    ball = np.concatenate([ball, [[0.0, 0.0, -1.0]]])
    back = np.stack([np.roll(rim, -1), rim, np.full(len(rim), tip)], 1)
    faces = np.concatenate([faces, back])
    uv, uv_back = _back_uv(plane, rim, back, tip)
    uv_faces = np.concatenate([faces[: -len(back)], uv_back])
    return Part("eye_left", field.EYE_CENTRE + field.EYE_RADIUS * ball, faces, None, uv, uv_faces)


def _back_uv(plane: Array, rim: Index, back: Index, tip: int) -> tuple[Array, Index]:
    """The back cap opens like a flower: every triangle gets its own copy of the tip, outside the disc."""
    turn = np.arctan2(plane[rim, 1], plane[rim, 0])
    middle = turn + np.pi / len(rim)
    tips = np.pi * np.column_stack([np.cos(middle), np.sin(middle)])
    own = back.copy()
    own[:, 2] = tip + np.arange(len(rim))
    return np.concatenate([plane, tips]), own


def build_lid_edge(eye: Index, vertices: Array) -> Part:
    """The thickness of the left lids: from the rim (sewn, first row of `eye`) straight into the ball."""
    n = EYE_SEGMENTS
    rim = vertices[eye[0]]
    out = rim - field.EYE_CENTRE
    inner = field.EYE_CENTRE + out * (LID_INSIDE * field.EYE_RADIUS / np.linalg.norm(out, axis=1, keepdims=True))
    faces = strip(np.arange(n), n + np.arange(n))
    turn = 2.0 * np.pi * np.arange(n) / n
    circle = np.column_stack([np.cos(turn), np.sin(turn)])
    return Part("lid_edge_left", inner, faces, None, np.concatenate([circle, 0.8 * circle]), faces, eye[0])


OVERLAP = 0.050
"""A shut upper lid lies this much further out, in radii, so that a lower lid raised by a smile slides under it."""
LASH_LENGTH, LASH_FLICK = 0.034, 0.024
"""How far lashes stand out from the lid, and how far the last ones reach beyond the outer corner."""
LASH_START = 2
"""Rim vertex, counted from the outer corner, where the lashes leave the lid."""
LASHES = EYE_SEGMENTS // 2 + 1
"""Vertices of the upper rim, corner to corner."""


def build_lashes(eye: Index, vertices: Array, drop: float = 0.0) -> Part:
    """Lashes as one dark blade along the left upper rim: root below, root above, and an edge that stands out.

    The blade thins to nothing at the inner corner and ends in a flick at the outer one. drop: 0 lashes of an
    open eye, which rise, 1 those of a shut one, which hang.
    """
    number = np.arange(LASHES)
    rim, above = vertices[eye[0, :LASHES]], vertices[eye[1, :LASHES]]
    t = number / (LASHES - 1.0)  # 0 outer corner, 1 inner corner
    taper = (0.55 + 0.45 * np.clip(t / 0.12, 0.0, 1.0)) * np.clip((1.0 - t) / 0.5, 0.0, 1.0) ** 0.3
    length = LASH_LENGTH * (1.0 - t) ** 0.45 * taper + 0.004
    out = rim - field.EYE_CENTRE
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    rise = np.column_stack([1.15 * (1.0 - t) ** 2 - 0.12, np.full(LASHES, 0.62 - 1.1 * drop), np.zeros(LASHES)])
    direction = out + rise - out * (out * rise).sum(1, keepdims=True) * 0.5
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    root = field.EYE_CENTRE + out * 1.03 * field.EYE_RADIUS
    crest = rim + 0.45 * (above - rim) + 0.003 * out
    edge = 0.5 * (root + crest) + direction * length[:, None]
    rings = np.stack([root, edge, crest], 1)
    flick = edge[LASH_START] + LASH_FLICK * np.array([0.90, 0.45 - 0.6 * drop, -0.15])
    vertices, faces, uv, uv_faces = tube(rings[LASH_START:-1], flick, rings[-1].mean(0))
    return Part("lashes_left", vertices, faces, None, uv, uv_faces)


def lid_move(upper: float, lower: float) -> Array:
    """[loops, EYE_SEGMENTS, 3] how the left loops move when each lid goes this part of its way to the closed line."""
    moves = []
    above = np.arange(EYE_SEGMENTS) <= EYE_SEGMENTS // 2
    rise = np.sin(2.0 * np.pi * np.arange(EYE_SEGMENTS) / EYE_SEGMENTS)
    for d in EYE_LOOPS:
        xy = eye_outline(d)
        rest = field.cast_front(xy)
        after = field.cast_front(_towards_line(xy, d, upper, lower))
        lift = OVERLAP * max(upper, 0.0) * max(1.0 - d / FADE, 0.0) * above * np.clip(2.5 * rise, 0.0, 1.0)
        moves.append(after + lift[:, None] * (after - field.EYE_CENTRE) - rest)
    return np.stack(moves)


def _towards_line(xy: Array, d: float, upper: float, lower: float) -> Array:
    dx = xy[:, 0] - field.EYE_CENTRE[0]
    t = np.clip(dx / OPENING[0], -1.0, 1.0)
    line = field.EYE_CENTRE[1] - CLOSED_DIP * (1.0 - t**2) + CANTHUS_TILT * dx
    above = np.arange(EYE_SEGMENTS) <= EYE_SEGMENTS // 2
    target = line - np.where(above, 0.018, 0.0) * (1.0 - t**2)  # the upper lid ends just below the lower one's rim
    corners = np.clip(1.6 * np.abs(np.sin(2.0 * np.pi * np.arange(EYE_SEGMENTS) / EYE_SEGMENTS)), 1e-6, 1.0)
    way = np.where(above, upper, lower * corners ** (1.0 - lower))  # a half-raised lower lid leaves the corners
    part = way * max(1.0 - d / FADE, 0.0) ** 1.3
    return np.column_stack([xy[:, 0], xy[:, 1] + part * (target - xy[:, 1])])


