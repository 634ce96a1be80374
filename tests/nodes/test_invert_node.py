"""Invert Image, called as ComfyUI calls it: pictures become latents, and cancel, progress and refusals on the way."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from node_calls import call, is_image, refuses
from portrait_rig.core.networks.generator import fingerprint
from portrait_rig.nodes import host, invert, latents, stylegan
from untrained import small

QUICK = {"steps": 3, "space": "W"}

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def image(demo, pair):
    return call(stylegan.GenerateImage, stylegan=demo, latent=pair)[0]


def test_inversion_gives_latents_pictures_and_a_report(demo, image):
    before = fingerprint(demo.network.state_dict())
    latent, generator, drawn, report = call(invert.InvertImage, image=image, stylegan=demo, **{**QUICK, "steps": 25})
    assert len(latent) == 2 and latent.generator == demo.id and latent.w.device.type == "cpu"
    assert generator is demo and is_image(drawn, 2, 64, 64)
    assert "picture 2: PSNR" in report and "tuned" not in report
    assert (drawn - image).abs().mean() < 0.03  # measured 0.01
    again = call(stylegan.GenerateImage, stylegan=generator, latent=latent)[0]
    assert (again - drawn).abs().max() < 1e-5
    assert fingerprint(demo.network.state_dict()) == before


def test_tuning_gives_another_generator_with_the_same_latents(demo, image, pair, home):
    inputs = {"image": 1 - image[:1], "stylegan": demo, **QUICK, "tune_steps": 4, "locality": 0.1}
    latent, tuned, drawn, report = call(invert.InvertImage, **inputs)
    assert tuned.tuned and tuned.id == demo.id and "tuned; latents and directions of" in tuned.describe()
    assert "tuned:" in report
    again = call(stylegan.GenerateImage, stylegan=tuned, latent=latent)[0]
    assert (again - drawn).abs().max() < 1e-5
    found = call(latents.LatentDirections, stylegan=demo, count=2)[0]
    call(stylegan.GenerateImage, stylegan=tuned, latent=call(latents.MoveLatent, latent=latent, directions=found)[0])
    for folder in (stylegan.IN_MODELS, stylegan.IN_OUTPUT):
        (file,) = call(stylegan.SaveStyleGan, stylegan=tuned, folder=folder)
        assert Path(file).is_relative_to(home)
    place = home / "models" / "portrait_rig"
    loaded, about = call(stylegan.LoadStyleGan, file="stylegan/tuned_00001_.safetensors")
    assert (place / "stylegan" / "tuned_00001_.safetensors").is_file()
    assert loaded.tuned and loaded.id == demo.id and "tuned; latents" in about
    same = call(stylegan.GenerateImage, stylegan=loaded, latent=latent)[0]
    assert torch.equal(same, again)


def test_a_grey_generator_draws_a_picture_in_grey(image, monkeypatch):
    monkeypatch.setattr(host, "SHOWS_PICTURES", True)
    grey = small(channels=(8, 8, 8, 8, 8), img_channels=1)
    drawn = call(invert.InvertImage, image=image, stylegan=grey, **QUICK, tune_steps=2)[2]
    assert is_image(drawn, 2, 64, 64) and torch.equal(drawn[..., 0], drawn[..., 2])


def test_searches_begin_where_they_are_told(demo, image, pair):
    for options in (
        {"start": "best of random", "candidates": 3},
        {"start": "latent", "start_latent": pair},
        {"mask": torch.ones(64, 64), "stay": 0.1},
        {"fit_noise": True},
    ):
        latent, generator, drawn, _ = call(invert.InvertImage, image=image, stylegan=demo, **QUICK, **options)
        assert len(latent) == 2 and generator.tuned == ("fit_noise" in options)
        again = call(stylegan.GenerateImage, stylegan=generator, latent=latent)[0]
        assert (again - drawn).abs().max() < 1e-5


def test_a_network_that_another_hand_moved_under_inference_mode(image):
    """The trap: such weights are inference tensors, through which no gradient flows."""
    with torch.inference_mode():
        poisoned = small(channels=(8, 8, 8, 8, 8))
    assert all(p.is_inference() for p in poisoned.network.parameters())
    latent, generator, _, _ = call(invert.InvertImage, image=image, stylegan=poisoned, **QUICK, tune_steps=2)
    assert len(latent) == 2 and generator.tuned


def test_a_cancel_in_the_middle_poisons_no_weights(demo, image, monkeypatch):
    steps = []

    def cancel_later():
        steps.append(1)
        if len(steps) > 6:
            raise host.Cancelled

    before = fingerprint(demo.network.state_dict())
    with monkeypatch.context() as patched:
        patched.setattr(host._mm, "throw_exception_if_processing_interrupted", cancel_later)
        with pytest.raises(host.Cancelled):
            call(invert.InvertImage, image=image, stylegan=demo, steps=3, tune_steps=50)
    assert len(steps) == 7
    assert fingerprint(demo.network.state_dict()) == before
    assert not any(p.is_inference() or p.requires_grad for p in demo.network.parameters())
    assert len(call(invert.InvertImage, image=image, stylegan=demo, **QUICK)[0]) == 2


def test_progress_and_live_pictures(demo, image, monkeypatch):
    told = []
    monkeypatch.setattr(host, "SHOWS_PICTURES", True)
    monkeypatch.setattr(host, "UPDATE_SECONDS", 0.0)
    host.on_progress(lambda value, total, preview=None, node_id=None: told.append((value, total, preview)))
    try:
        call(invert.InvertImage, image=image, stylegan=demo, **QUICK, tune_steps=2)
    finally:
        host.on_progress(None)
    total = 8 * 1 + 3 + 2  # trials, search, tuning
    assert [value for value, _, _ in told][-1] == total and {known for _, known, _ in told} == {total}
    assert any(preview is not None for _, _, preview in told)


def test_lpips_needs_its_backbone_and_leave_to_fetch_it(demo, image, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    refuses(
        r"LPIPS needs the file vgg16-397923af\.pth \(528 MB.*Allow the download",
        invert.InvertImage,
        image=image,
        stylegan=demo,
        lpips="vgg",
    )
    text = invert.InvertImage.INPUT_TYPES()["required"]["lpips"][1]["tooltip"]
    assert "vgg 528 MB" in text and "squeeze 5 MB" in text


def test_lpips_is_compared_with_its_weight(demo, image, monkeypatch):
    asked = []

    class Grey(torch.nn.Module):
        """Stands in for the backbone: the difference of mean brightness."""

        def __init__(self, network, download):
            super().__init__()
            asked.append((network, download))
            self.register_buffer("scale", torch.ones(()))

        def forward(self, a, b, mask=None):
            return (a - b).mean((1, 2, 3)).square() * self.scale

    monkeypatch.setattr(invert, "Lpips", Grey)
    only = {"lpips": "squeeze", "allow_download": True, "pyramid_weight": 0.0, "pixel_weight": 0.0}
    drawn = call(invert.InvertImage, image=image * 0 + 0.6, stylegan=demo, **{**QUICK, "steps": 40}, **only)[2]
    assert asked == [("squeeze", True)]
    assert (drawn.mean((1, 2, 3)) - 0.6).abs().max() < 0.03  # measured 0.005; the mean picture has 0.49


def test_what_invert_refuses(demo, image, pair):
    options = {"stylegan": demo, **QUICK}
    refuses("holds no pictures", invert.InvertImage, image=image[:0], **options)
    refuses("no numbers", invert.InvertImage, image=image * math.nan, **options)
    refuses("The picture is 64×32, this generator draws 64×64", invert.InvertImage, image=image[:, :32], **options)
    refuses("needs a latent; connect one", invert.InvertImage, image=image, start="latent", **options)
    refuses("draws 4 channels; pictures can be inverted", invert.InvertImage, image=image, **QUICK,
            stylegan=small(img_channels=4))  # fmt: skip
    foreign = call(latents.SampleLatent, stylegan=small())[0]
    refuses("'small'.*'untrained", invert.InvertImage, image=image, start="latent", start_latent=foreign, **options)
    refuses("masks: 3", invert.InvertImage, image=image, mask=torch.ones(3, 8, 8), **options)
    refuses("All weights of the distance are 0", invert.InvertImage, image=image, pyramid_weight=0, pixel_weight=0,
            **options)  # fmt: skip
