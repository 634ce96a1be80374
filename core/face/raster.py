"""Which triangle each pixel sees, in plain PyTorch: one pass over all frames and triangles, no compiler, no loop.

A backend finds the winners (`raster_torch`, `raster_pytorch3d`); barycentrics and depth are recomputed here, at the
winners only, where gradients flow. `interpolate` carries anything that belongs to vertices to the pixels.

Screen space is (x, y) in pixels of `core.types` (pixel centres at +0.5, y down) and depth, positive and growing away
from the viewer (`core.face.camera.project`).

Source: interpolation that is right in perspective, Heckbert & Moreton 1991, "Interpolation for polygon texture mapping
and shading". What the edges of a mesh cover of a pixel is in `core.face.silhouettes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..errors import UserError
from . import raster_torch
from .raster_torch import corner_rows

MAX_CANDIDATES = 1 << 22
"""Most triangles, rows or pixels in work at once; measured: 0.75 GB of intermediates in float32."""
MAX_FACES = 1 << 24
"""Triangles of one mesh; whole numbers are exact in float32 up to here."""
CULLING = (None, "back", "front")
BACKENDS = ("torch", "pytorch3d")


@dataclass(frozen=True, eq=False)
class Fragments:
    """What every pixel of B frames sees.

    face: [B, H, W] int64, the nearest triangle's number, -1 where there is none.
    barycentrics: [B, H, W, 3], weights of its corners in model space (in screen space where `perspective` was off), 0
    where there is none. depth: [B, H, W], in the unit of the screen's depth, inf where there is none.
    """

    face: Tensor
    barycentrics: Tensor
    depth: Tensor
    perspective: bool = True

    @property
    def covered(self) -> Tensor:
        """[B, H, W] bool: the pixel sees a triangle."""
        return self.face >= 0


def rasterise(
    screen: Tensor,
    faces: Tensor,
    size: tuple[int, int],
    *,
    perspective: bool = True,
    cull: Literal["back", "front"] | None = None,
    max_candidates: int = MAX_CANDIDATES,
    backend: str = "torch",
) -> Fragments:
    """The nearest triangle at every pixel centre, its barycentrics and depth.

    screen: [B, V, 3] float32 or float64 (x px, y px, depth > 0). faces: [F, 3] integer. size: (H, W). Gradients reach
    `screen` through barycentrics and depth; which triangle wins has none (`silhouettes.antialias` gives edges theirs).

    perspective: barycentrics are affine in model space when True, in screen space when False (weak perspective).
    cull: 'back' drops triangles whose corners run clockwise in the picture, 'front' the others.
    max_candidates: bounds memory; more candidates are worked on in turn, with the same result.
    backend: 'torch', or 'pytorch3d' where that is installed (slower on a CPU; for comparison).

    Dropped: triangles with a corner that is not finite or at depth <= `raster_torch.MIN_DEPTH`, and those without area.
    Of triangles at the same depth the lowest number wins. B = 0, F = 0 and V = 0 give empty pictures.
    """
    _check(screen, faces, size, cull, backend)
    winners = raster_torch.winners
    if backend == "pytorch3d":
        from .raster_pytorch3d import winners
    with torch.no_grad():
        face = winners(screen.detach(), faces, size, perspective, cull, max(1, max_candidates))
    return _fragments(face, screen, faces, perspective)


def interpolate(fragments: Fragments, attributes: Tensor, faces: Tensor) -> Tensor:
    """`attributes` at every pixel, [B, H, W, C]; 0 where there is no triangle.

    attributes: [B or 1, V, C]. faces: [F, 3], rows of `attributes` for the corners of each triangle: the mesh's own
    faces for what belongs to vertices, others (such as `uv_faces`) for what belongs to corners.
    """
    frames = len(fragments.face)
    if attributes.dim() != 3 or attributes.shape[0] not in (1, frames):
        raise UserError(
            f"What is drawn on {frames} frames needs the shape [{frames} or 1, vertices, channels]; "
            f"got {list(attributes.shape)}."
        )
    hit, rows = _hits(fragments.face, faces, attributes.shape[1] if attributes.shape[0] > 1 else 0)
    corners = attributes.flatten(0, 1).index_select(0, rows.reshape(-1)).unflatten(0, rows.shape)
    weights = fragments.barycentrics.reshape(-1, 3).index_select(0, hit)
    return _at_pixels((corners * weights[..., None]).sum(1), hit, fragments.face.shape)


def _check(screen: Tensor, faces: Tensor, size: tuple[int, int], cull: str | None, backend: str) -> None:
    if screen.dim() != 3 or screen.shape[2] != 3 or screen.dtype not in (torch.float32, torch.float64):
        raise UserError(
            f"The rasteriser needs screen positions as [frames, vertices, 3] in float32 or float64; "
            f"got {list(screen.shape)} of {screen.dtype}."
        )
    if faces.dim() != 2 or faces.shape[1] != 3 or faces.is_floating_point():
        raise UserError(f"The rasteriser needs triangles as [F, 3] integers; got {list(faces.shape)} of {faces.dtype}.")
    if len(faces) and not (faces.min() >= 0 and faces.max() < screen.shape[1]):
        raise UserError(
            f"The triangles name vertices {faces.min().item()} to {faces.max().item()}, but there are "
            f"{screen.shape[1]} vertices. The mesh's faces and vertices do not belong together."
        )
    if len(faces) >= MAX_FACES:
        raise UserError(f"A mesh of {len(faces):,} triangles is too large to draw; the limit is {MAX_FACES - 1:,}.")
    if min(size) < 1:
        raise UserError(f"A picture of {size[1]} x {size[0]} pixels cannot be drawn; both sides must be at least 1.")
    for name, value, allowed in (("cull", cull, CULLING), ("backend", backend, BACKENDS)):
        if value not in allowed:
            raise UserError(f"The rasteriser's {name} must be one of {', '.join(map(str, allowed))}; got '{value}'.")


def _fragments(face: Tensor, screen: Tensor, faces: Tensor, perspective: bool) -> Fragments:
    height, width = face.shape[1:]
    hit, rows = _hits(face, faces, screen.shape[1])
    a, b, c = screen.flatten(0, 1).index_select(0, rows.reshape(-1)).reshape(-1, 3, 3).unbind(1)
    x, y = hit % width + 0.5, hit.div(width, rounding_mode="floor") % height + 0.5
    area = _doubled_area(a, b, *c[:, :2].unbind(1))
    first, second = _doubled_area(b, c, x, y) / area, _doubled_area(c, a, x, y) / area
    weights = _rounded_inside((first, second, 1 - first - second))
    depths = (a[:, 2], b[:, 2], c[:, 2])
    if perspective:
        weights = tuple(w / d for w, d in zip(weights, depths, strict=True))
        depth = 1 / sum(weights)
        weights = tuple(w * depth for w in weights)
    else:
        depth = sum(w * d for w, d in zip(weights, depths, strict=True))
    weights = torch.stack(weights, dim=-1)
    everywhere = screen.new_full((face.numel(),), torch.inf).index_put((hit,), depth)
    return Fragments(face, _at_pixels(weights, hit, face.shape), everywhere.reshape(face.shape), perspective)


def _rounded_inside(weights: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Weights of points that are known to lie inside, as far as rounding moved them out; gradients pass unchanged."""
    inside = [w.detach().clamp(0, 1) for w in weights]
    total = sum(inside)
    return tuple(w + (i / total - w.detach()) for w, i in zip(weights, inside, strict=True))


def _doubled_area(one: Tensor, other: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Signed area of the parallelogram that two corners span seen from (x, y)."""
    return (one[:, 0] - x) * (other[:, 1] - y) - (one[:, 1] - y) * (other[:, 0] - x)


def _hits(face: Tensor, faces: Tensor, vertices: int) -> tuple[Tensor, Tensor]:
    """Flat pixels that see a triangle, and the rows [N, 3] of its corners in a flattened [B · vertices, …]."""
    flat = face.reshape(-1)
    hit = (flat >= 0).nonzero().squeeze(1)
    frame = hit.div(face.shape[1] * face.shape[2], rounding_mode="floor")
    return hit, corner_rows(frame, flat.index_select(0, hit), faces, vertices)


def _at_pixels(values: Tensor, hit: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """[N, C] at the flat pixels `hit` of an otherwise empty [B, H, W, C]."""
    empty = values.new_zeros(shape[0] * shape[1] * shape[2], values.shape[1])
    return empty.index_put((hit,), values).reshape(*shape, values.shape[1])
