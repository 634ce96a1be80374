"""Fixtures of the nodes' tests: folders of their own, and what the first nodes of a workflow give."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("node_calls")

from node_calls import call
from portrait_rig.nodes import face_find, folders, host, latents, load
from untrained import untrained


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A host whose input, output and model folders are those of this test alone."""
    for name in ("input", "output", "models/portrait_rig"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setattr(host.folder_paths, "_chosen", {})
    monkeypatch.setattr(host.folder_paths, "models_dir", str(tmp_path / "models"))
    monkeypatch.setattr(host.folder_paths, "folder_names_and_paths", {})
    folders.use_folders(tmp_path / "input", tmp_path / "output")
    folders.register_model_folder()
    return tmp_path


@pytest.fixture(scope="module")
def head():
    """The embedded face model, loaded by its node."""
    folders.register_model_folder()
    return call(load.LoadFaceModel)[0]


@pytest.fixture(scope="module")
def portrait():
    """The example portrait and its landmarks."""
    return call(load.ExamplePortrait)


@pytest.fixture(scope="module")
def crop(portrait):
    """The face of the example at 96 pixels, and its landmarks there."""
    face, _, marks = call(face_find.AlignFace, image=portrait[0], landmarks=portrait[1], kind="FFHQ", size=96)
    return face, marks


@pytest.fixture(scope="module")
def demo():
    """A generator of 64 pixels."""
    return untrained()


@pytest.fixture(scope="module")
def pair(demo):
    """Two latents of `demo`."""
    return call(latents.SampleLatent, stylegan=demo, seed=5, count=2)[0]
