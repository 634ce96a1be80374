"""A fitted face as a mesh to take away: in metres, with one UV coordinate a vertex and a texture.

Morphable models share a vertex between triangles that lie apart on their UV map; mesh files cannot, so vertices on
seams are doubled. Where the parameters bring no texture, the model's vertex colours are painted into one.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import UserError
from ..types import FaceParams, Mesh
from .camera import place
from .model import FaceModel
from .raster import interpolate, rasterise

TEXTURE_SIZE = 1024
"""Pixels; a face takes about half of the map's side, so a texel is about 0.4 mm on it."""
BLEED = 8
"""Texels that colours reach beyond their triangles, so that smaller copies of a texture show no seams."""


def to_mesh(model: FaceModel, params: FaceParams, texture_size: int = TEXTURE_SIZE, posed: bool = False) -> Mesh:
    """One frame as a `Mesh`: metres, y up, the face towards +z.

    params: a single frame. texture_size: side in texels where vertex colours are painted; a texture in `params` keeps
    its size. posed: turned as in the picture, otherwise upright; the model's origin stays at the origin either way.
    """
    if len(params) != 1:
        raise UserError(f"A mesh is made of one frame, these face parameters hold {len(params)}. Choose one of them.")
    params = model.check(params)
    vertices = model.vertices(params.identity, params.expression, params.joints)
    if posed:
        vertices = place(vertices, params.angles, torch.zeros_like(params.translation))
    texture = paint_texture(model, params.albedo, texture_size) if params.texture is None else params.texture
    vertex, uv, faces = split_seams(model.faces, model.uv_faces)
    return Mesh(
        vertices=vertices[0, vertex] * model.unit_in_metres,
        faces=faces,
        uv=model.uv[uv],
        texture=texture[0].clamp(0, 1),
        extras={"layout": model.layout},
    )


def split_seams(faces: Tensor, uv_faces: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """[F, 3] vertex and UV numbers -> for N corners that differ: vertex [N], uv [N]; faces [F, 3] over them."""
    corners = torch.stack([faces.flatten(), uv_faces.flatten()], dim=1)
    different, number = corners.unique(dim=0, return_inverse=True)
    return different[:, 0], different[:, 1], number.view(-1, 3)


def paint_texture(model: FaceModel, albedo: Tensor, size: int) -> Tensor:
    """Vertex colours of one frame's coefficients [1, K_alb] on the UV map: [1, 3, size, size] RGB, row 0 at v = 1."""
    colours = model.vertex_albedo(albedo)
    u, v = (model.uv * size).unbind(1)
    flat = torch.stack([u, size - v, torch.ones_like(u)], dim=1)[None]
    fragments = rasterise(flat, model.uv_faces, (size, size), perspective=False)
    painted = interpolate(fragments, colours, model.faces).permute(0, 3, 1, 2)
    return _bleed(painted, fragments.covered[:, None], colours)


def _bleed(painted: Tensor, covered: Tensor, colours: Tensor) -> Tensor:
    """Colours grown by BLEED texels; the mean colour beyond."""
    known = covered.to(painted)
    painted = painted * known
    for _ in range(BLEED):
        weight = functional.avg_pool2d(known, 3, stride=1, padding=1)
        around = functional.avg_pool2d(painted, 3, stride=1, padding=1) / weight.clamp(min=1e-6)
        painted = torch.where(known > 0, painted, around)
        known = torch.maximum(known, (weight > 0).to(known))
    return torch.where(known > 0, painted, colours.mean(1)[:, :, None, None])
