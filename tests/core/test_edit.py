from __future__ import annotations

import math

import pytest
import torch
from portrait_rig.core.errors import UserError
from portrait_rig.core.face import edit
from portrait_rig.core.face.camera import default_camera
from portrait_rig.core.face.edit import Assignment, assignments
from portrait_rig.core.face.light import dominant_light, shade
from portrait_rig.core.face.model import Group
from portrait_rig.core.types import FaceParams


class NamedModel:
    """The names that edits ask a face model for, without a mesh."""

    layout = "named"
    identity = Group(("nose_long", "jaw_width"))
    expression = Group(
        ("jawOpen", "mouthSmile_L", "mouthSmile_R", "mouthFrown_L", "mouthFrown_R", "jawLeft"),
        low=0.0,
        high=1.0,
        gaussian=False,
    )
    albedo = Group(("freckles",))
    joints = ("left_eye", "right_eye")

    def check(self, params):
        return params.require_layout(self.layout)


class JointedModel(NamedModel):
    """As FLAME: numbered expressions, the jaw is a joint."""

    expression = Group.numbered("expression", 6)
    joints = ("neck", "jaw")


MODEL = NamedModel()


def neutral(frames: int = 1, layout: str = "named") -> FaceParams:
    return FaceParams(
        layout=layout,
        identity=torch.zeros(frames, 2),
        expression=torch.zeros(frames, 6),
        albedo=torch.zeros(frames, 1),
        joints=torch.zeros(frames, 2, 3),
        angles=torch.zeros(frames, 3),
        translation=torch.tensor([[0.0, 0.0, -9.0]]).repeat(frames, 1),
        light=torch.zeros(frames, 9, 3),
        camera=default_camera((64, 64), frames=frames),
    )


def expression(params: FaceParams) -> dict[str, float]:
    values = zip(MODEL.expression.names, params.expression[0].tolist(), strict=True)
    return {name: round(value, 4) for name, value in values if value}


# Text


def test_assignments_set_and_add():
    assert assignments("jawOpen=0.5, mouthSmile_L += 1e-1;\n left_eye.yaw=-15,") == [
        Assignment("jawOpen", 0.5),
        Assignment("mouthSmile_L", 0.1, added=True),
        Assignment("left_eye.yaw", -15.0),
    ]


def test_no_text_is_no_assignment():
    assert assignments(" \n, ;") == []


@pytest.mark.parametrize("text", ["jawOpen", "jawOpen=", "=1", "jawOpen=wide", "jawOpen:1", "x=1.2.3", "x=nan"])
def test_other_text_is_refused_with_an_example(text):
    with pytest.raises(UserError, match=r"is not understood.*jawOpen=0\.5"):
        assignments(text)


# Names


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("jawOpen", [0]),
        ("JAWOPEN", [0]),
        ("mouthSmile", [1, 2]),
        ("mouthSmile_R", [2]),
        ("mouthSmileLeft", [1]),
        ("jawLeft", [5]),
        ("jaw_L", [5]),
        ("smile", []),
    ],
)
def test_names_are_found_in_their_spellings(name, places):
    assert edit.matching(name, MODEL.expression.names) == places


# Pose


def test_turning_adds_degrees():
    turned = edit.turned(edit.turned(neutral(2), yaw=20), pitch=-10, yaw=5, roll=90)
    assert torch.allclose(torch.rad2deg(turned.angles), torch.tensor([[-10.0, 25.0, 90.0]]).expand(2, -1), atol=1e-4)


# Expressions


def test_sliders_move_both_sides():
    params = edit.with_expression(neutral(), MODEL, {"smile": 0.5, "jaw_open": 0.25})
    assert expression(params) == {"jawOpen": 0.25, "mouthSmile_L": 0.5, "mouthSmile_R": 0.5}


def test_a_slider_goes_through_rest_to_the_other_end():
    smiling = edit.with_expression(neutral(), MODEL, {"smile": 0.3})
    assert expression(edit.with_expression(smiling, MODEL, {"smile": -0.2})) == {
        "mouthSmile_L": 0.1,
        "mouthSmile_R": 0.1,
    }
    assert expression(edit.with_expression(smiling, MODEL, {"smile": -1.0})) == {
        "mouthFrown_L": 0.7,
        "mouthFrown_R": 0.7,
    }


def test_sliders_stay_within_the_models_range():
    params = edit.with_expression(neutral(), MODEL, {"smile": 0.8})
    params = edit.with_expression(params, MODEL, {"smile": 0.8, "jaw_open": -1.0})
    assert expression(params) == {"mouthSmile_L": 1.0, "mouthSmile_R": 1.0}


def test_what_a_fit_found_beyond_the_range_stays():
    params = neutral()
    params.expression[0, 5] = 1.3
    assert expression(edit.with_expression(params, MODEL, {"jaw_open": 0.5})) == {"jawOpen": 0.5, "jawLeft": 1.3}


def test_text_comes_after_sliders():
    params = edit.with_expression(neutral(), MODEL, {"smile": 0.5}, assignments("mouthSmile_L=0.1, mouthSmile_R+=0.2"))
    assert expression(params) == {"mouthSmile_L": 0.1, "mouthSmile_R": 0.7}


def test_a_slider_the_model_cannot_follow_is_refused():
    with pytest.raises(UserError, match=r"no expression for 'pucker' \(mouthPucker, mouthStretch\).*jawOpen"):
        edit.with_expression(neutral(), MODEL, {"pucker": 0.5})


def test_a_slider_at_rest_is_never_refused():
    assert expression(edit.with_expression(neutral(), MODEL, dict.fromkeys(edit.MOODS, 0.0))) == {}


def test_the_jaw_of_a_model_with_a_jaw_joint():
    params = edit.with_expression(neutral(), JointedModel(), {"jaw_open": 0.5})
    assert torch.rad2deg(params.joints[0, 1]).tolist() == pytest.approx([10, 0, 0], abs=1e-4)
    assert not params.expression.any()


def test_an_unknown_expression_lists_the_models():
    with pytest.raises(UserError, match=r"no expression named 'smirk'.*jawOpen, mouthSmile_L"):
        edit.with_expression(neutral(), MODEL, changes=assignments("smirk=1"))


def test_parameters_of_another_model_are_refused():
    with pytest.raises(UserError, match=r"'other'.*'named'"):
        edit.with_expression(neutral(layout="other"), MODEL, {"smile": 1.0})


def test_identity_albedo_and_joints_by_name():
    params = edit.with_identity(neutral(), MODEL, assignments("nose_long=1.5, nose_long+=1"))
    params = edit.with_albedo(params, MODEL, assignments("freckles=2"))
    params = edit.with_joints(params, MODEL, assignments("right_eye.yaw=15"))
    assert params.identity.tolist() == [[2.5, 0]]
    assert params.albedo.tolist() == [[2]]
    assert torch.rad2deg(params.joints[0]).flatten().tolist() == pytest.approx([0, 0, 0, 0, 15, 0], abs=1e-4)
    with pytest.raises(UserError, match=r"no joint named 'jaw\.pitch'. It has left_eye\.pitch"):
        edit.with_joints(neutral(), MODEL, assignments("jaw.pitch=3"))


def test_strengths_multiply():
    params = edit.with_identity(neutral(), MODEL, assignments("nose_long=1"))
    params = edit.with_expression(params, MODEL, {"smile": 0.5})
    params = edit.with_albedo(params, MODEL, assignments("freckles=2"))
    scaled = edit.scaled(params, expression=0.0, identity=2.0, albedo=0.5)
    assert expression(scaled) == {} and scaled.identity.tolist() == [[2, 0]] and scaled.albedo.tolist() == [[1]]


# Light


def test_light_comes_from_where_it_was_put():
    params = edit.lit(neutral(3), azimuth=90, elevation=0, strength=0.8, ambient=0.3)
    direction, strength = dominant_light(params.light)
    assert params.light.shape == (3, 9, 3)
    assert torch.allclose(direction[0], torch.tensor([1.0, 0.0, 0.0]), atol=1e-5)
    assert strength[0].item() == pytest.approx(0.8, abs=1e-5)


def test_added_light_is_on_top():
    once = edit.lit(neutral(), 30, 10, 0.5, 0.5)
    twice = edit.lit(once, 30, 10, 0.5, 0.5, added=True)
    normals = torch.nn.functional.normalize(torch.tensor([[[0.2, 0.3, 0.9]]]), dim=-1)
    assert torch.allclose(shade(twice.light, normals), 2 * shade(once.light, normals), atol=1e-6)


# Transfer


def other(frames: int = 1, layout: str = "named") -> FaceParams:
    params = neutral(frames, layout)
    moved = params.map(lambda t: t + 1)
    return edit.replace(moved, camera=default_camera((32, 64), frames=frames))


FIELDS = {
    "identity": ["identity"],
    "expression": ["expression", "joints"],
    "albedo": ["albedo"],
    "rotation": ["angles"],
    "position": ["translation"],
    "light": ["light"],
    "camera": [],
}


@pytest.mark.parametrize("part", edit.PARTS)
def test_only_the_named_part_is_taken(part):
    result = edit.transferred(neutral(), other(), [part])
    for group, names in FIELDS.items():
        for name in names:
            expected = other() if group == part else neutral()
            assert torch.equal(getattr(result, name), getattr(expected, name)), name
    assert result.camera.size == ((32, 64) if part == "camera" else (64, 64))


@pytest.mark.parametrize(("target", "source"), [(1, 4), (4, 1), (3, 3)])
def test_one_frame_goes_with_many(target, source):
    result = edit.transferred(neutral(target), other(source), ["expression", "rotation"])
    assert {len(getattr(result, f)) for f in ("identity", "expression", "angles", "light")} == {max(target, source)}
    assert len(result.camera.focal) == max(target, source)


def test_other_numbers_of_frames_are_refused():
    with pytest.raises(UserError, match="target: 2, source: 3"):
        edit.transferred(neutral(2), other(3), ["rotation"])


def test_pose_and_light_come_from_any_model():
    result = edit.transferred(neutral(), other(layout="flame-2020"), ["rotation", "light", "camera"])
    assert result.layout == "named" and result.angles.eq(1).all()


@pytest.mark.parametrize("part", sorted(edit.OWN_PARTS))
def test_shapes_come_only_from_the_same_model(part):
    with pytest.raises(UserError, match=r"'flame-2020'.*'named'"):
        edit.transferred(neutral(), other(layout="flame-2020"), [part])


def test_nothing_taken_is_the_target():
    assert torch.equal(edit.transferred(neutral(), other(), []).angles, neutral().angles)


def test_an_unknown_part_lists_the_parts():
    with pytest.raises(UserError, match="'hair' is no part of a face; parts are identity"):
        edit.transferred(neutral(), other(), ["hair"])


def test_edits_leave_their_input_alone():
    params = neutral()
    edit.turned(params, 1, 2, 3)
    edit.with_expression(params, MODEL, {"smile": 1.0, "jaw_open": 1.0})
    edit.with_joints(params, MODEL, assignments("left_eye.yaw=9"))
    edit.lit(params, 1, 2, 3, 4, added=True)
    edit.transferred(params, other(), edit.PARTS)
    for name in ("identity", "expression", "joints", "angles", "light"):
        assert not getattr(params, name).any()
    assert math.isclose(params.translation[0, 2].item(), -9.0)


def test_angles_are_set_and_those_not_asked_for_stay():
    params = edit.turned(neutral(2), pitch=10, yaw=20, roll=30)
    posed = edit.posed(params, yaw=-5.0, roll=0.0)
    torch.testing.assert_close(torch.rad2deg(posed.angles), torch.tensor([[10.0, -5.0, 0.0]] * 2))
    torch.testing.assert_close(torch.rad2deg(params.angles), torch.tensor([[10.0, 20.0, 30.0]] * 2))
    assert torch.equal(edit.posed(params).angles, params.angles)
