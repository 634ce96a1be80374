"""Nodes that train networks on a user's own pictures."""

from __future__ import annotations

import hashlib
from contextlib import closing
from pathlib import Path

from torch import Tensor

from ..core.errors import UserError
from ..core.networks.running import PRECISIONS
from ..core.training.augment import MODES, AugmentSettings
from ..core.training.images import BatchPictures, FolderPictures, PictureSource, files_in, named
from ..core.training.loop import Outcome, RunSettings, train
from ..core.training.stylegan2 import StyleGan2Trainer
from ..core.training.stylegan2_settings import AUTO, PRESETS, StyleGan2Settings, settings_for
from . import folders, host
from .host import io
from .incoming import picture_in

RUNS = "training"
"""Folder below the output folder that holds the runs."""
RESOLUTIONS = tuple(str(8 << i) for i in range(8))
"""8 to 1024: what the published presets reach."""
FROM_PRESET = 0
"""A number that leaves the choice to the preset."""
MOST_STEPS = 10_000_000


class TrainStyleGan(io.ComfyNode):
    """A StyleGAN2 generator from pictures."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigTrainStyleGan",
            display_name="Train StyleGAN",
            category="Portrait Rig/stylegan",
            description="Trains a StyleGAN2 generator on a folder of pictures, or goes on with a run. It shows what is "
            "learnt so far; Cancel keeps the work. Real results take thousands of pictures and a GPU.",
            inputs=[
                io.String.Input(
                    "name",
                    default="my_generator",
                    tooltip=f"Of the generator and of its run: everything is written to {RUNS}/NAME in the output "
                    "folder.",
                ),
                io.String.Input(
                    "folder",
                    default="",
                    tooltip="Folder of pictures inside ComfyUI's input folder (a link to another place will do), with "
                    "its subfolders. Pictures of any size are cut to their middle. Ignored when images are connected.",
                ),
                io.Combo.Input(
                    "resolution",
                    options=list(RESOLUTIONS),
                    default="128",
                    tooltip="Height in pixels of what the generator draws; memory and time grow with its square.",
                ),
                io.Int.Input(
                    "steps",
                    default=RunSettings.steps,
                    min=1,
                    max=MOST_STEPS,
                    tooltip="Of the whole run, those before a stop included. One step looks at one batch; published "
                    "networks saw 10 to 25 million pictures.",
                ),
                io.Combo.Input(
                    "preset",
                    options=[AUTO, *PRESETS],
                    default=AUTO,
                    tooltip="The authors' configurations. auto derives batch, gamma and sizes from the resolution; the "
                    "others are those of their papers.",
                ),
                io.Int.Input(
                    "batch", default=FROM_PRESET, min=0, max=1024, tooltip="Pictures a step; 0 is the preset's number."
                ),
                io.Float.Input(
                    "gamma",
                    default=float(FROM_PRESET),
                    min=0.0,
                    max=1000.0,
                    step=0.0001,
                    round=0.0001,
                    tooltip="Weight of the R1 penalty; 0 is the preset's. More keeps the discriminator calmer: try a "
                    "tenth and ten times the preset's value first when results are poor.",
                ),
                io.Combo.Input(
                    "augmentation",
                    options=list(MODES),
                    default=MODES[0],
                    tooltip="Changes what the discriminator sees, so that it cannot learn few pictures by heart. "
                    "adaptive: as much as it needs. fixed: with the probability below. off: for 50,000 pictures or "
                    "more.",
                ),
                io.Float.Input(
                    "probability",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Of every kind of augmentation: at the start when adaptive, always when fixed. Above 0.8 "
                    "it begins to show in the results.",
                ),
                io.Boolean.Input(
                    "mirror",
                    default=StyleGan2Settings.mirror,
                    tooltip="Adds every picture's mirror image: twice the pictures, right for faces without text.",
                ),
                io.Int.Input(
                    "seed",
                    default=StyleGan2Settings.seed,
                    min=0,
                    max=2**32 - 1,
                    control_after_generate=False,
                    tooltip="Of the first weights, the order of the pictures and all chance. The same seed on the same "
                    "machine gives the same generator.",
                ),
                io.Boolean.Input(
                    "resume",
                    default=True,
                    tooltip="Go on with the run of that name, if there is one; its settings must be the same. Off: "
                    "such a run is left alone and reported.",
                ),
                io.Boolean.Input(
                    "portrait",
                    default=StyleGan2Settings.portrait,
                    label_on="half as wide as high",
                    label_off="square",
                    tooltip="The pictures' shape; half as wide is for whole bodies, as in StyleGAN-Human.",
                    extra_dict=host.ADVANCED,
                ),
                io.Int.Input(
                    "channel_base",
                    default=FROM_PRESET,
                    min=0,
                    max=1 << 20,
                    tooltip="Resolution r has min(channel_base / r, channel_max) channels; 0 is the preset's number.",
                    extra_dict=host.ADVANCED,
                ),
                io.Int.Input(
                    "channel_max",
                    default=FROM_PRESET,
                    min=0,
                    max=2048,
                    tooltip="Most channels of a layer; 0 is 512. Less is faster and can show less.",
                    extra_dict=host.ADVANCED,
                ),
                io.Int.Input(
                    "latent_size",
                    default=StyleGan2Settings.latent,
                    min=1,
                    max=4096,
                    tooltip="Values of a code, in Z and in W.",
                    extra_dict=host.ADVANCED,
                ),
                io.Combo.Input(
                    "precision",
                    options=list(PRECISIONS),
                    default=StyleGan2Settings.precision,
                    tooltip="Of the four highest resolutions. fp16 is what the authors use on GPUs; CPUs gain nothing.",
                    extra_dict=host.ADVANCED,
                ),
                io.Int.Input(
                    "chunk",
                    default=StyleGan2Settings.chunk,
                    min=0,
                    max=1024,
                    tooltip="Pictures of a batch in work at once; fewer take less memory. 0 is the whole batch.",
                    extra_dict=host.ADVANCED,
                ),
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
                    tooltip="Steps between two sheets of sample pictures; the newest is the live preview.",
                    extra_dict=host.ADVANCED,
                ),
                io.Image.Input(
                    "images",
                    optional=True,
                    tooltip="Pictures to train on in place of a folder; cut to their middle and resized.",
                ),
            ],
            outputs=[
                host.StyleGan.Output(
                    display_name="stylegan",
                    tooltip="The averaged generator. It is also in the run's folder, as generator.safetensors.",
                ),
                io.Image.Output(display_name="sheet", tooltip="What it draws at codes that stay the same."),
                io.String.Output(
                    display_name="report", tooltip="Sizes, pictures, steps, losses, and what was left out."
                ),
            ],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, folder: str | None = None, **others: object) -> object:
        """A folder whose pictures changed is looked at anew."""
        if not folder:
            return None
        return folder_state(folder)

    @classmethod
    def execute(
        cls,
        name: str,
        folder: str,
        resolution: str,
        steps: int,
        preset: str,
        batch: int,
        gamma: float,
        augmentation: str,
        probability: float,
        mirror: bool,
        seed: int,
        resume: bool,
        portrait: bool,
        channel_base: int,
        channel_max: int,
        latent_size: int,
        precision: str,
        chunk: int,
        checkpoint_every: int,
        sheet_every: int,
        images: Tensor | None = None,
    ) -> io.NodeOutput:
        place = run_folder(name)
        settings = settings_for(
            preset,
            int(resolution),
            portrait=portrait,
            batch=batch or None,
            chunk=chunk,
            channel_base=channel_base or None,
            channel_max=channel_max or None,
            latent=latent_size,
            r1_gamma=gamma or None,
            augment=AugmentSettings(augmentation, probability),
            mirror=mirror,
            precision=precision,
            seed=seed,
        )
        run = RunSettings(steps, checkpoint_every, sheet_every, command=cls.define_schema().display_name)
        with host.loading():
            if images is None:
                source: PictureSource = FolderPictures(folders.input_folder(folder), settings.size)
            else:
                source = BatchPictures(picture_in(images, "images"), settings.size)
            trainer = StyleGan2Trainer(settings, source, name)
        with closing(trainer), host.memory(*trainer.networks), host.optimising(steps) as watch:
            outcome = train(trainer, place, run, watch, resume)
        with host.loading():
            generator = trainer.result()
        report = told(trainer, outcome, f"{RUNS}/{name}")
        return io.NodeOutput(generator, host.picture_out(outcome.sheet[None]), report, ui=host.show_text(report))


def folder_state(folder: str) -> str:
    """Changes when pictures of a folder in the input folder do."""
    digest = hashlib.sha256()
    for path in files_in(folders.input_folder(folder)):
        state = path.stat()
        digest.update(f"{path}\n{state.st_size}\n{state.st_mtime}\n".encode())
    return digest.hexdigest()


def run_folder(name: str) -> Path:
    """Where the run of that name lies; UserError without a name, or where it leads elsewhere."""
    if not name.strip("./\\ "):
        raise UserError("The generator has no name. Give one: it also names the folder of the run.")
    return folders.output_folder(f"{RUNS}/{name}")


def told(trainer: StyleGan2Trainer, outcome: Outcome, place: str) -> str:
    """What a user should know of a run that has ended."""
    skipped = getattr(trainer.source, "skipped", {})
    lines = [
        trainer.describe(),
        f"steps {outcome.first} to {outcome.steps}: {outcome.stopped}",
        "" if outcome.last is None else ", ".join(f"{key} {value:.3g}" for key, value in outcome.last.losses.items()),
        f"{outcome.skipped} steps were not finite and were left out, whole or in part" if outcome.skipped else "",
        f"pictures left out: {named(skipped)}" if skipped else "",
        *trainer.notes,
        f"everything is in {place} of the output folder",
    ]
    return "\n".join(line for line in lines if line)


NODES = [TrainStyleGan]
