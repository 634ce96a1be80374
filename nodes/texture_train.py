"""The node that trains a texture generator on a user's own UV maps or portraits."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ..core.face.model import FaceModel
from ..core.methods.fit import FitSettings
from ..core.training.augment import AugmentSettings
from ..core.training.images import files_in, named
from ..core.training.loop import RunSettings
from ..core.training.portrait_textures import MAPS, unwrap_folder
from ..core.training.stylegan2_settings import AUTO, StyleGan2Settings
from ..core.training.texture_gan import RESOLUTION, TextureGanTrainer
from . import folders, host
from .face_finders import find_automatically
from .host import io
from .train import TrainStyleGan
from .training_runs import (
    MOST_STEPS,
    RESOLUTIONS,
    RUNS,
    folder_state,
    generator_settings,
    name_input,
    pictures_from,
    run_folder,
    told,
    trained,
)

UV_MAPS, PORTRAITS = "UV maps", "portraits"
SHARED = ("batch", "gamma", "augmentation", "seed", "resume", "channel_base", "channel_max", "latent_size",
          "checkpoint_every", "sheet_every")  # fmt: skip
"""Inputs that are those of Train StyleGAN."""


class TrainTextureGan(io.ComfyNode):
    """A StyleGAN2 of UV maps."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        shared = {one.id: one for one in TrainStyleGan.define_schema().inputs}
        return io.Schema(
            node_id="PortraitRigTrainTextureGan",
            display_name="Train Texture GAN",
            category="Portrait Rig/texture",
            description="Trains a generator of face textures on UV maps, or on portraits that it fits and unwraps "
            "first, or goes on with a run. Cancel keeps the work. Real results take thousands of maps and a GPU.",
            inputs=[
                host.FaceModel.Input(
                    "face_model", tooltip="Whose UV layout the maps have; portraits are fitted with it."
                ),
                name_input("my_textures", "Of the generator and of its run"),
                io.String.Input(
                    "folder",
                    default="",
                    tooltip="Folder inside ComfyUI's input folder (a link to another place will do), with its "
                    "subfolders. Ignored when images are connected.",
                ),
                io.Combo.Input(
                    "folder_holds",
                    options=[UV_MAPS, PORTRAITS],
                    default=UV_MAPS,
                    tooltip="UV maps: square ones in the face model's layout. portraits: pictures of faces, whose "
                    "points lie beside them as .json (as Landmarks to Text writes them) or are found as Find Face "
                    f"does on 'auto'; each is fitted and unwrapped into {RUNS}/NAME/{MAPS} first, in some five "
                    "seconds.",
                ),
                io.Combo.Input(
                    "resolution",
                    options=list(RESOLUTIONS),
                    default=str(RESOLUTION),
                    tooltip="Side in texels of what the generator draws; memory and time grow with its square.",
                ),
                io.Int.Input(
                    "steps",
                    default=RunSettings.steps,
                    min=1,
                    max=MOST_STEPS,
                    tooltip="Of the whole run, those before a stop included. One step looks at one batch; FFHQ-UV's "
                    "generator saw several million maps.",
                ),
                io.Boolean.Input(
                    "mirror",
                    default=StyleGan2Settings.mirror,
                    tooltip="Adds every map's mirror image: twice the maps, right where the layout is symmetric, as "
                    "the toon head's is.",
                ),
                *(shared[name] for name in SHARED),
                io.Image.Input(
                    "images", optional=True, tooltip="UV maps in place of a folder, such as those of Unwrap Texture."
                ),
            ],
            outputs=[
                host.TextureGan.Output(
                    display_name="texture_gan",
                    tooltip="The averaged generator. It is also in the run's folder, as texture_gan.safetensors.",
                ),
                io.Image.Output(display_name="sheet", tooltip="Maps that it draws at codes that stay the same."),
                io.String.Output(
                    display_name="report", tooltip="Sizes, maps, steps, losses, and which pictures were left out."
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
        face_model: FaceModel,
        name: str,
        folder: str,
        folder_holds: str,
        steps: int,
        augmentation: str,
        resume: bool,
        checkpoint_every: int,
        sheet_every: int,
        images: Tensor | None = None,
        **network: object,
    ) -> io.NodeOutput:
        place = run_folder(name)
        settings = generator_settings(AUTO, augment=AugmentSettings(augmentation), **network)
        run = RunSettings(steps, checkpoint_every, sheet_every, command=cls.define_schema().display_name)
        maps, notes = folders.input_folder(folder) if images is None else None, []
        if maps is not None and folder_holds == PORTRAITS:
            maps, skipped = _unwrapped(maps, place / MAPS, face_model, settings.resolution)
            notes = [f"portraits left out: {named(skipped)}"] if skipped else []
        with host.loading():
            trainer = TextureGanTrainer(settings, pictures_from(images, maps, settings.size), face_model.layout, name)
        outcome = trained(trainer, place, run, resume)
        with host.loading():
            gan = trainer.textures()
        report = "\n".join([told(trainer, outcome, name), *notes])
        return io.NodeOutput(gan, host.picture_out(outcome.sheet[None]), report, ui=host.show_text(report))


def _unwrapped(portraits: Path, maps: Path, model: FaceModel, size: int) -> tuple[Path, dict[str, str]]:
    """The folder of maps with one for every portrait that could be fitted, and why others could not."""
    with host.memory(model), host.optimising(len(files_in(portraits))) as watch:
        settings = FitSettings(texture_size=size)
        harvest = unwrap_folder(portraits, maps, host.fresh(model), find_automatically, settings, watch)
    return maps, harvest.skipped


NODES = [TrainTextureGan]
