"""The second stage on a toy that a core trains in seconds: the sheet's, with a reader and a picture of sixteen numbers.

Found there (3000 steps of 64 pairs): error 0.14-0.17, leak 0.005-0.009 with differences, error 0.44-0.48 with absolute
wishes.
"""

from __future__ import annotations

import pytest
import torch
from portrait_rig.core.errors import UserError
from portrait_rig.core.networks.rig import COMPONENTS, DIFFERENCE, FULL, SUBSET, swapped
from portrait_rig.core.training.loop import RunSettings, train
from portrait_rig.core.training.rig_measures import measured, residual
from portrait_rig.core.training.rignet import Reader, RigNetLesson, RigNetSettings, RigTrainer
from portrait_rig.core.training.supervised import SupervisedSettings
from torch import nn

LAYERS, WIDTH = 6, 16
GROUPS = (("identity", 4), ("expression", 4), ("angles", 3), ("light", 3), ("translation", 2))
PARAMETERS = sum(count for _, count in GROUPS)


class ToyReader(nn.Module):
    """Tanh of a random linear map."""

    def __init__(self):
        super().__init__()
        random = torch.Generator().manual_seed(1)
        weight = torch.randn(LAYERS * WIDTH, PARAMETERS, generator=random) / (LAYERS * WIDTH) ** 0.5
        self.register_buffer("weight", weight)

    def forward(self, ws):
        return torch.tanh(ws.flatten(1) @ self.weight)


class ToyCodes:
    """Random codes; those kept from the training come last."""

    fingerprint, about = "toy", "toys"

    def __init__(self, count=4096):
        self.all = torch.randn(count, LAYERS, WIDTH, generator=torch.Generator().manual_seed(2))
        self.rows, self.held_out = torch.arange(count - 256), torch.arange(count - 256, count)

    def codes(self, rows):
        return self.all[rows]


class ToyView:
    """A picture is a non-linear function of parameters; pictures of codes show what the reader reads in them."""

    def __init__(self, codes, reader):
        self.codes, self.reader, self.calls = codes, reader, []
        random = torch.Generator().manual_seed(3)
        self.first = torch.randn(PARAMETERS, 64, generator=random) / PARAMETERS**0.5
        self.second = torch.randn(64, 48, generator=random) / 8

    def picture(self, rows):
        return torch.sin(rows @ self.first) @ self.second + rows @ self.first[:, :48]

    def distances(self, numbers, rows, shown=None):
        self.calls.append((numbers, rows.detach(), shown))
        shown = self.reader(self.codes.codes(numbers)) if shown is None else shown
        off = self.picture(rows) - self.picture(shown).detach()
        return {"colours": off.square().mean(1)}


def toy(components=("pose",), steps=300, batch=64, seed=0, rate=2e-3, **changed):
    codes, reader = ToyCodes(), ToyReader()
    view = ToyView(codes, reader)
    settings = SupervisedSettings(steps=steps, batch=batch, rate=rate, decay=0.0, average=0.99, seed=seed)
    known = Reader(reader, GROUPS, torch.ones(PARAMETERS))
    rig = RigNetSettings(components, **changed)
    lesson = RigNetLesson(codes, known, view, settings, rig)
    return RigTrainer(settings, lesson), view


def taught(**told):
    trainer, _ = toy(**told)
    for step in range(trainer.settings.steps):
        trainer.advance(step)
    return trainer.lesson.validation(trainer.average)


# The toy's targets ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("component", "balanced"), [("pose", True), ("pose", False), ("expression", True)])
def test_differences_edit_exactly_and_leave_the_rest(component, balanced):
    found = taught(components=(component,), balanced=balanced, steps=250, rate=1e-2)
    assert found[f"{component} error"] < 0.25
    assert found[f"{component} leak"] < 0.03
    assert found[f"{component} residual"] < 0.02


def test_absolute_wishes_edit_less_exactly():
    found = {mode: taught(mode=mode, reconstruction=1.0, steps=150, rate=1e-2) for mode in (FULL, SUBSET, DIFFERENCE)}
    assert found[FULL]["pose error"] < 0.6 and found[SUBSET]["pose error"] < 0.6
    assert found[DIFFERENCE]["pose error"] < found[FULL]["pose error"]
    assert found[DIFFERENCE]["pose residual"] < found[FULL]["pose residual"]


def test_pictures_serve_as_what_is_read_does_where_both_agree():
    """The toy's pictures show exactly what the reader reads."""
    read, seen = taught(steps=10), taught(steps=10, pictures=True)
    assert read == pytest.approx(seen, abs=1e-6)


def test_without_training_nothing_is_edited():
    trainer, _ = toy()
    found = trainer.lesson.validation(trainer.average)
    assert found["pose error"] == pytest.approx(1, abs=1e-6)
    assert found["pose leak"] == found["pose residual"] == 0


# The losses ----------------------------------------------------------------------------------------------------------


def test_every_pair_comes_both_ways_and_is_compared_with_the_right_picture():
    """Mixing up whose picture is compared is the classic mistake: training goes on, edits vanish."""
    trainer, view = toy(batch=8, pictures=True, balanced=False)
    view.calls.clear()
    numbers = trainer.lesson.corpus.rows[trainer.lesson._batch.at(0)]
    trainer.advance(0)
    own = view.reader(view.codes.codes(numbers))
    other = own[[4, 5, 6, 7, 0, 1, 2, 3]]
    (of_v, as_other, _), (of_w, as_own, _) = view.calls[-2:]
    assert of_v.tolist() == numbers[[4, 5, 6, 7, 0, 1, 2, 3]].tolist() and of_w.tolist() == numbers.tolist()
    pose = slice(8, 11)
    rest = [i for i in range(PARAMETERS) if not 8 <= i < 11]
    assert torch.equal(as_other[:, rest], other[:, rest]) and torch.equal(as_own[:, pose], own[:, pose])
    # before the first step nothing is edited, so what is swapped in is w's own
    assert torch.allclose(as_other[:, pose], own[:, pose]) and torch.allclose(as_own[:, rest], own[:, rest])


def test_an_untrained_network_has_the_unit_losses():
    """Nothing edited: the edit's loss is its unit, nothing else has changed."""
    trainer, _ = toy(batch=1024, steps=3)
    losses = trainer.advance(0).losses
    assert losses["edit"] == pytest.approx(1, rel=0.15)  # of other pairs
    assert losses["consistency"] == losses["reconstruction"] == 0


def test_together_every_component_is_edited():
    trainer, _ = toy(components=tuple(COMPONENTS), steps=40, rate=1e-2)
    assert trainer.product == "pose_expression_light" and set(trainer.network) == set(COMPONENTS)
    for step in range(40):
        trainer.advance(step)
    found = trainer.lesson.validation(trainer.average)
    assert all(found[f"{component} error"] < 0.9 for component in COMPONENTS)


def test_layers_that_are_left_out_stay():
    trainer, _ = toy(layers={"pose": (1, 2)}, steps=5)
    for step in range(5):
        trainer.advance(step)
    ws, rows = torch.randn(3, LAYERS, WIDTH), torch.randn(3, 3)
    moved = trainer.average["pose"](ws, rows)
    changed = (moved != ws).flatten(2).any(2).all(0)
    assert changed.tolist() == [False, True, True, False, False, False]


@pytest.mark.parametrize("components", [(), ("pose", "hair")])
def test_what_a_rig_does_not_edit_is_refused(components):
    with pytest.raises(UserError, match="A rig edits pose, expression, light"):
        RigNetSettings(components)


def test_one_latent_is_no_pair():
    with pytest.raises(UserError, match="2 latents or more"):
        toy(batch=1)


# Runs ----------------------------------------------------------------------------------------------------------------


def test_a_run_stops_goes_on_and_logs_the_validation(tmp_path):
    straight, _ = toy(steps=6)
    whole = train(straight, tmp_path / "whole", RunSettings(6))
    first, _ = toy(steps=6)
    train(first, tmp_path / "parts", RunSettings(3))
    second, _ = toy(steps=6)
    outcome = train(second, tmp_path / "parts", RunSettings(6), resume=True)
    assert outcome.first == 3 and whole.last == outcome.last
    for a, b in zip(straight.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(a, b)
    assert "pose error" in (tmp_path / "whole" / "losses.jsonl").read_text().splitlines()[0]


def test_a_run_of_another_mode_is_not_gone_on_with(tmp_path):
    train(toy(steps=2)[0], tmp_path, RunSettings(2))
    with pytest.raises(UserError, match=r"mode difference_subset \(now absolute_full\)"):
        train(toy(steps=4, mode=FULL)[0], tmp_path, RunSettings(4), resume=True)


# Measures ------------------------------------------------------------------------------------------------------------


def test_measures_of_known_edits():
    before, wanted = torch.zeros(4, PARAMETERS), torch.zeros(4, PARAMETERS)
    wanted[:, 8:11] = 2.0  # the pose
    after = before.clone()
    after[:, 8:11], after[:, 4:8] = 1.5, 0.3
    found = measured(before, after, wanted, torch.full((PARAMETERS,), 2.0), GROUPS, "pose", torch.ones(PARAMETERS))
    assert found.error == pytest.approx(0.25)
    assert found.leaks == pytest.approx({"identity": 0, "expression": 0.15, "light": 0, "translation": 0})
    assert found.leak == pytest.approx(0.15 / 4)


def test_numbers_without_effect_do_not_count():
    before, wanted = torch.zeros(4, PARAMETERS), torch.ones(4, PARAMETERS)
    effects = torch.ones(PARAMETERS)
    effects[9:11], effects[4:8] = 0, 0
    after = before.clone()
    after[:, 8], after[:, 5] = 1, 1
    found = measured(before, after, wanted, torch.ones(PARAMETERS), GROUPS, "pose", effects)
    assert found.error == found.leak == 0


def test_residual_is_a_share_of_the_codes_spread():
    codes = torch.randn(64, 2, 3, generator=torch.Generator().manual_seed(0)) + 5
    off = (codes - codes.mean(0)) * 0.01
    assert residual(codes, codes + off) == pytest.approx(0.01, rel=1e-4)


def test_swaps_keep_gradients_to_the_edited_only():
    own, other = torch.zeros(1, 3), torch.ones(1, 3)
    edited = torch.full((1, 3), 2.0, requires_grad=True)
    as_other, as_own = swapped(own, other, edited, [1])
    assert as_other.tolist() == [[1, 2, 1]] and as_own.tolist() == [[2, 0, 2]]
    as_other.sum().backward()
    assert edited.grad.tolist() == [[0, 1, 0]]
