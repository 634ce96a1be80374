"""The commands that train the toon networks: a file comes out, a run goes on, mistakes are told."""

from __future__ import annotations

import pytest
from portrait_rig.__main__ import main
from portrait_rig.core.toon.corpus import CorpusSettings, render_corpus
from portrait_rig.headless.train_toon import KINDS


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    for _ in render_corpus(folder, CorpusSettings(2, 3, size=48)):
        pass
    return folder


def test_a_training_stops_goes_on_and_leaves_its_file(corpus, tmp_path, capsys):
    command = ["train", "toon-landmarks", "--corpus", str(corpus), "--out", str(tmp_path), "--batch", "2"]
    command += ["--steps", "3"]
    assert main([*command, "--stop", "1"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "toon_landmarks.safetensors")
    assert main(command) == 1
    assert "already holds a run" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 0
    assert len((tmp_path / "losses.jsonl").read_text(encoding="utf-8").splitlines()) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_corpus_is_told(kind, tmp_path, capsys):
    assert main(["train", kind, "--corpus", str(tmp_path), "--out", str(tmp_path / "run")]) == 1
    assert "holds no corpus of the toon world" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_batch_that_the_corpus_cannot_fill_is_told(corpus, tmp_path, capsys):
    assert main(["train", "toon-regressor", "--corpus", str(corpus), "--out", str(tmp_path), "--batch", "64"]) == 1
    assert "6 pictures to learn from, fewer than the 64" in capsys.readouterr().err


def test_a_batch_of_nothing_is_told(corpus, tmp_path, capsys):
    assert main(["train", "toon-regressor", "--corpus", str(corpus), "--out", str(tmp_path), "--batch", "0"]) == 1
    assert "a batch of 0" in capsys.readouterr().err
