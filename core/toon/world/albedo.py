"""How the people of the toon world are coloured, as a smooth function of standard normal values.

A Gaussian copula: every coefficient keeps the distribution that `sampling` gives it, and the coefficients keep their
correlations (by rank). What is discrete in the world, such as the colour of irises, becomes continuous, which a latent
that is searched by gradients needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from scipy.stats import norm
from torch import Tensor

from .sampling import scene

PEOPLE = 4000
"""Seeds 0 … 3,999 are looked at; about ten seconds."""
TIE_SEED = 0
"""Of the order among people who have exactly the same value, such as no freckles."""


class AlbedoSpace:
    """Standard normal values [B, K] -> albedo coefficients [B, K] of the toon head."""

    def __init__(self, coefficients: Tensor) -> None:
        """coefficients: [N, K], those of N people."""
        values = coefficients.double().numpy()
        ties = np.random.default_rng(TIE_SEED).random(values.shape)
        ranks = np.lexsort((ties, values), axis=0).argsort(axis=0)
        normal = norm.ppf((ranks + 0.5) / len(values))
        self._mixing = torch.from_numpy(np.linalg.cholesky(np.corrcoef(normal.T)))
        self._sorted = torch.from_numpy(np.sort(values, axis=0)).T.contiguous()

    @classmethod
    def of_people(cls, names: Sequence[str], seeds: Iterable[int] = range(PEOPLE)) -> AlbedoSpace:
        """Of the scenes of `seeds`. names: of the head's albedo directions, in their order."""
        return cls(people_coefficients(names, seeds))

    def __len__(self) -> int:
        return len(self._sorted)

    def __call__(self, normal: Tensor) -> Tensor:
        """The coefficients, in the type of `normal`; people far outside are as extreme as the most extreme of all."""
        mixed = normal.double() @ self._mixing.T
        place = torch.special.ndtr(mixed) * self._sorted.shape[1] - 0.5
        place = place.clamp(0, self._sorted.shape[1] - 1)
        below = place.floor().long().clamp(max=self._sorted.shape[1] - 2)
        low, high = (self._sorted.gather(1, (below + step).T).T for step in (0, 1))
        return torch.lerp(low, high, place - below).to(normal)


def people_coefficients(names: Sequence[str], seeds: Iterable[int]) -> Tensor:
    """[N, K], the albedo coefficients of the people of `seeds`."""
    people = [scene(seed).albedo for seed in seeds]
    return torch.tensor([[person.get(name, 0.0) for name in names] for person in people])
