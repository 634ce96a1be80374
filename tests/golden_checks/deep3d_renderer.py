"""`deep3d/renderer`: Deep3DFaceRecon's coefficients to camera space, lit colours, clip space, mask, depth, picture."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from goldens import Case, Comparison
from portrait_rig.core.face.camera import default_camera, place, project
from portrait_rig.core.face.light import light_from_deep3d, shade
from portrait_rig.core.face.normals import vertex_normals
from portrait_rig.core.face.raster import interpolate, rasterise
from torch import Tensor

COEFFICIENTS = (80, 64, 80, 3, 27, 3)
"""Identity, expression, texture, angles, light, translation."""
OUTLIERS = 1e-3
"""Share of pixels that may differ: centres that lie on the silhouette up to rounding."""


def clip_matrix(field_of_view: float, near: float, far: float) -> Tensor:
    """The renderer's matrix for points (X, Y up, Z away from the camera, 1), with y turned over twice."""
    x = torch.tan(torch.tensor(field_of_view, dtype=torch.float64) / 2)
    matrix = torch.zeros(4, 4, dtype=torch.float64)
    matrix[0, 0] = matrix[1, 1] = 1 / x
    matrix[2, 2], matrix[2, 3] = (far + near) / (far - near), -2 * far * near / (far - near)
    matrix[3, 2] = 1
    return matrix.float()


def check(case: Case) -> Iterable[Comparison]:
    param, config = case.param, case.config
    identity, expression, texture, angles, gamma, trans = case.given["coeffs"].split(COEFFICIENTS, dim=-1)
    frames = len(angles)
    faces = param["tri"].long() - 1
    mean = param["meanshape"].reshape(1, -1, 3)
    if config["recenter"]:
        mean = mean - mean.mean(1, keepdim=True)
    offsets = identity @ param["idBase"].T + expression @ param["exBase"].T
    shape = mean + offsets.unflatten(-1, (-1, 3))
    albedo = ((param["meantex"] + texture @ param["texBase"].T) / 255).unflatten(-1, (-1, 3))

    vertices = place(shape, angles, trans - trans.new_tensor([0, 0, config["camera_distance"]]))
    theirs = vertices * vertices.new_tensor([1, 1, -1])
    yield Comparison("camera", theirs, case.expected["camera"])
    normals = place(vertex_normals(shape, faces, by_area=False), angles, torch.zeros_like(trans))
    colour = albedo * shade(light_from_deep3d(gamma), normals)
    yield Comparison("color", colour, case.expected["color"])

    size = round(2 * config["center"])
    view = 2 * torch.atan(torch.tensor(config["center"] / config["focal"], dtype=torch.float64)).item()
    matrix = clip_matrix(view, config["z_near"], config["z_far"])
    yield Comparison("ndc_proj", matrix, case.expected["ndc_proj"])
    upside_down = torch.cat([theirs * theirs.new_tensor([1, -1, 1]), torch.ones_like(theirs[..., :1])], dim=-1)
    yield Comparison("clip", upside_down @ matrix.T, case.expected["clip"])

    camera = default_camera((size, size), torch.rad2deg(torch.tensor(view)).item(), frames)
    screen = project(camera, vertices)
    fragments = rasterise(screen, faces, (size, size))
    depth = fragments.depth.masked_fill(~fragments.covered, 0)[:, None]
    picture = interpolate(fragments, colour, faces).permute(0, 3, 1, 2)
    yield Comparison("mask", fragments.covered[:, None].float(), case.expected["mask"], outliers=OUTLIERS)
    both = fragments.covered[:, None] & (case.expected["mask"] > 0)
    yield Comparison("depth", depth[both], case.expected["depth"][both], outliers=OUTLIERS)
    both = both.expand_as(picture)
    yield Comparison("image", picture[both], case.expected["image"][both], outliers=OUTLIERS)


CHECKS = {"deep3d/renderer": check}
