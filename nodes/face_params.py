"""Nodes on face parameters: edit, mix, keep."""

from __future__ import annotations

from ..core.errors import UserError
from ..core.face import edit
from ..core.face.model import FaceModel
from ..core.face.params_io import load_face_params, save_face_params
from ..core.types import FaceParams
from . import folders, host
from .face_sliders import ADD, KEEP, TEXT_RULES, angle_inputs, expressions_input, light_inputs, mood_inputs
from .host import io

LIMIT_DEGREES = 180.0
PART_TOOLTIPS = {
    "expression": "Expression, and the joints of jaw and eyes. Needs the same face model.",
    "rotation": "Pitch, yaw and roll of the head. May come from another face model.",
    "position": "Where the head stands, so also how large it looks. Needs the same face model.",
    "identity": "The shape of the face. Needs the same face model.",
    "albedo": "Skin colours, and the texture of a fit that has one. Needs the same face model.",
    "light": "Light from all sides. May come from another face model.",
    "camera": "Lens and size of the picture. May come from another face model.",
}
TAKEN_AT_FIRST = frozenset({"expression", "rotation"})


class EditFaceParams(io.ComfyNode):
    """Sliders for pose, expression, identity and light."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigEditFaceParams",
            display_name="Edit Face Params",
            category="Portrait Rig/face",
            description="Turns the head, changes expression and identity by name, and moves the light of a fitted "
            "face. Every frame of a batch is changed alike.",
            inputs=[
                host.FaceParams.Input("face_params", tooltip="B frames, such as those of a fit."),
                host.FaceModel.Input("face_model", tooltip="The model of these parameters: it knows the names."),
                *angle_inputs(LIMIT_DEGREES, "Degrees, added:"),
                *mood_inputs(),
                expressions_input(),
                io.String.Input(
                    "identity",
                    default="",
                    tooltip="Identity directions by name, in standard deviations, −3…3: identity_000+=1.5. "
                    f"{TEXT_RULES}",
                ),
                io.String.Input(
                    "albedo",
                    default="",
                    tooltip="Skin and eye colours by name, in standard deviations, −3…3: freckles=2, iris_blue=1. "
                    f"{TEXT_RULES} Only for models with albedo directions.",
                ),
                io.String.Input(
                    "joints",
                    default="",
                    tooltip="Joints by name and axis, in degrees: jaw.pitch=10, left_eye.yaw+=15; axes are pitch, yaw "
                    f"and roll. {TEXT_RULES} Only for models with joints.",
                ),
                _strength(
                    "expression",
                    "Multiplies the expression that came in, before anything is added: 0 is a resting face, 2 "
                    "exaggerates.",
                ),
                _strength(
                    "identity", "Multiplies the identity that came in: 0 is the model's mean face, 2 a caricature."
                ),
                _strength(
                    "albedo", "Multiplies the skin colours that came in: 0 is the model's mean skin. A texture stays."
                ),
                *light_inputs(),
            ],
            outputs=[
                host.FaceParams.Output(
                    display_name="face_params", tooltip="B frames, changed; the input stays as it was."
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        face_params: FaceParams,
        face_model: FaceModel,
        yaw: float,
        pitch: float,
        roll: float,
        expressions: str,
        identity: str,
        albedo: str,
        joints: str,
        expression_strength: float,
        identity_strength: float,
        albedo_strength: float,
        light: str,
        light_azimuth: float,
        light_elevation: float,
        light_strength: float,
        light_ambient: float,
        **moods: float,
    ) -> io.NodeOutput:
        params = face_model.check(face_params)
        params = edit.scaled(params, expression_strength, identity_strength, albedo_strength)
        params = edit.turned(params, pitch, yaw, roll)
        params = edit.with_expression(params, face_model, moods, edit.assignments(expressions))
        params = edit.with_identity(params, face_model, edit.assignments(identity))
        params = edit.with_albedo(params, face_model, edit.assignments(albedo))
        params = edit.with_joints(params, face_model, edit.assignments(joints))
        if light != KEEP:
            lamp = (light_azimuth, light_elevation, light_strength, light_ambient)
            params = edit.lit(params, *lamp, added=light == ADD)
        return io.NodeOutput(params)


class TransferFaceParams(io.ComfyNode):
    """Parts of one face in another."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigTransferFaceParams",
            display_name="Transfer Face Params",
            category="Portrait Rig/face",
            description="Takes expression, pose, light or other parts from another fit: one face acts like the other.",
            inputs=[
                host.FaceParams.Input("target", tooltip="The face that is changed; B frames."),
                host.FaceParams.Input(
                    "source", tooltip="The face that parts are taken from; as many frames, or 1 on either side for all."
                ),
                *(
                    io.Boolean.Input(part, default=part in TAKEN_AT_FIRST, tooltip=PART_TOOLTIPS[part])
                    for part in PART_TOOLTIPS
                ),
            ],
            outputs=[
                host.FaceParams.Output(
                    display_name="face_params", tooltip="The target with those parts of the source; the larger batch."
                )
            ],
        )

    @classmethod
    def execute(cls, target: FaceParams, source: FaceParams, **parts: bool) -> io.NodeOutput:
        return io.NodeOutput(edit.transferred(target, source, [part for part, taken in parts.items() if taken]))


class SaveFaceParams(io.ComfyNode):
    """Face parameters to a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigSaveFaceParams",
            display_name="Save Face Params",
            category="Portrait Rig/face",
            description="Writes the parameters of all frames to one .safetensors file in the output folder.",
            inputs=[
                host.FaceParams.Input("face_params", tooltip="All B frames go into one file."),
                io.String.Input(
                    "filename_prefix",
                    default="face_params/face",
                    tooltip="Folder and name below the output folder; a number and .safetensors are added.",
                ),
            ],
            outputs=[
                io.String.Output(display_name="file", tooltip="Name with ' [output]', as Load Face Params takes it.")
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, face_params: FaceParams, filename_prefix: str) -> io.NodeOutput:
        file = folders.output_path(filename_prefix, ".safetensors")
        save_face_params(face_params, file.path)
        return io.NodeOutput(file.name, ui=host.show_text(file.name))


class LoadFaceParams(io.ComfyNode):
    """Face parameters from a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigLoadFaceParams",
            display_name="Load Face Params",
            category="Portrait Rig/face",
            description="Reads a file that Save Face Params wrote.",
            inputs=[
                io.String.Input(
                    "file",
                    default="face_params/face_00001_.safetensors [output]",
                    tooltip="Name in the input folder, or, with ' [output]' behind it, in the output folder.",
                )
            ],
            outputs=[
                host.FaceParams.Output(
                    display_name="face_params",
                    tooltip="All frames of the file; they belong to the face model they name.",
                ),
                io.String.Output(display_name="about", tooltip="Face model, frames and picture size."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, file: str | None = None) -> object:
        """A file that was written anew is read anew."""
        return folders.input_state(file)

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        path = folders.input_path(file)
        if path.suffix.lower() != ".safetensors":
            raise UserError(f"'{file}' is no .safetensors file. Choose one that Save Face Params wrote.")
        params = load_face_params(path)
        height, width = params.camera.size
        about = f"{params.layout}: {len(params)} frames of {width} × {height} pixels"
        return io.NodeOutput(params, about, ui=host.show_text(about))


def _strength(part: str, tooltip: str) -> io.Input:
    return io.Float.Input(f"{part}_strength", default=1.0, min=0.0, max=3.0, step=0.05, tooltip=tooltip)


NODES = [EditFaceParams, TransferFaceParams, SaveFaceParams, LoadFaceParams]
