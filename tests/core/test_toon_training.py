"""Trainings of the toon networks: the same losses again, the same weights after a stop, files that load; tiny ones."""

from __future__ import annotations

import itertools
import json

import pytest
import torch
from portrait_rig.core.checkpoints import read, save_safetensors
from portrait_rig.core.errors import UserError
from portrait_rig.core.face.landmarks import mirrored_points, move_points
from portrait_rig.core.face.mirror import mirrored_params
from portrait_rig.core.face.models import load_face_model
from portrait_rig.core.methods.find_toon import Boxes, box_of, crops, load_toon_finder, merged, roll_of, squares
from portrait_rig.core.methods.identity import load_identity_network
from portrait_rig.core.methods.regress import load_face_regressor
from portrait_rig.core.networks import landmark_finder
from portrait_rig.core.networks.iresnet import IResNetOptions
from portrait_rig.core.networks.landmark_finder import FinderOptions, LandmarkFinder, Marker
from portrait_rig.core.networks.resnet import ResNetOptions
from portrait_rig.core.toon.corpus import Corpus, CorpusSettings, render_corpus
from portrait_rig.core.training.faceless import KINDS, faceless
from portrait_rig.core.training.loop import RunSettings, train
from portrait_rig.core.training.supervised import Rows, SupervisedSettings, SupervisedTrainer, generator
from portrait_rig.core.training.toon_identity import IdentityLesson, margin_loss
from portrait_rig.core.training.toon_landmarks import SCENE, LandmarksLesson, scout_terms, targets
from portrait_rig.core.training.toon_measures import _auc, regressor_quality
from portrait_rig.core.training.toon_regressor import RegressorLesson
from portrait_rig.core.training.toon_truth import corpus_params, projected

TINY = SupervisedSettings(steps=6, batch=4)
NARROW = ResNetOptions.basic((1, 1, 1), 4)
FINDER = FinderOptions(ResNetOptions.basic((1, 1), 4), NARROW, 32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four people of three pictures each, the last one bare."""
    made = tmp_path_factory.mktemp("corpus")
    assert list(render_corpus(made, CorpusSettings(4, 3, size=64, shard=8)))[-1] == 2
    return made


@pytest.fixture
def corpus(folder):
    return Corpus(folder)


def regressor(corpus, settings=TINY, held_out=None):
    return RegressorLesson(corpus, load_face_model(), settings, held_out, NARROW)


def identity(corpus, settings=TINY, held_out=None):
    options = IResNetOptions((1, 1, 1, 1), (4, 4, 8, 8), 8, 32)
    return IdentityLesson(corpus, SupervisedSettings(steps=settings.steps, batch=6), held_out, options)


def landmarks(corpus, settings=TINY, held_out=None):
    return LandmarksLesson(corpus, settings, held_out, FINDER)


LESSONS = {"regressor": regressor, "identity": identity, "landmarks": landmarks}
LOADERS = {"regressor": load_face_regressor, "identity": load_identity_network, "landmarks": load_toon_finder}


def trained(kind, corpus, folder, steps, resume=False):
    lesson = LESSONS[kind](corpus)
    trainer = SupervisedTrainer(SupervisedSettings(steps=6, batch=6 if kind == "identity" else 4), lesson)
    run = RunSettings(steps, checkpoint_every=2, sheet_every=100, command="train again")
    outcome = train(trainer, folder, run, resume=resume)
    lines = (folder / "losses.jsonl").read_text(encoding="utf-8").splitlines()
    return outcome, [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


@pytest.mark.parametrize("kind", LESSONS)
def test_a_run_gives_the_same_losses_again_and_after_a_stop(kind, corpus, tmp_path):
    whole, first = trained(kind, corpus, tmp_path / "whole", 4)
    _, again = trained(kind, corpus, tmp_path / "again", 2)
    assert again == first[:2]
    resumed, after = trained(kind, corpus, tmp_path / "again", 4, resume=True)
    assert resumed.first == 2 and len(first) == 4
    for ours, theirs in zip(first, after, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6)
    one, two = read(whole.product).tensors, read(resumed.product).tensors
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("kind", LESSONS)
def test_the_file_says_how_it_was_made_and_loads(kind, corpus, tmp_path):
    lesson = LESSONS[kind](corpus, held_out=corpus)
    trainer = SupervisedTrainer(TINY, lesson)
    outcome = train(trainer, tmp_path / "run", RunSettings(1, command="how to"))
    metadata = read(outcome.product).metadata
    assert metadata["command"] == "how to" and metadata["licence"] == "Apache-2.0" and metadata["steps"] == "1"
    assert json.loads(metadata["measured"]) and json.loads(metadata["settings"])["batch"] == 4
    assert outcome.product.name == f"toon_{kind}.safetensors"
    assert LOADERS[kind](outcome.product).describe()


@pytest.mark.parametrize("kind", LESSONS)
def test_learning_lowers_the_loss_of_a_step_that_is_made_again(kind, corpus):
    trainer = SupervisedTrainer(SupervisedSettings(steps=4, batch=6, rate=5e-3), LESSONS[kind](corpus))
    losses = [sum(trainer.advance(0).losses.values()) for _ in range(25)]
    assert losses[-1] < 0.8 * losses[0]


def test_another_setting_is_refused_on_going_on(corpus, tmp_path):
    trained("landmarks", corpus, tmp_path, 2)
    trainer = SupervisedTrainer(SupervisedSettings(steps=6, batch=4, rate=1.0), landmarks(corpus))
    with pytest.raises(UserError, match=r"rate 0.002 \(now 1.0\)"):
        train(trainer, tmp_path, RunSettings(4), resume=True)


def test_a_run_can_be_made_longer_and_its_rate_rises_again(corpus, tmp_path):
    trained("landmarks", corpus, tmp_path, 6)
    trainer = SupervisedTrainer(SupervisedSettings(steps=60, batch=4), landmarks(corpus))
    outcome = train(trainer, tmp_path, RunSettings(7), resume=True)
    rates = [json.loads(line)["rate"] for line in (tmp_path / "losses.jsonl").read_text(encoding="utf-8").splitlines()]
    assert outcome.first == 6 and rates[6] > 5 * rates[5]


def test_a_loss_that_is_not_finite_changes_no_weight(corpus):
    trainer = SupervisedTrainer(TINY, landmarks(corpus))
    trainer.lesson.losses = lambda *_: {"broken": torch.tensor(torch.nan, requires_grad=True)}
    before = [p.clone() for p in trainer.network.parameters()]
    assert not trainer.advance(0).whole
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.network.parameters(), strict=True))


def test_rows_come_all_once_an_epoch_and_see_a_collection_grow():
    counts = iter([6, 10])
    rows = Rows(lambda: next(counts), 3, seed=1)
    first = torch.cat([rows.at(0), rows.at(1)])
    assert sorted(first.tolist()) == list(range(6))
    assert rows.at(2).max() < 10 and rows.total == 10
    other = Rows(lambda: 0, 3, seed=1)
    other.go_on(rows.progress())
    assert torch.equal(other.at(3), rows.at(3))


def test_too_few_pictures_for_a_step_are_named():
    with pytest.raises(UserError, match="2 pictures to learn from, fewer than the 3"):
        Rows(lambda: 2, 3, seed=0).at(0)


def test_a_recogniser_needs_several_pictures_of_several_people(tmp_path):
    list(render_corpus(tmp_path, CorpusSettings(2, 2, size=16)))
    with pytest.raises(UserError, match="3 or more pictures of each person"):
        IdentityLesson(Corpus(tmp_path), TINY)


def test_mirrored_parameters_and_points_are_those_of_the_mirrored_picture(corpus, head):
    params = corpus_params(corpus, head)
    mirrored = mirrored_params(params, head)
    marks = head.subset(head.surface().landmark_vertices())
    there = _inner(marks, projected(marks, mirrored))
    assert torch.allclose(there, _inner(marks, mirrored_marks_of(marks, params)), atol=1e-3)  # measured 8e-6
    back = mirrored_params(mirrored, head)
    for name in ("identity", "expression", "albedo", "joints", "angles", "translation", "light"):
        assert torch.equal(getattr(back, name), getattr(params, name))


def mirrored_marks_of(model, params):
    vertices = projected(model, params)
    points = model.landmarks68.on(torch.nn.functional.pad(vertices, (0, 1)), model.faces)[..., :2]
    return mirrored_points(points, params.camera.size[1])


def _inner(model, places):
    if places.shape[1] == 68:
        return places
    return model.landmarks68.on(torch.nn.functional.pad(places, (0, 1)), model.faces)[..., :2]


def test_the_margin_makes_the_right_answer_harder_and_likeness_pays():
    random = torch.Generator().manual_seed(0)
    centres = torch.nn.functional.normalize(torch.randn(4, 1, 16, generator=random), dim=2)
    alike = torch.nn.functional.normalize(centres + 0.05 * torch.randn(4, 3, 16, generator=random), dim=2)
    mixed = alike.flatten(0, 1)[torch.randperm(12, generator=random)].unflatten(0, (4, 3))
    assert margin_loss(alike, 0.0) < margin_loss(alike, 0.5) < margin_loss(mixed, 0.5)


def test_targets_ask_for_a_face_at_its_middle_only():
    middle, side = torch.tensor([[52.0, 44.0]]), torch.tensor([32.0])
    yes, no = torch.tensor([True]), torch.tensor([False])
    wanted, asked = targets(middle, side, yes, yes)
    assert asked[0, 5, 6] == 1 and asked[0, 0, 0] == 0 and asked[0, 4, 5] == -1
    assert wanted[0, 1, 5, 6] == 0 and wanted[0, 2, 5, 6] == 0 and wanted[0, 3, 5, 6] == 0
    assert not targets(middle, side, no, no)[1].any()
    maps = wanted.clone()
    maps[:, 0] = torch.where(wanted[:, 0] > 0, 20.0, -20.0)
    assert all(float(term) < 1e-6 for term in scout_terms(maps, wanted, asked).values())


def test_squares_put_a_turned_face_upright(corpus):
    points = corpus.truth("landmarks68")
    middle, side = box_of(points)
    there = move_points(points, squares(middle, side, roll_of(points), 80))
    assert roll_of(there).abs().max() < 1e-3
    assert (box_of(there)[0] - 40).abs().max() < 3 and there.min() > 0 and there.max() < 80


def test_crops_of_a_large_picture_average():
    checks = (torch.arange(256)[:, None] + torch.arange(256)) % 2
    picture = checks.float().expand(1, 3, 256, 256)
    matrices = torch.diag(torch.tensor([32 / 256, 32 / 256, 1.0]))[None]
    assert (crops(picture, matrices, 32) - 0.5).abs().max() < 1e-3


def test_overlapping_boxes_become_the_best_one():
    middle = torch.tensor([[10.0, 10], [11, 10], [50, 50]])
    kept = merged(Boxes(middle, torch.tensor([10.0, 10, 10]), torch.tensor([0.5, 0.9, 0.7])))
    assert kept.score.tolist() == pytest.approx([0.9, 0.7])


def test_a_finder_comes_back_from_its_tensors():
    network = LandmarkFinder(FINDER).eval()
    back = landmark_finder.from_tensors(network.state_dict())
    seen, faces = torch.rand(2, 3, 40, 56), torch.rand(2, 3, 32, 32)
    for one, two in zip(network(seen, faces), back(seen, faces), strict=True):
        assert torch.equal(one, two)
    assert back.options == FINDER


@pytest.mark.parametrize("missing", ["scout.trunk.conv1.weight", "marker.head.bias", "scout.trunk.layer2.0.bn1.bias"])
def test_an_incomplete_finder_is_refused(missing):
    tensors = LandmarkFinder(FINDER).state_dict()
    del tensors[missing]
    with pytest.raises(UserError, match="complete finder"):
        landmark_finder.from_tensors(tensors)


def test_a_foreign_file_is_no_finder(tmp_path):
    save_safetensors(tmp_path / "other.safetensors", {"weight": torch.zeros(2)})
    with pytest.raises(UserError, match=r"'other\.safetensors' holds no finder of drawn faces, but: weight"):
        load_toon_finder(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    "wrong", [torch.zeros(3, 32, 32), torch.zeros(1, 1, 32, 32), torch.full((1, 3, 32, 32), torch.nan)]
)
def test_a_finder_refuses_what_is_no_picture(wrong, tmp_path):
    with pytest.raises(UserError, match="pictures"):
        finder(tmp_path).find(wrong)


def test_a_marker_refuses_another_size():
    with pytest.raises(UserError, match=r"\[B, 3, 32, 32\]; got \[1, 3, 64, 64\]"):
        Marker(NARROW, 32)(torch.rand(1, 3, 64, 64))


@pytest.mark.parametrize("size", [(1, 1), (7, 200), (33, 65)])
def test_a_finder_takes_pictures_of_any_size(size, tmp_path):
    assert isinstance(finder(tmp_path).find(torch.rand(1, 3, *size), 0.0)[0], list)


def test_no_pictures_hold_no_faces(tmp_path):
    assert finder(tmp_path).find(torch.rand(0, 3, 32, 32)) == []


def finder(tmp_path):
    save_safetensors(tmp_path / "finder.safetensors", LandmarkFinder(FINDER).eval().state_dict())
    return load_toon_finder(tmp_path / "finder.safetensors")


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_without_a_face_are_pictures_and_the_same_again(kind):
    portrait = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(1))
    one, two, other = (faceless(kind, SCENE, portrait, generator(seed)) for seed in (3, 3, 4))
    assert one.shape == (3, SCENE, SCENE) and one.min() >= 0 and one.max() <= 1
    assert torch.equal(one, two) and (kind == "upside down" or not torch.equal(one, other))


def test_areas_under_the_curve():
    alike = torch.tensor([[0, 0.9, 0.1], [0, 0, 0.5], [0, 0, 0]])
    same = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]]).bool()
    pairs = torch.ones(3, 3, dtype=torch.bool).triu(1)
    assert _auc(alike, same, pairs) == 1.0
    assert _auc(-alike, same, pairs) == 0.0
    assert _auc(torch.zeros(3, 3), same, pairs) == 0.5


def test_perfect_answers_measure_as_perfect(corpus, head):
    class Knows:
        def regress(self, pictures):
            return corpus_params(corpus, head)

    quality = regressor_quality(Knows(), corpus, head)
    for name in ("angles", "points"):
        assert quality[name] == pytest.approx(0, abs=1e-4)
    for name, kind in itertools.product(("identity", "expression", "albedo", "light"), ("", " each")):
        assert quality[name + kind] == pytest.approx(1, abs=1e-5)
