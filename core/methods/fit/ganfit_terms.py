"""The terms of GANFit's cost, each [B], one number a frame, before its weight.

Source: Gecer et al. 2019, "GANFIT", section 3.3. The paper leaves open how terms are averaged, so the reading was taken
that makes its weights comparable: colours as a sum over −1…1 (with the mean over 0…1, a sixth of it, the recogniser
repaints toon faces as it likes), landmarks as a sum of distances (with one root over all of them, faces of photographs
drift off by half), regularisation as a mean over coefficients.
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
    """Mean over the pixels that count of Σ |colour − wanted| [B, 3, H, W], both on −1…1 as the recogniser sees them.

    weight: [B, 1, H, W] 0…1. 0 where no pixel counts.
    """
    off = 2 * (colour - wanted).abs().sum(1, keepdim=True) * weight
    return off.flatten(1).sum(1) / weight.flatten(1).sum(1).clamp_min(1)


def landmark_term(off: Tensor, side: int) -> Tensor:
    """Sum of the lengths of all offsets [B, 68, 2], given in pixels of a square of `side` pixels round the face."""
    return (off.square().sum(-1) + LEAST).sqrt().sum(1) * (FRAME / side)


def _length(values: Tensor) -> Tensor:
    return (values.flatten(1).square().sum(1) + LEAST).sqrt()
