"""Losses and schedules that the goldens do not reach."""

from __future__ import annotations

import pytest
import torch
from portrait_rig.core.training import stylegan2_losses as losses


def test_r1_of_a_linear_critic_is_its_squared_weight():
    pictures = torch.randn(3, 2, 4, 4, dtype=torch.float64).requires_grad_()
    weight = torch.randn(2, 4, 4, dtype=torch.float64)
    penalty = losses.r1_penalty(pictures, (pictures * weight).sum(dim=(1, 2, 3)))
    torch.testing.assert_close(penalty, weight.square().sum().expand(3))


def test_path_length_of_a_linear_generator():
    """picture = w · matrix, so the gradient is noise · matrixᵀ whatever w is."""
    ws = torch.randn(2, 3, 5, dtype=torch.float64).requires_grad_()
    matrix, noise = torch.randn(5, 16, dtype=torch.float64), torch.randn(2, 1, 4, 4, dtype=torch.float64)
    picture = (ws.sum(1) @ matrix).reshape(2, 1, 4, 4)
    settings = losses.LossSettings(path_decay=0.25)
    penalty, mean = losses.path_length_penalty(picture, ws, torch.tensor(2.0), settings, noise)
    lengths = (noise.reshape(2, 16) @ matrix.t() / 4).norm(dim=1)
    moved = 0.75 * 2.0 + 0.25 * lengths.mean()
    torch.testing.assert_close(mean, moved)
    torch.testing.assert_close(penalty, (lengths - moved) ** 2)
    assert not mean.requires_grad and penalty.shape == (2,)


@pytest.mark.parametrize(("resolution", "batch", "gamma"), [(1024, 32, 6.5536), (256, 64, 0.2048)])
def test_the_suggested_gamma_is_the_authors(resolution, batch, gamma):
    assert losses.suggested_gamma(resolution, batch) == pytest.approx(gamma)


def test_lazy_regularisation_slows_adam_in_proportion():
    rate, betas = losses.lazy_adam(0.0025, (0.0, 0.99), 4)
    assert rate == pytest.approx(0.002) and betas == pytest.approx((0.0, 0.99**0.8))


def test_style_mixing_takes_the_later_layers():
    ws, others = torch.zeros(4, 6, 2), torch.ones(4, 6, 2)
    assert losses.mix_styles(ws, others, 0.0) is ws
    cuts = set()
    for seed in range(60):
        mixed = losses.mix_styles(ws, others, 1.0, torch.Generator().manual_seed(seed))
        assert torch.equal(mixed, mixed[:1, :, :1].expand_as(mixed)), "one cutoff for the whole batch"
        assert mixed[0, :, 0].tolist() == sorted(mixed[0, :, 0].tolist())
        cuts.add(int((mixed[0, :, 0] == 0).sum()))
    assert cuts == {1, 2, 3, 4, 5}


def test_a_single_layer_has_nothing_to_mix():
    ws = torch.zeros(1, 1, 2)
    assert torch.equal(losses.mix_styles(ws, ws + 1, 1.0), ws)


def test_the_average_copies_first_and_slows_with_what_was_seen():
    assert losses.average_decay(32, 0, 10_000, ramp_up=0.05) == 0.0
    assert losses.average_decay(32, 10_000, 10_000, ramp_up=0.05) == pytest.approx(0.5 ** (32 / 500))
    assert losses.average_decay(32, 0, 10_000, ramp_up=None) == pytest.approx(0.5 ** (32 / 10_000))
