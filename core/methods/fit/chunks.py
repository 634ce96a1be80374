"""Gradient stages work on a few frames at once, which bounds memory; what frames share is found first, then held."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from ...optimise import Watch
from ...types import FaceParams
from .frames import in_turn
from .settings import FitSettings

History = dict[str, list[float]]
"""Every weighted term at every step."""
Preview = Callable[[FaceParams], Tensor]
"""Makes a picture [3, H, W] of the frames in work."""


class Chunk(Protocol):
    """Some frames in work. result: what became of them. error: [n] how far their colours are off. history: of the run,
    summed over them.
    """

    result: FaceParams
    error: Tensor
    history: History

    def go(self, watch: Watch | None, preview: Preview | None) -> None:
        """Fills them in."""


T = TypeVar("T", bound=Chunk)


def fit_in_chunks(
    start: FaceParams,
    settings: FitSettings,
    steps: int,
    chunk: Callable[[Tensor, FaceParams, T | None], T],
    watch: Watch | None,
    preview: Preview | None,
) -> list[T]:
    """Every chunk after its run of at most `steps`, in the order of the frames of `start`.

    chunk: makes the work for frames [n] int64 that begin as given; its third argument is the chunk that found identity
    and colours for all frames, or None. Where frames share an identity, that comes from frames spread over the clip.
    """
    frames, device = len(start), start.angles.device
    watches = iter(in_turn(watch, chunk_runs(frames, settings, steps)))
    known = None
    if settings.share_identity and frames > 1:
        keys = torch.linspace(0, frames - 1, min(settings.chunk, frames)).round().long().to(device)
        known = chunk(keys, start[keys], None)
        known.go(next(watches), preview)
        one = known.result
        start = replace(
            start, identity=one.identity[:1].expand(frames, -1), albedo=one.albedo[:1].expand(frames, -1)
        )
    done = []
    for some in torch.arange(frames, device=device).split(settings.chunk):
        work = chunk(some, start[some], known)
        work.go(next(watches), preview)
        done.append(work)
    return done


def chunk_runs(frames: int, settings: FitSettings, steps: int) -> list[int]:
    """Most steps of each run that `fit_in_chunks` makes for so many frames."""
    if not steps:
        return []
    return [steps] * (-(-frames // settings.chunk) + (settings.share_identity and frames > 1))


def mean_history(done: Sequence[Chunk]) -> History:
    """The mean over all frames, as long as the shortest run."""
    frames = sum(len(work.result) for work in done)
    length = min(len(values) for work in done for values in work.history.values())
    return {
        name: [sum(work.history[name][step] for work in done) / frames for step in range(length)]
        for name in done[0].history
    }
