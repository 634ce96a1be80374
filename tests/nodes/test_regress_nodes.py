"""The regressors' nodes as ComfyUI calls them: keywords, defaults, inside inference mode."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from node_calls import call, refuses
from portrait_rig.core.face.coding import FaceCoding
from portrait_rig.core.face.reframe import on_crop
from portrait_rig.core.methods.regress import CodedRegressor, middle_square, save_face_regressor
from portrait_rig.core.networks.keypoint_net import KeypointNet, KeypointNetOptions
from portrait_rig.core.networks.resnet import ResNetOptions
from portrait_rig.core.types import Landmarks
from portrait_rig.nodes import face_fit, face_render, regress, toon

GROUPS = ("identity", "expression", "albedo", "gaze", "angles", "light", "translation")
QUICK = {"landmark_steps": 3, "pixel_steps": 0, "texture": "model"}


@pytest.fixture(autouse=True)
def folder(home):
    """A model folder of this test alone."""
    return home / "models" / "portrait_rig"


@pytest.fixture(scope="module")
def portrait():
    """One toon portrait of 64 pixels: image, landmarks, face_params."""
    return call(toon.ToonPortrait, size=64, seed=3)[:3]


@pytest.fixture
def knowing(head, portrait, folder):
    """A file whose network says the portrait's parameters whatever it sees; and the loaded regressor."""
    cut = on_crop(portrait[2], middle_square((64, 64), 48))
    coding = FaceCoding.measured(cut, head, GROUPS)
    network = KeypointNet(KeypointNetOptions(ResNetOptions.basic((1, 1), 4), len(coding), keypoints=3, narrow=2))
    save_face_regressor(folder / "knowing.safetensors", CodedRegressor(network, coding))
    return call(regress.LoadFaceRegressor, file="knowing.safetensors")


def test_a_file_loads_and_says_what_it_is(knowing):
    regressor, about = knowing
    assert regressor.layout == "toon-head" and "toon-head from pictures of 48 × 48" in about
    assert not any(t.is_inference() for t in (*regressor.parameters(), *regressor.buffers()))


def test_a_replaced_file_is_loaded_anew(knowing, folder):
    before = regress.LoadFaceRegressor.fingerprint_inputs(file="knowing.safetensors")
    assert before == regress.LoadFaceRegressor.fingerprint_inputs(file="knowing.safetensors")
    (folder / "knowing.safetensors").write_bytes(b"other")
    assert before != regress.LoadFaceRegressor.fingerprint_inputs(file="knowing.safetensors")


def test_a_portrait_without_landmarks_gives_its_parameters(knowing, portrait, head):
    image, _, truth = portrait
    params, report = call(regress.RegressFaceParams, image=image, face_regressor=knowing[0], face_model=head)
    for name in ("identity", "expression", "angles", "translation", "light"):
        torch.testing.assert_close(getattr(params, name), getattr(truth, name), rtol=0, atol=1e-3)
    assert report == "toon-head: 1 of 1 frames with a face"
    assert params.angles.device.type == "cpu" and head.check(params) is params


def test_the_result_is_drawn_over_the_picture(knowing, portrait, head):
    params, _ = call(regress.RegressFaceParams, image=portrait[0], face_regressor=knowing[0])
    ours, truth = (
        call(face_render.RenderFace, face_params=p, face_model=head, picture=portrait[0])[0]
        for p in (params, portrait[2])
    )
    assert (ours - truth).abs().mean() < 1e-3


def test_a_clip_with_landmarks_and_a_frame_without_a_face(knowing, portrait):
    image, landmarks, _ = portrait
    points = landmarks.points.repeat(3, 1, 1)
    points[1] = math.nan
    marks = Landmarks(points, torch.tensor([1.0, 0.0, 1.0]), (64, 64))
    params, report = call(
        regress.RegressFaceParams, image=image.repeat(3, 1, 1, 1), face_regressor=knowing[0], landmarks=marks
    )
    assert len(params) == 3 and report == "toon-head: 2 of 3 frames with a face"
    assert len(call(regress.RegressFaceParams, image=image, face_regressor=knowing[0], landmarks=marks)[0]) == 3


def test_one_person_has_one_shape_and_a_smooth_clip_moves_less(knowing, portrait, head):
    regressor = copy.deepcopy(knowing[0])
    torch.manual_seed(0)
    torch.nn.init.normal_(regressor.network.answers.weight)
    regressor.coding.scale.fill_(0.02)
    clip = portrait[0].repeat(8, 1, 1, 1) * torch.rand(8, 64, 64, 1, generator=torch.Generator().manual_seed(1))
    given = {"image": clip, "face_regressor": regressor, "face_model": head}
    plain = call(regress.RegressFaceParams, **given)[0]
    one = call(regress.RegressFaceParams, **given, share_identity=True)[0]
    smooth = call(regress.RegressFaceParams, **given, smoothing=8.0)[0]
    assert plain.identity.std(0).max() > 1e-4
    torch.testing.assert_close(one.identity, plain.identity.mean(0, keepdim=True).expand(8, -1))
    assert torch.equal(one.angles, plain.angles) and torch.equal(one.albedo[0], one.albedo[7])
    jitter = [params.angles.diff(dim=0).abs().mean() for params in (plain, smooth)]
    assert jitter[1] < 0.5 * jitter[0]
    words = "Smoothing keeps within the face model's limits"
    refuses(words, regress.RegressFaceParams, image=clip, face_regressor=regressor, smoothing=4.0)


def test_it_starts_a_fit(knowing, portrait, head):
    image, landmarks, _ = portrait
    start, _ = call(regress.RegressFaceParams, image=image, face_regressor=knowing[0])
    fitted = call(face_fit.Fit3dmm, image=image, landmarks=landmarks, face_model=head, start=start, **QUICK)[0]
    torch.testing.assert_close(fitted.camera.focal, start.camera.focal)
    assert (fitted.angles - start.angles).abs().max() < 0.2


def test_a_cancel_ends_it(knowing, portrait, monkeypatch):
    from portrait_rig.nodes.standin import runtime

    def cancel():
        raise runtime.InterruptProcessingException

    monkeypatch.setattr(runtime, "throw_exception_if_processing_interrupted", cancel)
    with pytest.raises(runtime.InterruptProcessingException):
        call(regress.RegressFaceParams, image=portrait[0], face_regressor=knowing[0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda i: {"image": torch.full_like(i["image"], math.nan)}, "'image' holds values that are no numbers"),
        (lambda i: {"image": i["image"][:0]}, "'image' holds no pictures"),
        (lambda i: {"image": i["image"].repeat(2, 1, 1, 1), "landmarks": marks(3)}, r"pictures: 2, landmarks: 3"),
        (lambda i: {"landmarks": marks(1, size=(32, 32))}, r"pictures of 32 × 32 pixels, these have 64 × 64"),
        (lambda i: {"landmarks": marks(2, score=0.0)}, "None of the 2 frames holds a face"),
        (lambda i: {"landmarks": marks(1, count=5)}, "68 or 478 points, these landmarks hold 5"),
    ],
)
def test_what_is_refused(knowing, portrait, change, words):
    inputs = {"image": portrait[0], "face_regressor": knowing[0]}
    refuses(words, regress.RegressFaceParams, **inputs | change(inputs))


def marks(frames, count=68, size=(64, 64), score=1.0):
    random = torch.Generator().manual_seed(0)
    points = 10 + 40 * torch.rand(frames, count, 2, generator=random)
    return Landmarks(points if score else points * math.nan, torch.full((frames,), score), size)


def test_missing_and_foreign_files(folder):
    from safetensors.torch import save_file

    refuses(r"'nobody\.safetensors' is missing\. Put it into", regress.LoadFaceRegressor, file="nobody.safetensors")
    save_file({"lora.weight": torch.zeros(3)}, folder / "lora.safetensors")
    words = r"'lora\.safetensors'.*no face regressor that is understood here"
    refuses(words, regress.LoadFaceRegressor, file="lora.safetensors")
