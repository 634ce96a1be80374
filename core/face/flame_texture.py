"""Albedo for FLAME from a texture space: a mean UV map and its principal components.

Source: DECA, models/FLAME.py (class FLAMETex). Two files exist: FLAME_texture.npz (fields `mean`, `tex_dir`, 0…255) and
FLAME_albedo_from_BFM.npz (`MU`, `PC`, 0…1). Both hold 512 × 512 pixels, blue first.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .basis import Directions
from .surface import Surface

STORED_SIZE, SIZE = 512, 256
COMPONENTS = 50
"""Components that are kept, as many as DECA's encoder predicts."""


class FlameTexture(nn.Module):
    """albedo codes [B, K] -> maps [B, 3, 256, 256] RGB, about 0…1, row 0 at the top (v = 1), not clamped.

    DECA shrinks the finished map by dropping every other row and column; that is linear, so it is done here once.
    """

    def __init__(self, mean: Tensor, directions: Tensor) -> None:
        """mean: [3, 256, 256]. directions: [K, 3, 256, 256]."""
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("directions", directions)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], components: int = COMPONENTS) -> FlameTexture:
        """From either file's arrays, with the first `components` of its directions."""
        mean, directions, unit = (
            (tensors["MU"], tensors["PC"], 1.0) if "MU" in tensors else (tensors["mean"], tensors["tex_dir"], 255.0)
        )
        pixels = STORED_SIZE * STORED_SIZE * 3
        mean = mean.reshape(1, pixels)
        directions = directions.reshape(pixels, -1)[:, :components].T
        return cls(_shrunk(mean)[0] / unit, _shrunk(directions) / unit)

    def __len__(self) -> int:
        return self.directions.shape[0]

    def forward(self, albedo: Tensor) -> Tensor:
        return self.mean + torch.einsum("bk,kchw->bchw", albedo, self.directions)

    def at_vertices(self, surface: Surface) -> tuple[Tensor, Directions]:
        """The same space over V vertices, each read at the pixel of its texture coordinate: mean [V, 3], directions."""
        uv = torch.zeros_like(surface.colours[:, :2])
        uv[surface.faces.flatten()] = surface.uv[surface.uv_faces.flatten()]
        column = (uv[:, 0] * SIZE).long().clamp(0, SIZE - 1)
        row = ((1 - uv[:, 1]) * SIZE).long().clamp(0, SIZE - 1)
        return self.mean[:, row, column].T.contiguous(), Directions(self.directions[:, :, row, column].mT)


def _shrunk(flat: Tensor) -> Tensor:
    """[K, 512 · 512 · 3] blue first, 0…255 or 0…1 -> [K, 3, 256, 256] red first."""
    maps = flat.float().view(-1, STORED_SIZE, STORED_SIZE, 3)[:, :: STORED_SIZE // SIZE, :: STORED_SIZE // SIZE]
    return maps.permute(0, 3, 1, 2).flip(1).contiguous()
