"""The terms of GANFit's cost, each [B], one number a frame, before its weight.

Source: Gecer et al. 2019, "GANFIT", section 3.3. Where the paper leaves open how a term is averaged, the reading that
makes its weights comparable was taken: pixels as a mean over colours 0…1, regularisation as a mean over coefficients,
landmarks as a sum of distances; one root over all of them lets faces of photographs drift off by a third.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

FRAME = 512
"""Pixels of the square in which the paper counts the distance of landmarks."""
LEAST = 1e-12
"""Under a root, where its slope would be infinite."""


def identity_term(embedding: Tensor, wanted: Tensor) -> Tensor:
    """1 − cosine of embeddings [B, D] of length 1."""
    return 1 - (embedding * wanted).sum(1)


def content_term(maps: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Σ over maps [B, C, h, w] of the length of their difference, divided by the number of values."""
    lengths = [_length(a - b) / a[0].numel() for a, b in zip(maps, wanted, strict=True)]
    return torch.stack(lengths).sum(0)


def pixel_term(colour: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """Mean of |colour − wanted| [B, 3, H, W] over the pixels that count, weight [B, 1, H, W]; 0 where none does."""
    off = (colour - wanted).abs().mean(1, keepdim=True) * weight
    return off.flatten(1).sum(1) / weight.flatten(1).sum(1).clamp_min(1)


def landmark_term(off: Tensor, side: int) -> Tensor:
    """Sum of the lengths of all offsets [B, 68, 2], given in pixels of a square of `side` pixels round the face."""
    return (off.square().sum(-1) + LEAST).sqrt().sum(1) * (FRAME / side)


def _length(values: Tensor) -> Tensor:
    return (values.flatten(1).square().sum(1) + LEAST).sqrt()
