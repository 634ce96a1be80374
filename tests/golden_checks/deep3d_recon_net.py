"""Deep3DFaceRecon's regressor: the coefficients and what every stage of its trunk puts out."""

from __future__ import annotations

import json
from collections.abc import Iterable

import torch
from goldens import Case, Comparison
from portrait_rig.core.networks import recon_net, resnet
from portrait_rig.core.networks.recon_net import HEADS, ReconNet, ReconNetOptions
from portrait_rig.core.networks.resnet import ResNetOptions

from . import _recipe

TRUNKS = {
    "resnet18": ResNetOptions.basic(resnet.RESNET18),
    "resnet34": ResNetOptions.basic(resnet.RESNET34),
    "resnet50": ResNetOptions(resnet.RESNET50),
    "resnet101": ResNetOptions(resnet.RESNET101),
    "resnet152": ResNetOptions((3, 8, 36, 3)),
    "resnext50_32x4d": ResNetOptions(resnet.RESNET50, inner=128, groups=32),
    "resnext101_32x8d": ResNetOptions(resnet.RESNET101, inner=256, groups=32),
    "wide_resnet50_2": ResNetOptions(resnet.RESNET50, inner=128),
    "wide_resnet101_2": ResNetOptions(resnet.RESNET101, inner=128),
}
"""Upstream's names of its trunks (models/networks.py)."""


def check(case: Case) -> Iterable[Comparison]:
    config, given = case.config, case.given
    last = config.get("use_last_fc", False)
    heads = (sum(HEADS),) if last else HEADS
    network = ReconNet(ReconNetOptions(TRUNKS[config["net_recon"]], heads, one_layer=last))
    if case.param:
        network = recon_net.from_tensors(case.param)
    else:
        recipe = config.get("weights") or json.loads(case.metadata["weights"])
        _recipe.fill(network, recipe["seed"], recipe.get("gain", 1.0))
    maps: dict[str, torch.Tensor] = {}
    for name in ("layer1", "layer2", "layer3", "layer4"):
        layer = network.backbone.get_submodule(name)
        layer.register_forward_hook(lambda _module, _inputs, output, name=name: maps.update({name: output}))
    with torch.no_grad():
        ours = {"coeffs": network.eval()(given["image"])}
    ours |= {f"mean/{name}": output.mean((2, 3)) for name, output in maps.items()}
    for name, expected in case.expected.items():
        yield Comparison(name, ours[name] if name in ours else maps[name][: len(expected)], expected)


CHECKS = {"deep3d/recon_net": check}
