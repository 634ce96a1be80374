"""The node GANFit, and Fit 3DMM with its method, as ComfyUI calls them: inside inference mode."""

from __future__ import annotations

import pytest
import torch
from portrait_rig.core.methods.fit import GanFitSettings, ViewSpread, Weights
from portrait_rig.core.methods.identity import IdentityNetwork
from portrait_rig.core.methods.texture_gan import own_textures
from portrait_rig.core.networks.iresnet import IResNet, IResNetOptions
from portrait_rig.nodes import face_find, face_fit, face_ganfit, folders, load

QUICK = {"landmark_steps": 3, "pixel_steps": 1, "pixel_size": 48, "texture": "model"}


def call(node, **inputs):
    """The node's outputs by name, inputs that are not given at their defaults."""
    defaults = {i.id: i.options["default"] for i in node.GET_SCHEMA().inputs if "default" in i.options}
    with torch.inference_mode():
        values = node.EXECUTE_NORMALIZED(**{**defaults, **inputs}).args
    return dict(zip(node.RETURN_NAMES, values, strict=True))


@pytest.fixture(scope="module")
def given():
    """Fit 3DMM's first inputs, 96 pixels."""
    folders.register_model_folder()
    portrait = call(load.ExamplePortrait)
    crop = call(face_find.AlignFace, image=portrait["image"], landmarks=portrait["landmarks"], kind="FFHQ", size=96)
    return {"image": crop["face"], "landmarks": crop["landmarks"], "face_model": call(load.LoadFaceModel)["face_model"]}


@pytest.fixture(scope="module")
def tools(given):
    torch.manual_seed(0)
    network = IResNet(IResNetOptions((1, 1, 1, 1), (4, 4, 8, 8), 8, 32)).eval().requires_grad_(False)
    textures = own_textures(given["face_model"], 32)
    return {"identity_net": IdentityNetwork("small", "f", network), "texture_gan": textures}


def test_defaults_are_those_of_the_settings():
    method = call(face_ganfit.GanFitMethod)["method"]
    assert method.settings == GanFitSettings(weights=Weights(), views=ViewSpread())
    assert method.network is None and method.textures is None


def test_every_term_and_every_spread_has_a_widget():
    assert face_ganfit.WEIGHTS.keys() == vars(Weights()).keys()
    assert face_ganfit.SPREADS.keys() == vars(ViewSpread()).keys()


def test_a_fit_by_ganfit_reports_its_terms(given, tools):
    method = call(face_ganfit.GanFitMethod, steps=2, view_size=48, weight_content=0.0, **tools)["method"]
    found = call(face_fit.Fit3dmm, **given, **QUICK, method=method)
    assert found["face_params"].texture.shape == (1, 3, 32, 32)
    assert not found["face_params"].texture.requires_grad
    terms = [line.split()[0] for line in found["losses"].splitlines()]
    assert terms == ["term", "identity", "landmarks", "light", "novel", "pixels", "shape", "texture", "total"]
    assert found["curves"].shape == (1, 400, 640, 3)
    assert found["overlay"].shape == given["image"].shape


def test_a_fit_by_pixels_has_a_table_too(given):
    found = call(face_fit.Fit3dmm, **given, **QUICK)
    assert {line.split()[0] for line in found["losses"].splitlines()} >= {"colour", "landmarks", "total"}


def test_after_the_landmarks_alone_the_table_is_empty(given):
    found = call(face_fit.Fit3dmm, **given, **{**QUICK, "pixel_steps": 0})
    assert len(found["losses"].splitlines()) == 1
