"""The non-linear half of the StyleGAN operators, and the convolutions between them, in plain PyTorch written for speed.

Source: StyleGAN2-ADA and StyleGAN3, `torch_utils/ops/{bias_act,conv2d_resample,filtered_lrelu}.py`; modulation:
StyleGAN2 paper (Karras et al. 2020), section 2.2. Tensors are [N, C, H, W]; everything is differentiable twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import UserError
from .resampling import Padding, fast_layout, filter_size, upfirdn2d

DEMODULATION_EPSILON = 1e-8
"""Added to the squared norm of a modulated kernel (training/networks.py, modulated_conv2d)."""

CHUNK_ELEMENTS = 2**24
"""Largest intermediate of `filtered_lrelu` without gradients, in elements: 64 MiB in fp32, above which it works on
groups of channels. On a CPU core 2**23 to 2**26 took the same time within 20 %, 2**22 and less up to twice as long."""


@dataclass(frozen=True)
class Activation:
    """apply(x, alpha, in_place); gain: default gain; homogeneous: f(g·x) = g·f(x) for g > 0, so a gain can go first."""

    apply: Callable[[Tensor, float, bool], Tensor]
    gain: float = 1.0
    alpha: float = 0.0
    homogeneous: bool = False


ACTIVATIONS = {
    "linear": Activation(lambda x, alpha, own: x, homogeneous=True),
    "relu": Activation(lambda x, alpha, own: functional.relu(x, own), math.sqrt(2), homogeneous=True),
    "lrelu": Activation(
        lambda x, alpha, own: functional.leaky_relu(x, alpha, own), math.sqrt(2), 0.2, homogeneous=True
    ),
    "tanh": Activation(lambda x, alpha, own: x.tanh()),
    "sigmoid": Activation(lambda x, alpha, own: x.sigmoid()),
    "elu": Activation(lambda x, alpha, own: functional.elu(x)),
    "selu": Activation(lambda x, alpha, own: functional.selu(x)),
    "softplus": Activation(lambda x, alpha, own: functional.softplus(x)),
    "swish": Activation(lambda x, alpha, own: functional.silu(x), math.sqrt(2)),
}
"""Default gains and slopes: torch_utils/ops/bias_act.py."""


def activation(name: str) -> Activation:
    """The activation of that name; UserError lists the known ones."""
    if name not in ACTIVATIONS:
        raise UserError(f"The activation '{name}' is unknown; known are {', '.join(ACTIVATIONS)}.")
    return ACTIVATIONS[name]


def bias_act(
    x: Tensor,
    bias: Tensor | None = None,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
    *,
    scale: Tensor | None = None,
    noise: Tensor | None = None,
    overwrite: bool = False,
) -> Tensor:
    """clamp(gain · act(x · scale + noise + bias), ±clamp).

    x: [N, C, …]. bias: [C]. scale: [N, C]. noise: broadcasts to x. Gain and slope default to the activation's own.
    overwrite: x is not needed any more, so that its memory may serve, where no gradient is recorded.
    """
    kind = activation(act)
    gain = kind.gain if gain is None else gain
    early = gain if kind.homogeneous and gain > 0 else 1.0  # a gain taken first costs no pass over the pixels
    tail = (1,) * (x.dim() - 2)
    shift = None if bias is None else (bias.to(x.dtype) * early).reshape(1, -1, *tail)
    watched = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, bias, scale, noise))
    compiling = torch.compiler.is_compiling()  # which plans memory by itself and cannot follow `out`
    target = x if overwrite and not watched and not compiling else None
    y = x
    if scale is not None:
        factor = (scale * early).to(x.dtype).reshape(*scale.shape, *tail)
        y = torch.mul(x, factor, out=target) if shift is None else torch.addcmul(shift, x, factor, out=target)
    elif shift is not None:
        y = torch.add(shift, x, alpha=early, out=target)
    elif early != 1.0:
        y = torch.mul(x, early, out=target)
    own = y is not x or target is not None
    if noise is not None:
        noise = noise.to(x.dtype) * early
        y, own = (y.add_(noise) if own else y + noise), True
    y = kind.apply(y, kind.alpha if alpha is None else alpha, own)
    if gain != early:
        y = y * gain
    if clamp is not None:
        y = y.clamp_(-clamp, clamp) if own and not watched else y.clamp(-clamp, clamp)
    return y


def conv2d_resample(
    x: Tensor, weight: Tensor, taps: Tensor | None = None, up: int = 1, down: int = 1, padding: int = 0
) -> Tensor:
    """A convolution [N, I, H, W] -> [N, O, H', W'] with filtered upsampling before or decimation after it.

    weight: [O, I, k, k] as stored: correlated where nothing is upsampled, spread (transposed convolution) where it is.
    padding: in samples of the upsampled picture, k // 2 to keep the size.
    """
    kernel = weight.shape[-1]
    if up == 1 and down == 1:
        return functional.conv2d(x, weight, padding=padding)
    spans = [_resampling_pads(size, up, down, padding) for size in filter_size(taps)]
    if up == 1:
        return _decimating_conv(x, weight, taps, down, spans)
    if kernel == 1:
        (x0, x1), (y0, y1) = spans
        x = upfirdn2d(functional.conv2d(x, weight), taps, up=up, padding=(x0, x1, y0, y1), gain=up**2)
    else:
        before, after = kernel - 1, kernel - up
        pads = [value - extra for span in spans for value, extra in zip(span, (before, after), strict=True)]
        cut_x, cut_y = (max(min(-pads[axis], -pads[axis + 1]), 0) for axis in (0, 2))
        x = functional.conv_transpose2d(x, weight.transpose(0, 1), stride=up, padding=(cut_y, cut_x))
        x = upfirdn2d(x, taps, padding=(pads[0] + cut_x, pads[1] + cut_x, pads[2] + cut_y, pads[3] + cut_y), gain=up**2)
    return x if down == 1 else upfirdn2d(x, taps, down=down)


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    *,
    demodulate: bool = True,
    up: int = 1,
    taps: Tensor | None = None,
    padding: int = 0,
    epsilon: float = DEMODULATION_EPSILON,
    gain: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """A convolution whose input channels each picture scales by its `styles`: (y [N, O, H', W'], scale [N, O] or None).

    The result is y · scale; the caller multiplies, since `bias_act` does that for nothing. weight: [O, I, k, k] and
    styles: [N, I] float32; x may be half precision. `demodulate` divides by the norm of the modulated kernel; gain: []
    a factor on top of that, for demodulated layers.

    Scaling inputs and outputs of one ordinary convolution replaces a kernel per picture (StyleGAN2 paper, section 2.2);
    a single picture with more pixels than the kernel has weights gets its kernel scaled instead.
    """
    half = x.dtype in (torch.float16, torch.bfloat16)
    if half and demodulate:  # keeps half precision from overflowing; demodulation removes both factors again
        peak = weight.detach().abs().amax(dim=(1, 2, 3), keepdim=True)
        weight = weight / (peak * math.sqrt(weight[0].numel()))
        styles = styles / styles.detach().abs().amax(dim=1, keepdim=True)
    scale = None
    if demodulate:
        scale = torch.rsqrt(styles.square() @ weight.square().sum(dim=(2, 3)).t() + epsilon)
        scale = scale if gain is None else scale * gain
    if len(x) == 1 and weight.numel() < 2 * x.numel():
        weight = weight * styles.reshape(1, -1, 1, 1)
        if scale is not None:
            weight, scale = weight * scale.reshape(-1, 1, 1, 1), None
    elif scale is None and weight.shape[-1] == up == 1 and padding == 0:  # toRGB: cheaper than a pass over x
        return torch.einsum("noi,nihw->nohw", (weight[:, :, 0, 0] * styles[:, None]).to(x.dtype), x), None
    else:
        x = x * styles.to(x.dtype)[:, :, None, None]
    return conv2d_resample(x, weight.to(x.dtype), taps, up=up, padding=padding), scale


def filtered_lrelu(
    x: Tensor,
    up_taps: Tensor | None = None,
    down_taps: Tensor | None = None,
    bias: Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: Padding = 0,
    gain: float = math.sqrt(2),
    slope: float = 0.2,
    clamp: float | None = None,
    *,
    scale: Tensor | None = None,
) -> Tensor:
    """A leaky ReLU at a higher sampling rate, between two filters: [N, C, H, W] -> [N, C, H', W'].

    x · scale + bias, `up`-fold upsampling, gain · leaky ReLU, clamp, `down`-fold decimation; scale: [N, C]. Without
    gradients it works on groups of channels, so that no intermediate exceeds CHUNK_ELEMENTS. Source: StyleGAN3 paper,
    section 3.2.
    """
    if up_taps is None and down_taps is None and up == down == 1 and padding == 0:
        return bias_act(x, bias, "lrelu", slope, gain, clamp, scale=scale)

    def whole(part: slice) -> Tensor:
        y = bias_act(x[:, part], None if bias is None else bias[part], scale=None if scale is None else scale[:, part])
        y = upfirdn2d(fast_layout(y), up_taps, up=up, padding=padding, gain=up**2)
        y = bias_act(y, None, "lrelu", slope, gain, clamp, overwrite=True)
        return y if down_taps is None and down == 1 else upfirdn2d(y, down_taps, down=down)

    channels = max(1, CHUNK_ELEMENTS // max(1, x[:, :1].numel() * up * up))
    if channels >= x.shape[1] or (torch.is_grad_enabled() and x.requires_grad):
        return whole(slice(None))
    first = whole(slice(0, channels))
    result = fast_layout(first.new_empty(first.shape[0], x.shape[1], *first.shape[2:]))
    result[:, :channels] = first
    for start in range(channels, x.shape[1], channels):
        part = slice(start, start + channels)
        result[:, part] = whole(part)
    return result


def _resampling_pads(taps: int, up: int, down: int, padding: int) -> tuple[int, int]:
    """Padding before and after one axis that keeps a filter of `taps` taps centred."""
    before = after = padding
    if up > 1:
        before, after = before + (taps + up - 1) // 2, after + (taps - up) // 2
    if down > 1:
        before, after = before + (taps - down + 1) // 2, after + (taps - down) // 2
    return before, after


def _decimating_conv(x: Tensor, weight: Tensor, taps: Tensor | None, down: int, spans: list[tuple[int, int]]) -> Tensor:
    (x0, x1), (y0, y1) = spans
    if weight.shape[-1] == 1:
        return functional.conv2d(upfirdn2d(x, taps, down=down, padding=(x0, x1, y0, y1)), weight)
    return functional.conv2d(upfirdn2d(x, taps, padding=(x0, x1, y0, y1)), weight, stride=down)
