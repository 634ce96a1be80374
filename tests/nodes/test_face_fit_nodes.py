"""The nodes that fit, edit, keep and render face parameters, called as ComfyUI calls them."""

from __future__ import annotations

import math

import pytest
import torch
from node_calls import call, is_image, nan_like, refuses
from portrait_rig.core.types import Landmarks
from portrait_rig.nodes import face_fit, face_params, face_render, host

QUICK = {"landmark_steps": 4, "pixel_steps": 2, "pixel_size": 48, "texture": "model"}
"""A fit that goes through both stages in about a second."""

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture(scope="module")
def fitted(crop, head):
    return call(face_fit.Fit3dmm, image=crop[0], landmarks=crop[1], face_model=head, **QUICK)


# Fit


def test_a_fit_gives_parameters_overlay_and_report(fitted, crop):
    params, overlay, report, losses, curves = fitted
    assert losses.startswith("term") and "total" in losses
    assert is_image(curves, 1, *curves.shape[1:3]) and curves.std() > 0.01
    assert len(params) == 1 and params.layout == "toon-head"
    assert is_image(overlay, 1, 96, 96)
    assert (overlay - crop[0]).abs().mean() > 0.01
    assert "1 of 1 frames with a face" in report and "landmarks" in report
    assert params.angles.device.type == "cpu" and not params.angles.requires_grad


def test_a_fit_begins_where_another_ended(fitted, crop, head):
    again = call(
        face_fit.Fit3dmm,
        image=crop[0],
        landmarks=crop[1],
        face_model=head,
        start=fitted[0],
        mask=torch.ones(1, 8, 8),
        **QUICK,
    )
    assert "1 of 1" in again[2]


def test_frames_without_a_face_are_filled_in(crop, head):
    image, marks = crop
    points = torch.cat([marks.points, torch.full_like(marks.points, math.nan)])
    found = Landmarks(points, torch.tensor([1.0, 0.0]), marks.size)
    params, overlay, report, *_ = call(
        face_fit.Fit3dmm,
        image=image.expand(2, -1, -1, -1),
        landmarks=found,
        face_model=head,
        **{**QUICK, "pixel_steps": 0},
    )
    assert len(params) == len(overlay) == 2 and "filled in from neighbours: frame 2" in report


def test_what_a_fit_refuses(portrait, crop, head, fitted):
    image, marks = crop
    five = Landmarks(portrait[1].points[:, :5], torch.ones(1), (512, 512))
    refuses("68 points a face are needed", face_fit.Fit3dmm, image=portrait[0], landmarks=five, face_model=head)
    nobody = Landmarks(torch.full((1, 68, 2), math.nan), torch.zeros(1), (96, 96))
    refuses("None of the 1 frames holds a face", face_fit.Fit3dmm, image=image, landmarks=nobody, face_model=head)
    refuses(
        "2 pictures and landmarks of 1",
        face_fit.Fit3dmm,
        image=image.expand(2, -1, -1, -1),
        landmarks=marks,
        face_model=head,
    )
    refuses("another shape", face_fit.Fit3dmm, image=torch.rand(1, 40, 96, 3), landmarks=marks, face_model=head)
    refuses("holds no pictures", face_fit.Fit3dmm, image=image[:0], landmarks=marks, face_model=head)
    refuses("no numbers", face_fit.Fit3dmm, image=nan_like(image), landmarks=marks, face_model=head)
    foreign = face_params.edit.replace(fitted[0], layout="flame-2020")
    refuses("'flame-2020'", face_fit.Fit3dmm, image=image, landmarks=marks, face_model=head, start=foreign)


def test_cancel_stops_a_fit(crop, head, monkeypatch):
    monkeypatch.setattr(host.Watch, "__call__", lambda *_, **__: (_ for _ in ()).throw(host.Cancelled))
    with pytest.raises(host.Cancelled):
        call(face_fit.Fit3dmm, image=crop[0], landmarks=crop[1], face_model=head, **QUICK)
    assert not any(t.requires_grad or t.is_inference() for t in head.buffers())


# Edit, transfer, keep


def test_edits_reach_the_parameters_and_spare_the_input(fitted, head):
    before = fitted[0].map(torch.clone)
    changed = call(
        face_params.EditFaceParams,
        face_params=fitted[0],
        face_model=head,
        yaw=25.0,
        smile=1.0,
        expressions="jawOpen=0.5",
        identity="nose_long=2",
        albedo="freckles=1",
        joints="left_eye.yaw=10",
        light="replace",
    )[0]
    assert torch.allclose(torch.rad2deg(changed.angles - before.angles), torch.tensor([[0.0, 25.0, 0.0]]), atol=1e-3)
    names = head.expression.names
    assert changed.expression[0, names.index("jawOpen")] == 0.5
    assert changed.identity[0, head.identity.names.index("nose_long")] == 2
    assert not torch.equal(changed.light, before.light)
    for name in ("identity", "expression", "albedo", "joints", "angles", "light"):
        assert torch.equal(getattr(fitted[0], name), getattr(before, name)), name


def test_what_edits_refuse(fitted, head):
    edit = {"face_params": fitted[0], "face_model": head}
    refuses("no expression named 'smirk'", face_params.EditFaceParams, **edit, expressions="smirk=1")
    refuses("is not understood", face_params.EditFaceParams, **edit, identity="nose long")
    refuses("no joint named 'jaw.pitch'", face_params.EditFaceParams, **edit, joints="jaw.pitch=1")
    foreign = face_params.edit.replace(fitted[0], layout="flame-2020")
    refuses("'flame-2020'.*'toon-head'", face_params.EditFaceParams, face_params=foreign, face_model=head)


def test_parts_are_transferred(fitted, head):
    source = call(
        face_params.EditFaceParams,
        face_params=fitted[0],
        face_model=head,
        yaw=30.0,
        jaw_open=1.0,
        identity="nose_long=3",
    )[0]
    result = call(face_params.TransferFaceParams, target=fitted[0], source=source)[0]
    assert torch.equal(result.angles, source.angles) and torch.equal(result.expression, source.expression)
    assert torch.equal(result.identity, fitted[0].identity)
    foreign = face_params.edit.replace(source, layout="flame-2020")
    refuses("'flame-2020'.*'toon-head'", face_params.TransferFaceParams, target=fitted[0], source=foreign)


def test_parameters_are_kept_and_read_back(fitted, home):
    name = call(face_params.SaveFaceParams, face_params=fitted[0])[0]
    assert name == "face_params/face_00001_.safetensors [output]"
    params, about = call(face_params.LoadFaceParams, file=name)
    assert torch.equal(params.identity, fitted[0].identity) and "toon-head: 1 frames of 96 × 96" in about
    refuses("leads out of the output folder", face_params.SaveFaceParams, face_params=fitted[0], filename_prefix="../x")


def test_what_loading_parameters_refuses(home):
    from safetensors.torch import save_file

    refuses("There is no file", face_params.LoadFaceParams)
    (home / "input" / "a.txt").write_text("a")
    refuses(r"'a\.txt' is no \.safetensors file", face_params.LoadFaceParams, file="a.txt")
    save_file({"x": torch.zeros(1)}, home / "input" / "x.safetensors")
    refuses("holds no face parameters", face_params.LoadFaceParams, file="x.safetensors")
    (home / "input" / "y.safetensors").write_bytes(b"broken")
    refuses(r"y\.safetensors", face_params.LoadFaceParams, file="y.safetensors")


# Render, mesh


@pytest.mark.parametrize("mode", face_render.MODES)
def test_every_mode_is_drawn(fitted, head, mode):
    image, mask = call(face_render.RenderFace, face_params=fitted[0], face_model=head, mode=mode, supersample=1)
    assert is_image(image, 1, 96, 96) and mask.shape == (1, 96, 96)
    assert image[mask > 0.9].std() > 0.01


def test_backgrounds(fitted, head, crop):
    drawn = {"face_params": fitted[0], "face_model": head, "supersample": 1}
    blue, mask = call(face_render.RenderFace, **drawn, background="colour", colour="blue")
    outside = mask[0] == 0
    assert torch.equal(blue[0][outside].unique(dim=0), torch.tensor([[0.0, 0.0, 1.0]]))
    over, _ = call(face_render.RenderFace, **drawn, picture=crop[0], opacity=0.5)
    assert torch.allclose(over[0][outside], crop[0][0][outside], atol=1e-6)
    clear, mask = call(face_render.RenderFace, **drawn, background="transparent", height=64)
    assert is_image(clear, 1, 64, 64, 4) and torch.allclose(clear[..., 3], mask)


def test_a_turned_face_points_there(fitted, head):
    mean = head.neutral(fitted[0].camera)

    def nose(yaw):
        params = call(face_params.EditFaceParams, face_params=mean, face_model=head, yaw=yaw)[0]
        depth, _ = call(face_render.RenderFace, face_params=params, face_model=head, mode="depth", supersample=1)
        return depth[0, 40:70, :, 0].amax(0).argmax().item()  # column of what is nearest, at the height of the nose

    assert nose(-25.0) + 8 < nose(0.0) < nose(25.0) - 8  # measured 9 and 10 of 96 pixels


def test_what_rendering_refuses(fitted, head):
    drawn = {"face_params": fitted[0], "face_model": head}
    refuses("'mauvish' is no colour", face_render.RenderFace, **drawn, colour="mauvish")
    refuses("another shape", face_render.RenderFace, **drawn, picture=torch.rand(1, 40, 96, 3))
    refuses("no numbers", face_render.RenderFace, **drawn, picture=nan_like(torch.rand(1, 96, 96, 3)))
    refuses(
        "pictures: 2, faces: 3|numbers of frames differ",
        face_render.RenderFace,
        face_model=head,
        supersample=1,
        face_params=fitted[0].map(lambda t: t.expand(3, *t.shape[1:])),
        picture=torch.rand(2, 96, 96, 3),
    )
    foreign = face_params.edit.replace(fitted[0], layout="flame-2020")
    refuses("'flame-2020'.*'toon-head'", face_render.RenderFace, face_params=foreign, face_model=head)


def test_a_mesh_with_uvs_and_texture(fitted, head):
    mesh = call(face_render.FaceMesh, face_params=fitted[0], face_model=head, texture_size=64)[0]
    count = mesh.vertices.shape[1]
    assert mesh.vertices.shape == (1, count, 3) and mesh.uvs.shape == (1, count, 2)
    assert mesh.faces.max() == count - 1 and mesh.texture.shape == (1, 64, 64, 3)
    refuses(
        "Frame 2 was asked for, but there are 1", face_render.FaceMesh, face_params=fitted[0], face_model=head, frame=2
    )
