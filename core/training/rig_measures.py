"""How good a rig is: does an edit arrive, does anything else move, does no edit change nothing.

All of it on rows of parameters [N, P], whoever read them. Source: the measures that the fact sheets of StyleRig's
re-implementations agree on; the paper itself has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..networks.rig import COMPONENTS, columns, parts

Groups = Sequence[tuple[str, int]]


@dataclass(frozen=True)
class Edited:
    """One component edited in N latents.

    error: distance of what came out from what was wanted, by the distance there was before; 0 is perfect, 1 is nothing.
    leaks: by other group, the spread of its change by its spread over all latents; leak: their mean.
    """

    error: float
    leaks: dict[str, float]

    @property
    def leak(self) -> float:
        return sum(self.leaks.values()) / max(len(self.leaks), 1)


def measured(
    before: Tensor, after: Tensor, wanted: Tensor, spread: Tensor, groups: Groups, component: str, effects: Tensor
) -> Edited:
    """before, after, wanted: rows [N, P] of the latents, the edited ones, and those whose component was wanted.

    spread: [P] standard deviation of each number over latents. effects: [P], what a unit of each number does to the
    face: distances are lengths of differences times these.
    """
    places = columns(groups, component)

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return ((a - b)[:, places] * effects[places]).norm(dim=1)

    error = distance(after, wanted).mean() / distance(before, wanted).mean().clamp_min(1e-12)
    leaks = {}
    for name, part in parts(groups).items():
        if name not in COMPONENTS[component]:
            moved = ((after - before)[:, part] * effects[part]).square().sum(1).mean()
            usual = (spread[part] * effects[part]).square().sum().clamp_min(1e-12)
            leaks[name] = float((moved / usual).sqrt())
    return Edited(float(error), leaks)


def residual(codes: Tensor, edited: Tensor) -> float:
    """What an edit to a latent's own parameters changes: its mean length by that of codes round their mean."""
    usual = (codes - codes.mean(0)).flatten(1).norm(dim=1).mean().clamp_min(torch.finfo(codes.dtype).tiny)
    return float((edited - codes).flatten(1).norm(dim=1).mean() / usual)
