"""The embedded generator of toon portraits: faces, not all alike, and strangers that it finds again; loose bars.

`benchmarks/toon_generator.md` has the figures of many pictures.
"""

from __future__ import annotations

import pytest
import torch
from portrait_rig.core.checkpoints import read
from portrait_rig.core.face.models import load_face_model
from portrait_rig.core.methods.find_toon import load_toon_finder
from portrait_rig.core.methods.generate import DEFAULT
from portrait_rig.core.methods.identity import load_identity_network
from portrait_rig.core.methods.inversion import InvertSettings, invert
from portrait_rig.core.methods.latents import sample
from portrait_rig.core.methods.regress import load_face_regressor
from portrait_rig.core.networks.generator import load_generator
from portrait_rig.core.toon.corpus import HELD_OUT
from portrait_rig.core.toon.world import ToonWorld, scene
from portrait_rig.core.training.generator_measures import Eyes, look
from torch.nn import functional

COUNT = 24


@pytest.fixture(scope="module")
def generator():
    return load_generator(read(DEFAULT))


@pytest.fixture(scope="module")
def samples(generator):
    with torch.no_grad():
        return generator.draw(sample(generator, 0, COUNT)).clamp(0, 1)


def test_its_pictures_are_faces(samples):
    large = functional.interpolate(samples, (128, 128), mode="bilinear")
    found = load_toon_finder().find(large)
    assert sum(len(faces) == 1 for faces in found) >= COUNT - 2  # measured: in all


def test_its_people_differ_in_pose_and_person(samples):
    seen = look([samples], Eyes(load_face_regressor(), load_identity_network(), load_face_model()))
    assert seen.values["yaw"].rad2deg().std() > 12 and seen.values["pitch"].rad2deg().std() > 4  # measured 23 and 7
    people = seen.features["identity"]
    alike = (people @ people.T).triu(1).sum() / (COUNT * (COUNT - 1) / 2)
    assert alike < 0.4  # measured 0.05


def test_it_finds_a_stranger_again(generator):
    """Better than its mean, which is what the search starts from."""
    picture = ToonWorld.load().render(scene(HELD_OUT + 31), 128).picture[None]
    start = InvertSettings(start="mean", steps=1, w_noise=0.0, rate=1e-6)
    settings = InvertSettings(start="mean", steps=40, w_noise=0.0, rate=0.2, pixel=20.0)
    before, after = (invert(picture, generator, chosen).psnr.item() for chosen in (start, settings))
    assert after > 24 and before < 18  # measured 26.9 and 14.5
