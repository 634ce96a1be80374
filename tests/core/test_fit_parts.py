from __future__ import annotations

import math

import pytest
import torch
from portrait_rig.core.errors import UserError
from portrait_rig.core.face.camera import default_camera, place, project
from portrait_rig.core.face.light import shade
from portrait_rig.core.face.model import Group
from portrait_rig.core.methods.fit.frames import fill, in_turn, join, smooth
from portrait_rig.core.methods.fit.gauss_newton import FIRST_DAMPING, GaussNewton, Prior, robust
from portrait_rig.core.methods.fit.light_solver import solve_light, solve_tone
from portrait_rig.core.methods.fit.pose import closed_form_pose
from portrait_rig.core.methods.fit.priors import fitted_expressions, fitted_joints, landmark_priors
from portrait_rig.core.optimise import LoopSettings, run
from portrait_rig.core.types import FaceParams

FAR = 1e6
"""A width at which nothing is an outlier."""


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def solve(parameters, residuals, width=FAR, priors=None, steps=12):
    return run(GaussNewton(parameters, residuals, width, priors or {}), LoopSettings(steps=steps)).parameters


def test_a_linear_problem_with_a_ridge_is_solved_exactly():
    design, wanted = randn(2, 20, 5), randn(2, 20, seed=1)
    found = solve(
        {"x": torch.zeros(2, 5, dtype=torch.float64)},
        lambda p: (torch.einsum("bpk,bk->bp", design, p["x"]) - wanted).unflatten(1, (10, 2)),
        priors={"x": Prior(ridge=0.7)},
    )["x"]
    exact = torch.linalg.solve(design.mT @ design + 0.7 * torch.eye(5), (design.mT @ wanted[..., None]))[..., 0]
    torch.testing.assert_close(found, exact, atol=1e-8, rtol=0)


def test_shared_unknowns_come_out_as_in_the_one_large_problem():
    own, shared, wanted = randn(3, 8, 2), randn(3, 8, 4, seed=1), randn(3, 8, seed=2)
    found = solve(
        {"own": torch.zeros(3, 2, dtype=torch.float64), "shared": torch.zeros(1, 4, dtype=torch.float64)},
        lambda p: (
            torch.einsum("bpk,bk->bp", own, p["own"]) + torch.einsum("bpk,bk->bp", shared, p["shared"]) - wanted
        )[..., None],
        priors={"shared": Prior(ridge=0.5), "own": Prior(ridge=0.1)},
    )
    large = torch.cat([torch.block_diag(*own), shared.flatten(0, 1)], 1)
    ridge = torch.diag(torch.tensor([0.1] * 6 + [0.5] * 4, dtype=torch.float64))
    exact = torch.linalg.solve(large.T @ large + ridge, large.T @ wanted.flatten())
    torch.testing.assert_close(found["own"].flatten(), exact[:6], atol=1e-8, rtol=0)
    torch.testing.assert_close(found["shared"][0], exact[6:], atol=1e-8, rtol=0)


def test_limits_hold_and_the_rest_adapts():
    wanted = torch.tensor([[[2.0, 0.4]]], dtype=torch.float64)
    mix = torch.tensor([[1.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    found = solve(
        {"x": torch.zeros(1, 2, dtype=torch.float64)},
        lambda p: (p["x"] @ mix)[:, None] - wanted,
        priors={"x": Prior(low=0.0, high=1.0)},
    )["x"][0]
    assert found[0] == 1
    # With x₀ held at 1 the other solves min (1 + x/2 − 2)² + (1/2 + x − 0.4)², at x = 0.32.
    assert found[1].item() == pytest.approx(0.32, abs=1e-8)


def test_a_slope_makes_small_strengths_exactly_zero():
    wanted = torch.tensor([[[0.3], [0.8]]], dtype=torch.float64)
    found = solve(
        {"x": torch.full((1, 2), 0.5, dtype=torch.float64)},
        lambda p: p["x"][..., None] - wanted,
        priors={"x": Prior(slope=1.0, low=0.0, high=1.0)},
        steps=20,
    )["x"][0]
    assert found[0] == 0
    assert found[1].item() == pytest.approx(0.3, abs=1e-8)  # minimum of (x − 0.8)² + x


def test_an_outlier_counts_little():
    wanted = torch.zeros(1, 9, 1, dtype=torch.float64)
    wanted[0, 0] = 100.0
    found = solve({"x": torch.zeros(1, 1, dtype=torch.float64)}, lambda p: p["x"][:, None] - wanted, width=1.0)["x"]
    assert 0 < found.item() < 0.02
    assert robust(torch.tensor([[0.01, 0.0]]), 3.0).item() == pytest.approx(1e-4, rel=1e-4)


def test_frames_that_get_worse_stay_while_others_move():
    start = torch.tensor([[1.0], [0.0]], dtype=torch.float64)

    def residuals(p):  # frame 0 lies in a minimum that its slope does not show
        x = p["x"]
        return torch.stack([torch.where(x[:1] == 1, 0.1 * x[:1], x[:1].abs() + 5), x[1:] - 3], 0).reshape(2, 1, 1)

    stepper = GaussNewton({"x": start}, residuals, FAR, {})
    stepper.move(1.0)
    assert stepper.parameters["x"][0] == 1
    assert stepper.parameters["x"][1].item() == pytest.approx(3 / (1 + FIRST_DAMPING))


@pytest.mark.parametrize("turn", [0.0, 0.6, -0.9])
def test_a_parallel_view_gives_its_pose_back_exactly(turn):
    shape = randn(20, 3).float()
    camera = default_camera((200, 300), frames=2, perspective=False)
    angles = torch.tensor([[0.2, turn, -0.3], [-0.1, -turn, 2.0]])
    translation = torch.tensor([[0.5, -1.0, -40.0], [0.0, 2.0, -60.0]])
    seen = project(camera, place(shape.expand(2, -1, -1), angles, translation), translation)[..., :2]
    found_angles, found_translation = closed_form_pose(shape, seen, camera)
    torch.testing.assert_close(found_angles, angles, atol=1e-4, rtol=0)
    torch.testing.assert_close(found_translation, translation, atol=1e-3, rtol=1e-4)
    seen[:, 3] += 50
    with_outlier, _ = closed_form_pose(shape, seen, camera)
    assert (with_outlier - angles).abs().max() < 0.02


def test_points_without_area_have_no_pose():
    with pytest.raises(UserError, match="one line or in one point"):
        closed_form_pose(randn(5, 3).float(), torch.ones(1, 5, 2), default_camera((9, 9)))


def half_sphere(side=24):
    y, x = torch.meshgrid(torch.linspace(0.99, -0.99, side), torch.linspace(-0.99, 0.99, side), indexing="ij")
    inside = x.square() + y.square() < 0.9
    z = (1 - x.square() - y.square()).clamp_min(1e-3).sqrt()
    normals = torch.nn.functional.normalize(torch.stack([x, y, z], -1), dim=-1)[None]
    return normals, inside[None, ..., None].float()


def test_the_light_of_a_known_surface_is_found():
    normals, weight = half_sphere()
    albedo = torch.rand(1, *normals.shape[1:], generator=torch.Generator().manual_seed(0)) * 0.5 + 0.4
    light = torch.zeros(1, 9, 3)
    light[:, 0], light[:, 1], light[:, 2], light[:, 3] = 0.7, -0.1, 0.2, 0.15
    wanted = albedo * shade(light, normals)
    found = solve_light(wanted, albedo, normals, weight / 0.01)
    assert (albedo * shade(found, normals) - wanted)[weight[..., 0] > 0].abs().max() < 0.01  # measured 0.004
    assert (found - light).abs().max() < 0.02


def test_a_tint_is_told_from_the_light():
    normals, weight = half_sphere()
    albedo = torch.full_like(normals, 0.5)
    light = torch.zeros(1, 9, 3)
    light[:, 0], light[:, 2] = 0.6, 0.2
    tint = torch.tensor([1.2, 1.0, 0.8])
    found = solve_tone(albedo * tint * shade(light, normals), albedo, normals, weight)
    torch.testing.assert_close(found, tint[None], atol=0.02, rtol=0)


def test_nothing_visible_leaves_a_finite_light():
    normals, weight = half_sphere()
    found = solve_light(torch.ones_like(normals), torch.ones_like(normals), normals, 0 * weight)
    assert torch.isfinite(found).all()


def clip(head, frames) -> FaceParams:
    return head.neutral(default_camera((64, 64), frames=frames), frames)


def test_smoothing_keeps_slow_and_halves_the_named_period(head):
    time = torch.arange(200.0)
    wave = torch.stack([0.01 * time, 0.3 * torch.sin(2 * math.pi * time / 10), torch.full_like(time, 0.2)], 1)
    face = clip(head, 200)
    smoothed = smooth(FaceParams(**{**vars(face), "angles": wave}), 10.0, head).angles
    torch.testing.assert_close(smoothed[:, 0], wave[:, 0], atol=1e-4, rtol=0)
    torch.testing.assert_close(smoothed[60:140, 1], wave[60:140, 1] / 2, atol=1e-3, rtol=0)
    torch.testing.assert_close(smoothed[:, 2], wave[:, 2])
    assert smooth(face, 0.0, head) is face


def test_smoothing_does_not_turn_the_head_the_long_way_round(head):
    face = clip(head, 6)
    angles = torch.zeros(6, 3)
    angles[:, 2] = torch.tensor([3.1, 3.13, -3.13, -3.1, -3.07, -3.04])
    smoothed = smooth(FaceParams(**{**vars(face), "angles": angles}), 4.0, head).angles
    assert torch.diff(smoothed[:, 2]).abs().max() < 0.1


def test_gaps_are_filled_on_straight_lines_and_ends_repeated(head):
    face = clip(head, 2)
    face = FaceParams(**{**vars(face), "translation": torch.tensor([[0.0, 0.0, -4.0], [3.0, 0.0, -10.0]])})
    whole = fill(face, torch.tensor([False, True, False, False, True, False]))
    assert len(whole) == 6
    assert whole.translation[:, 0].tolist() == pytest.approx([0, 0, 1, 2, 3, 3])
    assert len(whole.camera.focal) == 6


def test_chunks_join_in_their_order(head):
    face = clip(head, 5)
    face = FaceParams(**{**vars(face), "angles": torch.arange(15.0).reshape(5, 3)})
    joined = join([face[:2], face[2:]])
    assert torch.equal(joined.angles, face.angles)
    assert torch.equal(joined.camera.principal, face.camera.principal)


def test_runs_in_turn_count_on():
    seen = []
    watches = in_turn(lambda step, total, loss, preview: seen.append((step, total)), [3, 2])
    watches[0](1, 3, 0.0, None)
    watches[1](2, 2, 0.0, None)
    assert seen == [(1, 5), (5, 5)]
    assert in_turn(None, [3, 2]) == [None, None]


def test_priors_follow_the_groups(head):
    priors = landmark_priors(head)
    assert priors["expression"].slope > 0
    assert (priors["expression"].low, priors["expression"].high) == (0.0, 1.0)
    assert (priors["identity"].slope, priors["identity"].high) == (0.0, 3.0)
    shown = dict(zip(head.expression.names, fitted_expressions(head).tolist(), strict=True))
    assert shown["jawOpen"]
    assert not shown["cheekPuff_L"]
    assert not fitted_joints(head).any()  # eyes move no landmark


def test_normal_expressions_have_no_slope():
    from portrait_rig.core.methods.fit.priors import _of

    prior = _of(Group.numbered("expression", 3), Prior(ridge=0.5, slope=4.0))
    assert prior == Prior(ridge=1.0, low=-3.0, high=3.0)
