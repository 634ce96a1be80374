"""Pictures in, out and shown; ids and inputs as in ComfyUI 0.8.0, `nodes.py`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from ...core.errors import UserError
from ...core.files import replacing
from ...nodes import folders, host
from ...nodes.host import io

EXTENSIONS = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
NO_MASK = (64, 64)
"""Size of the empty mask that ComfyUI gives for a picture without transparency."""
CHANNELS = ["alpha", "red", "green", "blue"]


class LoadImage(io.ComfyNode):
    """A picture and its transparency; an animation gives a batch."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadImage",
            display_name="Load Image",
            category="image",
            inputs=[io.Combo.Input("image", options=folders.input_names(EXTENSIONS), upload=io.UploadType.image)],
            outputs=[io.Image.Output(), io.Mask.Output()],
        )

    @classmethod
    def validate_inputs(cls, image: str) -> bool | str:
        return file_is_there(image)

    @classmethod
    def fingerprint_inputs(cls, image: str) -> tuple:
        return file_fingerprint(image)

    @classmethod
    def execute(cls, image: str) -> io.NodeOutput:
        frames = _frames(Path(image))
        same = [frame for frame in frames if frame.size == frames[0].size]
        pictures = [_tensor(frame.convert("RGB")) for frame in same]
        masks = [_transparency(frame) for frame in same]
        return io.NodeOutput(torch.stack(pictures), torch.stack(masks))


class LoadImageMask(io.ComfyNode):
    """One channel of a picture as a mask."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadImageMask",
            display_name="Load Image (as Mask)",
            category="mask",
            inputs=[
                io.Combo.Input("image", options=folders.input_names(EXTENSIONS), upload=io.UploadType.image),
                io.Combo.Input("channel", options=CHANNELS),
            ],
            outputs=[io.Mask.Output()],
        )

    @classmethod
    def validate_inputs(cls, image: str) -> bool | str:
        return file_is_there(image)

    @classmethod
    def fingerprint_inputs(cls, image: str, channel: str) -> tuple:
        return file_fingerprint(image)

    @classmethod
    def execute(cls, image: str, channel: str) -> io.NodeOutput:
        frame = _frames(Path(image))[0]
        if channel == "alpha":
            return io.NodeOutput(_transparency(frame)[None])
        return io.NodeOutput(_tensor(frame.convert("RGB").getchannel(channel[0].upper()))[None])


class SaveImage(io.ComfyNode):
    """Every picture as a PNG file that carries the workflow."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaveImage",
            display_name="Save Image",
            category="image",
            inputs=[io.Image.Input("images"), io.String.Input("filename_prefix", default="ComfyUI")],
            hidden=[io.Hidden.prompt],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, images: Tensor, filename_prefix: str) -> io.NodeOutput:
        notes = PngInfo()
        notes.add_text("prompt", json.dumps(cls.hidden.prompt))
        results = []
        for image in images:
            file = folders.output_path(filename_prefix, ".png", tuple(image.shape[:2]))
            pixels = (image.float() * 255).clamp(0, 255).byte().cpu().numpy()
            with replacing(file.path) as temporary:
                Image.fromarray(pixels).save(temporary, pnginfo=notes)
            results.append(file.result)
        return io.NodeOutput(ui={"images": results})


class PreviewImage(io.ComfyNode):
    """Pictures to look at, in the previews' folder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PreviewImage",
            display_name="Preview Image",
            category="image",
            inputs=[io.Image.Input("images")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, images: Tensor) -> io.NodeOutput:
        return io.NodeOutput(ui=host.ui.PreviewImage(images, cls=cls))


def file_is_there(name: str) -> bool | str:
    """True, or the sentence that says where the file was looked for."""
    if Path(name).is_file():
        return True
    return f"there is no file '{name}'; looked beside the workflow, in the input folder and in the pack's examples."


def file_fingerprint(name: str) -> tuple:
    """Changes when the file does."""
    state = Path(name).stat()
    return (name, state.st_size, state.st_mtime_ns)


def _frames(path: Path) -> list[Image.Image]:
    """The frames of a picture file, turned as its camera says."""
    try:
        with Image.open(path) as image:
            return [ImageOps.exif_transpose(frame).copy() for frame in ImageSequence.Iterator(image)]
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError, SyntaxError) as error:
        raise UserError(f"{path.name} cannot be read as a picture: {error}.") from None


def _tensor(frame: Image.Image) -> Tensor:
    """[H, W] or [H, W, 3], 0…1."""
    return torch.from_numpy(np.array(frame, dtype=np.float32) / 255)


def _transparency(frame: Image.Image) -> Tensor:
    """[H, W], 1 where the picture is transparent."""
    if "A" not in frame.getbands() and "transparency" not in frame.info:
        return torch.zeros(NO_MASK)
    return 1 - _tensor(frame.convert("RGBA").getchannel("A"))


NODES = [LoadImage, LoadImageMask, SaveImage, PreviewImage]
