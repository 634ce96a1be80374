"""Which pixels show skin, from their colour alone.

Source: Deep3DFaceRecon_pytorch, util/skin_mask.py: two mixtures of four Gaussians over (Y, Cb, Cr), one for skin, one
for everything else, and Bayes' rule.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SKIN_PRIOR = 0.8
LEVELS = 255
"""Upstream stores the mask as a byte picture."""

YCBCR = ((65.481, 128.553, 24.966), (-37.797, -74.203, 112.0), (112.0, -93.786, -18.214))
YCBCR_OFFSET = (16.0, 128.0, 128.0)
"""ITU-R BT.601 with head-room, for RGB in 0…1."""

SKIN = (
    (0.24063933, (113.71862, 103.39613, 164.08226), 5692842.5,
     (0.0019472069, 0.0020450759, -0.00060243998, 0.017700525, 0.0051420014, 0.0081308950)),
    (0.16365987, (150.19858, 105.18467, 155.51428), 5851930.5,
     (0.0027110141, 0.0011036990, 0.0023122299, 0.010707724, 0.010742856, 0.017481629)),
    (0.26034665, (183.92976, 107.62468, 152.71820), 2329131.0,
     (0.0048026871, 0.00022935172, 0.0077668377, 0.011729696, 0.0081661865, 0.025374353)),
    (0.33535415, (114.90524, 113.59782, 151.38217), 1585971.0,
     (0.0011989699, 0.0022453172, -0.0010748957, 0.047758564, 0.020332102, 0.024502251)),
)
OTHER = (
    (0.12791070, (99.200851, 112.07533, 140.20602), 458703648.0,
     (0.00085371657, 0.00071197288, 0.00023958916, 0.0025935620, 0.00076557708, 0.0015042332)),
    (0.31130761, (110.91392, 125.52969, 130.19237), 6466488.0,
     (0.00024650150, 0.00045542428, 0.00015019422, 0.026412144, 0.018419769, 0.037497383)),
    (0.34245777, (129.75864, 129.96107, 126.96808), 90611376.0,
     (0.00037054974, 0.00038146760, 0.00040408765, 0.0085505722, 0.0079136286, 0.010982352)),
    (0.21832393, (112.29587, 128.85121, 129.05431), 133097.63,
     (0.00013709733, 0.00051228428, 0.00012777430, 0.28237113, 0.10528370, 0.23468947)),
)
"""A component: weight; mean; determinant of its covariance; upper triangle of the covariance's inverse by rows."""


def skin_mask(pictures: Tensor) -> Tensor:
    """[B, 3, H, W] RGB 0…1 -> [B, 1, H, W] 0…1 in steps of 1/255, how likely each pixel is skin."""
    colour = torch.einsum("dc,bchw->bhwd", pictures.new_tensor(YCBCR, dtype=torch.float64), pictures.double())
    colour = colour + colour.new_tensor(YCBCR_OFFSET)
    skin, other = SKIN_PRIOR * _density(colour, SKIN), (1 - SKIN_PRIOR) * _density(colour, OTHER)
    likely = skin / (skin + other).clamp_min(torch.finfo(skin.dtype).tiny)
    return ((likely * LEVELS).round() / LEVELS)[:, None].to(pictures.dtype)


def _density(colour: Tensor, mixture: tuple) -> Tensor:
    """[..., 3] -> [...], the mixture's probability density."""
    total = torch.zeros_like(colour[..., 0])
    for weight, mean, determinant, (xx, xy, xz, yy, yz, zz) in mixture:
        inverse = colour.new_tensor([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        off = colour - colour.new_tensor(mean)
        distance = torch.einsum("...i,ij,...j->...", off, inverse, off)
        total = total + weight / math.sqrt((2 * math.pi) ** 3 * determinant) * (-distance / 2).exp()
    return total
