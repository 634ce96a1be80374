"""The node that trains a rig (StyleRig) for a generator."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ..core.face.landmarks import choose
from ..core.face.model import FaceModel
from ..core.methods.regress import CodedRegressor, FaceRegressor
from ..core.networks.generator import Generator
from ..core.networks.rig import COMPONENTS, MODES
from ..core.training.dfr import TEACHERS
from ..core.training.latent_corpus import Eye, Finder, LatentCorpusSettings
from ..core.training.loop import RunSettings
from ..core.training.rig import RIG, RigSettings, train_rig
from ..core.types import Landmarks
from . import host
from .face_finders import find_automatically
from .host import io
from .inputs import seed_input
from .training_runs import MOST_STEPS, kept_in, name_input, run_folder, writing_inputs

DEFAULTS = RigSettings()
SEPARATELY, TOGETHER = "each by itself", "together"
READ, PICTURES = "what DFR reads", "the pictures"
LARGEST_SIDE = 256
"""Pixels that StyleRig compares; more is never seen by a face model's vertices."""


class TrainRig(io.ComfyNode):
    """DFR and RigNets for a generator."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        def steps(name: str, default: int, about: str) -> io.Int.Input:
            return io.Int.Input(name, default=default, min=1, max=MOST_STEPS, tooltip=about)

        return io.Schema(
            node_id="PortraitRigTrainRig",
            display_name="Train Rig",
            category="Portrait Rig/rig",
            description="Trains a rig (StyleRig) for a generator, or goes on with one: it draws latents, learns to "
            "read the face in them, then to change pose, expression and light one by one. Cancel keeps the work.",
            inputs=[
                host.StyleGan.Input(
                    "stylegan", tooltip="The generator of portraits that is to be rigged. It is not changed."
                ),
                host.FaceModel.Input("face_model", tooltip="Whose parameters the rig will understand."),
                host.FaceRegressor.Input(
                    "face_regressor",
                    tooltip="Looks at every drawn portrait once. The rig reads no better than it does, so take one "
                    "that knows such faces.",
                ),
                name_input("my_rig", "Of the rig and its runs"),
                io.Int.Input(
                    "latents",
                    default=DEFAULTS.corpus.count,
                    min=100,
                    max=MOST_STEPS,
                    tooltip="Portraits to learn from, drawn once and kept on disk (25 kB each at 64 pixels). StyleRig "
                    "took 200,000; thousands do for a small generator. More can be added later.",
                ),
                steps("dfr_steps", DEFAULTS.dfr_run.steps, "Of the network that reads latents (DFR), the first stage."),
                steps("rignet_steps", DEFAULTS.rignet_run.steps, "Of each network that edits latents (RigNet)."),
                io.Combo.Input(
                    "teacher",
                    options=list(TEACHERS),
                    default=DEFAULTS.dfr.teacher,
                    tooltip="Of DFR. regressor: its parameters, each weighed by what it does to the face; quick and "
                    "safe. pictures: they are drawn and compared with the portraits, as published. both: the sum.",
                ),
                io.Combo.Input(
                    "mode",
                    options=list(MODES),
                    default=DEFAULTS.rignet.mode,
                    tooltip="What a RigNet is told: all wanted parameters (StyleRig), the wanted component (PIE), or "
                    "how far it is from the present one, which edits most exactly.",
                ),
                io.Combo.Input(
                    "components",
                    options=[SEPARATELY, TOGETHER],
                    default=SEPARATELY,
                    tooltip=f"How {', '.join(COMPONENTS)} are trained. Together is faster and entangles them.",
                ),
                seed_input("Of the latents, the first weights and all chance.", DEFAULTS.corpus.seed, anew=False),
                io.Boolean.Input(
                    "resume",
                    default=True,
                    tooltip="Go on with the runs of that name, if there are some; their settings must be the same. "
                    "Off: such runs are left alone and reported. Latents are used again either way.",
                ),
                io.Combo.Input(
                    "compare_with",
                    options=[READ, PICTURES],
                    default=READ,
                    tooltip="What RigNets compare drawn faces with. what DFR reads: the same face before the edit, so "
                    "nothing but the edit differs. the pictures: as published; hair and glasses disturb.",
                    extra_dict=host.ADVANCED,
                ),
                io.Int.Input(
                    "segments",
                    default=DEFAULTS.corpus.segments,
                    min=1,
                    max=64,
                    tooltip="Most random codes in one latent: layers are mixed so that each learns on its own.",
                    extra_dict=host.ADVANCED,
                ),
                io.Float.Input(
                    "truncation",
                    default=DEFAULTS.corpus.truncation,
                    min=0.1,
                    max=1.0,
                    step=0.05,
                    tooltip="Of the latents; 1 is none. Less makes the faces more alike and the rig's range smaller.",
                    extra_dict=host.ADVANCED,
                ),
                io.Int.Input(
                    "picture_side",
                    default=DEFAULTS.corpus.side,
                    min=8,
                    max=LARGEST_SIDE,
                    tooltip="Pixels of the portraits that are kept to compare with; the regressor sees them whole.",
                    extra_dict=host.ADVANCED,
                ),
                io.Int.Input(
                    "dfr_batch",
                    default=DEFAULTS.dfr_run.batch,
                    min=1,
                    max=4096,
                    tooltip="Latents a step of the first stage.",
                    extra_dict=host.ADVANCED,
                ),
                io.Int.Input(
                    "rignet_batch",
                    default=DEFAULTS.rignet_run.batch,
                    min=2,
                    max=4096,
                    tooltip="Latents a step of the second stage; they make as many pairs, each used both ways.",
                    extra_dict=host.ADVANCED,
                ),
                io.Int.Input(
                    "width",
                    default=DEFAULTS.dfr.width,
                    min=1,
                    max=8192,
                    tooltip="Features of DFR's two inner layers.",
                    extra_dict=host.ADVANCED,
                ),
                *writing_inputs("edited portraits"),
            ],
            outputs=[
                host.RigNet.Output(
                    display_name="rig", tooltip=f"The trained rig. It is also in the run's folder, as {RIG}."
                ),
                io.Image.Output(
                    display_name="sheet",
                    tooltip="Latents that were not trained on; below each the same with the next one's component.",
                ),
                io.String.Output(
                    display_name="report", tooltip="Sizes and steps, and each stage's errors on latents kept aside."
                ),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        stylegan: Generator,
        face_model: FaceModel,
        face_regressor: FaceRegressor,
        name: str,
        latents: int,
        dfr_steps: int,
        rignet_steps: int,
        teacher: str,
        mode: str,
        components: str,
        seed: int,
        resume: bool,
        compare_with: str,
        segments: int,
        truncation: float,
        picture_side: int,
        dfr_batch: int,
        rignet_batch: int,
        width: int,
        checkpoint_every: int,
        sheet_every: int,
    ) -> io.NodeOutput:
        place = run_folder(name)
        settings = RigSettings(
            LatentCorpusSettings(latents, picture_side, segments, truncation, seed),
            replace(DEFAULTS.dfr, teacher=teacher, width=width),
            replace(DEFAULTS.dfr_run, steps=dfr_steps, batch=dfr_batch, seed=seed),
            replace(DEFAULTS.rignet, mode=mode, pictures=compare_with == PICTURES),
            replace(DEFAULTS.rignet_run, steps=rignet_steps, batch=rignet_batch, seed=seed),
            together=components == TOGETHER,
        )
        run = RunSettings(
            checkpoint_every=checkpoint_every, sheet_every=sheet_every, command=cls.define_schema().display_name
        )
        with (
            host.memory(stylegan.network, face_model, face_regressor),
            host.optimising(settings.steps) as watch,
        ):
            generator = replace(stylegan.exact(), network=host.fresh(stylegan.network))
            regressor = host.fresh(face_regressor)
            eye = Eye(generator, regressor, host.fresh(face_model), landmarks_for(regressor), picture_side)
            outcome = train_rig(place, eye, settings, run, watch, resume)
        report = "\n".join([*outcome.report, kept_in(name)])
        return io.NodeOutput(outcome.rig, host.picture_out(outcome.sheet[None]), report, ui=host.show_text(report))


def landmarks_for(regressor: FaceRegressor) -> Finder | None:
    """Finds faces as Find Face does on 'auto', where the regressor needs their points; None where it does not."""
    return None if isinstance(regressor, CodedRegressor) else _found_by_itself


def _found_by_itself(pictures: Tensor) -> Landmarks:
    return choose(find_automatically(pictures), (pictures.shape[2], pictures.shape[3]), missing="pass")[0]


NODES = [TrainRig]
