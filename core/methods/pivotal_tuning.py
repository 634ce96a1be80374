"""A generator changed a little, so that it draws given pictures exactly at the latents found for them.

Source: Roich et al. 2021, "Pivotal tuning for latent-based editing of real images"; constants from danielroich/PTI,
`configs/hyperparameters.py`. The tuned generator keeps the latent space: edits and directions stay valid.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.func import functional_call

from ..networks.generator import Generator
from ..optimise import AdamSettings, Watch, minimise
from ..perceptual import Distance
from ..types import Latent, common_batch
from .inversion import Inversion, Weighted, finished, frozen, statistics, targets
from .latents import truncated, untruncated


@dataclass(frozen=True)
class TuneSettings:
    """How the generator is tuned.

    steps, rate: of Adam; the rate is for a generator of FULL_WIDTH channels and grows as it gets narrower. pyramid,
    pixel, perceptual: weights of the distances. locality: weight of a term that keeps pictures of other latents as they
    were, for more than twice the time; PTI, too, leaves it out at first. reach: how far from the pivot those latents
    lie, in spreads of W (PTI's 30 is in units of FFHQ's 18 × 512 values). seed: of their choice.
    """

    steps: int = 350
    rate: float = 3e-4
    pyramid: float = 1.0
    pixel: float = 1.0
    perceptual: float = 1.0
    locality: float = 0.0
    reach: float = 0.7
    seed: int = 0


FULL_WIDTH = 512
"""Channels of the networks that PTI chose its rate for. Fewer weights have to move further for the same change: a
generator of 24 channels gains 2.5 dB in 350 steps at PTI's rate itself, 7.2 dB at this one."""
LOCALITY_TRUNCATION = 0.5
"""Truncation of the random latents that locality looks at. PTI, criteria/localitly_regulizer.py."""


def tune(
    picture: Tensor,
    latent: Latent,
    generator: Generator,
    settings: TuneSettings = TuneSettings(),
    *,
    perceptual: Distance | None = None,
    mask: Tensor | None = None,
    watch: Watch | None = None,
) -> Inversion:
    """Tunes a copy of `generator` to draw `picture` [B, 3, H, W] at `latent` (B of them); the original stays as it was.

    perceptual and mask as in `inversion.invert`. Errors: as there.
    """
    target, mask = targets(picture, mask, generator)
    frames = common_batch(pictures=len(target), latents=len(latent))
    target = target.expand(frames, -1, -1, -1)
    w = latent.codes_for(generator.id).detach().to(generator.device, copy=True).expand(frames, -1, -1)
    distance = Weighted(settings.pyramid, settings.pixel, settings.perceptual, perceptual)
    random = torch.Generator().manual_seed(settings.seed)
    _, spread = statistics(generator) if settings.locality else (None, 0.0)
    network = copy.deepcopy(generator.network).requires_grad_(False)
    original, tuned = frozen(generator), replace(generator, network=network, tuned=True, compiled=None)

    def draw(values: Mapping[str, Tensor], codes: Tensor) -> Tensor:
        return functional_call(network.synthesis, dict(values), (codes,)) / 2 + 0.5

    def loss(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        terms = distance(draw(values, w), target, mask)
        if settings.locality:
            near = _near(original, w, settings.reach * spread, random)
            with torch.no_grad():
                before = original.draw(original.latent(near))
            kept = distance(draw(values, near), before, None)
            terms["locality"] = settings.locality * sum(kept.values())
        return terms

    parameters = dict(network.synthesis.named_parameters())
    widest = max(len(weight) for weight in network.synthesis.style_weights())
    adam = AdamSettings(steps=settings.steps, rate=settings.rate * FULL_WIDTH / widest)
    result = minimise(parameters, loss, adam, watch, lambda values: draw(values, w[:1])[0].detach())
    with torch.no_grad():
        for name, value in parameters.items():
            value.copy_(result.parameters[name])
    return finished(w, tuned, target, mask, result)


def _near(generator: Generator, w: Tensor, reach: float, random: torch.Generator) -> Tensor:
    """[1, L, C]: from one pivot towards a random code, `reach` far a layer. Source: PTI, localitly_regulizer.py."""
    with torch.no_grad():
        z = torch.randn(1, generator.z_dim, generator=random)
        other = truncated(generator.latent(untruncated(generator, z)), generator, LOCALITY_TRUNCATION).w
        pivot = w[torch.randint(len(w), (1,), generator=random)]
        away = other - pivot
        return pivot + reach * away / away.square().sum(2).mean().sqrt().clamp_min(1e-8)
