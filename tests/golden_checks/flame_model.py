"""FLAME: the posed model, each stage of skinning, the texture space."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from goldens import Case, Comparison
from portrait_rig.core.face import flame
from portrait_rig.core.face.flame_texture import STORED_SIZE, FlameTexture

from . import _recipe

MODEL_TOLERANCE = 1e-6
"""Metres; float32 rounding is about 1e-7."""
TEXTURE_TOLERANCE = 1e-5


def check_model(case: Case) -> Iterable[Comparison]:
    model = flame_model(case)
    given, eyes = case.given, case.given["eye_pose"].unflatten(1, (2, 3))
    no_eyes = torch.zeros_like(eyes)
    for prefix, eye_pose in (("", no_eyes), ("eyes/", eyes)):
        pose = deca_pose(given["pose"], eye_pose)
        vertices = model.pose(given["shape"], given["exp"], pose).vertices
        rotation = flame.contour_rotation(pose)
        yield _absolute(prefix + "vertices", vertices, case)
        yield _absolute(prefix + "landmarks2d", model.yaw_landmarks(vertices, model.faces, rotation), case)
        yield _absolute(prefix + "landmarks3d", model.landmarks68.on(vertices, model.faces), case)
    row = flame.contour_row(flame.contour_rotation(deca_pose(given["pose"], no_eyes)))
    yield _exact("contour_faces", model.yaw_landmarks.dynamic_faces[row], case)
    yield _exact("contour_bary", model.yaw_landmarks.dynamic_barycentrics[row], case)


def check_lbs(case: Case) -> Iterable[Comparison]:
    posed = flame.skinning_from_tensors(case.param)(case.given["betas"], case.given["full_pose"].unflatten(1, (-1, 3)))
    stages = {
        "rot_mats": posed.rotations, "v_shaped": posed.shaped, "joints_rest": posed.joints_rest,
        "pose_feature": posed.pose_feature, "v_posed": posed.corrected, "joints_posed": posed.joints,
        "skin_transforms": posed.transforms, "vertices": posed.vertices,
    }
    for name, ours in stages.items():
        yield _absolute(name, ours, case)
    rotation = flame.contour_rotation(case.given["full_pose"].unflatten(1, (-1, 3)))
    for name, negated in (("contour_faces", False), ("contour_faces_negated", True)):
        yield _exact(name, case.param["dynamic_lmk_faces_idx"][flame.contour_row(rotation, negated)], case)


def check_texture(case: Case) -> Iterable[Comparison]:
    texture = recipe_texture(case.config["weights"]["seed"], case.config["n_tex"])
    stride = case.config["stride"]
    ours = texture(case.given["tex"])[:, :, ::stride, ::stride]
    yield Comparison("texture", ours, case.expected["texture"], TEXTURE_TOLERANCE)


def flame_model(case: Case, template: dict[str, torch.Tensor] | None = None) -> flame.Flame:
    """The model of a file that carries FLAME's fields and its embedding. template: UVs, where it has any."""
    modes = case.config.get("n_id_modes_in_file", flame.IDENTITY_MODES)
    companions = {flame.EMBEDDING: case.param} | ({flame.TEMPLATE: template} if template else {})
    return flame.from_tensors(case.param, {}, companions, modes)


def recipe_texture(seed: int, components: int) -> FlameTexture:
    """The texture space that the goldens' notes describe: u for the mean, 0.2 u − 0.1 for the directions."""
    pixels = STORED_SIZE * STORED_SIZE * 3
    mean = _recipe.uniform("texture_mean", (1, 1, pixels), seed).float()
    basis = (0.2 * _recipe.uniform("texture_basis", (pixels, components), seed) - 0.1).float()
    return FlameTexture.from_tensors({"MU": mean, "PC": basis}, components)


def deca_pose(pose: torch.Tensor, eyes: torch.Tensor) -> torch.Tensor:
    """DECA's [B, 6] (global, jaw) and [B, 2, 3] eyes -> [B, 5, 3], the neck at rest."""
    turn, jaw = pose[:, :3], pose[:, 3:]
    return torch.cat([torch.stack([turn, torch.zeros_like(turn), jaw], 1), eyes], 1)


def _absolute(name: str, ours: torch.Tensor, case: Case) -> Comparison:
    return Comparison(name, ours, case.expected[name], MODEL_TOLERANCE, absolute=True)


def _exact(name: str, ours: torch.Tensor, case: Case) -> Comparison:
    return Comparison(name, ours, case.expected[name])


CHECKS = {"flame/model": check_model, "flame/lbs": check_lbs, "flame/texture": check_texture}
