"""The embedded regressor, recogniser and landmark finder on people that they have not seen: loose bars, few pictures.

The figures beside the bars are those of the 16 pictures here; `benchmarks/toon_networks.md` has those of many.
"""

from __future__ import annotations

import pytest
import torch
from portrait_rig.core.face.models import load_face_model
from portrait_rig.core.methods.find_toon import load_toon_finder
from portrait_rig.core.methods.identity import load_identity_network
from portrait_rig.core.methods.regress import load_face_regressor
from portrait_rig.core.toon.corpus import HELD_OUT, Corpus, CorpusSettings, render_corpus
from portrait_rig.core.training.faceless import KINDS, faceless
from portrait_rig.core.training.supervised import generator
from portrait_rig.core.training.toon_measures import finder_quality, identity_quality, regressor_quality


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("held-out")
    for _ in render_corpus(folder, CorpusSettings(4, 4, first=HELD_OUT)):
        pass
    return Corpus(folder)


def test_the_regressor_sees_pose_and_expression(corpus):
    quality = regressor_quality(load_face_regressor(), corpus, load_face_model())
    assert quality["angles"] < 3
    assert quality["expression"] > 0.8 and quality["light"] > 0.7


def test_the_recogniser_tells_people_apart(corpus):
    quality = identity_quality(load_identity_network(), corpus)
    assert quality["AUC"] > 0.97 and quality["AUC bare and dressed"] > 0.95


def test_the_finder_finds_every_face_once(corpus):
    quality = finder_quality(load_toon_finder(), corpus)
    assert quality["missed"] == 0 and quality["extra"] == 0
    assert quality["error"] < 4


NO_FACES = [kind for kind in KINDS if kind not in ("shuffled", "upside down")]
"""Those two hold faces of a kind, which are sometimes found."""


@pytest.mark.parametrize("kind", NO_FACES)
def test_the_finder_passes_over_what_is_no_face(kind, corpus):
    spare, finder = corpus.pictures([3])[0].float() / 255, load_toon_finder()
    seen = torch.stack([faceless(kind, 128, spare, generator(HELD_OUT, number)) for number in range(3)])
    assert finder.find(seen) == [[], [], []]
