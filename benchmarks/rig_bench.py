"""Held-out latents on which ways to edit are measured, for `rig.py` and `rig_other_ways.py`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

import pack  # noqa: E402

pack.load()

import torch  # noqa: E402
from portrait_rig.core.methods.rig import PASSES, Rig, edit, read_params  # noqa: E402
from portrait_rig.core.training.latent_corpus import Eye, LatentCorpusSettings, Sight, mixed_codes  # noqa: E402
from portrait_rig.core.training.rig_measures import Edited, measured, residual  # noqa: E402
from portrait_rig.core.types import FaceParams, Latent  # noqa: E402
from torch import Tensor  # noqa: E402

SEED = 1_000_000
"""Of the held-out latents; trainings take seeds from 0."""
Edit = Callable[[Latent, FaceParams, str], Latent]


class Bench:
    """Held-out pairs (w, v), what they show, and who measures."""

    def __init__(self, eye: Eye, rig: Rig, pairs: int, effects: Tensor) -> None:
        self.eye, self.rig, self.effects = eye, rig, effects
        codes = mixed_codes(eye.generator, LatentCorpusSettings(seed=SEED), 0, pairs)
        self.latent = eye.generator.latent(codes)
        self.seen = eye.see(codes)
        self.read = read_params(rig, self.latent)
        self.other = torch.arange(pairs).roll(1)

    def rows(self, sight: Sight) -> Tensor:
        return self.rig.rows_of(sight.params)

    def edited(self, change: Edit, component: str) -> tuple[Edited, Edited]:
        """By DFR, asked for what it reads in v; by the regressor, asked for what that sees in the picture of v."""
        groups, found = self.rig.coding.groups, []
        before = self.rig.rows(self.latent.w)
        after = self.rig.rows(change(self.latent, self.read[self.other], component).w)
        found.append(
            measured(before, after, before[self.other], before.std(0), groups, component, self.effects)
        )
        before = self.rows(self.seen)
        moved = change(self.latent, self.seen.params[self.other], component)
        after = self.rows(self.eye.see(moved.w))
        found.append(
            measured(before, after, before[self.other], before.std(0), groups, component, self.effects)
        )
        return found[0], found[1]

    def residual(self, change: Edit, component: str) -> float:
        kept = change(self.latent, self.read, component)
        return residual(self.latent.w, kept.w)


def by_rig(rig: Rig, passes: int = PASSES) -> Edit:
    return lambda latent, target, component: edit(rig, latent, target, [component], passes=passes)
