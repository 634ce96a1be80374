"""The one optimisation loop: schedule, best state, guard against NaN, preview, cancel.

Fitting, inversion, pivotal tuning, insets and training all run through `run`. What differs is the rule that makes one
step, a `Stepper`: gradient descent by Adam is here (`minimise` is the short way to it), a method with a better rule
brings its own, as the landmark fit does with its damped Gauss-Newton steps.

Inputs are copied on the way in and never written to, so a cancel, which is any exception out of `watch`, leaves
whatever the caller had as it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from .errors import UserError

Terms = Mapping[str, Tensor]
"""Loss terms by name, each a scalar and already weighted; the loss is their sum."""
Loss = Callable[[dict[str, Tensor]], "Terms | Tensor"]
Preview = Callable[[], "Tensor | None"]
"""Makes a picture [3, H, W] of the present state, 0…1; called only by a `watch` that wants to show one."""
Watch = Callable[[int, int, float, "Preview | None"], None]
"""watch(step, total, loss, preview), after every step; raises to cancel."""

TOTAL = "total"
"""Name under which the history keeps the sum of the terms."""
DONE, PLATEAU, NOT_FINITE = "all steps done", "no further improvement", "not finite"
"""Why a run stopped."""


@dataclass(frozen=True)
class Schedule:
    """The learning rate over the run, as a factor 0…1 of the full rate.

    warm_up: part of the run over which it rises linearly from 0. cool_down: part at the end over which it falls to 0
    along half a cosine.
    """

    warm_up: float = 0.0
    cool_down: float = 0.0

    def factor(self, done: float) -> float:
        """done: part of the run that is behind, 0…1."""
        rise = min(1.0, done / self.warm_up) if self.warm_up else 1.0
        rest = min(1.0, (1.0 - done) / self.cool_down) if self.cool_down else 1.0
        return rise * (0.5 - 0.5 * math.cos(math.pi * rest))


CONSTANT = Schedule()
COSINE = Schedule(cool_down=1.0)
PROJECTOR = Schedule(warm_up=0.05, cool_down=0.25)
"""StyleGAN2's projector (stylegan2-ada-pytorch, projector.py: lr_rampup_length, lr_rampdown_length)."""


@dataclass(frozen=True)
class LoopSettings:
    """How long a run goes on.

    steps: at most so many. patience: stop after so many steps in a row that did not lower the best loss by the part
    `tolerance` of it; None never stops early. retries: so many steps in a row may be undone before the run stops.
    keep_best: return the state of the lowest loss; False returns the last one, for losses that are noisy by nature.
    """

    steps: int = 200
    schedule: Schedule = CONSTANT
    patience: int | None = None
    tolerance: float = 1e-4
    retries: int = 5
    keep_best: bool = True


@dataclass(frozen=True)
class AdamSettings(LoopSettings):
    """Gradient descent by Adam (Kingma & Ba 2015).

    rate: learning rate of every parameter that `rates` does not name. clip: longest gradient over all parameters
    together, longer ones are shortened to it; None leaves them. limits: lowest and highest value of the parameters
    that are named; a step beyond ends there.
    """

    rate: float = 0.01
    rates: Mapping[str, float] = field(default_factory=dict)
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float | None = None
    limits: Mapping[str, tuple[float, float] | tuple[Tensor, Tensor]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Result:
    """What a run found.

    parameters: detached, by the names they came in with. loss, step: of those parameters. steps: how many were made.
    stopped: DONE, PLATEAU or NOT_FINITE. undone: steps taken back because loss or gradient was not finite.
    history: every term and TOTAL, one number a step; NaN for a step that was undone.
    """

    parameters: dict[str, Tensor]
    loss: float
    step: int
    steps: int
    stopped: str
    undone: int
    history: dict[str, list[float]]


class Stepper(Protocol):
    """A rule that makes one step; it owns the copies that it changes."""

    parameters: dict[str, Tensor]

    def evaluate(self) -> dict[str, float]:
        """The terms at the present parameters, and whatever `move` needs; NaN in a term undoes the last move."""

    def move(self, factor: float) -> None:
        """Changes `parameters` by one step. factor: of the full step length, 0…1."""

    def restore(self, values: dict[str, Tensor]) -> None:
        """Sets `parameters` back to `values` and forgets what led away from them."""


def minimise(
    parameters: Mapping[str, Tensor],
    loss: Loss,
    settings: AdamSettings,
    watch: Watch | None = None,
    preview: Callable[[dict[str, Tensor]], Tensor | None] | None = None,
) -> Result:
    """Lowers `loss` over copies of `parameters` by Adam.

    parameters: floating-point tensors of any shape. To tune a module, pass `dict(module.named_parameters())` and call
    it in the loss through `torch.func.functional_call`. loss: is given the present values by name and returns a scalar
    or `Terms`. preview: makes a picture from those values.
    Errors: RuntimeError under inference mode, UserError where the loss is not finite at the very start.
    """
    return run(Adam(parameters, loss, settings), settings, watch, preview)


def run(
    stepper: Stepper,
    settings: LoopSettings,
    watch: Watch | None = None,
    preview: Callable[[dict[str, Tensor]], Tensor | None] | None = None,
) -> Result:
    """Steps until done, and says why it stopped. Errors: as `minimise`."""
    if torch.is_inference_mode_enabled():
        raise RuntimeError(
            "An optimisation was started inside torch.inference_mode(), where there are no gradients. "
            "Leave it first: nodes do so with `host.optimising`."
        )
    history: dict[str, list[float]] = {}
    best = _Best(settings.tolerance)
    before: dict[str, Tensor] | None = None
    slowdown, undone, in_a_row, again, stopped, step = 1.0, 0, 0, False, DONE, 0
    shown = None if preview is None else lambda: preview(stepper.parameters)
    for step in range(1, settings.steps + 1):
        terms = stepper.evaluate()
        loss = sum(terms.values())
        _record(history, {**terms, TOTAL: loss}, step)
        if math.isfinite(loss):
            in_a_row, again = (in_a_row if again else 0), False
            best.offer(loss, stepper.parameters, step)
            before = _copies(stepper.parameters)
            stepper.move(slowdown * settings.schedule.factor((step - 1) / settings.steps))
        elif before is None:
            raise UserError(_cannot_start(terms))
        else:
            # `again`: the next evaluation repeats the one before the bad step, so it proves nothing.
            stepper.restore(before)
            slowdown, undone, in_a_row, again = slowdown / 2, undone + 1, in_a_row + 1, True
        if watch is not None:
            watch(step, settings.steps, loss, shown)
        if in_a_row > settings.retries:
            stopped = NOT_FINITE
            break
        if settings.patience is not None and step - best.gained_at >= settings.patience:
            stopped = PLATEAU
            break
    if best.parameters is None or not settings.keep_best:
        last = history[TOTAL][-1] if history else math.nan
        return Result(_copies(stepper.parameters), last, step, step, stopped, undone, history)
    return Result(best.parameters, best.loss, best.step, step, stopped, undone, history)


class Adam:
    """The `Stepper` behind `minimise`."""

    def __init__(self, parameters: Mapping[str, Tensor], loss: Loss, settings: AdamSettings) -> None:
        unknown = sorted((settings.rates.keys() | settings.limits.keys()) - parameters.keys())
        if unknown:
            raise ValueError(f"Rates or limits for unknown parameters: {unknown}; there are {sorted(parameters)}.")
        with torch.inference_mode(False):
            self.parameters = {name: value.detach().clone().requires_grad_() for name, value in parameters.items()}
        self._loss, self._limits = loss, settings.limits
        self._clip = math.inf if settings.clip is None else settings.clip
        self._adam = torch.optim.Adam(
            [
                {"params": [value], "lr": settings.rates.get(name, settings.rate)}
                for name, value in self.parameters.items()
            ],
            betas=settings.betas,
        )
        self._full = [group["lr"] for group in self._adam.param_groups]

    def evaluate(self) -> dict[str, float]:
        with torch.enable_grad():
            terms = self._loss(self.parameters)
            terms = {"loss": terms} if isinstance(terms, Tensor) else terms
            scalars = torch.stack([term.reshape(()) for term in terms.values()])
            self._adam.zero_grad()
            scalars.sum().backward()
        values = dict(zip(terms, scalars.tolist(), strict=True))
        length = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self._clip)
        if all(map(math.isfinite, values.values())) and not length.isfinite():
            values["gradient"] = math.nan
        return values

    @torch.no_grad()
    def move(self, factor: float) -> None:
        for group, rate in zip(self._adam.param_groups, self._full, strict=True):
            group["lr"] = rate * factor
        self._adam.step()
        for name, (low, high) in self._limits.items():
            self.parameters[name].clamp_(low, high)

    @torch.no_grad()
    def restore(self, values: dict[str, Tensor]) -> None:
        for name, value in self.parameters.items():
            value.copy_(values[name])
        self._adam.state.clear()  # its momentum would carry on over the same edge


@dataclass
class _Best:
    """The lowest loss so far, and the step since which it has not fallen by `tolerance` of itself."""

    tolerance: float
    loss: float = math.inf
    step: int = 0
    gained_at: int = 0
    parameters: dict[str, Tensor] | None = None
    _mark: float = math.inf

    def offer(self, loss: float, parameters: dict[str, Tensor], step: int) -> None:
        if loss < self._mark - self.tolerance * abs(self._mark) or self._mark == math.inf:
            self._mark, self.gained_at = loss, step
        if loss < self.loss:
            self.loss, self.step, self.parameters = loss, step, _copies(parameters)


def _copies(parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in parameters.items()}


def _record(history: dict[str, list[float]], terms: dict[str, float], step: int) -> None:
    """Appends, so that every list is `step` long: a term that was absent before counts as NaN, and so does a gap."""
    for name in history.keys() | terms.keys():
        values = history.setdefault(name, [])
        values += [math.nan] * (step - 1 - len(values)) + [terms.get(name, math.nan)]


def _cannot_start(terms: dict[str, float]) -> str:
    bad = ", ".join(name for name, value in terms.items() if not math.isfinite(value))
    return (
        f"The optimisation cannot start: its loss is not a finite number ({bad}). Look for NaN, infinite or extremely "
        "large values in what was connected."
    )
