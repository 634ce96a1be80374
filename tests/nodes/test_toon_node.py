"""Toon Portrait as ComfyUI calls it."""

from __future__ import annotations

import json

import pytest
import torch
from node_calls import outputs
from portrait_rig.core.face.models import load_face_model
from portrait_rig.nodes.toon import MASK_OUTPUTS, SLIDERS, ToonPortrait

SMALL = {"size": 32, "seed": 7}


def call(**inputs):
    return outputs(ToonPortrait, **{**SMALL, **inputs})


def test_all_outputs_have_a_frame_a_portrait():
    out = call(count=3)
    assert out["image"].shape == (3, 32, 32, 3)
    assert out["landmarks"].points.shape == (3, 68, 2) and out["landmarks"].size == (32, 32)
    load_face_model().check(out["face_params"])
    assert len(out["face_params"]) == 3
    assert all(out[name].shape == (3, 32, 32) for name in MASK_OUTPUTS)
    assert len(json.loads(out["attributes"])) == 3


def test_a_figure_is_half_as_wide():
    out = call(framing="figure", size=64)
    assert out["image"].shape == (1, 64, 32, 3) and out["landmarks"].size == (64, 32)
    assert out["face_params"].camera.size == (64, 32) and out["body"].shape == (1, 64, 32)


def test_the_next_portrait_has_the_next_seed():
    assert torch.equal(call(count=2)["image"][1], call(seed=8)["image"][0])


def test_the_same_person_keeps_identity_and_changes_pose():
    params = call(count=2, same_person=True)["face_params"]
    assert torch.equal(params.identity[0], params.identity[1]) and not torch.equal(params.angles[0], params.angles[1])


def test_sliders_decide_where_they_are_asked():
    out = call(pose=SLIDERS, yaw=30.0, pitch=-10.0, mood=SLIDERS, smile=0.8, jaw_open=0.4, light=SLIDERS,
               light_azimuth=45.0, light_elevation=10.0)  # fmt: skip
    table, head = json.loads(out["attributes"])[0], load_face_model()
    wanted = {"yaw": 30, "pitch": -10, "smile": 0.8, "light_azimuth": 45, "light_elevation": 10}
    assert {name: table[name] for name in wanted} == pytest.approx(wanted, abs=1e-3)
    strengths = dict(zip(head.expression.names, out["face_params"].expression[0].tolist(), strict=True))
    assert strengths["jawOpen"] == pytest.approx(0.4) and strengths["eyeBlink_L"] == 0


def test_sliders_are_silent_where_the_seed_decides():
    assert torch.equal(call(yaw=30.0, smile=1.0, light_azimuth=90.0)["image"], call()["image"])


def test_choices_replace_the_seed_s():
    table = json.loads(call(glasses="round", beard="full", hair="bald", hat="none")["attributes"])[0]
    assert (table["glasses"], table["beard"], table["baldness"]) == (1, 1, 1)


def test_plain_is_another_picture_of_the_same_head():
    plain, rich = call(plain=True), call()
    assert not torch.equal(plain["image"], rich["image"])
    assert torch.equal(plain["landmarks"].points, rich["landmarks"].points)
