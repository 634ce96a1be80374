"""A face's own texture out of its photograph, complete enough to be turned.

Every texel looks up where it stands in the photograph and takes the colour there, divided by the light on it.
What the camera did not see comes from the other half of the face where that was seen, else it is spread over the mesh
from its surroundings, so that there are neither holes nor seams.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_matrix, diags
from scipy.sparse.linalg import cg
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn import functional

from ...face.camera import place, project
from ...face.light import shade
from ...face.model import FaceModel
from ...face.normals import vertex_normals
from ...face.raster import Fragments, interpolate, rasterise
from ...types import FaceParams
from .settings import FitSettings

LARGEST_DEPTH_MAP = 768
"""Pixels along the longer side at which it is settled what hides what."""
DEPTH_TOLERANCE = 0.01
"""Part of the head's height that a point may lie behind the nearest surface and still count as on it."""
GRAZING, FACING = 0.25, 0.65
"""Cosines between normal and viewer: too slanting to say anything, and seen well; in between a point counts partly."""
DARKEST = 0.4
"""Part of the face's mean brightness of shading below which colours are not divided: noise would be blown up."""
LEAST_SHADING = 0.05
"""Of a face that lies in the dark altogether."""
MIRROR_TOLERANCE = 0.005
"""Part of the head's height by which a vertex and its mirror image may miss each other."""
FEATHER = 12
"""Rings of vertices over which the photograph fades out at the border of the facial skin."""
HOLD, PULL = 30.0, 1e-3
"""In the spreading, against a weight of 1 for each edge: how firmly seen vertices stay, and how firmly all others are
pulled to the model's tinted colours, which is felt some thirty vertices away."""
SPREAD_ROUNDS = 200
"""Of conjugate gradients at most; 26,000 vertices need about 120 to a thousandth."""
GUTTER = 4
"""Texels that islands grow beyond their border, so that interpolation finds no empty texel there."""


def unwrap(
    pictures: Tensor,
    params: FaceParams,
    model: FaceModel,
    settings: FitSettings,
    mask: Tensor | None = None,
    pulse: Callable[[], None] = lambda: None,
) -> Tensor:
    """The albedo of `params` [B frames] as seen in `pictures` [B, 3, H, W]: [B, 3, S, S] RGB 0…1, row 0 at v = 1.

    The light of `params` should have one tint (`light_solver.one_tint`). With a shared identity one texture for all,
    [1, 3, S, S], from frames spread over the clip. mask: [B or 1, 1, H, W] 0…1, where the picture may be used. pulse:
    is called every few tenths of a second and raises to cancel.
    """
    pulse()
    layout = _Layout.of(model, settings.texture_size)
    frames = torch.arange(len(params))
    together = settings.share_identity and len(params) > 1
    if together:
        frames = torch.linspace(0, len(params) - 1, min(settings.chunk, len(params))).round().long()
    allowed = torch.ones_like(pictures[:1, :1]) if mask is None else mask
    allowed = allowed.expand(len(pictures), -1, -1, -1)
    views = ((pictures[i : i + 1], params[i : i + 1], allowed[i : i + 1]) for i in frames.tolist())
    if together:
        return _complete(_together([_seen(*view, model, layout, pulse) for view in views]), model, layout, pulse)
    return torch.cat([_complete(_seen(*view, model, layout, pulse), model, layout, pulse) for view in views])


@dataclass(frozen=True, eq=False)
class _Layout:
    """What of the texture belongs to which triangle, and which vertices mirror each other.

    texels: [1, S, S]. mirror: [V] vertex numbers, mirrored: [V] bool, it is one. region: [V] 0…1, may come from the
    photograph. skin: [V] bool.
    """

    texels: Fragments
    mirror: Tensor
    mirrored: Tensor
    region: Tensor
    skin: Tensor

    @classmethod
    def of(cls, model: FaceModel, size: int) -> _Layout:
        flat = torch.cat([model.uv[:, :1], 1 - model.uv[:, 1:]], 1) * size
        flat = torch.cat([flat, torch.ones_like(flat[:, :1])], 1)[None]
        texels = rasterise(flat, model.uv_faces, (size, size), perspective=False)
        mean = _mean(model)
        missed_by, twin = cKDTree(mean).query(mean * np.array([-1.0, 1.0, 1.0]))
        device = model.faces.device
        skin = torch.zeros(len(mean), dtype=torch.bool, device=device)
        skin[model.faces[model.skin_region].flatten()] = True
        return cls(
            texels,
            torch.from_numpy(twin).to(device),
            torch.from_numpy(missed_by < MIRROR_TOLERANCE * model.height).to(device),
            _region(model, skin),
            skin,
        )


@dataclass(frozen=True, eq=False)
class _Seen:
    """Albedo found in photographs and how sure it is: of texels [1, S, S, 3], [1, S, S, 1] and vertices [1, V, ·]."""

    texels: Tensor
    texel_weight: Tensor
    vertices: Tensor
    vertex_weight: Tensor


@torch.no_grad()
def _seen(
    picture: Tensor, face: FaceParams, allowed: Tensor, model: FaceModel, layout: _Layout, pulse: Callable[[], None]
) -> _Seen:
    """What one photograph shows of one frame, where need be of the other half of the face. allowed: [1, 1, H, W]."""
    pulse()
    posed = place(model.vertices(face.identity, face.expression, face.joints), face.angles, face.translation)
    normals = vertex_normals(posed, model.faces)
    depth = _depth_map(posed, model, face)

    def look(points: Tensor, facing: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """points, facing: [1, ..., 3] in camera space; share: [1, ..., 1] -> albedo and its weight there."""
        screen = project(face.camera, points.flatten(1, -2), face.translation).reshape(points.shape)
        facing = functional.normalize(facing, dim=-1)
        size = screen.new_tensor([face.camera.size[1], face.camera.size[0]])
        grid = (screen[..., :2] / size * 2 - 1).reshape(1, 1, -1, 2)

        def sampled(field: Tensor, mode: str) -> Tensor:
            values = functional.grid_sample(field, grid, mode=mode, padding_mode="border", align_corners=False)
            return values.flatten(2).mT.reshape(*points.shape[:-1], -1)

        hidden = screen[..., 2:] - sampled(depth, "nearest") > DEPTH_TOLERANCE * model.height
        outside = (grid.abs() > 1).any(-1).reshape(*points.shape[:-1], 1)
        sure = ((facing[..., 2:] - GRAZING) / (FACING - GRAZING)).clamp(0, 1)
        weight = share * sure * ~hidden * ~outside * sampled(allowed, "bilinear")
        shading = shade(face.light, facing)
        return _paintable(sampled(picture, "bilinear") / _bounded(shading, weight)), weight

    def texels(attributes: Tensor, corners: Tensor) -> Tensor:
        return interpolate(layout.texels, attributes, corners)

    other = layout.mirror[model.faces]
    region = layout.region[None, :, None]
    half = region * layout.mirrored[None, :, None]
    own = look(texels(posed, model.faces), texels(normals, model.faces), texels(region, model.faces))
    twin = look(texels(posed, other), texels(normals, other), texels(half, model.faces))
    own_vertex = look(posed, normals, region)
    twin_vertex = look(posed[:, layout.mirror], normals[:, layout.mirror], half)
    return _Seen(*_first(own, twin), *_first(own_vertex, twin_vertex))


def _bounded(shading: Tensor, weight: Tensor) -> Tensor:
    """Shading [1, ..., 3] of one tint, brightened where it is darker than DARKEST of its weighted mean."""
    flat, share = shading.flatten(1, -2), weight.flatten(1, -2)
    mean = (flat * share).sum(1) / share.sum(1).clamp_min(torch.finfo(flat.dtype).eps)
    mean = mean.clamp_min(LEAST_SHADING).reshape(1, *(1,) * (shading.dim() - 2), 3)
    return torch.maximum(shading, DARKEST * mean)


def _paintable(colours: Tensor) -> Tensor:
    """[..., 3] brought into 0…1 as a whole, so that a highlight keeps its hue."""
    return colours.clamp_min(0) / colours.amax(-1, keepdim=True).clamp_min(1)


def _first(own: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The own colour as far as it is sure, the other's for the rest."""
    rest = (1 - own[1]) * other[1]
    weight = own[1] + rest
    return (own[0] * own[1] + other[0] * rest) / weight.clamp_min(torch.finfo(weight.dtype).eps), weight


def _together(views: list[_Seen]) -> _Seen:
    """The mean of several photographs, each texel as sure as its surest view."""

    def mean(colour: str, weight: str) -> tuple[Tensor, Tensor]:
        weights = torch.cat([getattr(view, weight) for view in views])
        colours = torch.cat([getattr(view, colour) for view in views])
        total = weights.sum(0, keepdim=True).clamp_min(torch.finfo(weights.dtype).eps)
        return (colours * weights).sum(0, keepdim=True) / total, weights.amax(0, keepdim=True)

    return _Seen(*mean("texels", "texel_weight"), *mean("vertices", "vertex_weight"))


def _complete(seen: _Seen, model: FaceModel, layout: _Layout, pulse: Callable[[], None]) -> Tensor:
    """[1, 3, S, S]: what was seen over what is spread from it, with a gutter around the islands."""
    pulse()
    own = model.vertex_albedo(model.colours.new_zeros(1, len(model.albedo)))
    sure = seen.vertex_weight * layout.skin[None, :, None]
    tone = (sure * seen.vertices * own).sum(1) / (sure * own.square()).sum(1).clamp_min(torch.finfo(own.dtype).eps)
    tone = torch.where(sure.sum() > 0, tone, torch.ones_like(tone))
    base = torch.where(layout.skin[None, :, None], own * tone[:, None], own).clamp(0, 1)
    spread = _spread(seen.vertices[0], sure[0], base[0], model)
    below = interpolate(layout.texels, spread[None], model.faces)
    texture = below + seen.texel_weight * (seen.texels - below)
    return _with_gutter(texture.permute(0, 3, 1, 2), layout.texels.covered[:, None])


def _spread(colours: Tensor, weight: Tensor, base: Tensor, model: FaceModel) -> Tensor:
    """[V, 3]: what was seen stays, the rest of the same part of the mesh follows it as smoothly as it can.

    Solves (Σ edges + HOLD · weight + PULL) x = HOLD · weight · colours + PULL · base; linear, so colours apart.
    """
    faces = model.faces.cpu().numpy()
    count = len(colours)
    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    links = coo_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(count, count)).tocsr()
    links = ((links + links.T) > 0).astype(np.float64)
    hold = HOLD * weight.double().cpu().numpy()[:, 0]
    degree = np.asarray(links.sum(1))[:, 0]
    system = diags(degree + hold + PULL) - links
    scale = diags(1 / (degree + hold + PULL))
    right = hold[:, None] * colours.double().cpu().numpy() + PULL * base.double().cpu().numpy()
    solved = [
        cg(system, right[:, c], x0=base[:, c].double().cpu().numpy(), rtol=1e-3, maxiter=SPREAD_ROUNDS, M=scale)[0]
        for c in range(right.shape[1])
    ]
    return torch.from_numpy(np.stack(solved, 1)).to(base).clamp(0, 1)


def _depth_map(posed: Tensor, model: FaceModel, face: FaceParams) -> Tensor:
    """[1, 1, h, w] depth of the nearest surface, inf where there is none, at a reduced size of the picture."""
    height, width = face.camera.size
    shrink = min(1.0, LARGEST_DEPTH_MAP / max(height, width))
    camera = face.camera.resized((max(1, round(height * shrink)), max(1, round(width * shrink))))
    screen = project(camera, posed, face.translation)
    nearest = rasterise(screen, model.faces, camera.size, perspective=camera.perspective)
    return nearest.depth[:, None]


def _region(model: FaceModel, skin: Tensor) -> Tensor:
    """[V] 0…1: 1 well inside the facial skin and on what is no skin (eyes, teeth), falling to 0 at its border."""
    faces = model.faces
    inside = torch.zeros(len(skin), device=faces.device)
    inside[faces[model.face_region].flatten()] = 1.0
    border = torch.ones_like(inside)
    border[faces[model.skin_region & ~model.face_region].flatten()] = 0.0
    depth = inside * border
    for _ in range(FEATHER):
        lowest = depth[faces].amin(1)
        ring = torch.ones_like(depth).scatter_reduce(0, faces.flatten(), lowest.repeat_interleave(3), "amin")
        depth = torch.where(inside > 0, depth + torch.minimum(ring, inside * border), depth)
    depth = depth / (FEATHER + 1)
    return torch.where(skin, depth, 1.0)


def _with_gutter(texture: Tensor, covered: Tensor) -> Tensor:
    """Empty texels next to filled ones take the mean of those, GUTTER times; further ones the mean of all."""
    known = covered.to(texture.dtype)
    whole = (texture * known).sum((2, 3), keepdim=True) / known.sum().clamp_min(1)
    texture = texture * known
    for _ in range(GUTTER):
        around = functional.avg_pool2d(known, 3, 1, 1)
        grown = functional.avg_pool2d(texture, 3, 1, 1) / around.clamp_min(torch.finfo(around.dtype).eps)
        texture = torch.where(known > 0, texture, torch.where(around > 0, grown, 0.0))
        known = ((known > 0) | (around > 0)).to(known.dtype)
    return torch.where(known > 0, texture, whole)


def _mean(model: FaceModel) -> np.ndarray:
    zeros = [model.colours.new_zeros(1, len(group)) for group in (model.identity, model.expression)]
    return model.vertices(*zeros)[0].detach().double().cpu().numpy()
