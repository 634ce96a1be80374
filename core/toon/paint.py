"""The colours: albedo of the mean head and the directions in which it varies, one standard deviation each.

Colours are RGB 0…1 as shown on a screen. Every direction is a colour times a soft mask over the vertices.
"""

from __future__ import annotations

import numpy as np

from . import ears, eyes, field, mouth
from .assemble import Head
from .mesh import LIP_FRACTIONS, MOUTH_SEGMENTS, MOUTH_Y
from .part import MIRROR, Array, bell, smoothstep

SKIN = np.array([0.800, 0.605, 0.500])
LIGHTER = np.array([0.147, 0.128, 0.114])
"""One deviation of lightness: −3 is (0.36, 0.22, 0.16), +1 (0.95, 0.73, 0.61)."""
LIP_TINT = np.array([0.92, 0.67, 0.66])
"""Natural lips, relative to the skin."""
BROW = np.array([0.235, 0.150, 0.105])
LASH = np.array([0.070, 0.050, 0.045])
IRIS = np.array([0.360, 0.210, 0.110])
SCLERA = np.array([0.945, 0.940, 0.930])
TOOTH = np.array([0.940, 0.925, 0.890])
GUM = np.array([0.680, 0.310, 0.310])
OCCLUSION_TINT = np.array([0.16, 0.26, 0.28])
"""How much of each channel a fully hidden place loses; blood keeps the red."""
FRECKLE_SEED, FRECKLE_DISTANCE = 11, 0.055
"""Freckles are painted on single vertices, at least this far apart."""
LOWEST = {
    "blush": -2.4,
    "nose_redness": -2.0,
    "ear_redness": -0.6,
    **dict.fromkeys(("under_eye", "freckles", "stubble", "shaved_hair", "lid_shadow", "eye_redness"), 0.0),
}
"""Directions that a face has or has not: below these values it would have less than none, pale spots and bright rings.
The mean holds some redness, which those below 0 take away."""
TONGUE = np.array([0.760, 0.350, 0.350])
MOUTH_INSIDE = np.array([0.360, 0.120, 0.115])


def build_albedo(head: Head) -> tuple[Array, dict[str, Array]]:
    """The mean [V, 3] and name -> direction [V, 3]."""
    masks = _Masks(head)
    return _mean(head, masks), _directions(head, masks)


class _Masks:
    """[V] 0…1 each: where a colour goes."""

    def __init__(self, head: Head) -> None:
        p = head.vertices
        x = np.abs(p[:, 0])
        folded = np.column_stack([x, p[:, 1], p[:, 2]])
        self.places = p
        skin = head.mask("skin", "lid_edge_left", "lid_edge_right", "ear_left", "ear_right", "neck_cap")
        self.lips = np.zeros(len(p))
        for row in head.skin.mouth[: len(LIP_FRACTIONS)]:
            self.lips[row] = 1.0
        self.lips[head.bag[:2]] = 1.0
        self.skin = skin * (1.0 - self.lips)
        n = eyes.EYE_SEGMENTS
        rise, fall = np.sin(2.0 * np.pi * np.arange(n) / n), -np.cos(2.0 * np.pi * np.arange(n) / n)
        self.lash_line, self.shadow, self.waterline = np.zeros(len(p)), np.zeros(len(p)), np.zeros(len(p))
        for loops, edge in ((head.skin.eye, "lid_edge_left"), (head.skin.eye_right, "lid_edge_right")):
            up = smoothstep(-0.10, 0.30, rise)
            nasal = 1.0 - 0.65 * smoothstep(0.55, 0.98, fall)
            self.lash_line[loops[0]] = 0.12 + 0.88 * up * nasal
            self.lash_line[head.own[edge]] = 0.16 + 0.84 * up * nasal
            for row, d in zip(loops, eyes.EYE_LOOPS, strict=True):
                self.shadow[row] = up * smoothstep(0.11, 0.03, np.full(n, d))
        self.blush = bell(folded, (0.43, -0.32, 0.45), (0.13, 0.095, 0.3)) * self.skin
        self.nose = bell(folded, (0.0, -0.28, 0.78), (0.095, 0.075, 0.12)) * self.skin
        self.ears = head.mask("ear_left", "ear_right")
        self.under_eye = bell(folded, (0.315, -0.225, 0.62), (0.14, 0.040, 0.2)) * self.skin * (p[:, 2] > 0.2)
        self.stubble = _beard(folded) * self.skin
        self.scalp = _scalp(folded) * head.mask("skin")
        self.freckles = self._freckles(folded) * self.skin
        nostril = np.linalg.norm((folded - field.NOSTRIL) / np.array([0.030, 0.022, 0.034]), axis=1)
        self.nostril = smoothstep(1.45, 0.95, nostril) * head.mask("skin")
        self.hidden = _hidden(head) * np.maximum(self.skin, 0.4 * self.lips)
        self._eyes(head)

    def _freckles(self, folded: Array) -> Array:
        cheeks = bell(folded, (0.30, -0.255, 0.56), (0.17, 0.075, 0.2))
        nose = bell(folded, (0.0, -0.16, 0.74), (0.08, 0.07, 0.12))
        place = np.minimum(cheeks + nose, 1.0)
        spots = np.zeros(len(folded))
        order = np.random.default_rng(FRECKLE_SEED).permutation(np.flatnonzero(place > 0.25))
        taken = np.zeros((0, 3))
        for vertex in order:  # single vertices, far enough apart that dots do not run together
            if (np.linalg.norm(taken - self.places[vertex], axis=1) > FRECKLE_DISTANCE).all():
                taken = np.concatenate([taken, self.places[vertex : vertex + 1]])
                spots[vertex] = place[vertex]
        return spots

    def _eyes(self, head: Head) -> None:
        count = len(head.vertices)
        self.iris, self.pupil, self.limbus, self.catchlight, self.eye_shade = (np.zeros(count) for _ in range(5))
        self.iris_height = np.zeros(count)
        self.sclera = head.mask("eye_left", "eye_right")
        for name, centre in (("eye_left", field.EYE_CENTRE), ("eye_right", field.EYE_CENTRE * MIRROR)):
            own = head.own[name]
            d = (head.vertices[own] - centre) / field.EYE_RADIUS
            angle = np.arccos(np.clip(d[:, 2], -1.0, 1.0))
            turn = np.arctan2(d[:, 1], d[:, 0])
            plane = angle[:, None] * np.column_stack([np.cos(turn), np.sin(turn)])
            self.pupil[own] = angle < eyes.PUPIL
            self.iris[own] = (angle < eyes.IRIS) & (angle >= eyes.PUPIL)
            self.limbus[own] = smoothstep(0.44, 0.575, angle)
            under_lid, aside = smoothstep(0.30, 0.75, plane[:, 1]), smoothstep(0.60, 1.0, np.abs(plane[:, 0]))
            self.eye_shade[own] = np.minimum(under_lid + 0.7 * aside, 1.0)
            self.iris_height[own] = plane[:, 1] / eyes.IRIS
            for (x, y, radius), sign, strength in zip(eyes.CATCHLIGHTS, (-1.0, 1.0), (1.0, 0.45), strict=True):
                inside = np.linalg.norm(plane - np.array([sign * x, y]), axis=1) < radius - 0.009
                self.catchlight[own] = np.maximum(self.catchlight[own], strength * inside)
        self.sclera = self.sclera * (1.0 - self.iris) * (1.0 - self.pupil)


def _beard(folded: Array) -> Array:
    """[V] 0…1 where a beard grows: jaw, chin and upper lip, higher towards the ears, thin under the lower lip."""
    x, y, z = folded.T
    sideburn = 0.30 * np.clip(x - 0.28, 0.0, 1.0) * smoothstep(0.4, 0.0, z)
    grown = smoothstep(-0.40, -0.56, y - sideburn) * smoothstep(-1.12, -0.95, y) * smoothstep(-0.02, 0.14, z)
    return grown * (1.0 - 0.75 * bell(folded, (0.0, MOUTH_Y - 0.10, 0.64), (0.07, 0.022, 0.2)))


def _scalp(folded: Array) -> Array:
    """[V] 0…1 where hair grows: above a hairline from the forehead over the temples, behind the ears to the nape."""
    _, y, z = folded.T
    line = np.interp(z, (-0.60, -0.35, -0.12, 0.05, 0.22, 0.50, 0.62), (-0.66, -0.58, -0.28, -0.06, 0.30, 0.56, 0.62))
    return smoothstep(-0.035, 0.055, y - line)


def _hidden(head: Head) -> Array:
    """[V] 0…1 sky hidden from the skin: by the sculpture, and by the ear's own folds."""
    skin = head.own["skin"]
    hidden = np.zeros(len(head.vertices))
    places = head.skin.part.vertices
    hidden[skin] = field.occlusion(places, field.normal(places))
    for name in ("ear_left", "ear_right"):
        own = head.own[name]
        hidden[own] = ears.folds()
    return hidden


def _mean(head: Head, m: _Masks) -> Array:
    p = head.vertices
    colour = np.tile(SKIN, (len(p), 1))
    colour *= 1.0 - 0.16 * (m.blush + 0.8 * m.nose + 0.30 * m.ears)[:, None] * np.array([-0.15, 1.0, 0.85])
    colour = _mix(colour, SKIN * LIP_TINT, m.lips)
    colour *= 1.0 - np.outer(m.hidden, OCCLUSION_TINT)
    colour = _mix(colour, colour * np.array([0.50, 0.37, 0.35]), m.nostril)
    colour = _mix(colour, LASH, m.lash_line)
    for name in ("lashes_left", "lashes_right"):
        colour[head.own[name]] = LASH
    for name in ("brow_left", "brow_right"):
        colour[head.own[name]] = BROW
    eye = np.maximum(m.sclera, np.maximum(m.iris, m.pupil))
    white = SCLERA * (1.0 - 0.16 * m.eye_shade)[:, None]
    iris = IRIS * (0.62 + 0.75 * smoothstep(0.35, -0.85, m.iris_height))[:, None] * (1.0 - 0.70 * m.limbus)[:, None]
    colour = _mix(colour, white, eye * (m.sclera > 0))
    colour = _mix(colour, iris, m.iris)
    colour = _mix(colour, np.array([0.020, 0.016, 0.018]), m.pupil)
    colour = _mix(colour, np.array([1.0, 1.0, 1.0]), m.catchlight)
    colour[head.own["tongue"]] = TONGUE
    depth = np.repeat([smoothstep(0.02, 0.28, np.array(ring[0])) for ring in mouth.BAG], MOUTH_SEGMENTS)
    inside = MOUTH_INSIDE * (1.0 - 0.80 * depth)[:, None]
    colour[head.own["mouth_bag"]] = _mix(inside, SKIN * LIP_TINT * 0.8, m.lips[head.own["mouth_bag"]])
    for name in ("teeth_upper", "teeth_lower"):
        colour[head.own[name]] = _teeth(head, name)
    return np.clip(colour, 0.0, 1.0)


def _teeth(head: Head, name: str) -> Array:
    """White on the crowns, gum above, a little darker in the gaps and to the sides."""
    own = head.own[name]
    rows = 8
    ring = np.arange(len(own) - 2) % rows
    if name == "teeth_lower":
        ring = rows - 1 - ring
    ring = np.concatenate([ring, [0, 0]])
    crown = ((ring >= 2) & (ring <= 6)).astype(float)
    column = np.concatenate([(np.arange(len(own) - 2) // rows) % mouth.COLUMNS, [1, 1]])
    side = np.abs(head.vertices[own, 0]) / 0.22
    back = 1.0 - 0.45 * smoothstep(0.08, 0.26, head.vertices[own, 2].max() - head.vertices[own, 2])
    shade = (1.0 - 0.16 * (column == 0)) * (1.0 - 0.32 * side**2) * back
    return _mix(np.tile(GUM, (len(own), 1)), TOOTH * np.ones((len(own), 1)), crown) * shade[:, None]


def _directions(head: Head, m: _Masks) -> dict[str, Array]:
    brow = head.mask("brow_left", "brow_right")
    lash = head.mask("lashes_left", "lashes_right")
    teeth = head.mask("teeth_upper", "teeth_lower")
    skin = m.skin * (1.0 - m.lash_line) * (1.0 - 0.6 * m.nostril)
    toned = skin + 0.75 * m.lips
    iris = m.iris * (1.0 - m.catchlight)
    lit = (0.62 + 0.75 * smoothstep(0.35, -0.85, m.iris_height)) * (1.0 - 0.70 * m.limbus)
    return {
        "skin_lightness": _colour(toned, LIGHTER),
        "skin_warmth": _colour(toned, (0.010, -0.002, -0.032)),
        "skin_redness": _colour(toned, (0.010, -0.010, -0.005)),
        "skin_saturation": _colour(toned, (0.010, -0.008, -0.020)),
        "blush": _colour(m.blush, (0.010, -0.040, -0.033)),
        "nose_redness": _colour(m.nose, (0.010, -0.036, -0.030)),
        "ear_redness": _colour(m.ears, (0.010, -0.045, -0.038)),
        "under_eye": _colour(m.under_eye, (-0.075, -0.080, -0.055)),
        "freckles": _colour(m.freckles, (-0.090, -0.110, -0.100)),
        "stubble": _colour(m.stubble, (-0.080, -0.066, -0.052)),
        "shaved_hair": _colour(m.scalp, (-0.085, -0.080, -0.070)),
        "lip_redness": _colour(m.lips, (0.035, -0.055, -0.040)),
        "lip_lightness": _colour(m.lips, (0.055, 0.050, 0.050)),
        "lip_hue": _colour(m.lips, (0.000, -0.012, 0.032)),
        "lid_shadow": _colour(m.shadow * skin, (-0.070, -0.085, -0.055)),
        "lid_hue": _colour(m.shadow * skin, (-0.030, 0.000, 0.050)),
        "brow_lightness": _colour(brow, (0.115, 0.090, 0.065)),
        "brow_redness": _colour(brow, (0.055, -0.005, -0.020)),
        "lash_lightness": _colour(np.maximum(lash, m.lash_line), (0.070, 0.050, 0.040)),
        "iris_blue": _colour(iris * lit, (-0.085, 0.040, 0.150)),
        "iris_green": _colour(iris * lit, (-0.045, 0.060, 0.000)),
        "iris_lightness": _colour(iris * lit, (0.085, 0.075, 0.060)),
        "catchlight": _colour(m.catchlight, (0.40, 0.42, 0.44)),
        "eye_redness": _colour(m.sclera, (-0.010, -0.045, -0.045)),
        "teeth_lightness": _colour(teeth, (0.030, 0.035, 0.050)),
    }


def _colour(mask: Array, colour) -> Array:
    return mask[:, None] * np.array(colour)


def _mix(a: Array, b: Array, weight: Array) -> Array:
    return a + (b - a) * weight[:, None]

