"""The light under which a known surface looks most like a picture, in closed form.

Colour is albedo times shading and shading is linear in the light's 27 coefficients, so the best light solves one system
of 27 equations. Coloured light is dear, as in Deep3DFaceRecon: a face under a neutral light is the likelier reading.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...face.light import sh_basis
from ...types import SH_BANDS

COLOUR_WEIGHT, GREY_WEIGHT = 1.92, 10.0
"""Deep3DFaceRecon, models/facerecon_model.py: w_color, and w_gamma on the mean squared distance to the light's grey."""
RIDGES = (1e-4,) + (3e-3,) * 3 + (3e-2,) * 5
"""On the coefficients of bands 0, 1 and 2, against about 5 from the pixels. A face shows half of all normals; without
these the light on the other half, which a turned head shows, comes out several times too bright or negative."""
LEAST = 1e-8
COLOURS = 3


def solve_light(target: Tensor, albedo: Tensor, normals: Tensor, weight: Tensor) -> Tensor:
    """The light [B, 9, 3] that minimises Σ weight · |albedo · shading − target|² and its distance to grey.

    target, albedo: [B, H, W, 3] RGB. normals: [B, H, W, 3] unit, camera space. weight: [B, H, W, 1], 0 where a pixel
    does not count; divide it by the colour distance of the step before to minimise distances instead of their squares.
    """
    basis, seen, wanted = (value.flatten(1, 2) for value in (sh_basis(normals), albedo, target))
    share = weight.flatten(1, 2)
    pixels = (share > 0).sum(1, keepdim=True).clamp_min(1)
    share = share * (COLOUR_WEIGHT / 2) / pixels  # half, since d ≤ (r² / d₀ + d₀) / 2 with equality at r = d₀
    system = target.new_zeros(len(target), COLOURS, SH_BANDS, COLOURS, SH_BANDS)
    for colour in range(COLOURS):
        lit = basis * seen[..., colour : colour + 1]
        system[:, colour, :, colour] = (lit * share).mT @ lit
    across = torch.eye(COLOURS).to(target) - 1 / COLOURS
    grey = GREY_WEIGHT / (COLOURS * SH_BANDS) * torch.einsum("cd,ij->cidj", across, torch.eye(SH_BANDS).to(target))
    size = COLOURS * SH_BANDS
    ridge = torch.diag(target.new_tensor(RIDGES * COLOURS))
    system = (system + grey).reshape(-1, size, size) + ridge
    right = torch.einsum("bpi,bpc,bpc->bci", basis, seen, wanted * share).reshape(-1, size)
    return torch.linalg.solve(system, right).reshape(-1, COLOURS, SH_BANDS).mT


def solve_tone(target: Tensor, albedo: Tensor, normals: Tensor, weight: Tensor) -> Tensor:
    """[B, 3]: the factor a colour that brings `albedo` under a white light nearest to `target`; arguments as above."""
    grey = [value.mean(-1, keepdim=True).expand_as(value) for value in (target, albedo)]
    shading = (sh_basis(normals).flatten(1, 2) @ solve_light(*grey, normals, weight)).reshape(target.shape)
    drawn = albedo * shading * weight
    return (drawn * target).flatten(1, 2).sum(1) / (drawn * albedo * shading).flatten(1, 2).sum(1).clamp_min(LEAST)
