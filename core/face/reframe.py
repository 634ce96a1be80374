"""Parameters on a crop and parameters on the picture that it was cut from: the same face in other pixels.

Networks and fits look at crops; `on_picture` puts what they found back, so that the face lies over the whole picture.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import UserError
from ..types import Camera, FaceParams, common_batch
from .camera import angles_from_matrix, rotation_matrix
from .crop import Crop
from .light import rotated_light


def on_picture(params: FaceParams, crop: Crop) -> FaceParams:
    """Parameters on the crops -> on the pictures that they were taken from; frames of 1 go with N."""
    params = _resized(params, crop.size)
    return reframed(params, torch.linalg.inv(crop.matrices), crop.picture_size)


def on_crop(params: FaceParams, crop: Crop) -> FaceParams:
    """Parameters on pictures -> on their crops; frames of 1 go with N. The inverse of `on_picture`."""
    params = _resized(params, crop.picture_size)
    return reframed(params, crop.matrices, crop.size)


def reframed(params: FaceParams, matrices: Tensor, size: tuple[int, int]) -> FaceParams:
    """The same view on a picture of `size` (H, W) whose pixels are `matrices` [B or 1, 3, 3] times the old ones.

    The matrices turn, scale and shift; what stretches one axis more than the other is taken as rounding to whole pixels
    and evened out. A turn becomes roll, so the result is exact with and without perspective.
    """
    frames = common_batch(faces=len(params), crops=len(matrices))
    matrices = matrices.to(params.angles)
    linear, shift = matrices[:, :2, :2], matrices[:, :2, 2]
    area = torch.linalg.det(linear)
    if not bool((area > 0).all()):
        raise UserError("A crop that mirrors or flattens the picture cannot carry a face's parameters.")
    params = params.map(lambda value: value.expand(frames, *value.shape[1:]))
    turn = torch.atan2(linear[:, 0, 1] - linear[:, 1, 0], linear[:, 0, 0] + linear[:, 1, 1])  # y is up in camera space
    roll = functional.pad(turn[:, None], (2, 0))
    rotation = rotation_matrix(roll)
    camera = Camera(
        focal=params.camera.focal * area.sqrt(),
        principal=(linear @ params.camera.principal[:, :, None]).squeeze(-1) + shift,
        size=size,
        perspective=params.camera.perspective,
    )
    return replace(
        params,
        angles=params.angles + roll,
        translation=(rotation @ params.translation[:, :, None]).squeeze(-1),
        light=rotated_light(params.light, rotation),
        camera=camera,
    )


def seen_by(params: FaceParams, camera: Camera) -> FaceParams:
    """Very nearly the same picture through another camera, of 1 or B frames on a picture of the same size.

    The model's origin keeps its pixel and its scale there. In perspective the head also turns by the angle between the
    two rays through that pixel, as the same view demands; how strongly nearer parts grow changes with the focal length.
    """
    if tuple(camera.size) != tuple(params.camera.size):
        raise UserError(
            f"Another camera for a face must show a picture of the same size, {params.camera.size[1]} × "
            f"{params.camera.size[0]} pixels; got {camera.size[1]} × {camera.size[0]}."
        )
    frames = common_batch(faces=len(params), cameras=len(camera.focal))
    params = params.map(lambda value: value.expand(frames, *value.shape[1:]))
    old, depth = params.camera, -params.translation[:, 2:]
    focal, principal = camera.focal.to(depth)[:, None], camera.principal.to(depth)
    same = bool((focal[:, 0] == old.focal).all()) and bool((principal == old.principal).all())
    if same and camera.perspective == old.perspective:
        return params
    before = params.translation / depth
    flip = depth.new_tensor([1.0, -1.0])
    pixel = old.principal + old.focal[:, None] * before[:, :2] * flip
    after = torch.cat([(pixel - principal) / focal * flip, -torch.ones_like(depth)], 1)
    moved = replace(
        params,
        translation=after * depth * focal / old.focal[:, None],
        camera=replace(camera, focal=focal[:, 0].expand(frames), principal=principal.expand(frames, -1)),
    )
    if not camera.perspective:
        return moved
    rotation = shortest_turn(functional.normalize(before, dim=1), functional.normalize(after, dim=1))
    turned = rotation @ rotation_matrix(params.angles)
    return replace(moved, angles=angles_from_matrix(turned), light=rotated_light(params.light, rotation))


def _resized(params: FaceParams, size: tuple[int, int]) -> FaceParams:
    """Parameters whose camera shows a picture of `size` (H, W)."""
    if tuple(params.camera.size) == tuple(size):
        return params
    return replace(params, camera=params.camera.resized(tuple(size)))


def shortest_turn(start: Tensor, end: Tensor) -> Tensor:
    """Unit vectors [B, 3] twice, not opposite -> the rotation [B, 3, 3] that brings one onto the other."""
    x, y, z = torch.linalg.cross(start, end).unbind(-1)
    none = torch.zeros_like(x)
    skew = torch.stack([none, -z, y, z, none, -x, -y, x, none], -1).unflatten(-1, (3, 3))
    cosine = (start * end).sum(-1)[:, None, None]
    return torch.eye(3).to(start) + skew + skew @ skew / (1 + cosine)
