"""The first stage: latents with what they show, and DFR taught by a regressor or by pictures; all on small things."""

from __future__ import annotations

import json

import pytest
import torch
import untrained
from portrait_rig.core.errors import UserError
from portrait_rig.core.face.coarse import coarse_face
from portrait_rig.core.methods.regress import load_face_regressor
from portrait_rig.core.methods.rig import load_rig
from portrait_rig.core.training.dfr import BOTH, PICTURES, DfrLesson, DfrSettings
from portrait_rig.core.training.latent_corpus import (
    Eye,
    LatentCorpus,
    LatentCorpusSettings,
    make_latent_corpus,
    mixed_codes,
)
from portrait_rig.core.training.loop import RunSettings, train
from portrait_rig.core.training.rig_view import FaceView
from portrait_rig.core.training.supervised import SupervisedSettings, SupervisedTrainer
from portrait_rig.core.types import Landmarks

SETTINGS = LatentCorpusSettings(count=104, side=12, shard=64, seed=3)


@pytest.fixture(scope="module")
def eye(head):
    return Eye(untrained.small((8, 8, 8), w_dim=12), load_face_regressor(), head, side=SETTINGS.side)


@pytest.fixture(scope="module")
def corpus(eye, head, tmp_path_factory):
    folder = tmp_path_factory.mktemp("latents")
    assert list(make_latent_corpus(folder, SETTINGS, eye)) == [1, 2]
    return LatentCorpus(folder, head)


def lesson_of(corpus, head, teacher="regressor", steps=4, rate=2e-3, **changed):
    settings = SupervisedSettings(steps=steps, batch=16, rate=rate, decay=0.0, average=0.9)
    return settings, DfrLesson(corpus, head, settings, DfrSettings(teacher, width=32, **changed))


# Latents -------------------------------------------------------------------------------------------------------------


def test_latents_are_mixtures_of_one_to_five_codes(eye):
    w = mixed_codes(eye.generator, SETTINGS, 0, 2000)
    assert w.shape == (2000, eye.generator.num_ws, eye.generator.w_dim)
    pieces = 1 + (w[:, 1:] != w[:, :-1]).any(2).sum(1)
    counts = pieces.bincount(minlength=6)
    assert counts[0] == 0 and len(counts) == 6 and (counts[1:] > 300).all()
    cut = (w[:, 1:] != w[:, :-1]).any(2).float().mean(0)
    assert (cut - cut.mean()).abs().max() < 0.06  # every place as often as another


def test_one_segment_gives_plain_codes_and_truncation_pulls_to_the_mean(eye):
    plain = LatentCorpusSettings(segments=1, seed=3)
    w = mixed_codes(eye.generator, plain, 0, 8)
    assert (w == w[:, :1]).all()
    half = mixed_codes(eye.generator, LatentCorpusSettings(segments=1, seed=3, truncation=0.5), 0, 8)
    assert torch.allclose(half, (w + eye.generator.w_avg) / 2, atol=1e-6)


def test_a_corpus_holds_what_its_latents_show(corpus, eye):
    rows = corpus.rows[:5]
    w = corpus.codes(rows)
    with torch.no_grad():
        seen = eye.see(w)
    assert corpus.side == SETTINGS.side and seen.pictures.shape == (5, 3, 12, 12)
    assert (corpus.pictures(rows) - seen.pictures).abs().max() < 0.51 / 255
    assert torch.allclose(corpus.params[rows].angles, seen.params.angles, atol=1e-5)
    assert torch.allclose(corpus.points[rows], seen.points, atol=1e-3)
    assert set(corpus.rows.tolist()) | set(corpus.held_out.tolist()) == set(range(104))
    assert corpus.held_out.tolist() == [49, 99]


def test_a_corpus_goes_on_and_grows_without_making_anything_twice(eye, head, tmp_path):
    small = LatentCorpusSettings(count=60, side=12, shard=64, seed=3)
    work = make_latent_corpus(tmp_path, small, eye)
    next(work)
    work.close()
    list(make_latent_corpus(tmp_path, SETTINGS, eye))
    grown = LatentCorpus(tmp_path, head)
    assert len(grown.rows) + len(grown.held_out) == 104
    made = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")}
    assert list(make_latent_corpus(tmp_path, SETTINGS, eye)) == [1, 2]
    assert made == {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")}


def test_latents_of_another_generator_or_seed_are_refused(corpus, eye, head):
    other = Eye(untrained.small((8, 8, 8), seed=1, w_dim=12), eye.regressor, head, side=SETTINGS.side)
    with pytest.raises(UserError, match="corpus of other latents: generator_fingerprint"):
        next(make_latent_corpus(corpus.folder, SETTINGS, other))
    with pytest.raises(UserError, match=r"seed 3 \(now 4\)"):
        next(make_latent_corpus(corpus.folder, LatentCorpusSettings(count=104, side=12, shard=64, seed=4), eye))


def test_a_folder_without_or_with_half_a_corpus_is_named(corpus, head, tmp_path):
    with pytest.raises(UserError, match="holds no corpus of latents"):
        LatentCorpus(tmp_path, head)
    (tmp_path / "corpus.json").write_text((corpus.folder / "corpus.json").read_text())
    with pytest.raises(UserError, match=r"not finished: there is no 00000\.safetensors"):
        LatentCorpus(tmp_path, head)


def test_too_few_latents_are_said(eye, head, tmp_path):
    few = LatentCorpusSettings(count=8, side=12)
    list(make_latent_corpus(tmp_path, few, eye))
    with pytest.raises(UserError, match="8 latents with a face, too few"):
        LatentCorpus(tmp_path, head)


def test_latents_without_a_face_are_left_out_and_found_points_are_kept(eye, head, tmp_path):
    def find(pictures):
        points = torch.rand(len(pictures), 68, 2, generator=torch.Generator().manual_seed(0)) * 4 + 6
        points[::4] = torch.nan
        return Landmarks(points, torch.ones(len(pictures)), tuple(pictures.shape[-2:]))

    seeing = Eye(eye.generator, eye.regressor, head, find, 8)
    list(make_latent_corpus(tmp_path, LatentCorpusSettings(count=112, side=8), seeing))
    found = LatentCorpus(tmp_path, head)
    assert all(row % 4 for row in [*found.rows.tolist(), *found.held_out.tolist()])
    assert found.points[found.rows].min() >= 3 and found.points[found.rows].max() <= 5  # 16 pixels became 8


@pytest.mark.parametrize("wrong", [{"count": 0}, {"side": 0}, {"segments": 0}, {"shard": 0}, {"seed": -1}])
def test_a_corpus_of_nothing_is_refused(wrong):
    with pytest.raises(UserError, match="from 1 and a seed from 0"):
        LatentCorpusSettings(**wrong)


# The coarse face and the view ----------------------------------------------------------------------------------------


def test_the_coarse_face_moves_as_the_whole_one_does(head):
    coarse = coarse_face(head)
    random = torch.Generator().manual_seed(0)
    shape = torch.randn(2, len(head.identity), generator=random), torch.rand(2, len(head.expression), generator=random)
    joints = torch.zeros(2, len(head.joints), 3)
    whole, part = head.vertices(*shape, joints), coarse.vertices(*shape, joints)
    apart = torch.cdist(part[0], whole[0], compute_mode="donot_use_mm_for_euclid_dist").amin(1)
    assert apart.max() < 1e-6  # its vertices are the head's
    assert torch.allclose(head.landmarks(whole), coarse.landmarks(part), atol=1e-6)
    drawn = coarse.face_region | ~coarse.skin_region
    assert 300 < int(drawn.sum()) < len(head.faces) / 8
    assert bool((~coarse.skin_region).any())  # eyes


def test_the_coarse_face_has_no_inside_of_the_mouth(head):
    coarse = coarse_face(head)
    still = torch.zeros(1, len(head.joints), 3)
    open_wide = torch.zeros(1, len(head.expression))
    open_wide[0, head.expression.names.index("jawOpen")] = 1
    rest = coarse.vertices(torch.zeros(1, len(head.identity)), open_wide, still)[0]
    corners = rest[coarse.faces[coarse.face_region | ~coarse.skin_region]]
    lips = coarse.landmarks(rest[None])[0, 60:68].mean(0)
    a, b, c = (corners[:, i, :2] - lips[:2] for i in range(3))
    turns = torch.stack([a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0], b[:, 0] * c[:, 1] - b[:, 1] * c[:, 0],
                         c[:, 0] * a[:, 1] - c[:, 1] * a[:, 0]])  # fmt: skip
    assert not bool((turns > 0).all(0).any())  # no triangle towards the viewer covers the gap between the lips


def test_the_view_sees_nothing_wrong_in_what_it_has_drawn_itself(corpus, head):
    _, lesson = lesson_of(corpus, head)
    rows = lesson.coding.encode(corpus.params[corpus.rows[:4]]).requires_grad_()
    same = lesson.view.distances(corpus.rows[:4], rows, rows.detach())
    assert all(float(value.detach().abs().max()) < 1e-9 for value in same.values())
    moved = rows + 0.5
    apart = lesson.view.distances(corpus.rows[:4], moved, rows.detach())
    sum(value.sum() for value in apart.values()).backward()
    assert all(bool((value > 0).all()) for value in apart.values()) and torch.isfinite(rows.grad).all()


def test_the_view_compares_with_the_pictures_and_points_of_the_corpus(corpus, head):
    _, lesson = lesson_of(corpus, head)
    rows = lesson.coding.encode(corpus.params[corpus.rows[:4]])
    own = lesson.view.distances(corpus.rows[:4], rows)
    others = lesson.view.distances(corpus.rows[4:8], rows)
    assert float(own["places"].max()) < 1e-6  # its points are the model's own
    assert float(others["places"].mean()) > 1e-4
    assert not torch.allclose(own["colours"], others["colours"])


def test_effects_are_those_of_the_numbers(corpus, head):
    """A number that is constant, or turns a round eye about its axis, does nothing; yaw does more than a blink."""
    _, lesson = lesson_of(corpus, head)
    effects = dict(zip([name for name, _ in lesson.coding.groups],
                       lesson.effects.split([count for _, count in lesson.coding.groups]), strict=True))  # fmt: skip
    assert (lesson.effects[lesson.coding.scale == 0] == 0).all()
    assert effects["angles"].max() > 2 * effects["expression"].max()  # 3.0 times measured


# DFR -----------------------------------------------------------------------------------------------------------------


def test_dfr_learns_from_the_regressor(corpus, head):
    settings, lesson = lesson_of(corpus, head, steps=60, rate=1e-2, noise=0.0)
    trainer = SupervisedTrainer(settings, lesson)
    first = trainer.advance(0).losses
    for step in range(1, 60):
        last = trainer.advance(step).losses
    assert sum(last.values()) < 0.7 * sum(first.values())  # measured: 0.56, on what is noise to it
    assert set(first) == {"identity", "expression", "albedo", "joints", "angles", "light", "translation"}


def test_pictures_teach_landmarks_first_then_colours(corpus, head):
    settings, lesson = lesson_of(corpus, head, PICTURES, steps=100)
    trainer = SupervisedTrainer(settings, lesson)
    early, late = trainer.advance(0).losses, trainer.advance(50).losses
    assert early["colours"] == 0 < late["colours"] and early["places"] > 0
    assert {"statistics identity", "statistics expression", "statistics albedo", "tint"} <= set(early)


def test_pictures_bring_the_landmarks_into_place(corpus, head):
    settings, lesson = lesson_of(corpus, head, PICTURES, steps=30, rate=1e-2, noise=0.0)
    trainer = SupervisedTrainer(settings, lesson)
    for parameter in trainer.network.parameters():  # a start that is off
        parameter.data.mul_(3)
    before = lesson.view.distances(corpus.rows, trainer.network(corpus.codes(corpus.rows)).detach())["places"].mean()
    for step in range(30):
        trainer.advance(step)
    after = lesson.view.distances(corpus.rows, trainer.network(corpus.codes(corpus.rows)).detach())["places"].mean()
    assert after < 0.7 * before  # measured: 0.50


def test_both_teachers_add_up(corpus, head):
    _, lesson = lesson_of(corpus, head, BOTH)
    terms = lesson.losses(lesson.network, 0, lambda network, ws: network(ws))
    assert {"angles", "light", "places", "tint"} <= set(terms)


def test_an_unknown_teacher_is_refused():
    with pytest.raises(UserError, match="one of regressor, pictures, both; got 'nobody'"):
        DfrSettings("nobody")


def test_the_product_reads_as_the_trained_network_does(corpus, head, tmp_path):
    settings, lesson = lesson_of(corpus, head)
    trainer = SupervisedTrainer(settings, lesson)
    outcome = train(trainer, tmp_path, RunSettings(4))
    rig = load_rig(outcome.product)
    ws = corpus.codes(corpus.held_out)
    assert torch.allclose(rig.dfr(ws), trainer.average(ws), atol=1e-4)
    assert rig.generator == corpus.generator and rig.size == (16, 16) and not rig.rignets
    assert outcome.sheet.shape[1] == 2 * SETTINGS.side
    log = [json.loads(line) for line in (tmp_path / "losses.jsonl").read_text().splitlines()]
    assert len(log) == 4


def test_rows_beyond_the_limits_have_gradients(corpus, head):
    _, lesson = lesson_of(corpus, head)
    view = FaceView(corpus, head, lesson.coding)
    rows = torch.full((1, len(lesson.coding)), -4.0, requires_grad=True)
    view.drawn(rows).places.sum().backward()
    start = dict(lesson.coding.groups)["identity"]
    assert (rows.grad[0, start : start + 43][lesson.effects[start : start + 43] > 1e-4] != 0).any()
