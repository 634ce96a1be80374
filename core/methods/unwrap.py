"""A face's own texture out of its photograph, complete enough to be turned.

Every texel looks up where it stands in the photograph and takes the colour there, divided by the light on it.
What the camera did not see comes from the other half of the face where that was seen, else it keeps the model's own
details and takes its tone from its surroundings, so that there are neither holes nor seams.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from scipy.sparse import coo_matrix, diags
from scipy.sparse.linalg import cg
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn import functional

from ..errors import UserError
from ..face.camera import place, project
from ..face.edit import lit
from ..face.light import one_tint, shade
from ..face.model import FaceModel
from ..face.normals import vertex_normals
from ..face.raster import Fragments, interpolate, rasterise
from ..face.uv import texels, with_gutter
from ..types import FaceParams, common_batch

Fill = Literal["mirror", "spread", "nothing"]
FILLS: tuple[Fill, ...] = ("mirror", "spread", "nothing")
"""Where texels that the photograph does not show come from: the face's other half and then the surroundings, the
surroundings alone, or nowhere (black)."""
SMALLEST_SIZE, LARGEST_SIZE = 16, 4096
"""Of a side in texels; more would fill the memory of most machines."""
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
DETAIL_PULL = 0.3
"""The same of what is no skin: a hand before an eye must not colour the white that a later gaze uncovers."""
ASPECT_TOLERANCE = 0.01
"""Relative; pictures that were resized to whole pixels."""
SPREAD_ACCURACY, SPREAD_ROUNDS = 1e-5, 400
"""Of conjugate gradients: the residual, and rounds at most. At a thousandth scalps come out bluish or greenish, since
colours are solved one by one; here they are off by less than a grey level, after some 40 rounds of a millisecond."""


@dataclass(frozen=True)
class UnwrapSettings:
    """How photographs become textures.

    size: side of a texture in texels. delight: divide by the light of the fit, which leaves albedo; off keeps the
    photograph's colours with light and shadow. fill: one of FILLS. whole_head: take everything that the model covers
    from the photograph, hair and ears included; off keeps to facial skin, eyes and mouth. together: all frames show one
    person and give one texture. views: frames that are looked at for it, spread over the clip.
    """

    size: int = 512
    delight: bool = True
    fill: Fill = "mirror"
    whole_head: bool = False
    together: bool = False
    views: int = 4

    def __post_init__(self) -> None:
        if not SMALLEST_SIZE <= self.size <= LARGEST_SIZE:
            raise UserError(f"A texture's side must lie within {SMALLEST_SIZE} and {LARGEST_SIZE}; got {self.size}.")
        if self.fill not in FILLS:
            raise UserError(f"A texture is filled by {', '.join(FILLS)}; got '{self.fill}'.")
        if self.views < 1:
            raise UserError(f"One texture from several views needs at least 1 view; got {self.views}.")


@dataclass(frozen=True, eq=False)
class Unwrapped:
    """Textures of B people, 1 where frames were taken together.

    texture: [B, 3, S, S] RGB 0…1, row 0 at v = 1. visible: [B, 1, S, S] 0…1, how far each texel is what the photograph
    itself shows there: 0 where it is turned away, hidden behind other parts, outside the picture or its mask.
    """

    texture: Tensor
    visible: Tensor


@torch.no_grad()
def unwrap(
    pictures: Tensor,
    params: FaceParams,
    model: FaceModel,
    settings: UnwrapSettings = UnwrapSettings(),
    mask: Tensor | None = None,
    pulse: Callable[[], None] = lambda: None,
) -> Unwrapped:
    """What `pictures` [B, 3, H, W] RGB 0…1 show of the faces fitted to them.

    params: of B frames. mask: [B or 1, 1, H, W] 0…1, where the pictures may be used. pulse: is called every few tenths
    of a second and raises to cancel. Light is divided out with the same tint from all sides, see `wearing`.
    UserError where batches or sizes do not go together.
    """
    params = _checked(pictures, model.check(params), mask)
    pulse()
    layout = _Layout.of(model, settings)
    frames = torch.arange(len(pictures))
    together = settings.together and len(pictures) > 1
    if together:
        frames = torch.linspace(0, len(pictures) - 1, min(settings.views, len(pictures))).round().long()
    allowed = torch.ones_like(pictures[:1, :1]) if mask is None else mask
    allowed = allowed.expand(len(pictures), -1, -1, -1)
    seen = (
        _seen(pictures[i : i + 1], params[i : i + 1], allowed[i : i + 1], model, layout, settings, pulse)
        for i in frames.tolist()
    )
    if together:
        seen = iter([_together(list(seen))])
    parts = [(_complete(one, model, layout, settings, pulse), one.visible.permute(0, 3, 1, 2)) for one in seen]
    return Unwrapped(*(torch.cat(part) for part in zip(*parts, strict=True)))


def wearing(params: FaceParams, unwrapped: Unwrapped, settings: UnwrapSettings) -> FaceParams:
    """`params` with the texture and under the light that makes renders look like the photograph.

    That is the light that was divided out, or an even one where none was.
    """
    worn = replace(params, texture=unwrapped.texture)
    return replace(worn, light=one_tint(worn.light)) if settings.delight else lit(worn, 0.0, 0.0, 0.0, 1.0)


def _checked(pictures: Tensor, params: FaceParams, mask: Tensor | None) -> FaceParams:
    """The parameters with a frame for every picture, their camera in its pixels."""
    if pictures.dim() != 4 or pictures.shape[1] != 3 or not len(pictures):
        raise UserError(f"Unwrapping needs pictures of shape [frames, 3, height, width]; got {list(pictures.shape)}.")
    size = (pictures.shape[2], pictures.shape[3])
    frames = common_batch(pictures=len(pictures), face_params=len(params))
    if len(pictures) != frames:
        raise UserError(f"There is one picture for {frames} fitted faces. Unwrap each face from its own picture.")
    height, width = params.camera.size
    if abs(size[0] / size[1] / (height / width) - 1) > ASPECT_TOLERANCE:
        raise UserError(
            f"The face was fitted in a picture of {width} x {height} pixels, this one has {size[1]} x {size[0]}, which "
            "is another shape. Use the picture that was fitted."
        )
    if mask is not None and (mask.dim() != 4 or mask.shape[1:] != (1, *size) or len(mask) not in (1, frames)):
        raise UserError(
            f"A mask for these pictures needs the shape [{frames} or 1, 1, {size[0]}, {size[1]}]; "
            f"got {list(mask.shape)}."
        )
    params = replace(params, camera=params.camera.resized(size), light=one_tint(params.light))
    return params if len(params) == frames else params.map(lambda t: t.expand(frames, *t.shape[1:]))


@dataclass(frozen=True, eq=False)
class _Layout:
    """What of the texture belongs to which triangle, and which vertices mirror each other.

    places: [1, S, S], the triangle at every texel. mirror: [V] vertex numbers, mirrored: [V] bool, it is one. region:
    [V] 0…1, may come from the photograph. skin: [V] bool.
    """

    places: Fragments
    mirror: Tensor
    mirrored: Tensor
    region: Tensor
    skin: Tensor

    @classmethod
    def of(cls, model: FaceModel, settings: UnwrapSettings) -> _Layout:
        mean = _mean(model)
        missed_by, twin = cKDTree(mean).query(mean * np.array([-1.0, 1.0, 1.0]))
        device = model.faces.device
        skin = torch.zeros(len(mean), dtype=torch.bool, device=device)
        skin[model.faces[model.skin_region].flatten()] = True
        return cls(
            texels(model, (settings.size, settings.size)),
            torch.from_numpy(twin).to(device),
            torch.from_numpy(missed_by < MIRROR_TOLERANCE * model.height).to(device),
            torch.ones_like(model.colours[:, 0]) if settings.whole_head else _region(model, skin),
            skin,
        )


@dataclass(frozen=True, eq=False)
class _Seen:
    """Albedo found in photographs and how sure it is: of texels [1, S, S, 3], [1, S, S, 1] and vertices [1, V, ·].

    visible: [1, S, S, 1], of `texel_weight` what is not the other half of the face.
    """

    texels: Tensor
    texel_weight: Tensor
    vertices: Tensor
    vertex_weight: Tensor
    visible: Tensor


def _seen(
    picture: Tensor,
    face: FaceParams,
    allowed: Tensor,
    model: FaceModel,
    layout: _Layout,
    settings: UnwrapSettings,
    pulse: Callable[[], None],
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
        colours = sampled(picture, "bilinear")
        if settings.delight:
            colours = _paintable(colours / _bounded(shade(face.light, facing), weight))
        return colours, weight

    def map_of(attributes: Tensor, corners: Tensor) -> Tensor:
        return interpolate(layout.places, attributes, corners)

    region = layout.region[None, :, None]
    own = look(map_of(posed, model.faces), map_of(normals, model.faces), map_of(region, model.faces))
    own_vertex = look(posed, normals, region)
    if settings.fill != "mirror":
        return _Seen(*own, *own_vertex, own[1])
    other, half = layout.mirror[model.faces], region * layout.mirrored[None, :, None]
    twin = look(map_of(posed, other), map_of(normals, other), map_of(half, model.faces))
    twin_vertex = look(posed[:, layout.mirror], normals[:, layout.mirror], half)
    return _Seen(*_first(own, twin), *_first(own_vertex, twin_vertex), own[1])


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

    visible = torch.cat([view.visible for view in views]).amax(0, keepdim=True)
    return _Seen(*mean("texels", "texel_weight"), *mean("vertices", "vertex_weight"), visible)


def _complete(
    seen: _Seen, model: FaceModel, layout: _Layout, settings: UnwrapSettings, pulse: Callable[[], None]
) -> Tensor:
    """[1, 3, S, S]: what was seen over what is spread from it, with a gutter around the islands."""
    pulse()
    if settings.fill == "nothing":
        return (seen.texels * seen.texel_weight).permute(0, 3, 1, 2)
    own = model.vertex_albedo(model.colours.new_zeros(1, len(model.albedo)))
    sure = seen.vertex_weight * layout.skin[None, :, None]
    tone = (sure * seen.vertices * own).sum(1) / (sure * own.square()).sum(1).clamp_min(torch.finfo(own.dtype).eps)
    tone = torch.where(sure.sum() > 0, tone, torch.ones_like(tone))
    base = torch.where(layout.skin[None, :, None], own * tone[:, None], own).clamp(0, 1)
    pull = torch.where(layout.skin, PULL, DETAIL_PULL)
    spread = _spread(seen.vertices[0], sure[0], base[0], pull, model)
    below = interpolate(layout.places, spread[None], model.faces)
    texture = below + seen.texel_weight * (seen.texels - below)
    return with_gutter(texture.permute(0, 3, 1, 2), layout.places.covered[:, None])


def _spread(colours: Tensor, weight: Tensor, base: Tensor, pull: Tensor, model: FaceModel) -> Tensor:
    """[V, 3]: what was seen stays, the rest of the same part of the mesh is `base`, as smoothly shifted in colour.

    Solves (Σ edges + HOLD · weight + pull) x = HOLD · weight · (colours − base) for what is added to the base; linear,
    so colours apart. pull: [V].
    """
    faces = model.faces.cpu().numpy()
    count = len(colours)
    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    links = coo_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(count, count)).tocsr()
    links = ((links + links.T) > 0).astype(np.float64)
    hold = HOLD * weight.double().cpu().numpy()[:, 0]
    diagonal = np.asarray(links.sum(1))[:, 0] + hold + pull.double().cpu().numpy()
    system, scale = diags(diagonal) - links, diags(1 / diagonal)
    right = hold[:, None] * (colours - base).double().cpu().numpy()
    added = [cg(system, wanted, rtol=SPREAD_ACCURACY, maxiter=SPREAD_ROUNDS, M=scale)[0] for wanted in right.T]
    return (base + torch.from_numpy(np.stack(added, 1)).to(base)).clamp(0, 1)


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


def _mean(model: FaceModel) -> np.ndarray:
    zeros = [model.colours.new_zeros(1, len(group)) for group in (model.identity, model.expression)]
    return model.vertices(*zeros)[0].detach().double().cpu().numpy()
