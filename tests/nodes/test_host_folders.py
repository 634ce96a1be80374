"""Model, input and output folders at the border to the host."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from portrait_rig.core.errors import UserError
from portrait_rig.nodes import host


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """A host whose folders are all below tmp_path."""
    for name in ("input", "output", "models/portrait_rig", "other"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setattr(host.folder_paths, "_chosen", {})
    monkeypatch.setattr(host.folder_paths, "models_dir", str(tmp_path / "models"))
    monkeypatch.setattr(host.folder_paths, "folder_names_and_paths", {})
    host.use_folders(tmp_path / "input", tmp_path / "output")
    return tmp_path


def test_models_are_found_in_every_registered_folder(folders):
    host.folder_paths.folder_names_and_paths[host.MODEL_FOLDER] = ([str(folders / "other")], set())
    host.register_model_folder()
    host.register_model_folder()  # a second time changes nothing
    paths, extensions = host.folder_paths.folder_names_and_paths[host.MODEL_FOLDER]
    assert paths == [str(folders / "other"), str(folders / "models" / "portrait_rig"), str(host.PACK / "weights")]
    assert ".safetensors" in extensions
    (folders / "other" / "a.safetensors").touch()
    (folders / "other" / "README.md").touch()
    (folders / "models" / "portrait_rig" / "flame").mkdir()
    (folders / "models" / "portrait_rig" / "flame" / "b.PKL").touch()
    names = host.model_names()
    assert {"a.safetensors", str(Path("flame/b.PKL"))} <= set(names) and "README.md" not in names
    assert host.model_path("a.safetensors") == folders / "other" / "a.safetensors"
    assert [n for n in host.model_names({".pkl"}) if "flame" in n] == [str(Path("flame/b.PKL"))]


def test_a_folder_of_files_counts_as_a_model_where_its_mark_is_there(folders):
    host.register_model_folder()
    scan = folders / "models" / "portrait_rig" / "ict"
    scan.mkdir()
    (scan / "generic_neutral_mesh.obj").touch()
    assert "ict" in host.model_names({".safetensors"}, folder_with="generic_neutral_mesh.obj")
    assert "ict" not in host.model_names({".safetensors"})
    assert host.model_path("ict") == scan


def test_a_missing_model_is_a_sentence_with_folder_origin_and_licence(folders):
    host.register_model_folder()
    with pytest.raises(UserError) as caught:
        host.model_path("bfm.mat", origin="the University of Basel", licence="research only")
    for part in ("'bfm.mat'", str(folders / "models" / "portrait_rig"), "the University of Basel", "research only"):
        assert part in str(caught.value)


@pytest.mark.parametrize("name", ["../../secret.safetensors", "flame/../../../secret.safetensors"])
def test_model_names_cannot_lead_out(folders, name):
    host.register_model_folder()
    (folders / "secret.safetensors").touch()
    with pytest.raises(UserError, match="is missing"):
        host.model_path(name)


def test_inputs_are_listed_and_found(folders):
    for name in ("b.JSON", "a.json", "c.txt"):
        (folders / "input" / name).touch()
    (folders / "output" / "d.json").touch()
    assert host.input_names({".json"}) == ["a.json", "b.JSON"]
    assert host.input_path("a.json") == folders / "input" / "a.json"
    assert host.input_path("d.json [output]") == folders / "output" / "d.json"
    with pytest.raises(UserError, match=r"There is no file 'z\.json' in"):
        host.input_path("z.json")


@pytest.mark.parametrize("name", ["../secret.txt", "../secret.txt [output]", "sub/../../secret.txt"])
def test_inputs_cannot_lead_out(folders, name):
    (folders / "secret.txt").write_text("x")
    with pytest.raises(UserError, match="lies outside"):
        host.input_path(name)


def test_an_absolute_path_is_no_input_name(folders):
    (folders / "secret.txt").write_text("x")
    with pytest.raises(UserError, match="lies outside"):
        host.input_path(str(folders / "secret.txt"))


def test_outputs_are_numbered_and_marks_replaced(folders):
    first = host.output_path("mesh/face_%width%x%height%", ".glb", (20, 30))
    assert first.path == folders / "output" / "mesh" / "face_30x20_00001_.glb"
    assert first.result == {"filename": "face_30x20_00001_.glb", "subfolder": "mesh", "type": "output"}
    first.path.touch()
    (folders / "output" / "mesh" / "face_30x20_00041_.png").touch()
    (folders / "output" / "mesh" / "face_30x20_words_.png").touch()
    assert host.output_path("mesh/face_30x20", ".glb").path.name == "face_30x20_00042_.glb"
    assert host.result_path(first.result) == first.path


@pytest.mark.parametrize("prefix", ["../face", "a/../../face"])
def test_outputs_cannot_lead_out(folders, prefix):
    with pytest.raises(UserError, match="leads out of the output folder"):
        host.output_path(prefix, ".glb")


def test_an_absolute_prefix_outside_is_refused(folders):
    with pytest.raises(UserError, match="leads out"):
        host.output_path(str(folders / "other" / "face"), ".glb")


@pytest.mark.skipif(sys.platform == "win32", reason="the variable of other systems")
def test_models_lie_in_the_users_data_folder_without_a_setting(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert host.folder_paths._data_folder() == tmp_path
