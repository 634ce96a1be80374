"""Nodes that use a rig (StyleRig): load it, read a latent's face, change its pose, expression and light."""

from __future__ import annotations

import math

from ..core.errors import UserError
from ..core.face import edit as face_edit
from ..core.face.light import dominant_light
from ..core.face.model import FaceModel
from ..core.methods.rig import DEFAULT, PASSES, SLIDER_REACH, Rig, edit, load_rig, read_params
from ..core.methods.rig_wishes import Lamp, Sliders, wished
from ..core.networks.rig import COMPONENTS
from ..core.types import FaceParams, Latent
from . import folders, host
from .face_sliders import (
    ADD,
    AXES,
    KEEP,
    REPLACE,
    angle_inputs,
    expressions_input,
    light_inputs,
    mood_inputs,
)
from .host import io
from .model_files import LoaderNode, ModelFiles

FILES = ModelFiles(DEFAULT.name, {".safetensors"})
TAKEN_AT_FIRST = frozenset({"pose", "expression"})
LIMIT_DEGREES = 90.0
"""Of a head's angle: beyond it no face is seen."""
TOLD = 8
"""Faces that a text describes; a batch may have thousands."""
MOST_PASSES = 8


def passes_input() -> io.Input:
    return io.Int.Input(
        "passes",
        default=PASSES,
        min=1,
        max=MOST_PASSES,
        tooltip="1: RigNet alone, as published. Every further pass reads the face that came out, brings what is "
        "missing and takes back what else has changed; after the second little is left.",
        extra_dict=host.ADVANCED,
    )


class LoadRig(LoaderNode):
    """A rig from a file, or the embedded one."""

    files = FILES
    read_file = staticmethod(load_rig)

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigLoadRig",
            display_name="Load Rig",
            category="Portrait Rig/rig",
            description="Loads a rig (StyleRig): networks that read a generated face's 3D parameters from its latent, "
            "and change its pose, expression and light. The embedded one, or one that Train Rig made.",
            inputs=[
                FILES.choice(
                    f"A file of models/{folders.MODEL_FOLDER}; {DEFAULT.name} comes with the pack and goes "
                    "with its toon_stylegan and toon_head. No rig of a photographic generator was ever published; "
                    "Train Rig makes one.",
                )
            ],
            outputs=[
                host.RigNet.Output(
                    display_name="rig", tooltip="Goes with one generator's latents and one face model's parameters."
                ),
                io.String.Output(
                    display_name="about", tooltip="Which generator and face model it is for, and what it can edit."
                ),
            ],
        )


class ReadFaceParams(io.ComfyNode):
    """Face parameters of a latent, without its picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigReadFaceParams",
            display_name="Read Face Params",
            category="Portrait Rig/rig",
            description="Says which face a latent shows without drawing it (DFR): identity, expression, pose, light "
            "and skin. Edit Face Params and Transfer Face Params change them, RigNet Edit brings them back.",
            inputs=[
                host.RigNet.Input("rig", tooltip="From Load Rig; of the generator that made the latent."),
                host.Latent.Input("latent", tooltip="B latents, such as those of Sample Latent."),
            ],
            outputs=[
                host.FaceParams.Output(
                    display_name="face_params",
                    tooltip="B frames on the generator's pictures; Render Face lays them over.",
                ),
                io.String.Output(
                    display_name="about",
                    tooltip=f"The face model, and of the first {TOLD} faces the angles of head and light, degrees.",
                ),
            ],
        )

    @classmethod
    def execute(cls, rig: Rig, latent: Latent) -> io.NodeOutput:
        _at_least_one(latent)
        with host.memory(*rig.modules):
            params = read_params(rig, latent).to("cpu")
        about = "\n".join([f"{params.layout}: {len(params)} faces", *_told(params)])
        return io.NodeOutput(params, about, ui=host.show_text(about))


class RigNetEdit(io.ComfyNode):
    """Pose, expression and light of a latent's face."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        taken = {
            "pose": "the turn of the head",
            "expression": "the expression, with jaw and eyes",
            "light": "the light",
        }
        return io.Schema(
            node_id="PortraitRigRigNetEdit",
            display_name="RigNet Edit",
            category="Portrait Rig/rig",
            description="Turns the head, changes the expression and moves the light of a generated face, who stays who "
            "it is: as another face has it, and by sliders on top. What is not asked for is left alone.",
            inputs=[
                host.RigNet.Input("rig", tooltip="From Load Rig; of the generator that made the latent."),
                host.Latent.Input("latent", tooltip="B latents that are changed; 1 goes with N faces of a source."),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=-1.0,
                    max=2.0,
                    step=0.05,
                    display_mode=io.NumberDisplay.slider,
                    tooltip="Of all changes: 0 leaves the latent, 1 goes all the way to what is asked for, more "
                    "exaggerates, below 0 goes the other way.",
                ),
                *(
                    io.Boolean.Input(
                        f"take_{component}",
                        default=component in TAKEN_AT_FIRST,
                        tooltip=f"On: {taken[component]} of the source, where one is connected.",
                    )
                    for component in COMPONENTS
                ),
                io.Combo.Input(
                    "pose",
                    options=[ADD, REPLACE],
                    default=ADD,
                    tooltip="add: yaw, pitch and roll are added to the head's own (or the source's); 0 leaves it. "
                    "replace: they are the head's angles; all 0 looks straight into the camera.",
                ),
                *angle_inputs(LIMIT_DEGREES, "Degrees, added or absolute as pose says:"),
                io.Combo.Input(
                    "mood",
                    options=[ADD, REPLACE],
                    default=ADD,
                    tooltip="add: smile … pucker and the expressions below go on top of the face's own (or the "
                    "source's) expression; all 0 changes nothing. replace: on top of a resting face.",
                ),
                *mood_inputs(),
                expressions_input(),
                *light_inputs(),
                passes_input(),
                host.Latent.Input(
                    "source_latent",
                    optional=True,
                    tooltip="Faces of the same generator to take from: as many as latents, or 1 on either side.",
                ),
                host.FaceParams.Input(
                    "source_params",
                    optional=True,
                    tooltip="Or faces as parameters of the rig's face model: of Read Face Params, edited, or of a "
                    "photograph by Fit 3DMM or Regress Face Params. Pictures of any size; the face should stand "
                    "in the middle.",
                ),
                host.FaceModel.Input(
                    "face_model",
                    optional=True,
                    tooltip="The rig's face model; only needed for smile … pucker and expressions, whose names it "
                    "knows.",
                ),
            ],
            outputs=[
                host.Latent.Output(display_name="latent", tooltip="The changed latents, of the same generator."),
                host.FaceParams.Output(
                    display_name="face_params",
                    tooltip="The faces that were asked for, on the generator's pictures; Render Face shows them.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        rig: Rig,
        latent: Latent,
        strength: float,
        pose: str,
        mood: str,
        expressions: str,
        light: str,
        light_azimuth: float,
        light_elevation: float,
        light_strength: float,
        light_ambient: float,
        passes: int,
        source_latent: Latent | None = None,
        source_params: FaceParams | None = None,
        face_model: FaceModel | None = None,
        **widgets: float | bool,
    ) -> io.NodeOutput:
        _at_least_one(latent)
        if source_latent is not None and source_params is not None:
            raise UserError("Two sources are connected, a latent and face parameters. Connect only one of them.")
        lamp = Lamp(light_azimuth, light_elevation, light_strength, light_ambient, added=light == ADD)
        sliders = Sliders(
            **{axis: _asked(widgets[axis], pose == REPLACE) for axis in AXES},
            posed=pose == REPLACE,
            moods={name: widgets[name] for name in face_edit.MOODS if widgets[name]},
            changes=face_edit.assignments(expressions),
            from_rest=mood == REPLACE,
            lamp=None if light == KEEP else lamp,
        )
        taken = [component for component in COMPONENTS if widgets[f"take_{component}"]]
        with host.memory(*rig.modules):
            source = source_params if source_latent is None else read_params(rig, source_latent)
            own = read_params(rig, latent)
            wanted, asked = wished(rig, own, sliders, source, taken, face_model)
            reach = SLIDER_REACH if source is None else None
            changed = edit(rig, latent, wanted, asked, strength, passes, reach)
            shown = rig.unframed(wanted).to("cpu")
        return io.NodeOutput(host.latent_out(changed), shown)


def _at_least_one(latent: Latent) -> None:
    if not len(latent):
        raise UserError("There is no latent. Connect at least one.")


def _asked(angle: float, absolute: bool) -> float | None:
    """What a slider asks for; one that adds nothing asks for nothing."""
    return angle if absolute or angle else None


def _told(params: FaceParams) -> list[str]:
    """A line for each of the first faces: where the head turns, and where most light comes from."""
    directions, strengths = dominant_light(params.light[:TOLD])
    lines = []
    for number, (angles, (x, y, z), strength) in enumerate(
        zip(params.angles[:TOLD].tolist(), directions.tolist(), strengths.tolist(), strict=True), start=1
    ):
        pitch, yaw, roll = map(math.degrees, angles)
        azimuth, elevation = math.degrees(math.atan2(x, z)), math.degrees(math.asin(max(-1.0, min(1.0, y))))
        lines.append(
            f"{number}: yaw {yaw:.0f}°, pitch {pitch:.0f}°, roll {roll:.0f}°; light of strength {strength:.2f} from "
            f"azimuth {azimuth:.0f}°, elevation {elevation:.0f}°"
        )
    return lines


NODES = [LoadRig, ReadFaceParams, RigNetEdit]
