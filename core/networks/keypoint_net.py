"""A regressor that reads where things are: keypoints by soft argmax beside pooled maps, then a small perceptron.

Own design, for networks that are trained here. Shape is where features lie, to a fraction of a pixel, which maps that
are averaged over the picture (`core.networks.recon_net`) lose. Source of the parts: Levine et al. 2016, "End-to-end
training of deep visuomotor policies", section 5.2 (spatial softmax to expected coordinates); Lin et al. 2017, "Feature
pyramid networks" (keypoints see fine maps and coarse ones); `core.networks.resnet`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import UserError
from .recover import load_strictly
from .resnet import ResNet, ResNetOptions, recover_options

BACKBONE = "backbone."
FIELDS = 6
"""The coarsest maps are averaged into so many parts along each side: of pictures of 96² all that a trunk of three
stages has."""


@dataclass(frozen=True)
class KeypointNetOptions:
    """trunk: the ResNet. outputs: values a picture. keypoints: places that are found. narrow: channels to which the
    coarsest maps are brought before they are read. hidden: width of the perceptron.
    """

    trunk: ResNetOptions
    outputs: int
    keypoints: int = 128
    narrow: int = 64
    hidden: int = 512


class KeypointNet(nn.Module):
    """[B, 3, H, W] RGB 0…1, not normalised -> [B, outputs]; 0 before training."""

    def __init__(self, options: KeypointNetOptions) -> None:
        super().__init__()
        self.options = options
        self.backbone = ResNet(options.trunk)
        stages = [options.trunk.outputs << number for number in range(len(options.trunk.blocks))]
        self.keypoints = nn.ModuleList(nn.Conv2d(channels, options.keypoints, 1) for channels in stages)
        self.places = nn.BatchNorm1d(2 * options.keypoints, affine=False)
        self.narrow = nn.Conv2d(stages[-1], options.narrow, 1)
        seen = 2 * options.keypoints + options.narrow * FIELDS**2
        self.hidden = nn.Linear(seen, options.hidden)
        self.answers = nn.Linear(seen + options.hidden, options.outputs)
        nn.init.zeros_(self.answers.weight)
        nn.init.zeros_(self.answers.bias)

    @property
    def outputs(self) -> int:
        """Values a picture."""
        return self.options.outputs

    def forward(self, pictures: Tensor) -> Tensor:
        if pictures.dim() != 4 or pictures.shape[1] != 3:
            raise UserError(f"The regressor takes pictures [B, 3, H, W]; got {list(pictures.shape)}.")
        stages = self.backbone.stages(pictures)
        score = self.keypoints[-1](stages[-1])
        for layer, maps in zip(reversed(self.keypoints[:-1]), reversed(stages[:-1]), strict=True):
            score = layer(maps) + functional.interpolate(score, maps.shape[2:], mode="bilinear")
        parts = functional.adaptive_avg_pool2d(self.narrow(stages[-1]), FIELDS)
        with torch.autocast(pictures.device.type, enabled=False):  # hundredths of a pixel are lost in half precision
            seen = torch.cat([self.places(soft_argmax(score)), _exact(parts).flatten(1)], 1)
            return self.answers(torch.cat([seen, functional.relu(self.hidden(seen))], 1))

    def describe(self) -> str:
        """One line: what was recognised."""
        trunk = self.options.trunk
        return (
            f"ResNet-{trunk.depth}, {trunk.stem} channels wide, {self.options.keypoints} keypoints, "
            f"{self.outputs} values a face"
        )


def soft_argmax(score: Tensor) -> Tensor:
    """[B, K, H, W] -> [B, 2 K]: the mean places x, then y, under the softmax of each map; -1…1 from edge to edge, in
    single precision at least.
    """
    chance = _exact(score).flatten(2).softmax(2).view(score.shape)
    x, y = ((torch.arange(size, device=score.device) * 2 + 1) / size - 1 for size in (score.shape[3], score.shape[2]))
    return torch.cat([(chance.sum(2) * x).sum(2), (chance.sum(3) * y).sum(2)], 1)


def _exact(values: Tensor) -> Tensor:
    """In single precision at least."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def from_tensors(tensors: Mapping[str, Tensor]) -> KeypointNet:
    """Widths and depth are read off the shapes; strict. UserError where the file is not whole."""
    try:
        trunk = recover_options({key[len(BACKBONE) :]: t for key, t in tensors.items() if key.startswith(BACKBONE)})
        hidden, answers = tensors["hidden.weight"].shape[0], tensors["answers.weight"].shape[0]
        keypoints, narrow = tensors["places.running_mean"].shape[0] // 2, tensors["narrow.weight"].shape[0]
    except (LookupError, ValueError, ZeroDivisionError) as error:
        raise UserError(
            f"This file does not hold a complete face regressor: {error} is missing or empty. Train it again."
        ) from error
    options = KeypointNetOptions(trunk, answers, keypoints, narrow, hidden)
    return load_strictly(lambda: KeypointNet(options), tensors, "face regressor")
