"""Ears: a folded disc with helix, antihelix, concha, tragus and lobe, whose root is sunk into the head."""

from __future__ import annotations

import numpy as np

from .part import Array, Index, Part, fan, smoothstep, strip

SEGMENTS = 34
FRONT = (0.20, 0.38, 0.50, 0.60, 0.69, 0.77, 0.85, 0.92, 1.0)
"""Rows from the concha's middle to the rim."""
BACK = ((0.985, -0.030), (0.82, -0.070), (0.58, -0.15))
"""Rows behind the rim: part of its radius, depth towards the head."""
HEIGHT, WIDTH = 0.230, 0.142
PLACE = np.array([0.822, -0.075, -0.085])
"""Middle of the left ear."""
FORWARD, TILT = 0.38, 0.16
"""Radians: how far the back edge stands out from the skull, and the lean backwards."""


def build_ear() -> Part:
    """The left ear. In its own plane a runs backwards and b up, h stands out from the head."""
    turn = 2.0 * np.pi * np.arange(SEGMENTS) / SEGMENTS  # 0 backwards, π/2 up
    cos, sin = np.cos(turn), np.sin(turn)
    lobe = smoothstep(-0.55, -1.0, sin)
    radius_a = WIDTH * (1.0 - 0.30 * smoothstep(0.1, -0.9, sin)) * np.where(cos < 0, 0.80, 1.0)
    radius_b = HEIGHT * np.where(sin > 0, 0.96, 1.04)
    rim = np.column_stack([radius_a * cos - 0.020 * smoothstep(0.0, -1.0, sin), radius_b * sin])
    front_edge = smoothstep(0.35, 0.95, -cos)
    rows, heights = [], []
    for s in FRONT:
        rows.append(rim * s)
        heights.append(_height(s, cos, sin, lobe, front_edge))
    for s, depth in BACK:
        rows.append(rim * s)
        heights.append(_height(1.0, cos, sin, lobe, front_edge) + depth)
    plane, h = np.concatenate(rows), np.concatenate(heights)
    plane = np.concatenate([plane, [[0.0, 0.0]], [[0.0, 0.0]]])
    h = np.concatenate([h, [_height(0.0, np.zeros(1), np.zeros(1), np.zeros(1), np.zeros(1))[0]], [-0.19]])
    vertices = _place(plane, h)
    count = len(FRONT) + len(BACK)
    index = np.arange(count * SEGMENTS).reshape(count, SEGMENTS)
    middle, root = count * SEGMENTS, count * SEGMENTS + 1
    faces = np.concatenate([*(strip(index[i + 1], index[i]) for i in range(count - 1)),
                            fan(index[0], middle), fan(index[-1], root)[:, ::-1]])
    uv, uv_faces = _uv(faces, rim, index, middle, root)
    return Part("ear_left", vertices, faces, None, uv, uv_faces)


def folds() -> Array:
    """[V] 0…1 how deep each vertex lies between the ear's ridges, for the paint."""
    s = np.array(FRONT)
    concha, scapha = smoothstep(0.52, 0.20, s), 0.45 * np.exp(-(((s - 0.76) / 0.06) ** 2))
    front = np.repeat(concha + scapha, SEGMENTS)
    return np.concatenate([front, np.full(len(BACK) * SEGMENTS, 0.25), [1.0, 0.0]])


def _height(s: float, cos: Array, sin: Array, lobe: Array, front_edge: Array) -> Array:
    """Relief over the ear's plane at `s` of the rim's radius."""
    upper = smoothstep(-0.75, -0.35, sin)
    helix = 0.034 * np.exp(-(((s - 0.93) / 0.085) ** 2)) * upper * (1.0 - 0.75 * front_edge)
    scapha = -0.016 * np.exp(-(((s - 0.76) / 0.070) ** 2)) * upper * smoothstep(0.7, -0.2, -cos)
    antihelix = 0.024 * np.exp(-(((s - 0.58) / 0.095) ** 2)) * smoothstep(-0.6, 0.0, cos) * smoothstep(-0.95, -0.4, sin)
    concha = -0.072 * np.exp(-((s / 0.40) ** 4)) * (1.0 - 0.25 * smoothstep(0.3, 1.0, sin))
    tragus = 0.045 * np.exp(-(((s - 0.62) / 0.13) ** 2)) * smoothstep(0.70, 0.98, -cos)
    around = float(smoothstep(0.25, 0.70, np.array(s)) * (1.0 - 0.6 * smoothstep(0.80, 1.0, np.array(s))))
    pad = 0.018 * lobe * around
    return helix + scapha + antihelix + concha + tragus + pad + 0.010 * s


def _place(plane: Array, h: Array) -> Array:
    back = np.array([np.sin(FORWARD), 0.0, -np.cos(FORWARD)])
    out = np.array([np.cos(FORWARD), 0.0, np.sin(FORWARD)])
    up = np.array([0.10, np.cos(TILT), -np.sin(TILT)])
    up /= np.linalg.norm(up)
    return PLACE + plane[:, :1] * back + plane[:, 1:] * up + h[:, None] * out


def _uv(faces: Index, rim: Array, index: Index, middle: int, root: int) -> tuple[Array, Index]:
    """The front as a disc; the back laid as a second disc beside it, joined at no edge."""
    shape = rim / np.abs(rim).max()
    front = np.concatenate([shape * s for s in FRONT])
    rows = len(FRONT)
    last = len(BACK)
    behind = [shape * (1.0 - k / (last + 0.5)) for k in range(last + 1)]
    back = np.concatenate(behind) * np.array([-1.0, 1.0]) + np.array([2.1, 0.0])
    uv = np.concatenate([front, back, [[0.0, 0.0]], [[2.1, 0.0]]])
    offset = rows * SEGMENTS
    uv_faces = faces.copy()
    is_back = (faces >= offset).any(1) & ~(faces == middle).any(1)
    own = uv_faces[is_back]
    own = np.where(own == root, len(uv) - 1, own + SEGMENTS)  # a copy of the rim lies in front of the rows behind
    uv_faces[is_back] = own
    uv_faces[faces == middle] = len(uv) - 2
    return uv, uv_faces
