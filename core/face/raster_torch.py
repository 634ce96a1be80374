"""The first backend of `core.face.raster`: which triangle wins each pixel, in plain PyTorch.

A triangle is cut into the pixel rows whose centres it spans, each row into the columns between the two edges that cross
it, so every candidate is a hit and none is tested twice; a scatter-min settles who is nearest. The spans are half-open
and two triangles compute the crossing of a shared edge from the same numbers in the same order, so a mesh has neither
holes nor doubly covered pixels along its edges. All frames go in one pass; loops only bound memory.

Source: the scanline half of this is textbook (Foley, van Dam et al. 1990, "Computer graphics", section 3.6), the flat
lists by `repeat_interleave` are ours.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

MIN_DEPTH = 1e-6
"""Depth at or below which a vertex counts as not in front of the camera; its triangles are dropped, not clipped."""
DEGENERATE = 8
"""A triangle whose doubled area is within this many roundings of zero has no usable barycentrics and is skipped."""


def winners(
    screen: Tensor, faces: Tensor, size: tuple[int, int], perspective: bool, cull: str | None, max_candidates: int
) -> Tensor:
    """[B, H, W] int64 numbers of the nearest triangles, -1 where there is none. No gradients."""
    height, width = size
    frames, count = screen.shape[0], len(faces)
    vertices = drawable(screen, perspective)
    nearest = screen.new_full((frames * height * width,), torch.inf)
    face = torch.full_like(nearest, count)  # floats: every device has their scatter-min; exact, see MAX_FACES
    for first in range(0, frames * count, max_candidates):
        number = torch.arange(first, min(first + max_candidates, frames * count), device=screen.device)
        number, top, rows, corners = _rows_spanned(number, vertices, faces, size, cull)
        for piece in _pieces(rows, max_candidates):
            owner, row = expand(rows[piece], top[piece])
            left, columns, ends = _columns_spanned(corners[:, piece].index_select(1, owner), row, width)
            owner = number[piece].index_select(0, owner)
            line = owner.div(count, rounding_mode="floor") * height + row
            for part in _pieces(columns, max_candidates):
                span, column = expand(columns[part], left[part])
                order = _order_at(ends[:, part].index_select(1, span), column)
                pixel = line[part].index_select(0, span) * width + column
                _keep_nearest(nearest, face, pixel, order, (owner[part] % count).index_select(0, span), count)
    return torch.where(face == count, -1, face).long().reshape(frames, height, width)


def drawn(screen: Tensor, faces: Tensor, perspective: bool, cull: str | None) -> Tensor:
    """[B, F] bool: the triangle can be drawn (finite, in front, with an area, not culled), in the picture or not."""
    vertices = drawable(screen, perspective)
    corners = vertices[:, faces.long()].permute(2, 3, 0, 1).flatten(0, 1)
    return _wanted(corners, cull)


def corner_rows(frame: Tensor, face: Tensor, faces: Tensor, vertices: int) -> Tensor:
    """[N, 3] rows of a flattened [B · vertices, …] that hold the corners of triangle `face` [N] of `frame` [N]."""
    return faces.long().index_select(0, face) + (frame * vertices)[:, None]


def drawable(screen: Tensor, perspective: bool) -> Tensor:
    """(x, y, order) [B, V, 3]: order is affine on the screen and grows with depth; y is NaN where undrawable."""
    x, y, depth = screen.unbind(-1)
    usable = torch.isfinite(screen).all(-1) & (depth > MIN_DEPTH)
    return torch.stack([x, torch.where(usable, y, torch.nan), -1 / depth if perspective else depth], dim=-1)


def first_centre(position: Tensor, length: int) -> Tensor:
    """The first pixel whose centre does not lie before `position`, 0…length (whole numbers as floats)."""
    return torch.ceil(position - 0.5).clamp(0, length)


def expand(counts: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """Each index i repeated counts[i] times, beside the running values first[i], first[i] + 1, …"""
    index = torch.repeat_interleave(counts)
    offset = first - counts.cumsum(0) + counts
    return index, torch.arange(len(index), device=index.device) + offset.index_select(0, index)


def _rows_spanned(
    number: Tensor, vertices: Tensor, faces: Tensor, size: tuple[int, int], cull: str | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Numbers (frame · F + face) of the triangles whose box holds a pixel centre, first row, number of rows, corners.

    A row belongs to a triangle when its centre line lies in the half-open interval from highest to lowest corner.
    The corners come as [9, N]: x, y, order of the highest, the middle and the lowest.
    """
    frame = number.div(len(faces), rounding_mode="floor")
    rows = corner_rows(frame, number - frame * len(faces), faces, vertices.shape[1])
    corners = vertices.flatten(0, 1).index_select(0, rows.reshape(-1)).reshape(-1, 9).t().contiguous()
    xs, ys = corners[0::3], corners[1::3]
    left, right = first_centre(xs.amin(0), size[1]), first_centre(xs.amax(0), size[1])
    top, bottom = first_centre(ys.amin(0), size[0]), first_centre(ys.amax(0), size[0])
    kept = ((left < right) & (top < bottom) & _wanted(corners, cull)).nonzero().squeeze(1)  # NaN compares false
    top = top.index_select(0, kept)
    rows = bottom.index_select(0, kept) - top
    return number.index_select(0, kept), top.long(), rows.long(), _sorted_downwards(corners.index_select(1, kept))


def _wanted(corners: Tensor, cull: str | None) -> Tensor:
    """[N] bool: the triangle has an area beyond rounding, and is not culled."""
    xa, ya, _, xb, yb, _, xc, yc, _ = corners
    one, other = (xb - xa) * (yc - ya), (yb - ya) * (xc - xa)
    turn = one - other  # negative where the corners run counter-clockwise for the eye, since y points down
    wanted = turn.abs() > DEGENERATE * torch.finfo(turn.dtype).eps * torch.maximum(one.abs(), other.abs())
    return wanted if cull is None else wanted & (turn < 0 if cull == "back" else turn > 0)


def _sorted_downwards(corners: Tensor) -> Tensor:
    """[9, N] with the corners ordered by y, so that triangles that share an edge see it from the same end."""
    a, b, c = corners.split(3)
    a, b = _by_y(a, b)
    b, c = _by_y(b, c)
    a, b = _by_y(a, b)
    return torch.cat([a, b, c])


def _by_y(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    swapped = one[1] > other[1]
    return torch.where(swapped, other, one), torch.where(swapped, one, other)


def _columns_spanned(corners: Tensor, row: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """The first column of each row's span, how many columns, and the span's ends [4, N]: x, order, x, order."""
    high, middle, low = corners.split(3)
    y = row + 0.5
    upper = y < middle[1]
    one = _crossing(high, low, y)
    other = _crossing(torch.where(upper, high, middle), torch.where(upper, middle, low), y)
    left = first_centre(torch.minimum(one[0], other[0]), width)
    right = first_centre(torch.maximum(one[0], other[0]), width)
    return left.long(), (right - left).long(), torch.cat([one, other])


def _crossing(high: Tensor, low: Tensor, y: Tensor) -> Tensor:
    """[2, N]: x and order where the edge from `high` to `low` crosses the line at `y`."""
    share = (y - high[1]) / (low[1] - high[1])
    return torch.stack([high[0] + share * (low[0] - high[0]), high[2] + share * (low[2] - high[2])])


def _order_at(ends: Tensor, column: Tensor) -> Tensor:
    """The order at a pixel centre between the two ends of its span, never beyond either."""
    share = ((column + 0.5 - ends[0]) / (ends[2] - ends[0])).clamp(0, 1)
    return ends[1] + share * (ends[3] - ends[1])


def _keep_nearest(nearest: Tensor, face: Tensor, pixel: Tensor, order: Tensor, number: Tensor, none: int) -> None:
    """Settles candidates against what pixels saw so far, the lowest number among equals. Changes its two buffers."""
    before = nearest.index_select(0, pixel)
    nearest.scatter_reduce_(0, pixel, order, "amin")
    now = nearest.index_select(0, pixel)
    face.scatter_(0, pixel, face.index_select(0, pixel).masked_fill_(now < before, none))
    face.scatter_reduce_(0, pixel, number.to(face.dtype).masked_fill_(order > now, none), "amin")


def _pieces(counts: Tensor, limit: int) -> Iterator[slice]:
    """Slices of `counts` whose sums exceed `limit` by less than one count each."""
    ends = counts.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    if total <= limit:
        if total:
            yield slice(0, len(ends))
        return
    steps = torch.arange(limit, total + limit, limit, device=counts.device)
    cuts = torch.searchsorted(ends, steps).add_(1).clamp_(max=len(ends)).tolist()
    start = 0
    for cut in cuts:
        if cut > start:
            yield slice(start, cut)
            start = cut
