"""Albedo for heads whose files bring none: skin, eyeballs, teeth, as vertex colours.

RGB 0…1, chosen by eye under the neutral light of `FaceModel.neutral`; a fit replaces the skin's by the picture's.
"""

from __future__ import annotations

import torch
from torch import Tensor

SKIN = (0.74, 0.54, 0.45)
EYEBALL = (0.90, 0.89, 0.87)
IRIS = (0.36, 0.24, 0.15)
LIMBUS = (0.16, 0.11, 0.08)
PUPIL = (0.02, 0.02, 0.02)

IRIS_RADIUS, PUPIL_RADIUS = 0.0060, 0.0018
"""Metres across the eye's axis; a human iris measures 12 mm, its pupil 3 to 6 mm in a lit room."""
LIMBUS_WIDTH, SOFTNESS = 0.0008, 0.0007
"""Metres: the iris's dark rim, and the width over which colours blend, about the distance of an eyeball's vertices."""


def paint_eyeball(colours: Tensor, vertices: Tensor, eyeball: Tensor, unit_in_metres: float) -> Tensor:
    """`colours` [V, 3] with a white eye, an iris and a pupil on the front (+z) of one ball.

    vertices: [V, 3] of the mean, looking straight ahead. eyeball: [n] its vertex numbers.
    """
    ball = vertices[eyeball]
    axis = (ball.amin(0) + ball.amax(0)) / 2
    radius = (ball - axis)[:, :2].norm(dim=1) * unit_in_metres
    radius = torch.where(ball[:, 2] > axis[2], radius, torch.inf)
    painted = colours.new_tensor(EYEBALL).expand(len(eyeball), 3)
    for limit, colour in ((IRIS_RADIUS, LIMBUS), (IRIS_RADIUS - LIMBUS_WIDTH, IRIS), (PUPIL_RADIUS, PUPIL)):
        inside = ((limit - radius) / SOFTNESS + 0.5).clamp(0, 1)[:, None]
        painted = painted + inside * (colours.new_tensor(colour) - painted)
    result = colours.clone()
    result[eyeball] = painted
    return result
