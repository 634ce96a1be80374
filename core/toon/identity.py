"""The identity directions, one standard deviation each: smooth fields over the mean head.

Near an eye every field turns into a rigid shift, so that lids and ball stay together; only size, tilt and opening act
there, about the eye's centre. Amplitudes were chosen so that ±1.8 of any, and ±1.5 of all at random, stay a face.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import field
from .assemble import Head
from .brows import SIDES
from .expressions import lid_opening
from .mesh import MOUTH_Y
from .part import MIRROR, Array, bell, smoothstep

Move = Callable[[Array], Array]
"""Places [N, 3] -> displacements [N, 3]."""
Triple = tuple[float, float, float]
BUMPS: dict[str, tuple[Triple, Triple, Triple]] = {
    "forehead_out": ((0.0, 0.55, 0.70), (0.40, 0.28, 0.40), (0.0, 0.0, 0.05)),
    "temples_narrow": ((0.62, 0.12, 0.28), (0.22, 0.22, 0.28), (-0.035, 0.0, -0.012)),
    "jaw_square": ((0.40, -0.72, 0.16), (0.16, 0.15, 0.24), (0.045, -0.022, 0.0)),
    "chin_long": ((0.0, -0.90, 0.42), (0.26, 0.20, 0.30), (0.0, -0.06, 0.0)),
    "chin_forward": ((0.0, -0.84, 0.56), (0.20, 0.15, 0.24), (0.0, 0.0, 0.06)),
    "cheek_full": ((0.45, -0.44, 0.38), (0.22, 0.24, 0.30), (0.045, 0.0, 0.026)),
    "cheek_bone": ((0.50, -0.22, 0.44), (0.15, 0.10, 0.22), (0.034, 0.010, 0.030)),
    "nose_long": ((0.0, -0.31, 0.76), (0.14, 0.11, 0.20), (0.0, -0.034, 0.0)),
    "nose_out": ((0.0, -0.25, 0.78), (0.10, 0.12, 0.16), (0.0, 0.0, 0.055)),
    "nose_tip_up": ((0.0, -0.285, 0.80), (0.090, 0.085, 0.14), (0.0, 0.024, 0.008)),
    "nose_bridge": ((0.0, -0.03, 0.66), (0.065, 0.13, 0.16), (0.0, 0.0, 0.040)),
    "mouth_high": ((0.0, MOUTH_Y, 0.60), (0.28, 0.14, 0.38), (0.0, 0.026, 0.0)),
    "mouth_forward": ((0.0, MOUTH_Y, 0.62), (0.20, 0.14, 0.36), (0.0, 0.0, 0.035)),
    "mouth_corners": ((0.235, -0.53, 0.52), (0.09, 0.09, 0.30), (0.004, 0.022, -0.004)),
    "lip_upper_full": ((0.0, MOUTH_Y + 0.040, 0.68), (0.14, 0.030, 0.06), (0.0, 0.014, 0.014)),
    "lip_lower_full": ((0.0, MOUTH_Y - 0.050, 0.68), (0.14, 0.034, 0.06), (0.0, -0.016, 0.016)),
    "ears_out": ((0.90, -0.02, -0.16), (0.09, 0.24, 0.16), (0.050, 0.0, 0.012)),
    "brow_high": ((0.33, 0.26, 0.58), (0.24, 0.10, 0.30), (0.0, 0.030, 0.0)),
    "brow_ridge": ((0.27, 0.20, 0.64), (0.20, 0.085, 0.24), (0.0, -0.006, 0.030)),
}
"""Soft bumps: centre on the left half (x = 0 on the middle line), width, displacement; mirrored to the right."""
PLATEAU = (0.30, 0.54)
"""Distance from the eye's centre within which a field is rigid, and beyond which it is free."""
EYE_SIZE, EYE_STYLE, EYE_TILT = 0.075, 0.075, 0.07
"""Growth of an eye with one deviation of its size, and of the style; radians of its tilt."""
EYE_SHIFTS = {"eyes_apart": (0.022, 0.0, -0.006), "eyes_high": (0.0, 0.025, 0.0), "eyes_deep": (0.0, 0.0, -0.022)}
"""Shifts of the left eye."""
EAR_ROOT = np.array([0.80, -0.075, -0.06])
"""Where the left ear grows from."""
LIFT_STYLE, LIFT_MIDFACE = 0.036, 0.038
"""How far the chin rises with one deviation of style, and of a short midface."""
BROW_BAND = ((0.0, 0.27, 0.58), (1.0, 0.10, 0.30))
"""Centre and width of the strip that both brows lie in."""


@dataclass(frozen=True, eq=False)
class Direction:
    """move: [V, 3]. eye_shift: [2, 3] of the centres, left first. eye_scale: relative growth of both eyeballs."""

    move: Array
    eye_shift: Array
    eye_scale: float = 0.0


def build_identity(head: Head) -> dict[str, Direction]:
    """Name -> direction: proportions, bumps, ears and brows, eyes, and the way from human to drawn."""
    p = head.vertices
    moves: dict[str, Move] = PROPORTIONS | {name: _bump(*bump) for name, bump in BUMPS.items()}
    made = {name: _held(p, move) for name, move in moves.items()}
    still = np.zeros((2, 3))
    made["ear_size"] = Direction(_ears(head, 0.16), still)
    made["brow_thick"] = Direction(_brow_thickness(head, 0.26), still)

    left, right = _plateaus(p)
    from_left, from_right = left * (p - field.EYE_CENTRE), right * (p - field.EYE_CENTRE * MIRROR)
    made["eye_size"] = Direction((from_left + from_right) * EYE_SIZE, still, EYE_SIZE)
    for name, shift in EYE_SHIFTS.items():
        step = np.array(shift)
        made[name] = Direction(left * step + right * step * MIRROR, np.stack([step, step * MIRROR]))
    made["eye_tilt"] = Direction(_tilt(head, from_left, from_right), still)
    made["eye_opening"] = Direction(lid_opening(head), still)
    drawn = (1.0 - left - right) * _style(p) + (from_left + from_right) * EYE_STYLE
    made["stylisation"] = Direction(drawn, still, EYE_STYLE)
    return made


def eye_follow(head: Head) -> Array:
    """[V] 0…1: how far an expression grows with the eye on a vertex' side, so that all sizes of eyes shut alike."""
    left, right = _plateaus(head.vertices)
    return np.where(head.vertices[:, 0] >= 0.0, left[:, 0], right[:, 0])


def _head_width(p: Array) -> Array:
    return _along(0, p[:, 0] * 0.055 * _above_neck(p))


def _head_length(p: Array) -> Array:
    return _along(1, (p[:, 1] + 0.05) * 0.05 * _above_neck(p))


def _head_depth(p: Array) -> Array:
    """The back of the head only."""
    return _along(2, np.minimum(p[:, 2] - 0.1, 0.0) * 0.07 * _above_neck(p))


def _forehead_high(p: Array) -> Array:
    return _along(1, 0.06 * smoothstep(0.25, 0.85, p[:, 1]))


def _jaw_width(p: Array) -> Array:
    _, y, z = p.T
    lower = smoothstep(-0.15, -0.65, y) * smoothstep(-1.18, -0.92, y)
    return _along(0, p[:, 0] * 0.085 * lower * smoothstep(-0.35, 0.0, z))


def _chin_pointed(p: Array) -> Array:
    _, y, z = p.T
    lower = smoothstep(-0.50, -0.95, y) * smoothstep(-1.30, -1.02, y)
    return _along(0, p[:, 0] * -0.15 * lower * smoothstep(-0.20, 0.40, z))


def _midface_short(p: Array) -> Array:
    return _along(1, LIFT_MIDFACE * _below_eyes(p))


def _nose_wide(p: Array) -> Array:
    return _along(0, p[:, 0] * 0.22 * bell(p, (0.0, -0.28, 0.73), (0.12, 0.12, 0.14)))


def _nose_bulb(p: Array) -> Array:
    weight = bell(p, (0.0, -0.275, 0.78), (0.075, 0.070, 0.09))
    return weight[:, None] * (p - np.array([0.0, -0.275, 0.74])) * 0.22


def _mouth_wide(p: Array) -> Array:
    return _along(0, p[:, 0] * 0.13 * bell(p, (0.0, MOUTH_Y, 0.58), (0.27, 0.13, 0.36)))


def _neck_wide(p: Array) -> Array:
    below = smoothstep(-0.82, -1.12, p[:, 1] + 0.25 * np.clip(p[:, 2], 0.0, 1.0))
    return below[:, None] * (p - np.array([0.0, 0.0, -0.26])) * np.array([0.12, 0.0, 0.12])


def _brow_tilt(p: Array) -> Array:
    """Outer ends up, inner ends down."""
    from_middle = np.abs(p[:, 0]) - 0.33
    return _along(1, 0.10 * from_middle * np.exp(-((from_middle / 0.3) ** 2)) * _at_brows(p))


PROPORTIONS: dict[str, Move] = {
    "head_width": _head_width,
    "head_length": _head_length,
    "head_depth": _head_depth,
    "forehead_high": _forehead_high,
    "jaw_width": _jaw_width,
    "chin_pointed": _chin_pointed,
    "midface_short": _midface_short,
    "nose_wide": _nose_wide,
    "nose_bulb": _nose_bulb,
    "mouth_wide": _mouth_wide,
    "neck_wide": _neck_wide,
    "brow_tilt": _brow_tilt,
}
"""Fields that stretch or shift whole regions."""


def _style(p: Array) -> Array:
    """From human (−) to drawn (+), away from the eyes: a shorter midface and skull, rounder cheeks, a smaller nose."""
    nose_in = -0.010 * bell(p, (0.0, -0.25, 0.75), (0.12, 0.16, 0.16))
    crown = -0.020 * smoothstep(0.2, 0.9, p[:, 1])
    cheek = p[:, 0] * 0.018 * smoothstep(0.25, -0.2, p[:, 1]) * smoothstep(-1.1, -0.85, p[:, 1])
    return np.column_stack([cheek, LIFT_STYLE * _below_eyes(p) + crown + 0.022 * _at_brows(p), nose_in])


def _ears(head: Head, amount: float) -> Array:
    """Both ears grown about their roots."""
    p, sides = head.vertices, np.where(head.vertices[:, :1] > 0, 1.0, MIRROR)
    return head.mask("ear_left", "ear_right")[:, None] * (p - EAR_ROOT * sides) * amount


def _brow_thickness(head: Head, amount: float) -> Array:
    """Each ring of a brow grown about its middle, mostly in height."""
    grown = np.zeros_like(head.vertices)
    for name in ("brow_left", "brow_right"):
        own = head.own[name][:-2]  # without the two tips
        rings = head.vertices[own].reshape(-1, SIDES, 3)
        grown[own] = ((rings - rings.mean(1, keepdims=True)) * amount * np.array([0.3, 1.0, 0.45])).reshape(-1, 3)
    return grown


def _tilt(head: Head, left: Array, right: Array) -> Array:
    """[V, 3] lids turned about the line of sight, outer corners up; the balls stay."""
    turned = np.column_stack([right[:, 1] - left[:, 1], left[:, 0] - right[:, 0], np.zeros(len(left))]) * EYE_TILT
    turned[np.concatenate([head.own["eye_left"], head.own["eye_right"]])] = 0.0
    return turned


def _held(points: Array, move: Move) -> Direction:
    """`move` made rigid near the eyes: there it shifts as much as it does in front of the eye's centre."""
    both = np.stack([field.EYE_CENTRE, field.EYE_CENTRE * MIRROR])
    shift = move(both + np.array([0.0, 0.0, field.EYE_RADIUS]))
    left, right = _plateaus(points)
    return Direction((1.0 - left - right) * move(points) + left * shift[0] + right * shift[1], shift)


def _plateaus(points: Array) -> tuple[Array, Array]:
    """[V, 3] -> [V, 1] each: 1 near the left, near the right eye, 0 far from it; together never more than 1."""
    left, right = (
        smoothstep(PLATEAU[1], PLATEAU[0], np.linalg.norm(points - centre, axis=1))[:, None]
        for centre in (field.EYE_CENTRE, field.EYE_CENTRE * MIRROR)
    )
    total = np.maximum(left + right, 1.0)
    return left / total, right / total


def _bump(centre: Triple, width: Triple, step: Triple) -> Move:
    """Displacement by a bell on the left and its mirror image on the right; once only on the middle line."""
    share = 0.5 if centre[0] == 0.0 else 1.0

    def move(p: Array) -> Array:
        left = bell(p, centre, width)[:, None] * np.array(step)
        right = bell(p * MIRROR, centre, width)[:, None] * np.array(step) * MIRROR
        return (left + right) * share

    return move


def _above_neck(p: Array) -> Array:
    return smoothstep(-1.50, -1.00, p[:, 1] - 0.1 * p[:, 2])


def _below_eyes(p: Array) -> Array:
    """[N] 0 above the eyes, 1 at the chin and below: the share of a shortened face, slow enough that nothing folds."""
    return np.interp(p[:, 1], (-0.95, -0.72, -0.55, -0.40, -0.25, -0.05), (1.0, 0.86, 0.68, 0.43, 0.14, 0.0))


def _at_brows(p: Array) -> Array:
    return bell(p * np.array([0.0, 1.0, 1.0]), *BROW_BAND)


def _along(axis: int, amount: Array) -> Array:
    """[N] -> [N, 3] with that amount on one axis."""
    return amount[:, None] * np.eye(3)[axis]
