"""The rasteriser once more as a loop over pixels and triangles, slow and right by inspection; a twin for tests."""

from __future__ import annotations

import torch
from torch import Tensor


def plain_rasterise(screen: Tensor, faces: Tensor, size: tuple[int, int], perspective: bool = True) -> tuple:
    """[V, 3], [F, 3] -> face [H, W], barycentrics [H, W, 3], depth [H, W] (-1, 0 and inf where nothing is)."""
    face = torch.full(size, -1)
    weights = torch.zeros(*size, 3, dtype=screen.dtype)
    nearest = torch.full(size, torch.inf, dtype=screen.dtype)
    triangles = screen[faces].tolist()
    for row in range(size[0]):
        for column in range(size[1]):
            for number, corners in enumerate(triangles):
                inside = barycentrics(corners, column + 0.5, row + 0.5)
                if inside is None:
                    continue
                if perspective:
                    shares = [w / corner[2] for w, corner in zip(inside, corners, strict=True)]
                    inside = [share / sum(shares) for share in shares]
                depth = sum(w * corner[2] for w, corner in zip(inside, corners, strict=True))
                if depth < nearest[row, column]:
                    face[row, column], nearest[row, column] = number, depth
                    weights[row, column] = torch.tensor(inside, dtype=screen.dtype)
    return face, weights, nearest


def barycentrics(corners: list, x: float, y: float) -> list | None:
    """Shares of the triangle's area opposite each corner, or None outside."""
    (ax, ay, _), (bx, by, _), (cx, cy, _) = corners
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    if area == 0:
        return None
    first = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area
    second = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area
    inside = [first, second, 1 - first - second]
    return inside if min(inside) >= 0 else None
