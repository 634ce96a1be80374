"""Bounded, damped Gauss-Newton steps for many small least-squares problems at once, which may share some unknowns.

Every frame of a batch is a problem of its own, of some hundred unknowns and about as many residuals: there, steps from
normal equations need tens of evaluations and gradient descent needs thousands. Unknowns that all frames share
are eliminated by the Schur complement, so a clip costs hardly more than its frames one by one.

Source: Levenberg 1944 and Marquardt 1963 for the damping, Bertsekas 1982 ("Projected Newton methods") for the bounds,
Triggs et al. 2000 ("Bundle adjustment") for shared unknowns and reweighting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-3, 1e-7, 1e6
DAMPING_DOWN, DAMPING_UP = 0.2, 6.0
"""Marquardt's factors are 0.1 and 10; the milder pair lost fewer steps where jaw landmarks jump along the contour."""


@dataclass(frozen=True)
class Prior:
    """What is known of one group of unknowns before anything is measured.

    The cost is `ridge · Σ x² + slope · Σ |x|`; a slope needs low = 0, where |x| is x. low, high: hard limits.
    """

    ridge: float = 0.0
    slope: float = 0.0
    low: float = -torch.inf
    high: float = torch.inf

    def cost(self, values: Tensor) -> Tensor:
        """Of every value, in its shape."""
        return self.ridge * values.square() + self.slope * values


def robust(residuals: Tensor, width: float) -> Tensor:
    """[..., C] -> [...]: Cauchy's cost, the square of small residuals and ever less of those beyond `width`."""
    return width**2 * torch.log1p(residuals.square().sum(-1) / width**2)


class GaussNewton:
    """A `core.optimise.Stepper`: the total cost of all frames falls with every step that is kept.

    parameters: by name [B, ...], or [1, ...] where all B frames share it (B > 1). residuals: parameters -> [B, P, C],
    P points of C numbers; row b may depend only on row b of the parameters and on those that are shared. Points further
    off than `width` (in units of the residuals) count less and less (Cauchy's weights). priors: by name.
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        residuals: Callable[[dict[str, Tensor]], Tensor],
        width: float,
        priors: Mapping[str, Prior],
    ) -> None:
        self.parameters = {name: value.detach().clone() for name, value in parameters.items()}
        self._residuals = residuals
        self._width = width
        frames = max(len(value) for value in self.parameters.values())
        self._own = [name for name, value in self.parameters.items() if len(value) == frames]
        self._shared = [name for name in self.parameters if name not in self._own]
        self._order = self._own + self._shared
        self._split = sum(self.parameters[name][0].numel() for name in self._own)
        columns = {
            key: torch.cat(
                [
                    torch.full_like(self.parameters[name][0].flatten(), getattr(priors.get(name, Prior()), key))
                    for name in self._order
                ]
            )
            for key in ("ridge", "slope", "low", "high")
        }
        self._ridge, self._slope, self._low, self._high = columns.values()
        damped = 1 if self._shared else frames
        self._damping = self._low.new_full((damped, 1), FIRST_DAMPING)
        self._cost: Tensor | None = None

    def evaluate(self) -> dict[str, float]:
        points, prior = self._costs(self._vectors())
        return {"points": points.sum().item(), "prior": prior.sum().item()}

    @torch.no_grad()
    def move(self, factor: float) -> None:
        """One damped step; frames (all frames, where unknowns are shared) whose cost would rise stay and damp more."""
        x = self._vectors()
        step = self._step(x) * factor
        trial = (x + step).clamp(self._low, self._high)
        before, after = (sum(self._costs(vectors)) for vectors in (x, trial))
        if self._shared:
            before, after = before.sum(0, keepdim=True), after.sum(0, keepdim=True)
        better = (after < before)[:, None]
        self._write(torch.where(better, trial, x))
        change = torch.where(better, DAMPING_DOWN, DAMPING_UP)
        self._damping = (self._damping * change).clamp(LEAST_DAMPING, MOST_DAMPING)

    def restore(self, values: dict[str, Tensor]) -> None:
        self.parameters = {name: value.clone() for name, value in values.items()}
        self._damping = self._damping * DAMPING_UP

    def _vectors(self) -> Tensor:
        """[B, n]: every unknown a frame depends on, its own first, the shared ones repeated."""
        frames = max(len(value) for value in self.parameters.values())
        return torch.cat([self.parameters[name].flatten(1).expand(frames, -1) for name in self._order], 1)

    def _named(self, x: Tensor) -> dict[str, Tensor]:
        widths = [self.parameters[name][0].numel() for name in self._order]
        shapes = {name: self.parameters[name].shape[1:] for name in self._order}
        return {
            name: part.reshape(len(x), *shapes[name])
            for name, part in zip(self._order, x.split(widths, 1), strict=True)
        }

    def _write(self, x: Tensor) -> None:
        named = self._named(x)
        self.parameters = {name: value[: len(self.parameters[name])].clone() for name, value in named.items()}

    def _costs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B] robust cost of the points and [B] cost of the priors, those of shared unknowns counted once in all."""
        points = robust(self._residuals(self._named(x)), self._width).sum(-1)
        once = torch.ones_like(x)
        once[1:, self._split :] = 0
        return points, (once * (self._ridge * x.square() + self._slope * x)).sum(-1)

    def _step(self, x: Tensor) -> Tensor:
        residual, jacobian = self._linearised(x)
        squares = residual.square().sum(-1, keepdim=True)
        weight = (1 / (1 + squares / self._width**2)).expand_as(residual).flatten(1)
        weighted = jacobian * weight[..., None]
        hessian = weighted.mT @ jacobian
        gradient = (weighted.mT @ residual.flatten(1)[..., None]).squeeze(-1)
        slope = self._ridge * x + self._slope / 2  # halved like the squares, whose factor 2 is left out everywhere
        split = self._split
        if not self._shared:
            hessian = hessian + torch.diag(self._ridge)
            return self._solve(hessian, gradient + slope, self._held(x, gradient + slope), self._damping)
        return self._shared_step(x, hessian, gradient, slope, split)

    def _shared_step(self, x: Tensor, hessian: Tensor, gradient: Tensor, slope: Tensor, split: int) -> Tensor:
        """Eliminates each frame's own unknowns, solves for the shared ones, then for each frame's own."""
        own = hessian[:, :split, :split] + torch.diag(self._ridge[:split])
        mixed, shared = hessian[:, :split, split:], hessian[:, split:, split:].sum(0) + torch.diag(self._ridge[split:])
        own_gradient = gradient[:, :split] + slope[:, :split]
        shared_gradient = gradient[:, split:].sum(0) + slope[0, split:]
        held = self._held(x, torch.cat([own_gradient, shared_gradient.expand(len(x), -1)], 1))
        own = self._damped(own, held[:, :split], self._damping)
        mixed = mixed * ~held[:, :split, None] * ~held[:1, None, split:]
        own_gradient = own_gradient * ~held[:, :split]
        solved = torch.linalg.solve(own, torch.cat([mixed, own_gradient[..., None]], 2))
        reduced = shared - (mixed.mT @ solved[..., :-1]).sum(0)
        reduced_gradient = shared_gradient - (mixed.mT @ solved[..., -1:]).sum(0).squeeze(-1)
        together = self._solve(reduced[None], reduced_gradient[None], held[:1, split:], self._damping)
        apart = -(solved[..., -1] + (solved[..., :-1] @ together[0, :, None]).squeeze(-1))
        return torch.cat([apart, together.expand(len(x), -1)], 1)

    def _linearised(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Residuals [B, P, C] and their derivatives [B, P·C, n]; one forward pass an unknown, for all frames."""

        def along(direction: Tensor) -> tuple[Tensor, Tensor]:
            return torch.func.jvp(lambda v: self._residuals(self._named(v)), (x,), (direction.expand_as(x),))

        residual, columns = torch.func.vmap(along, out_dims=(None, -1))(torch.eye(x.shape[1]).to(x))
        return residual, columns.flatten(1, 2)

    def _held(self, x: Tensor, gradient: Tensor) -> Tensor:
        """[B, n] bool: unknowns at a limit that the cost would push beyond it."""
        return ((x <= self._low) & (gradient > 0)) | ((x >= self._high) & (gradient < 0))

    def _solve(self, hessian: Tensor, gradient: Tensor, held: Tensor, damping: Tensor) -> Tensor:
        return -torch.linalg.solve(self._damped(hessian, held, damping), gradient * ~held)

    def _damped(self, hessian: Tensor, held: Tensor, damping: Tensor) -> Tensor:
        """Rows and columns of held unknowns become those of the identity; the diagonal grows by the damping."""
        diagonal = torch.diagonal(hessian, dim1=-2, dim2=-1)
        floor = diagonal.amax(-1, keepdim=True) * torch.finfo(hessian.dtype).eps
        free = hessian * ~held[:, :, None] * ~held[:, None, :]
        return free + torch.diag_embed(torch.where(held, 1.0, damping * diagonal.clamp_min(floor)))
