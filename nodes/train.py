"""The node that trains a generator on a user's own pictures."""

from __future__ import annotations

from torch import Tensor

from ..core.networks.running import PRECISIONS
from ..core.training.augment import MODES, AugmentSettings
from ..core.training.loop import RunSettings
from ..core.training.stylegan2 import StyleGan2Trainer
from ..core.training.stylegan2_settings import AUTO, PRESETS, StyleGan2Settings
from . import folders, host
from .host import io
from .inputs import seed_input
from .training_runs import (
    FROM_PRESET,
    MOST_STEPS,
    RESOLUTIONS,
    folder_state,
    generator_settings,
    name_input,
    pictures_from,
    run_folder,
    told,
    trained,
    writing_inputs,
)


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
                name_input("my_generator", "Of the generator and of its run"),
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
                seed_input(
                    "Of the first weights, the order of the pictures and all chance. The same seed on the same "
                    "machine gives the same generator.",
                    StyleGan2Settings.seed,
                    anew=False,
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
                *writing_inputs("sample pictures"),
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
        return folder_state(folder)

    @classmethod
    def execute(
        cls,
        name: str,
        folder: str,
        steps: int,
        augmentation: str,
        probability: float,
        resume: bool,
        checkpoint_every: int,
        sheet_every: int,
        images: Tensor | None = None,
        **network: object,
    ) -> io.NodeOutput:
        place = run_folder(name)
        settings = generator_settings(augment=AugmentSettings(augmentation, probability), **network)
        run = RunSettings(steps, checkpoint_every, sheet_every, command=cls.define_schema().display_name)
        place_of_pictures = folders.input_folder(folder) if images is None else None
        with host.loading():
            trainer = StyleGan2Trainer(settings, pictures_from(images, place_of_pictures, settings.size), name)
        outcome = trained(trainer, place, run, resume)
        with host.loading():
            generator = trainer.result()
        report = told(trainer, outcome, name)
        return io.NodeOutput(generator, host.picture_out(outcome.sheet[None]), report, ui=host.show_text(report))


NODES = [TrainStyleGan]
