"""The node Train StyleGAN, called as ComfyUI calls it; the command with the same work; folders that they use."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time

import node_calls
import pack
import pytest
import torch
from discs import discs
from PIL import Image
from portrait_rig.__main__ import main
from portrait_rig.core.checkpoints import read
from portrait_rig.core.errors import UserError
from portrait_rig.core.networks.generator import load_generator
from portrait_rig.nodes import folders, host, train

TINY = {"resolution": "16", "batch": 4, "channel_base": 128, "channel_max": 8, "latent_size": 8, "steps": 3}
COMMAND = ["--resolution", "16", "--batch", "4", "--channel-base", "128", "--channel-max", "8", "--latent", "8"]

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def pictures(home):
    place = home / "input" / "faces"
    place.mkdir()
    for number, picture in enumerate(discs(4, (20, 24))):
        Image.fromarray((picture * 255).round().byte().permute(1, 2, 0).numpy()).save(place / f"{number}.png")
    return place


def call(**inputs):
    return node_calls.call(train.TrainStyleGan, **{**TINY, **inputs})


def refuses(words, **inputs):
    node_calls.refuses(words, train.TrainStyleGan, **{**TINY, **inputs})


def image(count=3, size=(20, 24)):
    with torch.inference_mode():
        return discs(count, size).permute(0, 2, 3, 1).contiguous()


def test_a_folder_becomes_a_generator(pictures, home):
    (pictures / "broken.jpg").write_bytes(b"x")
    generator, sheet, report = call(folder="faces", name="mine")
    assert generator.id.name == "mine" and generator.size == (16, 16)
    assert not any(t.is_inference() for t in generator.network.state_dict().values())
    assert sheet.shape == (1, 64, 96, 3) and sheet.min() >= 0 and sheet.max() <= 1
    for part in ("4 pictures of the folder 'faces'", "steps 0 to 3: all steps done", "broken.jpg (not a readable"):
        assert part in report
    run = home / "output" / "training" / "mine"
    saved = read(run / "generator.safetensors")
    assert load_generator(saved, name="mine").id == generator.id
    assert saved.metadata["command"] == "Train StyleGAN" and "training/mine" in report


def test_pictures_of_the_graph_and_their_gradients_under_inference_mode(home):
    pictures = image()
    before = pictures.clone()
    generator, _, report = call(images=pictures, name="graph", folder="ignored")
    assert "3 pictures of the graph" in report and generator.num_ws == 6
    assert torch.equal(pictures, before)
    with torch.enable_grad():  # the result can be tuned
        ws = generator.network.mapping(torch.zeros(1, 8)).detach().requires_grad_()
        generator.network.synthesis(ws).sum().backward()
    assert ws.grad.isfinite().all()


def test_more_steps_go_on_and_end_like_a_run_without_a_stop():
    whole = call(images=image(), name="whole", steps=6)
    call(images=image(), name="parts", steps=3)
    parts = call(images=image(), name="parts", steps=6)
    assert whole[0].id.fingerprint == parts[0].id.fingerprint and torch.equal(whole[1], parts[1])
    assert "steps 3 to 6" in parts[2]


def test_cancel_keeps_the_work(home, monkeypatch):
    real, calls = host.Watch.__call__, []

    def cancelled(self, step, *rest):
        calls.append(step)
        if step == 2:
            raise host.Cancelled
        return real(self, step, *rest)

    monkeypatch.setattr(host.Watch, "__call__", cancelled)
    with pytest.raises(host.Cancelled):
        call(images=image(), name="a")
    monkeypatch.undo()
    folders.use_folders(home / "input", home / "output")
    pointer = json.loads((home / "output" / "training" / "a" / "latest.json").read_text())
    assert pointer["steps"] == 2
    assert "steps 2 to 3" in call(images=image(), name="a")[2]


def test_the_live_picture_is_the_sheet(monkeypatch):
    shown = []
    monkeypatch.setattr(
        host.Watch, "__call__", lambda self, step, total, loss, preview: shown.append((step, total, preview().shape))
    )
    call(images=image(), name="a")
    assert shown == [(step, 3, (3, 64, 96)) for step in (1, 2, 3)]


def test_refusals(pictures, home):
    refuses("There is no folder 'nobody'", folder="nobody")
    refuses("is no folder inside", folder="")
    refuses("is no folder inside", folder="../secret")
    refuses("leads out of the output folder", folder="faces", name="../../away")
    refuses("has no name", folder="faces", name=" ")
    refuses("holds values that are no numbers", images=torch.full((1, 8, 8, 3), math.nan))
    refuses("holds no pictures", images=torch.zeros(0, 8, 8, 3))
    call(folder="faces", name="once")
    refuses("already holds a run", folder="faces", name="once", resume=False)
    refuses(r"other settings: losses r1_gamma .* \(now 5.0\)", folder="faces", name="once", gamma=5.0)
    empty = home / "input" / "empty"
    empty.mkdir()
    refuses("holds no pictures", folder="empty")


def test_presets_are_overruled_only_where_something_is_set():
    _, _, plain = call(images=image(), name="a", batch=0, preset="auto", steps=1, resolution="8")
    assert "batch 32, gamma 0.0004," in plain
    _, _, set_ = call(images=image(), name="b", batch=2, gamma=0.5, steps=1, mirror=True, resolution="8")
    assert "batch 2, gamma 0.5," in set_


def test_a_folder_whose_pictures_change_is_looked_at_anew(pictures):
    first = train.TrainStyleGan.fingerprint_inputs(folder="faces", name="a")
    assert first == train.TrainStyleGan.fingerprint_inputs(folder="faces", name="a")
    os.utime(pictures / "0.png", (1, 1))
    assert first != train.TrainStyleGan.fingerprint_inputs(folder="faces", name="a")
    assert train.TrainStyleGan.fingerprint_inputs(folder="", images=None) is None


def test_links_in_the_input_folder_may_lead_elsewhere(home, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    try:
        (home / "input" / "link").symlink_to(elsewhere)
    except OSError:
        pytest.skip("this system makes no links")
    assert folders.input_folder("link").resolve() == elsewhere.resolve()


def test_run_folders_lie_in_the_output_folder(home):
    assert folders.output_folder("training/a") == home / "output" / "training" / "a"
    for name in ("..", ".", "", "a/../../b", str(home)):
        with pytest.raises(UserError, match="leads out of the output folder"):
            folders.output_folder(name)


# The command


def test_the_command_gives_the_same_generator_as_the_node(pictures, home, capsys):
    run = home / "mine"
    assert main(["train", "stylegan", "--data", str(pictures), "--out", str(run), "--steps", "3", *COMMAND]) == 0
    told = capsys.readouterr()
    assert told.out.strip() == str(run / "generator.safetensors")
    assert "4 pictures of the folder 'faces'" in told.err and "processes: 1, on " in told.err
    saved = load_generator(read(run / "generator.safetensors"), name="mine")
    assert saved.id == call(folder="faces", name="mine")[0].id


def test_the_command_refuses_with_a_sentence(pictures, home, capsys):
    arguments = ["train", "stylegan", "--data", str(pictures), "--out", str(home / "r"), "--steps", "1", *COMMAND]
    assert main(arguments) == 0
    assert main(arguments) == 1
    assert "already holds a run" in capsys.readouterr().err
    assert main([*arguments, "--resume", "--gamma", "3"]) == 1
    assert "begun with other settings" in capsys.readouterr().err
    assert main([*arguments[:3], str(home / "nowhere"), *arguments[4:]]) == 1
    assert "There is no folder" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process")
def test_ctrl_c_stops_after_the_step_and_keeps_it(pictures, home):
    run = home / "run"
    code = "import sys; sys.path.insert(0, sys.argv[1]); import pack; pack.load();"
    code += "from portrait_rig.__main__ import main; sys.exit(main(sys.argv[2:]))"
    arguments = ["train", "stylegan", "--data", str(pictures), "--out", str(run), "--steps", "100000", *COMMAND]
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(pack.ROOT / "tests"), *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 120
    while not (run / "losses.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=120)[1]
    assert process.returncode == 130 and "Stopped. To go on: the same command with --resume." in told
    last = json.loads((run / "losses.jsonl").read_text().splitlines()[-1])["step"]
    assert json.loads((run / "latest.json").read_text())["steps"] == last
