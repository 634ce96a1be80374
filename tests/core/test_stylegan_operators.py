"""The operators against their literal definitions: zeros inserted, kernels grouped, one step at a time."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from portrait_rig.core.errors import UserError
from portrait_rig.core.networks import operators
from portrait_rig.core.networks.operators import bias_act, conv2d_resample, filtered_lrelu, modulated_conv2d
from portrait_rig.core.networks.resampling import downsample2d, low_pass, setup_filter, upfirdn2d, upsample2d
from torch.nn import functional

EXACT = {"rtol": 1e-9, "atol": 1e-9}  # float64: measured below 1e-14


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def literal_upfirdn2d(x, taps, up, down, padding, flip=False, gain=1.0):
    """Insert zeros, pad, convolve, decimate."""
    n, c, h, w = x.shape
    spread = x.new_zeros(n, c, h * up[1], w * up[0])
    spread[:, :, :: up[1], :: up[0]] = x
    spread = functional.pad(spread, padding)
    kernel = (taps if flip else taps.flip([0, 1]))[None, None].repeat(c, 1, 1, 1) * gain
    return functional.conv2d(spread, kernel, groups=c)[:, :, :: down[1], :: down[0]]


pads = st.integers(-2, 7)
factors = st.tuples(st.integers(1, 3), st.integers(1, 3))


@settings(max_examples=60, deadline=None)
@given(factors, factors, st.tuples(pads, pads, pads, pads), st.integers(1, 5), st.integers(1, 6), st.booleans())
def test_upfirdn2d_is_its_definition(up, down, padding, ky, kx, flip):
    x, taps = randn(2, 3, 5, 7), randn(ky, kx, seed=1)
    room = (7 * up[0] + padding[0] + padding[1] - kx, 5 * up[1] + padding[2] + padding[3] - ky)
    if min(room) < 0 or 7 * up[0] + min(padding[:2]) < 1 or 5 * up[1] + min(padding[2:]) < 1:
        return
    expected = literal_upfirdn2d(x, taps, up, down, padding, flip, 1.5)
    torch.testing.assert_close(upfirdn2d(x, taps, up, down, padding, flip, 1.5), expected, **EXACT)


def test_a_separable_filter_is_its_outer_product():
    x, taps = randn(1, 2, 6, 5), randn(8, seed=1)
    whole = upfirdn2d(x, torch.outer(taps, taps), up=2, padding=(5, 4, 3, 6), gain=4)
    torch.testing.assert_close(upfirdn2d(x, taps, up=2, padding=(5, 4, 3, 6), gain=4), whole, **EXACT)


def test_no_filter_is_the_identity():
    x = randn(1, 2, 3, 4)
    assert torch.equal(upfirdn2d(x, None), x)
    assert torch.equal(upfirdn2d(x, None, down=2), x[:, :, ::2, ::2])


def test_up_and_down_keep_a_flat_picture():
    x, taps = torch.ones(1, 1, 8, 8), setup_filter([1, 3, 3, 1])
    assert torch.allclose(upsample2d(x, taps)[:, :, 2:-2, 2:-2], torch.ones(1, 1, 12, 12))
    assert torch.allclose(downsample2d(x, taps)[:, :, 1:-1, 1:-1], torch.ones(1, 1, 2, 2))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_memory_layout_changes_nothing(layout):
    x, taps = randn(2, 8, 6, 6), randn(4, 4, seed=1)
    moved = upfirdn2d(x.contiguous(memory_format=layout), taps, up=2, padding=(2, 1, 2, 1))
    torch.testing.assert_close(moved, literal_upfirdn2d(x, taps, (2, 2), (1, 1), (2, 1, 2, 1)), **EXACT)


@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("size", [3, 4, 6])
def test_conv2d_resample_filters_where_its_definition_does(up, down, kernel, size):
    """Upsampling spreads the kernel as a transposed convolution does: by a correlation with the turned kernel."""
    x, weight, taps = randn(2, 3, 8, 9), randn(4, 3, kernel, kernel, seed=1), randn(size, size, seed=2)
    pad = kernel // 2
    before, after = pad, pad
    if up > 1:
        before, after = before + (size + up - 1) // 2, after + (size - up) // 2
    if down > 1:
        before, after = before + (size - down + 1) // 2, after + (size - down) // 2
    ready = literal_upfirdn2d(x, taps, (up, up), (1, 1), (before, after) * 2, gain=up**2) if up * down > 1 else x
    turned = weight.flip([2, 3]) if up > 1 else weight
    stride = down if up == 1 else 1
    expected = functional.conv2d(ready, turned, stride=stride, padding=pad if up * down == 1 else 0)
    if up > 1 and down > 1:  # then the filter works twice, as in the authors' code
        expected = literal_upfirdn2d(expected, taps, (1, 1), (down, down), (0, 0, 0, 0))
    torch.testing.assert_close(conv2d_resample(x, weight, taps, up, down, pad), expected, **EXACT)


@pytest.mark.parametrize("act", operators.ACTIVATIONS)
@pytest.mark.parametrize("clamp", [None, 0.4])
@pytest.mark.parametrize("gain", [None, 0.7, -1.0])
def test_bias_act_is_its_formula(act, clamp, gain):
    x, bias, scale, noise = randn(2, 3, 4, 5), randn(3, seed=1), randn(2, 3, seed=2), randn(1, 1, 4, 5, seed=3)
    kind = operators.ACTIVATIONS[act]
    expected = kind.apply(x * scale[:, :, None, None] + noise + bias[:, None, None], kind.alpha, False)
    expected = expected * (kind.gain if gain is None else gain)
    expected = expected if clamp is None else expected.clamp(-clamp, clamp)
    kept = x.clone()
    torch.testing.assert_close(bias_act(x, bias, act, None, gain, clamp, scale=scale, noise=noise), expected, **EXACT)
    assert torch.equal(x, kept)
    with torch.no_grad():
        ours = bias_act(kept, bias, act, None, gain, clamp, scale=scale, noise=noise, overwrite=True)
    torch.testing.assert_close(ours, expected, **EXACT)


@pytest.mark.parametrize("act", operators.ACTIVATIONS)
def test_bias_act_alone_leaves_its_input_alone(act):
    x = randn(2, 3)
    kept = x.clone()
    bias_act(x, None, act, gain=1.0, clamp=0.1)
    assert torch.equal(x, kept)


def test_an_unknown_activation_is_named():
    with pytest.raises(UserError, match=r"'gelu' is unknown.*lrelu"):
        bias_act(torch.zeros(1, 1), act="gelu")


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("side", [2, 16])  # few and many pixels: inputs are scaled, or the kernel
@pytest.mark.parametrize("up", [1, 2])
@pytest.mark.parametrize("demodulate", [True, False])
def test_modulation_is_a_kernel_per_picture(batch, side, up, demodulate):
    x, weight, styles, taps = (
        randn(batch, 4, side, side),
        randn(5, 4, 3, 3),
        randn(batch, 4, seed=1),
        randn(4, 4, seed=2),
    )
    kernels = weight * styles[:, None, :, None, None]
    if demodulate:
        kernels = kernels / (kernels.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).sqrt()
    expected = torch.cat([conv2d_resample(x[i : i + 1], kernels[i], taps, up, padding=1) for i in range(batch)])
    y, scale = modulated_conv2d(x, weight, styles, demodulate=demodulate, up=up, taps=taps, padding=1)
    torch.testing.assert_close(bias_act(y, scale=scale), expected, **EXACT)


def test_everything_is_differentiable_twice():
    x, weight, styles, bias = (t.requires_grad_() for t in (randn(2, 2, 3, 3), randn(2, 2, 3, 3, seed=1),
                                                            randn(2, 2, seed=2), randn(2, seed=3)))  # fmt: skip
    taps = setup_filter([1, 3, 3, 1]).double()

    def layer(x, weight, styles, bias):
        y, scale = modulated_conv2d(x, weight, styles, up=2, taps=taps, padding=1)
        y = bias_act(y, bias, "lrelu", clamp=20.0, scale=scale, overwrite=True)
        return filtered_lrelu(y, taps, taps, bias, up=2, down=2, padding=(2, 1, 2, 1))

    assert torch.autograd.gradcheck(layer, (x, weight, styles, bias))
    assert torch.autograd.gradgradcheck(layer, (x, weight, styles, bias))


def test_filtered_lrelu_in_groups_of_channels_is_the_same(monkeypatch):
    x, bias, scale, taps = randn(2, 7, 9, 9), randn(7, seed=1), randn(2, 7, seed=3), randn(8, seed=2)

    def run():
        return filtered_lrelu(x, taps, taps, bias, 2, 2, (7, 8, 9, 7), clamp=1.0, scale=scale)

    whole = run()
    monkeypatch.setattr(operators, "CHUNK_ELEMENTS", 3 * x[:, :1].numel() * 4)  # 3 + 3 + 1 channels
    torch.testing.assert_close(run(), whole, **EXACT)


def test_low_pass_passes_low_and_stops_high_frequencies():
    taps = low_pass(24, cutoff=4.0, width=4.0, rate=64)
    response = torch.fft.rfft(taps, 256).abs()  # bin k is frequency k / 4
    assert response[: 2 * 4].min() > 0.93  # measured 0.944
    assert response[7 * 4 :].max() < 0.1  # measured 0.05
    assert low_pass(1, 4.0, 4.0, 64) is None


def test_a_radial_filter_is_round_and_an_odd_one_finite_in_the_middle():
    for taps in (12, 11):
        kernel = low_pass(taps, cutoff=6.5, width=8.4, rate=64, radial=True)
        assert torch.isfinite(kernel).all() and math.isclose(kernel.sum(), 1.0, abs_tol=1e-5)
        assert torch.allclose(kernel, kernel.t()) and torch.allclose(kernel, kernel.flip([0]))
