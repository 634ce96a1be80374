"""Scenes from latents: exact sampling, no number left over, and seeds that keep their meaning."""

from __future__ import annotations

import numpy as np
import pytest
from portrait_rig.core.errors import UserError
from portrait_rig.core.toon.world import scene
from portrait_rig.core.toon.world.draws import LATENT, LatentDraws, SeededDraws, draws_of_latent, latent_size
from portrait_rig.core.toon.world.sampling import _composed, scene_of_latent

RANDOM = np.random.default_rng(5)
LATENTS = RANDOM.standard_normal((600, latent_size()))


def test_every_scene_reads_every_number_of_its_latent():
    for z in LATENTS[:200]:
        draws = draws_of_latent(z)
        _composed(0, draws)
        assert {group: one.left for group, one in draws.items()} == dict.fromkeys(LATENT, 0)


def test_latents_give_scenes_as_often_as_seeds_do():
    latent, seeded = [scene_of_latent(z) for z in LATENTS], [scene(seed) for seed in range(600)]
    for told in (
        lambda s: s.glasses.shape != "none",
        lambda s: s.hat.kind != "none",
        lambda s: s.beard != "none",
        lambda s: s.hair.style in ("long", "long_fringe", "wavy", "bob"),
        lambda s: max(s.hair.colour) < 0.3,
        lambda s: s.presentation > 0,
        lambda s: s.lamp.azimuth > 0,
    ):
        shares = np.mean([told(s) for s in latent]), np.mean([told(s) for s in seeded])
        assert abs(shares[0] - shares[1]) < 0.09, shares  # three deviations of 600 draws
    for told in (
        lambda s: s.age,
        lambda s: s.view.yaw,
        lambda s: s.albedo["skin_lightness"],
        lambda s: s.expression.get("mouthSmile_L", 0.0),
        lambda s: s.identity["nose_long"],
    ):
        ours, theirs = (np.array([told(s) for s in some]) for some in (latent, seeded))
        assert abs(ours.mean() - theirs.mean()) < 0.2 * theirs.std()
        assert 0.85 < ours.std() / theirs.std() < 1.15


def test_close_latents_are_alike():
    near = scene_of_latent(LATENTS[0] + 1e-6)
    here = scene_of_latent(LATENTS[0])
    assert near.hair.style == here.hair.style and near.clothes == here.clothes
    assert abs(near.view.yaw - here.view.yaw) < 1e-5


def test_choices_come_as_often_as_their_weights_say():
    weights = {"a": 3.0, "b": 1.0, "c": 0.0}
    found = [LatentDraws(z).pick(weights) for z in RANDOM.standard_normal((2000, 3))]
    assert "c" not in found and 0.71 < found.count("a") / 2000 < 0.79
    pairs = [LatentDraws(z).two(5) for z in RANDOM.standard_normal((500, 5))]
    assert all(first != second for first, second in pairs) and len(set(pairs)) == 20


def test_quantities_keep_their_distributions():
    draws = LatentDraws(RANDOM.standard_normal(4000))
    uniform = np.array([draws.uniform(2.0, 4.0) for _ in range(2000)])
    assert uniform.min() >= 2 and uniform.max() <= 4 and abs(uniform.mean() - 3) < 0.05
    beta = np.array([draws.beta(1.3, 2.2) for _ in range(2000)])
    assert abs(beta.mean() - 1.3 / 3.5) < 0.02


def test_a_group_that_asks_too_much_is_an_error():
    with pytest.raises(IndexError, match="more than its 2"):
        LatentDraws([0.0, 0.0]).one(3)


def test_a_latent_of_another_size_is_refused():
    with pytest.raises(UserError, match=f"{latent_size()} numbers; got 7"):
        scene_of_latent([0.0] * 7)


def test_a_seed_has_nothing_to_skip():
    first, second = SeededDraws(3, "hair"), SeededDraws(3, "hair")
    assert first.skip(4) == 0.0 and first.normal(0, 1) == second.normal(0, 1)
