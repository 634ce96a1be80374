"""Tiny ONNX files of the shape of insightface's detectors: they find red patches, and mark every face alike."""

from __future__ import annotations

import onnx_bytes
import torch
from torch import Tensor

STRIDES, ANCHORS = (8, 16, 32), 2
SIDES = torch.tensor([2.0, 2.0, 2.5, 3.0])
"""How far a face's box reaches to the left, top, right and bottom of the patch, in strides."""
POINTS = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [0.0, 0.25], [-0.75, 1.0], [0.75, 1.0]])
"""Where its five points lie, in strides."""
STEEP = 12.0
"""Of the score over redness: half red is 0.5."""


def scrfd(*, points: bool = True, size: tuple[int, int] | None = None, batched: bool = False) -> bytes:
    """A face for every patch that is red and as large as a place of a map; both anchors see it alike."""
    nodes, tensors = [], {}
    names: dict[str, list[str]] = {"score": [], "bbox": [], "kps": []}

    def place(values: Tensor, stride: int, kind: str, x: str) -> None:
        """1 × 1 convolution, then one row a place and anchor."""
        weight = torch.zeros(ANCHORS * len(values), 3, 1, 1)
        if kind == "score":  # red is (1, −1, −1) inside the network
            weight[:, :, 0, 0] = STEEP * torch.tensor([1 / 3, -1 / 3, -1 / 3])
        tensors[f"{kind}_w{stride}"], tensors[f"{kind}_b{stride}"] = weight, values.repeat(ANCHORS)
        tensors[f"{kind}_s{stride}"] = torch.tensor([*([1] if batched else []), -1, len(values)])
        out = f"{kind}_{stride}"
        nodes.append(onnx_bytes.node("Conv", [x, f"{kind}_w{stride}", f"{kind}_b{stride}"], f"{out}.c"))
        nodes.append(onnx_bytes.node("Transpose", [f"{out}.c"], f"{out}.t", perm=[0, 2, 3, 1]))
        rows = f"{out}.r" if kind == "score" else out
        nodes.append(onnx_bytes.node("Reshape", [f"{out}.t", f"{kind}_s{stride}"], rows))
        if kind == "score":
            nodes.append(onnx_bytes.node("Sigmoid", [rows], out))
        names[kind].append(out)

    for stride in STRIDES:
        pooled = f"pooled{stride}"
        nodes.append(
            onnx_bytes.node("AveragePool", ["input.1"], pooled, kernel_shape=[stride] * 2, strides=[stride] * 2)
        )
        place(torch.tensor([-STEEP / 2]), stride, "score", pooled)
        place(SIDES, stride, "bbox", pooled)
        if points:
            place(POINTS.flatten(), stride, "kps", pooled)
    lead = (1,) if batched else ()
    widths = {"score": 1, "bbox": 4, "kps": 10}
    outputs = {name: (*lead, "n", widths[kind]) for kind, each in names.items() for name in each}
    return onnx_bytes.model(nodes, tensors, {"input.1": (1, 3, *(size or ("h", "w")))}, outputs)


def marker(answer: Tensor, side: int = 192) -> bytes:
    """[N] the same for every picture, but that each value grows by the picture's mean brightness, 0…255, by 1e-3."""
    nodes = [
        onnx_bytes.node("GlobalAveragePool", ["data"], "pooled"),
        onnx_bytes.node("Flatten", ["pooled"], "flat", axis=1),
        onnx_bytes.node("Gemm", ["flat", "weight", "bias"], "fc1"),
    ]
    tensors = {"weight": torch.full((3, len(answer)), 1e-3 / 3), "bias": answer}
    return onnx_bytes.model(nodes, tensors, {"data": ("n", 3, side, side)}, {"fc1": ("n", len(answer))})
