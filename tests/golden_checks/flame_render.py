"""`flame/render` and `flame/shading`: DECA's renderer and its lights, in DECA's own image space.

Image space: x right, y down, z away from the viewer, the picture spans -1…1 both ways.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from goldens import Case, Comparison
from portrait_rig.core.face.light import DECA_FACTORS, direction_shading, light_from_deca, point_shading, shade
from portrait_rig.core.face.normals import vertex_normals
from portrait_rig.core.face.raster import Fragments, interpolate, rasterise
from torch import Tensor
from torch.nn import functional

OUTLIERS = 2e-3
"""Share of elements that may differ: pixels whose centre lies on an edge up to rounding."""
NEARNESS = 10.0
"""DECA adds this to z before it draws, so that all depths are positive."""
FRONT_Z = -0.05
"""`pos_mask` is where the image-space normal's z is below this."""
PREVIEW_ALBEDO = 180 / 255
PREVIEW_LIGHTS = ((-1, 1, 1), (1, 1, 1), (-1, -1, 1), (1, -1, 1), (0, 0, 1))
PREVIEW_INTENSITY = 1.7
"""`render_shape`'s grey material and its five far lights (`utils/renderer.py`)."""


def drawn(vertices: Tensor, faces: Tensor, size: int) -> Fragments:
    """Fragments of vertices in image space."""
    screen = torch.cat([(vertices[..., :2] + 1) * (size / 2), vertices[..., 2:] + NEARNESS], dim=-1)
    return rasterise(screen, faces, (size, size), perspective=False)


def pictures(field: Tensor) -> Tensor:
    return field.permute(0, 3, 1, 2)


def check_render(case: Case) -> Iterable[Comparison]:
    size, given = case.config["image_size"], case.given
    faces, uv_faces = case.param["f"], case.param["uvfaces"]
    fragments = drawn(given["transformed_vertices"], faces, size)
    alpha = fragments.covered[:, None].float()
    normals = vertex_normals(given["vertices"], faces)
    turned = vertex_normals(given["transformed_vertices"], faces)
    uv = case.param["vt"][None] * 2 - 1
    grid = interpolate(fragments, uv * uv.new_tensor([1, -1]), uv_faces)
    albedo = functional.grid_sample(given["albedo"], grid, align_corners=False) * alpha
    field = interpolate(fragments, normals, faces)
    shading = pictures(shade(light_from_deca(given["sh"]), field))
    front = (pictures(interpolate(fragments, turned, faces))[:, 2:] < FRONT_Z).float()

    directions = torch.tensor(PREVIEW_LIGHTS, dtype=torch.float32)
    lights = torch.cat([directions, torch.full_like(directions, PREVIEW_INTENSITY)], dim=-1)
    grey = pictures(PREVIEW_ALBEDO * direction_shading(lights.expand(len(field), -1, -1), field))
    background = given["background_u8"] / 255

    uv_size = case.config["uv_size"]
    layout = torch.cat([uv * uv.new_tensor([1, -1]), torch.zeros_like(uv[..., :1])], dim=-1)
    unwrapped = drawn(layout.expand(len(field), -1, -1), uv_faces, uv_size)
    ours = {
        "render/normals": normals,
        "render/transformed_normals": turned,
        "render/alpha_images": alpha,
        "render/grid": grid,
        "render/albedo_images": albedo,
        "render/normal_images": pictures(field),
        "render/shading_images": shading,
        "render/images": albedo * shading * alpha,
        "render/pos_mask": front,
        "shape_images": grey * alpha + background * (1 - alpha),
        "uv_vertices": pictures(interpolate(unwrapped, given["vertices"], faces)),
    }
    for name, value in ours.items():
        yield Comparison(name, value, case.expected[name], outliers=0.0 if name.endswith("normals") else OUTLIERS)


def check_shading(case: Case) -> Iterable[Comparison]:
    given = case.given
    normals = vertex_normals(given["vertices"], case.param["f"])
    ours = {
        "vertex_normals": normals,
        "sh_constants": torch.tensor(DECA_FACTORS),
        "sh_shading": pictures(shade(light_from_deca(given["sh"]), given["normal_image"].permute(0, 2, 3, 1))),
        "point_shading": point_shading(given["lights"], normals, given["vertices"]),
        "direction_shading": direction_shading(given["lights"], normals),
    }
    for name, value in ours.items():
        yield Comparison(name, value, case.expected[name])


CHECKS = {"flame/render": check_render, "flame/shading": check_shading}
