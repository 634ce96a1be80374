"""Landmarks drawn onto pictures, for people to look at."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..types import Landmarks, common_batch

COLOUR = (0.1, 1.0, 0.45)
"""RGB; stands out from skin of every tone."""
OUTLINE = (0.0, 0.0, 0.0)
OUTLINE_WIDTH = 0.8
"""Pixels."""
RADII = {5: 0.05, 68: 0.016, 478: 0.005}
"""Radius of a point by markup, as a share of the face's extent: dense markups get small points."""
SMALLEST_RADIUS = 1.0
"""Pixels; smaller points would vanish."""


def draw(pictures: Tensor, landmarks: Landmarks) -> Tensor:
    """Pictures [B, 3, H, W] -> copies with a dot on every point; frames without a face stay as they are.

    A batch of 1 goes with a batch of N.
    """
    frames = common_batch(pictures=len(pictures), landmarks=len(landmarks))
    drawn = pictures.expand(frames, -1, -1, -1).clone()
    for index, points in enumerate(landmarks.points.expand(frames, -1, -1)):
        if torch.isfinite(points).all():
            drawn[index] = _dots(drawn[index], points.to(drawn.device, torch.float32))
    return drawn


def _dots(picture: Tensor, points: Tensor) -> Tensor:
    """One picture [3, H, W] with soft-edged discs at [N, 2] on dark rims."""
    extent = (points.amax(0) - points.amin(0)).amax().item()
    radius = max(RADII[len(points)] * extent, SMALLEST_RADIUS)
    for colour, reach in ((OUTLINE, radius + OUTLINE_WIDTH), (COLOUR, radius)):
        cover = _coverage(points, reach, picture.shape[-2:])
        picture = picture + (picture.new_tensor(colour)[:, None, None] - picture) * cover
    return picture


def _coverage(points: Tensor, radius: float, size: torch.Size) -> Tensor:
    """[H, W] 0…1: how much of each pixel lies in a disc; looks only at the pixels around each point."""
    reach = torch.arange(-math.ceil(radius) - 1, math.ceil(radius) + 2, device=points.device)
    dy, dx = torch.meshgrid(reach, reach, indexing="ij")
    column = points[:, :1].floor().long() + dx.flatten()
    row = points[:, 1:].floor().long() + dy.flatten()
    distance = torch.hypot(column + 0.5 - points[:, :1], row + 0.5 - points[:, 1:])
    inside = (column >= 0) & (column < size[1]) & (row >= 0) & (row < size[0])
    cover = torch.zeros(size[0] * size[1], device=points.device)
    cover.scatter_reduce_(
        0, (row * size[1] + column)[inside], (radius + 0.5 - distance).clamp(0, 1)[inside], "amax", include_self=True
    )
    return cover.view(size)
