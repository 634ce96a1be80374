"""What is asked of a rig: sliders, sources, both; and the sheets that ask for all of it at once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import toy_rig
from portrait_rig.core.errors import UserError
from portrait_rig.core.face import edit as face_edit
from portrait_rig.core.face.light import LUMA, dominant_light
from portrait_rig.core.face.reframe import on_picture
from portrait_rig.core.methods import rig_sheet
from portrait_rig.core.methods.regress import middle_square
from portrait_rig.core.methods.rig import edit, read_params
from portrait_rig.core.methods.rig_wishes import Lamp, Sliders, wished
from portrait_rig.core.networks.rig import COMPONENTS
from portrait_rig.core.types import GeneratorId

LAMP = Lamp(azimuth=40.0, elevation=25.0, strength=0.6, ambient=0.5)


def degrees(params):
    return torch.rad2deg(params.angles)


# Sliders -------------------------------------------------------------------------------------------------------------


def test_nothing_is_asked_for_by_default(rig, people):
    wanted, asked = wished(rig, people, Sliders())
    assert asked == [] and Sliders().components == set()
    assert torch.equal(wanted.angles, people.angles) and torch.equal(wanted.expression, people.expression)


@pytest.mark.parametrize(
    ("sliders", "component"),
    [
        (Sliders(yaw=5.0), "pose"),
        (Sliders(roll=0.0, posed=True), "pose"),
        (Sliders(moods={"smile": 0.3}), "expression"),
        (Sliders(changes=face_edit.assignments("jawOpen=0.2")), "expression"),
        (Sliders(from_rest=True), "expression"),
        (Sliders(lamp=LAMP), "light"),
    ],
)
def test_a_slider_asks_for_its_component_alone(rig, people, head, sliders, component):
    wanted, asked = wished(rig, people, sliders, model=head)
    assert asked == [component]
    fields = {"pose": "angles", "expression": "expression", "light": "light"}
    for name, field in fields.items():
        same = torch.equal(getattr(wanted, field), getattr(people, field))
        assert same == (name != component), name


def test_angles_are_added_or_set(rig, people):
    added, _ = wished(rig, people, Sliders(yaw=10.0, pitch=-4.0))
    torch.testing.assert_close(degrees(added), degrees(people) + torch.tensor([-4.0, 10.0, 0.0]))
    posed, _ = wished(rig, people, Sliders(yaw=10.0, posed=True))
    torch.testing.assert_close(degrees(posed)[:, 1], torch.full((3,), 10.0))
    assert torch.equal(posed.angles[:, [0, 2]], people.angles[:, [0, 2]])


def test_moods_are_added_or_start_from_rest(rig, people, head):
    moods = {"smile": 0.25}
    places = [i for i, name in enumerate(head.expression.names) if name.startswith("mouthSmile")]
    added, _ = wished(rig, people, Sliders(moods=moods), model=head)
    assert (added.expression[:, places] >= people.expression[:, places]).all()
    rested, _ = wished(rig, people, Sliders(moods=moods, from_rest=True), model=head)
    expected = torch.zeros_like(people.expression)
    expected[:, places] = 0.25
    torch.testing.assert_close(rested.expression, expected)
    assert not rested.joints.any() and people.joints.any()


def test_light_is_replaced_or_added(rig, people):
    alone, _ = wished(rig, people, Sliders(lamp=LAMP))
    direction, strength = dominant_light(alone.light)
    azimuth = torch.rad2deg(torch.atan2(direction[:, 0], direction[:, 2]))
    torch.testing.assert_close(azimuth, torch.full((3,), 40.0), rtol=0, atol=0.01)
    own = people.light[:, 0] / people.light[:, 0].mean(1, keepdim=True)
    torch.testing.assert_close(strength, 0.6 * own @ torch.tensor(LUMA), rtol=0, atol=1e-3)
    tint = alone.light[:, 0] / alone.light[:, 0].mean(1, keepdim=True)
    torch.testing.assert_close(tint, own)
    added, _ = wished(rig, people, Sliders(lamp=replace(LAMP, added=True)))
    lamp = face_edit.lit(people, 40.0, 25.0, 0.6, 0.5, tinted=True)
    torch.testing.assert_close(added.light, people.light + lamp.light)


def test_expressions_by_name_need_the_face_model(rig, people, head):
    with pytest.raises(UserError, match="the face model 'toon-head' knows, and none is connected"):
        wished(rig, people, Sliders(moods={"smile": 1.0}))
    with pytest.raises(UserError, match="no expression named 'wag'"):
        wished(rig, people, Sliders(changes=face_edit.assignments("wag=1")), model=head)


# Sources -------------------------------------------------------------------------------------------------------------


def test_a_source_gives_what_is_taken_and_sliders_come_on_top(rig, people, others):
    wanted, asked = wished(rig, people, Sliders(yaw=7.0), others, ["expression", "pose"])
    assert asked == ["pose", "expression"]
    torch.testing.assert_close(degrees(wanted), degrees(others) + torch.tensor([0.0, 7.0, 0.0]))
    assert torch.equal(wanted.expression, others.expression) and torch.equal(wanted.joints, others.joints)
    for name in ("identity", "albedo", "light", "translation"):
        assert torch.equal(getattr(wanted, name), getattr(people, name))


def test_a_source_of_which_nothing_is_taken_changes_nothing(rig, people, others):
    wanted, asked = wished(rig, people, Sliders(), others, [])
    assert asked == [] and torch.equal(wanted.angles, people.angles)


def test_a_source_on_another_picture_turns_with_its_crop(rig, people, others):
    """The face of a photograph is seen as the middle square of its picture shows it."""
    photograph = on_picture(others, middle_square((300, 200), toy_rig.SIZE[0]))
    wanted, _ = wished(rig, people, Sliders(), photograph, ["pose", "light"])
    torch.testing.assert_close(wanted.angles, others.angles, rtol=0, atol=1e-4)
    torch.testing.assert_close(wanted.light, others.light, rtol=0, atol=1e-4)


def test_what_is_refused(rig, people, others):
    with pytest.raises(UserError, match=r"'flame'.*'toon-head'"):
        wished(rig, people, Sliders(), replace(others, layout="flame"), ["pose"])
    with pytest.raises(UserError, match="target: 3, source: 2"):
        wished(rig, people, Sliders(), others[:2], ["pose"])
    with pytest.raises(UserError, match="'age' is nothing that a rig edits"):
        wished(rig, people, Sliders(), others, ["age"])


# Sheets --------------------------------------------------------------------------------------------------------------


def test_evenly():
    assert rig_sheet.evenly(-1.0, 1.0, 5) == [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert rig_sheet.evenly(0.0, 1.0, 1) == [0.5] and rig_sheet.evenly(3.0, 1.0, 2) == [3.0, 1.0]


def test_a_sheet_turns_every_person_and_opens_its_mouth(rig, people, head):
    latent = toy_rig.showing(rig, people[:2])
    rows = rig_sheet.pose_rows(3, 2, 20.0, "jaw_open", 0.0, 0.2)
    assert [row.caption for row in rows] == ["jaw open +0.00, yaw -20° … 20°", "jaw open +0.20, yaw -20° … 20°"]
    found = read_params(rig, rig_sheet.edited(rig, latent, rows, head))
    assert len(found) == 12
    yaw = degrees(found)[:, 1].reshape(2, 2, 3)
    torch.testing.assert_close(yaw, torch.tensor([-20.0, 0.0, 20.0]).expand(2, 2, 3), rtol=0, atol=0.05)
    torch.testing.assert_close(found.angles[:6, 0], people.angles[:1, 0].expand(6), rtol=0, atol=2e-4)
    place = head.expression.names.index("jawOpen")
    jaws = found.expression[:, place].reshape(2, 2, 3)
    own = people.expression[:2, place, None]
    torch.testing.assert_close(jaws[:, 0], own.expand(2, 3), rtol=0, atol=1e-3)
    torch.testing.assert_close(jaws[:, 1], jaws[:, 0] + 0.2, rtol=0, atol=1e-3)
    torch.testing.assert_close(found.identity[6:], people.identity[1:2].expand(6, -1), rtol=0, atol=1e-3)


def test_a_sheet_of_lights(rig, people):
    rows = rig_sheet.light_rows(3, 2, 60.0, (45.0, 0.0), 0.6, 0.5)
    assert [row.caption for row in rows] == ["light from 45° above, -60° … 60° across",
                                             "light from 0° above, -60° … 60° across"]  # fmt: skip
    found = read_params(rig, rig_sheet.edited(rig, toy_rig.showing(rig, people[:1]), rows, None))
    x, y, z = dominant_light(found.light)[0].unbind(1)
    across = torch.rad2deg(torch.atan2(x, z)).reshape(2, 3)
    torch.testing.assert_close(across, torch.tensor([-60.0, 0.0, 60.0]).expand(2, 3), rtol=0, atol=0.2)
    torch.testing.assert_close(torch.rad2deg(y.asin()).reshape(2, 3)[:, 0], torch.tensor([45.0, 0.0]), rtol=0, atol=0.2)
    torch.testing.assert_close(found.angles, people.angles[:1].expand(6, -1), rtol=0, atol=2e-4)


def test_a_sheet_at_no_strength_repeats_the_person(rig, people, head):
    latent = toy_rig.showing(rig, people[:1])
    cells = rig_sheet.edited(rig, latent, rig_sheet.pose_rows(2, 2, 20.0, "blink", 0.0, 1.0), head, 0.0)
    assert torch.equal(cells.w, latent.w.expand(4, -1, -1))


def test_sheets_that_cannot_be(rig, people, head):
    latent, rows = toy_rig.showing(rig, people), rig_sheet.pose_rows(2, 2, 20.0, "smile", 0.0, 1.0)
    with pytest.raises(UserError, match="'anger' is no mood; there are smile"):
        rig_sheet.pose_rows(2, 2, 20.0, "anger", 0.0, 1.0)
    with pytest.raises(UserError, match="no latent to edit"):
        rig_sheet.edited(rig, latent[:0], rows, head)
    with pytest.raises(UserError, match="none is connected"):
        rig_sheet.edited(rig, latent, rows, None)
    with pytest.raises(UserError, match=r"'ffhq'.*'toy'"):
        rig_sheet.edited(rig, replace(latent, generator=GeneratorId("ffhq", "f2")), rows, head)


def test_wishes_and_edits_meet(rig, people, others, head):
    """The whole way: what is asked for is what the edited latents show."""
    latent = toy_rig.showing(rig, people)
    sliders = Sliders(yaw=12.0, posed=True, moods={"smile": 0.2}, lamp=LAMP)
    wanted, asked = wished(rig, read_params(rig, latent), sliders, others, ["expression"], head)
    assert asked == list(COMPONENTS)
    found = read_params(rig, edit(rig, latent, wanted, asked))
    for name in ("angles", "expression", "light", "identity", "albedo", "joints"):
        torch.testing.assert_close(getattr(found, name), getattr(wanted, name), rtol=0, atol=1e-3)
