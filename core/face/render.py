"""Faces to pictures: pose, project, rasterise, light, in one call; gradients reach every parameter.

Colour = albedo × light at every pixel, from the normal interpolated there; no gamma and no clamping, as in the systems
that this serves (Deep3DFaceRecon `models/bfm.py`, DECA `utils/renderer.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import UserError
from ..types import Camera, FaceParams, common_batch
from .camera import place, project
from .light import PhongLight, phong, shade
from .model import FaceModel
from .normals import vertex_normals
from .raster import MAX_CANDIDATES, Fragments, interpolate, rasterise
from .silhouettes import Edges, antialias, mesh_edges

MODES = ("textured", "albedo", "shaded", "normals", "depth", "uv")
"""textured: albedo under the light. shaded: clay under the light. normals, uv: as colours. depth: near is bright."""
CLAY = 0.7
"""Albedo of the 'shaded' mode; DECA's grey is 180/255."""
FARTHEST_GREY = 0.15
"""What the 'depth' mode shows at a frame's farthest pixel, so that it stands out from the background's 0."""


@dataclass(frozen=True)
class RenderSettings:
    """How to draw.

    mode: one of MODES. supersample: 1 or more, samples along each side of a pixel (time grows with its square).
    antialias: blend silhouettes by coverage, which also gives them gradients. cull: 'back', 'front' or None.
    frames_at_once: bounds memory. backend: the rasteriser, see `core.face.raster`.
    """

    mode: str = "textured"
    supersample: int = 1
    antialias: bool = True
    cull: str | None = None
    frames_at_once: int = 8
    max_candidates: int = MAX_CANDIDATES
    backend: str = "torch"

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UserError(f"A face can be drawn as {', '.join(MODES)}; got '{self.mode}'.")
        if self.supersample < 1 or self.frames_at_once < 1:
            raise UserError(
                f"Samples along a pixel's side and frames at once must be at least 1; "
                f"got {self.supersample} and {self.frames_at_once}."
            )


@dataclass(frozen=True, eq=False)
class Rendered:
    """B drawn frames.

    colour: [B, 3, H, W] RGB over black (multiplied by alpha), not clamped. alpha: [B, 1, H, W] coverage, 0…1.
    normals: [B, 3, H, W] unit, camera space. depth: [B, 1, H, W] model units from the camera's plane. uv: [B, 2, H, W]
    0…1, or None where the mesh has none. These three are sampled at the pixel centres, as `fragments` are, whatever the
    supersampling; 0 where there is nothing.
    """

    colour: Tensor
    alpha: Tensor
    normals: Tensor
    depth: Tensor
    uv: Tensor | None
    fragments: Fragments

    def __len__(self) -> int:
        return len(self.colour)


@dataclass(frozen=True, eq=False)
class PosedMesh:
    """A mesh in camera space and what it looks like.

    vertices: [B, V, 3]. faces: [F, 3]. albedo: [B or 1, V, 3] RGB, or None for clay. texture: [B or 1, 3, S, S] RGB,
    row 0 at v = 1, replaces albedo; needs uv [T, 2] and uv_faces [F, 3]. normals: [B, V, 3], or None to take those of
    `faces` (pass them where `faces` are a part of the mesh). edges: `mesh_edges(faces)`, or None to find them.
    """

    vertices: Tensor
    faces: Tensor
    albedo: Tensor | None = None
    texture: Tensor | None = None
    uv: Tensor | None = None
    uv_faces: Tensor | None = None
    normals: Tensor | None = None
    edges: Edges | None = None


def render(
    model: FaceModel,
    params: FaceParams,
    settings: RenderSettings = RenderSettings(),
    size: tuple[int, int] | None = None,
) -> Rendered:
    """`params` of B frames drawn by `model`. size: (H, W) of the pictures instead of the camera's own, same view."""
    params = _aligned(model.check(params))
    if size is not None:
        params = replace(params, camera=params.camera.resized(size))
    edges = mesh_edges(model.faces) if settings.antialias else None
    parts = []
    for first in range(0, max(len(params), 1), settings.frames_at_once):
        some = params[first : first + settings.frames_at_once]
        mesh = PosedMesh(
            vertices=place(model.vertices(some.identity, some.expression, some.joints), some.angles, some.translation),
            faces=model.faces,
            albedo=model.vertex_albedo(some.albedo),
            texture=some.texture,
            uv=model.uv,
            uv_faces=model.uv_faces,
            edges=edges,
        )
        parts.append(render_mesh(mesh, some.camera, some.light, some.translation, settings))
    return _joined(parts)


def render_mesh(
    mesh: PosedMesh,
    camera: Camera,
    light: Tensor | PhongLight,
    translation: Tensor | None = None,
    settings: RenderSettings = RenderSettings(),
) -> Rendered:
    """B frames that are in camera space already; what a fit calls with the vertices it has at hand, all in one pass.

    light: [B or 1, 9, 3] (`core.face.light`) or a PhongLight. translation: [B, 3], for cameras without perspective.
    """
    if mesh.normals is None:
        mesh = replace(mesh, normals=vertex_normals(mesh.vertices, mesh.faces))
    if settings.antialias and mesh.edges is None:
        mesh = replace(mesh, edges=mesh_edges(mesh.faces))
    at_centres = samples = _samples(mesh, camera, translation, settings)
    if settings.supersample > 1:
        finer = camera.resized((camera.size[0] * settings.supersample, camera.size[1] * settings.supersample))
        samples = _samples(mesh, finer, translation, settings)
    image = _image(mesh, samples, light, settings)
    if settings.supersample > 1:
        image = functional.avg_pool2d(image, settings.supersample)
    fragments = at_centres.fragments
    return Rendered(
        colour=image[:, :3],
        alpha=image[:, 3:],
        normals=_channels_first(at_centres.normals),
        depth=torch.where(fragments.covered, fragments.depth, 0)[:, None],
        uv=None if at_centres.uv is None else _channels_first(at_centres.uv),
        fragments=fragments,
    )


def overlay(picture: Tensor, rendered: Rendered, opacity: float = 1.0) -> Tensor:
    """The face laid over `picture` [B or 1, 3, H, W] 0…1 -> [B, 3, H, W] 0…1. opacity 0 shows the picture alone."""
    if picture.shape[-2:] != rendered.colour.shape[-2:]:
        height, width = rendered.colour.shape[-2:]
        raise UserError(
            f"The face is drawn at {width} x {height} pixels, the picture has "
            f"{picture.shape[-1]} x {picture.shape[-2]}. Draw the face at the picture's size."
        )
    common_batch(pictures=len(picture), faces=len(rendered))
    return (picture * (1 - opacity * rendered.alpha) + opacity * rendered.colour).clamp(0, 1)


def sample_texture(texture: Tensor, uv: Tensor) -> Tensor:
    """`texture` [B or 1, C, S, S], row 0 at v = 1, at `uv` [B, H, W, 2] -> [B, H, W, C]; bilinear, held at the edge."""
    half_texel = 1 / uv.new_tensor([texture.shape[-1], texture.shape[-2]])
    grid = uv * uv.new_tensor([2, -2]) + uv.new_tensor([-1, 1])
    grid = torch.minimum(torch.maximum(grid, half_texel - 1), 1 - half_texel)
    texture = texture.expand(len(uv), -1, -1, -1).to(uv.dtype)
    return functional.grid_sample(texture, grid, align_corners=False).permute(0, 2, 3, 1)


@dataclass(frozen=True, eq=False)
class _Samples:
    """What is known of a mesh at every sample: normals [B, H, W, 3], uv [B, H, W, 2] or None."""

    screen: Tensor
    fragments: Fragments
    normals: Tensor
    uv: Tensor | None


def _samples(mesh: PosedMesh, camera: Camera, translation: Tensor | None, settings: RenderSettings) -> _Samples:
    screen = project(camera, mesh.vertices, translation)
    fragments = rasterise(
        screen,
        mesh.faces,
        camera.size,
        perspective=camera.perspective,
        cull=settings.cull,
        max_candidates=settings.max_candidates,
        backend=settings.backend,
    )
    normals = functional.normalize(interpolate(fragments, mesh.normals, mesh.faces), dim=-1)
    uv = None if mesh.uv is None else interpolate(fragments, mesh.uv[None].to(normals.dtype), mesh.uv_faces)
    return _Samples(screen, fragments, normals, uv)


def _image(mesh: PosedMesh, samples: _Samples, light: Tensor | PhongLight, settings: RenderSettings) -> Tensor:
    """[B, 4, H, W]: colour over black, alpha."""
    covered = samples.fragments.covered[..., None].to(samples.normals.dtype)
    image = torch.cat([covered * _colour(mesh, samples, light, settings.mode), covered], dim=-1)
    if settings.antialias:
        image = antialias(image, samples.fragments, samples.screen, mesh.faces, mesh.edges)
    return _channels_first(image)


def _colour(mesh: PosedMesh, samples: _Samples, light: Tensor | PhongLight, mode: str) -> Tensor:
    """[B, H, W, 3], anything where nothing is drawn."""
    if mode == "normals":
        return (samples.normals + 1) / 2
    if mode == "depth":
        return _nearness(samples.fragments)[..., None].expand(-1, -1, -1, 3)
    if mode == "uv":
        return functional.pad(_needed_uv(samples), (0, 1))
    albedo = torch.full_like(samples.normals, CLAY) if mode == "shaded" else _albedo(mesh, samples)
    if mode == "albedo":
        return albedo
    if isinstance(light, PhongLight):
        shading, highlight = phong(light, samples.normals, interpolate(samples.fragments, mesh.vertices, mesh.faces))
        return albedo * shading + highlight
    return albedo * shade(light.to(albedo.dtype), samples.normals)


def _albedo(mesh: PosedMesh, samples: _Samples) -> Tensor:
    if mesh.texture is not None:
        return sample_texture(mesh.texture, _needed_uv(samples))
    if mesh.albedo is not None:
        return interpolate(samples.fragments, mesh.albedo, mesh.faces)
    return torch.full_like(samples.normals, CLAY)


def _needed_uv(samples: _Samples) -> Tensor:
    if samples.uv is None:
        raise UserError("This mesh has no texture coordinates: it cannot carry a texture or be drawn as 'uv'.")
    return samples.uv


def _nearness(fragments: Fragments) -> Tensor:
    """[B, H, W]: 1 at a frame's nearest pixel, FARTHEST_GREY at its farthest."""
    depth = fragments.depth
    near = depth.amin(dim=(1, 2), keepdim=True)
    far = torch.where(fragments.covered, depth, -torch.inf).amax(dim=(1, 2), keepdim=True)
    share = (far - depth) / (far - near).clamp(min=torch.finfo(depth.dtype).tiny)
    return torch.where(fragments.covered, FARTHEST_GREY + (1 - FARTHEST_GREY) * share, 0)


def _channels_first(field: Tensor) -> Tensor:
    return field.permute(0, 3, 1, 2)


def _aligned(params: FaceParams) -> FaceParams:
    """With as many angles as there are frames; the other parts for each frame or one for all."""
    batch = common_batch(**{name: len(value) for name, value in vars(params).items() if isinstance(value, Tensor)})
    return replace(params, angles=params.angles.expand(batch, -1))


def _joined(parts: list[Rendered]) -> Rendered:
    """The frames of all parts, in order."""
    if len(parts) == 1:
        return parts[0]

    def joined(kind: type, values: list[Any]) -> dict[str, Any]:
        columns = {f.name: [getattr(value, f.name) for value in values] for f in fields(kind)}
        return {name: torch.cat(c) if isinstance(c[0], Tensor) else c[0] for name, c in columns.items()}

    fragments = Fragments(**joined(Fragments, [part.fragments for part in parts]))
    return Rendered(**{**joined(Rendered, parts), "fragments": fragments})
