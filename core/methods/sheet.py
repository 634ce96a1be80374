"""Pictures of all sizes on one sheet, in rows with captions, for people to compare."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional

from ..errors import UserError

PAPER, INK = (0.13, 0.14, 0.16), (0.92, 0.92, 0.92)
"""RGB of the sheet and of its captions: dark, so that bright backgrounds end where they end."""
GAP_SHARE, TEXT_SHARE = 0.05, 0.15
"""Space between pictures and height of the letters, in heights of a picture."""
SMALLEST_TEXT = 11
"""Pixels; smaller letters cannot be read."""
LINE = 1.5
"""Height of a caption's line, in heights of its letters."""


def sheet(rows: Sequence[tuple[str, Tensor]], height: int = 128) -> Tensor:
    """[3, H, W] RGB 0…1: row by row a caption, which may be empty, and below it the pictures [B, 3, h, w] side by side.

    height: of every picture in pixels; its proportions stay. UserError where there is no picture.
    """
    if not any(len(pictures) for _, pictures in rows):
        raise UserError("There is no picture for the sheet. Connect at least one row.")
    gap, text = max(1, round(GAP_SHARE * height)), max(SMALLEST_TEXT, round(TEXT_SHARE * height))
    scaled = [(caption, _scaled(pictures, height)) for caption, pictures in rows if len(pictures)]
    font = ImageFont.load_default(text)
    widths = [len(pictures) * (pictures.shape[3] + gap) for _, pictures in scaled]
    widths += [gap + round(font.getlength(caption)) for caption, _ in scaled]
    line = round(LINE * text)
    total = sum(height + gap + (line if caption else 0) for caption, _ in scaled)
    paper = torch.tensor(PAPER)[:, None, None].expand(3, gap + total, gap + max(widths)).clone()
    top = gap
    for caption, pictures in scaled:
        if caption:
            paper[:, top : top + line] = _written(paper[:, top : top + line], caption, gap, font)
            top += line
        for number, picture in enumerate(pictures):
            left = gap + number * (picture.shape[2] + gap)
            paper[:, top : top + height, left : left + picture.shape[2]] = picture
        top += height + gap
    return paper


def _scaled(pictures: Tensor, height: int) -> Tensor:
    """[B, 3, h, w] -> [B, 3, height, …], on the CPU."""
    size = (height, max(1, round(pictures.shape[3] * height / pictures.shape[2])))
    pictures = pictures.detach().float().cpu()
    return functional.interpolate(pictures, size, mode="bicubic", antialias=True).clamp(0, 1)


def _written(paper: Tensor, caption: str, left: int, font: ImageFont.FreeTypeFont) -> Tensor:
    """[3, H, W] with a line of text in it."""
    mask = Image.new("L", (paper.shape[2], paper.shape[1]))
    ImageDraw.Draw(mask).text((left, paper.shape[1] / 2), caption, fill=255, font=font, anchor="lm")
    cover = torch.from_numpy(np.array(mask)).float() / 255
    return torch.lerp(paper, torch.tensor(INK)[:, None, None].expand_as(paper), cover)
