"""Affine resampling of pictures, in the filters that the published crops use.

    bilinear            four nearest pixels, black outside; shrinking aliases (cv2.warpAffine, scikit-image's warp)
    antialiased mirror  bilinear, averaged over as many samples as shrinking needs, the picture mirrored outside
    antialiased edge    the same with the border's colour outside
    bicubic, lanczos    Pillow's resize and crop, separable and antialiased, black outside; for upright matrices only

Coordinates are continuous as in `core.types`. All are differentiable in the picture; matrices carry no gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Filter = Literal["bilinear", "antialiased mirror", "antialiased edge", "bicubic", "lanczos"]

OUTSIDE = {"bilinear": "zeros", "antialiased mirror": "reflection", "antialiased edge": "border"}
"""`grid_sample`'s name for what lies outside the picture."""
MOST_SAMPLES = 16
"""Samples along an axis of one pixel at most; beyond it, shrinking further aliases a little rather than fill memory."""
CUBIC = -0.5
"""Coefficient of the cubic kernel (Keys 1981; Pillow, Resample.c)."""


def warp(pictures: Tensor, matrices: Tensor, size: tuple[int, int], filter: Filter) -> Tensor:
    """Pictures [B or 1, C, H, W] and matrices [B or 1, 3, 3], old pixels -> new, give [B, C, h, w]; size: (h, w)."""
    frames = max(len(pictures), len(matrices)) if len(pictures) and len(matrices) else 0
    pictures = pictures.expand(frames, -1, -1, -1) if len(pictures) == 1 else pictures[:frames]
    matrices = matrices.detach().to("cpu", torch.float64).expand(frames, -1, -1)
    if not frames:
        return pictures.new_zeros(0, pictures.shape[1], *size)
    if filter in KERNELS:
        return _separable(pictures, matrices, size, *KERNELS[filter])
    inverse = torch.linalg.inv(matrices)
    samples = 1 if filter == "bilinear" else _samples(inverse)
    grid = _grid(inverse, size, tuple(pictures.shape[-2:]), samples).to(pictures)
    fine = functional.grid_sample(pictures, grid, mode="bilinear", padding_mode=OUTSIDE[filter], align_corners=False)
    return functional.avg_pool2d(fine, samples) if samples > 1 else fine


def _samples(inverse: Tensor) -> int:
    """Samples along each axis of a new pixel, so that neighbouring samples lie at most one old pixel apart."""
    longest = inverse[:, :2, :2].norm(dim=1).max().item()
    return min(max(math.ceil(longest - 1e-6), 1), MOST_SAMPLES)


def _grid(inverse: Tensor, size: tuple[int, int], old: tuple[int, int], samples: int) -> Tensor:
    """[B, h · samples, w · samples, 2] float64, for `grid_sample` with align_corners False."""
    rows, columns = ((torch.arange(count * samples, dtype=torch.float64) + 0.5) / samples for count in size)
    linear, shift = inverse[:, :2, :2], inverse[:, :2, 2]
    across = columns[None, None, :, None] * linear[:, None, None, :, 0]
    down = rows[None, :, None, None] * linear[:, None, None, :, 1]
    place = across + down + shift[:, None, None]
    return place * place.new_tensor([2 / old[1], 2 / old[0]]) - 1


def _separable(
    pictures: Tensor, matrices: Tensor, size: tuple[int, int], kernel: Callable[[Tensor], Tensor], support: float
) -> Tensor:
    """Columns first, then rows, kept within 0…1 after each as Pillow's bytes are."""
    height, width = pictures.shape[-2:]
    across = _weights(matrices[:, 0, 0], matrices[:, 0, 2], size[1], width, kernel, support).to(pictures)
    down = _weights(matrices[:, 1, 1], matrices[:, 1, 2], size[0], height, kernel, support).to(pictures)
    columns, rows = (weights.abs().sum((0, 1)).nonzero()[:, 0].tolist() for weights in (across, down))
    if not columns or not rows:
        return pictures.new_zeros(len(pictures), pictures.shape[1], *size)
    x, y = slice(columns[0], columns[-1] + 1), slice(rows[0], rows[-1] + 1)
    narrow = (pictures[..., y, x] @ across[:, None, :, x].mT).clamp(0, 1)
    return (down[:, None, :, y] @ narrow).clamp(0, 1)


def _weights(
    scale: Tensor, shift: Tensor, new: int, old: int, kernel: Callable[[Tensor], Tensor], support: float
) -> Tensor:
    """[B, new, old] float64: each new pixel's weights over the old ones; rows of zeros where it lies outside.

    Source: Pillow, Resample.c, `precompute_coeffs`: the kernel widens by the factor of shrinking, is cut where the old
    picture ends, and is normalised.
    """
    centre = (torch.arange(new, dtype=torch.float64)[None] + 0.5 - shift[:, None]) / scale[:, None]
    widening = (1 / scale).clamp(min=1)[:, None]
    first = (centre - support * widening + 0.5).floor()[..., None]
    last = (centre + support * widening + 0.5).floor()[..., None]
    pixel = torch.arange(old, dtype=torch.float64)
    weights = kernel((pixel + 0.5 - centre[..., None]) / widening[..., None])
    weights = weights * ((pixel >= first) & (pixel < last))
    weights = weights / weights.sum(-1, keepdim=True).clamp(min=1e-12)
    return weights * ((centre >= 0) & (centre < old))[..., None]


def _cubic(x: Tensor) -> Tensor:
    x = x.abs()
    near = ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * CUBIC
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def _lanczos(x: Tensor) -> Tensor:
    return torch.where(x.abs() < 3, torch.sinc(x) * torch.sinc(x / 3), torch.zeros_like(x))


KERNELS: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {"bicubic": (_cubic, 2.0), "lanczos": (_lanczos, 3.0)}
"""Kernel and its reach in pixels."""
