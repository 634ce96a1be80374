"""The colour of every sample: albedo by material, light, and the small shadows and gleams that make a drawing alive.

Everything here works on the N covered samples of one picture; samples of one material are coloured together.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from ...face.camera import place
from ...face.light import shade
from ...types import FaceParams
from .. import eyes, field
from . import clothes
from .figure import OUTFITS
from .hair import STYLES
from .palette import grown
from .scene import Scene
from .stage import HEAD, KINDS, Sample, Stage

if TYPE_CHECKING:
    from .render import ToonWorld

BEARD_SHADE = 0.82
"""A beard is a little darker than the hair."""
LENS = (0.10, 0.09, 0.11)
"""Dark glasses."""
OCCLUDED = (0.34, 0.46, 0.50)
"""Share of each channel that a wholly hidden place loses; skin keeps its red."""
FOLD = (0.55, 0.55, 0.55)
"""The same for the grooves of hair and cloth."""
NEAR_BLUR, FAR_BLUR = 0.012, 0.035
"""Widths of the two blurs of the depth, shares of the picture's side: narrow for lips, wide for collars."""
CONTACT_REACH = 0.16
"""Head units behind its surroundings at which a place counts as wholly hidden."""
RIM_LIGHT = 0.20
SKIN_GLOSS, SKIN_SHININESS = 0.07, 16.0
HAIR_HALO, HAIR_HALO_WIDTH, HAIR_HALO_STRENGTH = 0.58, 0.17, 0.34
"""Height of the normal where hair gleams, how wide the gleam is, how much of the hair's colour it adds."""
CATCHLIGHTS = ((0.22, 0.27, 0.125, 1.0), (-0.20, -0.26, 0.062, 0.45))
"""Discs in which the eye mirrors a window: x towards the light's side and y of the normal, radius, strength. They are
fixed for the viewer, so eyes that turn keep them, as real ones do."""
IRIS_LIT = 0.76
"""What the albedo's iris is of its own colour, half way out; `core.toon.paint` shades it."""
SOFTNESS = 0.6
"""Half-width in samples of drawn edges in the eye."""
LID_SHADOW = 0.46
"""Share of light that the upper lid takes from the top of the eyeball."""


class Painter:
    """Colours the samples of one scene."""

    def __init__(self, world: ToonWorld, scene: Scene, stage: Stage, sample: Sample, params: FaceParams) -> None:
        self.world, self.scene, self.stage, self.sample, self.params = world, scene, stage, sample, params
        self.colours = world.head.vertex_albedo(params.albedo)[0]
        self.rows = {name: (sample.kind == i).nonzero().squeeze(1) for i, name in enumerate(KINDS)}
        self.head_rows = (sample.kind < len(HEAD)).nonzero().squeeze(1)

    def paint(self, plain: bool) -> Tensor:
        """[N, 3] colours, not clamped."""
        albedo = self._albedo(plain)
        if plain:
            return albedo * shade(self.params.light, self.sample.normals[None])[0]
        towards = torch.where(self.sample.normals[:, 2:] < 0, -self.sample.normals, self.sample.normals)
        light = shade(self.params.light, towards[None])[0].clamp(min=0.04)
        hidden = self._contact()[:, None] * albedo.new_tensor(OCCLUDED)
        colour = albedo * light * (1 - hidden)
        colour = self._hair(colour, albedo, towards)
        colour = self._skin(colour, towards)
        rim = (1 - towards[:, 2:]).clamp(0, 1) ** 3 * RIM_LIGHT * (0.4 + 0.6 * towards[:, 1:2].clamp(0, 1))
        colour = colour + rim * (0.35 * albedo + 0.12)
        colour = self._glossy(colour, towards)
        colour = self._eyes(colour, towards)
        return colour

    # Albedo -----------------------------------------------------------------------------------------------------------

    def _albedo(self, plain: bool) -> Tensor:
        sample, scene = self.sample, self.scene
        albedo = sample.weights.new_zeros(len(sample.face), 3)
        colour = albedo.new_tensor
        head = sample.carry(self.colours, self.head_rows)
        albedo[self.head_rows] = head if plain else head.clamp(0, 1)
        flat = {
            "beard": [BEARD_SHADE * c for c in grown(scene.hair.colour)], "hair": scene.hair.colour,
            "collar": scene.clothes.trim, "hat": scene.hat.colour, "hat_trim": scene.hat.trim,
            "frame": scene.glasses.colour, "lens": LENS, "bottom": scene.figure.bottom, "shoe": scene.figure.shoes,
        }  # fmt: skip
        for name, chosen in flat.items():
            albedo[self.rows[name]] = colour(chosen)
        skin = self.colours[self._neck].mean(0)
        albedo[self.rows["limb"]] = skin
        rows = self.rows["body"]
        if len(rows):
            uv = sample.carry(self.stage.uv, rows)
            worn = scene.clothes
            albedo[rows] = clothes.paint(worn.collar, worn.pattern, uv, colour(worn.colour), colour(worn.second), skin)
            if OUTFITS[scene.figure.outfit].bib and len(self.rows["bottom"]):
                albedo[rows] = clothes.bib(uv, albedo[rows], colour(scene.figure.bottom))
        if not plain:
            for name in ("hair", "beard"):
                if len(self.rows[name]):
                    albedo[self.rows[name]] *= self._strands(name)
            for name in ("hair", "collar", "hat", "hat_trim", "body", "bottom"):
                rows = self.rows[name]
                if len(rows):
                    fold = sample.carry(self.stage.shade[:, None], rows).clamp(0, 1)
                    albedo[rows] *= 1 - fold * colour(FOLD)
        return albedo

    @property
    def _neck(self) -> Tensor:
        """Skin vertices of the neck."""
        rows = self.world.skin_rows
        return rows[self.world.head.mean[rows, 1] < -1.1]

    def _strands(self, name: str) -> Tensor:
        """[n, 1] about 1: streaks along the strands."""
        u, v = self.sample.carry(self.stage.uv, self.rows[name]).unbind(1)
        if name == "beard":
            combed = 0.6 * u.abs() + 0.035 * torch.sin(9 * v)
            grain = torch.sin(190 * combed + 3 * torch.sin(31 * v)) + torch.sin(117 * combed - 2 * torch.sin(43 * v))
            return 1 + 0.03 * grain[:, None]
        if STYLES[self.scene.hair.style].curls:
            return torch.ones_like(u)[:, None]
        turn = 2 * math.pi * u
        waver = 1.5 * torch.sin(7 * turn) + 0.8 * torch.sin(5 * v + 3 * turn)
        waves = ((0.40, 41, 1.0), (0.35, 83, -2.0), (0.25, 149, 1.0))
        streak = sum(share * torch.sin(count * turn + bent * waver) for share, count, bent in waves)
        return (1 + 0.16 * streak + 0.10 * (v - 0.4))[:, None]

    # Light ------------------------------------------------------------------------------------------------------------

    def _contact(self) -> Tensor:
        """[N] 0…1, how far a sample lies behind what surrounds it: chins shade collars, hair shades foreheads."""
        depth = self.sample.depth
        known = torch.isfinite(depth)
        filled = torch.where(known, depth, 0)
        hidden = torch.zeros_like(depth)
        for width, share in ((NEAR_BLUR, 0.30), (FAR_BLUR, 0.60)):
            around = _blurred(torch.stack([filled, known.to(depth)]), width * self.sample.size[1])
            behind = filled - around[0] / around[1].clamp(min=1e-6)
            hidden = hidden + share * (behind / CONTACT_REACH).clamp(0, 1)
        return hidden.reshape(-1)[self.sample.hit].clamp(0, 0.9)

    @property
    def _key(self) -> Tensor:
        """[3] unit, towards the key light."""
        a, e = self.scene.lamp.azimuth, self.scene.lamp.elevation
        return self.colours.new_tensor([math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e)])

    def _gleam(self, normals: Tensor, shininess: float) -> Tensor:
        """[n, 1], the mirrored key light (Blinn 1977) for a viewer far in front."""
        half = functional.normalize(self._key + self._key.new_tensor([0.0, 0.0, 1.0]), dim=0)
        return (normals @ half).clamp(0, 1)[:, None] ** shininess

    def _skin(self, colour: Tensor, normals: Tensor) -> Tensor:
        rows = torch.cat([self.rows[name] for name in ("skin", "ear", "mouth", "limb")])
        gleam = SKIN_GLOSS * self._gleam(normals[rows], SKIN_SHININESS)
        facing = (normals[rows] @ self._key)[:, None]
        terminator = torch.exp(-((facing + 0.05) / 0.28) ** 2) * colour.new_tensor([0.045, 0.0, -0.012])
        return colour.index_copy(0, rows, colour[rows] * (1 + terminator) + gleam)

    def _hair(self, colour: Tensor, albedo: Tensor, normals: Tensor) -> Tensor:
        rows = self.rows["hair"]
        if not len(rows):
            return colour
        up, side = normals[rows, 1], normals[rows, 0] * math.copysign(1.0, self.scene.lamp.azimuth)
        u = self.sample.carry(self.stage.uv, rows)[:, 0]
        jagged = 0.07 * torch.sin(2 * math.pi * 37 * u) + 0.05 * torch.sin(2 * math.pi * 83 * u)
        halo = torch.exp(-(((up - HAIR_HALO + jagged) / HAIR_HALO_WIDTH) ** 2)) * (0.55 + 0.45 * side)
        gleam = HAIR_HALO_STRENGTH * halo[:, None].clamp(min=0) * (0.75 * albedo[rows] + 0.10)
        return colour.index_copy(0, rows, colour[rows] + gleam)

    def _glossy(self, colour: Tensor, normals: Tensor) -> Tensor:
        """Frames and lenses mirror the light."""
        rows = torch.cat([self.rows["frame"], self.rows["lens"]])
        return colour.index_copy(0, rows, colour[rows] + 0.35 * self._gleam(normals[rows], 30.0))

    # Eyes -------------------------------------------------------------------------------------------------------------

    def _eyes(self, colour: Tensor, normals: Tensor) -> Tensor:
        """Iris and pupil drawn at any resolution, the lid's shadow, and catchlights that stay where the light is."""
        rows = self.rows["eyes"]
        if not len(rows):
            return colour
        head, like = self.world.head, colour.new_tensor
        rest = self.sample.carry(head.mean, rows)
        side = (rest[:, :1] >= 0).to(rest) * 2 - 1
        ball = functional.normalize(rest - head.eyes.centres[(side[:, 0] < 0).long()], dim=1)
        angle = torch.acos(ball[:, 2:].clamp(-1, 1))
        turn = torch.atan2(ball[:, 1:2], ball[:, :1])
        soft = SOFTNESS * self._radians_a_sample
        iris, white = self._iris, like([0.955, 0.950, 0.945])
        low = (0.5 - 0.5 * ball[:, 1:2] / math.sin(eyes.IRIS)).clamp(0, 1)
        spokes = 1 + 0.07 * torch.sin(23 * turn) * _step(angle, eyes.PUPIL, eyes.IRIS)
        limbus = 1 - 0.72 * _step(angle, eyes.IRIS - 0.13, eyes.IRIS)
        drawn = iris * (0.62 + 0.80 * low) * spokes * limbus
        drawn = drawn + (0.015 - drawn) * (1 - _step(angle, eyes.PUPIL - soft, eyes.PUPIL + soft))
        aside = 1 - 0.22 * _step(ball[:, :1].abs(), 0.62, 1.0)
        painted = drawn + (white * aside - drawn) * _step(angle, eyes.IRIS - soft, eyes.IRIS + soft)
        light = 0.35 + 0.65 * shade(self.params.light, normals[rows][None])[0].clamp(0.2, 1.15)
        painted = painted * light * (1 - LID_SHADOW * self._under_lid(rows))
        toward = math.copysign(1.0, self.scene.lamp.azimuth)
        seen = self._round(rows, side[:, 0] < 0)
        for x, y, radius, strength in CATCHLIGHTS:
            disc = functional.normalize(like([toward * x, y, 1.0]), dim=0)
            off = torch.acos((seen @ disc).clamp(-1, 1))[:, None]
            painted = painted + (1 - painted) * strength * (1 - _step(off, radius - 1.3 * soft, radius + 0.7 * soft))
        return colour.index_copy(0, rows, painted)

    @property
    def _radians_a_sample(self) -> float:
        """Angle at an eyeball's centre that one sample covers in its middle."""
        focal = float(self.params.camera.focal[0]) * self.sample.size[0] / self.params.camera.size[0]
        return -float(self.params.translation[0, 2]) / (focal * field.EYE_RADIUS)

    def _round(self, rows: Tensor, right: Tensor) -> Tensor:
        """[n, 3] normals of perfect eyeballs in camera space; those of the mesh would dent the catchlights."""
        head, params = self.world.head, self.params
        centres = head.eyes.centres + head.eyes.shifts(params.identity)
        centres = place(centres, params.angles, params.translation)[0]
        return functional.normalize(self.sample.carry(self.stage.placed, rows) - centres[right.long()], dim=1)

    @property
    def _iris(self) -> Tensor:
        """[3], the iris' own colour: the albedo half way out, where it is not shaded."""
        head = self.world.head
        ball = (head.mean - head.eyes.centres[0]) / field.EYE_RADIUS
        angle = torch.acos(functional.normalize(ball, dim=1)[:, 2].clamp(-1, 1))
        chosen = (head.eyes.ball == 1) & (angle > 0.30) & (angle < 0.44) & (ball[:, 0].abs() > 0.75 * angle)
        return self.colours[chosen].median(0).values.clamp(0.01, 1) / IRIS_LIT

    def _under_lid(self, rows: Tensor) -> Tensor:
        """[n, 1] 0…1: how near a sample of the eyeball lies under the rim of the upper lid, in the head's own space."""
        head = self.world.head
        place = self.sample.carry(self.stage.model, rows) if len(rows) else rows
        shadow = torch.zeros_like(place[:, :1])
        for number, name in enumerate(("lid_edge_left", "lid_edge_right")):
            rim = self.stage.model[self._upper_rim(name)]
            rim = rim[rim[:, 0].argsort()]
            mine = (place[:, 0] >= 0) if number == 0 else (place[:, 0] < 0)
            x = place[mine, 0].contiguous()
            after = torch.searchsorted(rim[:, 0].contiguous(), x).clamp(1, len(rim) - 1)
            a, b = rim[after - 1], rim[after]
            share = ((x - a[:, 0]) / (b[:, 0] - a[:, 0]).clamp(min=1e-6)).clamp(0, 1)
            height = a[:, 1] + share * (b[:, 1] - a[:, 1])
            shadow[mine] = (1 - _step(height - place[mine, 1], 0.0, 0.095))[:, None]
        return shadow * head.eyes.radius[0] / field.EYE_RADIUS

    def _upper_rim(self, name: str) -> Tensor:
        """Vertices of the upper half of a lid's edge, corners included."""
        own = self.world.faces_of(name).unique()
        own = own[~torch.isin(own, self.world.skin_rows)]
        return own[: eyes.EYE_SEGMENTS // 2 + 1] if len(own) >= eyes.EYE_SEGMENTS else own


def _step(t: Tensor, low: float, high: float) -> Tensor:
    t = ((t - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def _blurred(layers: Tensor, width: float) -> Tensor:
    """[C, H, W], two box blurs of about `width` samples at half the size, where they cost a quarter, and back.

    Borders count what lies inside.
    """
    reach, size = max(1, round(0.6 * width)), layers.shape[-2:]
    layers = functional.avg_pool2d(layers[None], 2, ceil_mode=True)
    for _ in range(2):
        for pad in ((reach, 0), (0, reach)):
            kernel = (2 * pad[0] + 1, 2 * pad[1] + 1)
            layers = functional.avg_pool2d(layers, kernel, 1, pad, count_include_pad=False)
    return functional.interpolate(layers, size, mode="bilinear", align_corners=False)[0]
