"""Signs, angles and cameras, each against numbers worked out by hand or published."""

from __future__ import annotations

import math

import pytest
import torch
from portrait_rig.core.errors import UserError
from portrait_rig.core.face.camera import (
    GANFIT_DISTANCE,
    angles_from_matrix,
    deep3d_camera,
    default_camera,
    ganfit_camera,
    look_at,
    place,
    project,
    rotation_matrix,
)
from portrait_rig.core.types import Camera


def row(*values):
    return torch.tensor([values], dtype=torch.float64)


@pytest.mark.parametrize(
    ("angles", "point", "turned"),
    [
        ((math.pi / 2, 0, 0), (0, 0, 1), (0, -1, 0)),  # pitch: the nose goes down
        ((0, math.pi / 2, 0), (0, 0, 1), (1, 0, 0)),  # yaw: the nose goes to the picture's right
        ((0, 0, math.pi / 2), (1, 0, 0), (0, 1, 0)),  # roll: what is right goes up
        ((math.pi / 2, math.pi / 2, 0), (0, 1, 0), (1, 0, 0)),  # pitch comes first
        ((0, math.pi / 2, math.pi / 2), (0, 0, 1), (0, 1, 0)),  # roll comes last
    ],
)
def test_the_sense_and_order_of_the_angles(angles, point, turned):
    result = place(row(*point)[None], row(*angles), row(10, 20, 30))
    torch.testing.assert_close(result[0], row(*turned) + row(10, 20, 30))


def test_angles_survive_the_matrix():
    random = torch.Generator().manual_seed(0)
    angles = (torch.rand(500, 3, generator=random, dtype=torch.float64) - 0.5) * torch.tensor([6.2, 3.1, 6.2])
    torch.testing.assert_close(angles_from_matrix(rotation_matrix(angles)), angles)


@pytest.mark.parametrize("yaw", [math.pi / 2, -math.pi / 2])
def test_at_the_pole_the_matrix_survives_the_angles(yaw):
    rotation = rotation_matrix(row(0.4, yaw, 0.9))
    angles = angles_from_matrix(rotation)
    assert angles[0, 2] == 0
    torch.testing.assert_close(rotation_matrix(angles), rotation)


def test_rotations_are_rotations():
    rotation = rotation_matrix(torch.randn(20, 3, dtype=torch.float64))
    identity = torch.eye(3, dtype=torch.float64).expand(20, 3, 3)
    torch.testing.assert_close(rotation @ rotation.mT, identity)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(20, dtype=torch.float64))


def test_perspective_by_hand():
    camera = Camera(row(100)[0], row(32, 24), (48, 64))
    screen = project(camera, row(1, 2, -5)[None])
    assert screen.tolist() == [[[32 + 100 / 5, 24 - 200 / 5, 5]]]


def test_weak_perspective_scales_all_points_by_the_depth_of_the_origin():
    camera = Camera(row(100)[0], row(32, 24), (48, 64), perspective=False)
    points = torch.tensor([[[1, 2, -5], [1, 2, -3.0]]], dtype=torch.float64)
    screen = project(camera, points, row(0, 0, -4))
    assert screen.tolist() == [[[32 + 25, 24 - 50, 5], [32 + 25, 24 - 50, 3]]]


def test_weak_perspective_needs_the_translation():
    with pytest.raises(UserError, match="translation"):
        project(default_camera((4, 4), perspective=False), torch.zeros(1, 1, 3))


def test_one_camera_goes_with_many_frames_and_many_with_one():
    assert project(default_camera((4, 4)), -torch.ones(3, 2, 3)).shape == (3, 2, 3)
    assert project(default_camera((4, 4), frames=3), -torch.ones(1, 2, 3)).shape == (3, 2, 3)
    assert place(torch.ones(1, 2, 3), torch.zeros(3, 3), torch.zeros(1, 3)).shape == (3, 2, 3)
    with pytest.raises(UserError, match=r"camera: 2, points: 3"):
        project(default_camera((4, 4), frames=2), -torch.ones(3, 2, 3))
    with pytest.raises(UserError, match=r"vertices: 2, angles: 3"):
        place(torch.ones(2, 2, 3), torch.zeros(3, 3), torch.zeros(1, 3))


def test_projection_has_the_gradients_of_finite_differences():
    points = (torch.rand(2, 4, 3, dtype=torch.float64) - torch.tensor([0.5, 0.5, 3])).requires_grad_()
    translation = row(0, 0, -3).requires_grad_()
    focal = row(50)[0].requires_grad_()
    for perspective in (True, False):
        def drawn(points, translation, focal, perspective=perspective):
            return project(Camera(focal, row(8, 8), (16, 16), perspective), points, translation)
        assert torch.autograd.gradcheck(drawn, (points, translation, focal))
    angles = torch.rand(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: place(points.detach(), a, translation.detach()), angles)


def test_deep3d_sees_as_published():
    """Focal 1015 and centre 112 at 224 pixels; Z counts from the camera."""
    screen = project(deep3d_camera(), row(0.3, -0.2, -9.5)[None].float())
    torch.testing.assert_close(screen[0, 0], torch.tensor([112 + 1015 * 0.3 / 9.5, 112 + 1015 * 0.2 / 9.5, 9.5]))


def test_a_resized_camera_shows_the_same_view():
    small, large = deep3d_camera(), deep3d_camera(size=448)
    torch.testing.assert_close(small.resized((448, 448)).focal, large.focal)
    torch.testing.assert_close(small.resized((448, 448)).principal, large.principal)


def test_ganfit_at_rest_looks_from_six_units_and_sees_a_little_more_than_one():
    angles, translation = look_at(row(0, 0, GANFIT_DISTANCE), row(0, 0, 0), row(0, 1, 0))
    assert angles.abs().max() == 0
    assert translation.tolist() == [[0, 0, -6]]
    screen = project(ganfit_camera((512, 512)), row(0, 6 * math.tan(math.radians(10)), -6)[None].float())
    torch.testing.assert_close(screen[0, 0], torch.tensor([256.0, 0, 6]), rtol=0, atol=1e-3)  # float32 of 512 px


def test_looking_from_the_right_turns_the_face_to_the_left():
    angles, translation = look_at(row(5, 0, 0), row(0, 0, 0), row(0, 1, 0))
    torch.testing.assert_close(angles, row(0, -math.pi / 2, 0))
    torch.testing.assert_close(place(row(5, 0, 0)[None], angles, translation)[0], row(0, 0, 0))
    torch.testing.assert_close(place(row(0, 0, 0)[None], angles, translation)[0], row(0, 0, -5))


def test_the_field_of_view_is_vertical():
    camera = default_camera((100, 300), field_of_view=90)
    screen = project(camera, torch.tensor([[[0, 1, -1.0]]]))
    torch.testing.assert_close(screen[0, 0], torch.tensor([150.0, 0, 1]), rtol=0, atol=1e-4)
    with pytest.raises(UserError, match="got 180"):
        default_camera((4, 4), field_of_view=180)
