"""Nodes that show a face from its parameters: Render Face, Face Mesh."""

from __future__ import annotations

import torch
from PIL import ImageColor
from torch import Tensor

from ..core.errors import UserError
from ..core.face.mesh import TEXTURE_SIZE, to_mesh
from ..core.face.model import FaceModel
from ..core.face.render import MODES, RenderSettings, overlay, render
from ..core.types import FaceParams, common_batch
from . import host
from .host import io

TRANSPARENT, PICTURE, COLOUR = "transparent", "picture", "colour"
BACKGROUNDS = (PICTURE, TRANSPARENT, COLOUR)
LARGEST_SIDE = 4096
"""Pixels."""
LARGEST_TEXTURE = 4096
"""Texels along a side."""
THINNEST = 1e-6
"""Coverage below which a colour is not divided by it any further."""


class RenderFace(io.ComfyNode):
    """Pictures of a face from its parameters."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigRenderFace",
            display_name="Render Face",
            category="Portrait Rig/face",
            description="Draws the face: textured, as clay, as normals, depth or UVs, over a picture, a colour or "
            "nothing.",
            inputs=[
                host.FaceParams.Input("face_params", tooltip="B frames, such as those of a fit."),
                host.FaceModel.Input("face_model", tooltip="The model of these parameters."),
                io.Combo.Input(
                    "mode",
                    options=list(MODES),
                    default=MODES[0],
                    tooltip="textured: skin under the light. albedo: skin without light. shaded: clay under the light. "
                    "normals, uv: directions and texture coordinates as colours. depth: near is bright.",
                ),
                io.Int.Input(
                    "height",
                    default=0,
                    min=0,
                    max=LARGEST_SIDE,
                    tooltip="Pixels; the width follows from the camera. 0 takes the size of the background picture "
                    "where one is connected, else that of the fitted picture.",
                ),
                io.Int.Input(
                    "supersample",
                    default=RenderSettings.supersample,
                    min=1,
                    max=4,
                    tooltip="Samples along each side of a pixel: 1 has smooth outlines already, 2 smooths teeth and "
                    "lashes too; time grows with the square.",
                ),
                io.Combo.Input(
                    "background",
                    options=list(BACKGROUNDS),
                    default=PICTURE,
                    tooltip="picture: the connected one, the colour where none is connected. transparent: RGBA. "
                    "colour: the colour below.",
                ),
                io.String.Input(
                    "colour", default="#808080", tooltip="Background colour as #rrggbb or by its English name."
                ),
                io.Float.Input(
                    "opacity",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="Of the face over its background: 0.5 lets half of the picture through.",
                ),
                io.Image.Input(
                    "picture",
                    optional=True,
                    tooltip="Background; 1 or B pictures in the proportions of the fitted ones.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="B pictures; RGBA with the transparent background."),
                io.Mask.Output(display_name="mask", tooltip="1 where the face is, soft at its edge."),
            ],
        )

    @classmethod
    def execute(
        cls,
        face_params: FaceParams,
        face_model: FaceModel,
        mode: str,
        height: int,
        supersample: int,
        background: str,
        colour: str,
        opacity: float,
        picture: Tensor | None = None,
    ) -> io.NodeOutput:
        params = face_model.check(face_params)
        behind = host.picture_in(picture, "picture") if picture is not None and background == PICTURE else None
        size = _size(params, height, behind)
        settings = RenderSettings(mode=mode, supersample=supersample)
        if behind is None:
            behind = _rgb(colour)[None, :, None, None].expand(-1, -1, *size)
        frames = common_batch(pictures=len(behind), faces=len(params))
        params = params if len(params) == frames else params[torch.zeros(frames, dtype=torch.int64)]
        images, masks = [], []
        with host.memory(face_model) as device, host.working(frames) as watch:
            for chunk in chunks(frames):
                drawn = render(face_model, params[chunk].to(device), settings, size)
                masks.append((drawn.alpha * opacity).cpu())
                if background == TRANSPARENT:
                    straight = drawn.colour / drawn.alpha.clamp(min=THINNEST)
                    images.append(torch.cat([straight.cpu(), masks[-1]], dim=1))
                else:
                    under = behind if len(behind) == 1 else behind[chunk]
                    images.append(overlay(_resized(under, size).to(device), drawn, opacity).cpu())
                watch(min(chunk.stop, frames), preview=lambda: images[-1][:1, :3])
        return io.NodeOutput(host.picture_out(torch.cat(images)), host.mask_out(torch.cat(masks)))


class FaceMesh(io.ComfyNode):
    """One frame as a mesh with texture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigFaceMesh",
            display_name="Face Mesh",
            category="Portrait Rig/face",
            description="The 3D mesh of a fitted face, in metres, with UVs and a texture, for Save Face Mesh (.glb).",
            inputs=[
                host.FaceParams.Input("face_params", tooltip="B frames, of which one is taken."),
                host.FaceModel.Input("face_model", tooltip="The model of these parameters."),
                io.Int.Input("frame", default=1, min=1, max=1_000_000, tooltip="Which frame; 1 is the first."),
                io.Boolean.Input(
                    "posed",
                    default=False,
                    label_on="as in the picture",
                    label_off="upright",
                    tooltip="Whether the mesh is turned as the head in the picture, or looks straight along z.",
                ),
                io.Int.Input(
                    "texture_size",
                    default=TEXTURE_SIZE,
                    min=16,
                    max=LARGEST_TEXTURE,
                    tooltip="Texels along the side of the texture that is painted from the model's skin colours; a "
                    "texture from the photograph keeps its own size.",
                ),
            ],
            outputs=[io.Mesh.Output(display_name="mesh", tooltip="One mesh, y up, the face towards +z, in metres.")],
        )

    @classmethod
    def execute(
        cls, face_params: FaceParams, face_model: FaceModel, frame: int, posed: bool, texture_size: int
    ) -> io.NodeOutput:
        if frame > len(face_params):
            raise UserError(f"Frame {frame} was asked for, but there are {len(face_params)}. Choose a smaller number.")
        with host.memory(face_model) as device:
            mesh = to_mesh(face_model, face_params[frame - 1 : frame].to(device), texture_size, posed)
        return io.NodeOutput(host.mesh_out(mesh))


def chunks(frames: int) -> list[slice]:
    """Frames that are drawn at once, so that memory beyond the result does not grow with a clip."""
    step = RenderSettings.frames_at_once
    return [slice(first, first + step) for first in range(0, frames, step)]


def _size(params: FaceParams, height: int, behind: Tensor | None) -> tuple[int, int]:
    """(H, W) to draw at."""
    full = params.camera.size
    if not height and behind is not None:
        size = tuple(behind.shape[-2:])
        if abs(size[0] * full[1] - size[1] * full[0]) > max(*full, *size):
            raise UserError(
                f"The background is {size[1]} × {size[0]} pixels, the fitted picture was {full[1]} × {full[0]}, "
                "another shape. Connect the picture that was fitted, or give a height to stretch this one."
            )
        return size
    return (height, max(round(full[1] * height / full[0]), 1)) if height else full


def _resized(picture: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(picture.shape[-2:]) == tuple(size):
        return picture
    return torch.nn.functional.interpolate(picture, size, mode="bicubic", antialias=True).clamp(0, 1)


def _rgb(colour: str) -> Tensor:
    """'#rrggbb' or an English name -> [3] RGB 0…1."""
    try:
        return torch.tensor(ImageColor.getrgb(colour.strip())[:3]) / 255
    except ValueError:
        raise UserError(
            f"'{colour}' is no colour. Write one as #rrggbb, such as #808080, or by its English name, such as grey."
        ) from None


NODES = [RenderFace, FaceMesh]
