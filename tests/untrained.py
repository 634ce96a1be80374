"""Small networks that nobody trained: they try out every wire."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy
import torch
from portrait_rig.core.methods.identity import IdentityNetwork
from portrait_rig.core.networks.generator import Generator
from portrait_rig.core.networks.iresnet import IResNet, IResNetOptions
from portrait_rig.core.networks.layers import MappingOptions
from portrait_rig.core.networks.stylegan2 import StyleGan2, StyleGan2Options

NAME = "untrained 64²"
CHANNELS = {4: 24, 8: 24, 16: 24, 32: 16, 64: 16}
"""Features of every resolution; a picture takes some 10 ms on one processor core."""
MAPPING = MappingOptions(z_dim=32, w_dim=32, num_layers=4)
SEED = 0
NOISE_STRENGTH = 0.1
CONTRAST = 0.3
"""Times the weights towards the picture; chosen so that 98 % of all values stay within black and white."""
W_AVG_SAMPLES, W_AVG_DECIMALS = 1000, 4
"""The mean code, rounded so that machines which add up in another order agree on it."""


def untrained() -> Generator:
    """A StyleGAN2 that draws coloured clouds, the same on every machine.

    Its weights come from numpy's RandomState, whose numbers never change between versions and machines.
    """
    random = numpy.random.RandomState(SEED)
    with torch.random.fork_rng(devices=[]):
        network = StyleGan2(StyleGan2Options(CHANNELS, MAPPING)).eval().requires_grad_(False)
    for name, tensor in network.state_dict().items():
        if name.endswith("noise_strength"):
            tensor.fill_(NOISE_STRENGTH)
        elif name.endswith(("weight", "const")):
            scale = CONTRAST if "torgb.weight" in name else 1 / MAPPING.lr_multiplier if "mapping." in name else 1.0
            tensor.copy_(torch.from_numpy(scale * random.standard_normal(tuple(tensor.shape))))
    z = torch.from_numpy(random.standard_normal((W_AVG_SAMPLES, MAPPING.z_dim)))
    mean = copy.deepcopy(network.mapping).double().features(z).mean(0)
    network.mapping.w_avg.copy_(mean.round(decimals=W_AVG_DECIMALS))
    return Generator.of(network, NAME)


def small(
    channels: Sequence[int] = (8, 8), name: str = "small", seed: int = 0, img_channels: int = 3, **mapping: int
) -> Generator:
    """A StyleGAN2 as it is before training. channels: of every resolution from 4² on. mapping: its MappingOptions."""
    options = StyleGan2Options(
        {4 << i: count for i, count in enumerate(channels)},
        MappingOptions(**{"z_dim": 8, "w_dim": 8, "num_layers": 2, **mapping}),
        img_channels,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = StyleGan2(options)
    return Generator.of(network.eval().requires_grad_(False), name)


def recogniser(
    side: int = 112, widths: tuple[int, int, int, int] = (4, 4, 8, 8), embedding: int = 8, seed: int = 0
) -> IdentityNetwork:
    """An iresnet as it is before training, with one block a stage. side: of its crops in pixels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = IResNet(IResNetOptions((1, 1, 1, 1), widths, embedding, side))
    return IdentityNetwork("small", "f", network.eval().requires_grad_(False))
