"""Frames of a clip: chunks joined, frames without a face filled in, smoothing over time, one progress for all of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace

import torch
from scipy.linalg import solveh_banded
from torch import Tensor

from ...face.model import FaceModel
from ...optimise import Preview, Watch
from ...types import FaceParams

MOVING = ("identity", "expression", "albedo", "joints", "angles", "translation", "light")
"""What may change from frame to frame."""


def join(parts: Sequence[FaceParams]) -> FaceParams:
    """Chunks of one clip, in their order, as one batch."""
    if len(parts) == 1:
        return parts[0]
    tensors = {
        f.name: torch.cat([getattr(part, f.name) for part in parts])
        for f in fields(FaceParams)
        if isinstance(getattr(parts[0], f.name), Tensor)
    }
    cameras = [part.camera for part in parts]
    focal, principal = torch.cat([c.focal for c in cameras]), torch.cat([c.principal for c in cameras])
    return replace(parts[0], camera=replace(cameras[0], focal=focal, principal=principal), **tensors)


def fill(params: FaceParams, known: Tensor) -> FaceParams:
    """As many frames as `known` [B] bool: its true frames are `params`, the others lie on the line between neighbours.

    Before the first and after the last known frame that one is repeated.
    """
    places = known.nonzero().squeeze(1)
    if len(places) == len(known):
        return params
    frames = torch.arange(len(known), device=known.device)
    after = torch.searchsorted(places, frames).clamp_max(len(places) - 1)
    before = (torch.searchsorted(places, frames, right=True) - 1).clamp_min(0)
    span = (places[after] - places[before]).clamp_min(1)
    share = ((frames - places[before]).clamp(min=0) / span).clamp_max(1)
    params = replace(params, angles=_unwrapped(params.angles))

    def between(value: Tensor) -> Tensor:
        mix = share.to(value).reshape(-1, *(1,) * (value.dim() - 1))
        return value[before] + mix * (value[after] - value[before])

    return params.map(lambda value: value if len(value) != len(places) else between(value))


def smooth(params: FaceParams, period: float, model: FaceModel) -> FaceParams:
    """Every group over time without delay: motion of `period` frames keeps half its size, slower motion nearly all.

    The smoothed values minimise their distance to the given ones plus a penalty on second differences (Whittaker 1923),
    which is a filter with the response 1 / (1 + λ (2 − 2 cos ω)²). Results stay within the groups' limits.
    """
    if period <= 0 or len(params) < 3:
        return params
    stiffness = 1 / (2 - 2 * math.cos(2 * math.pi / max(period, 2.0))) ** 2
    params = replace(params, angles=_unwrapped(params.angles))
    smoothed = {name: _whittaker(getattr(params, name), stiffness) for name in MOVING}
    for name in ("identity", "expression", "albedo"):
        smoothed[name] = smoothed[name].clamp(*getattr(model, name).limits(smoothed[name]))
    return replace(params, **smoothed)


def in_turn(watch: Watch | None, steps: Iterable[int]) -> list[Watch | None]:
    """One watch for each of several runs of so many steps, which count on where the run before would have ended."""
    steps = list(steps)
    if watch is None:
        return [None] * len(steps)
    total = sum(steps)

    def shifted(before: int) -> Watch:
        def report(step: int, _: int, loss: float, preview: Preview | None) -> None:
            watch(before + step, total, loss, preview)

        return report

    return [shifted(sum(steps[:number])) for number in range(len(steps))]


def _unwrapped(angles: Tensor) -> Tensor:
    """[B, 3] radians without jumps of a whole turn from frame to frame."""
    turn = 2 * math.pi
    jumps = torch.diff(angles, dim=0, prepend=angles[:1])
    return angles - turn * torch.round(jumps / turn).cumsum(0)


def _whittaker(values: Tensor, stiffness: float) -> Tensor:
    """[T, ...] -> the same, solving (1 + λ DᵀD) x = values with D the second difference: a band of five diagonals."""
    count = len(values)
    bands = torch.zeros(3, count, dtype=torch.float64)
    for offset, weight in enumerate((1.0, -2.0, 1.0)):
        for other, partner in enumerate((1.0, -2.0, 1.0)):
            if other >= offset:
                bands[2 - (other - offset), other : count - 2 + other] += stiffness * weight * partner
    bands[2] += 1
    flat = values.detach().double().flatten(1).cpu()
    if not flat.shape[1]:
        return values
    solved = torch.from_numpy(solveh_banded(bands.numpy(), flat.numpy()))
    return solved.reshape(values.shape).to(values)
