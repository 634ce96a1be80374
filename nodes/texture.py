"""Nodes of face textures: load and sample a generator, take a texture out of a photograph, put one on."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..core.errors import UserError
from ..core.face.model import FaceModel
from ..core.methods.texture_gan import BASIS_SIZE, DEFAULT, TextureGan, free_textures, load_texture_gan, own_textures
from ..core.methods.unwrap import FILLS, LARGEST_SIZE, SMALLEST_SIZE, UnwrapSettings, unwrap, wearing
from ..core.types import FaceParams, Latent, common_batch
from . import folders, host
from .host import io
from .inputs import seed_input
from .model_files import ModelFiles

FILES = ModelFiles(DEFAULT.name, {".safetensors", ".pkl", ".pt", ".pth", ".npz"})
OWN, FREE = "(colours of the face model)", "(free map)"
"""The choices that need a face model in place of a file."""
MOST_MAPS = 4096
AT_ONCE = 4
"""Maps drawn together, to bound memory."""


class LoadTextureGan(io.ComfyNode):
    """A texture generator from a file, or the embedded one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigLoadTextureGan",
            display_name="Load Texture GAN",
            category="Portrait Rig/texture",
            description="Loads a generator of face textures (UV maps of skin colour): the embedded one of the toon "
            "head, a progressive GAN, a StyleGAN2 of UV maps such as FFHQ-UV's, FLAME's texture space, or one that "
            "Train Texture GAN made. Nothing in a file is executed.",
            inputs=[
                FILES.choice(
                    f"A file of models/{folders.MODEL_FOLDER}; {DEFAULT.name} comes with the pack. {OWN} needs "
                    f"no file: the face model's own albedo directions. {FREE}: any map at all, for fits.",
                    (OWN, FREE),
                ),
                io.Int.Input(
                    "texture_size",
                    default=BASIS_SIZE,
                    min=SMALLEST_SIZE,
                    max=LARGEST_SIZE,
                    tooltip=f"Side of the maps in texels, for {OWN} and {FREE}; files have their own.",
                ),
                host.FaceModel.Input(
                    "face_model",
                    optional=True,
                    tooltip=f"Whose UV layout the maps have, for files that do not say; needed for {OWN} and {FREE}.",
                ),
            ],
            outputs=[
                host.TextureGan.Output(
                    display_name="texture_gan", tooltip="The generator; its maps fit the UV layout of one face model."
                ),
                io.String.Output(
                    display_name="about", tooltip="What was recognised: kind, size in texels, latent, UV layout."
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, file: str | None = None, **others: object) -> object:
        """A file that was replaced is loaded anew."""
        return file if file in (OWN, FREE) else FILES.state(file)

    @classmethod
    def execute(cls, file: str, texture_size: int, face_model: FaceModel | None = None) -> io.NodeOutput:
        if file in (OWN, FREE) and face_model is None:
            raise UserError(f"{file} is made from a face model. Connect one, or choose a file.")
        with host.loading():
            if file in (OWN, FREE):
                gan = (own_textures if file == OWN else free_textures)(face_model, texture_size)
            else:
                gan = load_texture_gan(FILES.path(file), face_model.layout if face_model else None)
        about = gan.describe()
        return io.NodeOutput(gan, about, ui=host.show_text(about))


class SampleTexture(io.ComfyNode):
    """Random or given latents as UV maps."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigSampleTexture",
            display_name="Sample Texture",
            category="Portrait Rig/texture",
            description="Draws UV maps of skin colour from seeds or from latents. Apply Texture puts them on a head.",
            inputs=[
                host.TextureGan.Input("texture_gan", tooltip="From Load Texture GAN or Train Texture GAN."),
                seed_input("Map number i is that of the seed + i; the same seed gives the same map."),
                io.Int.Input("count", default=1, min=1, max=MOST_MAPS, tooltip="Maps B; ignored with a latent."),
                io.Float.Input(
                    "truncation",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    tooltip="1: as varied as what the generator learnt from. 0: its most usual map. Above 1 "
                    "exaggerates. Ignored with a latent.",
                ),
                host.Latent.Input(
                    "latent", optional=True, tooltip="B latents of this generator to draw in place of random ones."
                ),
            ],
            outputs=[
                io.Image.Output(display_name="texture", tooltip="B UV maps, the top row at v = 1."),
                host.Latent.Output(
                    display_name="latent", tooltip="Their latents: mix them, walk between them, draw them again."
                ),
            ],
        )

    @classmethod
    def execute(
        cls, texture_gan: TextureGan, seed: int, count: int, truncation: float, latent: Latent | None = None
    ) -> io.NodeOutput:
        with host.memory(texture_gan.source) as device:
            given = latent is not None
            values = texture_gan.values(latent) if given else texture_gan.sample(seed, count, truncation)
            if not len(values):
                raise UserError("There is no latent to draw. Connect at least one.")
            maps: list[Tensor] = []
            with host.working(len(values)) as watch, torch.no_grad():
                for part in values.to(device).split(AT_ONCE):
                    maps.append(texture_gan.albedo(part).cpu())
                    watch(sum(map(len, maps)), preview=lambda: maps[-1][:1])
        return io.NodeOutput(host.picture_out(torch.cat(maps)), texture_gan.latent(values.cpu()))


class ApplyTexture(io.ComfyNode):
    """A UV map onto a face."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigApplyTexture",
            display_name="Apply Texture",
            category="Portrait Rig/texture",
            description="Puts UV maps on fitted heads, in place of their own colours: sampled, unwrapped or painted "
            "ones. Render Face and Face Mesh show them.",
            inputs=[
                host.FaceParams.Input("face_params", tooltip="N frames; 1 goes with B maps."),
                io.Image.Input(
                    "texture",
                    tooltip="Square UV maps in the layout of the face model, the top row at v = 1; B, or 1 for all "
                    "frames.",
                ),
            ],
            outputs=[
                host.FaceParams.Output(
                    display_name="face_params", tooltip="The same faces with these textures; the larger batch."
                )
            ],
        )

    @classmethod
    def execute(cls, face_params: FaceParams, texture: Tensor) -> io.NodeOutput:
        maps = host.picture_in(texture, "texture")
        if maps.shape[2] != maps.shape[3]:
            raise UserError(f"A texture is a square UV map; this one has {maps.shape[3]} × {maps.shape[2]} texels.")
        frames = common_batch(face_params=len(face_params), textures=len(maps))
        params = face_params
        if len(params) != frames:
            params = params.map(lambda values: values.expand(frames, *values.shape[1:]).clone())
        return io.NodeOutput(replace(params, texture=maps))


class UnwrapTexture(io.ComfyNode):
    """A photograph's colours on the UV map of the face that was fitted to it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        defaults = UnwrapSettings()
        return io.Schema(
            node_id="PortraitRigUnwrapTexture",
            display_name="Unwrap Texture",
            category="Portrait Rig/texture",
            description="Takes the texture of a face out of its photograph, by a fit: a UV map without the light of "
            "the photograph, whole enough to be turned, and a mask of what was really seen.",
            inputs=[
                io.Image.Input("image", tooltip="The B pictures that were fitted, of any size in those proportions."),
                host.FaceParams.Input("face_params", tooltip="Their fit; as many frames, or 1 for all."),
                host.FaceModel.Input("face_model", tooltip="The model of these parameters; its UV layout is used."),
                io.Int.Input(
                    "texture_size",
                    default=defaults.size,
                    min=SMALLEST_SIZE,
                    max=LARGEST_SIZE,
                    tooltip="Side of a map in texels. 512 holds what a face of 400 pixels shows; time grows with the "
                    "square.",
                ),
                io.Boolean.Input(
                    "delight",
                    default=defaults.delight,
                    label_on="divide by the light",
                    label_off="keep the light",
                    tooltip="Divides the photograph by the light of the fit, which leaves skin colour; shadows that "
                    "the light does not explain stay. Off: as photographed, and the output is lit evenly.",
                ),
                io.Combo.Input(
                    "fill",
                    options=list(FILLS),
                    default=defaults.fill,
                    tooltip="Where the photograph shows nothing. mirror: the face's other half, then the "
                    "surroundings. spread: the surroundings alone. nothing: black.",
                ),
                io.Boolean.Input(
                    "whole_head",
                    default=defaults.whole_head,
                    label_on="all that the model covers",
                    label_off="facial skin, eyes, mouth",
                    tooltip="What is taken from the photograph. The whole head brings hair, ears and neck as they "
                    "are; right for bald heads and caps.",
                ),
                io.Boolean.Input(
                    "one_texture",
                    default=defaults.together,
                    label_on="one for all frames",
                    label_off="one a frame",
                    tooltip="On: all frames show one person, and up to four of them, spread over the clip, give one "
                    "texture with what each saw best.",
                ),
                io.Mask.Input(
                    "mask", optional=True, tooltip="0…1, what of the pictures may be used: leave out hair or a hand."
                ),
            ],
            outputs=[
                io.Image.Output(display_name="texture", tooltip="B UV maps, or 1; the top row at v = 1."),
                io.Mask.Output(
                    display_name="visible",
                    tooltip="1 where a texel is what the photograph itself shows, 0 where it is turned away, hidden "
                    "behind other parts, or outside.",
                ),
                host.FaceParams.Output(
                    display_name="face_params",
                    tooltip="The faces with these textures, under the light that makes them look like the photograph.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        face_params: FaceParams,
        face_model: FaceModel,
        texture_size: int,
        delight: bool,
        fill: str,
        whole_head: bool,
        one_texture: bool,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        pictures = host.picture_in(image)
        allowed = None if mask is None else host.mask_in(mask, tuple(pictures.shape[-2:]))
        settings = UnwrapSettings(texture_size, delight, fill, whole_head, one_texture)
        with host.memory(face_model) as device:
            found = unwrap(
                pictures.to(device),
                face_params.to(device),
                face_model,
                settings,
                None if allowed is None else allowed.to(device),
                host.check_cancelled,
            )
            worn = wearing(face_params.to(device), found, settings).to("cpu")
        texture = host.picture_out(found.texture)
        return io.NodeOutput(texture, host.mask_out(found.visible), worn, ui=host.preview(found.texture))


NODES = [LoadTextureGan, SampleTexture, ApplyTexture, UnwrapTexture]
