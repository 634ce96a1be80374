"""StyleGAN2's discriminator, which StyleGAN3 and StyleGAN-Human train against as well.

Source: stylegan2-ada-pytorch, `training/networks.py`; parameter names and options are the authors'.
"""

from __future__ import annotations

import math
from collections.abc import Mapping as MappingOf
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from .layers import DEFAULT_FILTER, Convolution, FullyConnected, Mapping, MappingOptions
from .recover import Known, load_strictly
from .resampling import downsample2d, setup_filter
from .stylegan2 import ARCHITECTURES, recover_mapping

ADA_DEFAULTS = {"architecture": "resnet", "conv_clamp": None, "num_fp16_res": 0, "activation": "lrelu", "group_size": 4}
"""stylegan2-ada-pytorch, training/networks.py; what weights cannot tell, or not always."""
STYLEGAN3_REPOSITORY_DEFAULTS = {"conv_clamp": 256, "num_fp16_res": 4}
"""stylegan3, training/networks_stylegan2.py. Its arguments look alike, so a caller that knows the origin adds these."""

DEVIATION_EPSILON = 1e-8
"""Added to the variance of a group of pictures (MinibatchStdLayer)."""


@dataclass(frozen=True)
class DiscriminatorOptions:
    """Everything that defines the discriminator but its weights.

    channels: features of every resolution 4, 8, …; end: (H, W) of the features that the epilogue flattens.
    group_size: pictures whose standard deviation is shown to the epilogue, None for the whole batch.
    deviation_channels: features that it adds. mapping: of the label (z_dim 0), None where unconditional.
    """

    channels: dict[int, int]
    mapping: MappingOptions | None = None
    img_channels: int = 3
    end: tuple[int, int] = (4, 4)
    architecture: str = "resnet"
    resample_filter: tuple[float, ...] = DEFAULT_FILTER
    kernel_size: int = 3
    conv_clamp: float | None = None
    num_fp16_res: int = 0
    activation: str = "lrelu"
    group_size: int | None = 4
    deviation_channels: int = 1

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise UserError(f"The architecture '{self.architecture}' is unknown; known are {', '.join(ARCHITECTURES)}.")

    @property
    def resolution(self) -> int:
        return max(self.channels)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the pictures it judges."""
        return self.end[0] * self.resolution // 4, self.end[1] * self.resolution // 4


class DiscriminatorBlock(nn.Module):
    """One resolution: two convolutions, the second of which halves the size."""

    def __init__(self, resolution: int, options: DiscriminatorOptions) -> None:
        super().__init__()
        inputs, outputs, kernel = options.channels[resolution], options.channels[resolution // 2], options.kernel_size
        taps = setup_filter(options.resample_filter)
        act, clamp = options.activation, options.conv_clamp
        self.architecture = options.architecture
        self.register_buffer("resample_filter", taps)
        if resolution == options.resolution or options.architecture == "skip":
            self.fromrgb = Convolution(options.img_channels, inputs, 1, act, clamp=clamp)
        self.conv0 = Convolution(inputs, inputs, kernel, act, clamp=clamp)
        self.conv1 = Convolution(inputs, outputs, kernel, act, down=2, taps=taps, clamp=clamp)
        if options.architecture == "resnet":
            self.skip = Convolution(inputs, outputs, 1, bias=False, down=2, taps=taps)

    def forward(self, x: Tensor | None, picture: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Features of the block before and the picture at this size -> both at half the size ('skip' halves it)."""
        if hasattr(self, "fromrgb"):
            seen = self.fromrgb(picture.to(dtype))
            x = seen if x is None else x.to(dtype) + seen
        x = x.to(dtype)
        if self.architecture == "skip":
            picture = downsample2d(picture, self.resample_filter)
        if self.architecture == "resnet":
            side = self.skip(x, gain=math.sqrt(0.5))
            return side + self.conv1(self.conv0(x), gain=math.sqrt(0.5)), picture
        return self.conv1(self.conv0(x)), picture


class Epilogue(nn.Module):
    """Features at 4×4 -> one score a picture, or features to compare with the label's."""

    def __init__(self, options: DiscriminatorOptions) -> None:
        super().__init__()
        channels, act = options.channels[4], options.activation
        self.group_size, self.deviation_channels = options.group_size, options.deviation_channels
        outputs = 1 if options.mapping is None else options.mapping.w_dim
        if options.architecture == "skip":
            self.fromrgb = Convolution(options.img_channels, channels, 1, act)
        self.conv = Convolution(
            channels + options.deviation_channels, channels, options.kernel_size, act, clamp=options.conv_clamp
        )
        self.fc = FullyConnected(channels * options.end[0] * options.end[1], channels, act)
        self.out = FullyConnected(channels, outputs)

    def forward(self, x: Tensor, picture: Tensor) -> Tensor:
        if hasattr(self, "fromrgb"):
            x = x + self.fromrgb(picture)
        if self.deviation_channels:
            x = torch.cat([x, minibatch_deviation(x, self.group_size, self.deviation_channels)], dim=1)
        return self.out(self.fc(self.conv(x).flatten(1)))


class Discriminator(nn.Module):
    """Pictures [N, img_channels, H, W] in −1…1, labels [N, c_dim] or None -> scores [N, 1], positive for real ones."""

    family = "StyleGAN2 discriminator"

    def __init__(self, options: DiscriminatorOptions, guessed: Sequence[str] = ()) -> None:
        super().__init__()
        self.options, self.guessed, self.size = options, tuple(guessed), options.size
        for resolution in sorted(options.channels, reverse=True):
            block = Epilogue(options) if resolution == 4 else DiscriminatorBlock(resolution, options)
            self.add_module(f"b{resolution}", block)
        if options.mapping is not None:
            self.mapping = Mapping(options.mapping, num_ws=None)

    def forward(self, picture: Tensor, c: Tensor | None = None, precision: torch.dtype | None = None) -> Tensor:
        """precision: float16 or bfloat16 for the resolutions meant for it; None is the weights' own throughout."""
        options, own = self.options, self.b4.fc.weight.dtype
        if picture.shape[1:] != (options.img_channels, *self.size):
            raise UserError(
                f"This discriminator judges pictures of the shape {[options.img_channels, *self.size]}; "
                f"got {list(picture.shape[1:])}."
            )
        half_from = max(options.resolution * 2 >> options.num_fp16_res, 8)
        x, picture = None, picture.to(own)
        for resolution in sorted(options.channels, reverse=True)[:-1]:
            half = precision is not None and resolution >= half_from
            x, picture = getattr(self, f"b{resolution}")(x, picture, precision if half else own)
        if x is None:
            raise UserError("A discriminator of 4×4 pictures has no layers to judge them with.")
        scores = self.b4(x.to(own), picture)
        if options.mapping is None:
            return scores
        label = self.mapping(None, c)
        return (scores * label).sum(dim=1, keepdim=True) / math.sqrt(label.shape[1])


def minibatch_deviation(x: Tensor, group_size: int | None, features: int) -> Tensor:
    """How much a group of pictures differs: [N, C, H, W] -> [N, features, H, W], constant over the pixels.

    Picture n belongs to group n mod (N / group_size). Source: Karras et al. 2018, section 3. UserError where the batch
    does not divide into groups.
    """
    n, c, h, w = x.shape
    group = min(group_size or n, n)
    if n % group:
        raise UserError(f"{n} pictures do not divide into groups of {group}, over which this discriminator compares.")
    y = x.reshape(group, n // group, features, c // features, h, w)
    y = (y - y.mean(dim=0)).square().mean(dim=0)
    y = (y + DEVIATION_EPSILON).sqrt().mean(dim=(2, 3, 4))
    return y.reshape(-1, features, 1, 1).repeat(group, 1, h, w)


def matches(tensors: MappingOf[str, Tensor]) -> bool:
    """The epilogue's three layers."""
    return {"b4.conv.weight", "b4.fc.weight", "b4.out.weight"} <= tensors.keys()


def from_tensors(tensors: MappingOf[str, Tensor], init: MappingOf[str, Any] | None = None) -> Discriminator:
    """The discriminator of an authors' state dict; strict. init: its constructor's arguments, as far as known."""
    options, guessed = recover(tensors, init or {})
    return load_strictly(lambda: Discriminator(options, guessed), tensors, "StyleGAN2 discriminator")


def recover(tensors: MappingOf[str, Tensor], init: MappingOf[str, Any]) -> tuple[DiscriminatorOptions, list[str]]:
    """Options from shapes and, where shapes are silent, from `init`; also what had to be guessed."""
    epilogue = dict(init.get("epilogue_kwargs", {}))
    named = {**init.get("block_kwargs", {}), **init}
    if "mbstd_group_size" in epilogue:
        named["group_size"] = epilogue["mbstd_group_size"]
    known = Known(named, ADA_DEFAULTS, certain=bool(init))

    suffix = ".conv0.weight"
    channels = {
        int(key[1 : -len(suffix)]): len(weight)
        for key, weight in tensors.items()
        if key.startswith("b") and key.endswith(suffix)
    }
    last = tensors["b4.conv.weight"]
    channels = dict(sorted({**channels, 4: len(last)}.items()))
    if list(channels) != [4 << i for i in range(len(channels))]:
        raise UserError(f"This discriminator is incomplete: it holds the resolutions {list(channels)} only.")
    if any(f"b{r}.skip.weight" in tensors for r in channels):
        architecture = "resnet"
    else:
        architecture = "skip" if "b4.fromrgb.weight" in tensors else "orig"

    first = tensors.get(f"b{max(channels)}.fromrgb.weight")
    mapping, unsure = None, []
    if "mapping.fc0.weight" in tensors:
        mapping, unsure = recover_mapping(tensors, "mapping.", init.get("mapping_kwargs", {}), bool(init), None)
    options = DiscriminatorOptions(
        channels=channels,
        mapping=mapping,
        img_channels=3 if first is None else first.shape[1],
        end=_final_size(tensors["b4.fc.weight"].shape[1] // len(last), init),
        architecture=architecture,
        kernel_size=last.shape[-1],
        conv_clamp=known["conv_clamp"],
        num_fp16_res=known["num_fp16_res"],
        activation=known["activation"],
        group_size=known["group_size"],
        deviation_channels=last.shape[1] - len(last),
    )
    return options, known.guessed + unsure


def _final_size(cells: int, init: MappingOf[str, Any]) -> tuple[int, int]:
    """(H, W) of the last features from their number: 4×4, or 4×2 for StyleGAN-Human's portraits."""
    if "end" in init:
        return tuple(init["end"])
    if cells % 4:
        raise UserError(f"This discriminator ends in {cells} cells, which is neither 4×4 nor 4×2.")
    return 4, cells // 4
