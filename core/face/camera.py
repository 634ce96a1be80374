"""From a model to the picture: rigid pose, projection, and the cameras of the published systems.

Spaces and signs are those of `core.types`: camera space is right-handed, y up, the camera at the origin, looking
along −z. Screen space, which `core.face.raster` draws, is (x px, y px, depth) with depth = −z.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import UserError
from ..types import Camera, common_batch

DEEP3D_FOCAL = 1015.0
"""Pixels, on a picture of DEEP3D_SIZE. Source: Deep3DFaceRecon, `models/facerecon_model.py` (focal, center)."""
DEEP3D_SIZE = 224
DEEP3D_DISTANCE = 10.0
"""Model units from the camera to the origin of Deep3D's `trans`: translation_z = trans_z − this. Source: as above."""
GANFIT_FIELD_OF_VIEW = 20.0
"""Degrees, vertical. Source: OSTeC (by GANFit's author), `utils/ganfit_camera.py`."""
GANFIT_DISTANCE = 6.0
"""Model units from the eye to the origin, which GANFit's camera looks at. Source: as above."""
DEFAULT_FIELD_OF_VIEW = math.degrees(2 * math.atan(DEEP3D_SIZE / 2 / DEEP3D_FOCAL))
"""Degrees, 12.59: Deep3D's, a portrait lens."""
GIMBAL = 1e-6
"""|cos yaw| below which pitch and roll turn about the same axis up to float32's rounding."""


def default_camera(
    size: tuple[int, int], field_of_view: float = DEFAULT_FIELD_OF_VIEW, frames: int = 1, perspective: bool = True
) -> Camera:
    """A camera whose axis meets the centre of a picture (H, W). field_of_view: degrees across the picture's height."""
    if not 0 < field_of_view < 180:
        raise UserError(f"A field of view must lie between 0 and 180 degrees; got {field_of_view:g}.")
    height, width = size
    focal = height / 2 / math.tan(math.radians(field_of_view) / 2)
    principal = torch.tensor([width / 2, height / 2])
    return Camera(torch.full((frames,), focal), principal.repeat(frames, 1), (height, width), perspective)


def deep3d_camera(frames: int = 1, size: int = DEEP3D_SIZE) -> Camera:
    """Deep3D's camera on a square picture: focal 1015 at 224, principal point in the middle of the picture.

    Deep3D's landmarks live half a pixel away from its pictures; these are the pictures' coordinates.
    """
    return default_camera((size, size), DEFAULT_FIELD_OF_VIEW, frames)


def ganfit_camera(size: tuple[int, int], frames: int = 1) -> Camera:
    """GANFit's camera; at rest its pose is `look_at` from (0, 0, GANFIT_DISTANCE)."""
    return default_camera(size, GANFIT_FIELD_OF_VIEW, frames)


def rotation_matrix(angles: Tensor) -> Tensor:
    """[B, 3] radians (pitch, yaw, roll) -> [B, 3, 3] = Rz(roll) · Ry(yaw) · Rx(pitch), for column vectors."""
    (sx, sy, sz), (cx, cy, cz) = angles.sin().unbind(-1), angles.cos().unbind(-1)
    return torch.stack(
        [
            cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx,
            sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx,
            -sy, cy * sx, cy * cx,
        ],
        dim=-1,
    ).unflatten(-1, (3, 3))  # fmt: skip


def angles_from_matrix(rotation: Tensor) -> Tensor:
    """[B, 3, 3] -> [B, 3] radians (pitch, yaw, roll), yaw in −π/2…π/2; at its ends, where they blur, roll is 0."""
    cosine = torch.hypot(rotation[..., 0, 0], rotation[..., 1, 0])
    yaw = torch.atan2(-rotation[..., 2, 0], cosine)
    pitch = torch.atan2(rotation[..., 2, 1], rotation[..., 2, 2])
    roll = torch.atan2(rotation[..., 1, 0], rotation[..., 0, 0])
    locked_pitch = torch.atan2(-rotation[..., 1, 2], rotation[..., 1, 1])
    locked = cosine < GIMBAL
    return torch.stack([torch.where(locked, locked_pitch, pitch), yaw, roll.masked_fill(locked, 0)], dim=-1)


def look_at(eye: Tensor, target: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """The pose of a model seen by a camera at `eye` that looks at `target`, all [B, 3] in model space.

    Returns angles and translation [B, 3] for `place`. Source: gluLookAt, which GANFit's camera follows.
    """
    forward = functional.normalize(target - eye, dim=-1)
    side = functional.normalize(torch.linalg.cross(forward, up), dim=-1)
    rotation = torch.stack([side, torch.linalg.cross(side, forward), -forward], dim=-2)
    return angles_from_matrix(rotation), -(rotation @ eye[..., None]).squeeze(-1)


def place(vertices: Tensor, angles: Tensor, translation: Tensor) -> Tensor:
    """[B, V, 3] in model space, [B, 3] radians, [B, 3] model units -> [B, V, 3] in camera space."""
    common_batch(vertices=len(vertices), angles=len(angles), translations=len(translation))
    return vertices @ rotation_matrix(angles).mT + translation[:, None]


def project(camera: Camera, points: Tensor, translation: Tensor | None = None) -> Tensor:
    """[B, N, 3] in camera space -> [B, N, 3] on the screen: x px, y px, depth (what the model's unit is).

    translation: [B, 3], where the model's origin stands; weak perspective scales everything by its depth and needs it.
    Points at or behind the camera give meaningless pixels and depth ≤ 0, which the rasteriser drops.
    """
    common_batch(camera=len(camera.focal), points=len(points))
    focal, principal = camera.focal.to(points)[:, None, None], camera.principal.to(points)[:, None]
    if camera.perspective:
        scale = focal / -points[..., 2:]
    elif translation is None:
        raise UserError("A camera without perspective needs the translation of the model that it shows.")
    else:
        scale = focal / -translation[:, None, 2:]
    flipped = points[..., :2] * points.new_tensor([1, -1])
    pixels = principal + scale * flipped
    return torch.cat([pixels, -points[..., 2:].expand(len(pixels), -1, -1)], dim=-1)
