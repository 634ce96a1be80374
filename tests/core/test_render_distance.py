"""The distance of pictures from faces, on the toon head's own renders, whose parameters are known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from portrait_rig.core.errors import UserError
from portrait_rig.core.face.camera import default_camera
from portrait_rig.core.face.render import render
from portrait_rig.core.methods.render_distance import DRAWING, LANDMARK_WEIGHT, Portraits, RenderDistance

SIDE = 48


@pytest.fixture(scope="module")
def distance(head):
    return RenderDistance(head)


@pytest.fixture(scope="module")
def face(head):
    neutral = head.neutral(default_camera((SIDE, SIDE)), 2)
    random = torch.Generator().manual_seed(0)
    return replace(
        neutral,
        identity=0.5 * torch.randn(neutral.identity.shape, generator=random),
        albedo=0.5 * torch.randn(neutral.albedo.shape, generator=random),
        angles=torch.tensor([[0.05, 0.2, 0.0], [-0.1, -0.3, 0.1]]),
    )


@pytest.fixture(scope="module")
def seen(head, distance, face):
    drawn = render(head, face, DRAWING)
    return Portraits(drawn.colour, distance.points(face))


def changed(face, **groups):
    return replace(face, **{name: getattr(face, name) + by for name, by in groups.items()})


def test_the_truth_is_at_no_distance(distance, face, seen):
    colours, landmarks = distance.terms(seen, face)
    assert colours.max() < 1e-10 and landmarks.max() < 1e-10


@pytest.mark.parametrize(
    "group, by", [("angles", torch.tensor([0.0, 0.1, 0.0])), ("translation", torch.tensor([0.05, 0.0, 0.0]))]
)
def test_a_wrong_pose_is_further_on_either_side(distance, face, seen, group, by):
    for side in (1, -1):
        colours, landmarks = distance.terms(seen, changed(face, **{group: side * by}))
        assert colours.min() > 5e-3 and landmarks.min() > 1e-4


def test_light_and_albedo_move_colours_alone(distance, face, seen):
    for group in ("light", "albedo"):
        colours, landmarks = distance.terms(seen, changed(face, **{group: 0.2}))
        assert colours.min() > 1e-5 and landmarks.max() < 1e-10


def test_both_terms_are_weighed(distance, face, seen):
    wrong = changed(face, angles=torch.tensor([0.0, 0.1, 0.0]))
    colours, landmarks = distance.terms(seen, wrong)
    assert torch.allclose(distance(seen, wrong), colours + LANDMARK_WEIGHT * landmarks)


@pytest.mark.parametrize("group", ["angles", "expression", "light"])
def test_gradients_lead_back_to_the_truth(distance, face, seen, group):
    random = torch.Generator().manual_seed(1)
    off = 0.03 * torch.rand(getattr(face, group).shape, generator=random)
    start = (getattr(face, group) + off).requires_grad_()
    distance(seen, replace(face, **{group: start})).sum().backward()
    assert (start.grad * off).sum() > 0


def test_one_picture_goes_with_several_faces(distance, face, seen):
    one = Portraits(seen.pictures[:1], seen.points[:1])
    both = distance(one, face)
    assert both.shape == (2,) and both[0] < both[1]
    with pytest.raises(UserError, match="pictures: 3"):
        distance(Portraits(seen.pictures[:1].expand(3, -1, -1, -1), seen.points[:1].expand(3, -1, -1)), face)


def test_the_size_of_the_pictures_does_not_matter(distance, face, seen):
    """Landmarks exactly. Colours of 24 pixels are coarse, yet tell truth (measured 0.002) from error (0.011)."""
    wrong, half = changed(face, angles=torch.tensor([0.0, 0.15, 0.0])), seen.resized((SIDE // 2, SIDE // 2))
    assert torch.allclose(distance.terms(seen, wrong)[1], distance.terms(half, wrong)[1], rtol=1e-4)
    assert (distance.terms(half, wrong)[0] > 2 * distance.terms(half, face)[0]).all()
    assert seen.resized((SIDE, SIDE)) is seen


def test_a_face_out_of_the_picture_costs_landmarks_alone(distance, face, seen):
    away = changed(face, translation=torch.tensor([50.0, 0.0, 0.0]))
    colours, landmarks = distance.terms(seen, away)
    assert colours.tolist() == [0.0, 0.0] and landmarks.isfinite().all() and landmarks.min() > 1
