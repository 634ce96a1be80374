"""The lesson of the embedded texture generator: a progressive GAN's generator that draws the toon head's albedo maps.

GANFit's was trained against a discriminator because nobody knows which latent belongs to a scan. Here that is known:
the world's albedo is a smooth function of standard normal values (`toon.world.albedo`), so the generator learns the
function itself, map by map, and cannot drop a kind of face. It grows as the paper's does: small maps first, every
doubling faded in (Karras et al. 2018, section 3).
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..face.model import FaceModel
from ..face.uv import texels
from ..methods import texture_gan
from ..networks.progan import ProGan, ProGanOptions
from ..networks.textures import ProGanTextures
from ..perceptual import psnr
from ..toon.world.albedo import AlbedoSpace
from .supervised import CHANCE, WEIGHTS, SupervisedSettings, generator

NAME = "toon texture GAN"
LATENT = 64
"""Values of a latent. More than the albedo's 25, because a progressive GAN knows only directions: a face far from the
mean in all 25 still is one when the others make up the length."""
CHANNELS = (128, 128, 96, 64, 32, 16, 12)
"""Features at 4 … 256 texels; the file stays below 3 MB. At 128 texels irises are blurred in a portrait, at 256 not."""
DETAIL_WEIGHT = 4.0
"""Of texels that are no skin, against 1: eyes, brows and teeth are a twentieth of a map and what people look at."""
GROWTH = ((3, 0.30), (2, 0.06), (2, 0.16), (1, 0.06), (1, 0.18), (0, 0.06), (0, 0.18))
"""(level of detail at the end of a phase, its part of all steps); where it changes, it fades from one to the next.
Small maps are cheap, and what a latent means is learnt there."""
DEFAULTS = SupervisedSettings(steps=4000, batch=8, rate=0.03, average=0.0, precision="bf16")
"""A quarter of an hour of one processor core. The rate is that of weights of unit variance, which are scaled when used:
after 300 steps at 32 texels 0.002 leaves 16.8 dB, 0.006 19.0, 0.02 21.1, 0.05 21.2. It falls to 0, so the last weights
need no averaging, which would hold on to layers from before they were faded in."""
SHEET_COLUMNS = 6
HELD_OUT, HELD_OUT_SEED = 16, 1_000_000
"""Random latents that the file's figure is measured with."""


class ToonTextureLesson:
    """latents -> UV maps of the toon head, as a `supervised.Lesson`."""

    product = "toon_texture_gan"

    def __init__(
        self, model: FaceModel, steps: int, batch: int, seed: int = 0, channels: tuple[int, ...] = CHANNELS,
        space: AlbedoSpace | None = None,
    ) -> None:  # fmt: skip
        """steps: over which the generator grows. space: how people are coloured, made here where None."""
        self._model, self._steps, self._batch, self._seed = model, steps, batch, seed
        self._space = AlbedoSpace.of_people(model.albedo.names) if space is None else space
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator(seed, WEIGHTS).initial_seed())
            self.network = ProGan(ProGanOptions(LATENT, channels))
        self._truth = texture_gan.own_textures(model, self.network.options.resolution).source
        places = texels(model, self._truth.size)
        skin = model.skin_region[places.face] | ~places.covered
        self._weight = torch.where(skin, 1.0, DETAIL_WEIGHT)[:, None]
        self._pyramid: dict[int, Tensor] = {}
        self._lod = self.lod(0)
        self.about = f"albedo maps of '{model.layout}', {len(model.albedo)} coefficients"
        self.fingerprint = hashlib.sha256(self._truth.directions.numpy().tobytes()).hexdigest()[:16]

    def losses(self, network: nn.Module, step: int, run: Callable[..., Tensor]) -> dict[str, Tensor]:
        """Weighted mean squared error of RGB −1…1, at the size that the generator has grown to."""
        latents = torch.randn(self._batch, LATENT, generator=generator(self._seed, CHANCE, step))
        self._lod = self.lod(step)
        whole = int(self._lod)
        drawn = run(network, latents, self._lod)[:, :, :: 1 << whole, :: 1 << whole]
        weight = functional.avg_pool2d(self._weight, 1 << whole)
        off = (drawn - (self.maps(latents, whole) * 2 - 1)).square() * weight
        return {"maps": off.mean() / weight.mean()}

    def lod(self, step: int) -> float:
        """Level of detail of a step: 0 is the whole size, 1.5 lies half way between a half and a quarter of it."""
        done = min(step / self._steps, 1.0)
        before = GROWTH[0][0]
        for (level, share), end in zip(GROWTH, accumulate(share for _, share in GROWTH), strict=True):
            if done < end:
                return level + (before - level) * (end - done) / share
            before = level
        return float(before)

    def maps(self, latents: Tensor, lod: int = 0) -> Tensor:
        """[B, LATENT] -> the true maps [B, 3, S / 2^lod, S / 2^lod] RGB 0…1."""
        unit = latents * math.sqrt(LATENT) / latents.norm(dim=1, keepdim=True)
        coefficients = self._space(unit[:, : len(self._space)])
        if lod not in self._pyramid:
            both = torch.cat([self._truth.mean[None], self._truth.directions])
            self._pyramid[lod] = functional.avg_pool2d(both, 1 << lod)
        mean, directions = self._pyramid[lod][0], self._pyramid[lod][1:]
        return (mean + (coefficients @ directions.flatten(1)).unflatten(1, mean.shape)).clamp(0, 1)

    def progress(self) -> dict[str, Any]:
        return {"lod": self._lod}

    def go_on(self, progress: Mapping[str, Any]) -> None:
        self._lod = float(progress["lod"])

    def sheet(self, network: nn.Module) -> Tensor:
        """Rows: true maps of people who were not trained on, what `network` makes of the same latents."""
        latents = torch.randn(SHEET_COLUMNS, LATENT, generator=generator(HELD_OUT_SEED))
        rows = torch.cat([self.maps(latents), network(latents, self._lod) / 2 + 0.5]).clamp(0, 1)
        grid = rows.unflatten(0, (2, SHEET_COLUMNS)).permute(2, 0, 3, 1, 4)
        return grid.flatten(3, 4).flatten(1, 2)

    def packed(self, network: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Half precision; loading widens it again."""
        start = torch.zeros(LATENT)
        start[len(self._space) :] = 1.0  # the coefficients' medians
        grown = copy.deepcopy(network)
        grown.options = replace(network.options, lod=self._lod)
        gan = texture_gan.of(ProGanTextures(grown, start), NAME, self._model.layout)
        latents = torch.randn(HELD_OUT, LATENT, generator=generator(HELD_OUT_SEED))
        tensors, metadata = texture_gan.packed(gan)
        quality = float(psnr(grown(latents) / 2 + 0.5, self.maps(latents)).mean())
        told = {"psnr": f"{quality:.2f} dB over {HELD_OUT} maps of held-out latents", "licence": "Apache-2.0"}
        return {name: tensor.half() for name, tensor in tensors.items()}, {**metadata, **told}
