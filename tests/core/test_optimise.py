from __future__ import annotations

import math

import pytest
import torch
from portrait_rig.core.errors import UserError
from portrait_rig.core.optimise import (
    CONSTANT,
    COSINE,
    DONE,
    NOT_FINITE,
    PLATEAU,
    PROJECTOR,
    TOTAL,
    AdamSettings,
    LoopSettings,
    minimise,
    run,
)
from torch import nn

TARGET = torch.tensor([1.0, -2.0, 3.0])


def distance(parameters):
    return ((parameters["x"] - TARGET) ** 2).sum()


def test_a_quadratic_is_solved():
    result = minimise({"x": torch.zeros(3)}, distance, AdamSettings(steps=300, rate=0.1, schedule=COSINE))
    assert (result.parameters["x"] - TARGET).abs().max() < 1e-3  # measured 1.3e-5
    assert result.stopped == DONE
    assert result.steps == 300


def test_what_came_in_is_never_written_to():
    start = torch.zeros(3, requires_grad=True)
    result = minimise({"x": start}, distance, AdamSettings(steps=5, rate=0.1))
    assert start.eq(0).all()
    assert start.grad is None
    assert not result.parameters["x"].requires_grad


def test_terms_are_added_up_and_kept_in_the_history():
    def loss(parameters):
        return {"far": distance(parameters), "large": 0.5 * parameters["x"].square().sum()}

    result = minimise({"x": torch.ones(3)}, loss, AdamSettings(steps=4))
    assert set(result.history) == {"far", "large", TOTAL}
    assert all(len(values) == 4 for values in result.history.values())
    assert result.history[TOTAL][0] == pytest.approx(result.history["far"][0] + 1.5)


def test_the_best_state_is_returned_although_the_run_went_past_it():
    settings = AdamSettings(steps=4, rate=0.3)
    result = minimise({"x": torch.tensor([1.2])}, lambda p: (p["x"] - 1).square().sum(), settings)
    assert result.loss == min(result.history[TOTAL])
    assert result.step < result.steps
    assert (result.parameters["x"] - 1).square().item() == pytest.approx(result.loss)


def test_a_noisy_loss_may_ask_for_the_last_state():
    kept = AdamSettings(steps=4, rate=0.3, keep_best=False)
    result = minimise({"x": torch.tensor([1.2])}, lambda p: (p["x"] - 1).square().sum(), kept)
    assert result.step == result.steps == 4


def test_rates_are_per_parameter():
    def loss(parameters):
        return parameters["slow"].square().sum() + parameters["fast"].square().sum()

    start = {"slow": torch.ones(1), "fast": torch.ones(1)}
    result = minimise(start, loss, AdamSettings(steps=1, keep_best=False, rate=0.1, rates={"slow": 0.001}))
    # Adam's first step has the length of the rate, whatever the gradient.
    assert result.parameters["fast"].item() == pytest.approx(0.9, abs=1e-5)
    assert result.parameters["slow"].item() == pytest.approx(0.999, abs=1e-5)
    with pytest.raises(ValueError, match="slwo"):
        minimise(start, loss, AdamSettings(rates={"slwo": 1.0}))


def test_limits_hold_and_may_be_left_again():
    settings = AdamSettings(steps=200, rate=0.1, limits={"x": (-1.0, 2.5)}, schedule=COSINE)
    result = minimise({"x": torch.tensor([0.0, 5.0, 0.0])}, distance, settings)
    torch.testing.assert_close(result.parameters["x"], torch.tensor([1.0, -1.0, 2.5]), atol=1e-3, rtol=0)


def test_long_gradients_are_clipped_together():
    seen = []

    def loss(parameters):
        parameters["x"].register_hook(lambda gradient: seen.append(gradient.norm().item()))
        return 100 * distance(parameters)

    free = minimise({"x": torch.zeros(3)}, loss, AdamSettings(steps=3, rate=0.1, keep_best=False))
    clipped = minimise({"x": torch.zeros(3)}, loss, AdamSettings(steps=3, rate=0.1, keep_best=False, clip=1e-7))
    assert min(seen) > 1
    # A gradient of 1e-7 is near Adam's epsilon of 1e-8, which then shortens the step.
    assert clipped.parameters["x"].norm() < 0.97 * free.parameters["x"].norm()


def test_a_module_is_tuned_without_touching_it():
    torch.manual_seed(0)
    module = nn.Linear(2, 1)
    before = module.weight.detach().clone()
    x, y = torch.randn(16, 2), torch.randn(16, 1)

    def loss(parameters):
        return (torch.func.functional_call(module, parameters, (x,)) - y).square().mean()

    result = minimise(dict(module.named_parameters()), loss, AdamSettings(steps=50, rate=0.05))
    assert result.loss < 0.9 * result.history[TOTAL][0]
    assert torch.equal(module.weight, before)
    assert not torch.equal(result.parameters["weight"], before)


@pytest.mark.parametrize(
    ("schedule", "done", "factor"),
    [
        (CONSTANT, 0.0, 1.0),
        (CONSTANT, 1.0, 1.0),
        (COSINE, 0.0, 1.0),
        (COSINE, 0.5, 0.5),
        (COSINE, 1.0, 0.0),
        (PROJECTOR, 0.0, 0.0),
        (PROJECTOR, 0.025, 0.5),
        (PROJECTOR, 0.5, 1.0),
        (PROJECTOR, 0.875, 0.5),
    ],
)
def test_schedules(schedule, done, factor):
    assert schedule.factor(done) == pytest.approx(factor, abs=1e-12)


class Cliff:
    """x² left of 1, NaN from there on: steps upwards fall off."""

    def __init__(self):
        self.visited = []

    def __call__(self, parameters):
        x = parameters["x"]
        self.visited.append(x.item())
        return torch.where(x < 1, (x - 0.99).square(), torch.nan).sum()


def test_a_step_into_nan_is_undone_and_the_rate_halved():
    cliff = Cliff()
    result = minimise({"x": torch.zeros(1)}, cliff, AdamSettings(steps=40, rate=0.4))
    assert result.undone >= 1
    assert result.stopped == DONE
    assert math.isfinite(result.loss)
    assert result.loss < 0.05
    first = next(i for i, x in enumerate(cliff.visited) if x >= 1)
    assert cliff.visited[first + 1] == cliff.visited[first - 1]
    assert math.isnan(result.history[TOTAL][first])


def test_a_loss_that_stays_nan_stops_the_run_and_says_so():
    calls = []

    def loss(parameters):
        calls.append(1)
        return parameters["x"].sum() * (1.0 if parameters["x"].item() == 1 else math.nan)

    result = minimise({"x": torch.ones(1)}, loss, AdamSettings(steps=100, retries=3))
    assert result.stopped == NOT_FINITE
    assert result.parameters["x"].item() == 1
    assert result.undone == 4
    assert len(calls) < 12


def test_an_infinite_gradient_of_a_finite_loss_counts_too():
    def loss(parameters):
        x = parameters["x"]
        return (x if x.item() > 0.05 else x + (0 * x).sqrt()).sum()  # down there the slope is 0 · ∞

    result = minimise({"x": torch.tensor([0.1])}, loss, AdamSettings(steps=30, rate=0.1, retries=2))
    assert result.undone > 0
    assert result.parameters["x"].isfinite().all()


def test_nan_at_the_start_is_a_sentence_that_names_the_term():
    with pytest.raises(UserError, match=r"cannot start.*\(pixels\)"):
        minimise(
            {"x": torch.ones(1)},
            lambda p: {"fine": p["x"].sum(), "pixels": p["x"].sum() * math.nan},
            AdamSettings(),
        )


def test_a_plateau_ends_the_run():
    settings = AdamSettings(steps=500, rate=0.1, patience=10)
    result = minimise({"x": TARGET.clone()}, lambda p: 1 + distance(p), settings)
    assert result.stopped == PLATEAU
    assert result.steps == 11


def test_any_exception_out_of_watch_passes_through():
    class Stop(Exception):
        pass

    def watch(step, total, loss, preview):
        assert total == 100
        if step == 3:
            raise Stop

    start = torch.zeros(3)
    with pytest.raises(Stop):
        minimise({"x": start}, distance, AdamSettings(steps=100), watch)
    assert start.eq(0).all()


def test_the_preview_is_made_only_when_asked_for_and_shows_the_moment():
    made, shown = [], []

    def preview(parameters):
        made.append(1)
        return parameters["x"].detach().clone()

    def watch(step, total, loss, preview):
        if step in (2, 5):
            shown.append(preview())

    minimise({"x": torch.zeros(3)}, distance, AdamSettings(steps=6, rate=0.1), watch, preview)
    assert len(made) == 2
    assert shown[1].norm() > shown[0].norm() > 0


def test_inference_mode_is_refused_in_words():
    with torch.inference_mode(), pytest.raises(RuntimeError, match=r"inference_mode.*host\.optimising"):
        minimise({"x": torch.zeros(3)}, distance, AdamSettings(steps=1))


def test_tensors_made_in_inference_mode_may_come_in():
    with torch.inference_mode():
        start = torch.zeros(3)
    assert minimise({"x": start}, distance, AdamSettings(steps=3)).loss < 14


def test_gradients_are_on_inside_no_grad():
    with torch.no_grad():
        assert minimise({"x": torch.zeros(3)}, distance, AdamSettings(steps=3)).steps == 3


def test_no_steps_returns_what_came_in():
    result = minimise({"x": TARGET}, distance, AdamSettings(steps=0))
    assert torch.equal(result.parameters["x"], TARGET)
    assert math.isnan(result.loss)


def test_another_stepper_runs_in_the_same_loop():
    class Newton:
        def __init__(self):
            self.parameters = {"x": torch.zeros(3)}

        def evaluate(self):
            return {"loss": distance(self.parameters).item()}

        def restore(self, values):
            raise AssertionError("nothing here is ever undone")

        def move(self, factor):
            self.parameters["x"] += factor * (TARGET - self.parameters["x"])

    result = run(Newton(), LoopSettings(steps=3))
    assert result.loss == 0
    assert result.step == 2


def test_rows_of_a_batch_do_not_feel_each_other():
    starts = torch.tensor([[0.0, 0.0, 0.0], [5.0, 5.0, 5.0]])
    settings = AdamSettings(steps=20, rate=0.1)
    both = minimise({"x": starts}, distance, settings).parameters["x"]
    for row in range(2):
        alone = minimise({"x": starts[row : row + 1]}, distance, settings).parameters["x"]
        torch.testing.assert_close(both[row : row + 1], alone)
