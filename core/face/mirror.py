"""What becomes of a face's parameters in the mirror image of its picture."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..types import FaceParams
from .coding import GROUPS, FaceCoding
from .model import FaceModel

ODD_BANDS = (3, 4, 7)
"""Spherical harmonics that change their sign with x (`core.face.light`): x, xy, xz."""
MIRRORED_ANGLES = (1.0, -1.0, -1.0)
"""Pitch stays, yaw and roll turn round; so do a joint's axis-angles."""


def mirrored_params(params: FaceParams, model: FaceModel) -> FaceParams:
    """Parameters that show the mirror image. The model's joints must come in pairs, such as eyes, or be none."""
    turned = params.angles.new_tensor(MIRRORED_ANGLES)
    light = params.light.clone()
    light[:, list(ODD_BANDS)] *= -1
    principal = params.camera.principal.clone()
    principal[:, 0] = params.camera.size[1] - principal[:, 0]
    return replace(
        params,
        identity=params.identity[:, list(model.identity.mirrored)],
        expression=params.expression[:, list(model.expression.mirrored)],
        albedo=params.albedo[:, list(model.albedo.mirrored)],
        joints=params.joints.flip(1) * turned,
        angles=params.angles * turned,
        translation=params.translation * params.translation.new_tensor([-1.0, 1.0, 1.0]),
        light=light,
        camera=replace(params.camera, principal=principal),
    )


def mirror_of(coding: FaceCoding, model: FaceModel) -> Tensor:
    """[K] whole numbers n, one for each value of a row: in the mirror image it is value |n| - 1 of the picture, negated
    where n < 0.
    """
    plain = FaceCoding(coding.layout, coding.groups, coding.joints, coding.side, coding.focal)
    numbered = torch.arange(1.0, len(coding) + 1)[None]
    mirrored = mirrored_params(plain.decode(numbered), model)
    return torch.cat([GROUPS[name].values(mirrored) for name, _ in coding.groups], 1)[0].round().to(torch.int16)


def mirrored_rows(coding: FaceCoding, rows: Tensor, mirror: Tensor) -> Tensor:
    """Rows [B, K] of pictures -> of their mirror images. mirror: from `mirror_of`."""
    values = coding.mean + coding.scale * rows
    return coding.row(values[:, mirror.long().abs() - 1] * mirror.sign())
