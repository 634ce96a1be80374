"""The identity directions, one standard deviation each: smooth fields over the mean head.

Near an eye every field turns into a rigid shift, so that lids and ball stay together; only size, tilt and opening act
there, about the eye's centre.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import field, mouth
from .assemble import Head, mirrored
from .mesh import MOUTH_WIDTH, MOUTH_Y
from .part import MIRROR, Array, bell, smoothstep

PLATEAU = (0.30, 0.52)
"""Distance from the eye's centre within which a field is rigid, and beyond which it is free."""
WIDE = float("inf")
SYMMETRIC = np.array([1.0, 1.0, 1.0])


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
    near = _plateau(p)[:, None]
    sides = np.where(p[:, :1] > 0, 1.0, -1.0)
    local = p - np.where(p[:, :1] > 0, centre, centre * MIRROR)
    for name, amount in (("eye_size", 0.075),):
        made[name] = Direction(near * local * amount, np.zeros((2, 3)), amount)
    for name, shift in (("eyes_apart", (0.022, 0.0, -0.006)), ("eyes_high", (0.0, 0.025, 0.0)), ("eyes_deep", (0.0, 0.0, -0.022))):
        step = np.array(shift)
        made[name] = Direction(near * step * np.concatenate([sides, np.ones_like(sides), np.ones_like(sides)], 1), np.stack([step, step * MIRROR]))
    tilt = 0.07
    turned = np.column_stack([-local[:, 1] * sides[:, 0], local[:, 0] * sides[:, 0], np.zeros(len(p))]) * tilt
    turned[head.own["eye_left"]] = turned[head.own["eye_right"]] = 0.0
    made["eye_tilt"] = Direction(near * turned, np.zeros((2, 3)))
    made["eye_opening"] = Direction(shape.opening(), np.zeros((2, 3)))
    made["stylisation"] = shape.stylisation()
    return made


def _plateau(points: Array) -> Array:
    """[V, 3] -> [V] 1 near either eye, 0 far from both."""
    folded = points * np.array([1.0, 1.0, 1.0])
    folded[:, 0] = np.abs(folded[:, 0])
    return smoothstep(PLATEAU[1], PLATEAU[0], np.linalg.norm(folded - field.EYE_CENTRE, axis=1))


def _held(points: Array, move) -> Direction:
    """`move`, a function of places, made rigid near the eyes."""
    free = move(points)
    both = np.stack([field.EYE_CENTRE, field.EYE_CENTRE * MIRROR])
    front = both + np.array([0.0, 0.0, field.EYE_RADIUS])
    shift = move(front)
    near = _plateau(points)[:, None]
    rigid = np.where(points[:, :1] > 0, shift[0], shift[1])
    return Direction((1.0 - near) * free + near * rigid, shift)


def _bump(centre: tuple[float, ...], width: tuple[float, ...], move: tuple[float, float, float]):
    """Displacement by a bell on the left and its mirror image on the right."""
    def field_of(p: Array) -> Array:
        right = bell(p, tuple(np.array(centre) * MIRROR), width)[:, None] * np.array(move) * MIRROR
        left = bell(p, centre, width)[:, None] * np.array(move)
        return (left + right) * (0.5 if centre[0] == 0.0 else 1.0)
    return field_of


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
            "chin_pointed": lambda p: _column(0, p[:, 0] * -0.24 * smoothstep(-0.62, -0.90, p[:, 1]) * smoothstep(0.0, 0.30, p[:, 2])),
            "cheek_full": _bump((0.45, -0.44, 0.40), (0.20, 0.20, 0.28), (0.055, 0.0, 0.030)),
            "cheek_bone": _bump((0.50, -0.22, 0.44), (0.15, 0.10, 0.22), (0.034, 0.010, 0.030)),
            "nose_long": _bump((0.0, -0.31, 0.76), (0.12, 0.10, 0.18), (0.0, -0.042, 0.0)),
            "nose_out": _bump((0.0, -0.25, 0.78), (0.10, 0.12, 0.16), (0.0, 0.0, 0.055)),
            "nose_wide": lambda p: _column(0, p[:, 0] * 0.22 * bell(p, (0.0, -0.28, 0.73), (0.12, 0.12, 0.14))),
            "nose_tip_up": _bump((0.0, -0.285, 0.80), (0.075, 0.075, 0.12), (0.0, 0.035, 0.010)),
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
                rings = p[own][:-2].reshape(-1, 10, 3)
                middle = rings.mean(1, keepdims=True)
                out[own[:-2]] = ((rings - middle) * 0.26 * np.array([0.3, 1.0, 0.45])).reshape(-1, 3)
        return out

    def opening(self) -> Array:
        """Lids a little wider: the sliding of the lids themselves."""
        from .expressions import _Fields
        left = _Fields(self.head)._lids(-0.10, -0.06)
        return left + mirrored(self.head, left)

    def stylisation(self) -> Direction:
        """From human (−) to drawn (+): eyes grow, the midface and the cranium's share shrink."""
        p = self.head.vertices
        near = _plateau(p)[:, None]
        local = p - np.where(p[:, :1] > 0, field.EYE_CENTRE, field.EYE_CENTRE * MIRROR)
        lift = np.interp(p[:, 1], [-1.7, -1.15, -0.90, -0.545, -0.33, -0.10, 0.2], [0.075, 0.075, 0.072, 0.055, 0.055, 0.0, 0.0])
        nose_in = bell(p, (0.0, -0.25, 0.75), (0.12, 0.16, 0.16)) * -0.018
        crown = -0.02 * smoothstep(0.2, 0.9, p[:, 1])
        cheek = p[:, 0] * 0.018 * smoothstep(0.25, -0.2, p[:, 1]) * smoothstep(-1.1, -0.85, p[:, 1])
        free = np.column_stack([cheek, lift + crown, nose_in])
        brow = bell(p * np.array([0.0, 1.0, 1.0]), (0.0, 0.27, 0.58), (1.0, 0.11, 0.3)) * 0.026
        free[:, 1] += brow
        amount = 0.095
        return Direction((1.0 - near) * free + near * local * amount, np.zeros((2, 3)), amount)


__all__ = ["MOUTH_WIDTH", "SYMMETRIC", "Direction", "build_identity", "mouth"]
