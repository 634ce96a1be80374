"""ResNet of bottleneck blocks without its classifier, under torchvision's names.

Source: He et al. 2016, "Deep residual learning for image recognition", in the variant whose stride sits on the 3 × 3
convolution (torchvision, models/resnet.py).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

RESNET50 = (3, 4, 6, 3)
STEM, EXPANSION = 64, 4
"""Channels after the first convolution; a block's outputs by its inner width."""


class Bottleneck(nn.Module):
    """1 × 1 down, 3 × 3, 1 × 1 up, added to the input, which a 1 × 1 convolution fits where shapes differ."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * EXPANSION
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """[B, 3, H, W] -> features [B, 2048, H/32, W/32]; pooling is left to its user."""

    def __init__(self, blocks: tuple[int, int, int, int] = RESNET50) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, STEM, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)
        inputs = STEM
        for number, count in enumerate(blocks):
            width = STEM << number
            stage = [Bottleneck(inputs, width, 1 if number == 0 else 2)]
            inputs = width * EXPANSION
            stage += [Bottleneck(inputs, width, 1) for _ in range(count - 1)]
            self.add_module(f"layer{number + 1}", nn.Sequential(*stage))
        self.channels = inputs

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))
