"""Between a mesh and its texture: which triangle every texel belongs to, and values of vertices as maps.

Row 0 of a map is at v = 1, the top; texel (row i, column j) of S has its centre at u = (j + 0.5) / S.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from .model import FaceModel
from .raster import Fragments, interpolate, rasterise

GUTTER = 4
"""Texels that islands grow beyond their border, so that interpolation finds no empty texel there."""


def texels(model: FaceModel, size: tuple[int, int]) -> Fragments:
    """The triangle of `model` at every texel of maps of `size` (H, W), one frame; none between the islands.

    `interpolate(texels, values, model.faces)` spreads values of vertices over the map.
    """
    height, width = size
    flat = torch.stack([model.uv[:, 0] * width, (1 - model.uv[:, 1]) * height, torch.ones_like(model.uv[:, 0])], 1)
    return rasterise(flat[None], model.uv_faces, size, perspective=False)


def albedo_maps(model: FaceModel, albedo: Tensor, size: tuple[int, int], places: Fragments | None = None) -> Tensor:
    """[B, K_alb] -> [B, 3, H, W], the model's own albedo as maps, not clamped. places: of `texels`, found here if None.

    Linear in the coefficients and differentiable.
    """
    places = texels(model, size) if places is None else places
    colours = model.vertex_albedo(albedo)
    wide = colours.permute(1, 0, 2).flatten(1)[None]  # [1, V, B · 3]: one look-up for all
    maps = interpolate(places, wide, model.faces)[0].unflatten(2, (len(albedo), 3)).permute(2, 3, 0, 1)
    return with_gutter(maps, places.covered[:, None])


def with_gutter(maps: Tensor, covered: Tensor) -> Tensor:
    """[B, C, H, W] whose empty texels next to filled ones take the mean of those, GUTTER times; others the mean of all.

    covered: [1 or B, 1, H, W] bool, the filled ones.
    """
    known = covered.to(maps.dtype)
    whole = (maps * known).sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True).clamp_min(1)
    maps = maps * known
    for _ in range(GUTTER):
        around = functional.avg_pool2d(known, 3, 1, 1)
        grown = functional.avg_pool2d(maps, 3, 1, 1) / around.clamp_min(torch.finfo(around.dtype).eps)
        maps = torch.where(known > 0, maps, torch.where(around > 0, grown, 0.0))
        known = ((known > 0) | (around > 0)).to(known.dtype)
    return torch.where(known > 0, maps, whole)
