"""The loop around a training, driven by a trainer of one number: files, going on, stopping, what is not finite."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from PIL import Image
from portrait_rig.core.checkpoints import read
from portrait_rig.core.errors import UserError
from portrait_rig.core.optimise import DONE, NOT_FINITE
from portrait_rig.core.training import loop
from portrait_rig.core.training.loop import RunSettings, Step, train


class Counter:
    """Adds a number that depends on the step; `bad` steps are not finite and change nothing."""

    product, main = "count", True

    def __init__(self, bad=(), fails_at=None):
        self.value, self.bad, self.fails_at, self.made = torch.zeros(1), bad, fails_at, []

    def advance(self, step):
        self.made.append(step)
        if step == self.fails_at:
            self.value += 1000  # half a step
            raise MemoryError
        if step in self.bad:
            return Step({"loss": math.nan})
        self.value = self.value * 1.5 + math.sin(step)
        return Step({"loss": float(self.value)}, {"figure": step})

    def state(self):
        return {"value": self.value}, {"note": "état"}

    def load_state(self, tensors, plain):
        assert plain == {"note": "état"}
        self.value = tensors["value"]

    def sheet(self):
        return torch.full((3, 4, 6), 0.5)

    def packed(self):
        return {"value": self.value}, {"name": "a count"}


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def steps_logged(folder):
    lines = (folder / loop.LOSSES).read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["step"] for line in lines]


SHORT = RunSettings(7, checkpoint_every=3, sheet_every=2, keep=2, command="do it")


def test_a_run_writes_what_it_promises(tmp_path):
    outcome = train(Counter(), tmp_path / "run", SHORT)
    assert (outcome.first, outcome.steps, outcome.stopped, outcome.skipped) == (0, 7, DONE, 0)
    assert files(tmp_path / "run") == [
        "checkpoint-00000006.safetensors",
        "checkpoint-00000007.safetensors",
        "count.safetensors",
        "latest.json",
        "losses.jsonl",
        *(f"sheets/{n:08d}.png" for n in (0, 2, 4, 6, 7)),
    ]
    product = read(outcome.product)
    assert product.metadata == {"name": "a count", "command": "do it", "steps": "7"}
    assert float(product.tensors["value"]) == outcome.last.losses["loss"]
    assert steps_logged(tmp_path / "run") == list(range(1, 8))
    line = json.loads((tmp_path / "run" / loop.LOSSES).read_text().splitlines()[2])
    assert line.keys() == {"step", "seconds", "loss", "figure"} and line["figure"] == 2
    with Image.open(tmp_path / "run" / "sheets" / "00000004.png") as picture:
        assert picture.size == (6, 4)


def test_a_stopped_run_ends_like_one_that_was_not(tmp_path):
    whole = train(Counter(), tmp_path / "whole", SHORT)
    first = train(Counter(), tmp_path / "parts", RunSettings(4))
    second = train(Counter(), tmp_path / "parts", SHORT, resume=True)
    assert (first.steps, second.first, second.steps) == (4, 4, 7)
    assert second.last == whole.last
    ends = [read(tmp_path / folder / "checkpoint-00000007.safetensors") for folder in ("whole", "parts")]
    assert ends[0].metadata == ends[1].metadata and torch.equal(ends[0].tensors["value"], ends[1].tensors["value"])
    assert steps_logged(tmp_path / "parts") == list(range(1, 8))


def test_going_on_without_a_run_begins_one(tmp_path):
    assert train(Counter(), tmp_path, SHORT, resume=True).first == 0


def test_a_finished_run_is_left_as_it_is(tmp_path):
    train(Counter(), tmp_path, SHORT)
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in files(tmp_path) if "checkpoint" in name}
    trainer = Counter()
    outcome = train(trainer, tmp_path, SHORT, resume=True)
    assert trainer.made == [] and (outcome.first, outcome.steps, outcome.last) == (7, 7, None)
    assert before == {name: (tmp_path / name).stat().st_mtime_ns for name in files(tmp_path) if "checkpoint" in name}


def test_a_run_is_not_written_over(tmp_path):
    train(Counter(), tmp_path, SHORT)
    with pytest.raises(UserError, match=r"already holds a run\. Switch on resume"):
        train(Counter(), tmp_path, SHORT)


def test_cancel_keeps_every_step(tmp_path):
    def watch(step, total, loss, preview):
        assert total == 7 and preview().shape == (3, 4, 6)
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(Counter(), tmp_path, SHORT, watch)
    trainer = Counter()
    outcome = train(trainer, tmp_path, SHORT, resume=True)
    assert trainer.made == [5, 6] and outcome.first == 5
    assert outcome.last == train(Counter(), tmp_path / "whole", SHORT).last


def test_a_failure_within_a_step_leaves_the_checkpoint_before(tmp_path):
    with pytest.raises(MemoryError):
        train(Counter(fails_at=5), tmp_path, SHORT)
    assert json.loads((tmp_path / loop.LATEST).read_text())["steps"] == 3
    assert steps_logged(tmp_path) == [1, 2, 3, 4, 5] and "sheets/00000004.png" in files(tmp_path)
    outcome = train(Counter(), tmp_path, SHORT, resume=True)
    assert outcome.first == 3 and steps_logged(tmp_path) == list(range(1, 8))
    assert outcome.last == train(Counter(), tmp_path / "whole", SHORT).last


def test_a_stop_while_a_checkpoint_is_written_leaves_the_one_before(tmp_path, monkeypatch):
    real, written = loop.save_safetensors, []

    def fails_at_the_second(path, tensors, metadata):
        written.append(Path(path).name)
        if written.count("checkpoint-00000006.safetensors"):
            raise KeyboardInterrupt
        real(path, tensors, metadata)

    monkeypatch.setattr(loop, "save_safetensors", fails_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        train(Counter(), tmp_path, SHORT)
    monkeypatch.undo()
    assert train(Counter(), tmp_path, SHORT, resume=True).first == 3


def test_a_log_that_breaks_off_is_mended(tmp_path):
    train(Counter(), tmp_path, RunSettings(3))
    with (tmp_path / loop.LOSSES).open("a") as file:
        file.write('{"step": 4, "los')
    train(Counter(), tmp_path, SHORT, resume=True)
    assert steps_logged(tmp_path) == list(range(1, 8))


def test_steps_that_are_not_finite_are_counted_and_logged_as_null(tmp_path):
    outcome = train(Counter(bad=(2, 3)), tmp_path, SHORT)
    assert (outcome.steps, outcome.skipped, outcome.stopped) == (7, 2, DONE)
    lines = [json.loads(line) for line in (tmp_path / loop.LOSSES).read_text().splitlines()]
    assert [line["loss"] is None for line in lines] == [False, False, True, True, False, False, False]


def test_too_many_in_a_row_end_the_run(tmp_path):
    outcome = train(Counter(bad=range(2, 100)), tmp_path, RunSettings(100, patience=4))
    assert (outcome.steps, outcome.skipped, outcome.stopped) == (7, 5, NOT_FINITE)
    assert json.loads((tmp_path / loop.LATEST).read_text())["steps"] == 7


def test_it_refuses_inference_mode(tmp_path):
    with torch.inference_mode(), pytest.raises(RuntimeError, match="inference_mode"):
        train(Counter(), tmp_path, SHORT)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"checkpoint": 3}'])
def test_a_damaged_pointer_is_a_sentence(tmp_path, content):
    train(Counter(), tmp_path, SHORT)
    (tmp_path / loop.LATEST).write_text(content)
    with pytest.raises(UserError, match=r"latest\.json' is damaged"):
        train(Counter(), tmp_path, SHORT, resume=True)


def test_foreign_checkpoints_are_refused(tmp_path):
    train(Counter(), tmp_path, SHORT)
    other = Counter()
    other.product = "sum"
    with pytest.raises(UserError, match="belongs to a training of a count, not a sum"):
        train(other, tmp_path, SHORT, resume=True)
    (tmp_path / loop.LATEST).write_text('{"checkpoint": "count.safetensors"}')
    with pytest.raises(UserError, match=r"'count\.safetensors' is no checkpoint of a training"):
        train(Counter(), tmp_path, SHORT, resume=True)
    (tmp_path / "checkpoint-00000007.safetensors").write_bytes(b"short")
    (tmp_path / loop.LATEST).write_text('{"checkpoint": "checkpoint-00000007.safetensors"}')
    with pytest.raises(UserError, match="checkpoint-00000007"):
        train(Counter(), tmp_path, SHORT, resume=True)


def test_only_the_main_process_writes(tmp_path):
    trainer = Counter()
    trainer.main = False
    outcome = train(trainer, tmp_path, SHORT)
    assert files(tmp_path) == [] and outcome.steps == 7 and outcome.sheet is None
