"""The square around a face in which pixels are compared: cut out of the picture once, drawn by a camera of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...face.camera import place, project
from ...face.resampling import warp
from ...types import Camera, FaceParams, Landmarks

MARGIN = 1.15
"""Side of the square, by the larger extent of the facial skin in the picture."""
GRAZING = 0.2
"""Cosine between normal and viewer below which skin is too slanted to be compared."""


@dataclass(frozen=True, eq=False)
class CloseUp:
    """What B frames are compared with.

    camera: sees the square, whatever stands in the picture's camera space. matrices: [B, 3, 3], the picture's pixels ->
    the square's. target: [B, 3, S, S] RGB 0…1. allowed: [B, 1, S, S] 0…1, where it may be compared.
    """

    camera: Camera
    matrices: Tensor
    target: Tensor
    allowed: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, pictures: Tensor, mask: Tensor | None, skin: Tensor, face: FaceParams, side: int) -> CloseUp:
        """The square around `skin` [B, n, 3], vertices in model space that stand as `face` says.

        pictures: [B, 3, H, W]. mask: [B or 1, 1, H, W] 0…1, where the pictures may be compared, or None. side: pixels.
        """
        camera, matrices = _around(skin, face, side)
        inside = torch.ones_like(pictures[:, :1]) if mask is None else mask.expand(len(pictures), -1, -1, -1)
        target = warp(pictures, matrices, camera.size, "antialiased edge")
        return cls(camera, matrices, target, warp(inside, matrices, camera.size, "bilinear"))

    @property
    def scale(self) -> Tensor:
        """[B] pixels of the square by one of the picture."""
        return self.matrices[:, 0, 0]

    def points(self, points: Tensor) -> Tensor:
        """[B, N, 2] pixels of the picture -> of the square."""
        return points @ self.matrices[:, :2, :2].mT + self.matrices[:, None, :2, 2]

    def landmarks(self, points: Tensor) -> Landmarks:
        """[B, 68, 2] pixels of the picture -> landmarks in the square."""
        return Landmarks(self.points(points), torch.ones_like(points[:, 0, 0]), self.camera.size)


def _around(skin: Tensor, face: FaceParams, side: int) -> tuple[Camera, Tensor]:
    """The square's camera, and the matrices that cut it out."""
    seen = project(face.camera, place(skin, face.angles, face.translation), face.translation)[..., :2]
    low, high = seen.amin(1), seen.amax(1)
    extent = (high - low).amax(1) * MARGIN
    corner = (low + high) / 2 - extent[:, None] / 2
    scale = side / extent
    matrices = torch.eye(3).to(seen).repeat(len(seen), 1, 1)
    matrices[:, 0, 0] = matrices[:, 1, 1] = scale
    matrices[:, :2, 2] = -corner * scale[:, None]
    principal = (face.camera.principal - corner) * scale[:, None]
    return replace(face.camera, focal=face.camera.focal * scale, principal=principal, size=(side, side)), matrices
