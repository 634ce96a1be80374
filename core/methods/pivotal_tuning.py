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
from ..types import Latent
from .inversion import Inversion, Weighted, finished, fitted


@dataclass(frozen=True)
class TuneSettings:
    """How the generator is tuned.

    steps, rate: of Adam. pyramid, pixel, perceptual: weights of the distances. locality: weight of the term that keeps
    pictures of other latents as they were; 0 leaves it out. reach: how far from the pivot those latents lie, in units
    of W. seed: of their choice.
    """

    steps: int = 350
    rate: float = 3e-4
    pyramid: float = 1.0
    pixel: float = 1.0
    perceptual: float = 1.0
    locality: float = 0.1
    reach: float = 30.0
    seed: int = 0


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
    target = fitted(picture, generator.size)
    mask = None if mask is None else fitted(mask, generator.size)
    w = latent.codes_for(generator.id).detach().clone()
    distance = Weighted(settings.pyramid, settings.pixel, settings.perceptual, perceptual)
    random = torch.Generator().manual_seed(settings.seed)
    network = copy.deepcopy(generator.network).requires_grad_(False)
    copied = replace(generator, network=network)

    def draw(values: Mapping[str, Tensor], codes: Tensor) -> Tensor:
        return functional_call(network.synthesis, dict(values), (codes,)) / 2 + 0.5

    def loss(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        terms = distance(draw(values, w), target, mask)
        if settings.locality:
            near = _near(copied, w, settings.reach, random)
            with torch.no_grad():
                before = generator.draw(generator.latent(near))
            kept = distance(draw(values, near), before, None)
            terms["locality"] = settings.locality * sum(kept.values())
        return terms

    parameters = dict(network.synthesis.named_parameters())
    adam = AdamSettings(steps=settings.steps, rate=settings.rate)
    result = minimise(parameters, loss, adam, watch, lambda values: draw(values, w[:1])[0].detach())
    with torch.no_grad():
        for name, value in parameters.items():
            value.copy_(result.parameters[name])
    return finished(w, copied, target, mask, result)


def _near(generator: Generator, w: Tensor, reach: float, random: torch.Generator) -> Tensor:
    """[1, L, C]: from one of the pivots towards a random code, `reach` far. Source: PTI, localitly_regulizer.py."""
    with torch.no_grad():
        z = torch.randn(1, generator.z_dim, generator=random).to(w)
        label = torch.zeros(1, generator.c_dim).to(w) if generator.c_dim else None
        other = generator.map(z, label, LOCALITY_TRUNCATION).w
        pivot = w[torch.randint(len(w), (1,), generator=random)]
        away = other - pivot
        return pivot + reach * away / away.norm().clamp_min(1e-8)
