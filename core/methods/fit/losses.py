"""What became of a cost's terms during a fit, for people: a table and a picture of the curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ...optimise import TOTAL

SIZE = (640, 400)
"""Width and height of the picture, pixels."""
LEFT, RIGHT, TOP, BOTTOM = 56, 124, 12, 34
"""Margins round the curves, pixels; the names stand to their right."""
PAPER, INK, RULE = (250, 249, 246), (60, 58, 54), (222, 219, 212)
COLOURS = ((40, 40, 40), (31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189), (140, 86, 75),
           (227, 119, 194), (23, 190, 207))  # fmt: skip
"""Of the total, then of the terms in their order; those of Tableau's palette, which stay apart for the colour-blind."""
LOWEST, DECADES = 1e-6, 4
"""Least value that has a logarithm here, and how far below the largest the axis reaches."""
LEGEND = 17
"""Pixels from line to line."""


def loss_table(history: Mapping[str, Sequence[float]], weights: Mapping[str, float]) -> str:
    """A line for each term: its weight, and its weighted value at the first and the last step, with the sum below."""
    lines = [f"{'term':<12}{'weight':>9}{'first':>10}{'last':>10}"]
    for name in _in_order(history):
        weight = f"{weights[name]:>9g}" if name in weights else f"{'':>9}"
        first, last = _ends(history[name])
        lines.append(f"{name.replace('_', ' '):<12}{weight}{first:>10.4f}{last:>10.4f}")
    return "\n".join(lines)


def loss_curves(history: Mapping[str, Sequence[float]]) -> Tensor:
    """[1, 3, H, W] RGB 0…1: every term over the steps, on a logarithmic axis."""
    names = _in_order(history)
    names = [TOTAL, *names[:-1]] if TOTAL in names else names
    finite = [value for name in names for value in history[name] if math.isfinite(value)]
    high = math.ceil(math.log10(max(max(finite, default=1.0), LOWEST)))
    low = min(max(math.floor(math.log10(max(min(finite, default=1.0), LOWEST))), high - DECADES), high - 1)
    steps = max((len(history[name]) for name in names), default=1)
    picture = Image.new("RGB", SIZE, PAPER)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default()
    across, down = SIZE[0] - LEFT - RIGHT, SIZE[1] - TOP - BOTTOM

    def place(step: int, value: float) -> tuple[float, float]:
        height = (math.log10(max(value, LOWEST)) - low) / (high - low)
        return LEFT + across * step / max(steps - 1, 1), TOP + down * (1 - min(max(height, 0.0), 1.0))

    for power in range(low, high + 1):
        y = place(0, 10.0**power)[1]
        draw.line([(LEFT, y), (SIZE[0] - RIGHT, y)], RULE)
        draw.text((LEFT - 6, y), f"{10.0**power:g}", INK, font, anchor="rm")
    for step in (0, steps - 1):
        draw.text((place(step, 1.0)[0], SIZE[1] - BOTTOM + 8), str(step + 1), INK, font, anchor="ma")
    for number, name in enumerate(names):
        colour = COLOURS[number % len(COLOURS)]
        known = [place(step, value) for step, value in enumerate(history[name]) if math.isfinite(value)]
        if known:
            draw.line(known * 2 if len(known) == 1 else known, colour, 3 if name == TOTAL else 2, joint="curve")
        x, y = SIZE[0] - RIGHT + 12, TOP + 6 + LEGEND * number
        draw.line([(x, y), (x + 18, y)], colour, 3)
        draw.text((x + 24, y), name.replace("_", " "), INK, font, anchor="lm")
    levels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).reshape(SIZE[1], SIZE[0], 3)
    return levels.permute(2, 0, 1)[None] / 255


def _in_order(history: Mapping[str, Sequence[float]]) -> list[str]:
    """Terms by name, the total last."""
    return sorted(history, key=lambda name: (name == TOTAL, name))


def _ends(values: Sequence[float]) -> tuple[float, float]:
    finite = [value for value in values if math.isfinite(value)] or [math.nan]
    return finite[0], finite[-1]
