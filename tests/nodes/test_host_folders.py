"""Model, input and output folders at the border to the host."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from portrait_rig.core.errors import UserError
from portrait_rig.nodes import folders, host


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A host whose folders are all below tmp_path."""
    for name in ("input", "output", "models/portrait_rig", "other"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setattr(host.folder_paths, "_chosen", {})
    monkeypatch.setattr(host.folder_paths, "models_dir", str(tmp_path / "models"))
    monkeypatch.setattr(host.folder_paths, "folder_names_and_paths", {})
    folders.use_folders(tmp_path / "input", tmp_path / "output")
    return tmp_path


def test_models_are_found_in_every_registered_folder(home):
    host.folder_paths.folder_names_and_paths[folders.MODEL_FOLDER] = ([str(home / "other")], set())
    folders.register_model_folder()
    folders.register_model_folder()  # a second time changes nothing
    paths, extensions = host.folder_paths.folder_names_and_paths[folders.MODEL_FOLDER]
    assert paths == [str(home / "other"), str(home / "models" / "portrait_rig"), str(folders.PACK / "weights")]
    assert ".safetensors" in extensions
    (home / "other" / "a.safetensors").touch()
    (home / "other" / "README.md").touch()
    (home / "models" / "portrait_rig" / "flame").mkdir()
    (home / "models" / "portrait_rig" / "flame" / "b.PKL").touch()
    names = folders.model_names()
    assert {"a.safetensors", str(Path("flame/b.PKL"))} <= set(names) and "README.md" not in names
    assert folders.model_path("a.safetensors") == home / "other" / "a.safetensors"
    assert [n for n in folders.model_names({".pkl"}) if "flame" in n] == [str(Path("flame/b.PKL"))]


def test_a_folder_of_files_counts_as_a_model_where_its_mark_is_there(home):
    folders.register_model_folder()
    scan = home / "models" / "portrait_rig" / "ict"
    scan.mkdir()
    (scan / "generic_neutral_mesh.obj").touch()
    assert "ict" in folders.model_names({".safetensors"}, folder_with="generic_neutral_mesh.obj")
    assert "ict" not in folders.model_names({".safetensors"})
    assert folders.model_path("ict") == scan


def test_a_missing_model_is_a_sentence_with_folder_origin_and_licence(home):
    folders.register_model_folder()
    with pytest.raises(UserError) as caught:
        folders.model_path("bfm.mat", origin="the University of Basel", licence="research only")
    for part in ("'bfm.mat'", str(home / "models" / "portrait_rig"), "the University of Basel", "research only"):
        assert part in str(caught.value)


@pytest.mark.parametrize("name", ["../../secret.safetensors", "flame/../../../secret.safetensors"])
def test_model_names_cannot_lead_out(home, name):
    folders.register_model_folder()
    (home / "secret.safetensors").touch()
    with pytest.raises(UserError, match="is missing"):
        folders.model_path(name)


def test_inputs_are_listed_and_found(home):
    for name in ("b.JSON", "a.json", "c.txt"):
        (home / "input" / name).touch()
    (home / "output" / "d.json").touch()
    assert folders.input_names({".json"}) == ["a.json", "b.JSON"]
    assert folders.input_path("a.json") == home / "input" / "a.json"
    assert folders.input_path("d.json [output]") == home / "output" / "d.json"
    with pytest.raises(UserError, match=r"There is no file 'z\.json' in"):
        folders.input_path("z.json")


@pytest.mark.parametrize("name", ["../secret.txt", "../secret.txt [output]", "sub/../../secret.txt"])
def test_inputs_cannot_lead_out(home, name):
    (home / "secret.txt").write_text("x")
    with pytest.raises(UserError, match="lies outside"):
        folders.input_path(name)


def test_an_absolute_path_is_no_input_name(home):
    (home / "secret.txt").write_text("x")
    with pytest.raises(UserError, match="lies outside"):
        folders.input_path(str(home / "secret.txt"))


def test_outputs_are_numbered_and_marks_replaced(home):
    first = folders.output_path("mesh/face_%width%x%height%", ".glb", (20, 30))
    assert first.path == home / "output" / "mesh" / "face_30x20_00001_.glb"
    assert first.result == {"filename": "face_30x20_00001_.glb", "subfolder": "mesh", "type": "output"}
    first.path.touch()
    (home / "output" / "mesh" / "face_30x20_00041_.png").touch()
    (home / "output" / "mesh" / "face_30x20_words_.png").touch()
    assert folders.output_path("mesh/face_30x20", ".glb").path.name == "face_30x20_00042_.glb"
    assert folders.result_path(first.result) == first.path


@pytest.mark.parametrize("prefix", ["../face", "a/../../face"])
def test_outputs_cannot_lead_out(home, prefix):
    with pytest.raises(UserError, match="leads out of the output folder"):
        folders.output_path(prefix, ".glb")


def test_an_absolute_prefix_outside_is_refused(home):
    with pytest.raises(UserError, match="leads out"):
        folders.output_path(str(home / "other" / "face"), ".glb")


@pytest.mark.skipif(sys.platform == "win32", reason="the variable of other systems")
def test_models_lie_in_the_users_data_folder_without_a_setting(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert host.folder_paths._data_folder() == tmp_path
