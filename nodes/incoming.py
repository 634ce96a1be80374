"""What arrives on ComfyUI's own sockets, checked and in `core`'s layout: pictures, masks, sounds, meshes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import UserError
from ..core.types import Mesh


def picture_in(image: Tensor, name: str = "image") -> Tensor:
    """IMAGE [B, H, W, C] -> a copy [B, 3, H, W] float32 RGB 0…1; grey is spread, alpha dropped, values clamped.

    UserError for an empty batch, another shape or values that are not numbers; `name` is the input's, for the sentence.
    """
    if not isinstance(image, Tensor) or image.dim() != 4 or image.shape[3] not in (1, 3, 4):
        found = list(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise UserError(f"The input '{name}' should hold pictures [B, H, W, 3], but holds {found}.")
    if 0 in image.shape:
        raise UserError(f"The input '{name}' holds no pictures (shape {list(image.shape)}). Connect at least one.")
    picture = image[..., :3].permute(0, 3, 1, 2).to(torch.float32, copy=True, memory_format=torch.contiguous_format)
    bad = [str(frame) for frame in range(len(picture)) if not torch.isfinite(picture[frame]).all()]
    if bad:
        shown = ", ".join(bad[:5]) + (", …" if len(bad) > 5 else "")
        raise UserError(
            f"The input '{name}' holds values that are no numbers (NaN or infinite) in frame {shown}. "
            "Look for the node before this one that makes them."
        )
    return picture.expand(-1, 3, -1, -1).contiguous().clamp_(0, 1)


def mask_in(mask: Tensor, size: tuple[int, int] | None = None, name: str = "mask") -> Tensor:
    """MASK [B, H, W] or [H, W] -> a copy [B, 1, H, W] float32 0…1, resized to `size` (H, W) where given."""
    if not isinstance(mask, Tensor) or mask.dim() not in (2, 3) or 0 in mask.shape:
        found = list(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise UserError(f"The input '{name}' should hold masks [B, H, W], but holds {found}.")
    found = mask.reshape(-1, 1, *mask.shape[-2:]).to(torch.float32, copy=True)
    if not torch.isfinite(found).all():
        raise UserError(f"The input '{name}' holds values that are no numbers (NaN or infinite).")
    if size is not None and tuple(found.shape[-2:]) != tuple(size):
        found = nn.functional.interpolate(found, size, mode="bilinear", antialias=True)
    return found.clamp_(0, 1)


def audio_in(audio: Any, name: str = "audio") -> tuple[Tensor, int]:
    """AUDIO, a dict of 'waveform' [B, C, T] and 'sample_rate' -> a copy of the first, [C, T] float32, and its rate.

    UserError for anything else, for no samples, and for values that are not numbers.
    """
    waveform, rate = (audio.get("waveform"), audio.get("sample_rate")) if isinstance(audio, Mapping) else (None, None)
    if not isinstance(waveform, Tensor) or waveform.dim() != 3 or 0 in waveform.shape or not rate:
        found = list(waveform.shape) if isinstance(waveform, Tensor) else type(audio).__name__
        raise UserError(f"The input '{name}' should hold sound [B, C, T] and its rate, but holds {found}.")
    found = waveform[0].detach().to("cpu", torch.float32, copy=True)
    if not torch.isfinite(found).all():
        raise UserError(f"The input '{name}' holds values that are no numbers (NaN or infinite).")
    return found, int(rate)


def mesh_in(mesh: Any) -> list[Mesh]:
    """MESH -> its meshes; attributes that it lacks, or that an older host never sets, are None.

    UserError for another shape, or for attributes that do not belong to the vertices.
    """
    vertices, faces = mesh.vertices, mesh.faces
    batch = {len(vertices), len(faces)} if vertices.dim() == faces.dim() == 3 else set()
    if len(batch) != 1 or 0 in batch or vertices.shape[2] != 3 or faces.shape[2] != 3:
        raise UserError(
            "A mesh should hold vertices [B, V, 3] and triangles [B, F, 3], B at least 1, "
            f"but holds {list(vertices.shape)} and {list(faces.shape)}."
        )
    parts = {name: getattr(mesh, name, None) for name in ("uvs", "vertex_colors", "normals", "texture")}
    for name, values in parts.items():
        if values is not None and len(values) != len(vertices):
            raise UserError(f"A mesh of {len(vertices)} has {len(values)} {name}; expected one each.")
    found = []
    for index in range(len(vertices)):
        uv, colours, normals, texture = (None if v is None else _copy(v[index]) for v in parts.values())
        found.append(
            Mesh(
                vertices=_copy(vertices[index]),
                faces=faces[index].cpu().long(),
                uv=None if uv is None else torch.stack([uv[:, 0], 1 - uv[:, 1]], 1),
                colours=None if colours is None else colours[:, :3].contiguous(),
                normals=normals,
                texture=None if texture is None else texture[..., :3].permute(2, 0, 1).contiguous(),
            )
        )
    return found


def _copy(values: Tensor) -> Tensor:
    return values.detach().to("cpu", torch.float32, copy=True)
