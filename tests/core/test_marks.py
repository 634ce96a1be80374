from __future__ import annotations

import pytest
import torch
from portrait_rig.core.errors import UserError
from portrait_rig.core.face import marks
from portrait_rig.core.types import Landmarks


def five(frames: int = 1) -> Landmarks:
    points = torch.tensor([[20.5, 20.5], [40.5, 20.5], [30.5, 30.5], [22.5, 40.5], [38.5, 40.5]])
    return Landmarks(points.repeat(frames, 1, 1), torch.ones(frames), (64, 64))


def test_every_point_is_drawn_where_it_is():
    grey = torch.full((1, 3, 64, 64), 0.5)
    drawn = marks.draw(grey, five())
    for x, y in five().points[0].long().tolist():
        assert torch.allclose(drawn[0, :, y, x], torch.tensor(marks.COLOUR))
    changed = (drawn != grey).any(1)[0]
    assert 5 < changed.sum() < 5 * 30
    assert not changed[:15].any() and not changed[50:].any()
    assert torch.equal(grey, torch.full((1, 3, 64, 64), 0.5))


def test_a_frame_without_a_face_stays():
    found = five(2)
    found.points[1] = torch.nan
    drawn = marks.draw(torch.zeros(2, 3, 64, 64), found)
    assert drawn[0].any() and not drawn[1].any()


def test_points_outside_the_picture_are_left_out():
    found = five()
    found.points[0, 0] = torch.tensor([-30.0, 500.0])
    drawn = marks.draw(torch.zeros(1, 3, 64, 64), found)
    assert drawn[0, :, 40, 22].any()


def test_one_picture_goes_with_many_frames_and_others_are_refused():
    assert len(marks.draw(torch.zeros(1, 3, 64, 64), five(3))) == 3
    with pytest.raises(UserError, match="pictures: 2, landmarks: 3"):
        marks.draw(torch.zeros(2, 3, 64, 64), five(3))
