"""Corpora of the toon world: what is in them, that they go on after a stop, and what is refused."""

from __future__ import annotations

import pytest
import torch
from portrait_rig.core.errors import UserError
from portrait_rig.core.toon.corpus import (
    BARE,
    PORTRAIT,
    Corpus,
    CorpusSettings,
    read_settings,
    render_corpus,
    shard_path,
)
from portrait_rig.core.toon.world import ToonWorld, scene
from portrait_rig.core.toon.world.vector import scene_vector, vector_names

SETTINGS = CorpusSettings(people=3, moments=2, size=24, shard=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    assert list(render_corpus(folder, SETTINGS)) == [0, 1, 2]
    return folder


def test_holds_people_at_moments_and_their_truth(folder):
    corpus = Corpus(folder)
    assert corpus.count == 6 and corpus.pictures([0, 5, 3]).shape == (3, 3, 24, 24)
    assert corpus.truth("person").tolist() == [0, 0, 1, 1, 2, 2]
    assert corpus.truth("kind").tolist() == [PORTRAIT, BARE] * 3
    identity = corpus.truth("identity")
    assert torch.equal(identity[0], identity[1]) and not torch.equal(identity[0], identity[2])
    assert not torch.equal(corpus.truth("angles")[0], corpus.truth("angles")[1])
    assert corpus.truth("scene").shape == (6, len(vector_names()))


def test_first_moments_are_the_seeds_own_pictures(folder):
    shot = ToonWorld.load().render(scene(1), 24)
    corpus = Corpus(folder)
    pixels = (shot.picture * 255).round().byte()
    assert torch.equal(corpus.pictures([2])[0], pixels)
    torch.testing.assert_close(corpus.truth("landmarks68")[2], shot.landmarks68)


def test_a_stopped_rendering_goes_on_with_what_is_missing(folder, tmp_path):
    work = render_corpus(tmp_path, SETTINGS)
    assert [next(work), next(work)] == [0, 1]
    work.close()
    assert Corpus(tmp_path).count == 4
    kept = shard_path(tmp_path, 0).stat().st_mtime_ns
    assert list(render_corpus(tmp_path, SETTINGS)) == [1, 2]
    assert shard_path(tmp_path, 0).stat().st_mtime_ns == kept
    assert torch.equal(Corpus(tmp_path).pictures(range(6)), Corpus(folder).pictures(range(6)))


def test_a_corpus_grows_while_it_is_used(tmp_path):
    work = render_corpus(tmp_path, SETTINGS)
    next(work), next(work)
    corpus = Corpus(tmp_path)
    assert corpus.count == 4
    list(work)
    assert corpus.refresh() == 6 and len(corpus.truth("person")) == 6


def test_figures_are_half_as_wide(tmp_path):
    settings = CorpusSettings(people=1, moments=2, size=32, figures=True, bare=False)
    assert list(render_corpus(tmp_path, settings)) == [0, 1]
    corpus = Corpus(tmp_path)
    assert corpus.pictures([1]).shape == (1, 3, 32, 16)
    assert corpus.truth("scene").shape == (2, len(vector_names(figure=True)))


def test_another_corpus_in_the_folder_is_refused(folder):
    with pytest.raises(UserError, match="holds another corpus"):
        next(render_corpus(folder, CorpusSettings(people=3, moments=3, size=24)))


def test_a_folder_without_a_corpus_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no corpus"):
        read_settings(tmp_path)
    (tmp_path / "corpus.json").write_text("{")
    with pytest.raises(UserError, match="holds no corpus"):
        Corpus(tmp_path)


def test_senseless_settings_are_refused():
    with pytest.raises(UserError, match="1 or more"):
        CorpusSettings(people=0)


def test_rows_tell_scenes_apart_and_stay_small():
    rows = torch.tensor([scene_vector(scene(seed)) for seed in range(200)])
    assert len(rows.unique(dim=0)) == 200
    assert rows.abs().max() < 4 and (rows.std(0) > 0.01).float().mean() > 0.97


def test_a_bare_head_wears_nothing_and_keeps_the_face():
    dressed = scene(0)
    bare = dressed.bare()
    assert (bare.hair.style, bare.hat.kind, bare.glasses.shape, bare.beard) == ("bald", "none", "none", "none")
    assert bare.identity == dressed.identity and bare.view == dressed.view


def test_another_outfit_leaves_the_person():
    before = scene(3)
    after = before.varied(10**6, view=False, mood=False, light=False, outfit=True, hair=True)
    assert after.clothes != before.clothes and after.hair.colour == before.hair.colour
    assert (after.identity, after.albedo, after.view, after.lamp) == (
        before.identity, before.albedo, before.view, before.lamp,
    )  # fmt: skip
