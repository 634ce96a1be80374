"""ArcFace's network, and the way Deep3DFaceRecon feeds it: five points, similarity, crop, embedding."""

from __future__ import annotations

import json
from collections.abc import Iterable

import torch
from goldens import Case, Comparison
from portrait_rig.core.face import alignment
from portrait_rig.core.face import crop as crops
from portrait_rig.core.networks.iresnet import DEPTHS, WIDTHS, IResNet, IResNetOptions, from_tensors
from portrait_rig.core.types import Landmarks
from torch import Tensor
from torch.nn import functional

from . import _recipe
from .alignment import _to_centres

NETWORK_TOLERANCE = 2e-5
"""The authors' own float32 noise reaches 5e-6 of the largest value (`float64_gap`)."""
CROP_TOLERANCE = 1e-4
"""Of the warped picture and what follows from it: the authors' own float32 noise is 1.2e-5, and reaches us from their
matrix and from kornia's sampling. Measured: 1.3e-5."""
CONTENT = ("layer2.0.bn1", "layer3.0.bn1", "layer4.0.bn1", "bn2")


def check_network(case: Case) -> Iterable[Comparison]:
    pictures = case.given["image"]
    network = _network(case, pictures.shape[-1])
    found: dict[str, Tensor] = {}
    for name, module in network.named_modules():
        module.register_forward_hook(lambda _module, _inputs, output, name=name: found.update({name: output}))
    with torch.no_grad():
        found["embedding"] = network(pictures)
        content = dict(zip(CONTENT, network.maps(pictures), strict=True))
    found |= {f"layer{n}": found[f"layer{n}.{depth - 1}"] for n, depth in enumerate(network.options.depths, start=1)}
    found["normalised"] = functional.normalize(found["embedding"])
    for name, expected in case.expected.items():
        group, _, module = name.partition("/")
        ours = content[module] if group == "content" else found[module or name]
        if group == "mean":
            ours = ours.mean((2, 3))
        elif module:
            ours = ours[: len(expected)]
        yield Comparison(name, ours, expected, NETWORK_TOLERANCE)


def check_recognition(case: Case) -> Iterable[Comparison]:
    pictures, points = case.given["image"], case.given["landmarks"]
    size = tuple(pictures.shape[-2:])
    down = torch.stack([points[..., 0], size[0] - 1 - points[..., 1]], dim=-1) + 0.5
    side = case.expected["crop"].shape[-1]
    crop = alignment.arcface(Landmarks(down.double(), torch.ones(len(down)), size), side)
    aligned = crops.take(pictures, crop)
    with torch.no_grad():
        feature = functional.normalize(_network(case, side)(2 * aligned - 1))
    yield Comparison("matrix", _to_centres(crop.matrices)[:, :2], case.expected["matrix"])
    yield Comparison("crop", aligned, case.expected["crop"], CROP_TOLERANCE)
    yield Comparison("feature", feature, case.expected["feature"], CROP_TOLERANCE)


def _network(case: Case, side: int) -> IResNet:
    """The file's network, with its own weights or the recipe's, brought back from its state dict."""
    if case.param:
        return from_tensors(case.param)
    embedding = next(case.expected[name].shape[1] for name in ("embedding", "feature") if name in case.expected)
    options = IResNetOptions(DEPTHS[case.config["network"]], WIDTHS, embedding, side)
    like = IResNet(options).state_dict()
    recipe = json.loads(case.metadata["weights"]) if "weights" in case.metadata else case.config["weights"]
    return from_tensors(
        {key: _recipe.tensor(key, value, recipe["seed"], recipe.get("gain", 1.0)) for key, value in like.items()}
    )


CHECKS = {"deep3d/arcface": check_network, "deep3d/recognition": check_recognition}
