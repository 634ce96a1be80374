"""Codes by seed, mixed, truncated, walked between, moved along factorised directions, and on disk."""

from __future__ import annotations

import math

import numpy
import pytest
import torch
from portrait_rig.core.checkpoints import save_safetensors
from portrait_rig.core.errors import UserError
from portrait_rig.core.methods.directions import factorise, moved
from portrait_rig.core.methods.latent_io import load_latent, save_latent
from portrait_rig.core.methods.latents import (
    joined,
    layers_of,
    mixed,
    noise_of_seed,
    sample,
    truncated,
    walk,
)
from portrait_rig.core.networks.generator import Generator
from portrait_rig.core.networks.layers import MappingOptions
from portrait_rig.core.networks.stylegan2 import StyleGan2, StyleGan2Options
from portrait_rig.core.networks.stylegan3 import StyleGan3, StyleGan3Options
from portrait_rig.core.types import GeneratorId, Latent

TINY = MappingOptions(z_dim=6, w_dim=8, num_layers=2)


def generator(name="tiny", seed=0, **options):
    torch.manual_seed(seed)
    mapping = MappingOptions(**{"z_dim": 6, "w_dim": 8, "num_layers": 2, **options})
    network = StyleGan2(StyleGan2Options({4: 8, 8: 8, 16: 6}, mapping)).eval().requires_grad_(False)
    network.mapping.w_avg.copy_(0.3 * torch.randn(8))
    return Generator.of(network, name)


@pytest.fixture(scope="module")
def tiny():
    return generator()


@pytest.fixture(scope="module")
def pair(tiny):
    return sample(tiny, 1), sample(tiny, 2)


# Seeds


def test_a_seed_gives_the_official_z(tiny):
    z = numpy.random.RandomState(85).randn(1, 6).astype(numpy.float32)
    expected = tiny.map(torch.from_numpy(z), truncation=0.7, cutoff=4).w
    assert torch.equal(sample(tiny, 85, truncation=0.7, cutoff=4).w, expected)
    assert torch.equal(noise_of_seed(85, 1, 6), torch.from_numpy(z))


def test_every_picture_has_its_own_seed_whatever_the_count(tiny):
    three = sample(tiny, 5, 3)
    assert len(three) == 3 and three.generator == tiny.id
    assert (three.w[2] - sample(tiny, 7).w[0]).abs().max() < 1e-6


def test_seeds_beyond_the_last_begin_anew(tiny):
    assert torch.equal(sample(tiny, 2**32 + 3).w, sample(tiny, 3).w)
    assert len(sample(tiny, 2**32 - 1, 2)) == 2


def test_classes():
    conditional = generator(c_dim=3)
    a, b = (sample(conditional, 1, category=i).w for i in (0, 2))
    assert (a - b).abs().max() > 1e-3
    label = torch.eye(3)[2:]
    assert torch.equal(b, conditional.map(noise_of_seed(1, 1, 6), label).w)
    for category in (None, 3, -1):
        with pytest.raises(UserError, match=r"has 3 classes, numbered from 0, but"):
            sample(conditional, 1, category=category)
    with pytest.raises(UserError, match="has no classes, but class 0 was asked for"):
        sample(generator(), 1, category=0)


# Layers


@pytest.mark.parametrize(
    ("text", "count", "expected"),
    [
        ("all", 3, [0, 1, 2]),
        ("coarse", 18, [0, 1, 2, 3]),
        ("middle", 18, [4, 5, 6, 7]),
        ("fine", 18, list(range(8, 18))),
        ("0-1, 5", 6, [0, 1, 5]),
        (" 4- ,2,2-3", 6, [2, 3, 4, 5]),
        ("1 - 2", 3, [1, 2]),
    ],
)
def test_layers_by_name_and_text(text, count, expected):
    assert layers_of(text, count) == expected


@pytest.mark.parametrize("text", ["", "a", "1,", "-3", "3--4", "1;2", "٣x"])
def test_text_that_is_no_list_of_layers(text):
    with pytest.raises(UserError, match="no list of layers"):
        layers_of(text, 18)


@pytest.mark.parametrize("text", ["8", "fine", "7-8", "5-4", "9-"])
def test_layers_that_are_not_there(text):
    with pytest.raises(UserError, match="has 8, numbered from 0"):
        layers_of(text, 8)


# Mixing


def test_mixing_takes_whole_layers(pair):
    a, b = pair
    w = mixed(a, b, layers="2-3").w
    assert torch.equal(w[:, 2:4], b.w[:, 2:4])
    assert torch.equal(w[:, :2], a.w[:, :2]) and torch.equal(w[:, 4:], a.w[:, 4:])


def test_interpolation_is_a_straight_line(pair):
    a, b = pair
    assert torch.equal(mixed(a, b, 0.0).w, a.w) and torch.equal(mixed(a, b, 1.0).w, b.w)
    assert (mixed(a, b, 0.25).w - (0.75 * a.w + 0.25 * b.w)).abs().max() < 1e-6
    assert (mixed(a, b, 2.0).w - (2 * b.w - a.w)).abs().max() < 1e-5


def test_one_goes_with_many_and_nothing_is_changed(tiny, pair):
    many, before = sample(tiny, 10, 3), pair[0].w.clone()
    assert len(mixed(pair[0], many, 0.5)) == len(mixed(many, pair[0], 0.5)) == 3
    assert torch.equal(pair[0].w, before)
    with pytest.raises(UserError, match="first: 3, second: 2"):
        mixed(many, sample(tiny, 1, 2))


def test_latents_of_two_generators_do_not_mix(pair):
    foreign = sample(generator("other", 1), 1)
    for act in (mixed, joined):
        with pytest.raises(UserError, match=r"'other'.*'tiny'"):
            act(pair[0], foreign)


# Truncation


def test_truncation_ends_at_the_mean(tiny, pair):
    assert torch.equal(truncated(pair[0], tiny, 1.0).w, pair[0].w)
    assert (truncated(pair[0], tiny, 0.0).w - tiny.w_avg).abs().max() < 1e-6
    cut = truncated(pair[0], tiny, 0.0, 2).w
    assert torch.equal(cut[:, 2:], pair[0].w[:, 2:]) and (cut[:, :2] - tiny.w_avg).abs().max() < 1e-6
    with pytest.raises(UserError, match=r"'tiny'.*'other'"):
        truncated(pair[0], generator("other", 1), 0.5)


# Walks


@pytest.mark.parametrize(("loop", "expected"), [(False, 9), (True, 12)])
def test_a_walk_visits_every_latent(tiny, loop, expected):
    keys = sample(tiny, 1, 3)
    for centre in (None, tiny.w_avg):
        found = walk(keys, 4, centre, loop)
        assert len(found) == expected and found.generator == tiny.id
        for i in range(3):
            assert (found.w[4 * i] - keys.w[i]).abs().max() < 1e-5
    if loop:
        towards_start = torch.lerp(keys.w[2], keys.w[0], 0.75)
        assert (walk(keys, 4, None, True).w[-1] - towards_start).abs().max() < 1e-6


def test_a_spherical_walk_keeps_its_distance_and_turns_evenly(tiny):
    centre = tiny.w_avg
    ends = torch.zeros(2, tiny.num_ws, 8)
    ends[0, :, 0], ends[1, :, 1] = 2.0, 4.0
    found = walk(Latent(ends + centre, tiny.id), 3, centre).w - centre
    for i, angle in enumerate((0, 30, 60, 90)):
        length = 2 + 2 * i / 3
        expected = torch.tensor([math.cos(math.radians(angle)), math.sin(math.radians(angle))]) * length
        assert (found[i, 0, :2] - expected).abs().max() < 1e-5  # measured 5e-7


def test_spherical_walks_between_equal_opposite_and_mean_codes_are_straight(tiny):
    centre = tiny.w_avg
    for a, b in ((1.0, 1.0), (1.0, -1.0), (0.0, 1.0), (0.0, 0.0)):
        ends = torch.zeros(2, tiny.num_ws, 8)
        ends[0, :, 0], ends[1, :, 0] = a, b
        latent = Latent(ends + centre, tiny.id)
        assert (walk(latent, 4, centre).w - walk(latent, 4).w).abs().max() < 1e-6


def test_a_walk_needs_two(tiny, pair):
    for few in (pair[0], pair[0][:0]):
        with pytest.raises(UserError, match="at least 2 latents"):
            walk(few, 4)


def test_joined_latents_stand_in_order(tiny, pair):
    together = joined(*pair, sample(tiny, 5, 2))
    assert len(together) == 4 and torch.equal(together.w[1], pair[1].w[0])


# Directions


def test_no_unit_step_changes_the_styles_more_than_the_first_direction(tiny):
    found = factorise(tiny, "1-3", 8)
    weights = torch.cat(tiny.network.synthesis.style_weights()[1:4])
    assert len(found) == 8 and (found.vectors @ found.vectors.t() - torch.eye(8)).abs().max() < 1e-5
    changes = (weights @ found.vectors.t()).norm(dim=0)
    assert (changes - found.strengths).abs().max() < 1e-4
    random = torch.nn.functional.normalize(torch.randn(8, 500, generator=torch.Generator().manual_seed(0)), dim=0)
    assert (weights @ random).norm(dim=0).max() < found.strengths[0]
    assert (found.strengths.diff() <= 0).all()


def test_directions_agree_between_runs_and_are_few_where_w_is_small(tiny):
    a, b = factorise(tiny, count=100), factorise(tiny, count=3)
    assert len(a) == 8 and torch.equal(a.vectors[:3], b.vectors)
    assert (a.vectors.gather(1, a.vectors.abs().argmax(1, keepdim=True)) > 0).all()


def test_a_step_is_in_standard_deviations_of_random_codes(tiny, pair):
    found = factorise(tiny, "0-1")
    shifted = moved(pair[0], found, 2, -1.5).w - pair[0].w
    expected = -1.5 * found.vectors[1] * found.spreads[1]
    assert (shifted[:, :2] - expected).abs().max() < 1e-6 and shifted[:, 2:].abs().max() == 0
    codes = sample(tiny, 100, 400).w[:, 0]
    assert abs((codes @ found.vectors[1]).std() / found.spreads[1] - 1) < 0.15  # measured 0.03
    assert (moved(pair[0], found, 2, 1.0, "3").w != pair[0].w).any(dim=2).tolist() == [[i == 3 for i in range(6)]]


def test_what_directions_refuse(tiny, pair):
    found = factorise(tiny, count=2)
    for number in (0, 3):
        with pytest.raises(UserError, match=f"Direction {number} was asked for, but there are 2"):
            moved(pair[0], found, number, 1.0)
    with pytest.raises(UserError, match=r"'tiny'.*'other'"):
        moved(sample(generator("other", 1), 1), found, 1, 1.0)
    with pytest.raises(UserError, match="has 6, numbered from 0"):
        factorise(tiny, "fine")


def test_each_code_is_read_by_its_own_style_weights():
    """Only pictures made with changed codes that a weight reads may change: found by gradients."""
    torch.manual_seed(0)
    mapping = MappingOptions(z_dim=4, w_dim=4, num_layers=1, w_avg_beta=0.99)
    for network in (
        StyleGan2(StyleGan2Options({4: 4, 8: 4}, mapping)),
        StyleGan2(StyleGan2Options({4: 4, 8: 4}, mapping, architecture="resnet")),
        StyleGan3(StyleGan3Options(16, (4, 4, 4, 4, 3), mapping, num_critical=1)),
    ):
        weights = network.synthesis.style_weights()
        assert len(weights) == network.num_ws
        for i, weight in enumerate(weights):
            ws = torch.zeros(1, network.num_ws, 4)
            ws[:, i] = 1.0
            (gradient,) = torch.autograd.grad(network.synthesis(ws).square().sum(), weight)
            assert gradient.abs().max() > 0, f"code {i} does not reach its weight"


# Files


def test_latents_on_disk(tiny, tmp_path):
    latent = sample(tiny, 3, 2)
    save_latent(latent, tmp_path / "sub" / "a.safetensors")
    for known in (None, tiny):
        found = load_latent(tmp_path / "sub" / "a.safetensors", known)
        assert torch.equal(found.w, latent.w) and found.generator == tiny.id
    with pytest.raises(UserError, match=r"'tiny'.*'other'"):
        load_latent(tmp_path / "sub" / "a.safetensors", generator("other", 1))


@pytest.mark.parametrize("shape", [(1, 6, 8), (6, 8), (3, 8), (8,)])
def test_other_tools_files_need_their_generator(tiny, tmp_path, shape):
    codes = numpy.random.RandomState(0).randn(*shape)
    numpy.savez(tmp_path / "projected_w.npz", w=codes)
    found = load_latent(tmp_path / "projected_w.npz", tiny)
    assert found.generator == tiny.id and found.w.shape[1:] == (6, 8) and found.w.dtype == torch.float32
    assert len(found) == (3 if shape == (3, 8) else 1)
    with pytest.raises(UserError, match="does not say which generator"):
        load_latent(tmp_path / "projected_w.npz")


def test_single_arrays_and_torch_files(tiny, tmp_path):
    codes = torch.randn(2, 6, 8)
    numpy.save(tmp_path / "w.npy", codes.numpy())
    torch.save(codes, tmp_path / "w.pt")
    torch.save({"latent": codes}, tmp_path / "l.pt")
    for name in ("w.npy", "w.pt", "l.pt"):
        assert torch.equal(load_latent(tmp_path / name, tiny).w, codes)


def test_bad_files_of_latents(tiny, tmp_path):
    path = tmp_path / "x.safetensors"
    meta = {"format": "portrait_rig.latent", "version": "1", "generator": "tiny", "fingerprint": "00"}
    codes = torch.zeros(1, 6, 8)
    for tensors, metadata, words in (
        ({"weight": codes}, meta, "holds no latents"),
        ({"w": codes / 0}, meta, "no .finite. numbers"),
        ({"w": codes.long()}, meta, "no .finite. numbers"),
        ({"w": codes}, {**meta, "version": "2"}, "version 2, this pack reads 1"),
        ({"w": codes}, {k: v for k, v in meta.items() if k != "fingerprint"}, "does not say which"),
        ({"w": codes[0]}, meta, "needs the shape"),
    ):
        save_safetensors(path, tensors, metadata)
        with pytest.raises(UserError, match=words):
            load_latent(path)
    numpy.savez(tmp_path / "w.npz", w=numpy.zeros((1, 5, 8)))
    with pytest.raises(UserError, match=r"needs codes of the shape \[pictures, 6, 8\]; got \[1, 5, 8\]"):
        load_latent(tmp_path / "w.npz", tiny)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UserError, match="no file of latents"):
        load_latent(tmp_path / "a.txt")


def test_a_foreign_id_is_decided_by_the_fingerprint(tiny, pair):
    renamed = Latent(pair[0].w, GeneratorId("my tiny", tiny.id.fingerprint))
    assert torch.equal(truncated(renamed, tiny, 1.0).w, renamed.w)
