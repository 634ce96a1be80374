"""Glasses, hats and beards."""

from __future__ import annotations

import numpy as np

from .. import field
from ..mesh import MOUTH_Y
from ..part import Array, bell, smoothstep
from .hair import HairStyle, Table, around, edge_angle
from .shapes import Piece, ball, grid, joined, tube

# Glasses --------------------------------------------------------------------------------------------------------------

GLASSES = {"round": 1.0, "square": 1.0, "wide": 0.8, "cat_eye": 0.6, "sun": 0.25}
"""Shapes, and how often each is worn by those who wear any."""
RIM = 0.021
"""Radius of the frame; thinner ones break up at 128²."""
FRAME_Z, FRAME_BEND = 0.805, 0.16
"""How far in front the frame stands, and how far it falls back towards the temples."""
RIMS = {"round": (0.255, 0.250, 2.0, 0.0), "square": (0.265, 0.215, 4.0, 0.0), "wide": (0.275, 0.195, 3.0, 0.0),
        "cat_eye": (0.265, 0.205, 2.6, 0.09), "sun": (0.272, 0.225, 2.8, 0.03)}  # fmt: skip
"""Half-width, half-height, exponent of the super-ellipse, lift of the outer corner."""
RIM_CENTRE = np.array([0.335, -0.065])
BRIDGE_ANCHOR, HINGE_ANCHOR, EAR_ANCHOR = (0.0, -0.02, 0.66), (0.62, 0.0, 0.36), (0.80, 0.02, -0.05)


def glasses(shape: str) -> tuple[Piece, Piece | None]:
    """The frame, and its lenses where they are dark."""
    wide, high, power, lift = RIMS[shape]
    turn = 2.0 * np.pi * np.arange(56) / 56
    c, s = np.cos(turn), np.sin(turn)
    x = np.sign(c) * np.abs(c) ** (2.0 / power) * wide
    y = np.sign(s) * np.abs(s) ** (2.0 / power) * high + lift * np.clip(c, 0, 1) ** 2 * (s > -0.2)
    rim = _on_frame(RIM_CENTRE[0] + x, RIM_CENTRE[1] + y)
    anchor = np.array([RIM_CENTRE[0], 0.12, 0.62])
    left = [tube(rim, RIM, anchor, sides=8, loop=True)]
    outer_x = RIM_CENTRE[0] + wide
    start = _on_frame(np.array([outer_x]), np.array([0.03 + lift]))
    hinge = np.concatenate([start, [[0.735, 0.035, 0.44], [0.850, 0.03, 0.16], [0.870, 0.01, -0.08]]])
    path = np.stack([np.interp(np.linspace(0, 3, 14), range(4), column) for column in hinge.T], 1)
    share = np.linspace(0.0, 1.0, 14)[:, None]
    left.append(tube(path, RIM * 0.9, np.array(HINGE_ANCHOR) * (1 - share) + np.array(EAR_ANCHOR) * share, sides=8))
    half = RIM_CENTRE[0] - wide + 0.01
    span = np.linspace(-half, half, 9)
    arch = _on_frame(span, 0.0 + 0.035 * (1.0 - (span / half) ** 2))
    bridge = tube(arch, RIM * 0.9, np.array(BRIDGE_ANCHOR), sides=8)
    frame = joined(*left, *(piece.mirrored() for piece in left), bridge)
    if shape != "sun":
        return frame, None
    share = np.linspace(0.0, 1.0, 8)[:, None, None]
    disc = np.array([*RIM_CENTRE, 0.0]) * (1 - share) + rim[None] * share
    disc[..., 2] = _on_frame(disc[..., 0], disc[..., 1])[..., 2] + 0.03 * (1.0 - share[..., 0] ** 2)
    lens = grid(disc, anchor, disc[..., :2], np.zeros(disc.shape[:2]), around=True)
    return frame, joined(lens, lens.mirrored())


def _on_frame(x: Array, y: Array) -> Array:
    return np.stack([x, y, FRAME_Z - FRAME_BEND * (np.abs(x) / 0.6) ** 2.2], -1)


# Hats -----------------------------------------------------------------------------------------------------------------

HATS = {"beanie": 1.0, "cap": 0.8, "beret": 0.5, "band": 0.7}
"""Kinds, and how often each is worn by those who wear one."""
PRESSED = {"beanie": 0.50, "cap": 0.50, "beret": 0.50, "band": 1.0}
"""What a hat leaves of the hair's thickness."""
HAT_COLUMNS, HAT_ROWS = 96, 22
BEANIE: Table = ((0, 70), (50, 74), (90, 84), (130, 100), (180, 108))
CAP: Table = ((0, 66), (50, 71), (90, 82), (130, 96), (180, 102))
BERET: Table = ((0, 64), (60, 68), (90, 78), (180, 96))


def hat(kind: str, hair: HairStyle | None) -> tuple[Piece, Piece]:
    """Crown and trim, high enough for pressed `hair` to lie under it."""
    room = 0.055 + (0.0 if hair is None else PRESSED[kind] * hair.thickness)
    return {"beanie": _beanie, "cap": _cap, "beret": _beret, "band": _band}[kind](room)


def _dome(table: Table, thickness: Array | float, ribs: int = 0, tuck: float = 0.0) -> tuple[Piece, Array, Array]:
    """A shell over the skull down to the table's edge; also the edge on the skull, and its outward directions."""
    turn = np.pi + 2.0 * np.pi * np.arange(HAT_COLUMNS) / HAT_COLUMNS
    s = np.linspace(0.0, 1.0, HAT_ROWS)[:, None]
    direction = around(edge_angle(table, turn) * s, turn + 0.0 * s)
    base = field.cast(direction.reshape(-1, 3)).reshape(direction.shape)
    rib = np.abs(np.sin(0.5 * ribs * turn)) if ribs else np.ones_like(turn)
    off = thickness * (1.0 - tuck * s**8) - 0.018 * (1.0 - rib) * np.minimum(4.0 * s, 1.0)
    uv = np.stack(np.broadcast_arrays(turn / (2 * np.pi), s), -1)
    shade = 0.5 * (1.0 - rib) * np.ones_like(s)
    return grid(base + direction * off[..., None], base, uv, shade, around=True), base[-1], direction[-1]


def _beanie(room: float) -> tuple[Piece, Piece]:
    crown, edge, out = _dome(BEANIE, room + 0.05, ribs=44)
    path = edge + out * (room + 0.045) + np.array([0.0, 0.060, 0.0])
    fold = tube(path, 0.048, edge, sides=14, loop=True, flat=2.1)
    bobble_at = field.cast(np.array([[0.0, 1.0, -0.30]]))[0]
    bobble = ball(bobble_at + np.array([0.0, room + 0.14, -0.05]), np.full(3, 0.15), bobble_at, grooves=12)
    return crown, joined(fold, bobble)


def _cap(room: float) -> tuple[Piece, Piece]:
    crown, edge, out = _dome(CAP, room + 0.05, tuck=0.25)
    turn = np.linspace(-1.05, 1.05, 33)
    place = around(edge_angle(CAP, turn), turn)
    root = field.cast(place) + place * (room + 0.03)
    reach = 0.52 * np.cos(turn / 1.05 * 0.5 * np.pi) ** 0.55
    rows = np.linspace(0.0, 1.0, 7)[:, None]
    forward = np.array([0.0, -0.30, 1.0])
    points = root + (reach * rows)[..., None] * forward
    points[..., 1] -= 0.22 * rows * (np.abs(turn) / 1.05) ** 2 * reach / 0.52 + 0.05 * rows**2
    uv = np.stack(np.broadcast_arrays(turn, rows), -1)
    top = grid(points, root, uv, np.zeros((7, 33)))
    thick = np.array([0.0, 0.028, 0.0]) * np.sqrt(1.0 - 0.9 * rows[..., None] ** 4)
    under = grid(points - thick, root, uv, np.full((7, 33), 0.5))
    band = tube(edge + out * (room + 0.025), 0.026, edge, sides=10, loop=True, flat=1.6)
    button_at = field.cast(np.array([[0.0, 1.0, -0.38]]))[0]
    button = ball(button_at + np.array([0.0, room + 0.05, 0.0]), np.array([0.05, 0.03, 0.05]), button_at, 8, 14)
    return crown, joined(top, under, band, button)


def _beret(room: float) -> tuple[Piece, Piece]:
    turn = np.pi + 2.0 * np.pi * np.arange(HAT_COLUMNS) / HAT_COLUMNS
    s = np.linspace(0.0, 1.0, HAT_ROWS)[:, None]
    bulge = room + 0.06 + 0.20 * np.sin(np.pi * s**1.5) * (1.0 + 0.5 * np.sin(turn + 2.4))
    crown, edge, out = _dome(BERET, bulge)
    band = tube(edge + out * (room + 0.02), 0.036, edge, sides=10, loop=True, flat=1.5)
    tip_at = field.cast(np.array([[0.0, 1.0, -0.38]]))[0]
    up = np.array([0.0, room, 0.0]) + np.linspace(0.0, 1.0, 5)[:, None] * np.array([0.02, 0.16, 0.0])
    stem = tube(tip_at + up, 0.022, tip_at, sides=8)
    return crown, joined(band, stem)


def _band(room: float) -> tuple[Piece, Piece]:
    """A hair band over the crown from ear to ear, with a bow."""
    turn = np.linspace(-1.62, 1.62, 50)
    direction = np.stack([np.sin(turn), np.cos(turn), np.full_like(turn, 0.10)], 1)
    base = field.cast(direction)
    unit = direction / np.linalg.norm(direction, axis=1, keepdims=True)
    hoop = tube(base + unit * (room - 0.02), 0.045, base, sides=10)
    at = base[33] + unit[33] * (room + 0.05)
    knot = ball(at, np.array([0.055, 0.055, 0.055]), base[33], 10, 16)
    loops = [ball(at + step, np.array([0.14, 0.095, 0.06]), base[33], 12, 20, grooves=6)
             for step in (np.array([0.14, -0.05, 0.0]), np.array([-0.13, 0.07, 0.0]))]  # fmt: skip
    return hoop, joined(knot, *loops)


# Beards ---------------------------------------------------------------------------------------------------------------

BEARDS = {"full": 1.0, "short": 1.0, "goatee": 0.7, "moustache": 0.7, "stubble": 1.0}
"""Kinds, and how often each is worn by those who wear one; stubble is paint (the head's albedo)."""
BEARD_DEPTH = {"full": 0.095, "short": 0.055, "goatee": 0.055, "moustache": 0.070}
BEARD_SINK = 0.014
"""A beard's own edge lies this deep in the skin."""


def beard_mask(kind: str, places: Array) -> Array:
    """[V, 3] places on the mean head -> [V] 0…1, how full the beard is there."""
    x, y, z = np.abs(places[:, 0]), places[:, 1], places[:, 2]
    folded = np.column_stack([x, y, z])
    front = smoothstep(0.02, 0.16, z)
    jaw = smoothstep(-0.36, -0.66, y - 0.42 * np.clip(x - 0.26, 0.0, 1.0)) * smoothstep(-1.16, -1.00, y) * front
    lips = smoothstep(1.0, 0.8, np.sqrt((x / 0.285) ** 2 + ((y - MOUTH_Y) / 0.098) ** 2))
    lash = bell(folded, (0.10, MOUTH_Y + 0.118, 0.70), (0.135, 0.040, 0.25))
    moustache = smoothstep(0.25, 0.75, lash + 0.6 * bell(folded, (0.24, MOUTH_Y + 0.05, 0.60), (0.055, 0.060, 0.25)))
    moustache = moustache * smoothstep(-0.375, -0.405, y)
    chin = smoothstep(0.30, 0.62, bell(folded, (0.0, -0.78, 0.60), (0.19, 0.14, 0.30))) * smoothstep(-0.61, -0.68, y)
    made = {"full": np.maximum(jaw, moustache), "short": np.maximum(0.9 * jaw, 0.8 * moustache),
            "goatee": np.maximum(chin, moustache), "moustache": moustache}[kind]
    return made * (1.0 - lips)
