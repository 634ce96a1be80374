"""Resampling with FIR filters: the linear half of every StyleGAN operator, in plain PyTorch.

Source: StyleGAN2-ADA and StyleGAN3, `torch_utils/ops/upfirdn2d.py`; filter design: StyleGAN3 paper (Karras et al.
2021), appendix C. The literal definition is "insert zeros, pad, convolve, decimate". Here no zero is ever inserted:
upsampling is a depthwise transposed convolution and decimation a stride, which gives the same numbers for a fraction of
the work.

A filter is a float tensor `taps`: [K] means separable, applied along both axes; [Ky, Kx] is two-dimensional; None is
the identity. Paddings are (left, right, top, bottom) in samples of the upsampled grid; a negative one crops.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

SEPARABLE_FROM = 8
"""Number of taps from which a 1-D filter stays separable; shorter ones become their outer product (upfirdn2d.py)."""

Pair = int | tuple[int, int]
Padding = int | Sequence[int]


def setup_filter(
    taps: float | Sequence | Tensor | None, normalise: bool = True, flip: bool = False, gain: float = 1.0
) -> Tensor:
    """A filter in the form the operators store: float32, short 1-D filters as their outer product, sum 1 unless told.

    `gain` multiplies the whole filter (its square root each axis of a separable one). None and numbers are one tap.
    """
    taps = torch.as_tensor(1.0 if taps is None else taps, dtype=torch.float32)
    if taps.dim() == 0:
        taps = taps[None]
    if taps.dim() == 1 and len(taps) < SEPARABLE_FROM:
        taps = torch.outer(taps, taps)
    if normalise:
        taps = taps / taps.sum()
    if flip:
        taps = taps.flip(list(range(taps.dim())))
    return taps * gain ** (taps.dim() / 2)


def low_pass(taps: int, cutoff: float, width: float, rate: float, radial: bool = False) -> Tensor | None:
    """A Kaiser-windowed sinc (or, `radial`, jinc) filter of sum 1: [taps], radial [taps, taps]; None for a single tap.

    cutoff: pass band's end, width: of the transition band, rate: sampling rate, all in the same unit of frequency.
    Source: StyleGAN3 paper, appendix C (`design_lowpass_filter` in training/networks_stylegan3.py).
    """
    if taps == 1:
        return None
    attenuation = 2.285 * (taps - 1) * math.pi * (width / (rate / 2)) + 7.95  # Kaiser's estimate, in dB
    window = np.kaiser(taps, _kaiser_beta(attenuation))
    offsets = np.arange(taps) - (taps - 1) / 2
    if radial:
        r = np.hypot(*np.meshgrid(offsets / rate, offsets / rate))
        centre = r == 0  # an odd number of taps has a sample at the origin, where J1(2πcr)/(πr) tends to c
        r = np.where(centre, 1.0, r)
        kernel = np.where(centre, cutoff, _bessel_j1(2 * np.pi * cutoff * r) / (np.pi * r)) * np.outer(window, window)
    else:
        kernel = np.sinc(2 * cutoff / rate * offsets) * window
    return torch.from_numpy(kernel / kernel.sum()).float()


def upfirdn2d(
    x: Tensor,
    taps: Tensor | None,
    up: Pair = 1,
    down: Pair = 1,
    padding: Padding = 0,
    flip: bool = False,
    gain: float = 1.0,
) -> Tensor:
    """Upsamples by `up`, pads, filters and keeps every `down`-th sample: [N, C, H, W] -> [N, C, H', W'].

    H' = (H·up + top + bottom − K) // down + 1, W' alike. The filter is convolved; `flip` correlates. `up` and `down`
    may be (x, y) pairs.
    """
    (up_x, up_y), (down_x, down_y) = _pair(up), _pair(down)
    left, right, top, bottom = _padding(padding)
    taps = x.new_ones(1, 1) if taps is None else taps.to(x.dtype)
    if taps.dim() == 1:
        taps = taps * gain**0.5
        x = _filter(x, taps[None, :], (1, up_x), (1, down_x), (left, right, 0, 0), flip)
        return _filter(x, taps[:, None], (up_y, 1), (down_y, 1), (0, 0, top, bottom), flip)
    return _filter(x, taps * gain, (up_y, up_x), (down_y, down_x), (left, right, top, bottom), flip)


def filter2d(x: Tensor, taps: Tensor, flip: bool = False, gain: float = 1.0) -> Tensor:
    """Filters at the same size."""
    (x0, x1), (y0, y1) = ((size // 2, (size - 1) // 2) for size in filter_size(taps))
    return upfirdn2d(x, taps, padding=(x0, x1, y0, y1), flip=flip, gain=gain)


def upsample2d(x: Tensor, taps: Tensor, up: int = 2, flip: bool = False, gain: float = 1.0) -> Tensor:
    """Enlarges `up` times; a filter of sum 1 keeps the brightness."""
    (x0, x1), (y0, y1) = (((size + up - 1) // 2, (size - up) // 2) for size in filter_size(taps))
    return upfirdn2d(x, taps, up=up, padding=(x0, x1, y0, y1), flip=flip, gain=gain * up**2)


def downsample2d(x: Tensor, taps: Tensor, down: int = 2, flip: bool = False, gain: float = 1.0) -> Tensor:
    """Reduces `down` times."""
    (x0, x1), (y0, y1) = (((size - down + 1) // 2, (size - down) // 2) for size in filter_size(taps))
    return upfirdn2d(x, taps, down=down, padding=(x0, x1, y0, y1), flip=flip, gain=gain)


def filter_size(taps: Tensor | None) -> tuple[int, int]:
    """(width, height) in taps."""
    return (1, 1) if taps is None else (taps.shape[-1], taps.shape[0])


def fast_layout(x: Tensor) -> Tensor:
    """`x` in the memory layout in which its device convolves fastest.

    Channels last for half precision anywhere and for the CPU, where depthwise filters run 3 to 8 times as fast in it
    (measured at 64²…256² on two cores); unchanged elsewhere.
    """
    channels_last = x.device.type == "cpu" or x.dtype in (torch.float16, torch.bfloat16)
    return x.contiguous(memory_format=torch.channels_last) if channels_last else x


def _filter(
    x: Tensor, taps: Tensor, up: tuple[int, int], down: tuple[int, int], padding: tuple[int, int, int, int], flip: bool
) -> Tensor:
    """`upfirdn2d` for two-dimensional taps; `up` and `down` are (y, x)."""
    if taps.shape == (1, 1) and up == (1, 1) and not any(padding):
        x = x if down == (1, 1) else x[:, :, :: down[0], :: down[1]]
        return x * taps
    if up == (1, 1):
        kernel = taps if flip else taps.flip([0, 1])
        left, right, top, bottom = padding
        if left == right >= 0 and top == bottom >= 0:
            return functional.conv2d(x, _depthwise(kernel, x), stride=down, padding=(top, left), groups=x.shape[1])
        return functional.conv2d(functional.pad(x, padding), _depthwise(kernel, x), stride=down, groups=x.shape[1])
    x = _spread(x, taps.flip([0, 1]) if flip else taps, up, padding)
    return x if down == (1, 1) else x[:, :, :: down[0], :: down[1]]


def _spread(x: Tensor, taps: Tensor, up: tuple[int, int], padding: tuple[int, int, int, int]) -> Tensor:
    """Upsampling: each sample adds its multiple of the filter; then the window that `padding` names is cut out."""
    left, right, top, bottom = padding
    ends = [
        _window(x.shape[axis], taps.shape[axis - 2], up[axis - 2], before, after)
        for axis, before, after in ((2, top, bottom), (3, left, right))
    ]
    (cut_y, more_y, pads_y), (cut_x, more_x, pads_x) = ends
    y = functional.conv_transpose2d(
        x, _depthwise(taps, x), stride=up, padding=(cut_y, cut_x), output_padding=(more_y, more_x), groups=x.shape[1]
    )
    return functional.pad(y, (*pads_x, *pads_y)) if any((*pads_x, *pads_y)) else y


def _window(length: int, taps: int, up: int, before: int, after: int) -> tuple[int, int, tuple[int, int]]:
    """How to cut one axis of a transposed convolution: its `padding`, its `output_padding`, and what remains to pad.

    The whole result holds (length − 1)·up + taps samples; wanted are those from taps − 1 − before to length·up + after.
    """
    whole, start, end = (length - 1) * up + taps, taps - 1 - before, length * up + after
    cut = max(start, 0)
    more = end - (whole - cut)
    if more >= up:
        cut, more = max(min(start, whole - end), 0), 0
    more = max(more, 0)
    return cut, more, (cut - start, end - (whole - cut + more))


def _depthwise(taps: Tensor, x: Tensor) -> Tensor:
    """[Ky, Kx] -> [C, 1, Ky, Kx], one copy a channel of `x`."""
    return taps.expand(x.shape[1], 1, *taps.shape)


def _pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _padding(padding: Padding) -> tuple[int, int, int, int]:
    """One number, (x, y) or (left, right, top, bottom) as the last."""
    if isinstance(padding, int):
        return padding, padding, padding, padding
    if len(padding) == 2:
        return padding[0], padding[0], padding[1], padding[1]
    left, right, top, bottom = padding
    return left, right, top, bottom


def _kaiser_beta(attenuation: float) -> float:
    """Shape of the Kaiser window for an attenuation in dB (Kaiser 1974)."""
    if attenuation > 50:
        return 0.1102 * (attenuation - 8.7)
    if attenuation > 21:
        return 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    return 0.0


def _bessel_j1(x: np.ndarray) -> np.ndarray:
    return torch.special.bessel_j1(torch.from_numpy(x)).numpy()
