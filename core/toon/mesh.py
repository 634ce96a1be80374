"""The skin: hand-laid loops round eyes and mouth, even filler between them, a neck that ends in a rounded base.

Loops are laid in the frontal plane and cast onto the sealed face; the filler is a Poisson-disk set whose density
follows the detail, joined to the outermost loops by the spherical Delaunay triangulation (the hull of directions from
`STAR`). The hull alone does not respect thin slits, so that all inside an outermost loop is laid as explicit strips.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import ConvexHull, cKDTree

from . import field
from .flip import flip_edges
from .part import MIRROR, Array, Index, Part, fan, smoothstep, strip
from .unwrap import unwrap_skin

EYE_SEGMENTS = 40
EYE_LOOPS = (0.0, 0.010, 0.022, 0.040, 0.065, 0.098, 0.138)
"""Distances of the loops outside the lid's rim."""
EYE_NASAL = 0.45
"""Loops are this much tighter towards the nose, else those of the two eyes meet on its bridge."""
OPENING = (0.208, 0.158, 0.120)
"""Half-width of an open eye, its height above and below the centre; rounder and larger is younger."""
CANTHUS_TILT = 0.05
"""Rise of the outer corner over the inner one, a unit of width."""

MOUTH_SEGMENTS = 44
MOUTH_WIDTH = 0.222
MOUTH_Y = -0.545
LIP_FRACTIONS = (0.0, 0.14, 0.34, 0.56, 0.78, 1.0)
"""Loops on the lips, from the slit (0) to the vermilion border (1)."""
MOUTH_LOOPS = (0.007, 0.022, 0.045, 0.075, 0.110, 0.150)
"""Distances of the loops outside the vermilion border."""
UPPER_LIP, LOWER_LIP = 0.050, 0.068
SLIT_GAP, TEXTURE_GAP = 0.0018, 0.014
"""Half the distance between shut lips, on the head and in its texture."""
CUPID = 0.012
"""Depth of the notch in the middle of the upper border."""

NECK_SEGMENTS = 48
NECK_RINGS = (
    (-1.14, 0.0), (-1.20, 0.0), (-1.27, 0.002), (-1.34, 0.010), (-1.41, 0.028), (-1.47, 0.058), (-1.515, 0.092),
    (-1.545, 0.118), (-1.566, 0.126), (-1.580, 0.118), (-1.586, 0.095),
)  # fmt: skip
"""Height of each ring and how far it stands out from the neck: a small flare and a rounded edge, as a bust has."""

SEED = 7
"""Of the order in which filler vertices are chosen."""


@dataclass(frozen=True, eq=False)
class Skin:
    """The skin and where its loops are.

    part: the mesh on the sealed face (lips without relief). eye: [loops, EYE_SEGMENTS] vertex numbers of the left eye,
    rim first, from the outer corner upwards; eye_right: its mirror image in the same order. mouth: [lip loops + outer
    loops, MOUTH_SEGMENTS], slit first, from the left corner over the upper lip. neck: [rings, NECK_SEGMENTS].
    """

    part: Part
    eye: Index
    eye_right: Index
    mouth: Index
    neck: Index


def build_skin() -> Skin:
    """The skin's vertices on the sealed face, its triangles and marks."""
    eye = np.concatenate([field.cast_front(eye_outline(d)) for d in EYE_LOOPS])
    mouth = np.concatenate([field.cast_front(loop) for loop in mouth_outlines()])
    neck = np.concatenate([_neck_ring(y, out) for y, out in NECK_RINGS])
    n_eye, n_mouth, n_neck = EYE_SEGMENTS, MOUTH_SEGMENTS, NECK_SEGMENTS
    frame = np.concatenate([eye[-n_eye:], eye[-n_eye:] * MIRROR, mouth[-n_mouth:], neck[:n_neck]])
    filler, filler_mirror = _filler(frame)

    vertices = np.concatenate([eye, eye * MIRROR, mouth, neck, filler])
    base = np.cumsum([0, len(eye), len(eye), len(mouth), len(neck)])
    left = (base[0] + np.arange(len(eye))).reshape(-1, n_eye)
    right = (base[1] + np.arange(len(eye))).reshape(-1, n_eye)
    lips = (base[2] + np.arange(len(mouth))).reshape(-1, n_mouth)
    rings = (base[3] + np.arange(len(neck))).reshape(-1, n_neck)
    fill = base[4] + np.arange(len(filler))

    used = np.concatenate([left[-1], right[-1], lips[-1], rings[0], fill])
    joined = used[flip_edges(vertices[used], _hull(vertices[used], [n_eye, n_eye, n_mouth, n_neck]))]
    faces = [joined]
    faces += [strip(left[i + 1], left[i]) for i in range(len(left) - 1)]
    faces += [strip(right[i + 1], right[i])[:, ::-1] for i in range(len(right) - 1)]
    faces += [strip(lips[i + 1], lips[i]) for i in range(len(lips) - 1)]
    faces += [strip(rings[i], rings[i + 1])[:, ::-1] for i in range(len(rings) - 1)]
    mirror = np.concatenate([right.ravel(), left.ravel(), _mirror_ring(lips, n_mouth // 2).ravel(),
                             _mirror_ring(rings, 0, full=True).ravel(), base[4] + filler_mirror])
    triangles = np.concatenate(faces)
    spread = vertices.copy()  # in the texture the lips stand apart, so that no triangle is a sliver
    spread[lips] = [field.cast_front(loop) for loop in mouth_outlines(TEXTURE_GAP)]
    part = Part("skin", vertices, triangles, mirror, *unwrap_skin(spread, triangles, rings))
    return Skin(part, left, right, lips, rings)


def build_neck_cap(skin: Skin) -> Part:
    """The bottom of the neck, sewn to its last ring."""
    n = NECK_SEGMENTS
    ring = skin.part.vertices[skin.neck[-1]]
    middle = ring.mean(0) * np.array([0.0, 1.0, 1.0])
    inner = middle + 0.5 * (ring - middle)
    rows = np.arange(2 * n).reshape(2, n)
    faces = np.concatenate([strip(rows[0], rows[1])[:, ::-1], fan(rows[1], 2 * n)[:, ::-1]])
    mirror = np.concatenate([-np.arange(n) % n, [n]])
    uv = np.concatenate([ring, inner, middle[None]])[:, [0, 2]]
    return Part("neck_cap", np.concatenate([inner, middle[None]]), faces, mirror, uv, faces, skin.neck[-1])


def eye_outline(d: float) -> Array:
    """[EYE_SEGMENTS, 2] frontal loop `d` outside the open rim of the left eye, from the outer corner upwards."""
    angle = 2.0 * np.pi * np.arange(EYE_SEGMENTS) / EYE_SEGMENTS
    reach = d * (1.0 - EYE_NASAL * smoothstep(0.1, 1.0, -np.cos(angle)))
    width, up, down = OPENING
    t = np.cos(angle)
    height = np.where(np.sin(angle) >= 0, up, down) + reach
    x = t * (width + reach)
    y = np.sign(np.sin(angle)) * height * np.sqrt(np.clip(1.0 - np.abs(t) ** 2.25, 0.0, 1.0)) + CANTHUS_TILT * x
    return field.EYE_CENTRE[:2] + np.column_stack([x, y])


def mouth_outlines(gap: float = SLIT_GAP) -> list[Array]:
    """[MOUTH_SEGMENTS, 2] each: the loops of `LIP_FRACTIONS`, then `MOUTH_LOOPS`; lips stand 2 × `gap` apart."""
    angle = 2.0 * np.pi * np.arange(MOUTH_SEGMENTS) / MOUTH_SEGMENTS
    t, upper = np.cos(angle), np.sin(angle) > 1e-9
    corner = np.abs(np.abs(t) - 1.0) < 1e-9
    side = np.where(corner, 0.0, np.where(upper, 1.0, -1.0))
    line = mouth_line(t)
    slit = np.column_stack([MOUTH_WIDTH * t, line + gap * side * np.sqrt(np.clip(1.0 - t**2, 0.0, 1.0))])
    bow = CUPID * np.exp(-((t / 0.16) ** 2)) - 0.35 * CUPID * np.exp(-(((np.abs(t) - 0.30) / 0.16) ** 2))
    top = UPPER_LIP * np.clip(1.0 - np.abs(t) ** 2.1, 0.0, 1.0) ** 0.85 - bow * (1.0 - t**2)
    bottom = LOWER_LIP * np.clip(1.0 - np.abs(t) ** 2.5, 0.0, 1.0) ** 0.85
    border = np.column_stack([(MOUTH_WIDTH + 0.010) * t, line + np.where(side > 0, top, -bottom * (side < 0))])
    loops = [slit + f * (border - slit) for f in LIP_FRACTIONS]
    for d in MOUTH_LOOPS:
        up = d * (1.0 - 0.42 * smoothstep(0.0, 0.9, np.sin(angle)))
        down = d * (1.0 - 0.10 * smoothstep(0.0, 0.9, -np.sin(angle)))
        rounder = 0.10 * d * np.sin(angle) * np.abs(np.cos(angle))
        loops.append(border + np.column_stack([d * t, np.where(side >= 0, up, down) * np.sin(angle) + rounder]))
    return loops


def mouth_line(t: Array) -> Array:
    """Height of the shut mouth's line at t = x / half-width: corners up, a soft dip in the middle."""
    return MOUTH_Y + 0.016 * np.abs(t) ** 2 - 0.004 * np.exp(-((t / 0.22) ** 2))


def spacing(points: Array) -> Array:
    """[N, 3] -> [N] wanted distance between neighbouring filler vertices."""
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    front = smoothstep(-0.15, 0.45, z) * smoothstep(0.80, 0.45, y)
    wide = 0.082 + (0.046 - 0.082) * front
    nose = _segment(points, (0.0, 0.10, 0.62), (0.0, -0.34, 0.76))
    wing = np.linalg.norm(np.stack([x, y, z], 1) - field.NOSTRIL, axis=1)
    fold = np.linalg.norm(np.stack([x, y], 1) - np.array([0.22, -0.36]), axis=1) + 2.0 * (z < 0.3)
    return np.minimum.reduce([
        wide,
        0.023 + 0.22 * np.maximum(nose - 0.09, 0.0),
        0.0135 + 0.16 * np.maximum(wing - 0.042, 0.0),
        0.032 + 0.15 * np.maximum(fold - 0.12, 0.0),
    ])


def _neck_ring(y: float, out: float) -> Array:
    """[NECK_SEGMENTS, 3] from the front over the subject's left; `out` beyond the neck, less behind."""
    angle = 2.0 * np.pi * np.arange(NECK_SEGMENTS) / NECK_SEGMENTS
    around = np.column_stack([np.sin(angle), np.zeros(NECK_SEGMENTS), np.cos(angle)])
    axis = np.array([0.0, y, -0.25])
    start = axis + 0.9 * around
    ring = field.march(start, -around)
    return ring + out * around


def _mirror_ring(rows: Index, half: int, full: bool = False) -> Index:
    """Rows of rings -> the same rows read backwards, about index `half` (mouth) or about index 0 (neck)."""
    n = rows.shape[1]
    order = (-np.arange(n)) % n if full else (half - np.arange(n)) % n
    return rows[:, order]


def _segment(points: Array, start: tuple[float, ...], end: tuple[float, ...]) -> Array:
    a, b = np.array(start), np.array(end)
    along = np.clip((points - a) @ (b - a) / ((b - a) @ (b - a)), 0.0, 1.0)
    return np.linalg.norm(points - a - along[:, None] * (b - a), axis=1)


def _filler(frame: Array) -> tuple[Array, Index]:
    """Vertices between the loops in `frame`, symmetric, and their mirror index."""
    golden = np.pi * (1.0 + 5.0**0.5)
    k = np.arange(70000) + 0.5
    height = 1.0 - 2.0 * k / len(k)
    flat = np.sqrt(1.0 - height**2)
    directions = np.stack([flat * np.sin(golden * k), height, flat * np.cos(golden * k)], 1)
    directions = directions[(directions[:, 0] >= 0) & (height > -0.965)]
    candidates = field.cast(directions)
    wanted = spacing(candidates)
    centre = candidates[:, 0] < 0.5 * wanted
    candidates[centre, 0] = 0.0
    candidates[centre] = field.cast(candidates[centre] - field.STAR)
    half = frame[frame[:, 0] > -1e-9]
    free = _outside_loops(candidates, frame) & (cKDTree(frame).query(candidates)[0] > 0.80 * wanted)
    candidates, wanted = candidates[free], wanted[free]
    chosen = _poisson(candidates, wanted)
    points = candidates[chosen]
    for _ in range(12):
        points = _relax(points, half, frame)
    points = points[_outside_loops(points, frame) & (cKDTree(frame).query(points)[0] > 0.55 * spacing(points))]
    middle = points[:, 0] < 1e-9
    points = np.concatenate([points[middle], points[~middle]])
    m, n = int(middle.sum()), int((~middle).sum())
    both = np.concatenate([points, points[m:] * MIRROR])
    mirror = np.concatenate([np.arange(m), m + n + np.arange(n), m + np.arange(n)])
    return both, mirror


def _poisson(points: Array, wanted: Array) -> Index:
    """Greedy dart throwing in a fixed random order: no two closer than the wanted spacing. -> chosen indices."""
    order = np.random.default_rng(SEED).permutation(len(points))
    order = np.concatenate([order[points[order, 0] == 0.0], order[points[order, 0] > 0.0]])  # the middle line first
    near = cKDTree(points).query_ball_point(points, wanted)
    taken = np.zeros(len(points), bool)
    chosen = []
    for i in order:
        if not taken[i]:
            chosen.append(i)
            taken[near[i]] = True
    return np.array(sorted(chosen))


def _relax(points: Array, half: Array, frame: Array) -> Array:
    """One Laplacian step of the half set among its mirror image and the loops, back onto the surface."""
    twin = points[points[:, 0] > 1e-9] * MIRROR
    everything = np.concatenate([points, twin, frame])
    simplices = ConvexHull(_directions(everything)).simplices
    total, count = np.zeros_like(everything), np.zeros(len(everything))
    weight = 1.0 / spacing(everything) ** 1.5
    for a, b in ((0, 1), (1, 2), (2, 0)):
        for s, t in ((simplices[:, a], simplices[:, b]), (simplices[:, b], simplices[:, a])):
            np.add.at(total, s, everything[t] * weight[t, None])
            np.add.at(count, s, weight[t])
    moved = points + 0.6 * (total[: len(points)] / count[: len(points), None] - points)
    moved[points[:, 0] < 1e-9, 0] = 0.0
    moved[:, 0] = np.maximum(moved[:, 0], 0.0)
    return field.cast(moved - field.STAR)


def _outside_loops(points: Array, frame: Array) -> Array:
    """[N] bool: not inside the outermost loops of eyes and mouth, as seen from the front, nor below the first ring."""
    e, m = EYE_SEGMENTS, MOUTH_SEGMENTS
    inside = np.zeros(len(points), bool)
    for loop in (frame[:e], frame[e : 2 * e], frame[2 * e : 2 * e + m]):
        inside |= _in_polygon(points[:, :2], loop[:, :2]) & (points[:, 2] > 0)
    return ~inside & (points[:, 1] > NECK_RINGS[0][0] + 0.03)


def _in_polygon(points: Array, polygon: Array) -> Array:
    """[N] bool by the crossing rule."""
    inside = np.zeros(len(points), bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        spans = (y0 > points[:, 1]) != (y1 > points[:, 1])
        cross = x0 + (points[:, 1] - y0) * (x1 - x0) / (y1 - y0 if y1 != y0 else 1.0)
        inside ^= spans & (points[:, 0] < cross)
    return inside


def _directions(points: Array) -> Array:
    d = points - field.STAR
    return d / np.linalg.norm(d, axis=1, keepdims=True)


def _hull(points: Array, loops: list[int]) -> Index:
    """Spherical Delaunay triangles of `points`, without those that span a loop's inside, wound outwards.

    The first points are the loops, of the given lengths.
    """
    unit = _directions(points)
    faces = ConvexHull(unit).simplices.astype(np.int64)
    normal = np.cross(unit[faces[:, 1]] - unit[faces[:, 0]], unit[faces[:, 2]] - unit[faces[:, 0]])
    inward = (normal * unit[faces].mean(1)).sum(1) < 0
    faces[inward] = faces[inward][:, ::-1]
    owner = np.full(len(points), -1)
    owner[: sum(loops)] = np.repeat(np.arange(len(loops)), loops)
    same = (owner[faces] == owner[faces][:, :1]).all(1) & (owner[faces[:, 0]] >= 0)
    return faces[~same]

