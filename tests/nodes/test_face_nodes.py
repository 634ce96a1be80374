"""The nodes that load face models and that find, align and paste faces, called as ComfyUI calls them."""

from __future__ import annotations

import json
import math

import numpy
import pytest
import torch
from node_calls import call, is_image, nan_like, refuses
from portrait_rig.core.types import Landmarks
from portrait_rig.nodes import face_find, load

pytestmark = pytest.mark.usefixtures("home")


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
    save_file({"lora.weight": torch.zeros(3)}, place / "lora.safetensors")
    refuses("'lora.safetensors'.*holds no face model", load.LoadFaceModel, file="lora.safetensors")


def test_a_replaced_model_file_is_loaded_anew(home):
    first = load.LoadFaceModel.fingerprint_inputs(file="toon_head.safetensors")
    assert first == load.LoadFaceModel.fingerprint_inputs(file="toon_head.safetensors")
    place = home / "models" / "portrait_rig"
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
