"""DECA: its networks, the code's split and projection, the whole decoding and an expression transfer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from goldens import Case, Comparison
from portrait_rig.core.face import deca, flame
from portrait_rig.core.face.camera import rotation_matrix
from portrait_rig.core.networks.deca import DetailDecoder, Encoder

from . import _recipe
from .flame_model import flame_model, recipe_texture

NETWORK_TOLERANCE = 1e-4
DECODE_TOLERANCE = 1e-4
PICTURE_TOLERANCE = 1e-3
EDGE_PIXELS = 0.005
"""Share of a picture's values that may belong to pixels whose centre lies on an edge up to rounding."""
NAMES = {
    "vertices": "vertices", "normals": "normals", "transformed_vertices": "image_vertices",
    "landmarks2d": "landmarks2d", "landmarks3d": "landmarks3d", "rendered_images": "rendering",
    "shape_images": "shape", "shape_detail_images": "detailed_shape", "albedo": "albedo",
    "displacement_map": "displacement", "uv_detail_normals": "uv_detail_normals", "uv_texture": "uv_texture",
    "uv_texture_gt": "uv_picture_texture",
}  # fmt: skip
"""The goldens' names of what `Decoded` calls otherwise."""
UV_MAPS = ("albedo", "displacement_map", "uv_detail_normals", "uv_texture", "uv_texture_gt")
"""Stored with every `stride`th row and column."""


def check_encoder(case: Case) -> Iterable[Comparison]:
    network = _recipe.fill(Encoder(case.config["outsize"]), **_weights(case))
    pictures = case.given["image_u8"] / 255
    with torch.no_grad():
        yield Comparison("features", network.features(pictures), case.expected["features"], NETWORK_TOLERANCE)
        yield Comparison("parameters", network(pictures), case.expected["parameters"], NETWORK_TOLERANCE)


def check_detail(case: Case) -> Iterable[Comparison]:
    network = _recipe.fill(DetailDecoder(case.config["latent"]), **_weights(case))
    with torch.no_grad():
        ours = network(case.given["latent"])
    yield Comparison("displacement", ours, case.expected["displacement"], NETWORK_TOLERANCE)


def check_camera(case: Case) -> Iterable[Comparison]:
    given = case.given
    yield Comparison("projected", deca.orthographic(given["points"], given["cam"]), case.expected["projected"])
    matrix = rotation_matrix(torch.deg2rad(given["euler_degrees"]))
    mixed = matrix.flatten(1).T.reshape(-1, 3, 3)  # upstream lays the batch out last and views it as first
    yield Comparison("euler_matrix", mixed, case.expected["euler_matrix"])
    codes = deca.DecaCodes.split(given["code"], given["code"].new_zeros(len(given["code"]), 128))
    for name in deca.SIZES:
        yield Comparison(f"code/{name}", getattr(codes, name), case.expected[f"code/{name}"])


def check_decode(case: Case) -> Iterable[Comparison]:
    given, param, config = case.given, case.param, case.config
    weights = _weights(case)
    model = _model(case)
    maps = deca.DetailMaps(_product(param, "mask"), _product(param, "fixed"))
    latent = 3 + given["exp"].shape[1] + given["detail"].shape[1]
    network = _recipe.fill(DetailDecoder(latent), **weights)
    codes = deca.DecaCodes(**{name: given[name] for name in ("shape", "tex", "exp", "pose", "cam", "light", "detail")})
    pictures = given["images_u8"] / 255

    def displacement(jaw: torch.Tensor, expression: torch.Tensor, detail: torch.Tensor) -> torch.Tensor:
        return network(torch.cat([jaw, expression, detail], 1))

    with torch.no_grad():
        decoded = deca.decode(codes, pictures, model, maps, displacement)
        first, second = (replace(codes, **{k: v[i : i + 1] for k, v in vars(codes).items()}) for i in (0, 1))
        moved = deca.decode(first.with_expression_of(second), pictures[:1], model, maps, displacement, first)
    for name, expected in case.expected.items():
        plain = name.removeprefix("transfer/")
        ours = getattr(decoded if plain == name else moved, NAMES[plain])
        if plain in UV_MAPS:
            ours = ours[..., :: config["stride"], :: config["stride"]]
        picture = expected.dim() == 4 and plain != "displacement_map"
        yield Comparison(
            name, ours, expected, PICTURE_TOLERANCE if picture else DECODE_TOLERANCE,
            outliers=EDGE_PIXELS if picture else 0.0,
        )  # fmt: skip


def _model(case: Case) -> flame.Flame:
    """The file's FLAME with its UVs and, where the config says so, the recipe's texture."""
    model = flame_model(case, {"uv": case.param["vt"], "uv_faces": case.param["uvfaces"]})
    if case.config["use_tex"]:
        model.texture = recipe_texture(case.config["weights"]["seed"], case.config["n_tex"])
    return model


def _product(param: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    return param[f"{name}_rows"][:, None] * param[f"{name}_columns"][None, :]


def _weights(case: Case) -> dict:
    recipe = case.config["weights"]
    return {"seed": recipe["seed"], "gain": recipe.get("gain", 1.0)}


CHECKS = {
    "flame/encoder": check_encoder,
    "flame/detail": check_detail,
    "flame/camera": check_camera,
    "flame/decode": check_decode,
}
