"""How much light a surface sends back: second-order spherical harmonics, point lights and directional lights.

Everything is linear: colour = albedo × shading, neither clamped. Normals are unit vectors in camera space (x right,
y up, z towards the viewer). The spherical harmonics of `core.types.FaceParams.light` follow Deep3DFaceRecon; DECA's
order and constants are converted at the border.

Sources: Ramamoorthi & Hanrahan 2001, "An efficient representation for irradiance environment maps"; Deep3DFaceRecon,
`models/bfm.py`; DECA, `utils/renderer.py`; GANFit (Gecer et al. 2019), section 3.2, and the Phong renderer it used.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..types import SH_BANDS

DEEP3D_BANDS = (math.sqrt(math.pi) / 2, math.sqrt(math.pi), 3 * math.sqrt(5 * math.pi / 24))
"""0.886227, 1.772454, 2.427032: Deep3D's factor of each band, its lobe times the basis (`models/bfm.py`, SH: a · c)."""
DEEP3D_FACTORS = (
    DEEP3D_BANDS[0],
    -DEEP3D_BANDS[1],
    DEEP3D_BANDS[1],
    -DEEP3D_BANDS[1],
    DEEP3D_BANDS[2],
    -DEEP3D_BANDS[2],
    DEEP3D_BANDS[2] / (2 * math.sqrt(3)),
    -DEEP3D_BANDS[2],
    DEEP3D_BANDS[2] / 2,
)
"""What multiplies 1, y, z, x, xy, yz, 3z²−1, xz, x²−y² (`models/bfm.py`, compute_color)."""
DEEP3D_AMBIENT = 0.8
"""Deep3D adds this to the band-0 coefficients that it predicts (`models/bfm.py`, init_lit)."""
DECA_FACTORS = (
    1 / math.sqrt(4 * math.pi),
    *(2 * math.pi / 3 * math.sqrt(3 / (4 * math.pi)),) * 3,
    *(math.pi / 4 * 3 * math.sqrt(5 / (12 * math.pi)),) * 3,
    math.pi / 4 * 1.5 * math.sqrt(5 / (12 * math.pi)),
    math.pi / 4 * 0.5 * math.sqrt(5 / (4 * math.pi)),
)
"""What multiplies 1, x, y, z, xy, xz, yz, x²−y², 3z²−1 (`utils/renderer.py`, constant_factor)."""
DECA_PLACES = (0, 3, 1, 2, 4, 7, 5, 8, 6)
"""For each of DECA's coefficients, the place of the same polynomial in Deep3D's order."""
LUMA = (0.2126, 0.7152, 0.0722)
"""Share of red, green and blue in brightness. Source: ITU-R BT.709."""
PROBES = tuple(filter(any, itertools.product((-1.0, 0.0, 1.0), repeat=3)))
"""Directions from a cube's middle to its faces, edges and corners, in which a light is read to turn it."""
LEAST_TINT = 1e-8
"""Of a colour of the light, so that its share is a number in the dark."""
CLAMPED_COSINE = (1 / 4, 1 / 2, 5 / 32)
"""max(0, t) ≈ a + b · t + c · (3t² − 1). Source: Ramamoorthi & Hanrahan 2001, equation 8, in Legendre polynomials."""


def sh_basis(normals: Tensor) -> Tensor:
    """[..., 3] unit normals -> [..., 9], Deep3D's basis with its factors: `shading = basis · light`."""
    x, y, z = normals.unbind(-1)
    polynomials = torch.stack([torch.ones_like(x), y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y], dim=-1)
    return polynomials * normals.new_tensor(DEEP3D_FACTORS)


def shade(light: Tensor, normals: Tensor) -> Tensor:
    """Light [B, 9, 3], normals [B, ..., 3] -> shading [B, ..., 3]; where it is 1 the albedo shows as it is."""
    return (sh_basis(normals).flatten(1, -2) @ light).unflatten(1, normals.shape[1:-1])


def light_from_deep3d(gamma: Tensor) -> Tensor:
    """[B, 27], Deep3D's coefficients, nine a colour -> light [B, 9, 3]; gamma 0 is its initial light of 0.8."""
    light = gamma.unflatten(-1, (3, SH_BANDS)).mT
    return torch.cat([light[:, :1] + DEEP3D_AMBIENT, light[:, 1:]], dim=1)


def light_to_deep3d(light: Tensor) -> Tensor:
    """The inverse of `light_from_deep3d`: light [B, 9, 3] -> [B, 27]."""
    return torch.cat([light[:, :1] - DEEP3D_AMBIENT, light[:, 1:]], dim=1).mT.flatten(1)


def light_from_deca(light: Tensor) -> Tensor:
    """[B, 9, 3] in DECA's order and constants -> the same light in ours."""
    scaled = light * light.new_tensor(DECA_FACTORS)[:, None]
    places = [DECA_PLACES.index(place) for place in range(SH_BANDS)]
    return scaled[:, places] / light.new_tensor(DEEP3D_FACTORS)[:, None]


def light_to_deca(light: Tensor) -> Tensor:
    """The inverse of `light_from_deca`, [B, 9, 3] -> [B, 9, 3]."""
    scaled = light * light.new_tensor(DEEP3D_FACTORS)[:, None]
    return scaled[:, list(DECA_PLACES)] / light.new_tensor(DECA_FACTORS)[:, None]


def distant_light(direction: Tensor, intensity: Tensor) -> Tensor:
    """One far light as spherical harmonics: unit direction towards it [B, 3], RGB intensity [B, 3] -> [B, 9, 3].

    A surface that faces it gets 17/16 of its intensity, one that turns its back 1/16: the second-order approximation.
    Lights add up by adding their coefficients.
    """
    x, y, z = direction.unbind(-1)
    a, b, c = CLAMPED_COSINE
    polynomials = torch.stack(
        [
            torch.full_like(x, a), b * y, b * z, b * x,
            6 * c * x * y, 6 * c * y * z, c / 2 * (3 * z * z - 1), 6 * c * x * z, 1.5 * c * (x * x - y * y),
        ],
        dim=-1,
    )  # fmt: skip
    return (polynomials / direction.new_tensor(DEEP3D_FACTORS))[..., None] * intensity[:, None]


def ambient_light(intensity: Tensor) -> Tensor:
    """Spherical harmonics of the same light from everywhere: intensity [B, 3] RGB -> [B, 9, 3]."""
    rest = intensity.new_zeros(len(intensity), SH_BANDS - 1, 3)
    return torch.cat([intensity[:, None] / DEEP3D_BANDS[0], rest], dim=1)


def light_from_direction(azimuth: Tensor, elevation: Tensor, strength: Tensor, ambient: Tensor) -> Tensor:
    """White light from one side plus white light from everywhere, [B] each -> [B, 9, 3].

    azimuth: radians, 0 from the viewer, positive from the picture's right. elevation: radians, positive from above.
    strength, ambient: 1 shows the albedo where only this light falls, straight on.
    """
    direction = direction_from_angles(azimuth, elevation)
    white = torch.ones_like(direction)
    return distant_light(direction, strength[:, None] * white) + ambient_light(ambient[:, None] * white)


def direction_from_angles(azimuth: Tensor, elevation: Tensor) -> Tensor:
    """[B] radians, [B] radians (see `light_from_direction`) -> [B, 3] unit vectors towards the light."""
    level = elevation.cos()
    return torch.stack([azimuth.sin() * level, elevation.sin(), azimuth.cos() * level], dim=-1)


def dominant_light(light: Tensor) -> tuple[Tensor, Tensor]:
    """Where most light [B, 9, 3] comes from: direction [B, 3] (unit, 0 where it is even) and strength [B].

    It reads band 1 of the brightness, so it recovers a `distant_light` exactly, whatever even light is added.
    """
    y, z, x = (light[:, 1:4] * light.new_tensor(DEEP3D_FACTORS)[1:4, None] @ light.new_tensor(LUMA)).unbind(-1)
    pull = torch.stack([x, y, z], dim=-1)
    return functional.normalize(pull, dim=-1), pull.norm(dim=-1) / CLAMPED_COSINE[1]


def one_tint(light: Tensor) -> Tensor:
    """The light [B, 9, 3] with the same tint from all sides, that of its mean over all directions.

    Divided out of a photograph, a light whose tint changes over the face turns shadows and hair blue or purple.
    """
    return light.mean(2, keepdim=True) * tint(light)


def tint(light: Tensor) -> Tensor:
    """Light [B, 9, 3] -> [B, 1, 3], RGB of its mean over all directions, with the mean 1."""
    even = light[:, :1].clamp_min(LEAST_TINT)
    return even / even.mean(2, keepdim=True)


def rotated_light(light: Tensor, rotation: Tensor) -> Tensor:
    """Light [B, 9, 3] that is turned by `rotation` [B or 1, 3, 3] together with everything it falls on; exact.

    A surface with the normal R · n then looks as one with n did before.
    """
    probes = functional.normalize(light.new_tensor(PROBES), dim=-1)
    return torch.linalg.pinv(sh_basis(probes)) @ (sh_basis(probes @ rotation) @ light)


@dataclass(frozen=True, eq=False)
class PhongLight:
    """One point light and an even one, for B frames; GANFit's light.

    position: [B, 3] in camera space, model units. intensity, ambient: [B, 3] RGB. specular: share of the intensity that
    is mirrored, uncoloured by the albedo; 0, as GANFit states none. shininess: exponent of the mirrored lobe.
    """

    position: Tensor
    intensity: Tensor
    ambient: Tensor
    specular: float = 0.0
    shininess: float = 10.0


def phong(light: PhongLight, normals: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Shading (times albedo) and highlight (added to it), [B, ..., 3] each; normals and positions [B, ..., 3].

    Positions in camera space, so the viewer is at the origin.
    """
    position, intensity, ambient = (_beside(v, normals) for v in (light.position, light.intensity, light.ambient))
    to_light = functional.normalize(position - positions, dim=-1)
    facing = (normals * to_light).sum(-1, keepdim=True)
    mirrored = 2 * facing * normals - to_light
    to_viewer = functional.normalize(-positions, dim=-1)
    lobe = (mirrored * to_viewer).sum(-1, keepdim=True).clamp(min=0) ** light.shininess * (facing > 0)
    return ambient + facing.clamp(0, 1) * intensity, light.specular * lobe * intensity


def point_shading(lights: Tensor, normals: Tensor, positions: Tensor) -> Tensor:
    """DECA's point lights: [B, L, 6] (position, RGB intensity), [B, ..., 3] twice -> [B, ..., 3]. Mean, not clamped."""
    facing = [
        (normals * functional.normalize(_beside(row[:, :3], normals) - positions, dim=-1)).sum(-1, keepdim=True)
        * _beside(row[:, 3:], normals)
        for row in lights.unbind(1)
    ]
    return torch.stack(facing).mean(0)


def direction_shading(lights: Tensor, normals: Tensor) -> Tensor:
    """DECA's far lights: [B, L, 6] (direction towards the light, RGB), [B, ..., 3] -> [B, ..., 3]. Mean."""
    directions, intensity = functional.normalize(lights[..., :3], dim=-1), lights[..., 3:]
    facing = (normals.flatten(1, -2) @ directions.mT).clamp(0, 1)
    return (facing @ intensity / lights.shape[1]).unflatten(1, normals.shape[1:-1])


def _beside(vector: Tensor, field: Tensor) -> Tensor:
    """[B, 3] as [B, 1, …, 1, 3], to go with a field [B, …, 3]."""
    return vector.reshape(len(vector), *(1,) * (field.dim() - 2), 3)
