"""The expressions, as displacements at full strength, by ARKit's names; `_L` is the subject's left, x > 0.

Every paired field is made on the left and mirrored by index, so that both sides are equal to the bit. Centres and
widths are places on the mean head; amplitudes are head units, chosen by looking at each at full strength.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from . import eyes, mouth
from .assemble import Head, mirrored
from .mesh import LIP_FRACTIONS, MOUTH_LOOPS, MOUTH_SEGMENTS, MOUTH_WIDTH, MOUTH_Y
from .part import Array, bell, smoothstep

PAIRED = ("browDown", "browInnerUp", "browOuterUp", "cheekPuff", "cheekSquint", "eyeBlink", "eyeSquint", "eyeWide",
          "mouthDimple", "mouthFrown", "mouthLowerDown", "mouthPress", "mouthSmile", "mouthStretch", "mouthUpperUp",
          "noseSneer")
SINGLE = ("jawForward", "jawLeft", "jawOpen", "jawRight", "mouthFunnel", "mouthLeft", "mouthPucker", "mouthRight",
          "mouthRollLower", "mouthRollUpper", "tongueOut")
LIDS = {"eyeBlink": (1.0, 1.0), "eyeSquint": (0.22, 0.72), "eyeWide": (-0.24, -0.20)}
"""How far upper and lower lid go to the closed line; negative opens."""
LID_PUFF = {"mouthSmile": 0.24, "cheekSquint": 0.48}
"""Lower lid raised by a cheek."""
WIDE = float("inf")


def build_expressions(head: Head) -> dict[str, Array]:
    """Name -> [V, 3] displacement at strength 1, names in alphabetical order."""
    fields = _Fields(head)
    made: dict[str, Array] = {}
    for name in PAIRED:
        left = getattr(fields, _method(name))()
        made[f"{name}_L"], made[f"{name}_R"] = left, mirrored(head, left)
    for name in SINGLE:
        if name in ("jawRight", "mouthRight"):
            made[name] = mirrored(head, made[name.replace("Right", "Left")])
        else:
            made[name] = getattr(fields, _method(name))()
    return {name: made[name] for name in sorted(made)}


def lid_opening(head: Head) -> Array:
    """[V, 3] both eyes a little wider, by the sliding of their lids: an identity direction of the lids' own kind."""
    left = _Fields(head)._lids(-0.055, -0.06)
    return left + mirrored(head, left)


def _method(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name)


class _Fields:
    """What all fields read off the mean head; one method an expression."""

    def __init__(self, head: Head) -> None:
        self.head = head
        self.p = head.vertices
        still = head.mask("teeth_upper", "teeth_lower", "tongue", "eye_left", "eye_right")
        self.soft = 1.0 - still
        self.left = smoothstep(-0.035, 0.035, self.p[:, 0])  # a paired field ends at the middle
        self.left_lips = smoothstep(-0.13, 0.13, self.p[:, 0])  # softer, or a smile bends like a V
        rims = self.p[np.concatenate([head.skin.eye[0], head.skin.eye_right[0]])]
        from_rim = cKDTree(rims[:, :2]).query(self.p[:, :2])[0] + 9.0 * (self.p[:, 2] < 0.0)
        lids = head.mask("lid_edge_left", "lid_edge_right", "lashes_left", "lashes_right")
        for loops in (head.skin.eye, head.skin.eye_right):
            for row, d in zip(loops, eyes.EYE_LOOPS, strict=True):
                from_rim[row] = d
        self.off_lids = smoothstep(0.012, 0.125, from_rim) * (1.0 - lids)
        self.off_cheek = smoothstep(0.030, 0.170, from_rim) * (1.0 - lids)
        self.off_rim = smoothstep(0.0, 0.075, from_rim) * (1.0 - lids)
        self.mouth = np.concatenate([head.skin.mouth, head.bag])
        self.jaw = mouth.jaw_weight(self.p, self.mouth, len(head.bag))
        self.jaw[head.own["teeth_upper"]] = 0.0
        self.jaw[head.own["teeth_lower"]] = 1.0
        self.jaw[head.own["tongue"]] = 0.92
        self._sides()

    def _sides(self) -> None:
        """upper, lower: [V] how much a vertex is of that lip, by its place in the loops; 0 far outside."""
        n = MOUTH_SEGMENTS
        rise = np.sin(2.0 * np.pi * np.arange(n) / n)
        self.upper, self.lower = np.zeros(len(self.p)), np.zeros(len(self.p))
        far = np.concatenate([np.zeros(len(LIP_FRACTIONS)), MOUTH_LOOPS, np.zeros(len(self.head.bag))])
        y = self.p[:, 1]
        around = bell(self.p, (0.0, MOUTH_Y, 0.6), (0.20, 0.13, 0.35)) * self.soft * (self.p[:, 2] > 0.2)
        self.upper[:] = around * smoothstep(MOUTH_Y, MOUTH_Y + 0.05, y)
        self.lower[:] = around * smoothstep(MOUTH_Y, MOUTH_Y - 0.05, y)
        for row, d in zip(self.mouth, far, strict=True):
            blend = smoothstep(0.0, 0.15, np.full(n, d))
            self.upper[row] = (1.0 - blend) * smoothstep(0.0, 0.75, rise) + blend * self.upper[row]
            self.lower[row] = (1.0 - blend) * smoothstep(0.0, 0.75, -rise) + blend * self.lower[row]

    def _push(self, weight: Array, x: float, y: float, z: float) -> Array:
        return (weight * self.soft)[:, None] * np.array([x, y, z])

    def _bell(self, centre: tuple[float, float, float], width: tuple[float, float, float]) -> Array:
        return bell(self.p, centre, width)

    def _corner(self) -> Array:
        return self._bell((0.245, -0.53, 0.53), (0.082, 0.105, 0.30)) * self.left_lips * self.off_rim

    def _lids(self, upper: float, lower: float) -> Array:
        """The left lids with edge and lashes."""
        head, moved = self.head, np.zeros_like(self.p)
        moved[head.skin.eye] = eyes.lid_move(upper, lower)
        after = self.p + moved
        edge = eyes.build_lid_edge(head.skin.eye, after).vertices
        moved[head.own["lid_edge_left"]] = edge - self.p[head.own["lid_edge_left"]]
        own = head.own["lashes_left"]
        moved[own] = eyes.build_lashes(head.skin.eye, after, drop=np.clip(upper, 0.0, 1.0)).vertices - self.p[own]
        return moved

    def eye_blink(self) -> Array:
        return self._lids(*LIDS["eyeBlink"])

    def eye_squint(self) -> Array:
        puff = self._push(self._bell((0.335, -0.235, 0.62), (0.15, 0.05, 0.2)) * self.off_rim, 0.0, 0.018, 0.016)
        return self._lids(*LIDS["eyeSquint"]) + puff

    def eye_wide(self) -> Array:
        return self._lids(*LIDS["eyeWide"])

    def brow_down(self) -> Array:
        whole = self._bell((0.28, 0.25, 0.60), (0.20, 0.13, 0.3)) * self.off_lids * self.left
        inner = self._bell((0.12, 0.22, 0.66), (0.09, 0.11, 0.3)) * self.off_lids * self.left
        return self._push(whole, -0.014, -0.066, 0.014) + self._push(inner, -0.020, -0.044, 0.016)

    def brow_inner_up(self) -> Array:
        weight = self._bell((0.15, 0.26, 0.68), (0.14, 0.14, 0.3)) * self.off_lids * self.left
        return self._push(weight, 0.004, 0.105, 0.008)

    def brow_outer_up(self) -> Array:
        outer = self._bell((0.45, 0.26, 0.50), (0.15, 0.14, 0.3)) * self.off_lids * self.left
        middle = self._bell((0.28, 0.27, 0.6), (0.14, 0.14, 0.3)) * self.off_lids * self.left
        return self._push(outer, 0.006, 0.095, 0.0) + self._push(middle, 0.0, 0.035, 0.004)

    def cheek_puff(self) -> Array:
        weight = self._bell((0.38, -0.47, 0.46), (0.17, 0.16, 0.28)) * self.left * self.off_rim
        return self._push(weight, 0.125, 0.0, 0.080)

    def cheek_squint(self) -> Array:
        cheek = self._bell((0.37, -0.29, 0.54), (0.15, 0.10, 0.25)) * self.left * self.off_cheek
        under = self._bell((0.34, -0.225, 0.62), (0.15, 0.045, 0.2)) * self.off_lids
        skin = self._push(cheek, 0.010, 0.054, 0.046) + self._push(under, 0.0, 0.004, 0.018)
        return skin + self._lids(0.03, LID_PUFF["cheekSquint"])

    def mouth_smile(self) -> Array:
        corner = self._corner()
        wide = self._bell((0.26, -0.52, 0.5), (0.15, 0.14, 0.35)) * self.left_lips * self.off_rim
        cheek = self._bell((0.375, -0.325, 0.50), (0.135, 0.095, 0.25)) * self.left * self.off_cheek
        fold = self._bell((0.275, -0.43, 0.60), (0.035, 0.085, 0.2)) * self.left * self.off_rim
        under = self._bell((0.34, -0.225, 0.62), (0.15, 0.045, 0.2)) * self.off_lids
        return (self._push(corner, 0.062, 0.078, -0.038) + self._push(wide, 0.032, 0.016, -0.004)
                + self._push(cheek, 0.018, 0.052, 0.046) + self._push(fold, 0.0, 0.0, -0.018)
                + self._push(under, 0.0, 0.004, 0.012) + self._lids(0.02, LID_PUFF["mouthSmile"]))

    def mouth_frown(self) -> Array:
        chin = self._bell((0.10, -0.72, 0.60), (0.13, 0.06, 0.2)) * self.left
        return self._push(self._corner(), 0.006, -0.088, -0.005) + self._push(chin, 0.0, 0.012, 0.012)

    def mouth_stretch(self) -> Array:
        return self._push(self._corner(), 0.085, -0.034, -0.042)

    def mouth_dimple(self) -> Array:
        dent = self._bell((0.295, -0.525, 0.50), (0.040, 0.05, 0.2)) * self.left
        return self._push(self._corner(), 0.052, 0.024, -0.050) + self._push(dent, 0.0, 0.0, -0.030)

    def mouth_upper_up(self) -> Array:
        lip = self.upper * self._bell((0.050, -0.50, 0.6), (0.125, WIDE, WIDE)) * self.left_lips * self.off_rim
        return self._push(lip, 0.006, 0.068, 0.006)

    def mouth_lower_down(self) -> Array:
        lip = self.lower * self._bell((0.055, -0.58, 0.6), (0.125, WIDE, WIDE)) * self.left_lips
        return self._push(lip, 0.010, -0.074, 0.004)

    def mouth_press(self) -> Array:
        weight = self._bell((0.13, MOUTH_Y, 0.6), (0.15, 0.055, 0.3)) * self.left_lips
        moved = self._push(weight, 0.0, 0.0, -0.045)
        moved[:, 1] -= 0.70 * weight * self.soft * (self.p[:, 1] - MOUTH_Y)
        return moved

    def nose_sneer(self) -> Array:
        wing = self._bell((0.10, -0.275, 0.72), (0.060, 0.075, 0.15)) * self.left * self.off_rim
        lip = self.upper * self._bell((0.10, -0.5, 0.6), (0.08, WIDE, WIDE)) * self.left
        side = self._bell((0.075, -0.14, 0.70), (0.035, 0.07, 0.15)) * self.left * self.off_rim
        nose = self._push(wing, 0.018, 0.062, 0.010) + self._push(side, 0.0, 0.012, 0.012)
        return nose + self._push(lip, 0.0, 0.040, 0.004)

    def jaw_open(self) -> Array:
        return self.jaw[:, None] * mouth.turn_jaw(self.p, mouth.JAW_ANGLE)

    def jaw_left(self) -> Array:
        return self.jaw[:, None] * mouth.turn_jaw(self.p, 0.0, 0.25)

    def jaw_forward(self) -> Array:
        return self.jaw[:, None] * np.array([0.0, 0.006, 0.120])

    def mouth_funnel(self) -> Array:
        weight = self._bell((0.0, MOUTH_Y, 0.6), (0.19, 0.115, 0.35))
        x = self.p[:, 0]
        t = np.clip(np.abs(x) / MOUTH_WIDTH, 0.0, 1.0)
        moved = self._push(weight, 0.0, 0.0, 0.085)
        moved[:, 0] -= 0.50 * weight * self.soft * x
        part = 0.062 * np.clip(1.0 - t**4, 0.0, 1.0) ** 0.5
        moved[:, 1] += self.soft * part * (self.upper - self.lower)
        return moved

    def mouth_pucker(self) -> Array:
        weight = self._bell((0.0, MOUTH_Y, 0.6), (0.20, 0.115, 0.35))
        moved = self._push(weight, 0.0, 0.0, 0.030)
        moved += self._push(self._bell((0.0, MOUTH_Y, 0.6), (0.12, 0.10, 0.35)), 0.0, 0.0, 0.075)
        moved[:, 0] -= 0.52 * weight * self.soft * self.p[:, 0]
        return moved

    def mouth_left(self) -> Array:
        return self._push(self._bell((0.02, MOUTH_Y, 0.6), (0.19, 0.12, 0.35)), 0.095, 0.0, -0.004)

    def mouth_roll_lower(self) -> Array:
        near = self.lower * self._bell((0.0, MOUTH_Y - 0.03, 0.6), (0.15, 0.05, WIDE))
        return self._push(near, 0.0, 0.020, -0.044)

    def mouth_roll_upper(self) -> Array:
        near = self.upper * self._bell((0.0, MOUTH_Y + 0.03, 0.6), (0.15, 0.05, WIDE))
        return self._push(near, 0.0, -0.016, -0.040)

    def tongue_out(self) -> Array:
        moved = np.zeros_like(self.p)
        own = self.head.own["tongue"]
        z = self.p[own, 2]
        along = (z - z.min()) / (z.max() - z.min())
        moved[own] = np.column_stack([0.0 * z, 0.030 - 0.075 * along**3, 0.05 + 0.19 * along])
        return moved

