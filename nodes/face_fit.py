"""The node that fits a morphable model to pictures: Fit 3DMM."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.face.model import FaceModel
from ..core.face.render import overlay, render
from ..core.methods.fit import TEXTURES, FitSettings, GanFit, fit, fit_steps, loss_curves, loss_table
from ..core.types import FaceParams, Landmarks
from . import host
from .face_render import LARGEST_SIDE, LARGEST_TEXTURE, chunks
from .host import io

MOST_STEPS = 2000


class Fit3dmm(io.ComfyNode):
    """Identity, expression, pose, light and texture of a photographed face."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigFit3DMM",
            display_name="Fit 3DMM",
            category="Portrait Rig/face",
            description="Finds the parameters of a 3D face model that show the face of every picture: first by "
            "landmarks, then by pixels with light and skin colours. Shows the overlay while it works.",
            inputs=[
                io.Image.Input("image", tooltip="B pictures of one size, each with its face."),
                host.Landmarks.Input(
                    "landmarks",
                    tooltip="68 or 478 points of the same B pictures. Frames without a face are filled in from their "
                    "neighbours.",
                ),
                host.FaceModel.Input("face_model", tooltip="The model to fit; one for all B pictures."),
                io.Int.Input(
                    "landmark_steps",
                    default=FitSettings.landmark_steps,
                    min=1,
                    max=MOST_STEPS,
                    tooltip="At most so many steps by landmarks; they stop early when nothing improves.",
                ),
                io.Int.Input(
                    "pixel_steps",
                    default=FitSettings.pixel_steps,
                    min=0,
                    max=MOST_STEPS,
                    tooltip="Steps that compare pixels, for light, skin and finer shape; most of the time goes here. 0 "
                    "stops after the landmarks. A connected method brings its own steps.",
                ),
                io.Float.Input(
                    "landmark_noise",
                    default=FitSettings.landmark_noise,
                    min=0.001,
                    max=0.5,
                    step=0.001,
                    tooltip="How far off a landmark usually is, as a share of the distance between the outer eye "
                    "corners. Smaller follows the points more closely, larger keeps the face more ordinary.",
                ),
                io.Boolean.Input(
                    "share_identity",
                    default=FitSettings.share_identity,
                    tooltip="On: all pictures show one person (a clip), so they share one shape.",
                ),
                io.Float.Input(
                    "smoothing",
                    default=FitSettings.smoothing,
                    min=0.0,
                    max=60.0,
                    step=0.5,
                    tooltip="For clips, in frames: motion of a shorter period is taken for noise and removed; 0 keeps "
                    "all.",
                ),
                io.Combo.Input(
                    "texture",
                    options=list(TEXTURES),
                    default=FitSettings.texture,
                    tooltip="Where the result's colours come from: unwrapped from the photograph (3 MB a frame at 512 "
                    "texels; one for all when identity is shared), or the model's own skin colours, fitted; with "
                    "GANFit the map of its texture generator.",
                ),
                io.Int.Input(
                    "texture_size",
                    default=FitSettings.texture_size,
                    min=16,
                    max=LARGEST_TEXTURE,
                    tooltip="Texels along the side of an unwrapped texture.",
                ),
                io.Int.Input(
                    "pixel_size",
                    default=FitSettings.pixel_size,
                    min=32,
                    max=LARGEST_SIDE,
                    tooltip="Side in pixels of the square around the face in which pixels are compared; time grows "
                    "with its square.",
                    extra_dict=host.ADVANCED,
                ),
                io.Float.Input(
                    "field_of_view",
                    default=round(FitSettings.field_of_view, 2),
                    min=1.0,
                    max=120.0,
                    step=0.01,
                    tooltip="Degrees across the picture's height. One picture cannot tell it; a crop of a portrait "
                    "sees little, a selfie 40 or more. Ignored when a start is connected, which brings its camera.",
                    extra_dict=host.ADVANCED,
                ),
                io.Boolean.Input(
                    "perspective",
                    default=FitSettings.perspective,
                    tooltip="Off: a camera without perspective, as FLAME's regressors assume.",
                    extra_dict=host.ADVANCED,
                ),
                io.Int.Input(
                    "chunk",
                    default=FitSettings.chunk,
                    min=1,
                    max=256,
                    tooltip="Frames in work at once when pixels are compared: more is faster on a GPU and needs "
                    "memory in proportion; the result is the same.",
                    extra_dict=host.ADVANCED,
                ),
                host.FaceParams.Input(
                    "start", optional=True, tooltip="1 or B frames to begin from, such as an earlier fit of this model."
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="1 where pixels may be compared, 0 over hands, microphones or hair; 1 or B masks of any "
                    "size.",
                ),
                host.FitMethod.Input(
                    "method",
                    optional=True,
                    tooltip="How pictures are compared after the landmarks: GANFit, from the node of that name. "
                    "Without it by pixels, under a light in closed form.",
                ),
            ],
            outputs=[
                host.FaceParams.Output(display_name="face_params", tooltip="B frames, in the order of the pictures."),
                io.Image.Output(display_name="overlay", tooltip="The fitted face drawn over each picture."),
                io.String.Output(
                    display_name="report",
                    tooltip="Frames with a face, and how far landmarks and colours are off on average.",
                ),
                io.String.Output(
                    display_name="losses",
                    tooltip="A table: the weighted terms of the comparison with the pictures at its first and last "
                    "step, mean of all frames.",
                ),
                io.Image.Output(display_name="curves", tooltip="The same terms over all steps, as a chart."),
            ],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        landmarks: Landmarks,
        face_model: FaceModel,
        start: FaceParams | None = None,
        mask: Tensor | None = None,
        method: GanFit | None = None,
        **options: object,
    ) -> io.NodeOutput:
        settings = FitSettings(**options)
        pictures = host.picture_in(image)
        allowed = None if mask is None else host.mask_in(mask, tuple(pictures.shape[-2:]))
        total = fit_steps(int(landmarks.found.sum()), settings, method=method)
        with host.memory(face_model, *_networks(method)), host.optimising(total) as watch:
            given = host.fresh((pictures, landmarks, face_model, start, allowed, method))
            result = fit(*given[:3], settings, watch, *given[3:])
            params = result.params.map(Tensor.detach)
        with host.memory(face_model) as device:
            drawn = torch.cat(
                [
                    overlay(pictures[chunk].to(device), render(face_model, params[chunk].to(device))).cpu()
                    for chunk in chunks(len(params))
                ]
            )
        report = f"{face_model.layout}: {result.report}"
        weights = {} if method is None else vars(method.weights)
        table, curves = loss_table(result.history, weights), host.picture_out(loss_curves(result.history))
        return io.NodeOutput(
            params.to("cpu"), host.picture_out(drawn), report, table, curves, ui=host.show_text(report)
        )


def _networks(method: GanFit | None) -> list[torch.nn.Module]:
    """What a method computes with."""
    if method is None:
        return []
    found = [] if method.network is None else [method.network.network]
    return found if method.textures is None else [*found, method.textures.source]


NODES = [Fit3dmm]
