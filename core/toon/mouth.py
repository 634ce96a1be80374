"""Lips, the bag behind them, teeth and tongue, and how much of each place hangs on the jaw.

Which lip a vertex belongs to is known from its place in the loops, never guessed from its height.
"""

from __future__ import annotations

import numpy as np

from . import field
from .mesh import LIP_FRACTIONS, MOUTH_LOOPS, MOUTH_SEGMENTS, MOUTH_WIDTH, MOUTH_Y, Skin, mouth_line
from .part import Array, Index, Part, bell, smoothstep, strip, tube

HINGE = np.array([0.0, -0.22, -0.02])
"""The jaw turns about the x axis through here."""
JAW_ANGLE = 0.36
"""Radians of a jaw fully open; stored as the straight displacement of that turn."""
BAG = (
    (0.016, 0.003, 0.003, 0.99), (0.030, 0.030, 0.030, 0.99), (0.038, 0.085, 0.085, 1.02), (0.055, 0.150, 0.140, 1.08),
    (0.150, 0.165, 0.170, 1.10), (0.260, 0.130, 0.165, 0.98), (0.360, 0.070, 0.120, 0.72),
)  # fmt: skip
"""Rings of the bag: depth behind the lips, half-height above and below the line, width of the slit's."""
BAG_COVER = 0.062
"""The bag stays this deep under the sealed face, relief included, wherever the chin or the corners fall back."""
TEETH = 12
"""Teeth in each row."""
ARCH = 1.42
"""Radians over which half a row bends back; less, and its end stands free in an open mouth."""
COLUMNS = 3
"""Columns of vertices a tooth: one in the gap, three on the tooth."""


def lip_relief(skin: Skin) -> Array:
    """[V, 3] what lips, chin dip and lid crease add to the sealed face, along its normal."""
    part = skin.part
    amount = np.zeros(len(part))
    n = MOUTH_SEGMENTS
    angle = 2.0 * np.pi * np.arange(n) / n
    t, upper = np.cos(angle), np.sin(angle) > 1e-9
    fade = np.clip(1.0 - np.abs(t) ** 2.6, 0.0, 1.0)
    for row, f in zip(skin.mouth, LIP_FRACTIONS, strict=False):
        roll = np.where(upper, _roll(f, 0.50) * 0.024, _roll(f, 0.44) * 0.032)
        amount[row] = roll * fade - 0.022 * (1.0 - smoothstep(0.0, 0.24, np.full(n, f))) * (0.35 + 0.65 * fade)
        amount[row] += 0.004 * f * fade
    for row, d in zip(skin.mouth[len(LIP_FRACTIONS) :], MOUTH_LOOPS, strict=True):
        ridge = 0.005 * fade * np.exp(-((d / 0.016) ** 2))
        amount[row] = np.where(upper, ridge, ridge * 0.4)
    points = part.vertices
    normals = field.normal(points)
    off_lips = np.ones(len(part))
    off_lips[skin.mouth[: len(LIP_FRACTIONS)]] = 0.0
    amount -= 0.020 * off_lips * bell(points, (0.0, MOUTH_Y - 0.118, 0.62), (0.12, 0.030, 0.2))  # above the chin
    amount -= 0.009 * bell(points, (0.0, -0.425, 0.72), (0.019, 0.040, 0.2))  # philtrum
    for side in (1.0, -1.0):
        amount += 0.004 * bell(points, (side * 0.036, -0.435, 0.72), (0.013, 0.036, 0.2))  # its ridges
        amount -= 0.014 * bell(points, (side * 0.262, MOUTH_Y + 0.012, 0.50), (0.028, 0.040, 0.2))  # behind the corners
    return amount[:, None] * normals


def _roll(f: float, middle: float) -> float:
    """Profile of a lip over the fraction from slit to border: a rounded roll, 1 at `middle`."""
    g = f / middle if f < middle else 1.0 + (f - middle) / (1.0 - middle)
    return float(np.sqrt(max(1.0 - (g - 1.0) ** 2, 0.0)))


def build_bag(skin: Skin, vertices: Array) -> Part:
    """The inside of the mouth, sewn to the slit: it wraps over the gums and is closed at the back."""
    n = MOUTH_SEGMENTS
    angle = 2.0 * np.pi * np.arange(n) / n
    slit = vertices[skin.mouth[0]]
    t = np.cos(angle)
    rise = np.sin(angle)
    rounded = np.sign(rise) * np.abs(rise) ** 0.7
    depth_front = slit[:, 2].max()
    rings = []
    for depth, up, down, wide in BAG:
        line = mouth_line(t)
        y = line + np.where(rise > 0, up, down) * rounded
        follow = smoothstep(0.20, 0.0, np.array(depth))
        z = follow * slit[:, 2] + (1.0 - follow) * (depth_front - 0.25 * t**2) - depth
        x = wide * MOUTH_WIDTH * t
        under = field.cast_front(np.column_stack([x, y]))[:, 2] - BAG_COVER * min(1.0, depth / BAG_COVER)
        rings.append(np.column_stack([x, y, np.minimum(z, under)]))
    own = np.concatenate(rings)
    rows = np.arange(n * (len(BAG) + 1)).reshape(-1, n)
    faces = [strip(rows[i], rows[i + 1]) for i in range(len(rows) - 1)]
    half = n // 2
    top, bottom = rows[-1][1:half], rows[-1][: half : -1]
    faces.append(strip(top, bottom, closed=False))
    faces.append(np.array([[rows[-1][0], top[0], bottom[0]], [rows[-1][half], bottom[-1], top[-1]]]))
    faces_all = np.concatenate(faces)
    flat = [np.column_stack([np.cos(angle), np.sin(angle)]) * (1.0 - 0.11 * k) for k in range(len(rows))]
    mirror = (np.arange(len(BAG))[:, None] * n + (half - np.arange(n)) % n).ravel()
    return Part("mouth_bag", own, faces_all, mirror, np.concatenate(flat), faces_all, skin.mouth[0])


def build_teeth(upper: bool, front: float) -> Part:
    """One bent row of teeth with its gum; `front` is the z of the shut lips in the middle."""
    count = TEETH * COLUMNS + 1
    x = np.linspace(-1.0, 1.0, count)
    phase = np.abs(((np.arange(count) / COLUMNS) + 0.5) % 1.0 - 0.5) * 2.0  # 0 in a gap, 1 in the middle of a tooth
    width, behind = (0.240, 0.066) if upper else (0.212, 0.086)
    sign = 1.0 if upper else -1.0
    gum, neck, edge = (-0.415, -0.455, -0.585) if upper else (-0.690, -0.650, -0.568)
    turn = ARCH * x
    arc = np.sin(turn)
    bend = (0.300 if upper else 0.270) * (1.0 - np.cos(turn))
    z = front - behind - bend
    groove = 0.010 * (1.0 - phase) ** 2
    rounding = 0.010 * (1.0 - phase) ** 1.5 + 0.010 * np.abs(x) ** 2
    canine = 0.006 * np.exp(-(((np.abs(x) - 0.42) / 0.07) ** 2))
    low = 1.0 - 0.55 * smoothstep(0.50, 0.95, np.abs(x))  # molars are low, or a row's end stands up like a fang
    bite = edge + sign * (rounding - (canine if upper else 0.0))
    bite = neck + low * (bite - neck)
    xs = width * arc
    gums = neck + sign * 0.010 * (phase - 0.4)
    columns = [
        (gum + 0 * x, z - 0.012), (gums + sign * 0.004, z - 0.002), (gums - sign * 0.004, z + 0.002 - groove),
        (0.5 * (gums + bite), z + 0.006 - groove), (bite + sign * 0.012, z + 0.004 - groove),
        (bite, z - 0.008 - groove), (bite + sign * 0.010, z - 0.030), (gum + 0 * x, z - 0.050),
    ]  # fmt: skip
    section = columns if upper else columns[::-1]
    rings = np.stack([np.column_stack([xs, y, zz]) for y, zz in section], 1)
    vertices, faces, uv, uv_faces = tube(rings, rings[0].mean(0), rings[-1].mean(0))
    sides = len(section)
    mirror = ((count - 1 - np.arange(count))[:, None] * sides + np.arange(sides)).ravel()
    mirror = np.concatenate([mirror, [count * sides + 1, count * sides]])
    return Part("teeth_upper" if upper else "teeth_lower", vertices, faces, mirror, uv, uv_faces)


def build_tongue(front: float) -> Part:
    """A flattened tongue with a furrow, from the throat (start) to its tip."""
    rows, sides = 10, 12
    along = (np.arange(rows) + 0.7) / (rows + 0.6)
    turn = -2.0 * np.pi * np.arange(sides) / sides
    rings = []
    for s in along:
        swell = np.sqrt(max(1.0 - (2.0 * s - 1.0) ** 2 * 0.98, 0.0)) ** 0.8
        x = 0.120 * swell * np.sin(turn)
        y = -0.635 + 0.042 * swell * np.cos(turn) - 0.05 * (s - 0.5) ** 2 + 0.012 * (s - 0.5)
        y -= 0.018 * swell * np.exp(-((x / 0.022) ** 2)) * (np.cos(turn) > 0)
        rings.append(np.column_stack([x, y, np.full(sides, front - 0.380 + 0.265 * s)]))
    shape = np.stack(rings)
    start = np.array([0.0, -0.648, front - 0.385])
    end = np.array([0.0, -0.642, front - 0.108])
    vertices, faces, uv, uv_faces = tube(shape, start, end)
    mirror = (np.arange(rows)[:, None] * sides + (-np.arange(sides)) % sides).ravel()
    mirror = np.concatenate([mirror, [rows * sides, rows * sides + 1]])
    return Part("tongue", vertices, faces, mirror, uv, uv_faces)


def jaw_weight(points: Array, mouth: Index, bag_rows: int) -> Array:
    """[V, 3] rest places -> [V] 0…1 share of the jaw's movement.

    mouth: [loops, MOUTH_SEGMENTS] loops from the slit outward, then `bag_rows` rows of the bag, slit side first.
    """
    weight = _jaw_by_place(points)
    n = MOUTH_SEGMENTS
    angle = 2.0 * np.pi * np.arange(n) / n
    t, rise = np.cos(angle), np.sin(angle)
    opened = np.clip(1.0 - np.abs(t) ** 4, 0.0, 1.0) ** 0.8
    slit = np.where(rise > 1e-9, 0.5 - 0.5 * opened, np.where(rise < -1e-9, 0.5 + 0.5 * opened, 0.5))
    loops = len(mouth) - bag_rows
    outside = np.concatenate([np.zeros(len(LIP_FRACTIONS)), np.array(MOUTH_LOOPS)])
    for row, d in zip(mouth[:loops], outside, strict=True):
        blend = smoothstep(0.0, 0.125, np.full(n, d))
        weight[row] = (1.0 - blend) * slit + blend * weight[row]
    for row in mouth[loops:]:
        weight[row] = slit
    return weight


def _jaw_by_place(points: Array) -> Array:
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    back = np.clip((0.5 - z) / (0.5 - HINGE[2]), 0.0, 1.0)
    line = MOUTH_Y + back * (HINGE[1] - MOUTH_Y) * 0.9
    half = 0.004 + 0.26 * smoothstep(0.09, 0.42, x)
    below = smoothstep(line + half, line - half, y)
    return below * smoothstep(-0.22, 0.30, z) * smoothstep(-1.16, -0.92, y - 0.12 * np.clip(z, 0.0, 1.0))


def turn_jaw(points: Array, pitch: float, yaw: float = 0.0) -> Array:
    """[V, 3] displacement of a jaw turned about the hinge: `pitch` opens, `yaw` swings to the subject's left."""
    p = points - HINGE
    c, s = np.cos(pitch), np.sin(pitch)
    p = np.column_stack([p[:, 0], c * p[:, 1] - s * p[:, 2], s * p[:, 1] + c * p[:, 2]])
    c, s = np.cos(yaw), np.sin(yaw)
    p = np.column_stack([c * p[:, 0] + s * p[:, 2], p[:, 1], -s * p[:, 0] + c * p[:, 2]])
    return p + HINGE - points

