"""Scenes to pictures, with everything that is known about them.

The head is the toon head itself, so a picture's `FaceParams` are exact: `core.face.render` puts the same head in the
same place. Only the neck differs, which bends towards shoulders that stay.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from ...checkpoints import read
from ...errors import UserError
from ...face.camera import default_camera, place, project, rotation_matrix
from ...face.light import ambient_light, direction_from_angles, distant_light
from ...face.models import DEFAULT, face_model_of
from ...face.normals import vertex_normals
from ...face.raster import Fragments, rasterise
from ...face.toon import ToonHead
from ...types import Camera, FaceParams
from . import backdrop, figure, hair
from .accessories import BEARD_DEPTH
from .attributes import attributes
from .paint import Painter
from .scene import NONE, Lamp, Scene, View
from .stage import KINDS, Sample, Stage, StageBuilder, sampled
from .wardrobe import Beard, Wardrobe, grow_beard

MASKS = ("skin", "hair", "eyes", "mouth", "body", "worn", "background")
"""Parts of a picture that together cover it: skin with brows, lashes and beard; lips, teeth and tongue; clothes;
glasses and hats. `ToonPicture.masks` holds 'face' besides: facial skin with eyes and mouth, without neck and ears."""
PIVOT = (0.0, -0.75, -0.18)
"""The head turns about the top of the neck."""
ANCHOR = (0.0, -0.06, 0.18)
"""The camera looks at this place, between the eyes and the middle of the head."""


@dataclass(frozen=True)
class Framing:
    """How a person is put into a picture.

    distance: head units from the camera to a head that is not turned. high: head units from top to bottom. above: how
    far the anchor lies above the picture's middle, head units. follow: share of the anchor's way that the camera goes
    along when the head turns. proportion: width over height.
    """

    distance: float
    high: float
    above: float
    follow: float
    proportion: float


PORTRAIT = Framing(distance=8.0, high=2.86, above=0.02, follow=0.85, proportion=1.0)
"""FFHQ's crop (Karras et al. 2019, appendix A), a tenth wider, since eyes that are far apart would cut the hair."""
FIGURE = Framing(distance=18.0, high=6.75, above=1.80, follow=0.0, proportion=0.5)
BODY_TURN = 0.25
"""Share of the head's yaw that shoulders follow."""
FOOTPRINT = 1.0
"""Head units, half the width of a figure's shadow."""
NECK = (-1.40, -0.96)
"""Heights between which the neck bends; in front it is the chin that counts, `NECK_SLANT` higher."""
NECK_SLANT = 0.8
FRINGE_NEARER = 0.99
"""A fringe is drawn this much nearer than it is, so that raised brows lift it instead of piercing it."""
SAMPLES = 2
"""Along each side of a pixel."""
MASK_OF = {"skin": "skin", "ear": "skin", "brow": "skin", "lash": "skin", "beard": "skin", "eyes": "eyes",
           "mouth": "mouth", "hair": "hair", "body": "body", "collar": "body", "hat": "worn", "hat_trim": "worn",
           "frame": "worn", "lens": "worn", "limb": "skin", "bottom": "body", "shoe": "body"}  # fmt: skip


@dataclass(frozen=True, eq=False)
class ToonPicture:
    """A picture and what is known about it.

    picture: [3, H, W] RGB 0…1. landmarks68: [68, 2] pixels, hidden ones included. masks: name -> [H, W] 0…1, soft at
    edges; those of MASKS add up to 1. depth: [H, W] head units from the camera, 0 where there is only background.
    normals: [3, H, W] unit, camera space, 0 in the background. params: one frame of the toon head.
    attributes: name -> number, see `attributes.UNITS`.
    """

    picture: Tensor
    landmarks68: Tensor
    masks: dict[str, Tensor]
    depth: Tensor
    normals: Tensor
    params: FaceParams
    attributes: dict[str, float]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A picture, its landmarks and parameters, as in `ToonPicture`."""

    picture: Tensor
    landmarks68: Tensor
    params: FaceParams


class ToonWorld:
    """The head and its wardrobe; one serves any number of pictures. Not to be shared between threads."""

    def __init__(self, head: ToonHead, parts: tuple[str, ...], part_of_face: Tensor) -> None:
        """parts: names of the head's parts. part_of_face: [F] number in `parts`."""
        self.head, self.parts, self.part_of_face = head, parts, part_of_face.to(head.faces.device)
        self._beards: dict[str, Beard] = {}

    @classmethod
    def load(cls, path: str | Path = DEFAULT, device: torch.device | str = "cpu") -> ToonWorld:
        """The world of a packed toon head, drawn on `device`; UserError where the file is another face model's."""
        checkpoint = read(path)
        head = face_model_of(checkpoint)
        if not isinstance(head, ToonHead):
            raise UserError(f"The toon world needs the toon head; '{checkpoint.path.name}' holds '{head.layout}'.")
        return cls(head.to(device), tuple(json.loads(checkpoint.metadata["parts"])), checkpoint.tensors["part"].long())

    def params(self, scene: Scene, height: int, framing: Framing = PORTRAIT) -> FaceParams:
        """The scene's head as parameters of the toon head, on a picture of `height` pixels."""
        head = self.head
        camera = camera_of(framing, scene.view, height)
        angles = torch.tensor([[scene.view.pitch, scene.view.yaw, scene.view.roll]])
        pitch, yaw = scene.gaze
        params = FaceParams(
            layout=head.layout,
            identity=_row(scene.identity, head.identity.names),
            expression=_row(scene.expression, head.expression.names).clamp(0, 1),
            albedo=_row(scene.albedo, head.albedo.names),
            joints=torch.tensor([[[pitch, yaw, 0.0]] * len(head.joints)]),
            angles=angles,
            translation=_translation(framing, scene.view, angles),
            light=light_of(scene.lamp),
            camera=camera,
        )
        return params.to(head.colours.device)

    def render(self, scene: Scene, size: int, *, plain: bool = False) -> ToonPicture:
        """The scene on size² pixels.

        plain: albedo times light and nothing else, as `core.face.render` draws heads, for fits that want an exact
        answer; without it come painted eyes, shadows in folds, highlights and strands.
        """
        return self._drawn(scene, size, PORTRAIT, plain)

    def render_figure(self, scene: Scene, height: int, *, plain: bool = False) -> ToonPicture:
        """The scene's whole figure, head to shoes, on [height, height // 2] pixels; everything else as in `render`."""
        return self._drawn(scene, height, FIGURE, plain)

    def snapshot(self, scene: Scene, height: int, *, figure: bool = False, plain: bool = False) -> Snapshot:
        """The picture alone, a fifth faster, for those who need very many. Errors as in `render`."""
        return self._shot(scene, height, FIGURE if figure else PORTRAIT, plain)[0]

    def _drawn(self, scene: Scene, height: int, framing: Framing, plain: bool) -> ToonPicture:
        shot, stage, fragments, sample = self._shot(scene, height, framing, plain)
        return ToonPicture(
            picture=shot.picture,
            landmarks68=shot.landmarks68,
            masks=self._masks(fragments, stage, sample),
            depth=_nearest(fragments),
            normals=_pooled_normals(sample, fragments),
            params=shot.params,
            attributes=attributes(scene),
        )

    def _shot(
        self, scene: Scene, height: int, framing: Framing, plain: bool
    ) -> tuple[Snapshot, Stage, Fragments, Sample]:
        if height * framing.proportion < 1:
            raise UserError(f"A toon picture must be at least 1 pixel wide; got a height of {height}.")
        params = self.params(scene, height, framing)
        stage = self._stage(scene, params, framing)
        size = params.camera.size
        finer = params.camera.resized((size[0] * SAMPLES, size[1] * SAMPLES))
        screen = project(finer, stage.placed[None])
        screen = torch.cat([screen[..., :2], screen[..., 2:] * stage.nearer[:, None]], 2)
        fragments = rasterise(screen, stage.faces, finer.size)
        sample = sampled(fragments, stage)
        behind = self._backdrop(scene, size)
        if framing is FIGURE:
            behind = backdrop.grounded(behind, *_foot(scene.view, params))
        colour = Painter(self, scene, stage, sample, params).paint(plain)
        colour = colour if plain else colour.clamp(0, 1)  # a gleam's neighbours stay as they are
        picture = self._composed(colour, fragments, behind)
        points = self.head.landmarks(stage.model[None], rotation_matrix(params.angles))
        points = place(points, params.angles, params.translation)
        landmarks = project(params.camera, points)[0, :, :2]
        return Snapshot(picture, landmarks, params), stage, fragments, sample

    # What is drawn ----------------------------------------------------------------------------------------------------

    @cached_property
    def skin_rows(self) -> Tensor:
        """[S] vertices of the head's skin."""
        return self.faces_of("skin").unique()

    @cached_property
    def wardrobe(self) -> Wardrobe:
        """Everything to wear."""
        return Wardrobe(self.head.mean[self.skin_rows], self.skin_rows)

    @cached_property
    def material_of_face(self) -> Tensor:
        """[F] number in KINDS of every triangle of the head."""
        kinds = {"eye_left": "eyes", "eye_right": "eyes", "mouth_bag": "mouth", "teeth_upper": "mouth",
                 "teeth_lower": "mouth", "tongue": "mouth", "brow_left": "brow", "brow_right": "brow",
                 "lashes_left": "lash", "lashes_right": "lash", "ear_left": "ear", "ear_right": "ear"}  # fmt: skip
        table = torch.tensor([KINDS.index(kinds.get(name, "skin")) for name in self.parts])
        return table.to(self.part_of_face.device)[self.part_of_face]

    @cached_property
    def lips(self) -> Tensor:
        """[V] 0…1: vertices of the lips."""
        redness = self.head.albedos.directions[self.head.albedo.names.index("lip_redness")].abs().sum(1)
        return redness / redness.max()

    def faces_of(self, *names: str) -> Tensor:
        """[F, 3] triangles of the head's named parts."""
        wanted = torch.tensor([name in names for name in self.parts], device=self.part_of_face.device)
        return self.head.faces[wanted[self.part_of_face]]

    def beard(self, kind: str) -> Beard:
        """Where a kind of beard grows."""
        if kind not in self._beards:
            self._beards[kind] = grow_beard(kind, self.head.mean, self.faces_of("skin"))
        return self._beards[kind]

    def _stage(self, scene: Scene, params: FaceParams, framing: Framing) -> Stage:
        head = self.head
        model = head.vertices(params.identity, params.expression, params.joints)[0]
        angles, translation = params.angles, params.translation
        with_head = place(model[None], angles, translation)[0]
        body_angles = angles * angles.new_tensor([0.0, BODY_TURN, 0.0])
        body_at = _translation(framing, scene.view, angles, body_angles).to(translation)
        with_body = place(model[None], body_angles, body_at)[0]
        bend = _smooth((head.mean[:, 1] + NECK_SLANT * head.mean[:, 2].clamp(min=0) - NECK[0]) / (NECK[1] - NECK[0]))
        placed = torch.lerp(with_body, with_head, bend[:, None])
        style = hair.STYLES[scene.hair.style]
        shown = torch.ones(len(head.faces), dtype=torch.bool, device=model.device)
        if style is not None and style.covers_ears:
            shown = self.material_of_face != KINDS.index("ear")
        head_faces = head.faces[shown]
        normals = vertex_normals(placed[None], head.faces)[0]
        builder = StageBuilder(placed, normals, head_faces, self.material_of_face[shown], shown.nonzero().squeeze(1))
        if scene.beard in BEARD_DEPTH:
            beard = self.beard(scene.beard)
            lifted = placed[beard.rows] + normals[beard.rows] * beard.lift[:, None]
            builder.add("beard", lifted, beard.local, head.mean[beard.rows, :2], 0 * beard.lift)
        moved = head.identities(params.identity)[0]
        for garment in self.wardrobe.of(scene, whole=framing is FIGURE):
            turned = (angles, translation) if garment.turns else (body_angles, body_at)
            points = place(garment.worn.on(moved)[None], *turned)[0]
            lifted = FRINGE_NEARER if garment.material == "hair" and style.stand and scene.hat.kind == NONE else 1.0
            builder.add(garment.material, points, garment.worn.faces, garment.worn.uv, garment.worn.shade, lifted)
        return builder.stage(model)

    # What comes of it -------------------------------------------------------------------------------------------------

    def _backdrop(self, scene: Scene, size: tuple[int, int]) -> Tensor:
        like = self.head.colours.new_tensor
        chosen = scene.backdrop
        return backdrop.paint(chosen.kind, like(chosen.inner), like(chosen.outer), chosen.phase, size)

    @staticmethod
    def _composed(colour: Tensor, fragments: Fragments, behind: Tensor) -> Tensor:
        """colour: [N, 3] of the covered samples -> [3, S, S] over the backdrop."""
        alpha = _pooled(_everywhere(torch.ones_like(colour[:, :1]), fragments))
        return (_pooled(_everywhere(colour, fragments)) + (1 - alpha) * behind).clamp(0, 1)

    def _masks(self, fragments: Fragments, stage: Stage, sample: Sample) -> dict[str, Tensor]:
        number = torch.tensor([MASKS.index(MASK_OF[kind]) for kind in KINDS], device=sample.kind.device)
        part = number[sample.kind]
        on_head = sample.face < stage.head_count
        lips = torch.zeros_like(sample.weights[:, 0])
        rows = (sample.kind == KINDS.index("skin")).nonzero().squeeze(1)
        lips[rows] = sample.carry(self.lips[:, None], rows)[:, 0]
        part = torch.where(lips > 0.5, MASKS.index("mouth"), part)
        one_hot = functional.one_hot(part, len(MASKS)).to(sample.weights.dtype)
        source = stage.head_face[sample.face.clamp(max=stage.head_count - 1)]
        features = (part == MASKS.index("eyes")) | (part == MASKS.index("mouth"))
        face = on_head & (self.head.face_region[source] | features)
        layers = torch.cat([one_hot, face.to(one_hot)[:, None]], 1)
        pooled = _pooled(_everywhere(layers, fragments))
        masks = dict(zip((*MASKS, "face"), pooled, strict=True))
        masks["background"] = (1 - pooled[: len(MASKS)].sum(0)).clamp(0, 1)
        return masks


def joined_params(frames: Sequence[FaceParams]) -> FaceParams:
    """Frames of equal size, such as those of several pictures, as one batch in their order."""
    first = frames[0]
    parts = {
        field.name: torch.cat([getattr(frame, field.name) for frame in frames])
        for field in fields(first)
        if isinstance(getattr(first, field.name), Tensor)
    }
    camera = replace(
        first.camera,
        focal=torch.cat([frame.camera.focal for frame in frames]),
        principal=torch.cat([frame.camera.principal for frame in frames]),
    )
    return replace(first, camera=camera, **parts)


def camera_of(framing: Framing, view: View, height: int) -> Camera:
    """The camera of a picture of so many pixels."""
    across = math.degrees(2.0 * math.atan(framing.high / view.zoom / 2.0 / framing.distance))
    return default_camera((height, int(height * framing.proportion)), across)


def _foot(view: View, params: FaceParams) -> tuple[tuple[float, float], float]:
    """Pixels between the shoes, and half the width of what stands there."""
    body_at = _translation(FIGURE, view, torch.zeros(1, 3))
    sole = body_at + torch.tensor([[0.0, figure.FLOOR, 0.0]])
    x, y, depth = project(params.camera, sole[None].to(params.translation))[0, 0].tolist()
    return (x, y), FOOTPRINT * float(params.camera.focal[0]) / depth


def light_of(lamp: Lamp) -> Tensor:
    """The lamp as spherical harmonics [1, 9, 3]; nothing of it is lost, since it is made of them."""

    def from_side(azimuth: float, elevation: float, strength: float, warmth: float) -> Tensor:
        direction = direction_from_angles(torch.tensor([azimuth]), torch.tensor([elevation]))
        tint = torch.tensor([[1.0 + 0.07 * warmth, 1.0, 1.0 - 0.10 * warmth]])
        return distant_light(direction, strength * tint)

    key = from_side(lamp.azimuth, lamp.elevation, lamp.strength, lamp.warmth)
    fill = from_side(-1.2 * math.copysign(1.0, lamp.azimuth), 0.1, lamp.fill, -lamp.warmth)
    return key + fill + ambient_light(torch.full((1, 3), lamp.ambient))


def _translation(framing: Framing, view: View, angles: Tensor, own: Tensor | None = None) -> Tensor:
    """Where the head's origin stands, [1, 3]: turned by `own` angles (the head's) about the pivot, and framed."""
    pivot, anchor = torch.tensor([PIVOT]), torch.tensor([ANCHOR])
    angles = angles.cpu()
    seen = pivot + (rotation_matrix(angles) @ (anchor - pivot)[..., None]).squeeze(-1)
    framed = torch.tensor([[view.shift_x, view.shift_y + framing.above - ANCHOR[1], -framing.distance]])
    framed = framed - framing.follow * (seen - anchor) * torch.tensor([1.0, 1.0, 0.0])
    turned = rotation_matrix(angles if own is None else own.cpu()) @ pivot[..., None]
    return framed + pivot - turned.squeeze(-1)


def _row(named: Mapping[str, float], names: tuple[str, ...]) -> Tensor:
    if unknown := sorted(named.keys() - set(names)):
        raise UserError(f"The toon head has no direction {', '.join(unknown)}. It has: {', '.join(names)}.")
    return torch.tensor([[float(named.get(name, 0.0)) for name in names]])


def _everywhere(values: Tensor, fragments: Fragments) -> Tensor:
    """[N, C] of the covered samples -> [C, H, W], 0 elsewhere."""
    covered = fragments.covered[0]
    full = values.new_zeros(values.shape[1], *covered.shape)
    full[:, covered] = values.T
    return full


def _pooled(samples: Tensor) -> Tensor:
    return functional.avg_pool2d(samples[None], SAMPLES)[0]


def _nearest(fragments: Fragments) -> Tensor:
    nearness = functional.max_pool2d(1 / fragments.depth[None], SAMPLES)[0, 0]
    return torch.where(nearness > 0, 1 / nearness.clamp(min=1e-9), 0)


def _pooled_normals(sample: Sample, fragments: Fragments) -> Tensor:
    return functional.normalize(_pooled(_everywhere(sample.normals, fragments)), dim=0)


def _smooth(t: Tensor) -> Tensor:
    t = t.clamp(0, 1)
    return t * t * (3 - 2 * t)
