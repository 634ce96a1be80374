"""The border to ComfyUI: the only file that knows it. Without ComfyUI a strict stand-in takes its place.

Nodes take sockets, tensors in `core`'s layout, contexts for loading, optimising and working, and folders from here;
every trap of the host (inference mode, memory, progress and cancel, paths) is dealt with once. Facts: ComfyUI 0.8.0.
"""

from __future__ import annotations

import copy
import inspect
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from PIL import Image
from torch import Tensor, nn

from ..core.types import Latent as LatentCodes
from ..core.types import Mesh
from .incoming import audio_in, mask_in, mesh_in, picture_in

try:
    from comfy_api.latest import ComfyExtension, InputImpl, Types, io, ui
except ModuleNotFoundError as missing:
    if missing.name != "comfy_api":  # ComfyUI is here but broken: its own message helps more than a stand-in
        raise
    from .standin import ComfyExtension, InputImpl, Types, folder_paths, io, ui
    from .standin import runtime as _mm
    from .standin import runtime as _utils

    INSIDE_COMFYUI = False
else:
    import comfy.model_management as _mm
    import comfy.utils as _utils
    import folder_paths

    INSIDE_COMFYUI = True

__all__ = [
    "INSIDE_COMFYUI",
    "ComfyExtension",
    "InputImpl",
    "Types",
    "audio_in",
    "folder_paths",
    "io",
    "mask_in",
    "mesh_in",
    "picture_in",
    "ui",
]  # fmt: skip

T = TypeVar("T")
Preview = Callable[[], "Tensor | None"]
"""Makes the picture to show, [3, H, W] or [B, 3, H, W] RGB 0…1, or None; called only when it would be shown."""


UPDATE_SECONDS = 0.05
"""At least this long between two progress messages: the browser redraws for each."""
PREVIEW_SECONDS = 0.5
"""At least this long between two live pictures; each costs an encoding and a message of some 20 kB."""
PREVIEW_SHARE = 0.1
"""Largest part of the time that may go into making live pictures."""
SHOWS_PICTURES = INSIDE_COMFYUI
"""A terminal shows no live pictures, so none are made for it."""
PREVIEW_SIDE = 512
"""Pixels of a live picture's longer side; ComfyUI's own previews have it."""
SAFETY_BYTES = 1 << 28
"""Asked for beside a model's own weights when others make room: activations of a small network."""

ADVANCED = {"advanced": True}
"""For an input's `extra_dict`: newer hosts fold such an input away, 0.8.0 ignores it."""

# Sockets -------------------------------------------------------------------------------------------------------------

FaceModel = io.Custom("PORTRAIT_RIG_FACE_MODEL")
FaceParams = io.Custom("PORTRAIT_RIG_FACE_PARAMS")
Landmarks = io.Custom("PORTRAIT_RIG_LANDMARKS")
FaceRegressor = io.Custom("PORTRAIT_RIG_FACE_REGRESSOR")
TextureGan = io.Custom("PORTRAIT_RIG_TEXTURE_GAN")
IdentityNet = io.Custom("PORTRAIT_RIG_IDENTITY_NET")
FitMethod = io.Custom("PORTRAIT_RIG_FIT_METHOD")
"""How Fit 3DMM compares faces with pictures."""
StyleGan = io.Custom("PORTRAIT_RIG_STYLEGAN")
Latent = io.Custom("PORTRAIT_RIG_LATENT")
RigNet = io.Custom("PORTRAIT_RIG_RIGNET")
"""A whole rig: DFR and its RigNets."""
Directions = io.Custom("PORTRAIT_RIG_DIRECTIONS")
"""Directions in W of one generator."""
Crop = io.Custom("PORTRAIT_RIG_CROP")
"""How aligned faces were cut from their pictures."""
CoreLandmarks = io.Custom("FACE_LANDMARKS")
"""What ComfyUI's own landmark finder gives (from 0.23 on)."""


def newer(**options: Any) -> dict[str, Any]:
    """Those of `io.Schema`'s options that this host knows: `io.Schema(…, **host.newer(search_aliases=[…]))`."""
    known = inspect.signature(io.Schema).parameters
    return {name: value for name, value in options.items() if name in known}


# Values out ----------------------------------------------------------------------------------------------------------


def picture_out(picture: Tensor) -> Tensor:
    """[B, 3, H, W] RGB -> IMAGE [B, H, W, 3] float32 0…1, detached, contiguous, where the host keeps its values."""
    return _out(picture.detach().permute(0, 2, 3, 1)).clamp_(0, 1)


def mask_out(mask: Tensor) -> Tensor:
    """[B, 1, H, W] or [B, H, W] -> MASK [B, H, W] float32 0…1."""
    return _out(mask.detach().reshape(mask.shape[0], *mask.shape[-2:])).clamp_(0, 1)


def mesh_out(mesh: Mesh) -> Any:
    """Mesh -> MESH, a batch of one.

    The host's attributes follow glTF: `uvs` [1, V, 2] with (0, 0) at the top left, `texture` [1, H, W, 3],
    `vertex_colors` [1, V, 3], `normals` [1, V, 3]; those that the mesh lacks are None.
    """
    found = Types.MESH(_out(mesh.vertices.detach())[None], mesh.faces.detach().cpu()[None])
    found.uvs = None if mesh.uv is None else _out(torch.stack([mesh.uv[:, 0], 1 - mesh.uv[:, 1]], 1).detach())[None]
    found.vertex_colors = None if mesh.colours is None else _out(mesh.colours.detach())[None].clamp_(0, 1)
    found.texture = None if mesh.texture is None else picture_out(mesh.texture[None])
    found.normals = None if mesh.normals is None else _out(mesh.normals.detach())[None]
    return found


def audio_out(waveform: Tensor, rate: int) -> dict[str, Any]:
    """[T] or [C, T] −1…1 -> AUDIO, a batch of one."""
    return {"waveform": _out(waveform.detach().reshape(1, -1, waveform.shape[-1])), "sample_rate": rate}


def latent_out(latent: LatentCodes) -> LatentCodes:
    """A latent as it waits between nodes: on the CPU, without gradients."""
    return LatentCodes(latent.w.detach().cpu(), latent.generator)


def preview(picture: Tensor) -> Any:
    """[B, 3, H, W] RGB 0…1 -> pictures on the node itself: `io.NodeOutput(…, ui=host.preview(picture))`."""
    return ui.PreviewImage(picture_out(picture))


def show_text(text: str) -> Any:
    """A text on the node itself, for `NodeOutput`'s `ui`."""
    return ui.PreviewText(text)


def _out(value: Tensor) -> Tensor:
    """A float32 copy where the host keeps values between nodes."""
    home = _mm.intermediate_device()
    return value.to(home, torch.float32, copy=True, memory_format=torch.contiguous_format)


# Device, inference mode, memory --------------------------------------------------------------------------------------


def device() -> torch.device:
    """Where to compute."""
    return _mm.get_torch_device()


@contextmanager
def loading() -> Iterator[None]:
    """For building and loading modules: outside inference mode, so that tensors are ordinary ones; no gradients."""
    with torch.inference_mode(False), torch.no_grad():
        yield


def fresh(value: T) -> T:
    """A copy that gradients may flow through: every tensor cloned, through dataclasses, dicts, lists and tuples.

    For use inside `optimising` (inference tensors cannot be saved for backward). A module is copied only where another
    hand moved it under inference mode, else it is returned as it is.
    """
    if isinstance(value, nn.Module):
        tensors = [*value.parameters(), *value.buffers()]
        return copy.deepcopy(value) if any(t.is_inference() for t in tensors) else value
    if isinstance(value, Tensor):
        return value.clone()
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: fresh(getattr(value, f.name)) for f in fields(value) if f.init})
    if isinstance(value, Mapping):
        return {key: fresh(item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(fresh, value))
    if isinstance(value, (list, tuple)):
        return type(value)(map(fresh, value))
    return value


@contextmanager
def memory(*modules: nn.Module | None) -> Iterator[torch.device]:
    """Modules on the computing device inside the block, back on their own afterwards, whatever happens; None is none.

    The host makes room first. They are moved outside inference mode, so they stay trainable.
    """
    target = device()
    homes = [(module, _device_of(module)) for module in modules if module is not None]
    moving = [module for module, home in homes if home != target]
    if moving:
        _mm.free_memory(SAFETY_BYTES + sum(map(_bytes_of, moving)), target)
    try:
        with loading():
            for module in moving:
                module.to(target)
        yield target
    finally:
        with loading():
            for module, home in homes:
                module.to(home)
        if moving:
            soft_empty_cache()


def soft_empty_cache() -> None:
    """Gives cached memory of the computing device back; after large work, between chunks of a long clip."""
    _mm.soft_empty_cache()


def _device_of(module: nn.Module) -> torch.device:
    for tensor in (*module.parameters(), *module.buffers()):
        return tensor.device
    return device()


def _bytes_of(module: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))


# Progress and cancel -------------------------------------------------------------------------------------------------


Cancelled = _mm.InterruptProcessingException
"""What a check raises when somebody pressed Cancel."""


class Watch:
    """What `core` calls once a step: shows progress and the live picture, and raises when somebody pressed Cancel.

    Whatever it raises must pass through the caller. Calls are cheap: progress is sent at most 20 times a second,
    pictures twice, and more rarely where they take long; the last step always.
    """

    def __init__(self, total: int) -> None:
        self.total, self.loss = total, None
        self._bar = _utils.ProgressBar(total)
        self._updated = self._show_again = float("-inf")

    def __call__(
        self, step: int, total: int | None = None, loss: float | None = None, preview: Preview | None = None
    ) -> None:
        """step: steps done, 1…total. total: where it differs from the one announced. loss: kept for the log."""
        _mm.throw_exception_if_processing_interrupted()
        total = self.total if total is None else total
        self.loss = loss
        now, last = time.monotonic(), step >= total
        picture = None
        if SHOWS_PICTURES and preview is not None and (last or now >= self._show_again):
            made = preview()
            picture = None if made is None else ("JPEG", _small_picture(made), PREVIEW_SIDE)
            done = time.monotonic()
            self._show_again = done + max(PREVIEW_SECONDS, (done - now) / PREVIEW_SHARE)
        if last or picture is not None or now - self._updated >= UPDATE_SECONDS:
            self._bar.update_absolute(step, total, picture)
            self._updated = now


@contextmanager
def working(total: int) -> Iterator[Watch]:
    """Progress and cancel for work of `total` steps that needs no gradients."""
    yield Watch(total)


@contextmanager
def optimising(total: int) -> Iterator[Watch]:
    """Progress and cancel for an optimisation of `total` steps, outside inference mode and with gradients.

    Inputs of the node are inference tensors: take `fresh(…)` of them inside the block.
    """
    with torch.inference_mode(False), torch.enable_grad():
        watch = Watch(total)
        yield watch
    if watch.loss is not None:
        logging.getLogger(__name__).info("%d steps, loss %.4g", watch.total, watch.loss)


def check_cancelled() -> None:
    """Raises when somebody pressed Cancel; for work without steps."""
    _mm.throw_exception_if_processing_interrupted()


def on_progress(hook: Callable[..., None] | None) -> None:
    """Who is told of every progress message, as (value, total, preview, node_id=…); None for nobody."""
    _utils.set_progress_bar_global_hook(hook)


def _small_picture(picture: Tensor) -> Image.Image:
    """The first of [B, 3, H, W] or [3, H, W] as a picture no larger than the host shows."""
    picture = picture.detach().reshape(-1, *picture.shape[-3:])[0].float().clamp(0, 1)
    picture = (picture[:3] if len(picture) >= 3 else picture[:1]).expand(3, -1, -1)  # without alpha; grey is spread
    pixels = (picture.permute(1, 2, 0) * 255).round().byte().cpu().numpy()
    image = Image.fromarray(pixels)
    image.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    return image
