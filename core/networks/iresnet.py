"""ArcFace's residual network: an aligned face to an embedding whose direction tells who it is.

Source: Deng et al. 2019, "ArcFace: additive angular margin loss for deep face recognition"; deepinsight/insightface,
recognition/arcface_torch/backbones/iresnet.py, whose names the weights carry. A block is that of Han et al. 2017,
"Deep pyramidal residual networks": a batch norm first, none of the activations after the sum, and the stride in the
second convolution.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from .recover import load_strictly

STAGES = 4
SHRINKING = 2**STAGES
"""Every stage halves the picture, rounding up."""
DEPTHS = {
    "r18": (2, 2, 2, 2),
    "r34": (3, 4, 6, 3),
    "r50": (3, 4, 14, 3),
    "r100": (3, 13, 30, 3),
    "r200": (6, 26, 60, 6),
}
"""Blocks of each stage in the published networks (iresnet.py). Their 50 is not torchvision's."""
WIDTHS = (64, 128, 256, 512)
EMBEDDING, SIDE = 512, 112
"""Values of an embedding and pixels of a picture's side, as published."""
EPSILON, MOMENTUM = 1e-5, 0.1
"""Of every batch norm; momentum is torch's own default, which upstream keeps."""
START_SPREAD = 0.1
"""Standard deviation of a fresh convolution's weights (iresnet.py, `IResNet.__init__`)."""
COUNTER = "num_batches_tracked"
"""What torch adds to every batch norm and other writers leave out."""


@dataclass(frozen=True)
class IResNetOptions:
    """Sizes of the network. depths, widths: blocks and channels of the four stages; the stem has `widths[0]`.

    side: of the square pictures, pixels. dropout: share of the last maps' values dropped in training.
    """

    depths: tuple[int, ...] = DEPTHS["r50"]
    widths: tuple[int, ...] = WIDTHS
    embedding: int = EMBEDDING
    side: int = SIDE
    dropout: float = 0.0

    @property
    def last_side(self) -> int:
        """Side of the last maps."""
        return -(-self.side // SHRINKING)

    @property
    def name(self) -> str:
        """`r50` where the blocks are those of a published network, else their numbers."""
        published = {depths: name for name, depths in DEPTHS.items()}
        return published.get(self.depths, "r(" + "-".join(map(str, self.depths)) + ")")


class Block(nn.Module):
    """Norm, 3 × 3, norm, PReLU, 3 × 3 with the stride, norm; added to the input, which a 1 × 1 fits where needed."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = _norm(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = _norm(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False)
        self.bn3 = _norm(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), _norm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.after_norm(x, self.bn1(x))

    def after_norm(self, x: Tensor, normed: Tensor) -> Tensor:
        """The rest, where `normed` is `bn1(x)`."""
        y = self.prelu(self.bn2(self.conv1(normed)))
        y = self.bn3(self.conv2(y))
        return y + (x if self.downsample is None else self.downsample(x))


class IResNet(nn.Module):
    """Pictures [B, 3, side, side] RGB −1…1 -> embeddings [B, embedding], not normalised.

    A fresh one draws its weights from torch's generator and is in training mode.
    """

    def __init__(self, options: IResNetOptions | None = None) -> None:
        super().__init__()
        self.options = options = options or IResNetOptions()
        first, last = options.widths[0], options.widths[-1]
        self.conv1 = nn.Conv2d(3, first, 3, 1, 1, bias=False)
        self.bn1 = _norm(first)
        self.prelu = nn.PReLU(first)
        channels = pairwise((first, *options.widths))
        for number, ((inputs, outputs), depth) in enumerate(zip(channels, options.depths, strict=True), start=1):
            blocks = [Block(inputs, outputs, 2), *(Block(outputs, outputs, 1) for _ in range(depth - 1))]
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
        self.bn2 = _norm(last)
        self.dropout = nn.Dropout(options.dropout)
        self.fc = nn.Linear(last * options.last_side**2, options.embedding)
        self.features = nn.BatchNorm1d(options.embedding, EPSILON, MOMENTUM)
        self.features.weight.requires_grad_(False)  # upstream holds it at 1: lengths do not count
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, START_SPREAD)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(self.maps(pictures)[-1])

    def maps(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What a content loss compares: the first norms of stages 2, 3 and 4, and the last norm.

        For the published sizes [B, 64, 56, 56], [B, 128, 28, 28], [B, 256, 14, 14] and [B, 512, 7, 7]. `head` of the
        last is the embedding. Source: OSTeC (by GANFit's author), external/arcface50.py.
        """
        x = self.layer1(self.prelu(self.bn1(self.conv1(pictures))))
        found = []
        for stage in (self.layer2, self.layer3, self.layer4):
            found.append(stage[0].bn1(x))
            x = stage[1:](stage[0].after_norm(x, found[-1]))
        return (*found, self.bn2(x))

    def head(self, last: Tensor) -> Tensor:
        """The last of `maps` -> the embedding."""
        return self.features(self.fc(self.dropout(last.flatten(1))))

    def describe(self) -> str:
        """One line: what was recognised."""
        options = self.options
        widths = "-".join(map(str, options.widths))
        return (
            f"iresnet {options.name}, {widths} channels: pictures of {options.side} × {options.side} to embeddings of "
            f"{options.embedding}"
        )


def matches(tensors: Mapping[str, Tensor]) -> bool:
    """The keys of arcface_torch; torchvision's ResNet has neither PReLUs nor a last norm."""
    return {"conv1.weight", "layer1.0.prelu.weight", "layer4.0.bn3.weight", "fc.weight", "features.bias"} <= (
        tensors.keys()
    )


def from_tensors(tensors: Mapping[str, Tensor], init: Mapping[str, Any] | None = None) -> IResNet:
    """All sizes are read off the shapes; the counters that only torch writes may be missing. Frozen, evaluating."""
    widths = tuple(tensors[f"layer{stage}.0.bn3.weight"].shape[0] for stage in range(1, STAGES + 1))
    depths = tuple(len(_blocks(tensors, stage)) for stage in range(1, STAGES + 1))
    embedding, inputs = tensors["fc.weight"].shape
    side = SHRINKING * math.isqrt(inputs // widths[-1])
    options = IResNetOptions(depths, widths, embedding, side)
    norms = (key.removesuffix("running_var") for key in tensors if key.endswith("running_var"))
    counters = {norm + COUNTER: torch.tensor(0) for norm in norms}
    return load_strictly(lambda: IResNet(options), counters | dict(tensors), f"ArcFace network ({options.name})")


def _blocks(tensors: Mapping[str, Tensor], stage: int) -> set[str]:
    return {key.split(".")[1] for key in tensors if key.startswith(f"layer{stage}.")}


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, EPSILON, MOMENTUM)
