"""What every morphable model offers, so that fitting, editing and rendering never ask which model it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..types import SH_BANDS, Camera, FaceParams
from .basis import Directions
from .surface import JAW_LANDMARKS, Surface, SurfacePoints, slide_contour

NEUTRAL_AMBIENT, NEUTRAL_FRONT, NEUTRAL_ABOVE = 0.55, 0.3, -0.08
"""Spherical-harmonic coefficients of the neutral light: even, towards the viewer, upwards (whose band counts
downwards). Chosen by eye so that heads look round and what faces the viewer keeps its colour: 0.55 · 0.886 + 0.3 ·
1.772 = 1.02."""

NEUTRAL_FILL = 0.55
"""Share of the picture's height that the neutral head fills; a portrait's usual framing."""

SIDE_SUFFIXES = (("_L", "_R"), ("Left", "Right"), ("left_", "right_"))
"""How names mark the subject's sides: ICT-FaceKit and ARKit, blendshapes such as jawLeft, joints."""


@dataclass(frozen=True)
class Group:
    """One group of coefficients: a name for each, and what is normal for it.

    names: one a coefficient. low, high: the range that sliders and fits keep to. gaussian: True where a coefficient is
    in standard deviations of a normal distribution; False where it is a blendshape's strength, 0…1 at rest at 0.
    lowest: exceptions from `low` by name, such as 0 for freckles, which a face has or has not.
    """

    names: tuple[str, ...]
    low: float = -3.0
    high: float = 3.0
    gaussian: bool = True
    lowest: tuple[tuple[str, float], ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def limits(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """[K] lowest and [K] highest values, on the device and of the type of `like`."""
        lowest = dict(self.lowest)
        low = [lowest.get(name, self.low) for name in self.names]
        return like.new_tensor(low), like.new_full((len(self),), self.high)

    @property
    def mirrored(self) -> tuple[int, ...]:
        """For each coefficient the number of its counterpart on the face's other side, itself where it has none."""
        number = {name: i for i, name in enumerate(self.names)}
        return tuple(number.get(mirrored_name(name), i) for i, name in enumerate(self.names))

    @classmethod
    def numbered(cls, kind: str, count: int) -> Group:
        """Directions of a principal component analysis, which have numbers for names: identity_000 …"""
        return cls(tuple(f"{kind}_{i:03d}" for i in range(count)))


class FaceModel(nn.Module, ABC):
    """A morphable model of a head; a module without trainable parameters, its arrays are buffers.

    layout: unique name, e.g. 'ict-facekit', 'bfm-2009-deep3d', 'toon-head', 'flame-3f2a91'; part of every FaceParams.
    identity, expression, albedo: Group. joints: names of joints beyond the rigid pose (may be empty).
    unit_in_metres: float. height: float, chin to crown (or hairline of a mask) of the mean, in model units.

    faces: [F, 3] int64, counter-clockwise from outside.
    uv: [T, 2] 0…1, (0, 0) at the bottom left. uv_faces: [F, 3] int64, the corners of `faces` among them.
    contour: [17, C] int64 or None, for each jaw landmark the vertices it may slide along when the head turns.
    face_region: [F] bool, triangles of the facial skin (what a fit compares with the picture).
    skin_region: [F] bool, triangles that carry skin colour (no eyes, teeth, inside of the mouth).
    colours: [V, 3] RGB 0…1, albedo of the mean.
    """

    faces: Tensor
    uv: Tensor
    uv_faces: Tensor
    contour: Tensor | None
    face_region: Tensor
    skin_region: Tensor
    colours: Tensor

    def __init__(
        self,
        surface: Surface,
        *,
        layout: str,
        identity: Group,
        expression: Group,
        albedo: Group,
        unit_in_metres: float,
        height: float,
        joints: tuple[str, ...] = (),
        albedos: Directions | None = None,
    ) -> None:
        """albedos: directions of vertex colours round `surface.colours`, one a name in `albedo`; None without any."""
        super().__init__()
        self.albedos = albedos
        self.layout, self.unit_in_metres, self.height = layout, unit_in_metres, height
        self.identity, self.expression, self.albedo, self.joints = identity, expression, albedo, joints
        for name in ("faces", "uv", "uv_faces", "contour", "face_region", "skin_region", "colours"):
            self.register_buffer(name, getattr(surface, name))
        points = surface.landmarks68
        self.register_buffer("landmark_faces", None if points is None else points.faces)
        self.register_buffer("landmark_barycentrics", None if points is None else points.barycentrics)

    @abstractmethod
    def vertices(self, identity: Tensor, expression: Tensor, joints: Tensor | None = None) -> Tensor:
        """[B, K_id], [B, K_exp], [B, J, 3] axis-angle or None (rest) -> [B, V, 3] in model space, differentiable.

        A batch of 1 goes with a batch of N, so frames of one person may share their identity.
        """

    @abstractmethod
    def subset(self, vertex_ids: Tensor) -> FaceModel:
        """A model of the same layout that computes only `vertex_ids` [n], in their order, at a cost in proportion.

        Triangles that lose a corner are left out, landmarks and contour when one of theirs is lost.
        """

    def vertex_albedo(self, albedo: Tensor) -> Tensor:
        """[B, K_alb] -> [B, V, 3] RGB albedo of each vertex, about 0…1, not clamped; the mean where K_alb is 0."""
        if self.albedos is None:
            return self.colours.expand(len(albedo), -1, -1)
        return self.colours + self.albedos(albedo)

    @property
    def landmarks68(self) -> SurfacePoints:
        """The 68 landmarks in iBUG's order; UserError where the model's files bring none."""
        if self.landmark_faces is None:
            raise UserError(self.no_landmarks())
        return SurfacePoints(self.landmark_faces, self.landmark_barycentrics)

    def no_landmarks(self) -> str:
        """What to tell a person who needs landmarks of a model that was loaded without."""
        return f"The face model '{self.layout}' has no 68 landmarks, so it cannot be fitted to a picture by landmarks."

    def landmarks(self, vertices: Tensor, rotation: Tensor | None = None) -> Tensor:
        """The 68 landmarks on `vertices` [B, V, 3] -> [B, 68, 3], model space.

        rotation: [B or 1, 3, 3], model to camera space; with it, and where the model has a contour, the 17 jaw
        landmarks slide to where the turned face ends for the viewer, as annotators place them.
        """
        points = self.landmarks68.on(vertices, self.faces)
        if rotation is None or self.contour is None:
            return points
        jaw, inner = points[:, :JAW_LANDMARKS], points[:, JAW_LANDMARKS:]
        return torch.cat([slide_contour(jaw, vertices[:, self.contour], rotation), inner], 1)

    def landmark_basis(self) -> FaceModel:
        """The same model reduced to the vertices that landmarks and contour need: fits use it for speed."""
        return self.subset(self.surface().landmark_vertices())

    def surface(self) -> Surface:
        """The mesh without its shape."""
        points = None if self.landmark_faces is None else self.landmarks68
        return Surface(
            faces=self.faces,
            uv=self.uv,
            uv_faces=self.uv_faces,
            colours=self.colours,
            face_region=self.face_region,
            skin_region=self.skin_region,
            landmarks68=points,
            contour=self.contour,
        )

    def groups(self, vertex_ids: Tensor) -> dict[str, Any]:
        """Everything about the model that is not its mesh, as the constructor takes it, for `vertex_ids` alone."""
        return {
            "layout": self.layout,
            "identity": self.identity,
            "expression": self.expression,
            "albedo": self.albedo,
            "unit_in_metres": self.unit_in_metres,
            "height": self.height,
            "joints": self.joints,
            "albedos": None if self.albedos is None else self.albedos.subset(vertex_ids),
        }

    def neutral(self, camera: Camera, frames: int = 1) -> FaceParams:
        """The mean face looking at `camera` under a soft frontal light, filling about half of the picture's height."""
        like = self.colours

        def zeros(*shape: int) -> Tensor:
            return like.new_zeros(frames, *shape)

        light = zeros(SH_BANDS, 3)
        light[:, 0], light[:, 1], light[:, 2] = NEUTRAL_AMBIENT, NEUTRAL_ABOVE, NEUTRAL_FRONT
        translation = zeros(3)
        translation[:, 2] = -camera.focal.to(like) * self.height / (NEUTRAL_FILL * camera.size[0])
        return FaceParams(
            layout=self.layout,
            identity=zeros(len(self.identity)),
            expression=zeros(len(self.expression)),
            albedo=zeros(len(self.albedo)),
            joints=zeros(len(self.joints), 3),
            angles=zeros(3),
            translation=translation,
            light=light,
            camera=camera,
        )

    def check(self, params: FaceParams) -> FaceParams:
        """Itself when `params` fit this model; UserError says which group differs."""
        params.require_layout(self.layout)
        expected = {"identity": len(self.identity), "expression": len(self.expression), "albedo": len(self.albedo)}
        found = {name: getattr(params, name).shape[-1] for name in expected}
        expected["joints"], found["joints"] = len(self.joints), params.joints.shape[1]
        for name, count in expected.items():
            if found[name] != count:
                raise UserError(f"These face parameters hold {found[name]} {name} values, '{self.layout}' has {count}.")
        return params

    def describe(self) -> str:
        """One line: what was recognised, for the node's text output."""
        return (
            f"{self.layout}: {len(self.colours):,} vertices, {len(self.faces):,} triangles, "
            f"{len(self.identity)} identity, {len(self.expression)} expression, {len(self.albedo)} albedo directions, "
            f"joints: {', '.join(self.joints) or 'none'}"
        )


def mirrored_name(name: str) -> str:
    """The name on the face's other side: jawLeft -> jawRight, mouthSmile_L -> mouthSmile_R; others as they are."""
    for left, right in SIDE_SUFFIXES:
        for here, there in ((left, right), (right, left)):
            if here.endswith("_") and name.startswith(here):
                return there + name[len(here):]
            if not here.endswith("_") and name.endswith(here):
                return name[: -len(here)] + there
    return name
