"""How toon people are coloured, as a function of normal values; and the lesson that teaches it to a generator."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from portrait_rig.core.checkpoints import save_safetensors
from portrait_rig.core.face.uv import albedo_maps
from portrait_rig.core.methods.texture_gan import load_texture_gan
from portrait_rig.core.toon.world.albedo import AlbedoSpace, people_coefficients
from portrait_rig.core.training.loop import RunSettings, train
from portrait_rig.core.training.supervised import SupervisedSettings, SupervisedTrainer
from portrait_rig.core.training.toon_texture import GROWTH, LATENT, ToonTextureLesson

CHANNELS = (16, 16, 12, 8)
"""Four sizes, up to 32 texels: as many as the growth has."""
SETTINGS = SupervisedSettings(steps=60, batch=8, rate=0.03)


@pytest.fixture(scope="module")
def people(head):
    return people_coefficients(head.albedo.names, range(300))


@pytest.fixture(scope="module")
def space(people):
    return AlbedoSpace(people)


def lesson(head, space):
    return ToonTextureLesson(head, SETTINGS.steps, SETTINGS.batch, channels=CHANNELS, space=space)


def normal(count, size, seed=0):
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed))


def test_coefficients_are_distributed_as_people_s(space, people):
    drawn = space(normal(2000, len(space)))
    spread = people.std(0).clamp_min(0.05)
    assert ((drawn.mean(0) - people.mean(0)).abs() / spread).max() < 0.25
    assert ((drawn.std(0) - people.std(0)).abs() / spread).max() < 0.2  # smoothing narrows by a few per cent
    assert (drawn >= people.amin(0) - 1e-6).all() and (drawn <= people.amax(0) + 1e-6).all()


def test_what_goes_together_stays_together(head, space, people):
    """Made-up lips come with painted lids; correlations of all pairs are kept by about their size."""
    drawn = torch.corrcoef(space(normal(4000, len(space))).T).nan_to_num()
    known = torch.corrcoef(people.T).nan_to_num()
    lips, lids = (head.albedo.names.index(name) for name in ("lip_redness", "lid_shadow"))
    assert known[lips, lids] > 0.3 and drawn[lips, lids] > 0.2
    assert (drawn - known).abs().mean() < 0.06  # measured 0.03


def test_tones_have_no_gaps(head, space):
    """Eight tones of the world become a continuum: a small step of a latent is a small step of colour."""
    tone = head.albedo.names.index("skin_lightness")
    way = torch.zeros(801, len(space))
    way[:, tone] = torch.linspace(-4, 4, 801)
    steps = space(way)[:, tone].diff()
    assert steps.abs().max() < 0.06 and (steps >= 0).all()


def test_a_coefficient_that_nobody_has_stays_away(head, space):
    assert space(normal(50, len(space)))[:, head.albedo.names.index("catchlight")].abs().max() == 0


def test_extremes_end_at_the_most_extreme_people(space):
    assert torch.equal(space(torch.full((1, len(space)), 1e6)), space(torch.full((1, len(space)), 1e7)))
    assert space(torch.zeros(0, len(space))).shape == (0, len(space))


def test_a_latent_s_direction_decides_the_map(head, space):
    taught = lesson(head, space)
    latents = normal(2, LATENT)
    maps = taught.maps(latents)
    torch.testing.assert_close(taught.maps(latents * 3), maps, atol=1e-5, rtol=0)
    unit = latents * math.sqrt(LATENT) / latents.norm(dim=1, keepdim=True)
    truth = albedo_maps(head, space(unit[:, : len(space)]), (32, 32)).clamp(0, 1)
    torch.testing.assert_close(maps, truth, atol=1e-5, rtol=0)
    assert taught.maps(latents, 2).shape == (2, 3, 8, 8)


def test_the_generator_grows(head, space):
    taught = lesson(head, space)
    levels = [taught.lod(step) for step in range(SETTINGS.steps + 1)]
    assert levels[0] == GROWTH[0][0] and levels[-1] == 0.0
    assert all(before >= after for before, after in pairwise(levels))
    assert abs(sum(share for _, share in GROWTH) - 1) < 1e-9
    assert any(level != int(level) for level in levels)


def test_a_short_training_learns_and_its_file_loads(head, space, tmp_path):
    trainer = SupervisedTrainer(SETTINGS, lesson(head, space))
    outcome = train(trainer, tmp_path, RunSettings(steps=SETTINGS.steps, sheet_every=30, checkpoint_every=30))
    losses = [float(line.split('"maps": ')[1].split(",")[0]) for line in (tmp_path / "losses.jsonl").open()]
    assert sum(losses[20:30]) < 0.7 * sum(losses[:10])  # at one size; the sizes after it begin anew
    gan = load_texture_gan(outcome.product)
    assert gan.layout == head.layout and gan.size == (32, 32) and gan.latent_size == LATENT
    assert "dB over" in outcome.product.read_bytes()[:4000].decode(errors="ignore")
    assert gan.source.network.options.lod == pytest.approx(trainer.lesson.lod(SETTINGS.steps - 1))
    medians = torch.zeros(1, len(space))
    shown = gan.start()[:, : len(space)]
    assert torch.equal(shown, medians)  # the start is the median of every colour
    assert outcome.sheet.shape == (3, 64, 192)


def test_a_run_that_was_stopped_ends_alike(head, space, tmp_path):
    whole, parts = (SupervisedTrainer(SETTINGS, lesson(head, space)) for _ in range(2))
    for step in range(8):
        whole.advance(step)
    for step in range(5):
        parts.advance(step)
    tensors, plain = parts.state()
    again = SupervisedTrainer(SETTINGS, lesson(head, space))
    again.load_state(tensors, plain)
    for step in range(5, 8):
        again.advance(step)
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name]), name


def test_a_growing_generator_s_file_says_so(head, space, tmp_path):
    taught = lesson(head, space)
    taught.losses(taught.network, 20, lambda network, *inputs: network(*inputs))
    tensors, metadata = taught.packed(taught.network.eval().requires_grad_(False))
    save_safetensors(tmp_path / "x.safetensors", tensors, metadata)
    gan = load_texture_gan(tmp_path / "x.safetensors")
    assert gan.source.network.options.lod == taught.lod(20) > 0 and "still growing" in gan.describe()
    assert taught.network.options.lod == 0.0
