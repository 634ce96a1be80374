"""Where a scene's chance comes from: a seed, or a latent of standard normal numbers.

Both answer the same questions (`Draws`). The second makes the whole world one function of z ~ N(0, I), which is what a
generator has to learn: every question reads numbers of its own, choices one for each possibility (the Gumbel-max trick,
Maddison, Tarlow and Minka 2014, "A* Sampling"), so that close latents are alike but for the choices that tip over.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from scipy.special import betaincinv, ndtr

from ...errors import UserError

GROUPS = ("person", "identity", "mood", "albedo", "gaze", "hair", "glasses", "hat", "beard", "clothes", "backdrop",
          "light", "view", "figure")  # fmt: skip
"""Each group of choices draws on its own; the order is part of every seed's meaning."""
LATENT = {"person": 12, "identity": 40, "mood": 44, "albedo": 27, "gaze": 2, "hair": 40, "glasses": 12, "hat": 18,
          "beard": 6, "clothes": 27, "backdrop": 16, "light": 7, "view": 6, "figure": 36}  # fmt: skip
"""Numbers of a latent that each group reads, always all of them."""
TINY = 1e-12
"""Keeps logarithms finite."""


class Draws(Protocol):
    """One group's chance; questions are answered in the order in which they are asked."""

    def normal(self, mean: float, deviation: float) -> float: ...

    def uniform(self, low: float, high: float) -> float: ...

    def beta(self, a: float, b: float) -> float: ...

    def chance(self, probability: float) -> bool: ...

    def sign(self) -> float:
        """−1 or 1."""

    def pick(self, weights: Mapping[str, float]) -> str:
        """One of the names, as often as its weight says."""

    def one(self, count: int) -> int:
        """0 … count − 1."""

    def two(self, count: int) -> tuple[int, int]:
        """Two different ones of 0 … count − 1."""

    def skip(self, numbers: int = 1) -> float:
        """Leaves out numbers of a latent that only other scenes need, and gives 0; a seed has none to leave out."""


class SeededDraws:
    """`Draws` of a seed."""

    def __init__(self, seed: int, group: str) -> None:
        self._random = np.random.default_rng([seed, GROUPS.index(group)])

    def normal(self, mean: float, deviation: float) -> float:
        return float(self._random.normal(mean, deviation))

    def uniform(self, low: float, high: float) -> float:
        return float(self._random.uniform(low, high))

    def beta(self, a: float, b: float) -> float:
        return float(self._random.beta(a, b))

    def chance(self, probability: float) -> bool:
        return bool(self._random.random() < probability)

    def sign(self) -> float:
        return float(self._random.choice([-1.0, 1.0]))

    def pick(self, weights: Mapping[str, float]) -> str:
        names, shares = list(weights), np.array(list(weights.values()))
        return str(self._random.choice(names, p=shares / shares.sum()))

    def one(self, count: int) -> int:
        return int(self._random.integers(count))

    def two(self, count: int) -> tuple[int, int]:
        first, second = self._random.permutation(count)[:2]
        return int(first), int(second)

    def skip(self, numbers: int = 1) -> float:
        return 0.0


class LatentDraws:
    """`Draws` of one group's numbers of a latent."""

    def __init__(self, latent: Sequence[float]) -> None:
        self._latent, self._next = latent, 0

    def normal(self, mean: float, deviation: float) -> float:
        return mean + deviation * self._taken(1)[0]

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * float(ndtr(self._taken(1)[0]))

    def beta(self, a: float, b: float) -> float:
        return float(betaincinv(a, b, ndtr(self._taken(1)[0])))

    def chance(self, probability: float) -> bool:
        return bool(ndtr(self._taken(1)[0]) < probability)

    def sign(self) -> float:
        return math.copysign(1.0, self._taken(1)[0])

    def pick(self, weights: Mapping[str, float]) -> str:
        shares = np.array(list(weights.values()))
        gumbels = -np.log(-np.log(np.clip(ndtr(self._taken(len(shares))), TINY, 1 - TINY)))
        with np.errstate(divide="ignore"):
            return list(weights)[int((np.log(shares) + gumbels).argmax())]

    def one(self, count: int) -> int:
        return int(np.argmax(self._taken(count)))

    def two(self, count: int) -> tuple[int, int]:
        first, second = np.argsort(self._taken(count))[:-3:-1]
        return int(first), int(second)

    def skip(self, numbers: int = 1) -> float:
        self._taken(numbers)
        return 0.0

    @property
    def left(self) -> int:
        """Numbers that nothing has asked for yet."""
        return len(self._latent) - self._next

    def _taken(self, count: int) -> np.ndarray:
        if count > self.left:
            raise IndexError(f"A group of draws asks for more than its {len(self._latent)} numbers.")
        start, self._next = self._next, self._next + count
        return np.asarray(self._latent[start : self._next], dtype=float)


def draws_of_latent(z: Sequence[float]) -> dict[str, LatentDraws]:
    """Group -> its draws, of a whole latent of `latent_size()` numbers; UserError for another size."""
    if len(z) != latent_size():
        raise UserError(f"A scene's latent has {latent_size()} numbers; got {len(z)}.")
    return {group: LatentDraws(z[numbers_of(group)]) for group in GROUPS}


def numbers_of(group: str) -> slice:
    """Where a group's numbers stand in a whole latent."""
    start = sum(LATENT[other] for other in GROUPS[: GROUPS.index(group)])
    return slice(start, start + LATENT[group])


def latent_size() -> int:
    """Numbers of a latent that decides a whole scene."""
    return sum(LATENT.values())
