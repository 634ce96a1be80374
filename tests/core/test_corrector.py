"""The corrector, solved on rigs whose every answer is known."""

from __future__ import annotations

import torch
import toy_rig
from portrait_rig.core.networks.rig import Corrector, Dfr
from portrait_rig.core.training import corrector as module
from portrait_rig.core.training.corrector import covariance, solve_corrector

GROUPS = (("turn", 1), ("size", 3), ("nothing", 0), ("colour", 2))
LAYERS, WIDTH, PEOPLE = 3, 8, 400


def linear(directions):
    """A DFR that reads codes along `directions` [P, L, C], and nothing else."""
    outputs = len(directions)
    dfr = Dfr(LAYERS, WIDTH, outputs, outputs)
    lift = 200.0  # above 0 an ELU is a straight line
    for layer, weight, bias in (
        (dfr.layers[0], directions.flatten(1), lift),
        (dfr.layers[2], torch.eye(outputs), 0.0),
        (dfr.layers[4], torch.eye(outputs), -lift),
    ):
        layer.weight.data.copy_(weight)
        layer.bias.data.fill_(bias)
    return dfr.eval().requires_grad_(False)


def codes(spread=1.0):
    return spread * torch.randn(PEOPLE, LAYERS, WIDTH, generator=torch.Generator().manual_seed(0))


def directions(count):
    return torch.randn(count, LAYERS, WIDTH, generator=torch.Generator().manual_seed(1))


def test_without_noise_it_undoes_what_a_linear_dfr_reads(monkeypatch):
    monkeypatch.setattr(module, "NOISE", 0.0)
    dfr, ws = linear(directions(6)), codes()
    solved = solve_corrector(dfr, ws, GROUPS, torch.ones(6))
    off = torch.randn(5, 6, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(dfr(ws[:5] + solved(off)) - dfr(ws[:5]), off, rtol=0, atol=2e-3)


def test_of_all_changes_it_takes_the_likeliest(monkeypatch):
    """Two numbers of every code say the same, and one of them varies ten times as much among codes."""
    monkeypatch.setattr(module, "NOISE", 0.0)
    reads = torch.zeros(1, LAYERS, WIDTH)
    reads[..., :2] = 1.0
    ws = codes()
    ws[..., 1] *= 10
    solved = solve_corrector(linear(reads), ws, (("turn", 1),), torch.ones(1))
    assert abs(solved.gain[0, :, :2].sum() - 1) < 1e-3
    ratio = solved.gain[0, :, 1] / solved.gain[0, :, 0]
    expected = covariance(ws)[1].sum() / covariance(ws)[0].sum()
    assert (solved.gain[0, :, 1] > 0.28).all() and abs(expected) > 10 and (ratio.abs() > 10).all()


def test_noise_makes_it_careful():
    """What it brings of a wish for one number that varies alone is 1 / (1 + NOISE), whatever the number's unit."""
    reads = torch.zeros(2, LAYERS, WIDTH)
    reads[0, 0, 0], reads[1, 1, 1] = 1.0, 50.0
    dfr, ws = linear(reads), codes(0.3)
    for effects in (torch.ones(2), torch.tensor([7.0, 0.2])):
        solved = solve_corrector(dfr, ws, (("turn", 1), ("colour", 1)), effects)
        brought = (dfr(ws[:1] + solved(torch.eye(2))) - dfr(ws[:1])).diagonal()
        torch.testing.assert_close(brought, torch.full((2,), 1 / (1 + module.NOISE)), rtol=0.12, atol=0)


def test_numbers_without_effect_or_spread_are_left_alone():
    reads = directions(6)
    reads[0] = 0
    solved = solve_corrector(linear(reads), codes(), GROUPS, torch.tensor([1.0, 1, 0, 1, 1, 1]))
    reads[4:] = 1e-12
    assert not solve_corrector(linear(reads), codes(), GROUPS, torch.ones(6)).gain[4:].any()
    assert solved.gain.isfinite().all()
    assert not solved.gain[0].any() and not solved.gain[2].any()


def test_gradients_may_be_switched_off_around_it_and_its_inputs_stay():
    dfr, ws = linear(directions(6)), codes()
    before = ws.clone()
    plain = solve_corrector(dfr, ws, GROUPS, torch.ones(6))
    with torch.no_grad():
        again = solve_corrector(dfr, ws, GROUPS, torch.ones(6))
    assert torch.equal(plain.gain, again.gain) and torch.equal(ws, before) and not again.gain.requires_grad


def test_it_is_linear():
    corrector = Corrector(directions(6))
    off = torch.randn(2, 6, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(corrector(off[:1] + 2 * off[1:]), corrector(off[:1]) + 2 * corrector(off[1:]))
    assert corrector(off[:0]).shape == (0, LAYERS, WIDTH)


def test_on_the_exact_rig_it_comes_near_the_exact_one(head):
    rig = toy_rig.exact_rig(head)
    ws = toy_rig.showing(rig, toy_rig.faces(head, 300, seed=5)).w
    solved = solve_corrector(rig.dfr, ws, rig.coding.groups, torch.ones(len(rig.coding)))
    off = rig.rows(ws[:20]).roll(1, 0) - rig.rows(ws[:20])
    brought = rig.dfr(ws[:20] + solved(off)) - rig.dfr(ws[:20])
    assert (brought - off).norm() < 0.9 * off.norm()
