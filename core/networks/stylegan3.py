"""StyleGAN3's generator, configurations T and R, and StyleGAN-Human's portrait version of it.

Source: Karras et al. 2021, "Alias-free generative adversarial networks"; parameter names and options are those of
stylegan3, `training/networks_stylegan3.py`. Frequencies are in cycles a picture height, sampling rates in samples.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping as MappingOf
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from .layers import FullyConnected, Mapping, MappingOptions
from .operators import filtered_lrelu, modulated_conv2d
from .recover import Known, load_strictly
from .resampling import fast_layout, low_pass
from .stylegan2 import Noise, recover_mapping

DEFAULTS = {
    "num_critical": 2,
    "first_cutoff": 2,
    "first_stopband": 2**2.1,
    "last_stopband_rel": 2**0.3,
    "margin_size": 10,
    "output_scale": 0.25,
    "num_fp16_res": 4,
    "filter_size": 6,
    "lrelu_upsampling": 2,
    "conv_clamp": 256,
    "magnitude_ema_beta": 0.999,
}
"""training/networks_stylegan3.py; the options that weights do not tell."""

MAPPING_W_AVG_BETA = 0.998

_LAYER_KEY = re.compile(r"synthesis\.(L(\d+)_(\d+)_(\d+))\.weight")


@dataclass(frozen=True)
class StyleGan3Options:
    """Everything that defines the generator but its weights; names and meaning are the authors'.

    resolution: height of the picture. portrait: width is half the height, in every layer. channels: features of every
    layer, the picture last. Frequencies grow geometrically from `first_*` to the last layer's; the `num_critical` last
    layers are critically sampled. margin_size: samples kept around every layer's square.
    """

    resolution: int
    channels: tuple[int, ...]
    mapping: MappingOptions = field(default_factory=lambda: MappingOptions(num_layers=2, w_avg_beta=MAPPING_W_AVG_BETA))
    portrait: bool = False
    num_critical: int = 2
    first_cutoff: float = 2
    first_stopband: float = 2**2.1
    last_stopband_rel: float = 2**0.3
    margin_size: int = 10
    output_scale: float = 0.25
    num_fp16_res: int = 4
    conv_kernel: int = 3
    filter_size: int = 6
    lrelu_upsampling: int = 2
    use_radial_filters: bool = False
    conv_clamp: float | None = 256
    magnitude_ema_beta: float = 0.999

    @property
    def num_layers(self) -> int:
        return len(self.channels) - 1

    @property
    def num_ws(self) -> int:
        return len(self.channels) + 1

    @property
    def img_channels(self) -> int:
        return self.channels[-1]

    def as_init(self) -> dict[str, Any]:
        """What `from_tensors` needs beside the weights, in the authors' words; JSON can hold it."""
        mapping = {name: getattr(self.mapping, name) for name in ("activation", "lr_multiplier", "w_avg_beta")}
        return {
            "mapping_kwargs": mapping,
            "img_resolution": self.resolution,
            "square": not self.portrait,
            **{name: getattr(self, name) for name in DEFAULTS},
        }


@dataclass(frozen=True)
class Band:
    """One layer's place in the pyramid: features, (W, H) in samples, sampling rate, cutoff, half transition width."""

    channels: int
    size: tuple[int, int]
    rate: int
    cutoff: float
    half_width: float
    critical: bool

    def name(self, index: int) -> str:
        """The authors' name of layer `index`."""
        return f"L{index}_{self.size[0]}_{self.channels}"


def bands(options: StyleGan3Options) -> list[Band]:
    """The pyramid, one band a layer, the picture last (section 3.2 of the paper)."""
    resolution, last = options.resolution, options.num_layers
    last_cutoff = resolution / 2
    last_stopband = last_cutoff * options.last_stopband_rel
    result = []
    for i, channels in enumerate(options.channels):
        exponent = min(i / (last - options.num_critical), 1.0) if last > options.num_critical else 1.0
        cutoff = options.first_cutoff * (last_cutoff / options.first_cutoff) ** exponent
        stopband = options.first_stopband * (last_stopband / options.first_stopband) ** exponent
        rate = 2 ** math.ceil(math.log2(min(stopband * 2, resolution)))
        height = resolution if i >= last - 1 else rate + 2 * options.margin_size
        width = height // 2 if options.portrait else height
        half_width = max(stopband, rate / 2) - cutoff
        result.append(Band(channels, (width, height), rate, cutoff, half_width, i >= last - options.num_critical))
    return result


class SynthesisInput(nn.Module):
    """w [N, w_dim] -> Fourier features [N, C, H, W], rotated and shifted as w and the buffer `transform` say.

    transform: [3, 3], the inverse of what should happen to the picture; lengths in picture heights, origin in the
    middle.
    """

    def __init__(self, band: Band, w_dim: int) -> None:
        super().__init__()
        self.size, self.rate, self.bandwidth = band.size, band.rate, band.cutoff
        channels = band.channels
        direction = torch.randn(channels, 2)
        radius = direction.norm(dim=1, keepdim=True)
        self.affine = FullyConnected(w_dim, 4)
        self.weight = nn.Parameter(torch.randn(channels, channels))
        self.register_buffer("transform", torch.eye(3))
        # an almost uniform density inside the circle of the bandwidth (networks_stylegan3.py, SynthesisInput)
        self.register_buffer("freqs", direction / (radius * radius.square().exp() ** 0.25) * self.bandwidth)
        self.register_buffer("phases", torch.rand(channels) - 0.5)
        with torch.no_grad():
            self.affine.weight.zero_()
            self.affine.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))

    def forward(self, w: Tensor) -> Tensor:
        motion = self.affine(w)
        motion = motion / motion[:, :2].norm(dim=1, keepdim=True)
        cos, sin, x, y = motion.unbind(1)
        zero, one = torch.zeros_like(cos), torch.ones_like(cos)
        turn = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], dim=1).reshape(-1, 3, 3)
        shift = torch.stack([one, zero, -x, zero, one, -y, zero, zero, one], dim=1).reshape(-1, 3, 3)
        matrix = turn @ shift @ self.transform
        phases = self.phases + (self.freqs @ matrix[:, :2, 2:]).squeeze(2)
        freqs = self.freqs @ matrix[:, :2, :2]
        fade = (freqs.norm(dim=2) - self.bandwidth) / (self.rate / 2 - self.bandwidth)
        amplitudes = (1 - fade).clamp(0, 1)
        columns, rows = (self._positions(length, w) for length in self.size)
        along = columns[None, None, :, None] * freqs[:, None, None, :, 0]
        waves = along + rows[None, :, None, None] * freqs[:, None, None, :, 1] + phases[:, None, None, :]
        features = torch.sin(waves * (2 * math.pi)) * amplitudes[:, None, None, :]
        return (features @ (self.weight / math.sqrt(len(self.weight))).t()).permute(0, 3, 1, 2)

    def _positions(self, length: int, like: Tensor) -> Tensor:
        """Sample centres along one axis, 0 in the middle, in picture heights."""
        return (torch.arange(length, device=like.device, dtype=like.dtype) + 0.5 - length / 2) / self.rate


class SynthesisLayer(nn.Module):
    """A modulated convolution and a band-limited leaky ReLU; the layer `to_rgb` is 1×1 and linear instead."""

    def __init__(self, before: Band, band: Band, options: StyleGan3Options, to_rgb: bool) -> None:
        super().__init__()
        self.to_rgb, self.clamp, self.decay = to_rgb, options.conv_clamp, options.magnitude_ema_beta
        self.half = band.rate * 2**options.num_fp16_res > options.resolution
        kernel = 1 if to_rgb else options.conv_kernel
        self.affine = FullyConnected(options.mapping.w_dim, before.channels, bias=1.0)
        self.weight = nn.Parameter(torch.randn(band.channels, before.channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(band.channels))
        self.register_buffer("magnitude_ema", torch.ones([]))

        rate = max(before.rate, band.rate) * (1 if to_rgb else options.lrelu_upsampling)
        self.up, self.down = rate // before.rate, rate // band.rate
        up_taps = options.filter_size * self.up if self.up > 1 and not to_rgb else 1
        down_taps = options.filter_size * self.down if self.down > 1 and not to_rgb else 1
        radial = options.use_radial_filters and not band.critical
        self.register_buffer("up_filter", low_pass(up_taps, before.cutoff, before.half_width * 2, rate))
        self.register_buffer("down_filter", low_pass(down_taps, band.cutoff, band.half_width * 2, rate, radial))
        self.padding = [
            pad
            for size_in, size_out in zip(before.size, band.size, strict=True)
            for pad in _split_padding(
                (size_out - 1) * self.down + 1 - (size_in + kernel - 1) * self.up + up_taps + down_taps - 2, self.up
            )
        ]

    def forward(self, x: Tensor, w: Tensor, update_magnitude: bool = False) -> Tensor:
        """x: [N, I, h, w], w: [N, w_dim] -> [N, O, H, W] of the same type.

        update_magnitude moves the running mean of x², by which the input is normalised, in place, as training does.
        """
        if update_magnitude:
            with torch.no_grad():
                power = x.detach().float().square().mean()
                self.magnitude_ema.copy_(torch.lerp(power.to(self.magnitude_ema), self.magnitude_ema, self.decay))
        input_gain = self.magnitude_ema.rsqrt()
        weight, styles = self.weight, self.affine(w)
        kernel = weight.shape[-1]
        if self.to_rgb:
            styles = styles * (input_gain / math.sqrt(weight[0].numel()))
        else:
            weight = weight * weight.square().mean(dim=(1, 2, 3), keepdim=True).rsqrt()
            styles = styles * styles.square().mean().rsqrt()
        y, scale = modulated_conv2d(
            fast_layout(x),
            weight,
            styles,
            demodulate=not self.to_rgb,
            padding=kernel - 1,
            gain=None if self.to_rgb else input_gain,
        )
        gain, slope = (1.0, 1.0) if self.to_rgb else (math.sqrt(2), 0.2)
        return filtered_lrelu(
            y,
            self.up_filter,
            self.down_filter,
            self.bias,
            self.up,
            self.down,
            self.padding,
            gain,
            slope,
            self.clamp,
            scale=scale,
        )


class Synthesis(nn.Module):
    """ws [N, num_ws, w_dim] -> picture [N, C, H, W], nominally −1…1 and not clamped."""

    def __init__(self, options: StyleGan3Options) -> None:
        super().__init__()
        self.options = options
        pyramid = bands(options)
        self.input = SynthesisInput(pyramid[0], options.mapping.w_dim)
        self.layer_names = [band.name(i) for i, band in enumerate(pyramid)]
        for i, (name, band) in enumerate(zip(self.layer_names, pyramid, strict=True)):
            self.add_module(name, SynthesisLayer(pyramid[max(i - 1, 0)], band, options, to_rgb=i == options.num_layers))

    def forward(
        self,
        ws: Tensor,
        noise_mode: str = "const",
        noise: Sequence[Tensor] | None = None,
        seed: torch.Generator | None = None,
        precision: torch.dtype | None = None,
        update_magnitudes: bool = False,
    ) -> Tensor:
        """The noise arguments are those of StyleGAN2 and change nothing here: this network has no noise.

        precision: float16 or bfloat16 for the layers meant for it; None is the weights' own throughout.
        """
        Noise(noise_mode, noise, seed)
        options, own = self.options, self.input.weight.dtype
        if ws.dim() != 3 or ws.shape[1:] != (options.num_ws, options.mapping.w_dim):
            raise UserError(
                f"This generator needs ws of the shape [N, {options.num_ws}, {options.mapping.w_dim}]; "
                f"got {list(ws.shape)}."
            )
        ws = ws.to(own)
        x = self.input(ws[:, 0])
        for i, name in enumerate(self.layer_names):
            layer = getattr(self, name)
            x = layer(x.to(precision if precision is not None and layer.half else own), ws[:, i + 1], update_magnitudes)
        return (x.to(own) * options.output_scale).contiguous()

    def style_weights(self) -> list[Tensor]:
        """What reads each of the num_ws codes, [O, w_dim]: the Fourier features', then every layer's."""
        return [layer.affine.weight for layer in (self.input, *(getattr(self, name) for name in self.layer_names))]

    def noise_layers(self) -> list[nn.Module]:
        """None: StyleGAN3 takes no noise."""
        return []


class StyleGan3(nn.Module):
    """z [N, z_dim] -> picture [N, C, H, W]; `mapping` and `synthesis` are the halves.

    guessed: options that neither the weights nor the file told, as 'name = value'.
    """

    family = "StyleGAN3"

    def __init__(self, options: StyleGan3Options, guessed: Sequence[str] = ()) -> None:
        super().__init__()
        self.options, self.guessed = options, tuple(guessed)
        self.num_ws = options.num_ws
        self.size = (options.resolution, options.resolution // 2 if options.portrait else options.resolution)
        self.mapping = Mapping(options.mapping, options.num_ws)
        self.synthesis = Synthesis(options)

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        **synthesis: Any,
    ) -> Tensor:
        return self.synthesis(self.mapping(z, c, truncation_psi, truncation_cutoff), **synthesis)

    def facts(self) -> list[str]:
        """What was recognised, a short phrase each."""
        o = self.options
        kind = "R (rotation equivariant)" if o.use_radial_filters else "T (translation equivariant)"
        return [
            f"configuration {kind}",
            f"{o.num_layers} layers",
            f"{max(o.channels)} to {min(o.channels[:-1])} channels",
        ]


def matches(tensors: MappingOf[str, Tensor]) -> bool:
    """Fourier features instead of a learned constant."""
    return {"synthesis.input.freqs", "mapping.fc0.weight"} <= tensors.keys()


def from_tensors(tensors: MappingOf[str, Tensor], init: MappingOf[str, Any] | None = None) -> StyleGan3:
    """The generator of an authors' state dict; strict. init: its constructor's arguments, as far as they are known."""
    options, guessed = recover(tensors, init or {})
    return load_strictly(lambda: StyleGan3(options, guessed), tensors, "StyleGAN3 generator")


def recover(tensors: MappingOf[str, Tensor], init: MappingOf[str, Any]) -> tuple[StyleGan3Options, list[str]]:
    """Options from names, shapes and, where these are silent, from `init`; also what had to be guessed."""
    known = Known(init, DEFAULTS, certain=bool(init))
    layers = sorted(
        (int(found[2]), int(found[3]), int(found[4]), found[1])
        for key in tensors
        if (found := _LAYER_KEY.fullmatch(key))
    )
    if [layer[0] for layer in layers] != list(range(len(layers))) or len(layers) < 3:
        raise UserError(
            f"This StyleGAN3 generator is incomplete: it holds the layers "
            f"{', '.join(layer[3] for layer in layers) or 'none'}. Use the file as its authors published it."
        )
    mapping, unsure = recover_mapping(
        tensors, "mapping.", init.get("mapping_kwargs", {}), bool(init), MAPPING_W_AVG_BETA
    )
    first = tensors[f"synthesis.{layers[0][3]}.weight"]
    width = layers[-1][1]
    shared = {
        "channels": tuple(layer[2] for layer in layers),
        "mapping": mapping,
        "conv_kernel": first.shape[-1],
        "use_radial_filters": any(t.dim() == 2 for key, t in tensors.items() if key.endswith(".down_filter")),
        **{name: known[name] for name in DEFAULTS},
    }
    portraits = [not init["square"]] if "square" in init else [False, True]
    candidates = [
        StyleGan3Options(resolution=width * (1 + portrait), portrait=portrait, **shared) for portrait in portraits
    ]
    names = [layer[3] for layer in layers]
    for options in candidates:
        if [band.name(i) for i, band in enumerate(bands(options))] == names:
            return options, known.guessed + unsure
    planned = ", ".join(band.name(i) for i, band in enumerate(bands(candidates[0])))
    raise UserError(
        f"This StyleGAN3 generator's layers are {', '.join(names)}; its options give {planned}. The file must "
        "carry the arguments it was trained with, as the authors' .pkl does."
    )


def _split_padding(total: int, up: int) -> tuple[int, int]:
    """(before, after) of a total on the upsampled grid, which starts half an input sample early; may be negative."""
    before = (total + up) // 2
    return before, total - before
