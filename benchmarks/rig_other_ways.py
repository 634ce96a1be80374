"""Other ways to edit than the shipped rig's, trained alike and short, which `rig.py` measures beside it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

import pack  # noqa: E402

pack.load()

from portrait_rig.core.methods.rig import Rig  # noqa: E402
from portrait_rig.core.networks.rig import COMPONENTS, FULL, SUBSET, columns, with_columns  # noqa: E402
from portrait_rig.core.training.latent_corpus import LatentCorpus  # noqa: E402
from portrait_rig.core.training.rig import EDITING, RigSettings, rignet_lesson  # noqa: E402
from portrait_rig.core.training.rignet import RigNetSettings, RigTrainer  # noqa: E402
from portrait_rig.core.types import FaceParams, Latent  # noqa: E402
from rig_bench import Bench, Edit, by_rig  # noqa: E402

ABLATION_STEPS, ABLATION_BATCH, ABLATION_PAIRS = 400, 16, 64
"""Of every ablation's RigNets; the shipped ones learn longer and are measured on more pairs."""
ABSOLUTE_RECONSTRUCTION = 1.0
"""Weight for absolute wishes, which cannot be edited and left alone at once: a tenth, as the sheet of facts has it."""
ABLATED = """Trained alike and shorter than the rig above: {steps} steps of {batch} latents a network, measured on
{pairs} pairs. Absolute wishes have a tenth of the weight on the residual, without which they edit nothing. Latent
arithmetic: the mean difference of two groups of latents, as far as the component's strongest number (yaw; the
expression or the light's coefficient that does most) has to move. The corrector alone edits without any RigNet."""


def by_corrector(rig: Rig, passes: int) -> Edit:
    """Without any RigNet."""

    def change(latent: Latent, target: FaceParams, component: str) -> Latent:
        ws, places = latent.w, columns(rig.coding.groups, component)
        wanted = with_columns(rig.rows(ws), rig.rows_of(target), places)
        for _ in range(passes):
            ws = rig.corrected(ws, wanted)
        return replace(latent, w=ws)

    return change


def by_arithmetic(bench: Bench, corpus: LatentCorpus) -> Edit:
    """The mean difference between latents of two groups: those that show more than the median of the component's
    strongest number, and those that show less; as far as that number differs.
    """
    rig, codes = bench.rig, corpus.codes(corpus.rows)
    rows = rig.rows_of(corpus.params)[corpus.rows]
    steps = {}
    for component in COMPONENTS:
        places = columns(rig.coding.groups, component)
        place = places[int(bench.effects[places].argmax())]
        more = rows[:, place] > rows[:, place].median()
        apart = rows[more, place].mean() - rows[~more, place].mean()
        steps[component] = place, (codes[more].mean(0) - codes[~more].mean(0)) / apart

    def change(latent: Latent, target: FaceParams, component: str) -> Latent:
        place, step = steps[component]
        far = rig.rows_of(target)[:, place] - rig.rows(latent.w)[:, place]
        return replace(latent, w=latent.w + far[:, None, None] * step)

    return change


def ablations(bench: Bench, corpus: LatentCorpus, settings: RigSettings) -> dict[str, Edit]:
    """The three inputs of decoders, each component by itself, and one run for all; alike and short."""
    run = replace(EDITING, steps=ABLATION_STEPS, batch=ABLATION_BATCH)
    kinds = {
        "difference": {},
        "absolute subset": {"mode": SUBSET, "reconstruction": ABSOLUTE_RECONSTRUCTION},
        "absolute full": {"mode": FULL, "reconstruction": ABSOLUTE_RECONSTRUCTION},
        "difference, together": {},
        "difference, compared with the pictures": {"pictures": True},
    }
    found = {}
    for name, changed in kinds.items():
        networks = {}
        rignet = RigNetSettings(tuple(COMPONENTS), **changed)
        told = replace(settings, rignet=rignet, rignet_run=run, together="together" in name)
        for components in told.stages:
            lesson = rignet_lesson(corpus, bench.eye, replace(bench.rig, rignets={}), told, components)
            trainer = RigTrainer(run, lesson)
            for step in range(run.steps):
                trainer.advance(step)
            networks |= lesson.networks(trainer.average)
        found[name] = by_rig(replace(bench.rig, rignets=networks), 1)
        print(name, "trained", file=sys.stderr)
    return found
