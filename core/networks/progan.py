"""The generator of progressive GANs: a latent's direction in, a picture out, doubled in size block by block.

Source: Karras et al. 2018, "Progressive growing of GANs for improved quality, stability, and variation"; the author's
`networks.py` (G_paper) for every constant. Parameter names are those of facebookresearch/pytorch_GAN_zoo
(`models/networks/progressive_conv_net.py`), whose biases are scaled like the weights; the author's TensorFlow variables
are brought into that form, with the same pictures.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import UserError
from .recover import load_strictly

START = 4
"""Side of the first picture."""
NORM_EPSILON = 1e-8
SLOPE = 0.2
"""Of the leaky rectifiers."""
DENSE_GAIN = math.sqrt(2) / START
"""The author's gain of the first layer, "to match the original Theano implementation"; other layers have √2."""
RGB_GAIN = 1.0

_DENSE = "formatLayer"
_ZOO = (f"{_DENSE}.weight", "groupScale0.0.weight", "toRGBLayers.0.weight")
_TENSORFLOW = ("4x4/Dense/weight", "4x4/Conv/weight", "ToRGB_lod0/weight")
_TF_LAYER = re.compile(r"(\d+)x\d+/(Dense|Conv|Conv0|Conv0_up|Conv1)/(weight|bias)")
_TF_RGB = re.compile(r"ToRGB_lod(\d+)/(weight|bias)")


@dataclass(frozen=True)
class ProGanOptions:
    """What defines the generator but its weights.

    latent: values of a latent. channels: features at 4, 8, 16 … pixels. colours: channels of a picture. lod: level of
    detail, 0 for a finished network; n + f stops n doublings early and takes the share f of the size before, as a
    network in the middle of its growth does.
    """

    latent: int
    channels: tuple[int, ...]
    colours: int = 3
    lod: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.lod <= len(self.channels) - 1:
            raise UserError(
                f"A progressive GAN of {len(self.channels)} sizes has levels of detail from 0 to "
                f"{len(self.channels) - 1}; got {self.lod:g}."
            )

    @property
    def resolution(self) -> int:
        """Side of the pictures in pixels."""
        return START << (len(self.channels) - 1)


def channel_table(resolution: int, base: int = 8192, limit: int = 512) -> tuple[int, ...]:
    """The paper's features at 4 … `resolution` pixels: 2 · base / side, at most `limit` (`fmap_base`, `fmap_max`)."""
    return tuple(min(2 * base // side, limit) for side in (START << i for i in range(int(math.log2(resolution)) - 1)))


class Scaled(nn.Module):
    """A dense layer (kernel 0) or a convolution with "equalised learning rate": (W ∗ x + b) · √2 / √fan in."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, *([kernel] * 2 if kernel else [])))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        scale = math.sqrt(2 / self.weight[0].numel())
        weight, bias = self.weight * scale, self.bias * scale
        if self.weight.dim() == 2:
            return functional.linear(x, weight, bias)
        return functional.conv2d(x, weight, bias, padding=self.weight.shape[-1] // 2)


class ProGan(nn.Module):
    """z [B, latent] -> pictures [B, colours, S, S], nominally −1…1 and not clamped.

    z is divided by its root mean square, so only its direction counts; a zero vector means nothing.
    """

    family = "progressive GAN"

    def __init__(self, options: ProGanOptions) -> None:
        super().__init__()
        self.options = options
        first, *later = options.channels
        self.formatLayer = Scaled(options.latent, first * START**2)
        self.groupScale0 = nn.ModuleList([Scaled(first, first, 3)])
        self.scaleLayers = nn.ModuleList(
            nn.ModuleList([Scaled(before, now, 3), Scaled(now, now, 3)])
            for before, now in zip(options.channels, later, strict=False)
        )
        self.toRGBLayers = nn.ModuleList(Scaled(width, options.colours, 1) for width in options.channels)

    @property
    def size(self) -> tuple[int, int]:
        return self.options.resolution, self.options.resolution

    def forward(self, z: Tensor, lod: float | None = None) -> Tensor:
        """lod: another level of detail than the network's own; coarser is faster."""
        if z.dim() != 2 or z.shape[1] != self.options.latent:
            raise UserError(
                f"This progressive GAN takes latents of the shape [pictures, {self.options.latent}]; "
                f"got {list(z.shape)}."
            )
        last = len(self.options.channels) - 1
        level = last - (self.options.lod if lod is None else lod)
        steps = math.ceil(level)
        x = _normed(functional.leaky_relu(self.formatLayer(_normed(z)), SLOPE).unflatten(1, (-1, START, START)))
        before = x = self._block(x, self.groupScale0)
        for block in self.scaleLayers[:steps]:
            before, x = x, self._block(_doubled(x), block)
        picture = self.toRGBLayers[steps](x)
        if steps > level:
            picture = torch.lerp(picture, _doubled(self.toRGBLayers[steps - 1](before)), steps - level)
        return _doubled(picture, 1 << (last - steps))

    def facts(self) -> list[str]:
        """What is worth telling beside the size."""
        told = ["channels " + " ".join(map(str, self.options.channels))]
        return told + ([f"still growing, level of detail {self.options.lod:g}"] if self.options.lod else [])

    @staticmethod
    def _block(x: Tensor, layers: Sequence[nn.Module]) -> Tensor:
        for layer in layers:
            x = _normed(functional.leaky_relu(layer(x), SLOPE))
        return x


def matches(tensors: Mapping[str, Tensor]) -> bool:
    """Either published layout."""
    return set(_ZOO) <= _zoo_names(tensors).keys() or set(_TENSORFLOW) <= tensors.keys()


def from_tensors(tensors: Mapping[str, Tensor], init: Mapping[str, Any] | None = None) -> ProGan:
    """Sizes are read off the shapes; strict. init: `lod` of a network that was still growing, 0 where it says nothing.

    UserError for variables that the paper's generator lacks.
    """
    if set(_TENSORFLOW) <= tensors.keys():
        lod = float(tensors["lod"]) if "lod" in tensors else 0.0
        own = _from_tensorflow(tensors)
    else:
        lod = float((init or {}).get("lod", 0.0))
        own = dict(_zoo_names(tensors))
    widths = [own["groupScale0.0.weight"].shape[0]]
    while (key := f"scaleLayers.{len(widths) - 1}.1.weight") in own:
        widths.append(own[key].shape[0])
    colours = own["toRGBLayers.0.weight"].shape[0]
    options = ProGanOptions(own["formatLayer.weight"].shape[1], tuple(widths), colours, lod)
    return load_strictly(lambda: ProGan(options), own, "progressive GAN generator")


def _normed(x: Tensor) -> Tensor:
    """Every pixel's features (or a latent's values) divided by their root mean square."""
    return x * (x.square().mean(1, keepdim=True) + NORM_EPSILON).rsqrt()


def _doubled(x: Tensor, times: int = 2) -> Tensor:
    return x if times == 1 else functional.interpolate(x, scale_factor=times, mode="nearest")


def _zoo_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """pytorch_GAN_zoo's names; some of its files have the wrapped layer, `module`, in them."""
    return {key.replace(".module.", "."): value for key, value in tensors.items()}


def _from_tensorflow(variables: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The author's variables under the names above, rescaled to biases that are scaled like the weights."""
    out: dict[str, Tensor] = {}
    sides = [int(found[1]) for key in variables if (found := _TF_LAYER.fullmatch(key))]
    top = int(math.log2(max(sides) // START))
    for key in variables:
        if found := _TF_LAYER.fullmatch(key):
            layer, gain = _place(int(found[1]), found[2])
        elif found := _TF_RGB.fullmatch(key):
            layer, gain = f"toRGBLayers.{top - int(found[1])}", RGB_GAIN
        elif key == "lod":
            continue
        else:
            raise UserError(f"This TensorFlow network has the variable '{key}', which the paper's generator lacks.")
        if key.endswith("bias"):
            continue
        weight = _kernel(variables[key], turned="Conv0_up" in key)
        theirs, ours = (g / math.sqrt(weight[0].numel()) for g in (gain, math.sqrt(2)))
        bias_key = key.removesuffix("weight") + "bias"
        if bias_key not in variables:
            raise UserError(f"This TensorFlow network has no '{bias_key}', so the file is not complete.")
        out[f"{layer}.weight"] = weight * (theirs / ours)
        bias = variables[bias_key].float() / ours
        out[f"{layer}.bias"] = bias.repeat_interleave(START**2) if layer == _DENSE else bias  # one a feature map
    return out


def _place(side: int, name: str) -> tuple[str, float]:
    """Our name of the author's layer, and its gain."""
    if name == "Dense":
        return _DENSE, DENSE_GAIN
    if name == "Conv":
        return "groupScale0.0", math.sqrt(2)
    return f"scaleLayers.{int(math.log2(side // START)) - 1}.{int(name == 'Conv1')}", math.sqrt(2)


def _kernel(weight: Tensor, turned: bool) -> Tensor:
    """[I, O] -> [O, I] and [k, k, I, O] -> [O, I, k, k].

    turned: the author's fused doubling is a transposed convolution, [k, k, O, I], whose kernel lies turned by half a
    circle.
    """
    weight = weight.float()
    if weight.dim() == 2:
        return weight.t().contiguous()
    if turned:
        return weight.flip([0, 1]).permute(2, 3, 0, 1).contiguous()
    return weight.permute(3, 2, 0, 1).contiguous()
