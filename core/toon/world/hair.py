"""Hair: a cap of locks that grows from a whorl to the hairline, or past it and down, and what is tied to it.

A style is a few numbers; `build` lays it on the mean head's sealed skull. Angles are degrees. Azimuth runs round the
whorl, 0 in front, 90 over the subject's left ear, 180 at the back; a hairline's angle is counted from the whorl. The
tables were found by looking at renders.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import field
from ..part import Array, smoothstep
from .shapes import Piece, ball, grid, joined, tube

COLUMNS, CAP_ROWS, HANG_ROWS = 180, 26, 16
"""Strands round the whorl (nine to a lock at twenty locks, enough for round ones), and points along one."""
CURLY_COLUMNS, CURLY_ROWS = 150, 52
"""The same for curls, which are as high as wide."""
SMOOTHED = (-6.0, -3.0, 0.0, 3.0, 6.0)
"""Degrees of azimuth over which a hairline's corners are rounded."""
FREE_FROM, FREE_UNTIL = 74, 81
"""Degrees from the whorl: hairlines beyond hang free of the forehead where a style says so."""
WHORL_BACK = -0.38
"""The whorl lies this far behind the crown, in units of height."""
EDGE_SINKS = 0.012
"""The hairline ends this deep in the skin, so that no gap shows."""
Table = tuple[tuple[float, float], ...]
"""(azimuth, angle from the whorl), azimuths 0…180; both sides are alike."""
Bump = tuple[tuple[float, float, float], float, float]
"""Direction from the middle of the skull, width, extra thickness."""

SHORT: Table = ((0, 73), (35, 71), (55, 77), (72, 98), (82, 100), (96, 88), (112, 92), (130, 112), (180, 119))
FRINGE: Table = ((0, 87), (38, 87), (55, 91), (72, 104), (82, 104), (96, 88), (112, 92), (130, 112), (180, 119))
SWEPT: Table = ((0, 64), (30, 62), (50, 66), (70, 92), (82, 98), (96, 88), (112, 92), (130, 112), (180, 119))
LOOSE: Table = ((0, 70), (30, 69), (50, 74), (62, 84), (90, 92), (180, 100))
LOOSE_FRINGE: Table = ((0, 84), (40, 85), (55, 91), (66, 94), (90, 96), (180, 100))
RECEDING: Table = ((0, 53), (16, 50), (32, 40), (50, 60), (70, 95), (82, 98), (96, 88), (112, 92), (130, 112),
                   (180, 119))  # fmt: skip


@dataclass(frozen=True)
class HairStyle:
    """One way to wear hair.

    edge: the hairline. thickness: off the skin, head units; bumps add to it. locks: how many, and how deep their
    grooves are (share of the thickness). ragged: how far the hairline zigzags with them. tilt: the whorl moves to the
    subject's right for a parting on that side. sweep: radians that strands turn towards the hairline.
    hang: height of the tips where hair falls past the hairline beyond `hang_from` degrees of azimuth, or None.
    flare: how far the tips stand out. wave: amplitude of waves on the way down. curls: radius of curls, 0 without.
    extras: names of what is tied on. baldness: 0…1. presentation: −1 masculine … 1 feminine, where it is seen most.
    covers_ears: ears are not drawn. hats: whether a hat sits on it.
    """

    edge: Table
    thickness: float = 0.08
    bumps: tuple[Bump, ...] = ()
    locks: int = 22
    depth: float = 0.28
    ragged: float = 0.05
    tilt: float = 0.0
    sweep: float = 0.0
    hang: float | None = None
    hang_from: float = 58.0
    flare: float = 0.05
    wave: float = 0.0
    curls: float = 0.0
    blunt: float = 6.0
    stand: float = 0.0
    extras: tuple[str, ...] = ()
    baldness: float = 0.0
    presentation: float = 0.0
    covers_ears: bool = False
    hats: bool = False


FRONT, TOP = (0.0, 0.75, 0.66), (0.0, 1.0, 0.1)
STYLES: dict[str, HairStyle | None] = {
    "bald": None,
    "buzz": HairStyle(SHORT, 0.030, locks=0, ragged=0.0, blunt=1.6, presentation=-0.7, baldness=0.3, hats=True),
    "receding": HairStyle(RECEDING, 0.060, locks=30, depth=0.25, ragged=0.03, blunt=2.0, presentation=-0.9,
                          baldness=0.7, hats=True),
    "short": HairStyle(SHORT, 0.095, ((FRONT, 0.45, 0.07),), 26, 0.35, ragged=0.06, blunt=2.6, tilt=-0.2, sweep=0.4,
                       presentation=-0.6, hats=True),
    "side_part": HairStyle(SHORT, 0.100, (((0.30, 0.8, 0.5), 0.40, 0.10),), 22, 0.32, blunt=3.0, tilt=-0.42, sweep=0.85,
                           presentation=-0.7, hats=True),
    "crop": HairStyle(FRINGE, 0.085, locks=26, depth=0.34, ragged=0.075, blunt=4.0, stand=0.5, presentation=-0.2,
                      hats=True),
    "quiff": HairStyle(SHORT, 0.060, ((FRONT, 0.36, 0.23), (TOP, 0.40, 0.10)), 18, 0.32, blunt=2.6, tilt=-0.15,
                       sweep=0.5, presentation=-0.7),
    "slick": HairStyle(SWEPT, 0.070, ((TOP, 0.5, 0.05),), 34, 0.25, ragged=0.015, blunt=2.2, presentation=-0.3,
                       hats=True),
    "mohawk": HairStyle(SHORT, 0.026, locks=0, ragged=0.0, blunt=1.6, extras=("crest",), presentation=-0.4),
    "spikes": HairStyle(SHORT, 0.085, locks=20, blunt=3.0, extras=("spikes",), presentation=-0.6),
    "curls": HairStyle(SHORT, 0.110, ((TOP, 0.6, 0.07),), locks=0, ragged=0.0, curls=0.125, presentation=-0.1),
    "afro": HairStyle(SHORT, 0.250, ((TOP, 0.7, 0.08),), locks=0, ragged=0.0, curls=0.085, presentation=0.1),
    "pixie": HairStyle(FRINGE, 0.090, ((TOP, 0.5, 0.05),), 18, 0.32, ragged=0.08, tilt=0.45, sweep=-0.9, stand=0.3,
                       presentation=0.5, hats=True),
    "bob": HairStyle(LOOSE, 0.120, locks=24, depth=0.24, tilt=-0.30, sweep=0.35, hang=-0.86, flare=0.03,
                     covers_ears=True, presentation=0.8, hats=True),
    "fringe_bob": HairStyle(LOOSE_FRINGE, 0.120, locks=26, depth=0.24, hang=-0.80, flare=0.02, stand=0.55,
                            covers_ears=True, presentation=0.8, hats=True),
    "long": HairStyle(LOOSE, 0.110, locks=24, depth=0.26, tilt=-0.25, sweep=0.30, hang=-1.55, flare=0.05,
                      covers_ears=True, presentation=0.9, hats=True),
    "long_fringe": HairStyle(LOOSE_FRINGE, 0.110, locks=26, depth=0.26, hang=-1.60, flare=0.06, stand=0.55,
                             covers_ears=True, presentation=0.9, hats=True),
    "wavy": HairStyle(LOOSE, 0.125, locks=20, depth=0.30, tilt=0.30, sweep=-0.35, hang=-1.40, flare=0.12, wave=0.055,
                      covers_ears=True, presentation=0.9, hats=True),
    "ponytail": HairStyle(SWEPT, 0.060, locks=30, depth=0.24, ragged=0.01, blunt=2.2, extras=("ponytail",),
                          presentation=0.7),
    "bun": HairStyle(SWEPT, 0.062, locks=30, depth=0.24, ragged=0.01, blunt=2.2, extras=("bun",), presentation=0.7),
    "space_buns": HairStyle(FRINGE, 0.075, locks=28, depth=0.28, stand=0.5, extras=("space_buns",), presentation=0.8),
    "pigtails": HairStyle(FRINGE, 0.075, locks=26, depth=0.28, stand=0.5, extras=("pigtails",), presentation=0.8),
}  # fmt: skip
"""Every style by its name; None wears nothing."""


def build(style: HairStyle, volume: float = 1.0) -> Piece:
    """The style on the mean head. volume: times its thickness; hats press hair down with a small one."""
    pieces = [_cap(style, volume)] + [EXTRAS[name]() for name in style.extras]
    return joined(*pieces)


def frame(tilt: float) -> tuple[Array, Array, Array]:
    """Unit vectors: the whorl, and what is in front of and to the left of it."""
    axis = np.array([tilt, 1.0, WHORL_BACK])
    axis /= np.linalg.norm(axis)
    front = np.array([0.0, 0.0, 1.0]) - axis[2] * axis
    front /= np.linalg.norm(front)
    return axis, front, np.cross(axis, front)


def around(polar: Array, azimuth: Array, tilt: float = 0.0) -> Array:
    """Radians from the whorl and round it -> unit directions [..., 3]."""
    axis, front, left = frame(tilt)
    round_it = np.cos(azimuth)[..., None] * front + np.sin(azimuth)[..., None] * left
    return np.cos(polar)[..., None] * axis + np.sin(polar)[..., None] * round_it


def edge_angle(table: Table, azimuth: Array) -> Array:
    """The hairline's angle in radians at azimuths in radians."""
    folded = np.abs((np.degrees(azimuth) + 180.0) % 360.0 - 180.0)
    keys, values = np.array(table, float).T
    keys = np.concatenate([-keys[:0:-1], keys, 360.0 - keys[-2::-1]])
    values = np.concatenate([values[:0:-1], values, values[-2::-1]])
    return np.radians(np.mean([np.interp(folded + step, keys, values) for step in SMOOTHED], 0))


def _upright_edge(style: HairStyle, azimuth: Array) -> Array:
    """The hairline as the untilted whorl knows it, seen from the tilted one: angle along each strand's end."""
    polar = edge_angle(style.edge, azimuth)
    if not style.tilt:
        return polar
    axis, front, left = frame(0.0)
    for _ in range(4):  # a fixed point: the angle at which the strand meets the hairline of its place
        direction = around(polar, azimuth, style.tilt)
        place = np.arctan2(direction @ left, direction @ front)
        off = np.arccos(np.clip(direction @ axis, -1, 1)) - edge_angle(style.edge, place)
        polar = np.clip(polar - 0.7 * off, 0.2, 2.4)
    return polar


def _cap(style: HairStyle, volume: float) -> Piece:
    columns, rows = (CURLY_COLUMNS, CURLY_ROWS) if style.curls else (COLUMNS, CAP_ROWS)
    turn = np.pi + np.linspace(0.0, 2.0 * np.pi, columns + 1)  # the seam lies at the back
    phase = 0.5 * style.locks * turn + 0.9 * np.sin(3.0 * turn + 0.4) + 0.7 * np.sin(7.0 * turn + 1.0)
    lock = np.abs(np.sin(phase)) ** 0.8 if style.locks else np.ones_like(turn)
    if style.locks:  # both sides of the seam meet in a groove
        lock *= smoothstep(0.0, 0.12, np.minimum(turn - turn[0], turn[-1] - turn))
    ends = turn + style.sweep * np.clip(np.cos(turn), 0.0, 1.0) ** 0.7
    edge = _upright_edge(style, ends) * (1.0 - style.ragged * (1.0 - lock))
    s = 1.0 - (1.0 - np.linspace(0.0, 1.0, rows)) ** 1.45
    azimuth = turn + (ends - turn) * s[:, None] ** 1.5
    direction = around(edge * s[:, None], azimuth, style.tilt)
    base = field.cast(direction.reshape(-1, 3)).reshape(direction.shape)
    falls = _falls(style, ends)
    free = style.stand * smoothstep(np.radians(FREE_FROM), np.radians(FREE_UNTIL), edge) * (np.cos(ends) > 0)
    free = np.maximum(falls, free)
    profile = np.sqrt(1.0 - s[:, None] ** style.blunt) * (1.0 - free) + free
    thick = volume * _thickness(style, direction)
    grooved = 1.0 - style.depth * (1.0 - lock) * smoothstep(0.0, 0.35, s)[:, None]
    sunk = EDGE_SINKS * s[:, None] ** 8 * (1.0 - np.minimum(2.0 * free, 1.0))
    points = base + direction * (thick * profile * grooved - sunk)[..., None]
    shade = 0.75 * (1.0 - lock) * smoothstep(0.05, 0.5, s)[:, None] * np.ones_like(profile)
    anchors = base
    if style.hang is not None:
        hanging = _hanging(style, points[-1], falls, lock, turn)
        points = np.concatenate([points, hanging])
        anchors = np.concatenate([anchors, np.broadcast_to(anchors[-1], hanging.shape)])
        shade = np.concatenate([shade, np.broadcast_to(shade[-1], hanging.shape[:2])])
    if style.curls:
        points, shade = _curled(points, base, style.curls)
    along = np.linspace(0.0, 1.0, len(points))[:, None]
    uv = np.stack(np.broadcast_arrays(turn / (2.0 * np.pi), along), -1)
    return grid(points, anchors, uv, shade)


def _thickness(style: HairStyle, direction: Array) -> Array:
    thick = np.full(direction.shape[:-1], style.thickness)
    for towards, width, amount in style.bumps:
        unit = np.array(towards) / np.linalg.norm(towards)
        thick = thick + amount * np.exp(-0.5 * (np.linalg.norm(direction - unit, axis=-1) / width) ** 2)
    return thick


def _falls(style: HairStyle, azimuth: Array) -> Array:
    """[C] 0…1, where strands do not end at the hairline but fall."""
    if style.hang is None:
        return np.zeros_like(azimuth)
    folded = np.abs((np.degrees(azimuth) + 180.0) % 360.0 - 180.0)
    return smoothstep(style.hang_from - 5.0, style.hang_from + 11.0, folded)


def _hanging(style: HairStyle, roots: Array, falls: Array, lock: Array, turn: Array) -> Array:
    """[HANG_ROWS, C, 3] from the roots [C, 3] down to the tips, which turn in a little."""
    q = np.linspace(0.0, 1.0, HANG_ROWS + 1)[1:, None]
    outward = roots * np.array([1.0, 0.0, 1.0]) - np.array([0.0, 0.0, field.STAR[2]])
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    length = (roots[:, 1] - style.hang) * falls * (1.0 - 0.06 * (1.0 - lock))
    down = length * q
    swing = style.flare * np.sin(0.5 * np.pi * q) * falls - 0.16 * q**5 * falls - 0.05 * np.sin(np.pi * q) * falls
    waves = style.wave * np.sin(9.0 * q + 2.0 * np.sin(2.0 * turn)) * falls * np.minimum(2.0 * q, 1.0)
    drop = np.stack(np.broadcast_arrays(np.zeros(1), down, np.zeros(1)), -1)
    return roots - drop + (swing + waves)[..., None] * outward


def _curled(points: Array, base: Array, radius: float) -> tuple[Array, Array]:
    """Every vertex pushed out to the dome of its nearest curl; curls are spread evenly over the cap."""
    flat = points.reshape(-1, 3)
    centres = _spread(flat, 1.05 * radius)
    distance = np.sqrt(((flat[:, None] - centres[None]) ** 2).sum(-1)).min(1).reshape(points.shape[:2])
    dome = np.sqrt(np.clip(1.0 - (distance / (1.05 * radius)) ** 2, 0.0, 1.0))
    off = points - base
    height = np.linalg.norm(off, axis=-1, keepdims=True)
    pushed = 0.70 * radius * dome[..., None] * np.minimum(height / 0.05, 1.0)
    return points + off / np.maximum(height, 1e-6) * pushed, 0.9 * (1.0 - dome) ** 1.5


def _spread(points: Array, distance: float) -> Array:
    """Points at least `distance` apart, greedily, in an order of its own."""
    left = np.random.default_rng(7).permutation(points)
    chosen = []
    while len(left):
        chosen.append(left[0])
        left = left[np.linalg.norm(left - left[0], axis=1) > distance]
    return np.array(chosen)


def _on_skull(direction: tuple[float, float, float], off: float = 0.0) -> tuple[Array, Array]:
    """Where a direction from the middle of the head meets it, and a place `off` above that."""
    unit = np.array(direction) / np.linalg.norm(direction)
    base = field.cast(unit[None])[0]
    return base, base + off * unit


def _bun() -> Piece:
    base, centre = _on_skull((0.0, 1.0, -0.50), 0.20)
    return ball(centre, np.array([0.27, 0.25, 0.27]), base, grooves=10)


def _space_buns() -> Piece:
    base, centre = _on_skull((0.62, 0.95, -0.05), 0.17)
    left = ball(centre, np.array([0.22, 0.21, 0.22]), base, grooves=9)
    return joined(left, left.mirrored())


def _tail(root: Array, path: Array, width: float) -> Piece:
    t = np.linspace(0.0, 1.0, len(path))
    radius = width * np.sqrt(np.clip(np.sin(np.pi * (0.10 + 0.86 * t**0.8)), 0.0, 1.0))
    radius[-1] = 0.01
    return tube(path, radius, root, sides=28, grooves=9)


def _curve(*keys: tuple[float, float, float], count: int = 18) -> Array:
    """[count, 3], the quadratic curve of three points."""
    a, b, c = np.array(keys, float)
    t = np.linspace(0.0, 1.0, count)[:, None]
    return (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c


def _ponytail() -> Piece:
    base, start = _on_skull((0.0, 0.75, -0.9), -0.02)
    path = _curve(tuple(start), (0.75, start[1] + 0.50, -1.25), (1.02, -0.85, -0.45))
    return _tail(base, path, 0.20)


def _pigtails() -> Piece:
    base, start = _on_skull((0.95, 0.30, -0.25), -0.02)
    path = _curve(tuple(start), (1.38, 0.40, -0.25), (1.06, -0.95, -0.10))
    left = _tail(base, path, 0.16)
    return joined(left, left.mirrored())


def _spikes() -> Piece:
    spikes = []
    azimuths = ((0.42, 7), (0.78, 11), (1.12, 13))
    for polar, count in azimuths:
        for k in range(count):
            azimuth = 2.0 * np.pi * (k + 0.5 * (polar > 0.7)) / count
            if polar > 1.0 and abs(np.cos(azimuth)) > 0.97 and np.cos(azimuth) > 0:
                continue
            unit = around(np.array(polar), np.array(azimuth))
            base = field.cast(unit[None])[0]
            if base[2] > 0.56 and base[1] < 0.62:
                continue
            tip = base + 0.26 * unit + np.array([0.0, 0.10, 0.05])
            t = np.linspace(0.0, 1.0, 8)[:, None]
            path = base - 0.02 * unit + (tip - base) * t + 0.03 * np.sin(np.pi * t) * np.array([0.0, 1.0, 0.0])
            spikes.append(tube(path, 0.140 * (1.0 - t[:, 0] ** 1.8) + 0.012, base, sides=9))
    return joined(*spikes)


def _crest() -> Piece:
    crests = []
    for k, polar in enumerate(np.linspace(-1.15, 1.35, 9)):
        unit = around(np.array(abs(polar)), np.array(0.0 if polar < 0 else np.pi))
        base = field.cast(unit[None])[0]
        lean = np.array([0.0, 0.06, -0.07])
        t = np.linspace(0.0, 1.0, 9)[:, None]
        path = base - 0.03 * unit + (0.40 * unit + lean) * t * (0.86 + 0.14 * np.sin(0.4 * k))
        crests.append(tube(path, 0.150 * (1.0 - t[:, 0] ** 2.2) + 0.012, base, sides=10))
    return joined(*crests)


EXTRAS = {
    "bun": _bun,
    "space_buns": _space_buns,
    "ponytail": _ponytail,
    "pigtails": _pigtails,
    "spikes": _spikes,
    "crest": _crest,
}
