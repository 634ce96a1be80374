"""Networks that learn from pictures with known answers: the `Trainer` for whatever a `Lesson` teaches.

Adam with decoupled weight decay (Loshchilov & Hutter 2019) on a rate that rises shortly and falls along half a cosine;
what is kept is the average of the weights over the steps, which scatters less than the last ones.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..networks.running import PRECISIONS
from ..optimise import Schedule
from .images import mixed_seed
from .kept import below, kept_adam, restore_adam
from .loop import Step

BETAS = (0.9, 0.99)
"""Of Adam; the second one forgets faster than usual, as short runs need."""
AVERAGE_RAMP = 10
"""The average of weights after n steps reaches back over at most about n / 10 of them, so that it never lags far."""
LICENCE = "Apache-2.0"
"""Of what is trained here: the pack's own."""
WEIGHTS, ORDER, CHANCE = range(3)
"""What a random generator is for: the second number of its seed."""


@dataclass(frozen=True)
class SupervisedSettings:
    """Everything about a run that is not the lesson.

    steps: over which the rate falls; a run stopped before does not reach 0. batch: pictures a step. rate: highest
    learning rate. decay: of weights, a step and unit of rate. warm_up: part of the steps over which the rate rises.
    average: share of the average that a step leaves, below 1. longest: gradient over all weights; longer ones are
    shortened. precision: of the network's layers, a key of `running.PRECISIONS`; losses are always fp32. seed: of
    weights, order and all chance.
    """

    steps: int = 3000
    batch: int = 64
    rate: float = 2e-3
    decay: float = 0.02
    warm_up: float = 0.03
    average: float = 0.998
    longest: float = 5.0
    precision: str = "fp32"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or not self.rate > 0:
            raise UserError(
                f"A training needs steps and a batch of 1 or more and a rate above 0; got {self.steps} steps, a batch "
                f"of {self.batch} and a rate of {self.rate:g}."
            )


class Lesson(Protocol):
    """What is learnt.

    product: name of the file it is for. network: what learns. about: one line on the pictures, for people.
    fingerprint: equal for equal pictures and answers.
    """

    product: str
    network: nn.Module
    about: str
    fingerprint: str

    def losses(self, network: nn.Module, step: int, run: Callable[..., Any]) -> dict[str, Tensor]:
        """Weighted terms whose sum is descended at step `step`; all chance in them comes from the step's number.

        run: calls the network (the first argument) on the others in the run's precision and gives float32 back.
        """

    def progress(self) -> dict[str, Any]:
        """Plain data that the lesson needs to go on."""

    def go_on(self, progress: Mapping[str, Any]) -> None:
        """Back to an earlier `progress()`."""

    def sheet(self, network: nn.Module) -> Tensor:
        """[3, H, W] RGB 0…1: what `network`, in evaluation mode, makes of a few pictures."""

    def packed(self, network: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Tensors and metadata of the file, from `network` in evaluation mode."""


class SupervisedTrainer:
    """Network, its average and its optimiser: the `Trainer` that `loop.train` drives."""

    main = True

    def __init__(self, settings: SupervisedSettings, lesson: Lesson) -> None:
        self.settings, self.lesson, self.product = settings, lesson, lesson.product
        self.notes: list[str] = []
        self.network = lesson.network.train()
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self._adam = torch.optim.AdamW(
            self.network.parameters(), lr=settings.rate, betas=BETAS, weight_decay=settings.decay
        )
        self._schedule = Schedule(settings.warm_up, 1.0)

    def describe(self) -> str:
        """One line: what is trained on what."""
        millions = sum(p.numel() for p in self.network.parameters()) / 1e6
        s = self.settings
        return f"{self.product}, {millions:.2f} million weights; {self.lesson.about}; batch {s.batch}, {s.precision}"

    def advance(self, step: int) -> Step:
        """One descent. NaN for a loss that was not finite, and then nothing but batch statistics has changed."""
        rate = self.settings.rate * self._schedule.factor(min((step + 1) / (self.settings.steps + 1), 1.0))
        for group in self._adam.param_groups:
            group["lr"] = rate
        with torch.enable_grad():
            terms = self.lesson.losses(self.network, step, self._run)
            total = torch.stack(list(terms.values())).sum()
            if not torch.isfinite(total):
                return Step(dict.fromkeys(terms, math.nan), {"rate": rate})
            self._adam.zero_grad()
            total.backward()
        length = nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.longest)
        if not torch.isfinite(length):
            return Step(dict.fromkeys(terms, math.nan), {"rate": rate})
        self._adam.step()
        self._follow(step)
        losses = {name: float(term.detach()) for name, term in terms.items()}
        return Step(losses, {"rate": rate, "gradient": float(length)})

    def sheet(self) -> Tensor:
        with torch.no_grad():
            return self.lesson.sheet(self.average)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        tensors |= kept_adam("adam.", self._adam, self.network)
        pictures = {"fingerprint": self.lesson.fingerprint, "about": self.lesson.about}
        return tensors, {"settings": asdict(self.settings), "pictures": pictures, "progress": self.lesson.progress()}

    def load_state(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """UserError where the settings were others; other pictures are only noted: a collection may grow. A run may be
        made longer: its rate then is what it would have been at this step of the longer one.
        """
        ours, theirs = asdict(self.settings), plain["settings"]
        if changed := [name for name in ours if ours[name] != theirs.get(name) and name != "steps"]:
            found = ", ".join(f"{name} {theirs.get(name)} (now {ours[name]})" for name in changed)
            raise UserError(f"This run was begun with other settings: {found}. Set them back, or begin another run.")
        if plain["pictures"]["fingerprint"] != self.lesson.fingerprint:
            self.notes.append(f"The pictures have changed since the run was begun ({plain['pictures']['about']}).")
        self.network.load_state_dict(below(tensors, "network."))
        self.average.load_state_dict(below(tensors, "average."))
        restore_adam("adam.", self._adam, self.network, tensors)
        self.lesson.go_on(plain["progress"])

    def packed(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """The averaged network, with what it was made from."""
        tensors, metadata = self.lesson.packed(self.average)
        made = {
            "licence": LICENCE,
            "settings": json.dumps(asdict(self.settings), sort_keys=True),
            "seed": str(self.settings.seed),
            "pictures": self.lesson.about,
            "pictures_fingerprint": self.lesson.fingerprint,
        }
        return tensors, {**metadata, **made}

    def _run(self, network: nn.Module, *inputs: Tensor) -> Any:
        precision = PRECISIONS[self.settings.precision]
        with torch.autocast(inputs[0].device.type, precision, enabled=precision is not None):
            found = network(*inputs)
        return found.float() if isinstance(found, Tensor) else tuple(part.float() for part in found)

    @torch.no_grad()
    def _follow(self, step: int) -> None:
        """The average moves towards the network, its batch statistics included; whole numbers are copied."""
        share = 1 - min(self.settings.average, (1 + step) / (AVERAGE_RAMP + step))
        for kept, new in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
            if kept.is_floating_point():
                kept.lerp_(new, share)
            else:
                kept.copy_(new)


class Rows:
    """Which rows of a collection a step takes: all once an epoch, in a new order every time, the rest left out.

    A collection may grow: it is counted anew when an epoch begins. Steps must be asked for in ascending order.
    """

    def __init__(self, count: Callable[[], int], batch: int, seed: int) -> None:
        """count: how many rows there are now; at least `batch`, else UserError."""
        self._count, self._batch, self._seed = count, batch, seed
        self.first, self.total = 0, 0
        self._order = torch.empty(0, dtype=torch.int64)

    def at(self, step: int) -> Tensor:
        """[batch] int64."""
        if step >= self.first + len(self._order) // self._batch:
            self._begin(step, self._count())
        place = (step - self.first) * self._batch
        return self._order[place : place + self._batch]

    def progress(self) -> dict[str, int]:
        """The present epoch: its first step and number of rows."""
        return {"first": self.first, "total": self.total}

    def go_on(self, progress: Mapping[str, Any]) -> None:
        """Back to an epoch; nothing to do where none had begun."""
        if progress["total"]:
            self._begin(int(progress["first"]), int(progress["total"]))

    def _begin(self, step: int, total: int) -> None:
        if total < self._batch:
            raise UserError(f"There are {total} pictures to learn from, fewer than the {self._batch} of one step.")
        self.first, self.total = step, total
        self._order = torch.randperm(total, generator=generator(self._seed, ORDER, step))


def generator(*numbers: int) -> torch.Generator:
    """A source of chance that numbers alone decide."""
    return torch.Generator().manual_seed(mixed_seed(*numbers))


def halved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """For a small file: weights of more than one axis in half precision; statistics, biases, counters as they are."""
    return {name: value.half() if value.is_floating_point() and value.dim() > 1 else value
            for name, value in tensors.items()}  # fmt: skip
