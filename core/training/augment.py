"""Adaptive discriminator augmentation: what the discriminator sees is changed at random, real and generated alike.

Source: Karras et al. 2020, "Training generative adversarial networks with limited data" (ADA): section 3 for the
adaptive probability, appendix B for transforms, order and strengths ('bgc': blit, geometric, colour). Sampling is our
own: exact where pixels only move by whole steps, at twice the resolution with low-pass filters where they do not.
Everything is differentiable twice, as R1 needs, which PyTorch's `grid_sample` is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import UserError
from ..networks.resampling import downsample2d, low_pass, upsample2d

ADAPTIVE, FIXED, OFF = "adaptive", "fixed", "off"
MODES = (ADAPTIVE, FIXED, OFF)

TRANSLATION = 0.125
"""Whole-pixel shifts reach this share of the size; it is also the deviation of the fractional ones. Appendix B."""
SCALE, STRETCH = 0.2, 0.2
"""Deviations of log2 of the size and of the proportions. Appendix B."""
BRIGHTNESS, CONTRAST, SATURATION = 0.2, 0.5, 1.0
"""Deviations of the shift, of log2 of the contrast and of log2 of the saturation. Appendix B."""

TAPS, TRANSITION = 16, 0.3
"""Of the filters around the sampling at twice the resolution: taps, and width of the transition in cycles a pixel.
Chosen by the error of moved waves: at most 0.06 of their height up to 0.3 cycles a pixel, where bilinear sampling alone
is off by 0.38; 24 taps gain nothing."""
MARGIN = TAPS // 4
"""Pixels beyond the picture's edge that those filters look at."""


@dataclass(frozen=True)
class AugmentSettings:
    """Which transforms, and how likely each is.

    mode: 'adaptive' moves the probability so that the discriminator stays `target` sure of the real pictures, 'fixed'
    keeps it, 'off' leaves everything as it is. probability: of every transform, at the start. interval: steps between
    its moves. horizon: pictures in which it could rise from 0 to 1. transforms: names in TRANSFORMS.
    Source: the authors' train.py (0.6, every 4 steps, 500,000 pictures).
    """

    mode: str = ADAPTIVE
    probability: float = 0.0
    target: float = 0.6
    interval: int = 4
    horizon: float = 500_000.0
    transforms: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "transforms", tuple(self.transforms) or tuple(TRANSFORMS))
        if self.mode not in MODES:
            raise UserError(f"The augmentation mode '{self.mode}' is unknown; known are {', '.join(MODES)}.")
        unknown = [name for name in self.transforms if name not in TRANSFORMS]
        if unknown:
            raise UserError(f"Unknown transforms: {', '.join(unknown)}; known are {', '.join(TRANSFORMS)}.")
        if not 0 <= self.probability <= 1:
            raise UserError(f"The probability of augmentation must lie in 0…1; got {self.probability:g}.")


class Augmenter:
    """The transforms with their present probability, which is all its state beside the signs seen since its last move.

    signs: [2], the sum of the signs of the real pictures' scores, and their number.
    """

    def __init__(self, settings: AugmentSettings) -> None:
        self.settings = settings
        self.probability = 0.0 if settings.mode == OFF else settings.probability
        self.signs = torch.zeros(2)

    def __call__(self, pictures: Tensor, random: torch.Generator) -> Tensor:
        """[B, 3, H, W] in −1…1 -> the same, each picture changed on its own. random: a CPU generator."""
        if self.settings.mode == OFF:
            return pictures
        return augmented(pictures, self.probability, self.settings.transforms, random)

    def observe(self, real_scores: Tensor) -> None:
        """Scores of (augmented) real pictures, of any shape."""
        signs = real_scores.detach().sign()
        self.signs = self.signs + torch.stack([signs.sum(), signs.new_tensor(signs.numel())]).cpu().float()

    def adapt(self, pictures: int) -> None:
        """Moves the probability after an interval of `pictures` real pictures, up where the signs exceed the target."""
        if self.settings.mode == ADAPTIVE and self.signs[1] > 0:
            excess = float(self.signs[0] / self.signs[1]) - self.settings.target
            step = pictures / self.settings.horizon
            self.probability = min(max(self.probability + math.copysign(step, excess) * (excess != 0), 0.0), 1.0)
        self.signs = torch.zeros(2)


def augmented(pictures: Tensor, probability: float, transforms: tuple[str, ...], random: torch.Generator) -> Tensor:
    """`pictures` [B, 3, H, W] in −1…1, each changed by every one of `transforms` with `probability`, in their order."""
    draw = _Draw(len(pictures), tuple(pictures.shape[2:]), probability, random)
    for name in transforms:
        TRANSFORMS[name](draw)
    return _recoloured(_moved(pictures, draw), draw.colour.to(pictures))


class _Draw:
    """What was drawn for B pictures, gathered transform by transform.

    source: [B, 3, 3], from output to source positions in pixels, (x, y) around the middle. resampled: [B] bool, whether
    it is more than a move by whole pixels. colour: [B, 4, 4], of (r, g, b, 1).
    """

    def __init__(self, count: int, size: tuple[int, int], probability: float, random: torch.Generator) -> None:
        self.count, self.size, self.probability, self._random = count, size, probability, random
        self.source = torch.eye(3).repeat(count, 1, 1)
        self.colour = torch.eye(4).repeat(count, 1, 1)
        self.resampled = torch.zeros(count, dtype=torch.bool)

    def happens(self, probability: float | None = None) -> Tensor:
        """[B] bool."""
        return self.uniform() < (self.probability if probability is None else probability)

    def uniform(self) -> Tensor:
        """[B], 0…1."""
        return torch.rand(self.count, generator=self._random)

    def normal(self) -> Tensor:
        return torch.randn(self.count, generator=self._random)

    def move(self, happens: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, x: Tensor, y: Tensor) -> None:
        """Where it happens, the picture so far goes through (x, y) -> (a·x + b·y, c·x + d·y) + (x, y), all [B]."""
        zero, one = torch.zeros(self.count), torch.ones(self.count)
        forward = torch.stack([a, b, x, c, d, y, zero, zero, one], dim=1).reshape(-1, 3, 3)
        backward = torch.linalg.inv(forward)
        self.source = torch.where(happens[:, None, None], self.source @ backward, self.source)

    def recolour(self, happens: Tensor, matrix: Tensor, shift: Tensor | None = None) -> None:
        """Where it happens, colours go through matrix [B, 3, 3] and then, all channels alike, `shift` [B]."""
        full = torch.eye(4).repeat(self.count, 1, 1)
        full[:, :3, :3] = matrix
        if shift is not None:
            full[:, :3, 3] = shift[:, None]
        self.colour = torch.where(happens[:, None, None], full @ self.colour, self.colour)


# The transforms, each drawing its own numbers -------------------------------------------------------------------------


def _mirror(draw: _Draw) -> None:
    happens = draw.happens() & (draw.uniform() < 0.5)
    zero, one = torch.zeros(draw.count), torch.ones(draw.count)
    draw.move(happens, -one, zero, zero, one, zero, zero)


def _quarter_turn(draw: _Draw) -> None:
    """Pictures that are not square take half turns only."""
    happens, turns = draw.happens(), (draw.uniform() * 4).floor()
    if draw.size[0] != draw.size[1]:
        turns = (turns / 2).floor() * 2
    cos, sin = (turns * (math.pi / 2)).cos().round(), (turns * (math.pi / 2)).sin().round()
    draw.move(happens, cos, -sin, sin, cos, torch.zeros(draw.count), torch.zeros(draw.count))


def _whole_shift(draw: _Draw) -> None:
    happens = draw.happens()
    x, y = (((draw.uniform() * 2 - 1) * TRANSLATION * side).round() for side in reversed(draw.size))
    one, zero = torch.ones(draw.count), torch.zeros(draw.count)
    draw.move(happens, one, zero, zero, one, x, y)


def _scale(draw: _Draw) -> None:
    happens, factor, zero = draw.happens(), torch.exp2(draw.normal() * SCALE), torch.zeros(draw.count)
    draw.move(happens, factor, zero, zero, factor, zero, zero)
    draw.resampled |= happens


def _rotate(draw: _Draw) -> None:
    """Half of the rotation's chance: it comes before and after the stretch, together as likely as any transform."""
    happens = draw.happens(1 - math.sqrt(1 - draw.probability))
    angle = (draw.uniform() * 2 - 1) * math.pi
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros(draw.count)
    draw.move(happens, cos, -sin, sin, cos, zero, zero)
    draw.resampled |= happens


def _stretch(draw: _Draw) -> None:
    happens, factor, zero = draw.happens(), torch.exp2(draw.normal() * STRETCH), torch.zeros(draw.count)
    draw.move(happens, factor, zero, zero, 1 / factor, zero, zero)
    draw.resampled |= happens


def _shift(draw: _Draw) -> None:
    happens = draw.happens()
    x, y = (draw.normal() * TRANSLATION * side for side in reversed(draw.size))
    one, zero = torch.ones(draw.count), torch.zeros(draw.count)
    draw.move(happens, one, zero, zero, one, x, y)
    draw.resampled |= happens


def _brightness(draw: _Draw) -> None:
    happens = draw.happens()
    draw.recolour(happens, torch.eye(3).expand(draw.count, 3, 3), draw.normal() * BRIGHTNESS)


def _contrast(draw: _Draw) -> None:
    happens, factor = draw.happens(), torch.exp2(draw.normal() * CONTRAST)
    draw.recolour(happens, torch.eye(3) * factor[:, None, None])


def _luma_flip(draw: _Draw) -> None:
    """Light becomes dark and dark light, hue stays: a reflection at the plane through the origin across grey."""
    happens = draw.happens() & (draw.uniform() < 0.5)
    draw.recolour(happens, (torch.eye(3) - 2 * _onto_grey()).expand(draw.count, 3, 3))


def _hue(draw: _Draw) -> None:
    """A rotation of colours around grey, by Rodrigues' formula."""
    happens, angle = draw.happens(), ((draw.uniform() * 2 - 1) * math.pi)[:, None, None]
    grey, cross = _onto_grey(), torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    draw.recolour(happens, grey + angle.cos() * (torch.eye(3) - grey) + angle.sin() * cross)


def _saturation(draw: _Draw) -> None:
    happens, factor = draw.happens(), torch.exp2(draw.normal() * SATURATION)[:, None, None]
    grey = _onto_grey()
    draw.recolour(happens, grey + factor * (torch.eye(3) - grey))


def _onto_grey() -> Tensor:
    """[3, 3], projects a colour onto the axis of greys (1, 1, 1)/√3."""
    return torch.full((3, 3), 1 / 3)


TRANSFORMS: dict[str, Callable[[_Draw], None]] = {
    "mirror": _mirror,
    "quarter turn": _quarter_turn,
    "whole shift": _whole_shift,
    "scale": _scale,
    "rotation": _rotate,
    "stretch": _stretch,
    "rotation after": _rotate,
    "shift": _shift,
    "brightness": _brightness,
    "contrast": _contrast,
    "luma flip": _luma_flip,
    "hue": _hue,
    "saturation": _saturation,
}
"""In the paper's order; the authors call them xflip, rotate90, xint, scale, rotate, aniso, (rotate), xfrac, …"""


# Pixels ---------------------------------------------------------------------------------------------------------------


def _moved(pictures: Tensor, draw: _Draw) -> Tensor:
    """Pictures sampled where the draw says; those that it leaves alone come out bit for bit, filters touch no other."""
    still = (draw.source == torch.eye(3)).all(dim=2).all(dim=1)
    groups = [(still, None), (~still & ~draw.resampled, _sampled), (~still & draw.resampled, _resampled)]
    parts, places = [], []
    for chosen, how in groups:
        index = chosen.nonzero()[:, 0]
        if len(index):
            part = pictures[index.to(pictures.device)]
            parts.append(part if how is None else how(part, draw.source[index].to(pictures)))
            places.append(index)
    return torch.cat(parts)[torch.cat(places).argsort().to(pictures.device)]


def _resampled(pictures: Tensor, source: Tensor) -> Tensor:
    """`_sampled` at twice the resolution, between two low-pass filters."""
    taps = low_pass(TAPS, 0.5, TRANSITION, 2.0).to(pictures)
    height, width = pictures.shape[2:]
    wide = upsample2d(functional.pad(pictures, [MARGIN] * 4, mode="replicate"), taps)
    wide = wide[:, :, 2 * MARGIN : -2 * MARGIN, 2 * MARGIN : -2 * MARGIN]
    twice = source.clone()
    twice[:, :2, 2] *= 2
    wide = _sampled(wide, twice, (2 * (height + 2 * MARGIN), 2 * (width + 2 * MARGIN)))
    return downsample2d(wide, taps)[:, :, MARGIN:-MARGIN, MARGIN:-MARGIN]


def _sampled(pictures: Tensor, source: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """Bilinear samples; beyond its edges a picture goes on as its mirror image.

    pictures: [B, C, H, W]. source: [B, 3, 3], from output to source positions in pixels around the middle. size: (H, W)
    of the output, around the same middle.
    """
    batch, channels, height, width = pictures.shape
    rows, columns = size or (height, width)
    y = torch.arange(rows).to(pictures) + (0.5 - rows / 2)
    x = torch.arange(columns).to(pictures) + (0.5 - columns / 2)
    grid = torch.stack([x.expand(rows, -1), y[:, None].expand(-1, columns), torch.ones_like(x).expand(rows, -1)], -1)
    positions = grid.reshape(1, -1, 3) @ source[:, :2].transpose(1, 2)
    x0, x1, fx = _neighbours(positions[..., 0] + width / 2, width)
    y0, y1, fy = _neighbours(positions[..., 1] + height / 2, height)
    flat = pictures.flatten(2)

    def at(row: Tensor, column: Tensor) -> Tensor:
        return flat.gather(2, (row * width + column)[:, None].expand(-1, channels, -1))

    above = torch.lerp(at(y0, x0), at(y0, x1), fx[:, None])
    below = torch.lerp(at(y1, x0), at(y1, x1), fx[:, None])
    return torch.lerp(above, below, fy[:, None]).reshape(batch, channels, rows, columns)


def _neighbours(position: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Continuous positions, mirrored into 0…side -> the pixels before and after them, and how far between they lie."""
    folded = side - (position.remainder(2 * side) - side).abs()
    centre = (folded - 0.5).clamp(0, side - 1)
    before = centre.floor()
    return before.long(), (before + 1).clamp(max=side - 1).long(), centre - before


def _recoloured(pictures: Tensor, colour: Tensor) -> Tensor:
    """Colours through [B, 4, 4]."""
    rows = colour[:, :3, :3] @ pictures.flatten(2) + colour[:, :3, 3:]
    return rows.reshape(pictures.shape)
