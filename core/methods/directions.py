"""Directions in W along which a generator's pictures change most, read from its weights alone.

Source: Shen & Zhou 2021, "Closed-form factorization of latent semantics in GANs" (SeFa), equations 5 to 7.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import UserError
from ..networks.generator import Generator
from ..types import GeneratorId, Latent
from .latents import ALL, layers_of, noise_of_seed, untruncated

SPREAD_SEED, SPREAD_SAMPLES = 0, 1000
"""Random codes that the spread along a direction is measured with: ±2 %."""


@dataclass(frozen=True, eq=False)
class Directions:
    """K directions of one generator, the strongest first.

    vectors: [K, C] of length 1, orthogonal. strengths: [K], change of the styles for a unit step, from the weights.
    spreads: [K], standard deviation of random codes along each. layers: those the directions were found in, as text.
    """

    vectors: Tensor
    strengths: Tensor
    spreads: Tensor
    layers: str
    generator: GeneratorId

    def __len__(self) -> int:
        return len(self.vectors)


def factorise(generator: Generator, layers: str = ALL, count: int = 20) -> Directions:
    """The `count` directions (at most w_dim) to which the styles of `layers` (see `layers_of`) answer most strongly.

    They are the eigenvectors of AᵀA, with A the weights that make styles from codes. A sign is arbitrary in theory;
    here each direction's largest component is positive, so that runs agree.
    """
    weights = generator.network.synthesis.style_weights()
    chosen = torch.cat([weights[i].detach().double().cpu() for i in layers_of(layers, len(weights))])
    values, vectors = torch.linalg.eigh(chosen.t() @ chosen)
    count = min(count, len(values))
    strengths, vectors = values.flip(0)[:count].clamp_min(0).sqrt(), vectors.flip(1).t()[:count]
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    vectors = (vectors * largest.sign()).float()
    with torch.no_grad():
        codes = untruncated(generator, noise_of_seed(SPREAD_SEED, SPREAD_SAMPLES, generator.z_dim)).float().cpu()
    return Directions(vectors, strengths.float(), (codes @ vectors.t()).std(0), layers, generator.id)


def moved(latent: Latent, directions: Directions, number: int, strength: float, layers: str | None = None) -> Latent:
    """`latent` moved along direction `number` (the first is 1) by `strength` standard deviations of random codes.

    layers: where (see `latents.layers_of`); None for those that the directions were found in.
    UserError for directions of another generator or a number beyond the last.
    """
    if directions.generator.fingerprint != latent.generator.fingerprint:
        raise UserError(
            f"These directions belong to generator '{directions.generator.name}' and mean nothing to latents of "
            f"'{latent.generator.name}'. Find the directions of that generator."
        )
    if not 1 <= number <= len(directions):
        raise UserError(f"Direction {number} was asked for, but there are {len(directions)}, numbered from 1.")
    w = latent.w.clone()
    step = strength * directions.spreads[number - 1] * directions.vectors[number - 1]
    w[:, layers_of(layers or directions.layers, w.shape[1])] += step.to(w)
    return replace(latent, w=w)
