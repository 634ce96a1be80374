"""Train Rig on a foreign generator: small, random, and of other sizes than any that the pack knows."""

from __future__ import annotations

import json

import pack
import pytest
import torch
import untrained
from portrait_rig.__main__ import main
from portrait_rig.core.checkpoints import save_safetensors
from portrait_rig.core.errors import UserError
from portrait_rig.core.face.models import DEFAULT, load_face_model
from portrait_rig.core.methods.regress import load_face_regressor
from portrait_rig.core.methods.rig import load_rig
from portrait_rig.core.networks.generator import packed
from portrait_rig.core.networks.rig import COMPONENTS
from portrait_rig.nodes import host
from portrait_rig.nodes.rig_train import SEPARATELY, TOGETHER, TrainRig

SMALL = {"latents": 100, "dfr_steps": 4, "rignet_steps": 3, "dfr_batch": 8, "rignet_batch": 4, "picture_side": 8,
         "width": 16, "sheet_every": 2, "checkpoint_every": 2}  # fmt: skip


@pytest.fixture(scope="module")
def generator():
    return untrained.small((8, 8), "foreign", z_dim=6, w_dim=10)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(host.folder_paths, "_chosen", {})
    monkeypatch.chdir(tmp_path)
    host.folder_paths.set_output_directory(str(tmp_path / "out"))
    return tmp_path / "out" / "training" / "rig"


def trained(generator, **changed):
    defaults = {one.id: one.options.get("default") if hasattr(one, "options") else None
                for one in TrainRig.define_schema().inputs}  # fmt: skip
    told = {"name": "rig", "teacher": "regressor", "mode": "difference_subset", "components": SEPARATELY, "seed": 1,
            "resume": True, "compare_with": "what DFR reads", "segments": 5, "truncation": 1.0}  # fmt: skip
    told |= SMALL | changed
    assert defaults.keys() == told.keys() | {"stylegan", "face_model", "face_regressor"}
    with torch.inference_mode():
        model, regressor = load_face_model(DEFAULT), load_face_regressor()
        return TrainRig.execute(stylegan=generator, face_model=model, face_regressor=regressor, **told)


def test_a_foreign_generator_gets_a_rig(generator, folder):
    rig, sheet, report = trained(generator).result
    assert rig.name == "rig" and rig.generator == generator.id and set(rig.rignets) == set(COMPONENTS)
    assert (rig.dfr.num_ws, rig.dfr.w_dim, rig.dfr.width) == (generator.num_ws, 10, 16)
    assert "edits are corrected" in rig.describe() and rig.corrector.gain.any()
    assert sheet.shape == (1, 16, 16, 3)  # two rows of the two latents kept aside, in pictures of 8²
    assert "pose" in report and "residual" in report and "training/rig of the output folder" in report
    saved = load_rig(folder / "rig.safetensors")
    ws = torch.randn(2, generator.num_ws, 10)
    assert torch.equal(saved.dfr(ws), rig.dfr(ws))
    for stage, steps in (("dfr", 4), ("pose", 3), ("expression", 3), ("light", 3)):
        lines = (folder / stage / "losses.jsonl").read_text(encoding="utf-8").splitlines()
        assert len(lines) == steps
        assert (folder / stage / f"{stage}.safetensors").exists()


def test_cancel_keeps_the_work_and_the_run_goes_on(generator, folder, monkeypatch):
    calls, stop_at = [], 7  # in the second run: after the corpus and four steps of DFR

    def cancel(watch, step, *rest, **named):
        calls.append(step)
        if len(calls) == stop_at:
            raise host.Cancelled

    monkeypatch.setattr(host.Watch, "__call__", cancel)
    with pytest.raises(host.Cancelled):
        trained(generator)
    assert json.loads((folder / "pose" / "latest.json").read_text())["steps"] == 2
    first_dfr = (folder / "dfr" / "dfr.safetensors").read_bytes()
    monkeypatch.setattr(host.Watch, "__call__", lambda *rest, **named: None)
    stopped = trained(generator).result[0]
    assert (folder / "dfr" / "dfr.safetensors").read_bytes() == first_dfr
    whole = trained(generator, name="straight").result[0]
    for name in COMPONENTS:
        for a, b in zip(stopped.rignets[name].parameters(), whole.rignets[name].parameters(), strict=True):
            assert torch.equal(a, b)


def test_without_resume_a_run_is_left_alone(generator, folder):
    trained(generator)
    with pytest.raises(UserError, match="already holds a run"):
        trained(generator, resume=False)


def test_together_there_is_one_run(generator, folder):
    rig = trained(generator, components=TOGETHER, compare_with="the pictures").result[0]
    assert set(rig.rignets) == set(COMPONENTS)
    assert (folder / "pose_expression_light" / "losses.jsonl").exists() and not (folder / "pose").exists()


def test_the_command_does_the_same(generator, tmp_path, capsys):
    file = tmp_path / "foreign.safetensors"
    save_safetensors(file, *packed(generator))
    arguments = ["train", "rig", "--generator", str(file), "--out", str(tmp_path / "rig"), "--latents", "100", "--side",
                 "8", "--dfr-steps", "2", "--rignet-steps", "2", "--dfr-batch", "8", "--rignet-batch", "4",
                 "--width", "16", "--components", "pose,light"]  # fmt: skip
    assert main(arguments) == 0
    told = capsys.readouterr()
    assert told.out.strip().endswith("rig.safetensors") and "pose" in told.err
    rig = load_rig(tmp_path / "rig" / "rig.safetensors")
    assert set(rig.rignets) == {"pose", "light"}
    assert main(arguments) == 1 and "already holds a run" in capsys.readouterr().err
    assert main([*arguments, "--resume"]) == 0


def test_the_command_says_what_is_missing(tmp_path, capsys):
    assert main(["train", "rig", "--generator", str(tmp_path / "no.pkl"), "--out", str(tmp_path / "rig")]) == 1
    assert "no.pkl" in capsys.readouterr().err


def test_a_workflow_shows_it():
    workflow = json.loads((pack.ROOT / "example_workflows" / "rig_train.json").read_text(encoding="utf-8"))
    assert any(node["type"] == "PortraitRigTrainRig" for node in workflow["nodes"])
