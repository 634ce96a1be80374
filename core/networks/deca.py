"""DECA's three networks: a picture to FLAME's coefficients, a picture to wrinkles, wrinkles to a displacement map.

Source: Feng et al. 2021, "Learning an animatable detailed 3D face model from in-the-wild images"; YadiraF/DECA,
decalib/models/encoders.py and decoders.py. deca_model.tar holds `E_flame`, `E_detail`, `D_detail`.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from .recover import load_strictly
from .resnet import ResNet

PARTS = ("E_flame", "E_detail", "D_detail")
PICTURE = 224
"""Pixels; the encoders' pooling window of 7 means this size and no other."""
HIDDEN = 1024
START = 8
"""Side of the decoder's first map; five doublings make 256."""
DECODER_WIDTHS = (128, 128, 64, 64, 32, 16)
"""Channels at 8, 16 … 256 pixels."""
NORM_EPSILON = 0.8
"""Upstream passes 0.8 as BatchNorm2d's second argument, which is the epsilon (meant as momentum, it seems)."""
SLOPE = 0.2
DEPTH = 0.01
"""Metres that a displacement of 1 stands for (deca.py, D_detail.out_scale)."""


class Encoder(nn.Module):
    """[B, 3, 224, 224] RGB 0…1, not normalised -> [B, outputs]."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.encoder = ResNet()
        self.layers = nn.Sequential(nn.Linear(self.encoder.channels, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, outputs))

    def features(self, pictures: Tensor) -> Tensor:
        """[B, 2048], pooled."""
        if pictures.shape[1:] != (3, PICTURE, PICTURE):
            raise UserError(
                f"DECA looks at pictures of {PICTURE} × {PICTURE} pixels in three colours; got "
                f"{' × '.join(map(str, pictures.shape[1:]))}. Crop the face with the DECA alignment."
            )
        return self.encoder(pictures).mean((2, 3))

    def forward(self, pictures: Tensor) -> Tensor:
        return self.layers(self.features(pictures))


class DetailDecoder(nn.Module):
    """[B, latent]: jaw pose 3, expression, detail -> displacement [B, 1, 256, 256] along the normal, metres."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        first = DECODER_WIDTHS[0]
        self.l1 = nn.Sequential(nn.Linear(latent, first * START * START))
        blocks: list[nn.Module] = [nn.BatchNorm2d(first)]
        for inputs, outputs in pairwise(DECODER_WIDTHS):
            blocks += [
                nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
                nn.Conv2d(inputs, outputs, 3, 1, 1),
                nn.BatchNorm2d(outputs, NORM_EPSILON),
                nn.LeakyReLU(SLOPE),
            ]
        self.conv_blocks = nn.Sequential(*blocks, nn.Conv2d(DECODER_WIDTHS[-1], 1, 3, 1, 1), nn.Tanh())

    def forward(self, latent: Tensor) -> Tensor:
        maps = self.l1(latent).unflatten(1, (DECODER_WIDTHS[0], START, START))
        return self.conv_blocks(maps) * DEPTH


class Deca(nn.Module):
    """The three networks under the authors' names."""

    def __init__(self, coefficients: int, detail: int, latent: int) -> None:
        """coefficients, detail: outputs of the encoders, 236 and 128. latent: inputs of the decoder, 181."""
        super().__init__()
        self.E_flame = Encoder(coefficients)
        self.E_detail = Encoder(detail)
        self.D_detail = DetailDecoder(latent)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, 224, 224] RGB 0…1 -> coefficients [B, 236], detail [B, 128]."""
        return self.E_flame(pictures), self.E_detail(pictures)

    def describe(self) -> str:
        """One line: what was recognised."""
        return (
            f"DECA: pictures of {PICTURE} × {PICTURE} to {self.E_flame.layers[2].out_features} coefficients and "
            f"{self.E_detail.layers[2].out_features} of detail"
        )

    def displacement(self, jaw: Tensor, expression: Tensor, detail: Tensor) -> Tensor:
        """[B, 3] axis-angle, [B, 50], [B, 128] -> [B, 1, 256, 256] metres along the normal."""
        return self.D_detail(torch.cat([jaw, expression, detail], 1))


def matches(tensors: Mapping[str, Tensor]) -> bool:
    """The keys of deca_model.tar, which may hold an optimiser's beside them."""
    return all(f"{part}.{key}" in tensors for part, key in zip(PARTS, ("layers.2.bias", "layers.2.bias", "l1.0.weight"),
                                                               strict=True))  # fmt: skip


def from_tensors(tensors: Mapping[str, Tensor], init: Mapping[str, Any] | None = None) -> Deca:
    """Sizes are read off the shapes; strict, unlike upstream, whose loader skips what does not fit."""
    own = {key: tensor for key, tensor in tensors.items() if key.split(".")[0] in PARTS}
    coefficients, detail = (tensors[f"{part}.layers.2.bias"].shape[0] for part in PARTS[:2])
    latent = tensors["D_detail.l1.0.weight"].shape[1]
    return load_strictly(lambda: Deca(coefficients, detail, latent), own, "DECA model")
