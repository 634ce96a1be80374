"""Parameters between pictures and crops, and through another camera: what is drawn stays the same."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from portrait_rig.core.errors import UserError
from portrait_rig.core.face.alignment import ALIGNMENTS
from portrait_rig.core.face.camera import default_camera, place, project, rotation_matrix
from portrait_rig.core.face.crop import Crop, Stage
from portrait_rig.core.face.light import rotated_light, sh_basis, shade
from portrait_rig.core.face.reframe import on_crop, on_picture, reframed, seen_by
from portrait_rig.core.types import Camera, Landmarks

SIZE = (160, 200)


def faces(head, frames=3, perspective=True, dtype=torch.float64):
    """Turned heads off the middle of the picture, under coloured light."""
    random = torch.Generator().manual_seed(0)
    params = head.neutral(default_camera(SIZE, 30.0, frames, perspective), frames)
    draw = {name: 0.3 * torch.randn(getattr(params, name).shape, generator=random) for name in ("angles", "light")}
    draw["translation"] = params.translation + torch.randn(frames, 3, generator=random) * 0.4
    return dataclasses.replace(params, **draw).map(lambda t: t.to(dtype))


def pixels(head, params):
    """[B, 68, 2]."""
    head = head.to(params.angles.dtype)
    vertices = head.vertices(params.identity, params.expression, params.joints)
    points = place(head.landmarks68.on(vertices, head.faces), params.angles, params.translation)
    head.float()
    return project(params.camera, points, params.translation)[..., :2]


def through(matrices, points):
    return points @ matrices[:, :2, :2].mT + matrices[:, None, :2, 2]


def similarity(angle, scale, shift):
    c, s = scale * math.cos(angle), scale * math.sin(angle)
    return torch.tensor([[[c, -s, shift[0]], [s, c, shift[1]], [0, 0, 1]]], dtype=torch.float64)


@pytest.mark.parametrize("perspective", [True, False], ids=["perspective", "weak"])
@pytest.mark.parametrize("angle", [0.0, 0.4, math.pi - 0.1], ids=["upright", "turned", "upside down"])
def test_pixels_move_with_the_crop(head, perspective, angle):
    params = faces(head, perspective=perspective)
    matrices = similarity(angle, 0.6, (-20.0, 13.0))
    moved = reframed(params, matrices, (90, 110))
    wanted = through(matrices, pixels(head, params))
    torch.testing.assert_close(pixels(head, moved), wanted, rtol=0, atol=1e-9)
    assert moved.camera.size == (90, 110) and len(moved) == 3


@pytest.mark.parametrize("kind", ALIGNMENTS)
def test_there_and_back(head, kind):
    params = faces(head)
    crop = ALIGNMENTS[kind](Landmarks(pixels(head, params), torch.ones(3), SIZE), 96)
    cut = on_crop(params, crop)
    off = (pixels(head, cut) - through(crop.matrices, pixels(head, params))).abs().max()
    assert off < (0.2 if kind in ("Deep3D", "EG3D") else 1e-9)  # these round the picture's sides; 0.09 measured
    back = on_picture(cut, crop)
    torch.testing.assert_close(pixels(head, back), pixels(head, params), rtol=0, atol=1e-9)
    torch.testing.assert_close(back.light, params.light, rtol=0, atol=1e-9)
    assert back.camera.size == SIZE


def test_the_light_turns_with_the_picture(head):
    """A picture lying on its side: what was lit from above is lit from the side that is above in it."""
    params = faces(head)
    turned = reframed(params, similarity(0.5 * math.pi, 1.0, (160.0, 0.0)), SIZE)
    normals = torch.nn.functional.normalize(torch.randn(3, 20, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    before, after = (normals.double() @ rotation_matrix(face.angles).mT for face in (params, turned))
    torch.testing.assert_close(shade(turned.light, after), shade(params.light, before))


def test_parameters_of_another_picture_size_are_scaled_first(head):
    params = faces(head)
    crop = Crop("cut", (Stage(similarity(0.0, 0.5, (3.0, 4.0)), (80, 80), "bilinear"),), SIZE)
    doubled = dataclasses.replace(params, camera=params.camera.resized((320, 400)))
    torch.testing.assert_close(pixels(head, on_crop(doubled, crop)), pixels(head, on_crop(params, crop)))


def test_one_crop_goes_with_all_faces_and_one_face_with_all_crops(head):
    params, matrices = faces(head), similarity(0.1, 2.0, (0.0, 5.0))
    many = torch.cat([matrices, similarity(-0.1, 1.0, (0.0, 0.0))])
    assert len(reframed(params, matrices, SIZE)) == 3
    one = reframed(params[:1], many, SIZE)
    assert len(one) == 2 and one.identity.shape[0] == 2 and one.camera.focal.shape == (2,)
    torch.testing.assert_close(one.camera.focal, params.camera.focal[:1] * torch.tensor([2.0, 1.0]).double())
    with pytest.raises(UserError, match=r"faces: 3, crops: 2"):
        reframed(params, many, SIZE)
    assert len(reframed(params[:0], many[:1], SIZE)) == 0


def test_a_crop_that_mirrors_is_refused(head):
    mirror = torch.diag(torch.tensor([-1.0, 1.0, 1.0]))[None]
    with pytest.raises(UserError, match="mirrors or flattens"):
        reframed(faces(head), mirror, SIZE)


def test_nothing_that_came_in_is_changed(head):
    params = faces(head)
    before = params.map(torch.clone)
    reframed(params, similarity(0.3, 2.0, (1.0, 1.0)), (50, 50))
    seen_by(params, default_camera(SIZE, 50.0, 3))
    for name in ("angles", "translation", "light", "identity"):
        assert torch.equal(getattr(params, name), getattr(before, name))
    assert torch.equal(params.camera.focal, before.camera.focal)


def test_light_turns_with_what_it_falls_on():
    random = torch.Generator().manual_seed(1)
    light = torch.randn(2, 9, 3, generator=random, dtype=torch.float64)
    rotation = rotation_matrix(torch.randn(2, 3, generator=random, dtype=torch.float64))
    normals = torch.nn.functional.normalize(torch.randn(2, 50, 3, generator=random, dtype=torch.float64), dim=-1)
    torch.testing.assert_close(shade(rotated_light(light, rotation), normals @ rotation.mT), shade(light, normals))
    assert sh_basis(normals).shape == (2, 50, 9)


def test_light_that_is_the_same_from_everywhere_does_not_turn():
    light = torch.zeros(1, 9, 3)
    light[:, 0] = 0.7
    turned = rotated_light(light, rotation_matrix(torch.tensor([[0.3, -0.8, 0.2]])))
    torch.testing.assert_close(turned, light, rtol=0, atol=1e-6)


# Another camera


def test_the_same_camera_changes_nothing(head):
    params = faces(head)
    same = seen_by(params, params.camera)
    torch.testing.assert_close(same.translation, params.translation)
    torch.testing.assert_close(same.angles, params.angles)
    torch.testing.assert_close(same.light, params.light)


def test_another_camera_and_back_changes_nothing(head):
    params = faces(head)
    moved = Camera(params.camera.focal * 1.3, params.camera.principal + 17.0, SIZE)
    back = seen_by(seen_by(params, moved), params.camera)
    for name in ("angles", "translation", "light"):
        torch.testing.assert_close(getattr(back, name), getattr(params, name), rtol=0, atol=1e-9)


@pytest.mark.parametrize("perspective", [True, False], ids=["perspective", "weak"])
def test_another_camera_shows_nearly_the_same(head, perspective):
    params = faces(head, perspective=perspective)
    other = Camera(params.camera.focal[:1] * 1.1, params.camera.principal[:1] + 12.0, SIZE, perspective)
    seen = seen_by(params, other)
    off = (pixels(head, seen) - pixels(head, params)).norm(dim=-1).max()
    assert off < (1.0 if perspective else 1e-9)  # pixels of 160; 0.6 measured, of 12 that the axis moved
    assert len(seen) == 3 and seen.camera.focal.shape == (3,)


def test_a_head_off_the_axis_turns_as_its_ray(head):
    """Looking straight at the camera, wherever it stands, means turned by the angle of the ray."""
    params = faces(head, frames=1)
    ahead = torch.tensor([[0.0, 0.0, -8.0]], dtype=torch.float64)
    params = dataclasses.replace(params, angles=torch.zeros_like(ahead), translation=ahead)
    focal = params.camera.focal
    beside = Camera(focal, params.camera.principal - torch.tensor([[float(focal), 0.0]]).double(), SIZE)
    seen = seen_by(params, beside)
    torch.testing.assert_close(seen.translation, torch.tensor([[8.0, 0.0, -8.0]]).double())
    torch.testing.assert_close(seen.angles, torch.tensor([[0.0, -math.pi / 4, 0.0]]).double())


def test_a_camera_of_another_picture_is_refused(head):
    with pytest.raises(UserError, match=r"same size, 200 × 160 pixels; got 50 × 50"):
        seen_by(faces(head), default_camera((50, 50)))


def test_gradients_pass(head):
    params = faces(head)[:1]
    crop = Crop("cut", (Stage(similarity(0.2, 0.5, (3.0, 4.0)), (80, 80), "bilinear"),), SIZE)

    def out(angles, translation, light):
        given = dataclasses.replace(params, angles=angles, translation=translation, light=light)
        seen = seen_by(on_crop(given, crop), default_camera((80, 80), 20.0))
        return seen.angles, seen.translation, seen.light

    inputs = tuple(getattr(params, n).clone().requires_grad_() for n in ("angles", "translation", "light"))
    assert torch.autograd.gradcheck(out, inputs)
