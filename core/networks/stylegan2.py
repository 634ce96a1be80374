"""StyleGAN2's generator: skip, resnet and original architecture, conditional or not, square or not.

Source: Karras et al. 2020, "Analyzing and improving the image quality of StyleGAN"; parameter names and options are
those of stylegan2-ada-pytorch, `training/networks.py`. stylegan3's `networks_stylegan2.py` and StyleGAN-Human hold the
same network with other defaults and a start of 4×2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping as MappingOf
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from .layers import DEFAULT_FILTER, Convolution, FullyConnected, Mapping, MappingOptions
from .operators import DEMODULATION_EPSILON, activation, bias_act, modulated_conv2d
from .recover import Known, load_strictly
from .resampling import fast_layout, setup_filter, upsample2d

ARCHITECTURES = ("skip", "resnet", "orig")
NOISE_MODES = ("const", "none", "random")

ADA_DEFAULTS = {"architecture": "skip", "conv_clamp": None, "num_fp16_res": 0, "activation": "lrelu", "use_noise": True}
"""stylegan2-ada-pytorch, training/networks.py; the options that weights cannot tell, or not always."""
STYLEGAN3_REPOSITORY_DEFAULTS = {**ADA_DEFAULTS, "conv_clamp": 256, "num_fp16_res": 4}
"""stylegan3, training/networks_stylegan2.py, whose arguments are not nested."""
MAPPING_DEFAULTS = {"activation": "lrelu", "lr_multiplier": 0.01, "w_avg_beta": 0.995}

HALF_BLOCKS = 4
"""Resolutions that run in half precision where the file does not say: train.py's choice for every network it trains."""
HALF_CLAMP = 256.0
"""Largest activation in those blocks, likewise from train.py."""


@dataclass(frozen=True)
class StyleGan2Options:
    """Everything that defines the generator but its weights.

    channels: features of every resolution 4, 8, …; the last key is the resolution (the picture's height). start: (H, W)
    of the learned constant; (4, 2) makes portraits twice as high as wide. conv_clamp: largest absolute activation, or
    None. num_fp16_res: how many of the highest resolutions were meant for half precision. fan_in_demodulation: kernels
    are divided by √(fan in) before demodulation, as rosinality's and the TensorFlow code do; only its epsilon shows it.
    """

    channels: dict[int, int]
    mapping: MappingOptions = field(default_factory=MappingOptions)
    img_channels: int = 3
    start: tuple[int, int] = (4, 4)
    architecture: str = "skip"
    resample_filter: tuple[float, ...] = DEFAULT_FILTER
    kernel_size: int = 3
    conv_clamp: float | None = None
    num_fp16_res: int = 0
    activation: str = "lrelu"
    use_noise: bool = True
    fan_in_demodulation: bool = False

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise UserError(f"The architecture '{self.architecture}' is unknown; known are {', '.join(ARCHITECTURES)}.")

    @property
    def resolution(self) -> int:
        return max(self.channels)

    @property
    def num_ws(self) -> int:
        return 2 * len(self.channels)

    def size_at(self, resolution: int) -> tuple[int, int]:
        """(H, W) of the block called b{resolution}."""
        return self.start[0] * resolution // 4, self.start[1] * resolution // 4

    def as_init(self) -> dict[str, Any]:
        """What `from_tensors` needs beside the weights, in the authors' words; JSON can hold it."""
        return {
            "mapping_kwargs": {name: getattr(self.mapping, name) for name in MAPPING_DEFAULTS},
            "synthesis_kwargs": {name: getattr(self, name) for name in ADA_DEFAULTS},
            "fan_in_demodulation": self.fan_in_demodulation,
        }


def channel_table(resolution: int, base: int = 32768, limit: int = 512) -> dict[int, int]:
    """Features of every resolution by the authors' rule min(base / r, limit)."""
    return {4 << i: min(base // (4 << i), limit) for i in range(int(math.log2(resolution)) - 1)}


class Noise:
    """Where the synthesis layers take their noise from, layer by layer in the order of synthesis.

    mode: 'const' the stored noise, 'none', or 'random' from `seed` (on the seed's own device, so that a CPU generator
    gives the same picture everywhere). given: one [N or 1, 1, H, W] tensor a layer, which replaces the mode.
    """

    def __init__(
        self, mode: str = "const", given: Sequence[Tensor] | None = None, seed: torch.Generator | None = None
    ) -> None:
        if mode not in NOISE_MODES:
            raise UserError(f"The noise mode '{mode}' is unknown; known are {', '.join(NOISE_MODES)}.")
        self.mode, self.seed = mode, seed
        self.given = None if given is None else list(given)
        self.taken = 0

    def of(self, layer: SynthesisLayer, x: Tensor) -> Tensor | None:
        """Noise for `layer`'s output x [N, C, H, W], already times its strength."""
        if not layer.use_noise:
            return None
        if self.given is not None:
            if self.taken >= len(self.given):
                raise UserError(f"{len(self.given)} noise pictures were given, which is too few for this generator.")
            noise = self.given[self.taken].to(x.device)
            self.taken += 1
            if noise.shape[-2:] != x.shape[-2:]:
                raise UserError(
                    f"Noise picture {self.taken} is {list(noise.shape)}; this layer needs {list(x.shape[-2:])}."
                )
        elif self.mode == "none":
            return None
        elif self.mode == "random":
            device = x.device if self.seed is None else self.seed.device
            noise = torch.randn(len(x), 1, *x.shape[2:], generator=self.seed, device=device).to(x.device)
        else:
            noise = layer.noise_const
        return noise * layer.noise_strength


class SynthesisLayer(nn.Module):
    """A demodulated convolution with noise, bias and activation: [N, I, h, w], w [N, w_dim] -> [N, O, H, W]."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: tuple[int, int],
        options: StyleGan2Options,
        up: int = 1,
        taps: Tensor | None = None,
    ) -> None:
        super().__init__()
        kernel = options.kernel_size
        self.up, self.act, self.clamp, self.use_noise = up, options.activation, options.conv_clamp, options.use_noise
        self.gain = activation(self.act).gain
        self.epsilon = DEMODULATION_EPSILON * (inputs * kernel**2 if options.fan_in_demodulation else 1)
        self.affine = FullyConnected(options.mapping.w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("resample_filter", setup_filter(DEFAULT_FILTER) if taps is None else taps.clone())
        if options.use_noise:
            self.register_buffer("noise_const", torch.randn(size))
            self.noise_strength = nn.Parameter(torch.zeros([]))

    def forward(self, x: Tensor, w: Tensor, noise: Noise, gain: float = 1.0, clamp: float | None = None) -> Tensor:
        """`gain` multiplies the activation's gain and the clamp; `clamp` stands in where the layer has none."""
        y, scale = modulated_conv2d(
            x,
            self.weight,
            self.affine(w),
            up=self.up,
            taps=self.resample_filter,
            padding=self.weight.shape[-1] // 2,
            epsilon=self.epsilon,
        )
        clamp = clamp if self.clamp is None else self.clamp
        return bias_act(
            y,
            self.bias,
            self.act,
            gain=self.gain * gain,
            clamp=None if clamp is None else clamp * gain,
            scale=scale,
            noise=noise.of(self, y),
            overwrite=True,
        )


class ToRgb(nn.Module):
    """A modulated 1×1 convolution without demodulation, noise or activation: features -> picture."""

    def __init__(self, inputs: int, options: StyleGan2Options) -> None:
        super().__init__()
        self.clamp = options.conv_clamp
        self.affine = FullyConnected(options.mapping.w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(options.img_channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(options.img_channels))

    def forward(self, x: Tensor, w: Tensor, clamp: float | None = None) -> Tensor:
        styles = self.affine(w) / math.sqrt(self.weight.shape[1])
        y, _ = modulated_conv2d(x, self.weight, styles, demodulate=False)
        return bias_act(y, self.bias, clamp=clamp if self.clamp is None else self.clamp, overwrite=True)


class SynthesisBlock(nn.Module):
    """One resolution: the learned constant or an upsampling convolution, then a convolution, and perhaps a picture."""

    def __init__(self, inputs: int, resolution: int, options: StyleGan2Options) -> None:
        """inputs: features of the block before; 0 for the first block, which starts from a learned constant."""
        super().__init__()
        size, outputs = options.size_at(resolution), options.channels[resolution]
        taps = setup_filter(options.resample_filter)
        self.resnet = options.architecture == "resnet" and inputs > 0
        self.has_picture = options.architecture == "skip" or resolution == options.resolution
        self.num_convs = 1 if inputs == 0 else 2
        self.register_buffer("resample_filter", taps)
        if inputs == 0:
            self.const = nn.Parameter(torch.randn(outputs, *size))
        else:
            self.conv0 = SynthesisLayer(inputs, outputs, size, options, up=2, taps=taps)
        self.conv1 = SynthesisLayer(outputs, outputs, size, options)
        if self.has_picture:
            self.torgb = ToRgb(outputs, options)
        if self.resnet:
            self.skip = Convolution(inputs, outputs, 1, bias=False, up=2, taps=taps)

    def forward(
        self,
        x: Tensor | None,
        picture: Tensor | None,
        ws: Tensor,
        noise: Noise,
        dtype: torch.dtype,
        clamp: float | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """x: features of the block before, picture: what was drawn so far, ws: [N, num_convs + 1, w_dim].

        Features are computed in `dtype`, the picture adds up in the weights' own.
        """
        if x is None:
            x = self.const.expand(len(ws), *self.const.shape)
            x = self.conv1(fast_layout(x.to(dtype)), ws[:, 0], noise, clamp=clamp)
        elif self.resnet:
            x = fast_layout(x.to(dtype))
            side = self.skip(x, gain=math.sqrt(0.5))
            x = self.conv1(self.conv0(x, ws[:, 0], noise, clamp=clamp), ws[:, 1], noise, math.sqrt(0.5), clamp)
            x = side + x
        else:
            x = self.conv0(fast_layout(x.to(dtype)), ws[:, 0], noise, clamp=clamp)
            x = self.conv1(x, ws[:, 1], noise, clamp=clamp)
        if picture is not None:
            picture = upsample2d(picture, self.resample_filter)
        if self.has_picture:
            drawn = self.torgb(x, ws[:, self.num_convs], clamp).to(ws.dtype)
            picture = drawn if picture is None else picture + drawn
        return x, picture


class Synthesis(nn.Module):
    """ws [N, num_ws, w_dim] -> picture [N, img_channels, H, W], nominally −1…1 and not clamped."""

    def __init__(self, options: StyleGan2Options) -> None:
        super().__init__()
        self.options = options
        inputs = 0
        for resolution, channels in options.channels.items():
            self.add_module(f"b{resolution}", SynthesisBlock(inputs, resolution, options))
            inputs = channels

    def forward(
        self,
        ws: Tensor,
        noise_mode: str = "const",
        noise: Sequence[Tensor] | None = None,
        seed: torch.Generator | None = None,
        precision: torch.dtype | None = None,
    ) -> Tensor:
        """noise_mode, noise and seed: see `Noise`. precision: float16 or bfloat16 for the blocks meant for it, or None.

        Source of the half-precision rules: training/networks.py (SynthesisNetwork, modulated_conv2d).
        """
        options, own = self.options, self.b4.const.dtype
        if ws.dim() != 3 or ws.shape[1:] != (options.num_ws, options.mapping.w_dim):
            raise UserError(
                f"This generator needs ws of the shape [N, {options.num_ws}, {options.mapping.w_dim}]; "
                f"got {list(ws.shape)}."
            )
        source = Noise(noise_mode, noise, seed)
        halved = precision in (torch.float16, torch.bfloat16)
        half_from = max(options.resolution * 2 >> (options.num_fp16_res or HALF_BLOCKS), 8)
        ws = ws.to(own)
        x = picture = None
        first = 0
        for resolution in options.channels:
            block = getattr(self, f"b{resolution}")
            half = halved and resolution >= half_from
            x, picture = block(
                x,
                picture,
                ws[:, first : first + block.num_convs + 1],
                source,
                precision if half else own,
                HALF_CLAMP if half else None,
            )
            first += block.num_convs
        return picture.contiguous()

    def readers(self) -> list[FullyConnected]:
        """All layers that read a code: one of each convolution and of each picture."""
        return [layer.affine for layer in self.modules() if isinstance(layer, (SynthesisLayer, ToRgb))]

    def style_weights(self) -> list[Tensor]:
        """What reads each of the num_ws codes, [O, w_dim]: a convolution's, and for the last code the picture's."""
        blocks = [getattr(self, f"b{resolution}") for resolution in self.options.channels]
        layers = [layer for block in blocks for layer in block.children() if isinstance(layer, SynthesisLayer)]
        return [layer.affine.weight for layer in (*layers, blocks[-1].torgb)]

    def noise_layers(self) -> list[SynthesisLayer]:
        """The layers that take noise, in the order of synthesis."""
        return [layer for layer in self.modules() if isinstance(layer, SynthesisLayer) and layer.use_noise]


class StyleGan2(nn.Module):
    """z [N, z_dim] -> picture [N, img_channels, H, W]; `mapping` and `synthesis` are the halves.

    guessed: options that neither the weights nor the file told, as 'name = value'.
    """

    family = "StyleGAN2"

    def __init__(self, options: StyleGan2Options, guessed: Sequence[str] = ()) -> None:
        super().__init__()
        self.options, self.guessed = options, tuple(guessed)
        self.num_ws = options.num_ws
        self.size = options.size_at(options.resolution)
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
        widths = f"{max(o.channels.values())} to {min(o.channels.values())} channels"
        clamp = "no clamp" if o.conv_clamp is None else f"activations clamped at ±{o.conv_clamp:g}"
        return [
            f"{o.architecture} architecture",
            widths,
            clamp,
            f"{o.num_fp16_res} resolutions meant for half precision",
        ]


def matches(tensors: MappingOf[str, Tensor]) -> bool:
    """The learned constant is what StyleGAN3 lacks."""
    return {"synthesis.b4.const", "synthesis.b4.conv1.weight", "mapping.fc0.weight"} <= tensors.keys()


def from_tensors(tensors: MappingOf[str, Tensor], init: MappingOf[str, Any] | None = None) -> StyleGan2:
    """The generator of an authors' state dict; strict. init: its constructor's arguments, as far as they are known."""
    options, guessed = recover(tensors, init or {})
    return load_strictly(lambda: StyleGan2(options, guessed), tensors, "StyleGAN2 generator")


def recover(tensors: MappingOf[str, Tensor], init: MappingOf[str, Any]) -> tuple[StyleGan2Options, list[str]]:
    """Options from shapes and, where shapes are silent, from `init`; also what had to be guessed."""
    nested = "synthesis_kwargs" in init or not init
    named = init.get("synthesis_kwargs", {}) if nested else init
    known = Known(named, ADA_DEFAULTS if nested else STYLEGAN3_REPOSITORY_DEFAULTS, certain=bool(init))

    suffix = ".conv1.weight"
    channels = {
        int(key[len("synthesis.b") : -len(suffix)]): len(weight)
        for key, weight in tensors.items()
        if key.startswith("synthesis.b") and key.endswith(suffix)
    }
    channels = dict(sorted(channels.items()))
    last = f"synthesis.b{max(channels)}"
    if list(channels) != [4 << i for i in range(len(channels))] or f"{last}.torgb.weight" not in tensors:
        raise UserError(
            f"This StyleGAN2 generator is incomplete: it holds the resolutions {list(channels)} and lacks "
            f"some between or {last}.torgb.weight. Use the file as its authors published it."
        )
    pictures = sum(f"synthesis.b{r}.torgb.weight" in tensors for r in channels)
    if any(f"synthesis.b{r}.skip.weight" in tensors for r in channels):
        architecture = "resnet"
    elif len(channels) == 1:
        architecture = known["architecture"]
    else:
        architecture = "skip" if pictures > 1 else "orig"

    mapping, unsure = recover_mapping(
        tensors, "mapping.", init.get("mapping_kwargs", {}), certain=bool(init), w_avg_beta=0.995 if nested else 0.998
    )
    options = StyleGan2Options(
        channels=channels,
        mapping=mapping,
        img_channels=len(tensors[f"{last}.torgb.weight"]),
        start=tuple(tensors["synthesis.b4.const"].shape[1:]),
        architecture=architecture,
        kernel_size=tensors["synthesis.b4.conv1.weight"].shape[-1],
        conv_clamp=known["conv_clamp"],
        num_fp16_res=known["num_fp16_res"],
        activation=known["activation"],
        use_noise="synthesis.b4.conv1.noise_strength" in tensors,
        fan_in_demodulation=bool(init.get("fan_in_demodulation", False)),
    )
    return options, known.guessed + unsure


def recover_mapping(
    tensors: MappingOf[str, Tensor], prefix: str, named: MappingOf[str, Any], certain: bool, w_avg_beta: float | None
) -> tuple[MappingOptions, list[str]]:
    """Options of the mapping network whose keys start with `prefix`, and what had to be guessed."""
    known = Known(named, {**MAPPING_DEFAULTS, "w_avg_beta": w_avg_beta}, certain)
    layers = 0
    while f"{prefix}fc{layers}.weight" in tensors:
        layers += 1
    embed = tensors.get(f"{prefix}embed.weight")
    embedded = 0 if embed is None else len(embed)
    first = tensors[f"{prefix}fc0.weight"]
    options = MappingOptions(
        z_dim=first.shape[1] - embedded,
        c_dim=0 if embed is None else embed.shape[1],
        w_dim=len(tensors[f"{prefix}fc{layers - 1}.weight"]),
        num_layers=layers,
        embed_features=embedded or None,
        layer_features=len(first) if layers > 1 else None,
        activation=known["activation"],
        lr_multiplier=known["lr_multiplier"],
        w_avg_beta=known["w_avg_beta"] if f"{prefix}w_avg" in tensors else None,
    )
    return options, [f"mapping {guess}" for guess in known.guessed]
