from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import numpy
import pack
import pytest
import torch
from portrait_rig.core.errors import UserError
from portrait_rig.core.face import detect, landmarks, points_text
from portrait_rig.core.face.landmarks import Face, choose, convert
from portrait_rig.core.types import Landmarks

SIZE = (100, 200)


def marks(count: int = 68, frames: int = 1) -> Landmarks:
    points = torch.rand(frames, count, 2, generator=torch.Generator().manual_seed(count)) * 80
    return Landmarks(points, torch.ones(frames), SIZE)


def face(x: float, side: float, count: int = 5) -> Face:
    points = torch.tensor([[0.0, 0.0], [1.0, 1.0]]).repeat(count, 1)[:count]
    return Face(points * side + torch.tensor([x, 10.0]))


# Markups


def test_68_of_478_are_those_of_the_measured_portraits():
    path = pack.SHARED / "data/portraits/landmarks.json"
    if not path.exists():
        pytest.skip("the measured portraits are not beside this checkout")
    measured = [v for v in json.loads(path.read_text()).values() if v.get("mediapipe478")]
    assert len(measured) == 7
    for entry in measured:
        mesh = torch.tensor(entry["mediapipe478"])[None, :, :2]
        ours = landmarks.convert_points(mesh, 68)[0]
        assert torch.equal(ours, torch.tensor(entry["ibug68"]))


def test_five_points_are_eye_corners_nose_tip_and_mouth_corners():
    points = marks().points
    five = convert(marks(), 5).points
    assert torch.allclose(five[:, 0], (points[:, 36] + points[:, 39]) / 2)
    assert torch.allclose(five[:, 1], (points[:, 42] + points[:, 45]) / 2)
    assert torch.equal(five[:, 2:], points[:, [30, 48, 54]])


def test_478_to_5_goes_through_68():
    assert torch.equal(convert(marks(478), 5).points, convert(convert(marks(478), 68), 5).points)


def test_a_finer_markup_is_refused_in_words():
    with pytest.raises(UserError, match="68 points a face are needed, these landmarks hold 5"):
        convert(marks(5), 68)


def test_the_same_markup_is_the_same_value():
    value = marks()
    assert convert(value, 68) is value


# Which face


def test_faces_are_counted_by_size_or_place_or_list():
    faces = [[face(50, 10), face(5, 30), face(90, 20)]]

    def corner(which, number):
        return choose(faces, SIZE, which, number)[0].points[0, 0, 0].item()

    assert [corner("largest", n) for n in (1, 2, 3)] == [5, 90, 50]
    assert [corner("left to right", n) for n in (1, 2, 3)] == [5, 50, 90]
    assert [corner("as listed", n) for n in (1, 2, 3)] == [50, 5, 90]


def test_a_number_beyond_the_faces_is_named():
    with pytest.raises(UserError, match=r"Face number 3 \(largest\).*at most 2 in the picture"):
        choose([[face(0, 5), face(50, 10)]], SIZE, "largest", 3)


def test_zero_is_no_face_number():
    with pytest.raises(UserError, match="Face number 0"):
        choose([[face(0, 5)]], SIZE, "largest", 0)


def test_a_missing_face_is_an_error_that_names_the_frame():
    with pytest.raises(UserError, match=r"No face was found in 1 of 3 pictures \(number 2\)"):
        choose([[face(0, 5)], [], [face(0, 5)]], SIZE)


def test_a_missing_face_is_skipped():
    found, kept = choose([[face(0, 5)], [], [face(9, 5)]], SIZE, missing="skip")
    assert kept.tolist() == [0, 2]
    assert found.points[:, 0, 0].tolist() == [0, 9]


def test_a_missing_face_passes_as_nan():
    found, kept = choose([[], [face(9, 5)]], SIZE, missing="pass")
    assert kept.tolist() == [0, 1]
    assert found.found.tolist() == [False, True]
    assert found.score.tolist() == [0, 1]


def test_no_face_at_all():
    assert choose([[], []], SIZE, missing="pass")[0].points.shape == (2, 68, 2)
    with pytest.raises(UserError, match="No face was found"):
        choose([[], []], SIZE, missing="skip")


def test_no_frames_at_all():
    found, kept = choose([], SIZE)
    assert len(found) == len(kept) == 0


def test_mixed_markups_are_refused():
    with pytest.raises(UserError, match=r"different numbers of points \(5, 68\)"):
        choose([[face(0, 5)], [face(0, 5, 68)]], SIZE)


def test_468_points_become_68():
    assert choose([[face(0, 5, 468)]], SIZE)[0].markup == 68


def test_unknown_options_are_listed():
    with pytest.raises(UserError, match="largest, left to right, as listed"):
        choose([[face(0, 5)]], SIZE, "smallest")


# ComfyUI's landmarks


def payload(points: numpy.ndarray, size=(50, 100)) -> dict:
    return {"frames": [[{"landmarks_xy": points, "score": 0.75, "bbox_xyxy": points[:4, 0]}], []], "image_size": size}


def test_core_landmarks_are_scaled_to_the_picture():
    points = numpy.full((478, 2), 10.0, numpy.float32)
    frames = landmarks.from_core_payload(payload(points), SIZE)
    assert [len(faces) for faces in frames] == [1, 0]
    assert frames[0][0].score == 0.75
    assert torch.equal(frames[0][0].points, torch.full((478, 2), 20.0))
    assert points.max() == 10


def test_core_landmarks_without_a_size_stay():
    points = numpy.full((468, 2), 10.0, numpy.float64)
    frames = landmarks.from_core_payload(payload(points, None), SIZE)
    assert frames[0][0].points.max() == 10


@pytest.mark.parametrize("bad", [{}, [], None, {"faces": []}])
def test_a_foreign_payload_is_refused(bad):
    with pytest.raises(UserError, match="'frames'"):
        landmarks.from_core_payload(bad, SIZE)


def test_a_payload_of_another_mesh_is_refused():
    with pytest.raises(UserError, match=r"\[33, 2\]; expected \[468 or 478, 2\]"):
        landmarks.from_core_payload(payload(numpy.zeros((33, 2))), SIZE)


# Moving


def test_points_move_with_the_matrix():
    matrix = torch.tensor([[[2.0, 0.0, 1.0], [0.0, 3.0, -1.0], [0.0, 0.0, 1.0]]], dtype=torch.float64)
    before = marks(5, frames=3)
    moved = landmarks.move(before, matrix, (7, 9))
    assert moved.size == (7, 9)
    assert torch.allclose(moved.points, before.points * torch.tensor([2.0, 3.0]) + torch.tensor([1.0, -1.0]))


# Points text

FIVE = [[1, 2], [3, 2], [2, 3], [1, 4], [3, 4]]


@pytest.mark.parametrize(
    ("value", "faces"),
    [
        (FIVE, [1]),
        ([[*p, 9.5] for p in FIVE], [1]),
        ([FIVE], [1]),
        ([[FIVE, FIVE]], [2]),
        ([FIVE, None], [1, 0]),
        ([[FIVE], [FIVE, FIVE], []], [1, 2, 0]),
        (None, [0]),
        ({"points": FIVE}, [1]),
        ({"ibug68": [FIVE, None, FIVE]}, [1, 0, 1]),
        ({"mediapipe478": None}, [0]),
        ({"faces": [FIVE, FIVE]}, [2]),
        ([{"faces": []}, {"faces": [FIVE]}], [0, 1]),
    ],
)
def test_every_form_of_points_text(value, faces):
    found = points_text.parse(json.dumps(value), SIZE, len(faces))
    assert [len(frame) for frame in found] == faces
    for frame in found:
        for one in frame:
            assert one.points.tolist() == FIVE


def test_one_frame_goes_with_all():
    assert len(points_text.parse(json.dumps(FIVE), SIZE, frames=7)) == 7


def test_the_first_name_wins_and_sizes_scale():
    text = json.dumps({"ibug68": None, "points": FIVE, "width": 100, "height": 100})
    assert points_text.parse(text, SIZE)[0][0].points[1].tolist() == [6, 2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no valid JSON"),
        ("[[1, 2", "no valid JSON"),
        ("[" * 5000, "nested too deeply|no valid JSON"),
        ("3", "holds int"),
        ('"eyes"', "holds str"),
        ("{}", "holds the names none"),
        ('{"eyes": 1}', "holds the names eyes"),
        ('{"points": 3}', "holds int"),
        ("[3]", "frame of the points text is 3"),
        ("[[1, 2], [3, 4]]", "has 2 points"),
        ("[[1, 2], 3]", "no list of"),
        ('[["a"]]', "no list of"),
        ("[[NaN, 1], [1, 1], [1, 1], [1, 1], [1, 1]]", "NaN"),
        ("[null, null]", "has 2 frames, the picture batch 1"),
        ('{"points": null, "width": 0}', "positive"),
        ('{"points": null, "height": "big"}', "positive"),
    ],
)
def test_what_is_not_understood_is_said(text, words):
    with pytest.raises(UserError, match=words):
        points_text.parse(text, SIZE)


def test_text_comes_back():
    points = torch.rand(3, 68, 2) * 200
    points[1] = torch.nan
    text = points_text.write(Landmarks(points, torch.tensor([1.0, 0, 1]), SIZE))
    back, _ = choose(points_text.parse(text, SIZE, 3), SIZE, missing="pass")
    assert back.found.tolist() == [True, False, True]
    assert (back.points - points)[[0, 2]].abs().max() <= 0.005 + 1e-5


def test_a_points_file_that_is_no_text(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(UserError, match=r"'a\.json' is no text file"):
        points_text.read(tmp_path / "a.json")
    with pytest.raises(UserError, match="cannot be read"):
        points_text.read(tmp_path / "absent.json")


# YuNet, its answers made by hand: OpenCV's model file is not part of the tests


class HandMadeYuNet:
    def __init__(self, answers):
        self.answers, self.seen = answers, []

    def create(self, model, config, size, score, overlap, candidates):
        assert (config, overlap, candidates) == ("", 0.3, 5000)
        self.model, self.size = model, size
        return self

    def detect(self, picture):
        assert picture.dtype == numpy.uint8 and picture.shape == (self.size[1], self.size[0], 3)
        self.seen.append(picture)
        return 1, self.answers.pop(0)


def test_yunet_answers_become_five_points(monkeypatch, tmp_path):
    import cv2

    row = numpy.array([[1, 2, 30, 40, *range(10, 20), 0.9]], numpy.float32)
    finder = HandMadeYuNet([row, None])
    monkeypatch.setattr(cv2, "FaceDetectorYN", finder)
    pictures = torch.zeros(2, 3, 1024, 2048)
    pictures[:, 0] = 1.0
    frames = detect.find_with_yunet(pictures, tmp_path / "yunet.onnx")
    assert finder.size == (1024, 512)
    assert finder.seen[0][0, 0].tolist() == [0, 0, 255]  # BGR
    assert [len(faces) for faces in frames] == [1, 0]
    assert frames[0][0].points.tolist() == [[20, 22], [24, 26], [28, 30], [32, 34], [36, 38]]
    assert frames[0][0].score == pytest.approx(0.9)


def test_a_file_that_is_no_yunet_is_named(tmp_path):
    (tmp_path / "wrong.onnx").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"cannot find faces with 'wrong\.onnx'"):
        detect.find_with_yunet(torch.zeros(1, 3, 64, 64), tmp_path / "wrong.onnx")


def test_a_missing_opencv_is_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UserError, match="pip install opencv-python-headless"):
        detect.find_with_yunet(torch.zeros(1, 3, 64, 64), tmp_path / "yunet.onnx")


def test_an_opencv_without_yunet_is_a_sentence(monkeypatch, tmp_path):
    import cv2

    monkeypatch.setattr(cv2, "FaceDetectorYN", SimpleNamespace())
    with pytest.raises(UserError, match=r"OpenCV .* cannot find faces"):
        detect.find_with_yunet(torch.zeros(1, 3, 64, 64), tmp_path / "yunet.onnx")
