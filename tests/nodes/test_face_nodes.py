"""The nodes of the face system, called as ComfyUI calls them: keywords, defaults, inside inference mode."""

from __future__ import annotations

import json
import math

import numpy
import pytest
import torch
from portrait_rig.core.errors import UserError
from portrait_rig.core.types import Landmarks
from portrait_rig.nodes import face_find, face_fit, face_params, folders, host, load

QUICK = {"landmark_steps": 4, "pixel_steps": 2, "pixel_size": 48, "texture": "model"}
"""A fit that goes through both stages in about a second."""


def call(node, **inputs):
    """The node's outputs for some inputs, the others at their defaults."""
    defaults = {i.id: i.options["default"] for i in node.GET_SCHEMA().inputs if "default" in i.options}
    with torch.inference_mode():
        return node.EXECUTE_NORMALIZED(**{**defaults, **inputs}).args


def refuses(words, node, **inputs):
    with pytest.raises(UserError, match=words) as caught:
        call(node, **inputs)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Input, output and model folders of this test alone."""
    from portrait_rig.nodes.standin import folder_paths

    for name in ("input", "output", "models"):
        (tmp_path / name).mkdir()
    folders.use_folders(tmp_path / "input", tmp_path / "output")
    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path / "models"))
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", {})
    folders.register_model_folder()
    return tmp_path


@pytest.fixture(scope="module")
def portrait():
    return call(load.ExamplePortrait)


@pytest.fixture(scope="module")
def head():
    folders.register_model_folder()
    return call(load.LoadFaceModel)[0]


@pytest.fixture(scope="module")
def crop(portrait):
    """The face of the example at 96 pixels, and its landmarks there."""
    face, _, marks = call(face_find.AlignFace, image=portrait[0], landmarks=portrait[1], kind="FFHQ", size=96)
    return face, marks


@pytest.fixture(scope="module")
def fitted(crop, head):
    return call(face_fit.Fit3dmm, image=crop[0], landmarks=crop[1], face_model=head, **QUICK)


def is_image(value, frames, height, width, channels=3):
    return (
        tuple(value.shape) == (frames, height, width, channels)
        and value.dtype == torch.float32
        and value.is_contiguous()
        and value.min() >= 0
        and value.max() <= 1
    )


def nan_like(image):
    bad = image.clone()
    bad[:, 0, 0] = math.nan
    return bad


# Example portrait, face models


def test_the_example_is_a_picture_with_its_landmarks(portrait):
    image, marks = portrait
    assert is_image(image, 1, 512, 512)
    assert marks.markup == 478 and marks.size == (512, 512) and marks.found.all()


def test_the_embedded_model_loads_and_names_its_expressions():
    model, about = call(load.LoadFaceModel)
    assert model.layout == "toon-head"
    assert "jawOpen" in about and "vertices" in about
    assert not any(t.is_inference() for t in model.buffers())


def test_a_missing_model_file_is_named():
    refuses(r"'nobody\.pkl' is missing\. Put it into .*portrait_rig", load.LoadFaceModel, file="nobody.pkl")


def test_a_foreign_file_is_no_face_model(home):
    from safetensors.torch import save_file

    place = home / "models" / "portrait_rig"
    place.mkdir(exist_ok=True)
    save_file({"lora.weight": torch.zeros(3)}, place / "lora.safetensors")
    refuses("'lora.safetensors'.*holds no face model", load.LoadFaceModel, file="lora.safetensors")


def test_a_replaced_model_file_is_loaded_anew(home):
    first = load.LoadFaceModel.fingerprint_inputs(file="toon_head.safetensors")
    assert first == load.LoadFaceModel.fingerprint_inputs(file="toon_head.safetensors")
    place = home / "models" / "portrait_rig"
    place.mkdir(exist_ok=True)
    (place / "toon_head.safetensors").write_bytes(b"other")
    assert first != load.LoadFaceModel.fingerprint_inputs(file="toon_head.safetensors")


# Find Face

FIVE = [[204, 102], [246, 105], [224, 126], [202, 139], [245, 141]]


def test_points_are_found_in_text(portrait):
    marks, image, marked, faces = call(face_find.FindFace, image=portrait[0], points=json.dumps(FIVE))
    assert marks.points[0].tolist() == FIVE and faces == 1
    assert is_image(image, 1, 512, 512) and torch.equal(image, portrait[0])
    assert is_image(marked, 1, 512, 512) and not torch.equal(marked, image)


def test_points_are_found_in_a_file(portrait, home):
    (home / "input" / "points.json").write_text(json.dumps({"ibug68": [FIVE[:1] * 68]}))
    marks = call(face_find.FindFace, image=portrait[0], points_file="points.json")[0]
    assert marks.markup == 68
    first = face_find.FindFace.fingerprint_inputs(points_file="points.json")
    (home / "input" / "points.json").write_text(json.dumps(FIVE))
    assert face_find.FindFace.fingerprint_inputs(points_file="points.json") != first


def core_payload(count=478):
    face = {"landmarks_xy": numpy.full((count, 2), 30.0, numpy.float32) + numpy.arange(count)[:, None], "score": 0.9}
    return {"frames": [[face]], "image_size": (512, 512)}


def test_linked_core_landmarks_come_first(portrait):
    both = {"core_landmarks": core_payload(), "points": json.dumps(FIVE)}
    assert call(face_find.FindFace, image=portrait[0], **both)[0].markup == 478
    assert call(face_find.FindFace, image=portrait[0], source="points text", **both)[0].markup == 5
    many = portrait[0].expand(3, -1, -1, -1)
    assert len(call(face_find.FindFace, image=many, core_landmarks=core_payload())[0]) == 3


def test_skipped_pictures_are_left_out(portrait):
    many = torch.cat([portrait[0], portrait[0] * 0.5, portrait[0]])
    text = json.dumps([FIVE, None, FIVE])
    marks, image, marked, faces = call(face_find.FindFace, image=many, points=text, missing="skip")
    assert len(marks) == len(image) == len(marked) == faces == 2
    assert torch.equal(image[1], portrait[0][0])
    marks, image, marked, faces = call(face_find.FindFace, image=many, points=text, missing="pass")
    assert len(image) == 3 and faces == 2 and torch.equal(marked[1], image[1])


def test_what_find_face_refuses(portrait):
    image = portrait[0]
    refuses(
        "No face was found in 1 of 2 pictures",
        face_find.FindFace,
        image=image.expand(2, -1, -1, -1),
        points=json.dumps([FIVE, None]),
    )
    refuses("no valid JSON", face_find.FindFace, image=image, points="eyes")
    refuses("There is no file 'no.json'", face_find.FindFace, image=image, points_file="no.json")
    refuses("lies outside", face_find.FindFace, image=image, points_file="../secret.json")
    refuses(r"'face_detection_yunet_2023mar\.onnx' is missing.*MIT", face_find.FindFace, image=image)
    refuses("needs the input core_landmarks", face_find.FindFace, image=image, source="core landmarks")
    refuses("belong to 1 pictures|'frames'", face_find.FindFace, image=image, core_landmarks={"faces": []})
    two = {**core_payload(), "frames": core_payload()["frames"] * 2}
    refuses("belong to 2 pictures, but 3", face_find.FindFace, image=image.expand(3, -1, -1, -1), core_landmarks=two)
    refuses("Face number 2", face_find.FindFace, image=image, points=json.dumps(FIVE), number=2)
    refuses("holds no pictures", face_find.FindFace, image=image[:0], points=json.dumps(FIVE))
    refuses("no numbers", face_find.FindFace, image=nan_like(image), points=json.dumps(FIVE))


def test_a_file_that_is_no_yunet(portrait, home):
    place = home / "models" / "portrait_rig"
    place.mkdir(exist_ok=True)
    (place / "my_yunet.onnx").write_bytes(b"no network")
    refuses(r"cannot find faces with 'my_yunet\.onnx'", face_find.FindFace, image=portrait[0])


# Align, paste, text


def test_there_and_back(portrait):
    face, how, marks = call(face_find.AlignFace, image=portrait[0], landmarks=portrait[1], size=256)
    assert is_image(face, 1, 256, 256) and marks.size == (256, 256)
    image, mask = call(face_find.PasteFace, image=portrait[0], face=face, crop=how)
    assert is_image(image, 1, 512, 512) and mask.shape == (1, 512, 512)
    assert (image - portrait[0]).abs().mean() < 0.005  # measured 0.0009
    assert 0.02 < mask.mean() < 0.3


@pytest.mark.parametrize(
    ("kind", "side"), [("FFHQ", 1024), ("Deep3D", 224), ("EG3D", 512), ("ArcFace", 112), ("DECA", 224)]
)
def test_every_alignment_at_its_authors_size(portrait, kind, side):
    face, _, _ = call(face_find.AlignFace, image=portrait[0], landmarks=portrait[1], kind=kind)
    assert is_image(face, 1, side, side)


def test_one_picture_with_many_faces(portrait):
    _, how, _ = call(face_find.AlignFace, image=portrait[0], landmarks=portrait[1], size=32)
    image, mask = call(face_find.PasteFace, image=portrait[0], face=torch.rand(3, 48, 48, 3), crop=how)
    assert len(image) == 3 and len(mask) == 3


def test_a_mask_of_any_size_keeps_the_picture(portrait):
    face, how, _ = call(face_find.AlignFace, image=portrait[0], landmarks=portrait[1], size=64)
    image, _ = call(face_find.PasteFace, image=portrait[0], face=1 - face, crop=how, mask=torch.zeros(1, 16, 16))
    assert (image - portrait[0]).abs().max() < 1e-6


def test_what_align_and_paste_refuse(portrait, crop):
    image, marks = portrait
    refuses(
        r"512 × 512 pixels, these have 64 × 32", face_find.AlignFace, image=torch.rand(1, 32, 64, 3), landmarks=marks
    )
    nobody = Landmarks(torch.full((1, 68, 2), math.nan), torch.zeros(1), (512, 512))
    refuses("None of these frames holds a face", face_find.AlignFace, image=image, landmarks=nobody)
    five = Landmarks(torch.tensor([FIVE], dtype=torch.float32), torch.ones(1), (512, 512))
    refuses("these landmarks hold 5", face_find.AlignFace, image=image, landmarks=five, kind="DECA")
    three = Landmarks(five.points.repeat(3, 1, 1), torch.ones(3), (512, 512))
    refuses("numbers of frames differ", face_find.AlignFace, image=image.expand(2, -1, -1, -1), landmarks=three)
    face, how, _ = call(face_find.AlignFace, image=image, landmarks=marks, size=32)
    refuses("these have 64 × 64", face_find.PasteFace, image=torch.rand(1, 64, 64, 3), face=face, crop=how)
    refuses(
        "numbers of frames differ",
        face_find.PasteFace,
        image=image.expand(2, -1, -1, -1),
        face=face.expand(3, -1, -1, -1),
        crop=how,
    )
    refuses("holds no pictures", face_find.PasteFace, image=image, face=face[:0], crop=how)
    refuses("no numbers", face_find.PasteFace, image=image, face=nan_like(face), crop=how)
    refuses("'mask' should hold masks", face_find.PasteFace, image=image, face=face, crop=how, mask=face)


def test_landmarks_as_text_come_back(portrait):
    for count, markup in (("all", 478), ("68", 68), ("5", 5)):
        text = call(face_find.LandmarksToText, landmarks=portrait[1], points=count)[0]
        assert call(face_find.FindFace, image=portrait[0], points=text)[0].markup == markup
    five = Landmarks(torch.tensor([FIVE], dtype=torch.float32), torch.ones(1), (512, 512))
    refuses("68 points a face are needed", face_find.LandmarksToText, landmarks=five, points="68")


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
    five = Landmarks(torch.tensor([FIVE], dtype=torch.float32), torch.ones(1), (512, 512))
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


@pytest.mark.parametrize("mode", face_fit.MODES)
def test_every_mode_is_drawn(fitted, head, mode):
    image, mask = call(face_fit.RenderFace, face_params=fitted[0], face_model=head, mode=mode, supersample=1)
    assert is_image(image, 1, 96, 96) and mask.shape == (1, 96, 96)
    assert image[mask > 0.9].std() > 0.01


def test_backgrounds(fitted, head, crop):
    drawn = {"face_params": fitted[0], "face_model": head, "supersample": 1}
    blue, mask = call(face_fit.RenderFace, **drawn, background="colour", colour="blue")
    outside = mask[0] == 0
    assert torch.equal(blue[0][outside].unique(dim=0), torch.tensor([[0.0, 0.0, 1.0]]))
    over, _ = call(face_fit.RenderFace, **drawn, picture=crop[0], opacity=0.5)
    assert torch.allclose(over[0][outside], crop[0][0][outside], atol=1e-6)
    clear, mask = call(face_fit.RenderFace, **drawn, background="transparent", height=64)
    assert is_image(clear, 1, 64, 64, 4) and torch.allclose(clear[..., 3], mask)


def test_a_turned_face_points_there(fitted, head):
    mean = head.neutral(fitted[0].camera)

    def nose(yaw):
        params = call(face_params.EditFaceParams, face_params=mean, face_model=head, yaw=yaw)[0]
        depth, _ = call(face_fit.RenderFace, face_params=params, face_model=head, mode="depth", supersample=1)
        return depth[0, 40:70, :, 0].amax(0).argmax().item()  # column of what is nearest, at the height of the nose

    assert nose(-25.0) + 8 < nose(0.0) < nose(25.0) - 8  # measured 9 and 10 of 96 pixels


def test_what_rendering_refuses(fitted, head):
    drawn = {"face_params": fitted[0], "face_model": head}
    refuses("'mauvish' is no colour", face_fit.RenderFace, **drawn, colour="mauvish")
    refuses("another shape", face_fit.RenderFace, **drawn, picture=torch.rand(1, 40, 96, 3))
    refuses("no numbers", face_fit.RenderFace, **drawn, picture=nan_like(torch.rand(1, 96, 96, 3)))
    refuses(
        "pictures: 2, faces: 3|numbers of frames differ",
        face_fit.RenderFace,
        face_model=head,
        supersample=1,
        face_params=fitted[0].map(lambda t: t.expand(3, *t.shape[1:])),
        picture=torch.rand(2, 96, 96, 3),
    )
    foreign = face_params.edit.replace(fitted[0], layout="flame-2020")
    refuses("'flame-2020'.*'toon-head'", face_fit.RenderFace, face_params=foreign, face_model=head)


def test_a_mesh_with_uvs_and_texture(fitted, head):
    mesh = call(face_fit.FaceMesh, face_params=fitted[0], face_model=head, texture_size=64)[0]
    count = mesh.vertices.shape[1]
    assert mesh.vertices.shape == (1, count, 3) and mesh.uvs.shape == (1, count, 2)
    assert mesh.faces.max() == count - 1 and mesh.texture.shape == (1, 64, 64, 3)
    refuses(
        "Frame 2 was asked for, but there are 1", face_fit.FaceMesh, face_params=fitted[0], face_model=head, frame=2
    )
