"""The corrector of a rig: solved for, once DFR is trained.

Which change of a code makes DFR read a wanted difference? There are many, and most lead to codes that no portrait has.
The likeliest is chosen: codes vary with covariance S, DFR reads differences through its mean derivative J, and is wrong
by some noise. Then the best guess is the gain of a Kalman filter, S Jᵀ (J S Jᵀ + noise)⁻¹.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..networks.rig import Corrector, Dfr, parts

NOISE = 0.05
"""Variance of what DFR misreads, a number, in units of its group's variance over latents. Chosen on the toon generator:
with 0.1 a correction takes less back, with 0.03 pictures differ more from what a turn should look like."""
SMALLEST_SPREAD = 1e-6
"""Deviations of the training's faces; a group in which latents differ less is taken to be the same in all."""
SAMPLE = 256
"""Codes over which the derivative is averaged."""


@torch.enable_grad()
def solve_corrector(dfr: Dfr, codes: Tensor, groups: Sequence[tuple[str, int]], effects: Tensor) -> Corrector:
    """dfr: trained. codes: [N, L, C] that it knows. groups: of its rows [B, P]. effects: [P], what a unit of each
    number does to the face; within a group numbers count by that, and groups count alike.
    """
    codes = codes.to(dfr.layers[0].weight)
    some = codes[torch.linspace(0, len(codes) - 1, min(SAMPLE, len(codes))).long()]

    def read(shift: Tensor) -> Tensor:
        return dfr(some + shift).mean(0)

    derivative = torch.autograd.functional.jacobian(read, torch.zeros_like(codes[0]))  # [P, L, C]
    with torch.no_grad():
        unit = _units(dfr(codes), groups, effects.to(codes))
        derivative = derivative * unit[:, None, None]
        moves = derivative @ covariance(codes)
        reads = torch.tensordot(derivative, moves, ([1, 2], [1, 2]))
        reads.diagonal().add_(NOISE)
        gain = torch.linalg.solve(reads, moves.flatten(1)).view_as(moves)
        return Corrector(gain * unit[:, None, None])


def covariance(codes: Tensor) -> Tensor:
    """[C, C] of codes [N, L, C] round each layer's mean, all layers together."""
    off = (codes - codes.mean(0)).flatten(0, 1)
    return off.T @ off / len(off)


def _units(rows: Tensor, groups: Sequence[tuple[str, int]], effects: Tensor) -> Tensor:
    """[P], times which rows [N, P] have groups of variance 1; 0 for a group that hardly varies."""
    units = torch.zeros_like(effects)
    for part in parts(groups).values():
        spread = (rows.std(0) * effects)[part].norm()
        if spread > SMALLEST_SPREAD * effects[part].norm():
            units[part] = effects[part] / spread
    return units
