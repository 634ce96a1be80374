"""How the people of the toon world are coloured, as a smooth function of standard normal values.

A Gaussian copula: every coefficient keeps about the distribution that `sampling` gives it, and the coefficients keep
their correlations (by rank). What is discrete in the world, such as the eight tones of skin, becomes continuous: a
latent that is searched by gradients needs it so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.special import ndtr, ndtri
from torch import Tensor

from .sampling import scene

PEOPLE = 4000
"""Seeds 0 … 3,999 are looked at; about ten seconds."""
TIE_SEED = 0
"""Of the order among people who have exactly the same value, such as no freckles."""
LIMIT, STEP, SMOOTHING = 4.0, 0.05, 0.3
"""Standard deviations: where the tables of quantiles end, between two entries, and of the Gaussian that smooths them,
wide enough to close the gaps between the tones."""


class AlbedoSpace:
    """Standard normal values [B, K] -> albedo coefficients [B, K] of the toon head."""

    def __init__(self, coefficients: Tensor) -> None:
        """coefficients: [N, K], those of N people."""
        values = coefficients.double().numpy()
        ties = np.random.default_rng(TIE_SEED).random(values.shape)
        ranks = np.lexsort((ties, values), axis=0).argsort(axis=0)
        normal = ndtri((ranks + 0.5) / len(values))
        self._mixing = torch.from_numpy(np.linalg.cholesky(np.corrcoef(normal.T)))
        places = ndtr(np.arange(-LIMIT, LIMIT + STEP / 2, STEP))
        table = gaussian_filter1d(np.quantile(values, places, axis=0), SMOOTHING / STEP, axis=0, mode="nearest")
        self._table = torch.from_numpy(table)

    @classmethod
    def of_people(cls, names: Sequence[str], seeds: Iterable[int] = range(PEOPLE)) -> AlbedoSpace:
        """Of the scenes of `seeds`. names: of the head's albedo directions, in their order."""
        return cls(people_coefficients(names, seeds))

    def __len__(self) -> int:
        return self._table.shape[1]

    def __call__(self, normal: Tensor) -> Tensor:
        """The coefficients, in the type of `normal`; beyond LIMIT nobody becomes more extreme."""
        last = len(self._table) - 1
        place = ((normal.double() @ self._mixing.T + LIMIT) / STEP).clamp(0, last)
        below = place.floor().long().clamp(max=last - 1)
        low, high = (self._table.gather(0, below + step) for step in (0, 1))
        return torch.lerp(low, high, place - below).to(normal)


def people_coefficients(names: Sequence[str], seeds: Iterable[int]) -> Tensor:
    """[N, K], the albedo coefficients of the people of `seeds`."""
    people = [scene(seed).albedo for seed in seeds]
    return torch.tensor([[person.get(name, 0.0) for name in names] for person in people])
