"""A crop as a value: taken from a picture, carried through a graph, put back.

A crop is one or two affine stages, each with its resampling filter. Coordinates are continuous as in `core.types`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import UserError
from ..types import common_batch
from .resampling import Filter, warp

FRAMES_AT_ONCE = 8
"""Frames in work at once, so that memory beyond the result itself does not grow with a clip."""


@dataclass(frozen=True, eq=False)
class Stage:
    """One affine resampling. matrices: [B or 1, 3, 3] float64, old pixels -> new. size: (H, W) of the new picture."""

    matrices: Tensor
    size: tuple[int, int]
    filter: Filter


@dataclass(frozen=True, eq=False)
class Crop:
    """How B crops were taken from B pictures, so that they can be put back.

    kind: name of the alignment. stages: in order, the first one with B matrices. picture_size: (H, W) of the pictures.
    """

    kind: str
    stages: tuple[Stage, ...]
    picture_size: tuple[int, int]

    def __len__(self) -> int:
        return self.stages[0].matrices.shape[0]

    def __getitem__(self, frames: slice) -> Crop:
        """The crops of some frames; one that goes with all stays."""

        def chosen(stage: Stage) -> Stage:
            return stage if len(stage.matrices) == 1 else replace(stage, matrices=stage.matrices[frames])

        return replace(self, stages=tuple(map(chosen, self.stages)))

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the crop."""
        return self.stages[-1].size

    @property
    def matrices(self) -> Tensor:
        """[B, 3, 3] float64: picture pixels -> crop pixels."""
        product = self.stages[0].matrices
        for stage in self.stages[1:]:
            product = stage.matrices @ product
        return product

    def resized(self, size: tuple[int, int]) -> Crop:
        """The same region for crops of another size (H, W), such as what a network made of them."""
        last = self.stages[-1]
        ratio = torch.diag(last.matrices.new_tensor([size[1] / last.size[1], size[0] / last.size[0], 1.0]))
        return replace(self, stages=(*self.stages[:-1], Stage(ratio @ last.matrices, size, last.filter)))

    def moved(self, matrices: Tensor) -> Crop:
        """Crops of the same size whose pixels are `matrices` [B or 1, 3, 3] times these ones'."""
        last = self.stages[-1]
        return replace(self, stages=(*self.stages[:-1], replace(last, matrices=matrices @ last.matrices)))


def take(pictures: Tensor, crop: Crop) -> Tensor:
    """Pictures [B or 1, 3, H, W] -> crops [B, 3, h, w] of the same dtype, differentiable in the pictures."""
    _require_size(pictures, crop)
    frames = common_batch(pictures=len(pictures), landmarks=len(crop))
    if not frames:
        return pictures.new_zeros(0, pictures.shape[1], *crop.size)
    return torch.cat([_take(_some(pictures, chunk), crop[chunk]) for chunk in _chunks(frames)])


def paste(
    pictures: Tensor, patches: Tensor, crop: Crop, feather: float = 0.1, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Puts crops back where they came from -> (pictures [B, 3, H, W], mask [B, 1, H, W] 0…1 of what was replaced).

    patches: [B or 1, 3, h, w] of any size, the region of the crop. feather: width of the soft edge as a share of the
    crop's side, 0…0.5; 0 is a hard edge. mask: [B or 1, 1, h', w'] 0…1 over the crop, multiplied onto the soft edge.
    """
    if not 0 <= feather <= 0.5:
        raise UserError(f"The soft edge's width is a share of the crop's side between 0 and 0.5; got {feather}.")
    _require_size(pictures, crop)
    if mask is None:
        mask = patches.new_ones(1, 1, 1, 1)
    frames = common_batch(pictures=len(pictures), crops=len(patches), alignment=len(crop), mask=len(mask))
    if not frames:
        return pictures.clone(), pictures[:, :1].clone()
    parts = [
        _paste(_some(pictures, chunk), _some(patches, chunk), crop[chunk], feather, _some(mask, chunk))
        for chunk in _chunks(frames)
    ]
    pasted, covers = zip(*parts, strict=True)
    return torch.cat(pasted), torch.cat(covers)


def _take(pictures: Tensor, crop: Crop) -> Tensor:
    for stage in crop.stages:
        pictures = warp(pictures, stage.matrices, stage.size, stage.filter)
    return pictures


def _paste(pictures: Tensor, patches: Tensor, crop: Crop, feather: float, mask: Tensor) -> tuple[Tensor, Tensor]:
    cover = _soft_edge(crop, feather).to(patches) * _back(mask.to(patches), crop)
    pasted = pictures + (_back(patches, crop) - pictures) * cover
    return pasted, cover.expand(len(pasted), -1, -1, -1)


def _back(patches: Tensor, crop: Crop) -> Tensor:
    """Patches [B or 1, C, h, w] over the crop's region -> [B, C, H, W] over the picture."""
    inverse = torch.linalg.inv(crop.resized(tuple(patches.shape[-2:])).matrices)
    return warp(patches, inverse, crop.picture_size, "antialiased edge")


def _soft_edge(crop: Crop, feather: float) -> Tensor:
    """[B, 1, H, W] over the picture: 1 inside the crop, falling smoothly to 0 at its edge within `feather` sides."""
    rows, columns = torch.meshgrid(*(torch.arange(count) + 0.5 for count in crop.picture_size), indexing="ij")
    pixels = torch.stack([columns, rows, torch.ones_like(rows)], dim=-1).double()
    inside = torch.einsum("bij,hwj->bhwi", crop.matrices[:, :2], pixels)
    inside = inside / inside.new_tensor([crop.size[1], crop.size[0]])
    depth = torch.minimum(inside, 1 - inside).amin(-1)[:, None]
    if feather == 0:
        return (depth >= 0).double()
    step = (depth / feather).clamp(0, 1)
    return step * step * (3 - 2 * step)


def _chunks(frames: int) -> list[slice]:
    return [slice(first, first + FRAMES_AT_ONCE) for first in range(0, frames, FRAMES_AT_ONCE)]


def _some(batch: Tensor, chunk: slice) -> Tensor:
    """The chunk's frames of a batch; one that goes with all stays."""
    return batch if len(batch) == 1 else batch[chunk]


def _require_size(pictures: Tensor, crop: Crop) -> None:
    if tuple(pictures.shape[-2:]) != tuple(crop.picture_size):
        raise UserError(
            f"This crop belongs to pictures of {_named(crop.picture_size)}, these have {_named(pictures.shape[-2:])}. "
            "Connect the pictures whose landmarks were aligned."
        )


def _named(size: tuple[int, ...]) -> str:
    return f"{size[1]} × {size[0]} pixels"
