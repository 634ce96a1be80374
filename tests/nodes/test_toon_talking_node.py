"""Toon Talking Clip as ComfyUI calls it."""

from __future__ import annotations

import json

import pytest
import torch
from node_calls import outputs
from portrait_rig.core.errors import UserError
from portrait_rig.core.face.models import load_face_model
from portrait_rig.core.toon.voice import RATE
from portrait_rig.nodes.toon import LONGEST_CLIP, ToonPortrait, ToonTalkingClip

QUICK = {"seconds": 0.8, "fps": 5.0, "size": 16, "seed": 7}


def call(**inputs):
    return outputs(ToonTalkingClip, **{**QUICK, **inputs})


def sound(*shape, rate=8000):
    return {"waveform": torch.rand(*shape, generator=torch.Generator().manual_seed(1)) - 0.5, "sample_rate": rate}


def test_all_outputs_belong_to_the_same_frames():
    out = call()
    assert out["image"].shape == (4, 16, 16, 3) and out["fps"] == 5.0
    assert out["audio"]["waveform"].shape == (1, 1, 0.8 * RATE) and out["audio"]["sample_rate"] == RATE
    assert out["landmarks"].points.shape == (4, 68, 2) and out["landmarks"].size == (16, 16)
    load_face_model().check(out["face_params"])
    assert len(out["face_params"]) == 4 and out["face_params"].camera.size == (16, 16)
    phones = json.loads(out["phonemes"])
    assert phones[0]["phoneme"] == "sil" and phones[-1]["end"] == pytest.approx(0.8)


def test_it_is_the_person_of_toon_portrait():
    defaults = {i.id: i.options["default"] for i in ToonPortrait.GET_SCHEMA().inputs}
    portrait = ToonPortrait.EXECUTE_NORMALIZED(**{**defaults, "size": 16, "seed": 7}).args[2]
    params = call()["face_params"]
    assert torch.equal(params.identity[0], portrait.identity[0]) and torch.equal(params.albedo[0], portrait.albedo[0])


def test_a_take_is_another_babble_of_the_same_person():
    first, second = call(), call(take=1)
    assert first["phonemes"] != second["phonemes"]
    assert torch.equal(first["face_params"].identity, second["face_params"].identity)


def test_a_text_is_said_in_its_own_time():
    out = call(text="hello")
    assert [p["phoneme"] for p in json.loads(out["phonemes"])] == ["sil", "hh", "ah", "l", "ow", "uh", "sil"]
    assert out["audio"]["waveform"].shape[2] == round(len(out["image"]) / 5.0 * RATE) != 0.8 * RATE


def test_connected_audio_comes_through_and_is_cut():
    given = sound(2, 2, 80000)
    out = call(audio=given, text="not said")
    assert len(out["image"]) == 4 and out["phonemes"] == "[]"
    assert out["audio"]["sample_rate"] == 8000
    assert torch.allclose(out["audio"]["waveform"][0, 0], given["waveform"][0].mean(0)[:6400])


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (sound(1, 1, 0), r"'audio' should hold sound.*\[1, 1, 0\]"),
        (sound(1, 100), r"'audio' should hold sound.*\[1, 100\]"),
        ({"waveform": torch.zeros(1, 1, 9), "sample_rate": 0}, "'audio' should hold sound"),
        ({"waveform": torch.full((1, 1, 9), torch.inf), "sample_rate": 8000}, "'audio' holds values that are no numb"),
        ("a.wav", "'audio' should hold sound.*holds str"),
    ],
)
def test_what_is_no_sound_is_refused(audio, message):
    with pytest.raises(UserError, match=message):
        call(audio=audio)


def test_endless_texts_are_refused():
    with pytest.raises(UserError, match=f"at most {LONGEST_CLIP:.0f} seconds long"):
        call(text="wonderful " * 190)


def test_plain_is_another_picture_of_the_same_clip():
    plain, rich = call(plain=True), call()
    assert not torch.equal(plain["image"], rich["image"])
    assert torch.equal(plain["landmarks"].points, rich["landmarks"].points)
