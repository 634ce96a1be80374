"""Face parameters as rows of numbers of similar size, and back."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from portrait_rig.core.errors import UserError
from portrait_rig.core.face.camera import default_camera
from portrait_rig.core.face.coding import GROUPS, TENSORS, FaceCoding

ALL = ("identity", "expression", "albedo", "joints", "angles", "light", "translation")
WITH_GAZE = ("translation", "gaze", "identity", "albedo", "angles", "expression", "light")
PARTS = ("identity", "expression", "albedo", "joints", "angles", "light", "translation")


def faces(head, frames=20, seed=0):
    """Faces on crops of 64 squared whose both eyes look the same way."""
    random = torch.Generator().manual_seed(seed)
    params = head.neutral(default_camera((64, 64), 20.0, frames), frames)
    draw = {name: torch.randn(getattr(params, name).shape, generator=random) for name in PARTS}
    gaze = torch.nn.functional.pad(0.2 * draw["joints"][:, :1, :2], (0, 1)).expand(-1, 2, -1)
    return dataclasses.replace(
        params,
        **draw
        | {
            "expression": torch.rand(frames, len(head.expression), generator=random),
            "identity": draw["identity"].clamp(-3, 3),
            "albedo": draw["albedo"].clamp(0, 3),
            "joints": gaze,
            "angles": 0.2 * draw["angles"],
            "translation": params.translation + 0.1 * draw["translation"],
        },
    )


@pytest.mark.parametrize("groups", [ALL, WITH_GAZE], ids=["joints", "gaze"])
def test_a_row_says_everything(head, groups):
    params = faces(head)
    coding = FaceCoding.measured(params, head, groups)
    rows = coding.encode(params)
    assert rows.shape == (20, len(coding)) and len(coding) == sum(count for _, count in coding.groups)
    back = head.check(coding.decode(rows))
    for name in PARTS:
        torch.testing.assert_close(getattr(back, name), getattr(params, name), rtol=0, atol=2e-5)
    torch.testing.assert_close(back.camera.focal, params.camera.focal)


def test_rows_have_mean_0_and_deviation_1(head):
    params = faces(head)
    rows = FaceCoding.measured(params, head, ALL).encode(params)
    varying = rows.std(0) > 0
    assert rows.mean(0).abs().max() < 1e-5
    torch.testing.assert_close(rows.std(0, correction=0)[varying], torch.ones(int(varying.sum())), rtol=1e-3, atol=0)


def test_what_never_varies_is_0_in_a_row_and_comes_back(head):
    params = faces(head)
    rounding = 3e-8 * torch.randn(20, 3, generator=torch.Generator().manual_seed(2))
    params = dataclasses.replace(params, angles=torch.tensor([[0.1, 0.2, 0.3]]) + rounding)
    coding = FaceCoding.measured(params, head, ALL)
    rows = coding.encode(params)
    assert torch.isfinite(rows).all() and rows[:, -33:-30].abs().max() == 0  # light 27 and translation 3 come after
    torch.testing.assert_close(coding.decode(rows + 5.0).angles, params.angles, rtol=0, atol=1e-6)


def test_values_stay_within_the_models_limits(head):
    coding = FaceCoding.measured(faces(head), head, ALL)
    for wild in (-100.0, 100.0):
        decoded = coding.decode(torch.full((1, len(coding)), wild))
        for name in ("identity", "expression", "albedo"):
            low, high = getattr(head, name).limits(decoded.identity)
            found = getattr(decoded, name)
            assert bool(((found >= low) & (found <= high)).all()), name
    assert decoded.light.abs().max() > 10


def test_training_faces_beyond_the_models_limits_stay_possible(head):
    params = faces(head)
    wild = dataclasses.replace(params, albedo=params.albedo - 1.0, identity=params.identity * 2.0)
    coding = FaceCoding.measured(wild, head, ALL)
    back = coding.decode(coding.encode(wild))
    torch.testing.assert_close(back.albedo, wild.albedo, rtol=0, atol=2e-5)
    torch.testing.assert_close(back.identity, wild.identity, rtol=0, atol=2e-5)


def test_another_camera_is_the_same_face_nearer(head):
    """A longer lens on the same crop: rows are for one camera, so the head comes nearer to it."""
    params = faces(head)
    coding = FaceCoding.measured(params, head, ALL)
    longer = dataclasses.replace(
        params,
        camera=dataclasses.replace(params.camera, focal=params.camera.focal * 1.25),
        translation=params.translation * torch.tensor([1.0, 1.0, 1.25]),
    )
    decoded = coding.decode(coding.encode(longer))
    torch.testing.assert_close(decoded.translation[:, 2], params.translation[:, 2], rtol=0, atol=1e-4)
    torch.testing.assert_close(decoded.camera.focal, params.camera.focal)


def test_without_tensors_rows_hold_the_values_themselves(head):
    params = faces(head)
    groups = [(name, GROUPS[name].values(params).shape[1]) for name in ALL]
    coding = FaceCoding(head.layout, groups, 2, 64, float(params.camera.focal[0]) / 64)
    torch.testing.assert_close(coding.encode(params)[:, : len(head.identity)], params.identity)


def test_metadata_brings_it_back(head):
    coding = FaceCoding.measured(faces(head), head, WITH_GAZE)
    again = FaceCoding.from_metadata(coding.metadata(), vars_of(coding))
    rows = torch.randn(2, len(coding), generator=torch.Generator().manual_seed(3))
    assert torch.equal(again.decode(rows).translation, coding.decode(rows).translation)
    assert (again.groups, again.side, again.focal, again.layout) == (coding.groups, 64, coding.focal, "toon-head")


def counted(groups, name, count):
    """The groups with another number of values for one."""
    return [(group, count if group == name else size) for group, size in groups]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: {"groups": [("identity", 40)]}, "there must be albedo, angles"),
        (lambda c: {"groups": [("mood", 3)]}, "its groups are mood"),
        (lambda c: {"groups": [*c.groups, ("gaze", 2)]}, "once each"),
        (lambda c: {"groups": counted(c.groups, "angles", 2)}, "2 values for angles instead of 3"),
        (lambda c: {"joints": 1}, "6 values for joints instead of 3"),
        (lambda c: {"focal": 0.0}, "focal length of 0"),
        (lambda c: {"focal": float("nan")}, "focal length of nan"),
        (lambda c: {"side": 0}, "crops of 0 pixels"),
        (lambda c: {"tensors": {**vars_of(c), "scale": c.scale[1:]}}, "scale holds"),
        (lambda c: {"tensors": {**vars_of(c), "mean": c.mean * torch.nan}}, "no proper numbers"),
        (lambda c: {"tensors": {**vars_of(c), "low": c.high, "high": c.low}}, "no proper numbers"),
    ],
)
def test_contradictions_are_named(head, change, words):
    coding = FaceCoding.measured(faces(head, 2), head, ALL)
    given = {"layout": "x", "groups": coding.groups, "joints": 2, "side": 64, "focal": 2.0}
    with pytest.raises(ValueError, match=words):
        FaceCoding(**given | change(coding))


def vars_of(coding):
    return {name: getattr(coding, name) for name in TENSORS}


def test_rows_and_faces_of_others_are_refused(head):
    coding = FaceCoding.measured(faces(head), head, ALL)
    with pytest.raises(UserError, match="holds 147 values; got 3"):
        coding.decode(torch.zeros(1, 3))
    with pytest.raises(UserError, match="belong to the face model 'other'"):
        coding.encode(dataclasses.replace(faces(head), layout="other"))
    assert len(coding.decode(torch.zeros(0, len(coding)))) == 0


def test_gradients_pass(head):
    coding = FaceCoding.measured(faces(head), head, WITH_GAZE).double()
    rows = torch.zeros(1, len(coding), dtype=torch.float64, requires_grad=True)

    def out(rows):
        params = coding.decode(rows)
        return params.identity, params.joints, params.light, params.translation

    assert torch.autograd.gradcheck(out, rows)


def test_what_never_varies_takes_no_gradient_and_spoils_none(head):
    params = faces(head)
    coding = FaceCoding.measured(dataclasses.replace(params, light=params.light[:1].expand(20, -1, -1)), head, ALL)
    rows = torch.zeros(1, len(coding), requires_grad=True)
    coding.within(rows).square().add(rows).sum().backward()
    assert rows.grad.isfinite().all() and (coding.scale == 0).sum() >= 27
