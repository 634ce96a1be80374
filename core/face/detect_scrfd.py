"""Finding faces with insightface's SCRFD networks (det_10g.onnx, det_2.5g.onnx, det_500m.onnx, scrfd_*_bnkps.onnx).

Every place of three (or five) maps may hold faces, one for each of its anchors: a score, the distances from that place
to the four sides of a box and, mostly, the way to five points, both in strides of the map. Sources: Guo et al. 2021,
"Sample and Computation Redistribution for Efficient Face Detection"; what the published files take and give:
insightface, python-package/insightface/model_zoo/scrfd.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..errors import UserError
from .landmarks import Face

SIDES = (640, 320)
"""Pixels of the square that a picture is fitted into, where the network takes any: insightface's own, then half of it
where that shows no face, since these networks miss faces that fill the picture."""
FIRST_STRIDE = 8
"""Pixels between places of the finest map; each further map has double."""
ANCHORS = (1, 2)
"""Faces that one place may hold: of networks with five maps, and with three."""
MEAN, SCALE = 127.5, 128.0
"""A value 0…255 enters the network as (value − MEAN) / SCALE; the rest of the square is black."""
OVERLAP = 0.4
"""Boxes that overlap more (intersection over union) are one face; insightface's."""
CANDIDATES = 1000
"""Best boxes that are kept before overlaps are merged."""
CENTRE = 0.5
"""From whole-number pixel centres, as which insightface aligns by these points, to continuous coordinates."""
SCORE, BOX, POINTS = 1, 4, 10
"""Numbers a place gives: a score, four distances, five points."""


class Network(Protocol):
    """`detect_onnx.OnnxModel`, or what does the same."""

    name: str
    size: tuple[int, int] | None

    def run(self, pictures: np.ndarray) -> list[np.ndarray]: ...


@dataclass(frozen=True, eq=False)
class Found:
    """One face. box: [4] left, top, right, bottom, pixels. score: 0…1. points: [5, 2] pixels, in the order of our
    markup of five, or None from a network that gives boxes only.
    """

    box: Tensor
    score: float
    points: Tensor | None


def find_with_scrfd(pictures: Tensor, network: Network, minimum_score: float) -> list[list[Found]]:
    """Pictures [B, 3, H, W] RGB 0…1 -> for every picture its faces, best score first.

    UserError where the network's outputs are not those of SCRFD.
    """
    sizes = [network.size] if network.size else [(side, side) for side in SIDES]
    found = []
    for picture in pictures:
        faces: list[Found] = []
        for size in sizes:
            faces = faces or _searched(picture, network, size, minimum_score)
        found.append(faces)
    return found


def five_of(found: Sequence[Sequence[Found]], name: str) -> list[list[Face]]:
    """The faces by their five points. name: of the network's file. UserError where it gives boxes only."""
    if any(face.points is None for faces in found for face in faces):
        raise UserError(
            f"'{name}' gives boxes without points. Take a file with five points (det_10g, det_2.5g, det_500m, or with "
            "'kps' in its name), or have the boxes marked by 1k3d68.onnx or 2d106det.onnx."
        )
    return [[Face(face.points, face.score) for face in faces] for faces in found]


def decode(
    outputs: Sequence[np.ndarray], size: tuple[int, int], minimum_score: float, name: str
) -> tuple[Tensor, Tensor, Tensor | None]:
    """A network's outputs for one picture of `size` (H, W) -> boxes [N, 4], scores [N], points [N, 5, 2] or None.

    In pixels of that picture, whole numbers at pixel centres, in no order and with overlaps; scores above the minimum
    only. Outputs are told apart by their shapes: [places · anchors, 1, 4 or 10], with or without a batch of one before
    them; the largest belongs to the finest map. UserError where they are others.
    """
    maps = {width: _by_size(outputs, width) for width in (SCORE, BOX, POINTS)}
    levels = len(maps[SCORE])
    known = sum(len(each) for each in maps.values()) == len(outputs) and levels
    if not known or len(maps[BOX]) != levels or len(maps[POINTS]) not in (0, levels):
        raise UserError(_unknown(outputs, name))
    boxes, scores, points = [], [], []
    for level in range(levels):
        stride = FIRST_STRIDE * 2**level
        score = maps[SCORE][level][:, 0]
        places = _places(size, stride, len(score))
        if places is None or len(maps[BOX][level]) != len(score):
            raise UserError(_unknown(outputs, name))
        kept = score >= minimum_score
        at, sides = places[kept], maps[BOX][level][kept] * stride
        boxes.append(torch.cat([at - sides[:, :2], at + sides[:, 2:]], 1))
        scores.append(score[kept])
        if maps[POINTS]:
            points.append(at[:, None] + maps[POINTS][level][kept].view(-1, 5, 2) * stride)
    return torch.cat(boxes), torch.cat(scores), torch.cat(points) if points else None


def merged(boxes: Tensor, scores: Tensor) -> list[int]:
    """Rows of [N, 4] boxes that stay when each, best score first, has taken away those that overlap it too much."""
    order = scores.argsort(descending=True, stable=True)[:CANDIDATES]
    ordered = boxes[order]
    area = (ordered[:, 2:] - ordered[:, :2]).clamp(min=0).prod(1)
    low = torch.maximum(ordered[:, None, :2], ordered[None, :, :2])
    high = torch.minimum(ordered[:, None, 2:], ordered[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(2)
    overlaps = shared > OVERLAP * (area[:, None] + area - shared)
    kept: list[int] = []
    gone = torch.zeros(len(order), dtype=torch.bool)
    for row in range(len(order)):
        if not gone[row]:
            kept.append(int(order[row]))
            gone |= overlaps[row]
    return kept


def _searched(picture: Tensor, network: Network, size: tuple[int, int], minimum_score: float) -> list[Found]:
    """One look at a picture [3, H, W], fitted into the top left corner of `size`."""
    height, width = picture.shape[1:]
    scale = min(size[0] / height, size[1] / width)
    inner = max(int(height * scale), 1), max(int(width * scale), 1)
    shrunk = functional.interpolate(picture[None].float().cpu(), inner, mode="bilinear", antialias=scale < 1)
    padded = functional.pad(shrunk, (0, size[1] - inner[1], 0, size[0] - inner[0]))
    outputs = network.run(((padded * 255 - MEAN) / SCALE).numpy())
    boxes, scores, points = decode(outputs, size, minimum_score, network.name)
    ratio = torch.tensor([width / inner[1], height / inner[0]])
    return [
        Found(
            boxes[row] * ratio.repeat(2) + CENTRE,
            min(float(scores[row]), 1.0),
            None if points is None else points[row] * ratio + CENTRE,
        )
        for row in merged(boxes, scores)
    ]


def _by_size(outputs: Sequence[np.ndarray], width: int) -> list[Tensor]:
    """Those outputs with `width` numbers a place, [N, width], the largest first."""
    flat = [output[0] if output.ndim == 3 and len(output) == 1 else output for output in outputs]
    chosen = [each for each in flat if each.ndim == 2 and each.shape[1] == width]
    return sorted((torch.from_numpy(np.array(each, np.float32)) for each in chosen), key=len, reverse=True)


def _places(size: tuple[int, int], stride: int, count: int) -> Tensor | None:
    """[count, 2] x and y of a map's places, row by row, each as often as it has anchors; None for a wrong count."""
    rows, columns = size[0] // stride, size[1] // stride
    anchors = next((anchors for anchors in ANCHORS if count == rows * columns * anchors > 0), None)
    if anchors is None:
        return None
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    places = torch.stack([x, y], 2).view(-1, 2) * float(stride)
    return places.repeat_interleave(anchors, 0)


def _unknown(outputs: Sequence[np.ndarray], name: str) -> str:
    shapes = ", ".join(str(list(output.shape)) for output in outputs)
    return (
        f"'{name}' is no SCRFD face detector: it gives {shapes}; expected scores [N, 1], boxes [N, 4] and perhaps "
        "points [N, 10] for each of its maps. Take det_10g.onnx, det_2.5g.onnx or det_500m.onnx of insightface."
    )
