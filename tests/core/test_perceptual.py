"""Distances between pictures: known answers, masks, gradients, and LPIPS's sentence about its backbone."""

from __future__ import annotations

import pytest
import torch
from portrait_rig.core import perceptual
from portrait_rig.core.errors import UserError


def pictures(size=(40, 52), dtype=torch.float64):
    seed = torch.Generator().manual_seed(0)
    return torch.rand(2, 2, 3, *size, generator=seed, dtype=dtype)


def test_pixel_distance_and_psnr_of_a_constant_offset():
    a = torch.full((2, 3, 8, 8), 0.5)
    assert perceptual.pixel_distance(a, a + 0.1).tolist() == pytest.approx([0.01, 0.01])
    assert perceptual.psnr(a, a + 0.1).tolist() == pytest.approx([20.0, 20.0], rel=1e-5)
    assert perceptual.psnr(a, a).isinf().all()


def test_pyramid_of_a_constant_offset_is_the_offset():
    a = pictures()[0] * 0.5
    assert perceptual.pyramid_distance(a, a + 0.25).tolist() == pytest.approx([0.25, 0.25])


def test_pyramid_prefers_a_blur_to_a_shift_of_colour():
    a, _ = pictures((64, 64))
    noise = 0.1 * torch.sign(a - 0.5)
    assert (perceptual.pyramid_distance(a, a + 0.1) < perceptual.pyramid_distance(a, a + noise)).all()


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (15, 200), (64, 64)])
def test_pyramid_takes_any_size(size):
    a, b = pictures(size)
    assert perceptual.pyramid_distance(a, b).shape == (2,)
    assert (perceptual.pyramid_distance(a, b) > 0).all()


@pytest.mark.parametrize("distance", [perceptual.pixel_distance, perceptual.pyramid_distance])
def test_nothing_outside_the_mask_counts(distance):
    a, b = pictures((64, 64))
    mask = torch.zeros(1, 1, 64, 64, dtype=a.dtype)
    mask[..., :16, :16] = 1
    changed = b.clone()
    changed[..., 48:, 48:] += 5
    leak = (distance(a, b, mask) - distance(a, changed, mask)).abs().max()
    everywhere = (distance(a, b) - distance(a, changed)).abs().min()
    assert leak < 1e-12 * everywhere if distance is perceptual.pixel_distance else leak < 0.02 * everywhere
    assert (distance(a, b, torch.zeros_like(mask)) == 0).all()


def test_pyramid_gradient_by_finite_differences():
    a, b = pictures((17, 18))
    a = a[:1].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: perceptual.pyramid_distance(x, b[:1]), a, eps=1e-7, atol=1e-5)


def test_a_missing_backbone_is_told_with_size_and_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(UserError, match=r"vgg16-397923af\.pth \(528 MB.*checkpoints"):
        perceptual.Lpips("vgg")
    with pytest.raises(UserError, match="vgg, alex, squeeze"):
        perceptual.Lpips("resnet")
