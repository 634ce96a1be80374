"""Spreads and Fréchet distances against known answers, and what the embedded networks see in renders."""

from __future__ import annotations

import pytest
import torch
from portrait_rig.core.face.models import load_face_model
from portrait_rig.core.methods.identity import load_identity_network
from portrait_rig.core.methods.regress import load_face_regressor
from portrait_rig.core.toon.world import ToonWorld, scene
from portrait_rig.core.training.generator_measures import (
    Eyes,
    Sights,
    frechet,
    frechet_distances,
    look,
    spread,
    spread_shares,
)
from torch.nn import functional

STRANGERS = (1_000_000, 1_000_001, 1_000_004)


def whitened(count: int, size: int, seed: int = 0) -> torch.Tensor:
    """[count, size] of mean 0 and covariance 1, exactly."""
    drawn = torch.randn(count, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    drawn = drawn - drawn.mean(0)
    return drawn @ torch.linalg.inv(torch.linalg.cholesky(torch.atleast_2d(torch.cov(drawn.T)))).T


def test_a_set_is_at_no_distance_from_itself():
    values = whitened(50, 5) * torch.arange(1.0, 6)
    assert frechet(values, values) == pytest.approx(0, abs=1e-9)


def test_a_shift_counts_by_its_square():
    values = whitened(50, 4)
    assert frechet(values, values + torch.tensor([3.0, 0, 4, 0])) == pytest.approx(25, abs=1e-9)


def test_scales_count_by_the_square_of_their_difference():
    values, scale = whitened(60, 3), torch.tensor([1.0, 2.0, 0.0])
    assert frechet(values * scale, values * 3) == pytest.approx(4 + 1 + 9, abs=1e-9)  # one is singular


def test_covariances_that_do_not_commute():
    """Against the trace of the root of the product, by its eigenvalues."""
    a = whitened(80, 3) @ torch.tensor([[1.0, 0.5, 0], [0, 1, 0], [0.2, 0, 2]], dtype=torch.float64)
    b = whitened(80, 3, seed=1) @ torch.tensor([[2.0, 0, 0], [0.7, 1, 0.3], [0, 0, 1]], dtype=torch.float64)
    first, second = torch.cov(a.T), torch.cov(b.T)
    root = torch.linalg.eigvals(first @ second).real.sqrt().sum()
    expected = first.trace() + second.trace() - 2 * root
    assert frechet(a, b) == pytest.approx(expected.item(), rel=1e-9)
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-9)


def test_one_feature_is_enough():
    assert frechet(whitened(9, 1), whitened(9, 1) * 3) == pytest.approx(4, abs=1e-9)


def test_spread_is_the_root_of_the_summed_variances():
    assert spread(whitened(40, 2) * torch.tensor([3.0, 4.0])) == pytest.approx(5)


def test_shares_are_those_of_the_samples_by_the_renders():
    narrow, wide = ({"yaw": whitened(20, 1) * k, "light": whitened(40, 27) * k} for k in (1, 4))
    features = {"identity": whitened(20, 2)}
    found = spread_shares(Sights(narrow, features), Sights(wide, features))
    assert found == pytest.approx({"yaw": 0.25, "light": 0.25})
    assert frechet_distances(Sights(narrow, features), Sights(wide, features)) == pytest.approx({"identity": 0})


@pytest.fixture(scope="module")
def eyes():
    return Eyes(load_face_regressor(), load_identity_network(), load_face_model())


@pytest.fixture(scope="module")
def drawn():
    world = ToonWorld.load()
    return [world.render(scene(seed), 128) for seed in STRANGERS]


def test_the_networks_see_what_was_drawn(eyes, drawn):
    pictures = torch.stack([one.picture for one in drawn])
    found = look([pictures[:2], pictures[2:]], eyes)
    for number, one in enumerate(drawn):
        seen = torch.cat([found.values[name][number] for name in ("pitch", "yaw")]).rad2deg()
        off = (seen - one.params.angles[0, :2].rad2deg()).abs().max().item()
        assert off < 4  # measured 1.2
    assert found.values["smile"].shape == (3, 1) and found.values["light"].shape == (3, 27)
    assert found.features["identity"].norm(dim=1).tolist() == pytest.approx([1] * 3, abs=1e-5)
    assert found.features["regressor"].shape == (3, eyes.regressor.network.backbone.channels)


def test_the_recogniser_is_shown_the_face_and_not_the_picture(eyes, drawn):
    """Portraits and the same moved aside: the faces are the same. Without the crop they are alike to 0.93…0.96."""
    pictures = torch.stack([one.picture for one in drawn])
    moved = functional.pad(pictures, (7, 0, 0, 7), mode="replicate")[..., 7:, :-7]
    here, there = (look([some], eyes).features["identity"] for some in (pictures, moved))
    assert (here * there).sum(1).min() > 0.99  # measured 0.997


def test_small_pictures_are_enlarged(eyes, drawn):
    small = functional.interpolate(torch.stack([one.picture for one in drawn]), (64, 64), mode="area")
    large = look([torch.stack([one.picture for one in drawn])], eyes)
    found = look([small], eyes)
    assert (found.values["yaw"] - large.values["yaw"]).rad2deg().abs().max() < 3  # measured 0.6
