"""Deep3DFaceRecon: coefficients to lit vertices and landmarks, the cropped model's making, losses, skin mask."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from goldens import Case, Comparison
from portrait_rig.core.face import bfm, deep3d
from portrait_rig.core.face.camera import place, project, rotation_matrix
from portrait_rig.core.face.light import shade
from portrait_rig.core.face.normals import vertex_normals
from portrait_rig.core.face.skin import LEVELS, skin_mask
from portrait_rig.core.types import Camera

ROUNDED_ASIDE = 0.002
"""Share of mask bytes that may fall on the other side of a rounding tie."""


def check_face_model(case: Case) -> Iterable[Comparison]:
    model = bfm.from_tensors(case.param, {}, case.config["recenter"])
    params = deep3d.to_params(case.given["coeffs"])
    frames, centre, distance = len(params), case.config["center"], case.config["camera_distance"]
    size = round(2 * centre)
    camera = Camera(torch.full((frames,), case.config["focal"]), torch.full((frames, 2), centre), (size, size))
    yield _compare("mean_shape", model.mean, case)
    shape = model.vertices(params.identity, params.expression)
    yield _compare("shape", shape, case)
    rotation = rotation_matrix(params.angles)
    yield _compare("rotation", rotation.mT, case)
    world = place(shape, params.angles, deep3d.Coefficients.split(case.given["coeffs"]).translation)
    yield _compare("world", world, case)
    placed = world - world.new_tensor([0.0, 0.0, distance])
    yield _compare("camera", placed * placed.new_tensor([1.0, 1.0, -1.0]), case)
    pixels = project(camera, placed)[..., :2]
    upwards = torch.stack([pixels[..., 0], size - pixels[..., 1]], -1)
    yield _compare("projected", upwards, case)
    yield _compare("landmarks", model.landmarks68.on(upwards, model.faces), case)
    one_pixel_up = pixels.new_tensor([0.0, 1.0])  # upstream flips y about the last row's centre, not its edge
    yield _compare("landmarks_image", model.landmarks68.on(pixels, model.faces) - one_pixel_up, case)
    albedo = model.vertex_albedo(params.albedo)
    yield _compare("texture", albedo, case)
    normals = vertex_normals(shape, model.faces, by_area=False)
    yield _compare("normals", normals, case)
    turned = normals @ rotation.mT
    yield _compare("normals_rotated", turned, case)
    yield _compare("color", albedo * shade(params.light, turned), case)


def check_bfm_transfer(case: Case) -> Iterable[Comparison]:
    for name, ours in bfm.crop_bfm2009(case.given).items():
        yield _compare(name, ours, case)


def check_losses(case: Case) -> Iterable[Comparison]:
    given, config = case.given, case.config
    weights = deep3d.LossWeights(
        prior_identity=config["w_id"], prior_expression=config["w_exp"], prior_albedo=config["w_tex"]
    )
    parts = deep3d.Coefficients.split(given["coeffs"])
    light = deep3d.to_params(given["coeffs"]).light
    ours = {
        "photo": deep3d.colour_loss(given["image_a"], given["image_b"], given["mask"]),
        "landmark": deep3d.landmark_loss(given["landmarks_a"], given["landmarks_b"]),
        "reg": deep3d.prior_loss(parts.identity, parts.expression, parts.albedo, weights),
        "gamma": deep3d.light_loss(light),
        "reflectance": deep3d.albedo_loss(given["texture"], given["skinmask"].flatten()),
        "perceptual": deep3d.identity_loss(given["feature_a"], given["feature_b"]),
    }
    for name, value in ours.items():
        yield _compare(name, value.reshape(case.expected[name].shape), case)


def check_skin_mask(case: Case) -> Iterable[Comparison]:
    pictures = case.given["bgr"].double().flip(-1).permute(2, 0, 1)[None] / LEVELS
    mask = (skin_mask(pictures)[0, 0] * LEVELS).round()
    yield Comparison("mask", mask[..., None].expand(-1, -1, 3), case.expected["mask"], outliers=ROUNDED_ASIDE)


def _compare(name: str, ours: torch.Tensor, case: Case) -> Comparison:
    return Comparison(name, ours, case.expected[name])


CHECKS = {
    "deep3d/face_model": check_face_model,
    "deep3d/bfm_transfer": check_bfm_transfer,
    "deep3d/losses": check_losses,
    "deep3d/skin_mask": check_skin_mask,
}
