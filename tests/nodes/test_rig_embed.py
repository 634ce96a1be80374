"""Embed Portrait as ComfyUI calls it: inside inference mode, with a tiny generator and a random rig."""

from __future__ import annotations

import pytest
import torch
import toy_rig
import untrained
from portrait_rig.core.errors import UserError
from portrait_rig.core.face.camera import default_camera
from portrait_rig.core.networks.generator import fingerprint
from portrait_rig.nodes import host
from portrait_rig.nodes.rig import RigNetEdit
from portrait_rig.nodes.rig_embed import EmbedPortrait

SIDE = 16
SHORT = {"approach_steps": 1, "w_steps": 2, "plus_steps": 2, "every": 2, "compare_size": 16}


@pytest.fixture(scope="module")
def made(head):
    """The node's inputs, made as loaders make them."""
    generator = untrained.small((8, 8, 8), "tiny")
    return {"stylegan": generator, "rig": toy_rig.random_rig(head, generator), "face_model": head}


@pytest.fixture(scope="module")
def identity_net():
    return untrained.recogniser()


def pictures(count=1, side=SIDE):
    return torch.rand(count, side, side, 3, generator=torch.Generator().manual_seed(3))


def params(made, frames=1, side=SIDE):
    return made["face_model"].neutral(default_camera((side, side)), frames)


def call(made, image=None, face_params=None, **more):
    image = pictures() if image is None else image
    face_params = params(made, side=image.shape[1]) if face_params is None else face_params
    defaults = {i.id: i.options["default"] for i in EmbedPortrait.GET_SCHEMA().inputs if "default" in i.options}
    with torch.inference_mode():
        tensors = {"image": image.clone(), "face_params": face_params.map(torch.clone)}  # inference tensors, as there
        out = EmbedPortrait.EXECUTE_NORMALIZED(**{**defaults, **made, **SHORT, **tensors, **more})
        return dict(zip(EmbedPortrait.RETURN_NAMES, out.args, strict=True))


def test_portraits_become_latents_that_the_rig_edits(made, identity_net):
    before = [fingerprint(module.state_dict()) for module in (made["stylegan"].network, made["rig"].dfr)]
    out = call(made, pictures(2), params(made, 2), identity_net=identity_net)
    latent, generator = out["latent"], made["stylegan"]
    assert latent.w.shape == (2, generator.num_ws, 8) and latent.generator == generator.id
    assert not latent.w.requires_grad and latent.w.device.type == "cpu"
    assert out["image"].shape == (2, SIDE, SIDE, 3) and 0 <= out["image"].min() <= out["image"].max() <= 1
    assert "portrait 2: PSNR" in out["report"] and "similarity" in out["report"]
    assert out["curves"].dim() == 4
    assert [fingerprint(module.state_dict()) for module in (made["stylegan"].network, made["rig"].dfr)] == before
    assert made["rig"].codes(latent).isfinite().all()


def test_larger_portraits_are_resized(made):
    assert call(made, pictures(side=64))["image"].shape == (1, SIDE, SIDE, 3)


def test_without_a_recogniser_nothing_is_said_of_likeness(made):
    assert "similarity" not in call(made)["report"]


def test_one_face_goes_with_all_portraits(made):
    assert len(call(made, pictures(2), params(made, 1), w_steps=0)["latent"]) == 2


def test_parameters_of_another_picture_are_refused(made):
    with pytest.raises(UserError, match="pictures of 40 × 40 pixels, the portraits have 16 × 16"):
        call(made, face_params=params(made, side=40))


def test_pictures_that_are_no_numbers_are_refused(made):
    with pytest.raises(UserError, match="'image' holds values that are no numbers"):
        call(made, image=pictures() * torch.nan)


def test_a_missing_backbone_is_a_sentence(made, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(UserError, match="LPIPS needs the file"):
        call(made, lpips="squeeze")


def test_cancelling_is_heard(made, monkeypatch):
    def stop(self, step, total=None, *args, **kwargs):
        if step > 10:
            raise host.Cancelled

    monkeypatch.setattr(host.Watch, "__call__", stop)
    with pytest.raises(host.Cancelled):
        call(made)


def test_the_progress_ends_where_it_was_announced(made, monkeypatch):
    told = []
    monkeypatch.setattr(host.Watch, "__call__", lambda self, step, total=None, *more: told.append((step, total)))
    call(made)
    assert told[-1][0] == told[-1][1] == 8 * 1 + 1 + 2 + 2  # eight starts of one step, then the runs


def test_its_rig_is_the_one_that_edits(made):
    assert {entry.id: entry.io_type for entry in EmbedPortrait.GET_SCHEMA().inputs}["rig"] == host.RigNet.io_type
    assert RigNetEdit.GET_SCHEMA().inputs[0].io_type == host.RigNet.io_type
