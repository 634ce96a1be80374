"""The identity directions, one standard deviation each: smooth fields over the mean head.

Near an eye every field turns into a rigid shift, so that lids and ball stay together; only size, tilt and opening act
there, about the eye's centre.
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
PLATEAU = (0.30, 0.58)
"""Distance from the eye's centre within which a field is rigid, and beyond which it is free."""
EYE_SIZE, EYE_STYLE, EYE_TILT = 0.075, 0.075, 0.07
"""Growth of an eye with one deviation of its size, and of the style; radians of its tilt."""
EYE_SHIFTS = {"eyes_apart": (0.022, 0.0, -0.006), "eyes_high": (0.0, 0.025, 0.0), "eyes_deep": (0.0, 0.0, -0.022)}
"""Shifts of the left eye."""
LIFT_STYLE, LIFT_MIDFACE = 0.036, 0.038
"""How far the chin rises with one deviation of style, and of a short midface."""


@dataclass(frozen=True, eq=False)
class Direction:
    """move: [V, 3]. eye_shift: [2, 3] of the centres, left first. eye_scale: relative growth of both eyeballs."""

    move: Array
    eye_shift: Array
    eye_scale: float = 0.0


def build_identity(head: Head) -> dict[str, Direction]:
    """Name -> direction, in the order of head, jaw, cheeks, eyes, nose, mouth, ears, neck, brows, age of the style."""
    p = head.vertices
    shape = _Shapes(head)
    centre = field.EYE_CENTRE
    made: dict[str, Direction] = {}
    for name, move in shape.free().items():
        made[name] = _held(p, move)
    left, right = _plateaus(p)
    local = left * (p - centre) + right * (p - centre * MIRROR)
    made["eye_size"] = Direction(local * EYE_SIZE, np.zeros((2, 3)), EYE_SIZE)
    for name, shift in EYE_SHIFTS.items():
        step = np.array(shift)
        made[name] = Direction(left * step + right * step * MIRROR, np.stack([step, step * MIRROR]))
    made["eye_tilt"] = Direction(_tilt(head, left * (p - centre), right * (p - centre * MIRROR)), np.zeros((2, 3)))
    made["eye_opening"] = Direction(lid_opening(head), np.zeros((2, 3)))
    made["stylisation"] = shape.stylisation(local)
    return made


def eye_follow(head: Head) -> Array:
    """[V] 0…1: how far an expression grows with the eye of a vertex' own side, so that all sizes of eyes shut alike."""
    left, right = _plateaus(head.vertices)
    return np.where(head.vertices[:, 0] >= 0.0, left[:, 0], right[:, 0])


def _plateaus(points: Array) -> tuple[Array, Array]:
    """[V, 3] -> [V, 1] each: 1 near the left, near the right eye, 0 far from it; together never more than 1."""
    left, right = (
        smoothstep(PLATEAU[1], PLATEAU[0], np.linalg.norm(points - centre, axis=1))[:, None]
        for centre in (field.EYE_CENTRE, field.EYE_CENTRE * MIRROR)
    )
    total = np.maximum(left + right, 1.0)
    return left / total, right / total


def _held(points: Array, move: Move) -> Direction:
    """`move` made rigid near the eyes: there it shifts as much as it does in front of the eye's centre."""
    both = np.stack([field.EYE_CENTRE, field.EYE_CENTRE * MIRROR])
    shift = move(both + np.array([0.0, 0.0, field.EYE_RADIUS]))
    left, right = _plateaus(points)
    return Direction((1.0 - left - right) * move(points) + left * shift[0] + right * shift[1], shift)


def _tilt(head: Head, left: Array, right: Array) -> Array:
    """[V, 3] lids turned about the line of sight, outer corners up; the balls stay."""
    turned = np.column_stack([right[:, 1] - left[:, 1], left[:, 0] - right[:, 0], np.zeros(len(left))]) * EYE_TILT
    turned[np.concatenate([head.own["eye_left"], head.own["eye_right"]])] = 0.0
    return turned


def _bump(centre: tuple[float, ...], width: tuple[float, ...], move: tuple[float, float, float]):
    """Displacement by a bell on the left and its mirror image on the right."""
    def field_of(p: Array) -> Array:
        right = bell(p, tuple(np.array(centre) * MIRROR), width)[:, None] * np.array(move) * MIRROR
        left = bell(p, centre, width)[:, None] * np.array(move)
        return (left + right) * (0.5 if centre[0] == 0.0 else 1.0)
    return field_of


def _midface(p: Array) -> Array:
    """[N] 0 above the eyes, 1 at the chin and below: the share of a shortened face, smooth so that nothing folds."""
    return np.interp(p[:, 1], (-0.95, -0.55, -0.36, 0.0, 0.12), (1.0, 0.80, 0.58, 0.04, 0.0))


def _column(axis: int, value: Array) -> Array:
    out = np.zeros((len(value), 3))
    out[:, axis] = value
    return out


class _Shapes:
    """The fields; each takes places [N, 3] and gives displacements."""

    def __init__(self, head: Head) -> None:
        self.head = head

    def free(self) -> dict:
        """Fields that are a function of the place alone."""
        def neck_fade(p: Array) -> Array:
            return smoothstep(-1.50, -1.00, p[:, 1] - 0.1 * p[:, 2])

        return {
            "head_width": lambda p: _column(0, p[:, 0] * 0.055 * neck_fade(p)),
            "head_length": lambda p: _column(1, (p[:, 1] + 0.05) * 0.05 * neck_fade(p)),
            "head_depth": lambda p: _column(2, np.minimum(p[:, 2] - 0.1, 0.0) * 0.07 * neck_fade(p)),
            "forehead_high": lambda p: _column(1, 0.06 * smoothstep(0.25, 0.85, p[:, 1])),
            "forehead_out": _bump((0.0, 0.55, 0.70), (0.40, 0.28, 0.40), (0.0, 0.0, 0.05)),
            "temples_narrow": _bump((0.62, 0.12, 0.28), (0.22, 0.22, 0.28), (-0.035, 0.0, -0.012)),
            "jaw_width": lambda p: _column(0, p[:, 0] * 0.085 * smoothstep(-0.15, -0.65, p[:, 1]) * smoothstep(-1.18, -0.92, p[:, 1]) * smoothstep(-0.35, 0.0, p[:, 2])),
            "jaw_square": _bump((0.40, -0.72, 0.16), (0.16, 0.15, 0.24), (0.045, -0.022, 0.0)),
            "chin_long": _bump((0.0, -0.90, 0.42), (0.26, 0.20, 0.30), (0.0, -0.06, 0.0)),
            "chin_forward": _bump((0.0, -0.84, 0.56), (0.20, 0.15, 0.24), (0.0, 0.0, 0.06)),
            "chin_pointed": lambda p: _column(0, p[:, 0] * -0.15 * smoothstep(-0.50, -0.95, p[:, 1]) * smoothstep(-0.20, 0.40, p[:, 2]) * smoothstep(-1.30, -1.02, p[:, 1])),
            "cheek_full": _bump((0.45, -0.44, 0.38), (0.22, 0.24, 0.30), (0.045, 0.0, 0.026)),
            "cheek_bone": _bump((0.50, -0.22, 0.44), (0.15, 0.10, 0.22), (0.034, 0.010, 0.030)),
            "nose_long": _bump((0.0, -0.31, 0.76), (0.14, 0.11, 0.20), (0.0, -0.034, 0.0)),
            "nose_out": _bump((0.0, -0.25, 0.78), (0.10, 0.12, 0.16), (0.0, 0.0, 0.055)),
            "nose_wide": lambda p: _column(0, p[:, 0] * 0.22 * bell(p, (0.0, -0.28, 0.73), (0.12, 0.12, 0.14))),
            "nose_tip_up": _bump((0.0, -0.285, 0.80), (0.090, 0.085, 0.14), (0.0, 0.024, 0.008)),
            "nose_bridge": _bump((0.0, -0.03, 0.66), (0.065, 0.13, 0.16), (0.0, 0.0, 0.040)),
            "nose_bulb": lambda p: bell(p, (0.0, -0.275, 0.78), (0.075, 0.070, 0.09))[:, None] * (p - np.array([0.0, -0.275, 0.74])) * 0.22,
            "mouth_wide": lambda p: _column(0, p[:, 0] * 0.13 * bell(p, (0.0, MOUTH_Y, 0.58), (0.27, 0.13, 0.36))),
            "mouth_high": _bump((0.0, MOUTH_Y, 0.60), (0.28, 0.14, 0.38), (0.0, 0.026, 0.0)),
            "mouth_forward": _bump((0.0, MOUTH_Y, 0.62), (0.20, 0.14, 0.36), (0.0, 0.0, 0.035)),
            "mouth_corners": _bump((0.235, -0.53, 0.52), (0.09, 0.09, 0.30), (0.004, 0.022, -0.004)),
            "lip_upper_full": _bump((0.0, MOUTH_Y + 0.040, 0.68), (0.14, 0.030, 0.06), (0.0, 0.014, 0.014)),
            "lip_lower_full": _bump((0.0, MOUTH_Y - 0.050, 0.68), (0.14, 0.034, 0.06), (0.0, -0.016, 0.016)),
            "ear_size": lambda p: self._ears(p, 0.16),
            "ears_out": _bump((0.90, -0.02, -0.16), (0.09, 0.24, 0.16), (0.050, 0.0, 0.012)),
            "midface_short": lambda p: _column(1, LIFT_MIDFACE * _midface(p)),
            "neck_wide": lambda p: (p - np.array([0.0, 0.0, -0.26])) * np.array([0.12, 0.0, 0.12]) * (smoothstep(-0.82, -1.12, p[:, 1] + 0.25 * np.clip(p[:, 2], 0.0, 1.0)))[:, None],
            "brow_high": _bump((0.33, 0.26, 0.58), (0.24, 0.10, 0.3), (0.0, 0.030, 0.0)),
            "brow_tilt": lambda p: _column(1, 0.10 * (np.abs(p[:, 0]) - 0.33) * np.exp(-((np.abs(p[:, 0]) - 0.33) / 0.3) ** 2) * bell(p * np.array([0.0, 1.0, 1.0]), (0.0, 0.27, 0.58), (1.0, 0.10, 0.3))),
            "brow_ridge": _bump((0.27, 0.20, 0.64), (0.20, 0.085, 0.24), (0.0, -0.006, 0.030)),
            "brow_thick": self._brow_thick,
        }

    def _ears(self, p: Array, amount: float) -> Array:
        centre = np.array([0.80, -0.075, -0.06])
        weight = smoothstep(0.74, 0.84, np.abs(p[:, 0])) * bell(np.abs(p), (0.88, 0.05, 0.12), (0.3, 0.5, 0.5))
        if len(p) == len(self.head.vertices):
            weight = self.head.mask("ear_left", "ear_right")
        folded = np.column_stack([np.abs(p[:, 0]), p[:, 1], p[:, 2]]) - centre
        return weight[:, None] * folded * amount * np.column_stack([np.sign(p[:, 0]), np.ones(len(p)), np.ones(len(p))])

    def _brow_thick(self, p: Array) -> Array:
        out = np.zeros_like(p)
        if len(p) == len(self.head.vertices):
            for name in ("brow_left", "brow_right"):
                own = self.head.own[name]
                rings = p[own][:-2].reshape(-1, SIDES, 3)
                middle = rings.mean(1, keepdims=True)
                out[own[:-2]] = ((rings - middle) * 0.26 * np.array([0.3, 1.0, 0.45])).reshape(-1, 3)
        return out

    def stylisation(self, eyes: Array) -> Direction:
        """From human (−) to drawn (+): eyes grow, the midface shrinks. eyes: [V, 3] places about the eyes' centres."""
        p = self.head.vertices
        left, right = _plateaus(p)
        nose_in = -0.010 * bell(p, (0.0, -0.25, 0.75), (0.12, 0.16, 0.16))
        brow = 0.022 * bell(p * np.array([0.0, 1.0, 1.0]), (0.0, 0.27, 0.58), (1.0, 0.11, 0.3))
        crown = -0.020 * smoothstep(0.2, 0.9, p[:, 1])
        cheek = p[:, 0] * 0.018 * smoothstep(0.25, -0.2, p[:, 1]) * smoothstep(-1.1, -0.85, p[:, 1])
        free = np.column_stack([cheek, LIFT_STYLE * _midface(p) + crown + brow, nose_in])
        return Direction((1.0 - left - right) * free + eyes * EYE_STYLE, np.zeros((2, 3)), EYE_STYLE)
