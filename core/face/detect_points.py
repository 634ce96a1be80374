"""Marking faces with insightface's 1k3d68.onnx (68 points) and 2d106det.onnx (106 points), given their boxes.

Both take a square of 192 pixels around a box, half as large again as its longer side, and give points as shares of half
that square from its middle. Source: insightface, python-package/insightface/model_zoo/landmark.py. 1k3d68 gives a dense
face in 3D, of which the last 68 points are iBUG's; 2d106det's order is that of its authors' sheet, 2d106markup.jpg.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from .detect_scrfd import Found, Network
from .landmarks import Face
from .resampling import warp

SIDE = 192
"""Pixels of the square where the file does not say."""
AROUND = 1.5
"""Side of the square by the longer side of the box."""
WHITE = 255.0
"""Pictures enter the network as 0…255; it subtracts its mean itself."""
DENSE_POINTS, DENSE_NUMBERS = 1103, 3
"""Points of 1k3d68's dense face, and numbers of each."""
IBUG_POINTS = 68
MARKED_106 = 106

# fmt: off
IBUG_OF_106 = (
    1, 10, 12, 14, 16, 3, 5, 7, 0, 23, 21, 19, 32, 30, 28, 26, 17,  # every second of 33 along the jaw
    43, 48, 49, 51, 50, 102, 103, 104, 105, 101,  # upper edges of the brows
    72, 73, 74, 86, 78, 79, 80, 85, 84,  # bridge, tip, from wing to wing below
    35, 41, 42, 39, 37, 36, 89, 95, 96, 93, 91, 90,  # eyes
    52, 64, 63, 71, 67, 68, 61, 58, 59, 53, 56, 55,  # outer lips
    65, 66, 62, 70, 69, 57, 60, 54,  # inner lips
)
# fmt: on
"""For each of iBUG's 68 points the one of 2d106det that lies there; all 68 are among the 106. Other sets of 106 points
(JD's, Face++'s) lie in the same places, but are numbered otherwise."""


def mark(pictures: Tensor, found: Sequence[Sequence[Found]], network: Network) -> list[list[Face]]:
    """Pictures [B, 3, H, W] RGB 0…1 and the faces in each -> the same faces with iBUG's 68 points.

    UserError where the network's output is neither 1k3d68's nor 2d106det's.
    """
    return [
        [Face(_marked(picture, face.box, network), face.score) for face in faces]
        for picture, faces in zip(pictures, found, strict=True)
    ]


def decode(output: np.ndarray, name: str) -> Tensor:
    """One face's output, [1, 3309] or [1, 212] -> iBUG's points [68, 2], −1…1 across the square.

    UserError for another number of values.
    """
    values = torch.from_numpy(np.array(output, np.float32)).flatten()
    if len(values) == DENSE_POINTS * DENSE_NUMBERS:
        return values.view(-1, DENSE_NUMBERS)[-IBUG_POINTS:, :2]
    if len(values) == MARKED_106 * 2:
        return values.view(-1, 2)[list(IBUG_OF_106)]
    raise UserError(
        f"'{name}' marks no faces: it gives {len(values)} values for a face; 1k3d68.onnx gives "
        f"{DENSE_POINTS * DENSE_NUMBERS}, 2d106det.onnx {MARKED_106 * 2}. Take one of these."
    )


def _marked(picture: Tensor, box: Tensor, network: Network) -> Tensor:
    """[68, 2] pixels of a picture [3, H, W]."""
    side = network.size[0] if network.size else SIDE
    middle = (box[:2] + box[2:]).double() / 2
    scale = side / (AROUND * (box[2:] - box[:2]).max().clamp(min=1).item())
    # insightface puts the box's middle on a pixel's centre, half a pixel beside the square's middle
    shift = side / 2 + 0.5 - scale * middle
    matrix = torch.tensor([[[scale, 0.0, shift[0]], [0.0, scale, shift[1]], [0.0, 0.0, 1.0]]], dtype=torch.float64)
    square = warp(picture[None].float().cpu(), matrix, (side, side), "bilinear")
    points = decode(network.run((square * WHITE).numpy())[0], network.name)
    return ((points.double() * (side / 2)) / scale + middle).float()
