"""Layers that StyleGAN2, StyleGAN3 and their discriminator share; parameter names are the authors'.

Source: StyleGAN2-ADA, `training/networks.py`. Weights are kept at unit variance and scaled when used ("equalised
learning rate", Karras et al. 2018, section 4.1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import UserError
from .operators import activation, bias_act, conv2d_resample
from .resampling import fast_layout, setup_filter

NORMALISATION_EPSILON = 1e-8
"""Added to the second moment of z (training/networks.py, normalize_2nd_moment)."""

DEFAULT_FILTER = (1.0, 3.0, 3.0, 1.0)
"""The binomial low-pass filter of every StyleGAN2 layer."""


@dataclass(frozen=True)
class MappingOptions:
    """Sizes and options of a mapping network; None means `w_dim` for a width.

    w_avg_beta: decay of the running mean of w, None where none is kept (a discriminator's mapping).
    """

    z_dim: int = 512
    c_dim: int = 0
    w_dim: int = 512
    num_layers: int = 8
    embed_features: int | None = None
    layer_features: int | None = None
    activation: str = "lrelu"
    lr_multiplier: float = 0.01
    w_avg_beta: float | None = 0.995

    def widths(self) -> list[int]:
        """Features before the first layer, between the layers and after the last."""
        embedded = 0 if self.c_dim == 0 else self.embed_features or self.w_dim
        inner = self.layer_features or self.w_dim
        return [self.z_dim + embedded, *[inner] * (self.num_layers - 1), self.w_dim][: self.num_layers + 1]


class FullyConnected(nn.Module):
    """y = act(x · (W · rate / √in)ᵀ + b · rate): [N, in] -> [N, out]."""

    def __init__(self, inputs: int, outputs: int, act: str = "linear", rate: float = 1.0, bias: float = 0.0) -> None:
        super().__init__()
        activation(act)
        self.act, self.rate = act, rate
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full([outputs], bias / rate))

    def forward(self, x: Tensor) -> Tensor:
        gain = self.rate / math.sqrt(self.weight.shape[1])
        return bias_act(x @ (self.weight * gain).t(), self.bias * self.rate, self.act)


class Convolution(nn.Module):
    """A convolution with filtered resampling, bias and activation: [N, I, H, W] -> [N, O, H·up/down, W·up/down]."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        act: str = "linear",
        bias: bool = True,
        up: int = 1,
        down: int = 1,
        taps: Tensor | None = None,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.act, self.up, self.down, self.clamp = act, up, down, clamp
        self.gain = activation(act).gain
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.register_buffer("resample_filter", setup_filter(DEFAULT_FILTER) if taps is None else taps.clone())

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        """`gain` multiplies the activation's own gain and the clamp."""
        kernel = self.weight.shape[-1]
        weight = (self.weight / math.sqrt(self.weight[0].numel())).to(x.dtype)
        x = conv2d_resample(
            fast_layout(x), weight, self.resample_filter, up=self.up, down=self.down, padding=kernel // 2
        )
        clamp = None if self.clamp is None else self.clamp * gain
        return bias_act(x, self.bias, self.act, gain=self.gain * gain, clamp=clamp, overwrite=True)


class Mapping(nn.Module):
    """z [N, z_dim] and label c [N, c_dim] -> w [N, w_dim], or ws [N, num_ws, w_dim] where `num_ws` is given."""

    def __init__(self, options: MappingOptions, num_ws: int | None) -> None:
        super().__init__()
        self.options, self.num_ws = options, num_ws
        widths = options.widths()
        if options.c_dim > 0:
            self.embed = FullyConnected(options.c_dim, widths[0] - options.z_dim)
        for i in range(options.num_layers):
            self.add_module(
                f"fc{i}", FullyConnected(widths[i], widths[i + 1], options.activation, options.lr_multiplier)
            )
        if num_ws is not None and options.w_avg_beta is not None:
            self.register_buffer("w_avg", torch.zeros(options.w_dim))

    def forward(
        self,
        z: Tensor | None,
        c: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        update_w_avg: bool = False,
    ) -> Tensor:
        """Labels c are ignored by an unconditional network and needed by a conditional one.

        truncation_psi: 1 leaves w as it is, 0 gives the mean, above 1 exaggerates; only the first `truncation_cutoff`
        layers (None: all). update_w_avg moves the running mean, in place, as training does.
        """
        w = self.features(z, c)
        if update_w_avg:
            with torch.no_grad():
                self.w_avg.copy_(torch.lerp(w.detach().mean(0), self.w_avg, self.options.w_avg_beta))
        if self.num_ws is None:
            return w
        ws = w[:, None].repeat(1, self.num_ws, 1)
        return ws if truncation_psi == 1 else truncate(ws, self.w_avg, truncation_psi, truncation_cutoff)

    def features(self, z: Tensor | None, c: Tensor | None = None) -> Tensor:
        """[N, w_dim], one w a sample, untruncated."""
        parts = [] if z is None else [_unit_second_moment(self._checked(z, self.options.z_dim, "z"))]
        if self.options.c_dim > 0:
            if c is None:
                raise UserError(f"This generator is conditional: it needs a label of {self.options.c_dim} values.")
            parts.append(_unit_second_moment(self.embed(self._checked(c, self.options.c_dim, "label"))))
        x = torch.cat(parts, dim=1)
        for i in range(self.options.num_layers):
            x = getattr(self, f"fc{i}")(x)
        return x

    def _checked(self, x: Tensor, width: int, name: str) -> Tensor:
        if x.dim() != 2 or x.shape[1] != width:
            raise UserError(f"The {name} must have the shape [N, {width}]; got {list(x.shape)}.")
        weight = next(self.parameters())
        return x.to(device=weight.device, dtype=weight.dtype)


def truncate(ws: Tensor, w_avg: Tensor, psi: float, cutoff: int | None = None) -> Tensor:
    """Truncation: codes ws [N, L, C] moved towards `w_avg` [C], the first `cutoff` layers only (None: all)."""
    near = torch.lerp(w_avg.to(ws), ws[:, :cutoff], psi)
    return near if cutoff is None else torch.cat([near, ws[:, cutoff:]], dim=1)


def _unit_second_moment(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + NORMALISATION_EPSILON)
