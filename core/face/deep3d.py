"""Deep3DFaceRecon's 257 coefficients as FaceParams and back, and the losses that its regressor is trained with.

Source: Deng et al. 2019, "Accurate 3D face reconstruction with weakly-supervised learning"; Deep3DFaceRecon_pytorch,
models/bfm.py, models/losses.py, models/facerecon_model.py.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import UserError
from ..types import SH_BANDS, FaceParams
from . import bfm
from .camera import DEEP3D_DISTANCE, DEEP3D_FOCAL, DEEP3D_SIZE, deep3d_camera
from .light import light_from_deep3d, light_to_deep3d
from .model import FaceModel

LAYOUT = bfm.LAYOUT
ANGLES, LIGHT, TRANSLATION = 3, 3 * SH_BANDS, 3
COEFFICIENTS = bfm.IDENTITIES + bfm.EXPRESSIONS + bfm.ALBEDOS + ANGLES + LIGHT + TRANSLATION
"""257."""
CAMERA_TOLERANCE = 1e-3
"""Relative; how far a camera's focal length and centre may be from Deep3D's to still count as it."""

PHOTO_GUARD = 1e-6
"""Under the root of the colour loss, so that it has a gradient at 0 (models/losses.py)."""
HEAVY_LANDMARKS, HEAVY_WEIGHT = (28, 29, 30, *range(60, 68)), 20.0
"""The nose's ridge and the inner lips, which say most about pose and mouth (models/losses.py)."""


@dataclass(frozen=True)
class LossWeights:
    """Weights of the training loss (models/facerecon_model.py), and of the groups within the prior."""

    identity: float = 0.2
    colour: float = 1.92
    prior: float = 3e-4
    light: float = 10.0
    landmarks: float = 1.6e-3
    albedo: float = 5.0
    prior_identity: float = 1.0
    prior_expression: float = 0.8
    prior_albedo: float = 1.7e-2


@dataclass(frozen=True, eq=False)
class Coefficients:
    """257 values a frame, by group, in their order.

    identity [B, 80], expression [B, 64], albedo [B, 80]; angles [B, 3] radians; light [B, 27], nine bands a colour, red
    first, without the constant 0.8 that the model adds; translation [B, 3], camera at z = +10.
    """

    identity: Tensor
    expression: Tensor
    albedo: Tensor
    angles: Tensor
    light: Tensor
    translation: Tensor

    @classmethod
    def split(cls, values: Tensor) -> Coefficients:
        """[B, 257] -> groups; UserError for another number."""
        if values.shape[-1] != COEFFICIENTS:
            raise UserError(f"Deep3D's face coefficients are {COEFFICIENTS} values a frame; got {values.shape[-1]}.")
        sizes = [bfm.IDENTITIES, bfm.EXPRESSIONS, bfm.ALBEDOS, ANGLES, LIGHT, TRANSLATION]
        return cls(*values.split(sizes, dim=-1))

    def join(self) -> Tensor:
        """[B, 257]."""
        return torch.cat([getattr(self, f.name) for f in fields(self)], -1)


def to_params(coefficients: Tensor, size: int = DEEP3D_SIZE) -> FaceParams:
    """[B, 257] as the regressor gives them -> parameters for Deep3D's camera on a picture of `size` squared."""
    parts = Coefficients.split(coefficients)
    return FaceParams(
        layout=LAYOUT,
        identity=parts.identity,
        expression=parts.expression,
        albedo=parts.albedo,
        joints=coefficients.new_zeros(len(coefficients), 0, 3),
        angles=parts.angles,
        translation=parts.translation - parts.translation.new_tensor([0.0, 0.0, DEEP3D_DISTANCE]),
        light=light_from_deep3d(parts.light),
        camera=deep3d_camera(len(coefficients), size),
    ).to(coefficients)


def from_params(params: FaceParams) -> Tensor:
    """Parameters -> [B, 257]; UserError where another model or camera made them."""
    params.require_layout(LAYOUT)
    camera, (height, width) = params.camera, params.camera.size
    scale = height / DEEP3D_SIZE
    centre = camera.principal.new_tensor([width / 2, height / 2])
    focal_off = (camera.focal / (DEEP3D_FOCAL * scale) - 1).abs().max()
    centre_off = ((camera.principal - centre) / height).abs().max()
    if not camera.perspective or focal_off > CAMERA_TOLERANCE or centre_off > CAMERA_TOLERANCE:
        found = f"{camera.focal.mean() / scale:.0f}{'' if camera.perspective else ' and no perspective'}"
        raise UserError(
            f"Deep3D's coefficients mean its own camera: in perspective, {DEEP3D_FOCAL:g} pixels of focal length on a "
            f"picture of {DEEP3D_SIZE}. This camera has {found}. Fit the picture's Deep3D crop with Deep3D's camera."
        )
    frames = len(params)
    translation = params.translation + params.translation.new_tensor([0.0, 0.0, DEEP3D_DISTANCE])
    light = light_to_deep3d(params.light)
    groups = (params.identity, params.expression, params.albedo, params.angles, light, translation)
    return Coefficients(*(group.expand(frames, -1) for group in groups)).join()


def colour_loss(ours: Tensor, theirs: Tensor, mask: Tensor) -> Tensor:
    """Mean colour distance where `mask` [B, 1, H, W] is set. ours, theirs: [B, 3, H, W] RGB 0…1."""
    distance = ((ours - theirs).square().sum(1, keepdim=True) + PHOTO_GUARD).sqrt()
    return (distance * mask).sum() / mask.sum().clamp_min(1)


def landmark_loss(ours: Tensor, theirs: Tensor) -> Tensor:
    """Weighted mean squared distance of [B, 68, 2] pixels of a 224 picture, in float64."""
    weights = torch.ones(ours.shape[1], dtype=torch.float64, device=ours.device)
    weights[list(HEAVY_LANDMARKS)] = HEAVY_WEIGHT
    return ((ours.double() - theirs.double()).square().sum(-1) * weights).mean()


def identity_loss(ours: Tensor, theirs: Tensor) -> Tensor:
    """1 − cosine of [B, C] embeddings, mean over the batch."""
    return (1 - functional.cosine_similarity(ours, theirs, dim=-1)).mean()


def prior_loss(identity: Tensor, expression: Tensor, albedo: Tensor, weights: LossWeights | None = None) -> Tensor:
    """Weighted sum of squared coefficients [B, K], mean over the batch: how unusual the face is."""
    weights = weights or LossWeights()
    return (
        weights.prior_identity * identity.square().sum()
        + weights.prior_expression * expression.square().sum()
        + weights.prior_albedo * albedo.square().sum()
    ) / len(identity)


def light_loss(light: Tensor) -> Tensor:
    """How coloured the light [B, 9, 3] is: mean squared difference from its grey. A constant in all colours is free."""
    return (light - light.mean(-1, keepdim=True)).square().mean()


def albedo_loss(albedo: Tensor, skin: Tensor) -> Tensor:
    """How uneven the skin's colour is. albedo: [B, V, 3] RGB 0…1; skin: [V] 0…1, which vertices count."""
    skin = skin.to(albedo)[None, :, None]
    mean = (albedo * skin).sum(1, keepdim=True) / skin.sum()
    return ((albedo - mean) * skin).square().sum() / (len(albedo) * skin.sum())


def skin_vertices(model: FaceModel) -> Tensor:
    """[V] bool: vertices of the model's skin region, for `albedo_loss`."""
    skin = torch.zeros(len(model.colours), dtype=torch.bool, device=model.faces.device)
    skin[model.faces[model.skin_region].flatten()] = True
    return skin
