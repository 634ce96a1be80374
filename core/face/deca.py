"""DECA's codes: what they mean for FLAME, the detailed surface and texture they stand for, expressions moved between
them.

Source: Feng et al. 2021, "Learning an animatable detailed 3D face model from in-the-wild images"; YadiraF/DECA,
decalib/deca.py, utils/util.py, utils/renderer.py. DECA's image space: x right, y down, z away from the viewer, the
picture from −1 to 1; pictures and UV maps sample it at pixel centres.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from ..checkpoints import BARE, read
from ..errors import UserError
from ..types import SH_BANDS, Camera, FaceParams
from .camera import DEEP3D_FOCAL, DEEP3D_SIZE, angles_from_matrix
from .flame import Flame, contour_rotation
from .light import direction_shading, light_from_deca, shade
from .normals import vertex_normals
from .raster import Fragments, interpolate, rasterise
from .skinning import rotation_matrices

SIZES = {"shape": 100, "tex": 50, "exp": 50, "pose": 6, "cam": 3, "light": 3 * SH_BANDS}
"""Values of the coarse encoder's 236, in its order (decalib/utils/config.py)."""
COEFFICIENTS = sum(SIZES.values())
NEARNESS = 10.0
"""Added to image-space z before drawing, so that depths are positive (utils/renderer.py)."""
VISIBLE_Z = 0.1
"""A landmark is visible where its image-space normal's z is below this (deca.py, visofp)."""
OUTSIDE_TEXTURE = 0.7
"""Dims the albedo where the picture gives no texture; grey of the same where there is no albedo (deca.py)."""
MASK, FIXED_DISPLACEMENT = "uv_face_eye_mask.png", "fixed_displacement_256.npy"
"""In DECA's data folder; both 256 squared, the mask in the picture's first channel."""
MARGIN_X, MARGIN_Y = 2, 5
"""Pixels of the UV map's border without dense triangles (utils/util.py, generate_triangles)."""
PREVIEW_GREY = 180 / 255
PREVIEW_LIGHTS = ((-1, 1, 1), (1, 1, 1), (-1, -1, 1), (1, -1, 1), (0, 0, 1))
PREVIEW_INTENSITY = 1.7
"""The grey preview's material and its five far lights (utils/renderer.py, render_shape)."""


@dataclass(frozen=True, eq=False)
class DecaCodes:
    """DECA's description of B faces.

    shape [B, 100], tex [B, 50], exp [B, 50]: standard deviations. pose [B, 6]: axis-angle of the head (about FLAME's
    root joint) and of the jaw. cam [B, 3]: scale, x, y of `orthographic`. light [B, 9, 3] in DECA's order. detail [B,
    128].
    """

    shape: Tensor
    tex: Tensor
    exp: Tensor
    pose: Tensor
    cam: Tensor
    light: Tensor
    detail: Tensor

    @classmethod
    def split(cls, coefficients: Tensor, detail: Tensor) -> DecaCodes:
        """[B, 236], [B, 128], as the encoders give them."""
        if coefficients.shape[-1] != COEFFICIENTS:
            raise UserError(f"DECA's coefficients are {COEFFICIENTS} values a face; got {coefficients.shape[-1]}.")
        parts = dict(zip(SIZES, coefficients.split(list(SIZES.values()), -1), strict=True))
        return cls(**parts | {"light": parts["light"].unflatten(-1, (SH_BANDS, 3))}, detail=detail)

    def with_expression_of(self, other: DecaCodes) -> DecaCodes:
        """These faces with the jaw and the expression of `other` (demos/demo_transfer.py); B = 1 goes with N."""
        frames = max(len(self.pose), len(other.pose))
        turn, jaw = self.pose[:, :3].expand(frames, -1), other.pose[:, 3:].expand(frames, -1)
        return replace(self.expanded(frames), pose=torch.cat([turn, jaw], 1), exp=other.exp.expand(frames, -1))

    def expanded(self, frames: int) -> DecaCodes:
        """One face as `frames` equal ones; itself where it has as many."""
        return DecaCodes(**{name: value.expand(frames, *value.shape[1:]) for name, value in vars(self).items()})

    def full_pose(self) -> Tensor:
        """[B, 5, 3] for FLAME: root, neck at rest, jaw, eyes at rest."""
        rest = torch.zeros_like(self.pose[:, :3])
        return torch.stack([self.pose[:, :3], rest, self.pose[:, 3:], rest, rest], 1)


@dataclass(frozen=True, eq=False)
class DetailMaps:
    """DECA's fixed maps over FLAME's UVs. face_and_eyes: [S, S] 0…1. displacement: [S, S] metres along the normal."""

    face_and_eyes: Tensor
    displacement: Tensor


@dataclass(frozen=True, eq=False)
class Decoded:
    """What DECA's codes look like, B faces in pictures of S², UV maps of U².

    vertices, normals [B, V, 3]: FLAME, posed, y up. image_vertices [B, V, 3]: image space.
    landmarks2d [B, 68, 2]: pixels, jaw by yaw. landmarks3d [B, 68, 4]: points fixed to the surface, pixels (their depth
    too, counted from S/2 like x and y) and 1 where visible.
    displacement [B, 1, U, U]: metres along the normal, not masked, with the fixed map. uv_detail_vertices [B, 3, U, U]:
    the displaced surface, metres, masked; 0 where no triangle is; its triangles are `dense_triangles`.
    uv_detail_normals, albedo, uv_texture (lit) [B, 3, U, U]. uv_picture_texture [B, 3, U, U]: from the picture,
    elsewhere the dimmed lit albedo.
    rendering, shape, detailed_shape [B, 3, S, S]: albedo under the light, and grey previews of the coarse and the
    detailed surface. alpha [B, 1, S, S]: 1 where the face is.
    """

    vertices: Tensor
    normals: Tensor
    image_vertices: Tensor
    landmarks2d: Tensor
    landmarks3d: Tensor
    displacement: Tensor
    uv_detail_vertices: Tensor
    uv_detail_normals: Tensor
    albedo: Tensor
    uv_texture: Tensor
    uv_picture_texture: Tensor
    rendering: Tensor
    shape: Tensor
    detailed_shape: Tensor
    alpha: Tensor


def load_detail_maps(folder: Path) -> DetailMaps:
    """The maps from DECA's data folder; UserError names the file that is missing or odd."""
    path = folder / MASK
    if not path.is_file():
        raise UserError(
            f"There is no file '{MASK}' in the folder '{folder}'. DECA's details need it and '{FIXED_DISPLACEMENT}', "
            "both from DECA's data folder; put them there."
        )
    try:
        with Image.open(path) as picture:
            mask = torch.from_numpy(np.asarray(picture.convert("RGB"), dtype=np.float32)[..., 0] / 255)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"'{MASK}' in '{folder}' is no picture that can be read. Copy it again.") from error
    stored = read(folder / FIXED_DISPLACEMENT).tensors.get(BARE)
    if stored is None or stored.shape != mask.shape:
        found = "other things" if stored is None else f"{list(stored.shape)} values"
        raise UserError(
            f"'{FIXED_DISPLACEMENT}' should hold {list(mask.shape)} values, like '{MASK}'; it holds {found}. "
            "Copy both files again."
        )
    return DetailMaps(mask, stored.float())


def orthographic(points: Tensor, cam: Tensor) -> Tensor:
    """[B, N, 3], [B, 3] -> scale · (x + tx, y + ty, z); y still up."""
    shift = torch.cat([cam[:, 1:], torch.zeros_like(cam[:, :1])], 1)
    return cam[:, None, :1] * (points + shift[:, None])


def decode(
    codes: DecaCodes,
    pictures: Tensor,
    model: Flame,
    maps: DetailMaps,
    displacement: Callable[[Tensor, Tensor, Tensor], Tensor],
    texture_codes: DecaCodes | None = None,
) -> Decoded:
    """Everything that the codes stand for, in DECA's order.

    pictures: [B, 3, S, S] RGB 0…1, the crops that the codes come from. displacement: the detail decoder,
    `Deca.displacement`. texture_codes: whose picture gives `uv_picture_texture`, where that is not `codes` (an
    expression transfer keeps the texture of the face as it was photographed). UserError where the model lacks its
    landmarks.
    """
    size, faces = pictures.shape[-1], model.faces
    if model.yaw_landmarks is None:
        raise UserError(model.no_landmarks())
    vertices, projected = _posed(codes, model)
    normals, image_normals = vertex_normals(vertices, faces), vertex_normals(projected, faces)
    landmarks2d, landmarks3d = _landmarks(codes, vertices, image_normals, model, size)

    offset = displacement(codes.pose[:, 3:], codes.exp, codes.detail)
    light = light_from_deca(codes.light)
    if model.texture is None:
        albedo = vertices.new_zeros(len(vertices), 3, *offset.shape[-2:])
    else:
        albedo = model.texture(codes.tex)

    layout = _uv_fragments(model, offset.shape[-1])
    uv_vertices, uv_normals = (interpolate(_for(layout, v), v, faces) for v in (vertices, normals))
    along = offset[:, 0] * maps.face_and_eyes + maps.displacement
    detailed = uv_vertices + along[..., None] * uv_normals
    detail_normals = _dense_normals(detailed)
    uv_texture = albedo * _channels(shade(light, detail_normals))

    fragments = _drawn(projected, faces, size)
    alpha = fragments.covered[:, None].to(vertices)
    grid = interpolate(fragments, _uv_grid(model), model.uv_faces)
    shading = _channels(shade(light, interpolate(fragments, normals, faces)))
    detail_field = functional.grid_sample(_channels(detail_normals), grid, align_corners=False) * alpha
    source = projected if texture_codes is None else _posed(texture_codes, model)[1]
    return Decoded(
        vertices=vertices,
        normals=normals,
        image_vertices=projected,
        landmarks2d=landmarks2d,
        landmarks3d=landmarks3d,
        displacement=offset + maps.displacement,
        uv_detail_vertices=_channels(detailed),
        uv_detail_normals=_channels(detail_normals),
        albedo=albedo,
        uv_texture=uv_texture,
        uv_picture_texture=_picture_texture(pictures, source, uv_texture, model, maps, layout),
        rendering=functional.grid_sample(albedo, grid, align_corners=False) * alpha * shading,
        shape=_preview(interpolate(fragments, normals, faces)) * alpha,
        detailed_shape=_preview(detail_field.permute(0, 2, 3, 1)) * alpha,
        alpha=alpha,
    )


def dense_triangles(height: int, width: int) -> Tensor:
    """[F, 3] int64: two triangles for every cell of a UV map, whose pixels are counted by rows, without its border."""
    row = torch.arange(MARGIN_Y, height - 1 - MARGIN_Y)[:, None] * width
    corner = (row + torch.arange(MARGIN_X, width - 1 - MARGIN_X)).flatten()
    right, below = corner + 1, corner + width
    return torch.cat([torch.stack([corner, below, right], 1), torch.stack([right, below, below + 1], 1)])


def to_params(codes: DecaCodes, model: Flame, size: int = DEEP3D_SIZE) -> FaceParams:
    """The same faces as parameters of `model`, seen without perspective on crops of `size` squared.

    The model must be the FLAME that DECA was trained with (2020): its codes mean nothing to others.
    """
    frames, like = len(codes.pose), codes.pose
    rotation = rotation_matrices(codes.pose[:, :3])
    identity, expression, albedo = (
        functional.pad(values[:, : len(group)], (0, max(len(group) - values.shape[1], 0)))
        for values, group in ((codes.shape, model.identity), (codes.exp, model.expression), (codes.tex, model.albedo))
    )
    scale, shift = codes.cam[:, 0], model.root_offset(identity, expression, rotation)
    focal = torch.full_like(scale, DEEP3D_FOCAL * size / DEEP3D_SIZE)
    depth = focal / (scale * size / 2)
    return FaceParams(
        layout=model.layout,
        identity=identity,
        expression=expression,
        albedo=albedo,
        joints=codes.full_pose()[:, 1:],
        angles=angles_from_matrix(rotation),
        translation=torch.cat([shift[:, :2] + codes.cam[:, 1:], -depth[:, None]], 1),
        light=light_from_deca(codes.light),
        camera=Camera(focal, like.new_full((frames, 2), size / 2), (size, size), perspective=False),
    )


def _posed(codes: DecaCodes, model: Flame) -> tuple[Tensor, Tensor]:
    """FLAME's posed vertices, y up, and the same in image space."""
    vertices = model.pose(codes.shape, codes.exp, codes.full_pose()).vertices
    return vertices, _flipped(orthographic(vertices, codes.cam))


def _flipped(points: Tensor) -> Tensor:
    """Y and z turn round: half a turn about x, so triangles keep their orientation."""
    return points * points.new_tensor([1.0, -1.0, -1.0])


def _landmarks(
    codes: DecaCodes, vertices: Tensor, image_normals: Tensor, model: Flame, size: int
) -> tuple[Tensor, Tensor]:
    by_yaw = model.yaw_landmarks(vertices, model.faces, contour_rotation(codes.full_pose()))
    fixed = model.landmarks68.on(vertices, model.faces)
    by_yaw, fixed = ((_flipped(orthographic(points, codes.cam)) + 1) * (size / 2) for points in (by_yaw, fixed))
    facing = model.landmarks68.on(image_normals, model.faces)[..., 2:]
    return by_yaw[..., :2], torch.cat([fixed, (facing < VISIBLE_Z).to(fixed)], -1)


def _drawn(vertices: Tensor, faces: Tensor, size: int) -> Fragments:
    """Fragments of vertices [B, V, 3] in image space on pictures of `size` squared."""
    screen = torch.cat([(vertices[..., :2] + 1) * (size / 2), vertices[..., 2:] + NEARNESS], -1)
    return rasterise(screen, faces, (size, size), perspective=False)


def _uv_grid(model: Flame) -> Tensor:
    """[1, T, 2]: the model's UVs as places of a map, −1…1 with y down."""
    return (model.uv[None] * 2 - 1) * model.uv.new_tensor([1.0, -1.0])


def _uv_fragments(model: Flame, size: int) -> Fragments:
    """Which triangle each pixel of a UV map belongs to."""
    grid = _uv_grid(model)
    return _drawn(torch.cat([grid, torch.zeros_like(grid[..., :1])], -1), model.uv_faces, size)


def _for(layout: Fragments, values: Tensor) -> Fragments:
    """One layout for all frames of `values`."""
    frames = len(values)
    return Fragments(*(t.expand(frames, *t.shape[1:]) for t in (layout.face, layout.barycentrics, layout.depth)))


def _dense_normals(points: Tensor) -> Tensor:
    """[B, U, U, 3] surface over the UV map -> unit normals of the same shape; 0 on the border that has no triangles."""
    height, width = points.shape[1:3]
    triangles = dense_triangles(height, width).to(points.device)
    return vertex_normals(points.flatten(1, 2), triangles).unflatten(1, (height, width))


def _picture_texture(
    pictures: Tensor, source: Tensor, uv_texture: Tensor, model: Flame, maps: DetailMaps, layout: Fragments
) -> Tensor:
    """The picture over the UV map: read where `source` [B, V, 3] (image space) lies in it, inside the mask."""
    places = interpolate(_for(layout, source), source, model.faces)[..., :2]
    seen = functional.grid_sample(pictures.to(places), places, align_corners=False)
    elsewhere = torch.full_like(seen, OUTSIDE_TEXTURE) if model.texture is None else uv_texture * OUTSIDE_TEXTURE
    return seen * maps.face_and_eyes + elsewhere * (1 - maps.face_and_eyes)


def _preview(normals: Tensor) -> Tensor:
    """[B, S, S, 3] -> [B, 3, S, S], grey under five far lights."""
    directions = normals.new_tensor(PREVIEW_LIGHTS)
    lights = torch.cat([directions, torch.full_like(directions, PREVIEW_INTENSITY)], -1)
    return PREVIEW_GREY * _channels(direction_shading(lights.expand(len(normals), -1, -1), normals))


def _channels(field: Tensor) -> Tensor:
    return field.permute(0, 3, 1, 2)
