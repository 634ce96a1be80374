"""Colours of the toon world, RGB 0…1 as shown on a screen; chosen by looking at them beside one another."""

from __future__ import annotations

import numpy as np

from ..paint import BROW
from .draws import Draws

Colour = tuple[float, float, float]

HAIR: dict[str, Colour] = {
    "black": (0.105, 0.088, 0.090), "dark brown": (0.215, 0.135, 0.095), "brown": (0.350, 0.215, 0.135),
    "chestnut": (0.430, 0.225, 0.130), "auburn": (0.520, 0.205, 0.110), "ginger": (0.760, 0.360, 0.140),
    "dark blond": (0.640, 0.470, 0.270), "blond": (0.880, 0.690, 0.390), "platinum": (0.930, 0.850, 0.680),
    "grey": (0.560, 0.555, 0.560), "white": (0.850, 0.845, 0.840), "blue": (0.220, 0.340, 0.680),
    "pink": (0.870, 0.440, 0.590), "teal": (0.130, 0.520, 0.530), "violet": (0.450, 0.270, 0.600),
}  # fmt: skip
DYED = {"blue": 0.12, "pink": 0.18, "teal": 0.12, "violet": 0.12}
HAIR_WEIGHTS_FAIR = {
    "black": 1.0,
    "dark brown": 1.5,
    "brown": 1.6,
    "chestnut": 1.2,
    "auburn": 1.0,
    "ginger": 1.0,
    "dark blond": 1.2,
    "blond": 1.3,
    "platinum": 0.5,
    **DYED,
}
HAIR_WEIGHTS_DARK = {"black": 3.0, "dark brown": 2.6, "brown": 0.9, "chestnut": 0.4, "auburn": 0.3, **DYED}
"""How often each colour is worn by fair and by dark people; grey and white come with age."""

IRISES: dict[str, tuple[float, float, float]] = {
    "brown": (0.0, 0.0, 0.0), "dark brown": (0.0, 0.0, -1.2), "amber": (0.0, 0.5, 1.3), "hazel": (0.2, 1.3, 0.5),
    "green": (0.9, 2.0, 0.6), "blue": (2.4, 0.4, 0.5), "light blue": (2.6, 1.0, 1.4), "grey": (1.7, 0.9, 1.2),
}  # fmt: skip
"""Coefficients of the head's iris_blue, iris_green and iris_lightness."""
IRIS_WEIGHTS_FAIR = {
    "brown": 1.4,
    "dark brown": 0.6,
    "amber": 0.5,
    "hazel": 1.0,
    "green": 1.1,
    "blue": 1.5,
    "light blue": 0.8,
    "grey": 0.7,
}
IRIS_WEIGHTS_DARK = {"brown": 2.0, "dark brown": 2.2, "amber": 0.7, "hazel": 0.6, "green": 0.2}

FRAMES: tuple[Colour, ...] = ((0.09, 0.08, 0.09), (0.33, 0.19, 0.11), (0.72, 0.16, 0.18), (0.17, 0.28, 0.52),
                              (0.74, 0.58, 0.28), (0.45, 0.46, 0.50))  # fmt: skip
CLOTH: tuple[Colour, ...] = (
    (0.84, 0.33, 0.31), (0.21, 0.48, 0.46), (0.27, 0.37, 0.66), (0.92, 0.72, 0.31), (0.56, 0.40, 0.62),
    (0.43, 0.55, 0.30), (0.92, 0.90, 0.86), (0.20, 0.21, 0.27), (0.90, 0.55, 0.42), (0.48, 0.70, 0.84),
    (0.72, 0.31, 0.45), (0.52, 0.38, 0.29), (0.62, 0.65, 0.68),
)  # fmt: skip
BACKDROPS: tuple[tuple[Colour, Colour], ...] = (
    ((0.93, 0.87, 0.80), (0.85, 0.72, 0.60)), ((0.80, 0.88, 0.93), (0.55, 0.68, 0.80)),
    ((0.95, 0.84, 0.87), (0.84, 0.64, 0.72)), ((0.86, 0.92, 0.84), (0.62, 0.76, 0.63)),
    ((0.88, 0.86, 0.95), (0.67, 0.63, 0.82)), ((0.97, 0.91, 0.72), (0.91, 0.77, 0.44)),
    ((0.76, 0.79, 0.83), (0.45, 0.50, 0.58)), ((0.93, 0.93, 0.92), (0.77, 0.77, 0.77)),
    ((0.52, 0.60, 0.66), (0.27, 0.33, 0.42)), ((0.72, 0.88, 0.87), (0.43, 0.67, 0.69)),
)  # fmt: skip
"""Middle and rim."""

_BROW_DIRECTIONS = np.array([[0.115, 0.090, 0.065], [0.055, -0.005, -0.020]])
"""`core.toon.paint`'s brow_lightness and brow_redness."""
BROW_SHADE, BROW_LIMIT = 0.72, 2.2
"""Brows are this much of the hair's brightness; white brows would vanish."""


SAME_HUE = 0.02
"""Two colours, each over its brightest channel, are the same shade of hair within this."""
GREENEST = -1.1
"""brow_redness below which grey brows would turn green."""


def brow_coefficients(hair: Colour) -> tuple[float, float]:
    """brow_lightness and brow_redness whose brows suit the hair best."""
    wanted = np.array(hair) * BROW_SHADE - BROW
    found = np.linalg.lstsq(_BROW_DIRECTIONS.T, wanted, rcond=None)[0]
    light, red = np.clip(found, [-BROW_LIMIT, GREENEST], BROW_LIMIT)
    return float(light), float(red)


def grown(hair: Colour) -> Colour:
    """The colour in which brows and beards grow: dyed hair's is dark brown, other hair's its own."""
    hue = np.array(hair) / max(hair)
    dyed = any(np.abs(hue - np.array(HAIR[name]) / max(HAIR[name])).max() < SAME_HUE for name in DYED)
    return HAIR["dark brown"] if dyed else hair


def choose(draws: Draws, colours: tuple[Colour, ...]) -> Colour:
    """One of them."""
    return colours[draws.one(len(colours))]


def two(draws: Draws, colours: tuple[Colour, ...]) -> tuple[Colour, Colour]:
    """Two different ones."""
    first, second = draws.two(len(colours))
    return colours[first], colours[second]
