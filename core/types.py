"""What travels between nodes: frozen values, never modified in place.

Conventions that hold everywhere in `core` (each is converted once, at the border where it enters):

* Picture: `[B, 3, H, W]` float, RGB, 0…1. Networks that speak −1…1 convert at their own border.
* Pixel coordinates: x to the right, y down, continuous. Pixel (row i, column j) covers [j, j+1] × [i, i+1], its centre
  is (j + 0.5, i + 0.5), and the picture spans [0, W] × [0, H].
* Model and camera space: right-handed, x to the picture's right (the subject's left), y up, z towards the viewer. The
  camera stands at the origin and looks along −z, so whatever it sees has negative z.
* Angles: radians, (pitch, yaw, roll), `R = Rz(roll) · Ry(yaw) · Rx(pitch)` applied to column vectors. Source:
  Deep3DFaceRecon, `models/bfm.py`. Positive pitch looks down, positive yaw turns the face to the picture's right.
* A batch of 1 goes with a batch of N; any other difference is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from .errors import UserError

MARKUPS = (5, 68, 478)
"""Numbers of landmarks a face can be marked with: ArcFace's five points, iBUG's 68, MediaPipe's 478."""

SH_BANDS = 9
"""Coefficients of second-order spherical harmonics."""


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Face landmarks of B frames, in pixels of the picture they were found in.

    points: [B, N, 2] float32, pixels; NaN in frames without a face. N is the markup: 5, 68 or 478.
    score: [B] float32, 0…1, the finder's confidence; 0 where there is no face.
    size: (H, W) of the picture in pixels.
    """

    points: Tensor
    score: Tensor
    size: tuple[int, int]

    def __post_init__(self) -> None:
        if self.points.dim() != 3 or self.points.shape[1] not in MARKUPS or self.points.shape[2] != 2:
            raise UserError(
                f"Landmarks need the shape [frames, N, 2] with N one of {', '.join(map(str, MARKUPS))}; "
                f"got {list(self.points.shape)}."
            )

    @property
    def markup(self) -> int:
        return self.points.shape[1]

    @property
    def found(self) -> Tensor:
        """[B] bool: the frame holds a face."""
        return torch.isfinite(self.points).all(dim=(1, 2)) if self.points.shape[0] else self.score.bool()

    def __len__(self) -> int:
        return self.points.shape[0]


@dataclass(frozen=True)
class GeneratorId:
    """Which generator something belongs to: a name to show and the fingerprint of its weights, which decides."""

    name: str
    fingerprint: str


@dataclass(frozen=True, eq=False)
class Latent:
    """Style codes of B pictures, bound to the generator that understands them.

    w: [B, L, C] float32, one code per synthesis layer. generator: display name and fingerprint of its weights.
    """

    w: Tensor
    generator: GeneratorId

    def __post_init__(self) -> None:
        if self.w.dim() != 3:
            raise UserError(f"A latent needs the shape [pictures, layers, features]; got {list(self.w.shape)}.")

    def codes_for(self, generator: GeneratorId) -> Tensor:
        """`w` for use in `generator`; UserError where another generator made it."""
        if self.generator.fingerprint != generator.fingerprint:
            raise UserError(
                f"This latent belongs to generator '{self.generator.name}' and means nothing to '{generator.name}'. "
                "Connect the generator that made it, or invert the picture again."
            )
        return self.w

    def __len__(self) -> int:
        return self.w.shape[0]

    def __getitem__(self, pictures: slice | Tensor) -> Latent:
        """The chosen pictures, still a batch."""
        return replace(self, w=self.w[pictures])


@dataclass(frozen=True, eq=False)
class Camera:
    """How camera space becomes pixels, for B frames.

    focal: [B] pixels. principal: [B, 2] pixels, where the axis meets the picture. size: (H, W).
    perspective: x_px = principal + focal · X / −Z for every point when True; when False (weak perspective) Z is that of
    the model's origin for all points, i.e. focal / −translation_z is the scale in pixels a unit.
    """

    focal: Tensor
    principal: Tensor
    size: tuple[int, int]
    perspective: bool = True

    def resized(self, size: tuple[int, int]) -> Camera:
        """The same view on a picture of another size (H, W); x and y must scale alike up to rounding."""
        scale = size[0] / self.size[0]
        ratio = self.principal.new_tensor([size[1] / self.size[1], scale])
        return Camera(self.focal * scale, self.principal * ratio, size, self.perspective)


@dataclass(frozen=True, eq=False)
class FaceParams:
    """Everything a morphable model needs to show B frames of a face.

    layout: name of the face model these numbers belong to; another model refuses them.
    identity: [B, K_id], expression: [B, K_exp], albedo: [B, K_alb] — in the model's own units (standard deviations, or
    0…1 for blendshapes). K_alb may be 0.
    joints: [B, J, 3] axis-angle radians for the model's own joints (FLAME: neck, jaw, eyes; toon: eyes); J may be 0.
    angles: [B, 3] radians. translation: [B, 3] model units, where the model's origin stands in camera space (z < 0).
    light: [B, 9, 3] second-order spherical harmonics a colour, over the normal in camera space (`core.face.light`).
    camera: the camera of these B frames.
    texture: [B or 1, 3, S, S] RGB 0…1 free UV albedo that replaces the model's, or None.
    """

    layout: str
    identity: Tensor
    expression: Tensor
    albedo: Tensor
    joints: Tensor
    angles: Tensor
    translation: Tensor
    light: Tensor
    camera: Camera
    texture: Tensor | None = None

    def __len__(self) -> int:
        return self.angles.shape[0]

    def __getitem__(self, frames: slice | Tensor) -> FaceParams:
        """The chosen frames, still a batch."""
        return self.map(lambda t: t if t.shape[0] == 1 != len(self) else t[frames])

    def map(self, change: Any) -> FaceParams:
        """`change` applied to every tensor, the camera's included."""
        parts: dict[str, Any] = {
            f.name: change(value)
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), Tensor)
        }
        camera = replace(self.camera, focal=change(self.camera.focal), principal=change(self.camera.principal))
        return replace(self, camera=camera, **parts)

    def to(self, *args: Any, **kwargs: Any) -> FaceParams:
        return self.map(lambda t: t.to(*args, **kwargs))

    def require_layout(self, layout: str) -> FaceParams:
        """Itself; UserError where another face model made these parameters."""
        if self.layout != layout:
            raise UserError(
                f"These face parameters belong to the face model '{self.layout}' and mean nothing to '{layout}'. "
                f"Connect the model that made them, or fit the picture again with '{layout}'."
            )
        return self


@dataclass(frozen=True, eq=False)
class Mesh:
    """One triangle mesh with texture, as exporters want it.

    vertices: [V, 3]. faces: [F, 3] int64. uv: [V, 2] 0…1, (0, 0) bottom left, or None. colours: [V, 3] RGB 0…1 or None.
    texture: [3, S, S] RGB 0…1, row 0 at the top (v = 1), or None. normals: [V, 3] unit or None.
    """

    vertices: Tensor
    faces: Tensor
    uv: Tensor | None = None
    colours: Tensor | None = None
    texture: Tensor | None = None
    normals: Tensor | None = None
    extras: dict[str, Any] = field(default_factory=dict)


def common_batch(**batches: int) -> int:
    """The batch size that all agree on, 1 going with any; UserError names those that differ."""
    sizes = {size for size in batches.values() if size != 1}
    if len(sizes) > 1:
        listed = ", ".join(f"{name.replace('_', ' ')}: {size}" for name, size in batches.items())
        raise UserError(f"The numbers of frames differ ({listed}). Each must be 1 or the same number.")
    return sizes.pop() if sizes else 1
