"""Adaptive augmentation: what each transform does, that it is smooth, and how its probability moves."""

from __future__ import annotations

import math

import pytest
import torch
from discs import disc
from portrait_rig.core.errors import UserError
from portrait_rig.core.training import augment
from portrait_rig.core.training.augment import TRANSFORMS, Augmenter, AugmentSettings, augmented

ALL = tuple(TRANSFORMS)
COLOURS = ("brightness", "contrast", "luma flip", "hue", "saturation")
WHOLE = ("mirror", "quarter turn", "whole shift")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(count=8, size=(12, 12)):
    return torch.rand(count, 3, *size, generator=seeded(5)) * 2 - 1


def moved(pictures, matrix, how=augment._resampled):
    return how(pictures, torch.tensor(matrix)[None].expand(len(pictures), 3, 3).to(pictures))


def shifted_by(x, y):
    """Output to source for a picture that moves by (x, y)."""
    return [[1.0, 0.0, -x], [0.0, 1.0, -y], [0.0, 0.0, 1.0]]


def test_probability_zero_changes_no_bit():
    pictures = batch()
    assert torch.equal(augmented(pictures, 0.0, ALL, seeded()), pictures)


@pytest.mark.parametrize("name", ALL)
def test_every_transform_does_something_in_some_pictures_and_is_repeatable(name):
    pictures = batch(32)
    once, again = (augmented(pictures, 0.5, (name,), seeded(3)) for _ in range(2))
    assert torch.equal(once, again) and once.shape == pictures.shape
    changed = (once - pictures).abs().amax(dim=(1, 2, 3)) > 1e-6
    assert 2 <= int(changed.sum()) <= 24, "half of the pictures, fewer where a transform may draw nothing to do"


@pytest.mark.parametrize("name", WHOLE)
def test_whole_moves_only_rearrange_pixels(name):
    pictures = batch(16)
    out = augmented(pictures, 1.0, (name,), seeded())
    for before, after in zip(pictures, out, strict=True):
        known = set(before[0].flatten().tolist())
        assert set(after[0].flatten().tolist()) <= known, "values that were not there before"


def test_mirror_and_turns_are_exactly_those():
    pictures = batch(64)
    mirrored = augmented(pictures, 1.0, ("mirror",), seeded())
    turned = augmented(pictures, 1.0, ("quarter turn",), seeded())
    sides = {torch.equal(b, a.flip(2)) for a, b in zip(pictures, mirrored, strict=True)}
    turns = {
        next(k for k in range(4) if torch.equal(b, a.rot90(k, (1, 2)))) for a, b in zip(pictures, turned, strict=True)
    }
    assert sides == {True, False} and turns == {0, 1, 2, 3}


def test_a_portrait_takes_half_turns_only():
    pictures = batch(32, (16, 8))
    turned = augmented(pictures, 1.0, ("quarter turn",), seeded())
    halves = {torch.equal(b, a.rot90(2, (1, 2))) for a, b in zip(pictures, turned, strict=True)}
    straight = {torch.equal(b, a) for a, b in zip(pictures, turned, strict=True)}
    assert halves == straight == {True, False}


def test_beyond_its_edge_a_picture_is_its_mirror_image():
    ramp = torch.arange(6.0).expand(1, 1, 6, 6)
    out = moved(ramp, shifted_by(2.0, 0.0), augment._sampled)
    assert out[0, 0, 0].tolist() == [1, 0, 0, 1, 2, 3]
    far = moved(ramp, shifted_by(14.0, 0.0), augment._sampled)  # 12 is the mirrored pair's period
    assert torch.equal(far, out)


@pytest.mark.parametrize(("frequency", "allowed"), [(0.05, 0.01), (0.15, 0.02), (0.25, 0.05), (0.3, 0.07)])
def test_moving_by_parts_of_a_pixel_keeps_waves(frequency, allowed):
    """Measured 0.006, 0.003, 0.039, 0.055 of the wave's height; bilinear sampling alone: 0.011, 0.10, 0.27, 0.38."""
    x = torch.arange(48) + 0.5 - 24

    def wave(shift):
        phase = 2 * math.pi * frequency * (x[None] - shift) + math.pi * frequency * x[:, None] + 0.3
        return phase.sin()[None, None]

    error = (moved(wave(0.0), shifted_by(0.37, 0.0)) - wave(0.37))[..., 8:-8, 8:-8].abs().max()
    assert error < allowed


def test_resampling_stays_on_the_grid():
    """A move by nothing leaves a smooth picture where it is; half a pixel off would be 0.07."""
    picture = disc(3, (32, 32))[None]
    smooth = torch.nn.functional.avg_pool2d(picture, 5, stride=1, padding=2, count_include_pad=False)
    still = moved(smooth, shifted_by(0.0, 0.0))
    assert (still - smooth).abs().max() < 0.01  # measured 0.006


def test_gradients_and_their_gradients_are_those_of_finite_differences():
    pictures = batch(2, (8, 8)).double().requires_grad_()

    def change(values):
        return augmented(values, 1.0, ALL, seeded(4)).sin()

    assert torch.autograd.gradcheck(change, pictures, fast_mode=True)
    assert torch.autograd.gradgradcheck(change, pictures, fast_mode=True)


def test_colours_keep_their_promises():
    pictures = batch(16)
    grey = pictures.mean(dim=1, keepdim=True)

    def out(name):
        return augmented(pictures, 1.0, (name,), seeded())

    for name in ("hue", "saturation"):
        torch.testing.assert_close(out(name).mean(dim=1, keepdim=True), grey)
    length = (pictures - grey).norm(dim=1)
    torch.testing.assert_close((out("hue") - grey).norm(dim=1), length)
    flipped = out("luma flip").mean(dim=1, keepdim=True)
    which = (flipped - grey).abs().amax(dim=(1, 2, 3)) > 1e-6
    torch.testing.assert_close(flipped[which], -grey[which])
    assert 0 < int(which.sum()) < 16
    bright = out("brightness") - pictures
    torch.testing.assert_close(bright, bright[:, :1, :1, :1].expand_as(bright))


def test_what_comes_later_acts_on_what_came_before():
    """Mirrored, then moved one pixel to the right; brightened, then stretched around 0."""
    draw = augment._Draw(1, (4, 4), 1.0, seeded())
    always, zero, one = torch.ones(1, dtype=torch.bool), torch.zeros(1), torch.ones(1)
    draw.move(always, -one, zero, zero, one, zero, zero)
    draw.move(always, one, zero, zero, one, one, zero)
    draw.recolour(always, torch.eye(3)[None], torch.tensor([0.25]))
    draw.recolour(always, 2 * torch.eye(3)[None])
    ramp = torch.tensor([0.1, 0.2, 0.3, 0.4]).expand(1, 3, 4, 4)
    out = augment._recoloured(augment._moved(ramp, draw), draw.colour)
    expected = (torch.tensor([0.4, 0.4, 0.3, 0.2]) + 0.25) * 2
    torch.testing.assert_close(out, expected.expand(1, 3, 4, 4))


def test_both_rotations_together_are_as_likely_as_any_transform():
    draw = augment._Draw(20_000, (8, 8), 0.5, seeded())
    for name in ("rotation", "rotation after"):
        TRANSFORMS[name](draw)
    assert float(draw.resampled.float().mean()) == pytest.approx(0.5, abs=0.02)  # three deviations are 0.011


def test_colour_of_a_still_picture_touches_no_pixel_beside():
    pictures = batch(4)
    out = augmented(pictures, 1.0, COLOURS, seeded())
    rolled = augmented(pictures.roll(3, dims=3), 1.0, COLOURS, seeded())
    assert torch.equal(out.roll(3, dims=3), rolled)


# Probability


def test_the_probability_follows_the_signs_of_the_real_scores():
    augmenter = Augmenter(AugmentSettings(horizon=100.0))
    augmenter.observe(torch.tensor([[1.0], [2.0], [3.0], [0.5]]))  # mean sign 1, above 0.6
    augmenter.adapt(10)
    assert augmenter.probability == pytest.approx(0.1)
    augmenter.observe(torch.tensor([[1.0], [-2.0]]))  # mean sign 0
    augmenter.adapt(10)
    augmenter.observe(torch.tensor([[-1.0]]))
    augmenter.adapt(50)
    assert augmenter.probability == 0.0, "it stays a probability"
    augmenter.adapt(50)
    assert augmenter.probability == 0.0, "nothing was seen, nothing moves"


def test_fixed_and_off_do_not_move():
    fixed, off = (Augmenter(AugmentSettings(mode, 0.5)) for mode in ("fixed", "off"))
    for augmenter in (fixed, off):
        augmenter.observe(torch.ones(4))
        augmenter.adapt(1_000_000)
    assert (fixed.probability, off.probability) == (0.5, 0.0)
    pictures = batch()
    assert off(pictures, seeded()) is pictures


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"mode": "sometimes"}, "'sometimes' is unknown; known are adaptive, fixed, off"),
        ({"transforms": ("melt",)}, "Unknown transforms: melt"),
        ({"probability": 1.5}, "must lie in 0…1; got 1.5"),
    ],
)
def test_settings_that_make_no_sense_are_refused(arguments, words):
    with pytest.raises(UserError, match=words):
        AugmentSettings(**arguments)
