"""A whole rig from a generator, a face model and a regressor: corpus, DFR, and a RigNet for each component.

Every stage is a run of its own (`loop.train`) in a folder of the rig's, so a stop at any moment loses next to nothing.
The folder then holds corpus/, dfr/, a folder for each component (or one for all, trained together), and
rig.safetensors, which `methods.rig.load_rig` reads.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoints import save_safetensors
from ..errors import UserError
from ..methods.rig import Rig, load_rig, packed
from ..networks.rig import COMPONENTS, RigNet
from ..optimise import DONE, Watch
from .dfr import DfrLesson, DfrSettings
from .latent_corpus import Eye, LatentCorpus, LatentCorpusSettings, make_latent_corpus
from .loop import Outcome, RunSettings, train
from .rig_view import FaceView
from .rignet import Reader, RigNetLesson, RigNetSettings, RigTrainer
from .supervised import LICENCE, SupervisedSettings, halved

CORPUS, DFR, RIG = "corpus", "dfr", "rig.safetensors"
"""Names in a rig's folder."""
READING = SupervisedSettings(steps=1000, batch=128, rate=2e-3, decay=0.02, average=0.99)
EDITING = SupervisedSettings(steps=900, batch=24, rate=4e-3, decay=0.0, average=0.99)
"""Of the two stages. Chosen on the toon generator with 16,000 latents: after 2500 steps DFR misses as much as after
1000; the RigNet for pose has an error of 0.37 after 250 steps, 0.20 after 500 and 0.11 after 1000."""


@dataclass(frozen=True)
class RigSettings:
    """Everything about the training of a rig.

    corpus, dfr: of these stages. dfr_run, rignet_run: their steps, batches and rates. rignet: of the second stage; its
    components are those that the rig edits. together: one run for all components, which entangles them, in place of
    one each.
    """

    corpus: LatentCorpusSettings = field(default_factory=LatentCorpusSettings)
    dfr: DfrSettings = field(default_factory=DfrSettings)
    dfr_run: SupervisedSettings = READING
    rignet: RigNetSettings = field(default_factory=lambda: RigNetSettings(tuple(COMPONENTS)))
    rignet_run: SupervisedSettings = EDITING
    together: bool = False

    @property
    def stages(self) -> list[tuple[str, ...]]:
        """Components of each run of the second stage."""
        names = self.rignet.components
        return [names] if self.together else [(name,) for name in names]

    @property
    def steps(self) -> int:
        """Of all stages, a shard of the corpus counted as one."""
        return self.corpus.shards + self.dfr_run.steps + len(self.stages) * self.rignet_run.steps


@dataclass(frozen=True, eq=False)
class RigOutcome:
    """A trained rig, the last sheet [3, H, W], its file, and what a user should know, line by line."""

    rig: Rig
    sheet: Tensor | None
    path: Path
    report: list[str]


def train_rig(
    folder: Path,
    eye: Eye,
    settings: RigSettings,
    run: RunSettings,
    watch: Watch | None = None,
    resume: bool = False,
) -> RigOutcome:
    """Trains what is missing in `folder`.

    run: how often the stages write; its steps are not looked at. watch: as in `core.optimise`, over all stages;
    whatever it raises stops after the step at work, and `resume` goes on from there; without `resume`, runs in the
    folder are refused, but not a corpus. UserError where the corpus is of something else or settings have changed.
    """
    report = _Report(settings.steps, watch)
    for _ in make_latent_corpus(folder / CORPUS, settings.corpus, eye):
        report.passed()
    corpus = LatentCorpus(folder / CORPUS, eye.model)
    lesson = DfrLesson(corpus, eye.model, settings.dfr_run, settings.dfr)
    trainer = RigTrainer(settings.dfr_run, lesson)
    outcome = _run(trainer, folder / DFR, settings.dfr_run, run, report, resume)
    reading = lesson.rig(trainer.average)
    networks: dict[str, RigNet] = {}
    notes = {"dfr": _measured(trainer)}
    for components in settings.stages:
        second = rignet_lesson(corpus, eye, reading, settings, components, lesson.effects)
        trainer = RigTrainer(settings.rignet_run, second)
        outcome = _run(trainer, folder / second.product, settings.rignet_run, run, report, resume)
        networks |= second.networks(trainer.average)
        notes[second.product] = _measured(trainer)
    rig = replace(reading, name=folder.name, rignets={name: networks[name] for name in COMPONENTS if name in networks})
    path = folder / RIG
    tensors, metadata = packed(rig, {
        "licence": LICENCE, "pictures": corpus.about, "pictures_fingerprint": corpus.fingerprint,
        "measured": json.dumps(notes), **({"command": run.command} if run.command else {}),
    })  # fmt: skip
    save_safetensors(path, halved(tensors), metadata)
    return RigOutcome(replace(load_rig(path), name=rig.name), outcome.sheet, path, report.lines)


def rignet_lesson(
    corpus: LatentCorpus, eye: Eye, reading: Rig, settings: RigSettings, components: tuple[str, ...],
    effects: Tensor | None = None,
) -> RigNetLesson:  # fmt: skip
    """What the second stage learns for these components. reading: the rig of the first stage. effects: [P], those of
    the view where they are known already.
    """
    view = FaceView(corpus, eye.model, reading.coding)
    effects = view.effects() if effects is None else effects
    reader = Reader(reading.dfr, reading.coding.groups, effects, reading.coding.within)

    def draw(ws: Tensor) -> Tensor:
        return eye.generator.draw(eye.generator.latent(ws)).clamp(0, 1)

    def pack(networks: dict[str, RigNet], notes: dict[str, str]) -> tuple[dict[str, Tensor], dict[str, str]]:
        return packed(replace(reading, rignets=networks), notes)

    told = replace(settings.rignet, components=components)
    return RigNetLesson(corpus, reader, view, settings.rignet_run, told, draw, pack)


def _run(
    trainer: RigTrainer, folder: Path, settings: SupervisedSettings, run: RunSettings, report: _Report, resume: bool
) -> Outcome:
    """One stage to its end, told in the report. UserError where it broke off."""
    outcome = train(trainer, folder, replace(run, steps=settings.steps), report.watch(), resume)
    if outcome.stopped != DONE:
        raise UserError(
            f"The training of {folder.name} stopped at step {outcome.steps}: {outcome.stopped}. Try a smaller rate in "
            "a new folder."
        )
    report.stage(folder.name, trainer, outcome, settings.steps)
    return outcome


def _measured(trainer: RigTrainer) -> dict[str, float]:
    with torch.no_grad():
        return {name: round(value, 4) for name, value in trainer.lesson.validation(trainer.average).items()}


class _Report:
    """Steps of all stages as those of one run, and what is said at the end."""

    def __init__(self, total: int, watch: Watch | None) -> None:
        self.lines: list[str] = []
        self._total, self._watch, self._done = total, watch, 0

    def passed(self, steps: int = 1) -> None:
        """So many steps without a loss."""
        self._done += steps
        if self._watch is not None:
            self._watch(self._done, self._total, 0.0, lambda: None)

    def watch(self) -> Watch | None:
        """For the stage at work."""
        if self._watch is None:
            return None
        before, outer = self._done, self._watch

        def inner(step: int, total: int, loss: float, preview: Callable[[], Tensor | None]) -> None:
            outer(before + step, self._total, loss, preview)

        return inner

    def stage(self, name: str, trainer: RigTrainer, outcome: Outcome, steps: int) -> None:
        """A finished one."""
        self._done += steps
        figures = ", ".join(f"{key} {value:.3g}" for key, value in _measured(trainer).items() if key.count(" ") == 1)
        self.lines += [f"{name}: {trainer.describe()}", f"  held-out latents: {figures}"]
        if outcome.skipped:
            self.lines.append(f"  {outcome.skipped} steps were not finite and were left out, whole or in part")
        self.lines += [f"  {note}" for note in trainer.notes]
