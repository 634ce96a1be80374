"""What the nodes that train have in common: a run's folder and inputs, the pictures it learns from, and its report."""

from __future__ import annotations

import hashlib
from contextlib import closing
from pathlib import Path
from typing import Any

from torch import Tensor

from ..core.errors import UserError
from ..core.training.images import BatchPictures, FolderPictures, PictureSource, files_in, named
from ..core.training.loop import Outcome, RunSettings, train
from ..core.training.stylegan2 import StyleGan2Trainer
from ..core.training.stylegan2_settings import StyleGan2Settings, settings_for
from . import folders, host
from .host import io
from .incoming import picture_in

RUNS = "training"
"""Folder below the output folder that holds the runs."""
MOST_STEPS = 10_000_000
RESOLUTIONS = tuple(str(8 << i) for i in range(8))
"""8 to 1024: what the published presets reach."""
FROM_PRESET = 0
"""A number that leaves the choice to the preset."""


def name_input(default: str, whose: str) -> io.Input:
    """whose: 'Of the …', what the name stands for."""
    return io.String.Input(
        "name", default=default, tooltip=f"{whose}: everything is written to {RUNS}/NAME in the output folder."
    )


def writing_inputs(sheets: str) -> list[io.Input]:
    """How often a run writes checkpoints and sheets. sheets: what these show."""
    return [
        io.Int.Input(
            "checkpoint_every",
            default=RunSettings.checkpoint_every,
            min=1,
            max=MOST_STEPS,
            tooltip="Steps between two checkpoints, which a crash loses at most. Cancel writes one, too.",
            extra_dict=host.ADVANCED,
        ),
        io.Int.Input(
            "sheet_every",
            default=RunSettings.sheet_every,
            min=1,
            max=MOST_STEPS,
            tooltip=f"Steps between two sheets of {sheets}; the newest is the live preview.",
            extra_dict=host.ADVANCED,
        ),
    ]


def run_folder(name: str) -> Path:
    """Where the run of that name lies; UserError without a name, or where it leads elsewhere."""
    if not name.strip("./\\ "):
        raise UserError("The run has no name. Give one: it also names the run's folder.")
    return folders.output_folder(f"{RUNS}/{name}")


def kept_in(name: str) -> str:
    """The last line of a report: where to look."""
    return f"everything is in {RUNS}/{name} of the output folder"


# Runs of a generator of pictures or textures -------------------------------------------------------------------------


def folder_state(folder: str | None) -> str | None:
    """For `fingerprint_inputs`: changes when pictures of a folder in the input folder do; None where none is named."""
    if not folder:
        return None
    digest = hashlib.sha256()
    for path in files_in(folders.input_folder(folder)):
        state = path.stat()
        digest.update(f"{path}\n{state.st_size}\n{state.st_mtime}\n".encode())
    return digest.hexdigest()


def generator_settings(
    preset: str,
    resolution: str,
    batch: int,
    gamma: float,
    channel_base: int,
    channel_max: int,
    latent_size: int,
    **others: Any,
) -> StyleGan2Settings:
    """What the widgets ask for. others: those that are fields of `StyleGan2Settings`."""
    return settings_for(
        preset,
        int(resolution),
        batch=batch or None,
        r1_gamma=gamma or None,
        channel_base=channel_base or None,
        channel_max=channel_max or None,
        latent=latent_size,
        **others,
    )


def pictures_from(images: Tensor | None, folder: Path | None, size: tuple[int, int]) -> PictureSource:
    """The connected images (IMAGE), else those of the folder; size (H, W) in pixels."""
    return FolderPictures(folder, size) if images is None else BatchPictures(picture_in(images, "images"), size)


def trained(trainer: StyleGan2Trainer, place: Path, run: RunSettings, resume: bool) -> Outcome:
    """Runs it with progress, live sheets and Cancel, and lets go of its threads and memory."""
    with closing(trainer), host.memory(*trainer.networks), host.optimising(run.steps) as watch:
        return train(trainer, place, run, watch, resume)


def told(trainer: StyleGan2Trainer, outcome: Outcome, name: str) -> str:
    """What a user should know of a run that has ended."""
    skipped = getattr(trainer.source, "skipped", {})
    lines = [
        trainer.describe(),
        f"steps {outcome.first} to {outcome.steps}: {outcome.stopped}",
        "" if outcome.last is None else ", ".join(f"{key} {value:.3g}" for key, value in outcome.last.losses.items()),
        f"{outcome.skipped} steps were not finite and were left out, whole or in part" if outcome.skipped else "",
        f"pictures left out: {named(skipped)}" if skipped else "",
        *trainer.notes,
        kept_in(name),
    ]
    return "\n".join(line for line in lines if line)
