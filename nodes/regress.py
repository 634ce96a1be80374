"""Nodes of the regressors: face parameters in one pass, without a fit."""

from __future__ import annotations

from torch import Tensor

from ..core.errors import UserError
from ..core.face.model import FaceModel
from ..core.methods.fit.frames import smooth
from ..core.methods.regress import DEFAULT, FaceRegressor, as_one_person, load_face_regressor
from ..core.types import FaceParams, Landmarks, common_batch
from . import folders, host
from .host import io
from .model_files import LoaderNode, ModelFiles

FILES = ModelFiles(DEFAULT.name, {".safetensors", ".pth", ".tar"})


class LoadFaceRegressor(LoaderNode):
    """A regressor from a file, or the embedded one."""

    files = FILES
    read_file = staticmethod(load_face_regressor)

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigLoadFaceRegressor",
            display_name="Load Face Regressor",
            category="Portrait Rig/face",
            description="Loads a network that sees face parameters in a picture: the embedded one of the toon head, "
            "Deep3DFaceRecon's or DECA's as published, or one trained here. What a file is, is seen from its contents.",
            inputs=[
                FILES.choice(
                    f"A file of models/{folders.MODEL_FOLDER}; {DEFAULT.name} comes with the pack. "
                    "Deep3DFaceRecon's epoch_20.pth and DECA's deca_model.tar are to be had from their authors only.",
                )
            ],
            outputs=[
                host.FaceRegressor.Output(
                    display_name="face_regressor",
                    tooltip="Goes with one face model: the toon head, BFM 2009 (Deep3D), or the FLAME of 2020 (DECA).",
                ),
                io.String.Output(display_name="about", tooltip="What was recognised: face model, network, crop."),
            ],
        )


class RegressFaceParams(io.ComfyNode):
    """Face parameters in one pass of a network."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigRegressFaceParams",
            display_name="Regress Face Params",
            category="Portrait Rig/face",
            description="Sees identity, expression, pose, light and skin of the face in every picture at once, for "
            "whole clips, where Fit 3DMM takes seconds a picture. A good start for a fit, too.",
            inputs=[
                io.Image.Input("image", tooltip="B pictures of one size, each with its face; 1 goes with N landmarks."),
                host.FaceRegressor.Input("face_regressor", tooltip="From Load Face Regressor; one for all pictures."),
                host.Landmarks.Input(
                    "landmarks",
                    optional=True,
                    tooltip="Where the faces are; B frames or 1 for all. Deep3DFaceRecon and DECA need them, DECA 68 "
                    "or 478 points. Without them the toon regressor takes the middle square of the picture for a "
                    "portrait. Frames without a face are filled in from their neighbours.",
                ),
                host.FaceModel.Input(
                    "face_model",
                    optional=True,
                    tooltip="The model that the parameters are for; another one than the regressor's is refused. DECA "
                    "needs it: the FLAME of 2020, and smoothing any.",
                ),
                io.Boolean.Input(
                    "share_identity",
                    default=False,
                    tooltip="On: all pictures show one person (a clip), so they share one shape and one skin, the mean "
                    "of what each picture shows.",
                ),
                io.Float.Input(
                    "smoothing",
                    default=0.0,
                    min=0.0,
                    max=60.0,
                    step=0.5,
                    tooltip="For clips, in frames: motion of a shorter period is taken for noise and removed; 0 keeps "
                    "all. Needs the face model.",
                ),
            ],
            outputs=[
                host.FaceParams.Output(
                    display_name="face_params",
                    tooltip="B frames on the whole pictures, as Fit 3DMM gives them; Render Face lays them over.",
                ),
                io.String.Output(display_name="report", tooltip="The face model, and how many frames hold a face."),
            ],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        face_regressor: FaceRegressor,
        landmarks: Landmarks | None = None,
        face_model: FaceModel | None = None,
        share_identity: bool = False,
        smoothing: float = 0.0,
    ) -> io.NodeOutput:
        face_regressor.check_model(face_model)
        if smoothing > 0 and face_model is None:
            raise UserError("Smoothing keeps within the face model's limits, and none is connected. Connect one.")
        pictures = host.picture_in(image)
        frames = common_batch(pictures=len(pictures), landmarks=1 if landmarks is None else len(landmarks))
        with host.memory(face_regressor, face_model), host.working(frames) as watch:
            params: FaceParams = face_regressor.regress(pictures, landmarks, face_model, watch)
            if share_identity:
                params = as_one_person(params)
            if smoothing > 0:
                params = smooth(params, smoothing, face_model)
            params = params.to("cpu")
        found = frames if landmarks is None else int(landmarks.found.expand(frames).sum())
        report = f"{params.layout}: {found} of {frames} frames with a face"
        return io.NodeOutput(params, report, ui=host.show_text(report))


NODES = [LoadFaceRegressor, RegressFaceParams]
