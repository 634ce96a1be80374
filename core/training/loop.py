"""The loop around everything that is trained: log, sheets, checkpoints, going on, stopping.

What is trained and how one step is made is a `Trainer`'s affair; fits, which need none of this, have
`core.optimise.run`, whose `Watch` and reasons for stopping are used here too. In the folder of a run lie

* checkpoint-00001000.safetensors: everything that the trainer needs to go on, the newest few; latest.json names the
  one to take and is written last, so that a stop at any moment leaves a run that goes on;
* <product>.safetensors: what the training is for, as of the newest checkpoint;
* losses.jsonl: one line a step; sheets/: pictures of the progress.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor

from ..checkpoints import read, save_safetensors
from ..errors import UserError
from ..files import replacing
from ..optimise import DONE, NOT_FINITE, Watch

LATEST, LOSSES, SHEETS = "latest.json", "losses.jsonl", "sheets"
FORMAT, VERSION = "portrait_rig.training", 1
"""Of checkpoints; the version is raised when a reader of this one would misunderstand them."""


@dataclass(frozen=True)
class RunSettings:
    """How far a run goes and what it writes on its way.

    steps: of the whole run, those before a stop included. checkpoint_every, sheet_every: in steps. keep: checkpoints
    that are kept. patience: steps in a row that may be skipped because they were not finite, before the run stops.
    command: how to do it again, for the product's metadata.
    """

    steps: int = 25_000
    checkpoint_every: int = 500
    sheet_every: int = 200
    keep: int = 2
    patience: int = 20
    command: str = ""


@dataclass(frozen=True)
class Step:
    """What one step tells: losses, NaN where a part of it was skipped, and other figures for the log."""

    losses: dict[str, float]
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Nothing was skipped."""
        return all(map(math.isfinite, self.losses.values()))


class Trainer(Protocol):
    """What can be trained. Everything random in a step is a function of the step's number, so no state of it is kept.

    product: name of the file that the training is for. main: this process writes (the others train along). notes:
    sentences about the run that its user should read.
    """

    product: str
    main: bool
    notes: list[str]

    def describe(self) -> str:
        """One line: what is trained on what."""

    def advance(self, step: int) -> Step:
        """Makes step number `step`, counted from 0."""

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors, and plain data that JSON can hold."""

    def load_state(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Goes back to a state; UserError where it belongs to another training."""

    def sheet(self) -> Tensor:
        """[3, H, W] RGB 0…1, how it looks; must not change what later steps do."""

    def packed(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Tensors and metadata of the product."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """How a run ended.

    first, steps: steps that were there at the start and at the end. stopped: DONE or NOT_FINITE. skipped: steps of
    which a part was left out because it was not finite. product: the file. last: the last step made here, None where
    none was. sheet: the last one, None in other processes than the main one.
    """

    first: int
    steps: int
    stopped: str
    skipped: int
    product: Path
    last: Step | None = None
    sheet: Tensor | None = None


def train(
    trainer: Trainer, folder: Path, settings: RunSettings, watch: Watch | None = None, resume: bool = False
) -> Outcome:
    """Trains until `settings.steps` steps are made, and writes the run into `folder`.

    resume: go on with the run in the folder, if one is there; False refuses such a folder. watch: as in
    `core.optimise`; whatever it raises stops the run after a checkpoint is written. Errors: RuntimeError under
    inference mode, UserError where the folder or its checkpoint is not fit.
    """
    if torch.is_inference_mode_enabled():
        raise RuntimeError("Training was started inside torch.inference_mode(), where there are no gradients.")
    run = _Run(trainer, folder, settings)
    first = done = run.start(resume)
    skipped, in_a_row, stopped, last = 0, 0, DONE, None
    if trainer.main:
        run.draw(done)
    while done < settings.steps:
        last = trainer.advance(done)
        done += 1
        skipped, in_a_row = skipped + (not last.whole), 0 if last.whole else in_a_row + 1
        if trainer.main:
            run.log(done, last)
            if done % settings.sheet_every == 0:
                run.draw(done)
            if done % settings.checkpoint_every == 0:
                run.save(done)
        if watch is not None:
            try:
                watch(done, settings.steps, sum(last.losses.values()), run.shown)
            except BaseException:  # between two steps everything fits together, so nothing of the work is lost
                if trainer.main:
                    run.save(done)
                raise
        if in_a_row > settings.patience:
            stopped = NOT_FINITE
            break
    if trainer.main:
        run.draw(done)
        run.save(done)
    return Outcome(first, done, stopped, skipped, run.product, last, run.sheet)


class _Run:
    """The files of a run."""

    def __init__(self, trainer: Trainer, folder: Path, settings: RunSettings) -> None:
        self._trainer, self._folder, self._settings = trainer, folder, settings
        self.product = folder / f"{trainer.product}.safetensors"
        self.sheet: Tensor | None = None
        self._started, self._saved = time.monotonic(), -1

    def start(self, resume: bool) -> int:
        """Steps that were made before; loads them."""
        latest = self._folder / LATEST
        if not latest.exists():
            return 0
        if not resume:
            raise UserError(
                f"The folder '{self._folder}' already holds a run. Switch on resume to go on with it, or "
                "choose another folder."
            )
        tensors, plain, done = self._read(latest)
        self._trainer.load_state(tensors, plain)
        if self._trainer.main:
            self._forget_after(done)
        self._saved = done
        return done

    def save(self, done: int) -> None:
        """The checkpoint, then the pointer to it, then the product; and old checkpoints are removed."""
        if done == self._saved:
            return
        tensors, plain = self._trainer.state()
        path = self._folder / f"checkpoint-{done:08d}.safetensors"
        head = {"format": FORMAT, "version": str(VERSION), "product": self._trainer.product, "steps": str(done)}
        save_safetensors(path, tensors, {**head, "plain": json.dumps(plain, sort_keys=True)})
        self._write(LATEST, json.dumps({"checkpoint": path.name, "steps": done}) + "\n")
        tensors, metadata = self._trainer.packed()
        command = {"command": self._settings.command} if self._settings.command else {}
        save_safetensors(self.product, tensors, {**metadata, **command, "steps": str(done)})
        self._saved = done
        kept = sorted(self._folder.glob("checkpoint-*.safetensors"))[: -max(self._settings.keep, 1)]
        for old in kept:
            old.unlink(missing_ok=True)

    def log(self, done: int, step: Step) -> None:
        """One line; what is not finite becomes null."""
        told = {**step.losses, **step.figures}
        numbers = {name: value if math.isfinite(value) else None for name, value in told.items()}
        line = {"step": done, "seconds": round(time.monotonic() - self._started, 3), **numbers}
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / LOSSES).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def shown(self) -> Tensor | None:
        """The newest sheet, as a `Preview`: drawing one anew for every look would slow the training down."""
        return self.sheet

    def draw(self, done: int) -> None:
        """A new sheet, also as a file."""
        self.sheet = self._trainer.sheet().detach().cpu().clamp(0, 1)
        pixels = (self.sheet.permute(1, 2, 0) * 255).round().byte().numpy()
        with replacing(self._folder / SHEETS / f"{done:08d}.png") as path:
            Image.fromarray(pixels).save(path)

    def _read(self, latest: Path) -> tuple[dict[str, Tensor], dict[str, Any], int]:
        try:
            name = Path(json.loads(latest.read_text(encoding="utf-8"))["checkpoint"]).name
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f'\'{latest}\' is damaged, so the run cannot go on by itself. Write {{"checkpoint": "NAME"}} into it '
                "with the name of the checkpoint beside it."
            ) from error
        checkpoint = read(latest.parent / name)
        found = checkpoint.metadata
        if (found.get("format"), found.get("version")) != (FORMAT, str(VERSION)):
            raise UserError(f"'{name}' is no checkpoint of a training that this version of the pack can go on with.")
        if found.get("product") != self._trainer.product:
            raise UserError(
                f"'{name}' belongs to a training of a {found.get('product')}, not a {self._trainer.product}."
            )
        return checkpoint.tensors, json.loads(found["plain"]), int(found["steps"])

    def _forget_after(self, done: int) -> None:
        """Log and sheets of steps after the checkpoint, which are about to be made again."""
        log = self._folder / LOSSES
        if log.exists():
            lines = [line for line in log.read_text(encoding="utf-8").splitlines() if _step_of(line) <= done]
            self._write(LOSSES, "".join(f"{line}\n" for line in lines))
        for sheet in (self._folder / SHEETS).glob("*.png"):
            if sheet.stem.isdigit() and int(sheet.stem) > done:
                sheet.unlink(missing_ok=True)

    def _write(self, name: str, text: str) -> None:
        with replacing(self._folder / name) as path:
            path.write_text(text, encoding="utf-8")


def _step_of(line: str) -> float:
    """The step of a log's line; infinite where the line is cut off."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return math.inf
