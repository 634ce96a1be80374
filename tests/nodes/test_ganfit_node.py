"""The node GANFit, and Fit 3DMM with its method, as ComfyUI calls them: inside inference mode."""

from __future__ import annotations

import pytest
from node_calls import outputs
from portrait_rig.core.methods.fit import GanFitSettings, ViewSpread, Weights
from portrait_rig.core.methods.texture_gan import own_textures
from portrait_rig.nodes import face_fit, face_ganfit
from untrained import recogniser

QUICK = {"landmark_steps": 3, "pixel_steps": 1, "pixel_size": 48, "texture": "model"}


@pytest.fixture(scope="module")
def given(crop, head):
    """Fit 3DMM's first inputs."""
    return {"image": crop[0], "landmarks": crop[1], "face_model": head}


@pytest.fixture(scope="module")
def tools(head):
    return {"identity_net": recogniser(32), "texture_gan": own_textures(head, 32)}


def test_defaults_are_those_of_the_settings():
    method = outputs(face_ganfit.GanFitMethod)["method"]
    assert method.settings == GanFitSettings(weights=Weights(), views=ViewSpread())
    assert method.network is None and method.textures is None


def test_every_term_and_every_spread_has_a_widget():
    assert face_ganfit.WEIGHTS.keys() == vars(Weights()).keys()
    assert face_ganfit.SPREADS.keys() == vars(ViewSpread()).keys()


def test_a_fit_by_ganfit_reports_its_terms(given, tools):
    method = outputs(face_ganfit.GanFitMethod, steps=2, view_size=48, weight_content=0.0, **tools)["method"]
    found = outputs(face_fit.Fit3dmm, **given, **QUICK, method=method)
    assert found["face_params"].texture.shape == (1, 3, 32, 32)
    assert not found["face_params"].texture.requires_grad
    terms = [line.split()[0] for line in found["losses"].splitlines()]
    assert terms == ["term", "identity", "landmarks", "light", "novel", "pixels", "shape", "texture", "total"]
    assert found["curves"].shape == (1, 400, 640, 3)
    assert found["overlay"].shape == given["image"].shape


def test_a_fit_by_pixels_has_a_table_too(given):
    found = outputs(face_fit.Fit3dmm, **given, **QUICK)
    assert {line.split()[0] for line in found["losses"].splitlines()} >= {"colour", "landmarks", "total"}


def test_after_the_landmarks_alone_the_table_is_empty(given):
    found = outputs(face_fit.Fit3dmm, **given, **{**QUICK, "pixel_steps": 0})
    assert len(found["losses"].splitlines()) == 1
