"""Brows: soft tapered tubes that lie on the skin and ride on the fields that move it."""

from __future__ import annotations

import numpy as np

from . import field
from .part import Part, tube

ROWS, SIDES = 14, 9
INNER, OUTER = 0.130, 0.535
"""From beside the nose to above the outer corner of the eye, in x."""
HEIGHT = 0.235


def build_brow() -> Part:
    """The left brow, from its inner end outwards."""
    t = np.linspace(0.0, 1.0, ROWS + 2)
    x = INNER + (OUTER - INNER) * t
    y = HEIGHT + 0.085 * np.sin(np.pi * np.clip(0.06 + 0.86 * t, 0.0, 1.0)) - 0.045 * t
    skin = field.cast_front(np.column_stack([x, y]))
    out = field.normal(skin)
    axis = np.gradient(skin, axis=0)
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    across = np.cross(out, axis)  # up
    body = np.sqrt(np.clip(1.0 - (2.0 * t - 1.0) ** 6, 0.0, 1.0)) * (1.0 - 0.62 * t**1.6)
    high, deep = 0.032 * body, 0.017 * body**0.8
    turn = -2.0 * np.pi * np.arange(SIDES) / SIDES
    centre = skin + 0.002 * out
    rings = (centre[:, None] + high[:, None, None] * np.sin(turn)[None, :, None] * across[:, None]
             + deep[:, None, None] * np.cos(turn)[None, :, None] * out[:, None])
    return Part("brow_left", *_without_mirror(tube(rings[1:-1], centre[0], centre[-1])))


def _without_mirror(shape: tuple) -> tuple:
    vertices, faces, uv, uv_faces = shape
    return vertices, faces, None, uv, uv_faces
