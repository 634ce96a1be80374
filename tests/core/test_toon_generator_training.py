"""The toon generator's three trainings, tiny: they learn, go on after a stop, repeat, and hand on to one another."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from portrait_rig.core.checkpoints import read
from portrait_rig.core.errors import UserError
from portrait_rig.core.networks.generator import load_generator
from portrait_rig.core.toon.corpus import Corpus, CorpusSettings, render_corpus
from portrait_rig.core.toon.world.draws import latent_size
from portrait_rig.core.toon.world.vector import vector_names
from portrait_rig.core.training import toon_mapping
from portrait_rig.core.training.loop import RunSettings, train
from portrait_rig.core.training.supervised import SupervisedSettings, SupervisedTrainer
from portrait_rig.core.training.toon_mapping import MappingLesson, _exaggerated
from portrait_rig.core.training.toon_regression import (
    SceneLesson,
    SceneOptions,
    facial_mask,
    load_scene_generator,
    reconstruction,
)
from portrait_rig.core.training.toon_sharpening import SharpeningSettings, ToonSharpening

OPTIONS = SceneOptions((8, 8, 8), len(vector_names()), latent=16, hidden=24)
SETTINGS = SupervisedSettings(steps=6, batch=4, rate=1e-2, decay=0.0, longest=1e6)
SHARPENING = SharpeningSettings(steps=6, batch=4, warm_up=2, width=8)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    list(render_corpus(folder, CorpusSettings(people=3, moments=3, size=16)))
    return Corpus(folder)


@pytest.fixture(scope="module")
def scenes(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    return train(taught(corpus), folder, RunSettings(6)).product


def taught(corpus, start=None, options=OPTIONS, settings=SETTINGS):
    return SupervisedTrainer(settings, SceneLesson(options, corpus, settings, start))


def sharpened(corpus, start):
    return ToonSharpening(SHARPENING, corpus, start)


def same(first, second):
    first, second = read(first).tensors, read(second).tensors
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_regression_lowers_its_loss(corpus):
    settings = replace(SETTINGS, steps=60)
    trainer = taught(corpus, settings=settings)
    losses = [sum(trainer.advance(step).losses.values()) for step in range(60)]
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


@pytest.mark.parametrize("which", ["regression", "sharpening", "mapping"])
def test_a_stopped_run_gives_what_a_whole_one_gives(which, corpus, scenes, tmp_path):
    make = {
        "regression": lambda: taught(corpus),
        "sharpening": lambda: sharpened(corpus, scenes),
        "mapping": lambda: SupervisedTrainer(SETTINGS, MappingLesson(scenes, SETTINGS, "toon", pool=8)),
    }[which]
    whole = train(make(), tmp_path / "whole", RunSettings(6))
    train(make(), tmp_path / "parts", RunSettings(3))
    parts = train(make(), tmp_path / "parts", RunSettings(6), resume=True)
    assert (parts.first, parts.steps) == (3, 6) and same(whole.product, parts.product)
    assert whole.last.losses == parts.last.losses


def test_growing_keeps_what_the_smaller_one_drew(scenes, corpus):
    grown = SceneLesson(replace(OPTIONS, channels=(8, 8, 8, 8)), _doubled(corpus), SETTINGS, scenes).network
    small = load_scene_generator(scenes)
    row = corpus.truth("scene")[:2]
    before, after = small(row), grown(row)
    assert after.shape == (2, 3, 32, 32)
    reduced = torch.nn.functional.avg_pool2d(after, 2)
    assert (reduced - before).abs().mean() < 0.1 * before.std()  # the filter softens


def _doubled(corpus):
    """Stands in for a corpus of twice the size; no picture of it is asked for."""

    class Doubled:
        settings = replace(corpus.settings, size=32)

        def __getattr__(self, name):
            return getattr(corpus, name)

    return Doubled()


def test_sharpening_moves_generator_judge_and_centre(corpus, scenes):
    trainer = sharpened(corpus, scenes)
    learning = [*trainer.network.synthesis.parameters(), *trainer.judge.parameters()]
    before, codes = [p.clone() for p in learning], trainer.network.fc0.weight.clone()
    told = [trainer.advance(step) for step in range(3)]
    moved = [not torch.equal(a, b) for a, b in zip(before, learning, strict=True)]
    assert all(moved) and torch.equal(trainer.network.fc0.weight, codes) and trainer.network.centre.abs().sum() > 0
    assert {"pixels", "pyramid", "verdict", "judge", "r1"} <= told[0].losses.keys()
    assert all(step.whole for step in told)


def test_the_whole_generator_loads_as_any_stylegan(scenes, tmp_path):
    lesson = MappingLesson(scenes, SETTINGS, "toon", pool=8)
    product = train(SupervisedTrainer(SETTINGS, lesson), tmp_path, RunSettings(6)).product
    generator = load_generator(read(product))
    assert (generator.z_dim, generator.w_dim, generator.size) == (latent_size(), 16, (16, 16))
    latent = generator.map(torch.randn(3, latent_size()), truncation=0.7)
    assert generator.draw(latent).shape == (3, 3, 16, 16)
    assert generator.w_avg.abs().sum() > 0


def test_stretched_codes_draw_what_they_stand_for(scenes):
    """The generator's codes are the network's own; the scene generator's are those times a matrix."""
    lesson = MappingLesson(scenes, SETTINGS, "toon", pool=64)
    lesson.losses(lesson.network, 0, lambda *given: None)
    matrix, shift, _ = lesson.stretch(lesson.network)
    assert (matrix - torch.eye(16)).abs().max() > 0.01
    whole, z = lesson.generator(lesson.network), torch.randn(3, latent_size())
    drawn = whole(z, noise_mode="none")
    wanted = load_scene_generator(scenes).drawn(lesson.network(z) @ matrix + shift)
    torch.testing.assert_close(drawn, wanted, atol=2e-5, rtol=0)


def test_the_stretch_gives_codes_their_covariance(scenes, monkeypatch):
    monkeypatch.setattr(toon_mapping, "LIVELIER", 1.0)
    lesson = MappingLesson(scenes, SETTINGS, "toon", pool=64)
    lesson.losses(lesson.network, 0, lambda *given: None)
    matrix = torch.eye(16)
    matrix[0, 0], matrix[1, 1] = 1.5, 1.2

    class Shrunk(torch.nn.Module):  # gives the codes to be learnt, shrunk in two directions
        def forward(self, z):
            rows = [(lesson._z == one).all(1).nonzero()[0, 0] for one in z]
            return (lesson._w[rows] - 1) @ torch.linalg.inv(matrix)

    found, shift, _ = lesson.stretch(Shrunk())
    codes = Shrunk()(lesson._z) @ found + shift
    torch.testing.assert_close(torch.cov(codes.T), torch.cov(lesson._w.T), atol=2e-3, rtol=0)
    torch.testing.assert_close(codes.mean(0), lesson._w.mean(0), atol=1e-4, rtol=0)


def test_exaggerated_codes_say_more_of_their_causes_and_the_same_of_all_else():
    random = torch.Generator().manual_seed(0)
    causes, rest = torch.randn(400, 2, generator=random).double(), torch.randn(400, 3, generator=random).double()
    both = torch.cat([causes, rest], 1)
    both = torch.linalg.qr(both - both.mean(0)).Q  # as if there were infinitely many: neither tells of the other
    mixed = torch.randn(5, 5, generator=random).double()
    codes = both @ mixed
    found = codes @ _exaggerated(codes, both[:, :2], 1.5)
    torch.testing.assert_close(found, both * torch.tensor([1.5, 1.5, 1, 1, 1]).double() @ mixed, atol=1e-9, rtol=0)


def test_moods_are_exaggerated_in_the_generator(scenes, monkeypatch):
    lesson = MappingLesson(scenes, SETTINGS, "toon", pool=256)
    lesson.losses(lesson.network, 0, lambda *given: None)
    lively = lesson.stretch(lesson.network)[0]
    monkeypatch.setattr(toon_mapping, "LIVELIER", 1.0)
    plain = lesson.stretch(lesson.network)[0]
    assert lively.shape == plain.shape and (lively - plain).abs().max() > 1e-3


def test_mapping_learns_the_codes_of_scenes(scenes):
    settings = replace(SETTINGS, steps=80, batch=64, rate=3.0)
    trainer = SupervisedTrainer(settings, MappingLesson(scenes, settings, "toon", pool=256))
    losses = [trainer.advance(step).losses["styles"] for step in range(80)]
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])


def test_facial_mask_covers_eyes_and_mouth_only():
    points = torch.zeros(1, 68, 2)
    points[:, 17:27] = points[:, 36:48] = torch.tensor([30.0, 20.0])
    points[:, 48:] = torch.tensor([30.0, 50.0])
    mask = facial_mask(points, (64, 64))[0, 0]
    assert mask[20, 30] == mask[50, 30] == 1 and mask[35, 30] == mask[20, 45] == 0
    assert mask.unique().tolist() == [0.0, 1.0]


def test_reconstruction_is_zero_for_equals_and_weighs_pixels():
    picture = torch.rand(1, 3, 32, 32)
    assert sum(reconstruction(picture, picture, torch.ones(1, 1, 32, 32)).values()) == 0
    other, weight = picture.clone(), torch.ones(1, 1, 32, 32)
    other[..., 3, 3] += 0.5
    weight[..., 3, 3] = 4
    plain = reconstruction(other, picture, torch.ones(1, 1, 32, 32))["pixels"]
    torch.testing.assert_close(reconstruction(other, picture, weight)["pixels"], 4 * plain)


def test_a_corpus_of_another_size_is_refused(corpus):
    with pytest.raises(UserError, match="16 pixels, which cannot be reduced to 32"):
        taught(corpus, options=replace(OPTIONS, channels=(8, 8, 8, 8)))


def test_a_start_that_does_not_fit_is_refused(corpus, scenes):
    with pytest.raises(UserError, match="does not fit this run"):
        taught(corpus, scenes, replace(OPTIONS, latent=20))


def test_a_foreign_start_is_refused(corpus):
    from portrait_rig.core.face.models import DEFAULT

    with pytest.raises(UserError, match="holds no scene generator"):
        load_scene_generator(DEFAULT)
