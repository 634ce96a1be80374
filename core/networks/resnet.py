"""ResNets without their classifier, under torchvision's names: of basic or bottleneck blocks, of any width and depth.

Source: He et al. 2016, "Deep residual learning for image recognition", in the variant whose stride sits on the 3 × 3
convolution; Xie et al. 2017, "Aggregated residual transformations" (groups); torchvision, models/resnet.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

RESNET18, RESNET34, RESNET50, RESNET101 = (2, 2, 2, 2), (3, 4, 6, 3), (3, 4, 6, 3), (3, 4, 23, 3)
"""Blocks a stage; 18 and 34 are of basic blocks, the others of bottlenecks."""
STEM, EXPANSION = 64, 4
"""Channels after the first convolution, and a bottleneck's outputs by its inner width, as published."""


@dataclass(frozen=True)
class ResNetOptions:
    """What a trunk is made of. The defaults are ResNet-50's.

    blocks: how many in each stage; every stage after the first halves the picture. bottleneck: 1 × 1, 3 × 3, 1 × 1
    instead of two 3 × 3. stem: channels after the first convolution. inner, outputs: channels within and after the
    blocks of the first stage (the same for basic blocks); each later stage has twice as many. groups: of a bottleneck's
    3 × 3 convolution.
    """

    blocks: tuple[int, ...] = RESNET50
    bottleneck: bool = True
    stem: int = STEM
    inner: int = STEM
    outputs: int = STEM * EXPANSION
    groups: int = 1

    @classmethod
    def basic(cls, blocks: tuple[int, ...] = RESNET18, width: int = STEM) -> ResNetOptions:
        """Basic blocks; `width` channels in the stem and the first stage."""
        return cls(blocks, bottleneck=False, stem=width, inner=width, outputs=width)

    @property
    def channels(self) -> int:
        """Channels of the last stage."""
        return self.outputs << (len(self.blocks) - 1)

    @property
    def depth(self) -> int:
        """The number in a ResNet's name: layers with weights, the missing classifier among them."""
        return (3 if self.bottleneck else 2) * sum(self.blocks) + 2


class Block(nn.Module, ABC):
    """What both kinds share: a residual on the input, which a 1 × 1 convolution fits where shapes differ."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    @abstractmethod
    def residual(self, x: Tensor) -> Tensor:
        """What is added to the input, [B, C, H, W] -> [B, C', H', W']."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.residual(x) + (x if self.downsample is None else self.downsample(x)))


class Basic(Block):
    """Two 3 × 3 convolutions."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(inputs, outputs, stride)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def residual(self, x: Tensor) -> Tensor:
        return self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))


class Bottleneck(Block):
    """1 × 1 down, 3 × 3, 1 × 1 up."""

    def __init__(self, inputs: int, inner: int, outputs: int, stride: int, groups: int) -> None:
        super().__init__(inputs, outputs, stride)
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)

    def residual(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        return self.bn3(self.conv3(y))


class ResNet(nn.Module):
    """[B, 3, H, W] -> features [B, channels, H/32, W/32] for four stages, 2048 channels for ResNet-50.

    Pooling is left to its user.
    """

    def __init__(self, options: ResNetOptions = ResNetOptions()) -> None:
        super().__init__()
        self.options = options
        self.conv1 = nn.Conv2d(3, options.stem, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(options.stem)
        inputs = options.stem
        for stage, count in enumerate(options.blocks):
            inner, outputs = options.inner << stage, options.outputs << stage
            blocks: list[Block] = []
            for number in range(count):
                stride = 2 if stage > 0 and number == 0 else 1
                if options.bottleneck:
                    blocks.append(Bottleneck(inputs, inner, outputs, stride, options.groups))
                else:
                    blocks.append(Basic(inputs, outputs, stride))
                inputs = outputs
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.channels = options.channels

    def stages(self, x: Tensor) -> list[Tensor]:
        """The maps after every stage, from H/4 on; the last are the features."""
        found = [functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)]
        for stage in range(len(self.options.blocks)):
            found.append(self.get_submodule(f"layer{stage + 1}")(found[-1]))
        return found[1:]

    def forward(self, x: Tensor) -> Tensor:
        return self.stages(x)[-1]


def recover_options(tensors: Mapping[str, Tensor]) -> ResNetOptions:
    """The options of a trunk from its state dict; KeyError where a first layer is missing."""
    stages: dict[str, set[str]] = {}
    for key in tensors:
        stage, _, rest = key.partition(".")
        if stage.startswith("layer"):
            stages.setdefault(stage, set()).add(rest.partition(".")[0])
    blocks = tuple(len(stages[f"layer{number + 1}"]) for number in range(len(stages)))
    bottleneck = "layer1.0.conv3.weight" in tensors
    middle = tensors["layer1.0.conv2.weight"]
    return ResNetOptions(
        blocks=blocks,
        bottleneck=bottleneck,
        stem=tensors["conv1.weight"].shape[0],
        inner=middle.shape[0],
        outputs=tensors["layer1.0.conv3.weight" if bottleneck else "layer1.0.conv2.weight"].shape[0],
        groups=middle.shape[0] // middle.shape[1] if bottleneck else 1,
    )
