"""insightface's detectors: what their outputs mean, on outputs made by hand and on tiny networks in ONNX files."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest
import torch
import toy_detectors
from portrait_rig.core.errors import UserError
from portrait_rig.core.face import detect_points, detect_scrfd
from portrait_rig.core.face.detect_onnx import OnnxModel, open_model
from portrait_rig.core.face.detect_scrfd import Found, decode, find_with_scrfd, five_of, merged
from portrait_rig.core.face.landmarks import five_points

runs = pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime") is None, reason="onnxruntime, which runs ONNX files, is not installed"
)
RED, BLACK = torch.tensor([1.0, 0.0, 0.0]), torch.zeros(3)


class HandMade:
    """A network whose outputs are given; keeps what it was shown."""

    def __init__(self, *answers, size=None):
        self.name, self.size, self.answers, self.seen = "hand.onnx", size, list(answers), []

    def run(self, pictures):
        self.seen.append(pictures)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def maps(size, anchors=2, levels=3, points=True, seed=0):
    """Outputs of a network whose every number is random."""
    random = np.random.default_rng(seed)
    counts = [anchors * (size[0] // (8 * 2**i)) * (size[1] // (8 * 2**i)) for i in range(levels)]
    widths = [1, 4, 10] if points else [1, 4]
    return [random.random((count, width), np.float32) for width in widths for count in counts]


def faces_by_hand(outputs, size, minimum, anchors, levels):
    """Decoding as one would do it with a pencil."""
    found = []
    for level in range(levels):
        stride, row = 8 * 2**level, 0
        for y in range(size[0] // stride):
            for x in range(size[1] // stride):
                for _ in range(anchors):
                    score, (left, top, right, bottom), points = (outputs[level + levels * k][row] for k in range(3))
                    if score[0] >= minimum:
                        box = [(x - left) * stride, (y - top) * stride, (x + right) * stride, (y + bottom) * stride]
                        at = [((x + points[2 * k]) * stride, (y + points[2 * k + 1]) * stride) for k in range(5)]
                        found.append((score[0], box, at))
                    row += 1
    return found


# Outputs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "anchors", "levels"), [((64, 96), 2, 3), ((640, 640), 2, 3), ((128, 128), 1, 5), ((32, 32), 1, 3)]
)
def test_places_strides_and_anchors(size, anchors, levels):
    outputs = maps(size, anchors, levels)
    by_hand = faces_by_hand(outputs, size, 0.9, anchors, levels)
    boxes, scores, points = decode(outputs, size, 0.9, "toy")
    assert len(by_hand) == len(scores) > 0
    assert torch.allclose(scores, torch.tensor([score for score, _, _ in by_hand]))
    assert torch.allclose(boxes, torch.tensor(np.array([box for _, box, _ in by_hand])).float(), atol=1e-3)
    assert torch.allclose(points, torch.tensor(np.array([at for _, _, at in by_hand])).float(), atol=1e-3)


def test_outputs_come_with_a_batch_of_one_and_in_any_order():
    outputs = maps((64, 64))
    expected = decode(outputs, (64, 64), 0.5, "toy")
    for others in ([each[None] for each in outputs], outputs[::-1]):
        assert all(torch.equal(a, b) for a, b in zip(decode(others, (64, 64), 0.5, "toy"), expected, strict=True))


def test_boxes_alone_are_found_without_points():
    boxes, _, points = decode(maps((64, 64), points=False), (64, 64), 0.5, "toy")
    assert len(boxes) and points is None
    with pytest.raises(UserError, match=r"'det\.onnx' gives boxes without points.*2d106det"):
        five_of([[Found(boxes[0], 0.9, None)]], "det.onnx")


def test_no_place_above_the_minimum_is_no_face():
    boxes, scores, points = decode(maps((64, 64)), (64, 64), 1.1, "toy")
    assert boxes.shape == (0, 4) and scores.shape == (0,) and points.shape == (0, 5, 2) and merged(boxes, scores) == []


def test_values_that_are_no_numbers_are_no_faces():
    outputs = maps((64, 64))
    outputs[0][:] = np.nan
    assert len(decode(outputs, (64, 64), 0.0, "toy")[1]) == 2 * (16 + 4)


@pytest.mark.parametrize(
    "outputs",
    [
        [],
        [np.zeros((1, 512), np.float32)],  # a recogniser
        [np.zeros((1, 212), np.float32)],
        maps((64, 64))[:8],
        maps((64, 64))[:3],
        maps((96, 64)),
        [*maps((64, 64)), np.zeros((3, 3), np.float32)],
        [np.zeros((0, width), np.float32) for width in (1, 4, 10)],
    ],
    ids=["none", "recogniser", "landmarks", "a map missing", "scores only", "other size", "one more", "empty"],
)
def test_other_outputs_are_refused(outputs):
    with pytest.raises(UserError, match=r"'toy' is no SCRFD face detector.*det_10g\.onnx"):
        decode(outputs, (64, 64), 0.5, "toy")


def merged_by_hand(boxes, scores):
    kept = []
    for row in sorted(range(len(scores)), key=lambda i: -scores[i]):
        a = boxes[row]
        for other in kept:
            b = boxes[other]
            shared = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
            both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
            if shared > detect_scrfd.OVERLAP * both:
                break
        else:
            kept.append(row)
    return kept


def test_overlapping_boxes_are_one_face():
    random = np.random.default_rng(3)
    corner = random.random((80, 2)) * 50
    boxes, scores = np.concatenate([corner, corner + 5 + random.random((80, 2)) * 20], 1), random.random(80)
    kept = merged(torch.from_numpy(boxes), torch.from_numpy(scores))
    assert kept == merged_by_hand(boxes, scores) and 5 < len(kept) < 80


def test_equal_scores_keep_the_first_and_flat_boxes_stay():
    box = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [20, 20, 20, 20], [20, 20, 20, 20]])
    assert merged(box, torch.tensor([0.9, 0.9, 0.8, 0.8])) == [0, 2, 3]


# Pictures ------------------------------------------------------------------------------------------------------------


def test_pictures_are_fitted_into_the_corner():
    network = HandMade(maps((64, 64)), size=(64, 64))
    picture = RED[:, None, None].expand(3, 100, 200)
    find_with_scrfd(picture[None], network, 2.0)
    (shown,) = network.seen
    red, black = (np.array([255.0, 0, 0]) - 127.5) / 128, np.full(3, -127.5 / 128)
    assert shown.shape == (1, 3, 64, 64) and shown.dtype == np.float32
    rows = shown[0].transpose(1, 2, 0)
    assert np.allclose(rows[:32], red) and np.allclose(rows[32:], black)


def test_points_come_back_to_the_picture_s_pixels():
    outputs = [np.zeros_like(each) for each in maps((64, 64), anchors=1)]
    outputs[0][8 * 3 + 2] = 0.8  # third row, column 2 of the finest map: pixel (16, 24)
    outputs[3][8 * 3 + 2] = 1.0
    outputs[6][8 * 3 + 2] = 0.5
    ((face,),) = find_with_scrfd(torch.zeros(1, 3, 128, 256), HandMade(outputs, size=(64, 64)), 0.5)
    assert face.box.tolist() == [8 * 4 + 0.5, 16 * 4 + 0.5, 24 * 4 + 0.5, 32 * 4 + 0.5]
    assert face.points.tolist() == [[20 * 4 + 0.5, 28 * 4 + 0.5]] * 5
    assert face.score == pytest.approx(0.8)


def test_a_second_look_is_taken_at_half_the_size():
    nobody, somebody = [np.zeros_like(each) for each in maps((640, 640))], maps((320, 320))
    network = HandMade(nobody, somebody)
    (found,) = find_with_scrfd(torch.zeros(1, 3, 10, 10), network, 0.5)
    assert found and [shown.shape[2] for shown in network.seen] == [640, 320]
    find_with_scrfd(torch.zeros(1, 3, 10, 10), network := HandMade(maps((640, 640))), 0.5)
    assert len(network.seen) == 1


def test_pictures_of_any_shape_are_searched():
    for size in ((1, 1), (1, 5000), (3000, 2)):
        assert find_with_scrfd(torch.zeros(1, 3, *size), HandMade(maps((64, 64)), size=(64, 64)), 2.0) == [[]]
    assert find_with_scrfd(torch.zeros(0, 3, 8, 8), HandMade(maps((64, 64))), 0.5) == []


# Landmarks -----------------------------------------------------------------------------------------------------------


def test_the_106_points_hold_all_68():
    assert len(set(detect_points.IBUG_OF_106)) == 68 and max(detect_points.IBUG_OF_106) < 106
    jaw = detect_points.IBUG_OF_106[:17]
    assert jaw[8] == 0 and {*jaw[:8]} <= {*range(1, 17)} and {*jaw[9:]} <= {*range(17, 33)}


def test_both_markups_become_68_points():
    points106 = torch.rand(106, 2)
    found = detect_points.decode(points106.flatten()[None].numpy(), "toy")
    assert torch.equal(found, points106[list(detect_points.IBUG_OF_106)])
    dense = torch.rand(1103, 3)
    assert torch.equal(detect_points.decode(dense.flatten()[None].numpy(), "toy"), dense[-68:, :2])
    assert five_points(found).shape == (5, 2)


@pytest.mark.parametrize("count", [0, 136, 512])
def test_other_numbers_of_values_are_refused(count):
    with pytest.raises(UserError, match=rf"'toy' marks no faces: it gives {count} values"):
        detect_points.decode(np.zeros((1, count), np.float32), "toy")


def test_points_lie_in_the_square_around_the_box():
    """A box of 40 × 20 at (30, 50): the square's half side is 30, its middle is the box's."""
    answer = np.zeros((1, 106, 2), np.float32)
    answer[0, 1], answer[0, 10] = (1.0, 0.0), (0.0, -0.5)  # the jaw's first two points
    face = Found(torch.tensor([10.0, 40.0, 50.0, 60.0]), 0.7, None)
    network = HandMade([answer.reshape(1, 212)])
    ((marked,),) = detect_points.mark(torch.zeros(1, 3, 80, 90), [[face]], network)
    assert marked.points.shape == (68, 2) and marked.score == 0.7
    assert torch.allclose(marked.points[:3], torch.tensor([[60.0, 50.0], [30.0, 35.0], [30.0, 50.0]]), atol=1e-4)


def test_the_network_sees_the_square():
    """A white pixel in the box's middle comes to the square's, where insightface has it: beside the middle."""
    picture = torch.zeros(1, 3, 101, 101)
    picture[:, :, 50, 50] = 1.0
    side = 192 / 1.5
    face = Found(torch.tensor([50.5 - side / 2, 50.5 - side / 2, 50.5 + side / 2, 50.5 + side / 2]), 1.0, None)
    network = HandMade([np.zeros((1, 212), np.float32)])
    detect_points.mark(picture, [[face]], network)
    shown = network.seen[0]
    assert shown.shape == (1, 3, 192, 192)
    assert shown[0, 0, 96, 96] == pytest.approx(255) and shown.sum() == pytest.approx(765)


# Files ---------------------------------------------------------------------------------------------------------------


def patched(places, size=(160, 192)):
    """A black picture with red patches: (left, top, side)."""
    picture = torch.zeros(1, 3, *size)
    for left, top, side in places:
        picture[0, 0, top : top + side, left : left + side] = 1.0
    return picture


@runs
@pytest.mark.parametrize("batched", [False, True])
def test_a_detector_in_a_file(tmp_path, batched):
    """Red patches on a picture of the network's own size, where nothing is resampled."""
    (tmp_path / "det_toy.onnx").write_bytes(toy_detectors.scrfd(size=(160, 192), batched=batched))
    network = open_model(tmp_path / "det_toy.onnx")
    assert network.size == (160, 192)
    (found,) = find_with_scrfd(patched([(40, 24, 8), (128, 96, 16)]), network, 0.9)
    assert {40 - 16 + 0.5, 128 - 32 + 0.5} <= {face.box[0].item() for face in found}  # small ones lie in the large one
    small = next(face for face in found if face.box[0] < 50)
    reach = 8 * toy_detectors.SIDES * torch.tensor([-1, -1, 1, 1])
    assert torch.allclose(small.box, torch.tensor([40.0, 24, 40, 24]) + reach + 0.5)
    assert torch.allclose(small.points, torch.tensor([40.0, 24]) + 8 * toy_detectors.POINTS + 0.5)
    assert five_of([found], network.name)[0][0].points.shape == (5, 2)


@runs
def test_a_detector_that_takes_any_size(tmp_path):
    (tmp_path / "det_toy.onnx").write_bytes(toy_detectors.scrfd())
    network = open_model(tmp_path / "det_toy.onnx")
    assert network.size is None
    pictures = torch.cat([patched([(40, 24, 8)], (320, 640)), patched([], (320, 640))])
    found = find_with_scrfd(pictures, network, 0.9)
    assert [len(faces) for faces in found] == [1, 0]


@runs
def test_markers_in_files(tmp_path):
    answer = torch.rand(212) - 0.5
    for name, values in (("2d106det.onnx", answer), ("1k3d68.onnx", torch.rand(3309) - 0.5)):
        (tmp_path / name).write_bytes(toy_detectors.marker(values))
    network = open_model(tmp_path / "2d106det.onnx")
    assert network.size == (192, 192)
    face = Found(torch.tensor([20.0, 20.0, 60.0, 60.0]), 1.0, None)
    ((dark,),) = detect_points.mark(torch.zeros(1, 3, 80, 80), [[face]], network)
    expected = answer.view(106, 2)[list(detect_points.IBUG_OF_106)] * 30 + 40
    assert torch.allclose(dark.points, expected, atol=1e-4)
    ((light,),) = detect_points.mark(torch.ones(1, 3, 80, 80), [[face]], network)
    grown = 255 * 1e-3 * 30  # white all over, since the square lies within the picture
    assert torch.allclose(light.points - dark.points, torch.full((68, 2), grown), atol=1e-2)
    ((dense,),) = detect_points.mark(torch.zeros(1, 3, 80, 80), [[face]], open_model(tmp_path / "1k3d68.onnx"))
    assert dense.points.shape == (68, 2)


@runs
@pytest.mark.parametrize("content", [b"", b"<html>", toy_detectors.scrfd()[:200]], ids=["empty", "page", "cut"])
def test_files_that_are_none_are_named(tmp_path, content):
    (tmp_path / "det_10g.onnx").write_bytes(content)
    with pytest.raises(UserError, match=r"onnxruntime .* cannot open 'det_10g\.onnx'"):
        open_model(tmp_path / "det_10g.onnx")


@runs
def test_a_network_of_another_kind_is_refused(tmp_path):
    import onnx_bytes

    content = onnx_bytes.model([onnx_bytes.node("Relu", ["x"], "y")], {}, {"x": (1, 8)}, {"y": (1, 8)})
    (tmp_path / "other.onnx").write_bytes(content)
    with pytest.raises(UserError, match=r"'other\.onnx' takes \[\(1, 8\)\]"):
        open_model(tmp_path / "other.onnx")


@runs
def test_a_network_that_fails_says_on_what(tmp_path):
    (tmp_path / "det_toy.onnx").write_bytes(toy_detectors.scrfd(size=(64, 64)))
    network = open_model(tmp_path / "det_toy.onnx")
    with pytest.raises(UserError, match=r"'det_toy\.onnx' fails on pictures \[1, 3, 32, 32\]"):
        network.run(np.zeros((1, 3, 32, 32), np.float32))


def test_a_missing_onnxruntime_is_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match="pip install onnxruntime"):
        open_model(tmp_path / "det_10g.onnx")


def test_a_model_that_does_not_care_for_the_runtime():
    """The border to onnxruntime is one class."""
    session = type("Session", (), {"get_inputs": lambda self: [type("In", (), {"name": "x"})()],
                                   "run": lambda self, names, given: [given["x"] + 1]})()  # fmt: skip
    assert OnnxModel("a.onnx", session, None).run(np.zeros((1, 3, 2, 2), np.float32))[0].max() == 1
