"""Find Face's finders: which are there, what 'auto' takes, and what is said where one is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import node_calls
import pack
import pytest
import torch
import toy_detectors
from portrait_rig.core.errors import UserError
from portrait_rig.core.face.landmarks import Face
from portrait_rig.nodes import face_finders, folders, host
from portrait_rig.nodes.face_find import FindFace
from portrait_rig.nodes.face_finders import FINDERS, MARKERS, SURE_OF_TOON, TOON, YUNET, Finder, find_automatically

SIZE = (320, 640)
PATCH = (200, 120)
"""Left and top of the red patch that the toy detector takes for a face."""


@pytest.fixture(autouse=True)
def models(home, monkeypatch):
    """Model folders of this test alone, without the pack's weights."""
    monkeypatch.setattr(host.folder_paths, "folder_names_and_paths", {})
    monkeypatch.setattr(folders, "WEIGHTS", home / "weights")
    folders.register_model_folder()
    return home / "models"


def install(models, *files):
    """Toy files where insightface's own package keeps them."""
    pytest.importorskip("onnxruntime", reason="onnxruntime, which runs ONNX files, is not installed")
    place = models / "insightface" / "models" / "buffalo_l"
    place.mkdir(parents=True, exist_ok=True)
    contents = {
        "det_10g.onnx": lambda: toy_detectors.scrfd(),
        "det_500m.onnx": lambda: toy_detectors.scrfd(points=False),
        "1k3d68.onnx": lambda: toy_detectors.marker(torch.zeros(3309)),
        "2d106det.onnx": lambda: toy_detectors.marker(torch.full((212,), 0.5)),
        "w600k_r50.onnx": lambda: toy_detectors.marker(torch.zeros(512), 112),
    }
    for name in files:
        (place / name).write_bytes(contents[name]())


def pictures(count=1):
    image = torch.zeros(count, *SIZE, 3)
    left, top = PATCH
    image[:, top : top + 8, left : left + 8, 0] = 1.0
    return image


def call(**inputs):
    return node_calls.call(FindFace, **{"image": pictures(), **inputs})


def refuses(words, **inputs):
    node_calls.refuses(words, FindFace, **{"image": pictures(), **inputs})


def finder(name, *scores, sure=0.0, installed=True, points=5):
    """One that finds a face of each score, a picture each; None is no face."""
    marks = torch.arange(2.0 * points).view(points, 2)

    def find(pictures, minimum):
        return [[Face(marks, score)] if score is not None and score >= minimum else [] for score in scores]

    return Finder(name, lambda: installed, find, sure)


def automatic(monkeypatch, *finders):
    """Scores of what 'auto' finds in pictures."""
    monkeypatch.setattr(face_finders, "FINDERS", finders)
    found = find_automatically(torch.zeros(len(finders[0].find(None, 0.0)), 3, 8, 8), 0.5)
    return [faces[0].score if faces else None for faces in found]


# insightface ---------------------------------------------------------------------------------------------------------


def test_the_detector_alone_gives_five_points(models):
    install(models, "det_10g.onnx")
    for source in ("auto", "insightface"):
        landmarks, _, _, faces = call(source=source)
        expected = torch.tensor(PATCH) + 8 * toy_detectors.POINTS + 0.5
        assert faces == 1 and torch.allclose(landmarks.points[0], expected, atol=1e-3)


@pytest.mark.parametrize("source", [*MARKERS, "auto"])
def test_a_marker_gives_68(models, source):
    install(models, "det_10g.onnx", *MARKERS.values())
    landmarks = call(source=source)[0]
    assert landmarks.markup == 68
    middle = torch.tensor([PATCH[0] + 2.0 + 0.5, PATCH[1] + 4.0 + 0.5])  # of a box −16…20, −16…24 about the patch
    shift = landmarks.points[0].mean(0) - middle
    assert shift.abs().max() < (0.2 if source != "insightface 2d106det" else 16) and (shift > -0.01).all()
    assert (shift > 14).all() == (source == "insightface 2d106det")  # the toy answers 0.5: half of the square's half


def test_the_best_detector_is_taken(models):
    install(models, "det_10g.onnx", "det_500m.onnx", "w600k_r50.onnx")
    assert Path(face_finders._detector()).name == "det_10g.onnx"
    (models / "insightface" / "models" / "buffalo_l" / "det_10g.onnx").unlink()
    assert Path(face_finders._detector()).name == "det_500m.onnx"
    refuses("gives boxes without points", source="insightface")
    install(models, "1k3d68.onnx")
    assert call(source="insightface 1k3d68")[0].markup == 68


def test_files_in_the_pack_s_own_folder_count_too(models):
    install(models, "det_10g.onnx")
    own = models / "portrait_rig"
    (models / "insightface" / "models" / "buffalo_l" / "det_10g.onnx").rename(own / "scrfd_10g_bnkps.onnx")
    assert call(source="insightface")[3] == 1


@pytest.mark.parametrize("source", ["insightface", *MARKERS])
def test_a_missing_detector_is_named(source):
    pytest.importorskip("onnxruntime", reason="onnxruntime, which runs ONNX files, is not installed")
    refuses(r"'det_10g\.onnx' is missing.*buffalo_l.*non-commercial", source=source)


def test_a_missing_marker_is_named(models):
    install(models, "det_10g.onnx")
    refuses(r"'2d106det\.onnx' is missing", source="insightface 2d106det")


def test_a_recogniser_finds_no_faces(models):
    install(models, "w600k_r50.onnx")
    place = models / "insightface" / "models" / "buffalo_l"
    (place / "w600k_r50.onnx").rename(place / "det_10g.onnx")
    refuses(r"'det_10g\.onnx' (is no SCRFD|fails on pictures)", source="insightface")


def test_without_onnxruntime_auto_looks_elsewhere(models, monkeypatch):
    install(models, "det_10g.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(face_finders.importlib.util, "find_spec", lambda name: None)
    refuses("pip install onnxruntime", source="insightface")
    refuses("face_detection_yunet_2023mar.onnx' is missing")


# What 'auto' takes ---------------------------------------------------------------------------------------------------


def test_the_order_is_that_of_points(monkeypatch):
    assert [each.name for each in FINDERS] == [TOON, *MARKERS, "insightface", YUNET]


def test_the_first_that_is_sure_of_all_is_taken(monkeypatch):
    toon, photo = finder(TOON, 0.96, 0.97, sure=SURE_OF_TOON), finder("photo", 0.7, 0.6)
    assert automatic(monkeypatch, toon, photo) == [0.96, 0.97]


def test_a_finder_that_is_not_sure_gives_way(monkeypatch):
    toon, photo = finder(TOON, 0.96, 0.94, sure=SURE_OF_TOON), finder("photo", 0.6, 0.6)
    assert automatic(monkeypatch, toon, photo) == [0.6, 0.6]


def test_else_the_one_that_finds_most_is_taken_and_the_earlier_of_equals(monkeypatch):
    toon, one, two = finder(TOON, 0.99, 0.7, 0.7, sure=0.9), finder("a", 0.5, 0.5, None), finder("b", None, 0.9, 0.9)
    assert automatic(monkeypatch, toon, one, two) == [0.5, 0.5, None]
    assert automatic(monkeypatch, toon, finder("a", None, None, 0.9)) == [0.99, None, None]


def test_finders_that_are_not_installed_are_not_asked(monkeypatch):
    absent = Finder("absent", lambda: False, lambda pictures, minimum: 1 / 0)
    assert automatic(monkeypatch, finder("a", 0.5), absent) == [0.5]


def test_nobody_at_all_is_no_face_where_photographs_could_be_searched(monkeypatch):
    assert automatic(monkeypatch, finder(TOON, None, sure=0.9), finder("photo", None)) == [None]


def test_nobody_at_all_says_what_photographs_need(monkeypatch):
    with pytest.raises(UserError, match=r"sure of no drawn face.*face_detection_yunet_2023mar\.onnx' is missing"):
        automatic(monkeypatch, finder(TOON, 0.8, sure=0.9), finder("photo", 0.9, installed=False))
    assert automatic(monkeypatch, finder(TOON, 0.9, None, sure=0.9)) == [0.9, None]


def test_a_missing_embedded_finder_is_named():
    refuses(r"'toon_landmarks\.safetensors' is missing", source=TOON)


@pytest.mark.skipif(
    not (pack.ROOT / "weights" / "toon_landmarks.safetensors").is_file(), reason="weights/toon_landmarks is not there"
)
def test_the_embedded_finder_is_sure_of_toons_and_of_no_photograph(monkeypatch):
    from portrait_rig.core.toon.world import ToonWorld, scene

    monkeypatch.setattr(folders, "WEIGHTS", pack.ROOT / "weights")
    folders.register_model_folder()
    with torch.inference_mode():
        drawn = [ToonWorld.load().render(scene(seed), 256) for seed in (1_000_001, 1_000_004)]
    image = torch.stack([each.picture for each in drawn]).permute(0, 2, 3, 1)
    landmarks, _, _, faces = call(image=image)
    assert faces == 2 and landmarks.markup == 68 and landmarks.score.min() >= SURE_OF_TOON
    for found, each in zip(landmarks.points, drawn, strict=True):
        eyes = (each.landmarks68[36:42].mean(0) - each.landmarks68[42:48].mean(0)).norm()
        assert (found - each.landmarks68).norm(dim=1).mean() < 0.1 * eyes  # its own tests ask for more
    from portrait_rig.nodes.load import ExamplePortrait

    photograph = ExamplePortrait.EXECUTE_NORMALIZED(portrait="astronaut").args[0]
    refuses("sure of no drawn face", image=photograph)
