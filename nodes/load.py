"""Nodes that bring things in: face models, and the bundled portrait."""

from __future__ import annotations

import numpy
import torch
from PIL import Image

from ..core.face import models, points_text
from ..core.face.landmarks import choose
from ..core.face.model import FaceModel
from . import folders, host
from .host import io
from .model_files import LoaderNode, ModelFiles

ICT_FOLDER_MARK = "generic_neutral_mesh.obj"
"""A folder that holds it is ICT-FaceKit's FaceXModel."""
FILES = ModelFiles(models.DEFAULT.name, {".safetensors", ".pkl", ".mat", ".npz"}, folder_with=ICT_FOLDER_MARK)
EXAMPLES = folders.PACK / "examples"


class LoadFaceModel(LoaderNode):
    """A 3D morphable model from a file, or the embedded one."""

    files = FILES
    read_file = staticmethod(models.load_face_model)

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigLoadFaceModel",
            display_name="Load Face Model",
            category="Portrait Rig/face",
            description="Loads a 3D morphable face model: the embedded toon head, ICT-FaceKit, FLAME, or BFM 2009 in "
            "Deep3D's layout. What a file is, is seen from its contents.",
            inputs=[
                FILES.choice(
                    f"A file of models/{folders.MODEL_FOLDER}, or ICT-FaceKit's folder there; {FILES.default} comes "
                    "with the pack. FLAME and BFM are not free to pass on: get them from their authors.",
                )
            ],
            outputs=[
                host.FaceModel.Output(
                    display_name="face_model",
                    tooltip="Identity, expression and albedo directions over one mesh. Parameters fitted with one "
                    "model are refused by others.",
                ),
                io.String.Output(display_name="about", tooltip="What was recognised: sizes, joints, expression names."),
            ],
        )

    @classmethod
    def about(cls, held: FaceModel) -> str:
        return f"{held.describe()}\nexpressions: {', '.join(held.expression.names)}"


class ExamplePortrait(io.ComfyNode):
    """The bundled photograph with its landmarks."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        portraits = sorted(path.stem for path in EXAMPLES.glob("*.jpg"))
        return io.Schema(
            node_id="PortraitRigExamplePortrait",
            display_name="Example Portrait",
            category="Portrait Rig/face",
            description="A real photograph (NASA, public domain) and the landmarks of its face, to try workflows "
            "without a picture of one's own.",
            inputs=[
                io.Combo.Input(
                    "portrait",
                    options=portraits,
                    default=portraits[0],
                    tooltip="The astronaut Eileen Collins, 512 × 512 pixels.",
                )
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="One picture."),
                host.Landmarks.Output(display_name="landmarks", tooltip="478 points in pixels of the picture."),
            ],
        )

    @classmethod
    def execute(cls, portrait: str) -> io.NodeOutput:
        with Image.open(EXAMPLES / f"{portrait}.jpg") as file:
            pixels = torch.from_numpy(numpy.array(file.convert("RGB")))
        picture = pixels.permute(2, 0, 1)[None].float() / 255
        size = tuple(picture.shape[-2:])
        found, _ = choose(points_text.parse(points_text.read(EXAMPLES / f"{portrait}.json"), size), size)
        return io.NodeOutput(host.picture_out(picture), found)


NODES = [LoadFaceModel, ExamplePortrait]
