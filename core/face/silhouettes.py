"""Smooth silhouettes with gradients: a pixel on an outline is blended by where the outline passes through it.

The rasteriser looks at pixel centres, so an outline that moves by a tenth of a pixel changes nothing, and a fit would
not feel it. Here each outline edge is followed through the picture. Where it crosses the line between two neighbouring
pixel centres, the crossing says how much of the pixel that it passes through belongs to the other one's surface.

Source: the blending rule is that of Laine et al. 2020, "Modular primitives for high-performance differentiable
rendering", section 3.5. Ours differs in that outline edges come from the whole mesh, not from the triangles that won a
pixel (most triangles of a face are smaller than a pixel), and that a pixel blends in the direction in which more of it
is covered, so that slanted outlines do not count twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from .raster import Fragments
from .raster_torch import drawable, expand, first_centre


@dataclass(frozen=True, eq=False)
class Edges:
    """The E edges of a mesh, each once.

    ends: [E, 2] int64 vertex numbers. opposite: [E, K] int64, the third corners of the triangles that meet at the edge,
    K the most that meet at any; rows are filled up with their first entry.
    """

    ends: Tensor
    opposite: Tensor


def mesh_edges(faces: Tensor) -> Edges:
    """[F, 3] -> the edges. Vertices doubled along a seam make it a border, so pass faces over welded vertices."""
    faces = faces.long()
    ends = torch.cat([faces[:, [1, 2]], faces[:, [2, 0]], faces[:, [0, 1]]]).sort(dim=1).values
    opposite = faces.t().reshape(-1)
    if not len(faces):
        return Edges(ends, opposite[:, None])
    key, order = (ends[:, 0] * (faces.max() + 1) + ends[:, 1]).sort(stable=True)
    group, counts = torch.unique_consecutive(key, return_inverse=True, return_counts=True)[1:]
    first = counts.cumsum(0) - counts
    place = torch.arange(len(key), device=faces.device) - first[group]
    ends, opposite = ends[order], opposite[order]
    table = opposite[first][:, None].repeat(1, int(counts.max()))
    table[group, place] = opposite
    return Edges(ends[first], table)


def antialias(image: Tensor, fragments: Fragments, screen: Tensor, faces: Tensor, edges: Edges | None = None) -> Tensor:
    """`image` with its silhouettes blended, [B, H, W, C]; gradients reach `image` and the outline's ends in `screen`.

    image: [B, H, W, C], what `interpolate` made of `fragments` (any number of channels; a channel of ones where covered
    becomes the coverage). screen, faces: what `rasterise` was given. edges: `mesh_edges(faces)`, to save finding them
    anew for every picture.

    Pixels at the picture's border are blended with those inside only. What is narrower than a pixel stays ragged.
    """
    edges = mesh_edges(faces) if edges is None else edges
    pixels = fragments.face.numel()
    blends = [_blends(fragments, screen, edges, axis) for axis in (0, 1)]
    across, down = (share.new_zeros(pixels).index_add(0, target, share).detach() for target, _, share in blends)
    flat = result = image.flatten(0, 2)
    for (target, source, share), chosen in zip(blends, (across >= down, across < down), strict=True):
        share = (share * chosen.index_select(0, target))[:, None].to(image.dtype)
        change = share * (flat.index_select(0, source) - flat.index_select(0, target))
        result = result.index_add(0, target, change)
    return result.reshape(image.shape)


def _blends(fragments: Fragments, screen: Tensor, edges: Edges, axis: int) -> tuple[Tensor, Tensor, Tensor]:
    """Flat pixels to blend, the neighbours they take from, and the share they take, 0…½ (with gradients), [N] each.

    axis 0: neighbours in a row and the edges that cross it; axis 1: neighbours in a column, with x and y exchanged.
    """
    if axis == 1:
        screen = screen[..., [1, 0, 2]]
    with torch.no_grad():
        ends, before_inside, line, before, inner, outer = _shown_crossings(fragments, screen.detach(), edges, axis)
    one, other = screen.flatten(0, 1).index_select(0, ends.reshape(-1)).unflatten(0, (-1, 2)).unbind(1)
    past = _along(one, other, line)[0] - 0.5 - before
    excess = torch.where(before_inside, past, 1 - past) - 0.5
    reaches_out = excess > 0
    target, source = torch.where(reaches_out, outer, inner), torch.where(reaches_out, inner, outer)
    return target, source, excess.abs()


def _shown_crossings(fragments: Fragments, screen: Tensor, edges: Edges, axis: int) -> tuple[Tensor, ...]:
    """Where an outline that is not hidden crosses the line between two neighbouring pixel centres; the nearest of each.

    Rows of its ends [N, 2] in the flattened screen; whether the surface is on the side of the pixel before the
    crossing; the line's number; the place of the pixel before; the flat pixels inside and outside.
    """
    height, width = fragments.face.shape[1:]
    lines, length = (height, width) if axis == 0 else (width, height)
    line_stride, stride = (width, 1) if axis == 0 else (1, width)

    frame, ends, before_inside = _outline(screen, edges)
    one, other = (screen[frame, ends[:, k]] for k in (0, 1))
    top = first_centre(one[:, 1], lines).long()
    owner, line = expand(first_centre(other[:, 1], lines).long() - top, top)
    position, depth = _along(one[owner], other[owner], line, fragments.perspective)
    before = torch.floor(position - 0.5)
    kept = ((before >= 0) & (before < length - 1)).nonzero().squeeze(1)
    owner, line, before, depth = owner[kept], line[kept], before[kept], depth[kept]
    frame, ends, before_inside = frame[owner], ends[owner], before_inside[owner]

    pair = frame * height * width + line * line_stride + before.long() * stride
    inner, outer = torch.where(before_inside, pair, pair + stride), torch.where(before_inside, pair + stride, pair)
    seen = fragments.depth.detach().reshape(-1)
    shown = (depth < seen[outer]) & (seen[inner] < seen[outer])
    kept = _nearest_of_each(pair, depth.masked_fill(~shown, torch.inf), len(seen))
    ends = ends + (frame * screen.shape[1])[:, None]
    return tuple(t[kept] for t in (ends, before_inside, line, before, inner, outer))


def _outline(screen: Tensor, edges: Edges) -> tuple[Tensor, Tensor, Tensor]:
    """Edges whose triangles all lie on one side: frame [N], ends [N, 2] from high to low, whether that side is left."""
    x, y, _ = drawable(screen, perspective=False).unbind(-1)
    first, second = edges.ends.unbind(1)
    ax, ay = x.index_select(1, first), y.index_select(1, first)
    dx, dy = x.index_select(1, second) - ax, y.index_select(1, second) - ay
    thirds = edges.opposite.unbind(1)
    turns = [dx * (y.index_select(1, third) - ay) - dy * (x.index_select(1, third) - ax) for third in thirds]
    least, most = reduce(torch.minimum, turns), reduce(torch.maximum, turns)  # 0 for a triangle seen edge-on: no say
    frame, number = (((least >= 0) & (most > 0)) | ((least < 0) & (most <= 0))).nonzero().unbind(1)  # NaN: false
    rises = dy[frame, number] < 0
    ends = edges.ends[number]
    return frame, torch.where(rises[:, None], ends.flip(1), ends), (most[frame, number] > 0) != rises


def _along(one: Tensor, other: Tensor, line: Tensor, perspective: bool = False) -> tuple[Tensor, Tensor]:
    """Where the edges from `one` to `other` [N, 3] cross the centre of a line: x and depth, [N] each."""
    share = (line + 0.5 - one[:, 1]) / (other[:, 1] - one[:, 1])
    x = one[:, 0] + share * (other[:, 0] - one[:, 0])
    if perspective:
        return x, 1 / (1 / one[:, 2] + share * (1 / other[:, 2] - 1 / one[:, 2]))
    return x, one[:, 2] + share * (other[:, 2] - one[:, 2])


def _nearest_of_each(pair: Tensor, depth: Tensor, pairs: int) -> Tensor:
    """Indices of the candidates that are the nearest of their pair, the first among equals; none at depth inf."""
    nearest = depth.new_full((pairs,), torch.inf).scatter_reduce_(0, pair, depth, "amin")
    number = torch.arange(len(pair), device=pair.device, dtype=depth.dtype)
    number = number.masked_fill((depth > nearest[pair]) | torch.isinf(depth), torch.inf)
    first = torch.full_like(nearest, torch.inf).scatter_reduce_(0, pair, number, "amin")
    return ((number == first[pair]) & torch.isfinite(number)).nonzero().squeeze(1)
