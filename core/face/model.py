"""What every morphable model offers, so that fitting, editing and rendering never ask which model it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..types import SH_BANDS, Camera, FaceParams


@dataclass(frozen=True)
class Group:
    """One group of coefficients: a name for each, and what is normal for it.

    names: one a coefficient. low, high: the range that sliders and fits keep to. gaussian: True where a coefficient is in
    standard deviations of a normal distribution; False where it is a blendshape's strength, 0…1 at rest at 0.
    """

    names: tuple[str, ...]
    low: float = -3.0
    high: float = 3.0
    gaussian: bool = True

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, eq=False)
class SurfacePoints:
    """Points fixed to a mesh's surface: `faces` [N] int64 and barycentrics [N, 3]."""

    faces: Tensor
    barycentrics: Tensor

    def on(self, vertices: Tensor, faces: Tensor) -> Tensor:
        """[B, V, 3] vertices, [F, 3] faces -> [B, N, 3]."""
        corners = vertices[:, faces[self.faces]]
        return (corners * self.barycentrics[None, :, :, None].to(corners)).sum(2)


class FaceModel(nn.Module, ABC):
    """A morphable model of a head; a module without trainable parameters, its arrays are buffers.

    Attributes that a subclass sets:
    layout: str, unique name, e.g. 'ict-facekit', 'flame-2020', 'bfm-2009-deep3d', 'toon-head'; part of every FaceParams.
    identity, expression, albedo: Group. joints: tuple[str, ...], names of joints beyond the rigid pose (may be empty).
    unit_in_metres: float. height: float, chin to crown (or hairline of the mask) of the mean, in model units.
    faces: [F, 3] int64, counter-clockwise from outside. uv: [T, 2] 0…1, (0, 0) at the bottom left; uv_faces: [F, 3] int64.
    landmarks68: SurfacePoints, iBUG order. contour: [17, C] int64 vertex numbers or None — for each of the 17 jaw
    landmarks the vertices it may slide along when the head turns.
    face_region: [F] bool, triangles of the facial skin (what a fit compares with the picture).
    skin_region: [F] bool, triangles that carry skin colour (whole head and neck, no eyes, teeth, mouth inside).
    """

    layout: str
    identity: Group
    expression: Group
    albedo: Group
    joints: tuple[str, ...] = ()
    unit_in_metres: float
    height: float
    faces: Tensor
    uv: Tensor
    uv_faces: Tensor
    landmarks68: SurfacePoints
    contour: Tensor | None
    face_region: Tensor
    skin_region: Tensor

    @abstractmethod
    def vertices(self, identity: Tensor, expression: Tensor, joints: Tensor | None = None) -> Tensor:
        """[B, K_id], [B, K_exp], [B, J, 3] axis-angle or None (rest) -> [B, V, 3] in model space, differentiable."""

    @abstractmethod
    def vertex_albedo(self, albedo: Tensor) -> Tensor:
        """[B, K_alb] -> [B, V, 3] RGB 0…1 albedo of each vertex, not clamped; a model without albedo gives its default."""

    def landmark_basis(self) -> FaceModel | None:
        """A small model of the same layout whose mesh holds only what landmarks need, or None: fits use it for speed."""
        return None

    def neutral(self, camera: Camera, frames: int = 1) -> FaceParams:
        """The mean face looking at `camera` under a soft frontal light, filling about half of the picture's height."""
        device = self.faces.device

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(frames, *shape, device=device)

        light = zeros(SH_BANDS, 3)
        light[:, 0] = NEUTRAL_AMBIENT
        light[:, 2] = NEUTRAL_FRONT
        translation = zeros(3)
        translation[:, 2] = -camera.focal.to(device) * self.height / (0.55 * camera.size[0])
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
        for name, group in (("identity", self.identity), ("expression", self.expression), ("albedo", self.albedo)):
            count = getattr(params, name).shape[-1]
            if count != len(group):
                raise UserError(f"These face parameters hold {count} {name} values, '{self.layout}' has {len(group)}.")
        return params

    def describe(self) -> str:
        """A line a group: what was recognised, for the node's text output."""
        return (
            f"{self.layout}: {self.faces.max().item() + 1:,} vertices, {len(self.faces):,} triangles, "
            f"{len(self.identity)} identity, {len(self.expression)} expression, {len(self.albedo)} albedo directions, "
            f"joints: {', '.join(self.joints) or 'none'}"
        )


NEUTRAL_AMBIENT = 0.8
"""Band-0 coefficient of the neutral light; Deep3DFaceRecon's initial light (models/bfm.py)."""
NEUTRAL_FRONT = 0.15
"""Coefficient of the band that points at the viewer; chosen by eye so that a face looks round."""
