"""The command line: from a workflow file to files, with the right exit status and nothing but sentences."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pack
import pytest
from PIL import Image
from portrait_rig.__main__ import main
from portrait_rig.headless.run import DONE, FAILED, STOPPED, run
from portrait_rig.nodes import NODES
from toy_nodes import REGISTRY

pytestmark = pytest.mark.usefixtures("folder")


def save(folder, nodes, name="graph.json"):
    content = {key: {"class_type": kind, "inputs": inputs} for key, (kind, inputs) in nodes.items()}
    (folder / name).write_text(json.dumps(content))
    return folder / name


def test_a_workflow_from_file_to_file(folder, capsys):
    Image.new("RGB", (6, 4), "red").save(folder / "red.png")
    graph = {"1": ("LoadImage", {"image": "red.png"}), "2": ("SaveImage", {"images": ["1", 0], "filename_prefix": "x"})}
    file = save(folder, graph)
    assert main(["run", str(file), "--set", "2.filename_prefix=sub/y", "--output", str(folder / "out")]) == DONE
    result = folder / "out" / "sub" / "y_00001_.png"
    with Image.open(result) as image:
        assert image.size == (6, 4) and image.getpixel((0, 0)) == (255, 0, 0)
    told = capsys.readouterr()
    assert f"Save Image: {result}" in told.out
    assert "[1/2] Load Image: 0." in told.err and "[2/2] Save Image: 0." in told.err


def test_pictures_are_looked_for_beside_the_workflow_then_in_the_input_folder(folder, capsys):
    for name, colour in (("flows/a.png", "red"), ("input/a.png", "blue"), ("input/b.png", "blue")):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (2, 2), colour).save(folder / name)
    for name, colour in (("a.png", (255, 0, 0)), ("b.png", (0, 0, 255)), ("a.png [input]", (0, 0, 255))):
        graph = {"1": ("LoadImage", {"image": name}), "2": ("SaveImage", {"images": ["1", 0], "filename_prefix": "x"})}
        assert run(save(folder / "flows", graph)) == DONE
        with Image.open(sorted((folder / "output").glob("*.png"))[-1]) as image:
            assert image.getpixel((0, 0)) == colour


def test_several_workflows_run_in_turn_until_one_fails(folder, capsys):
    Image.new("RGB", (6, 4), "red").save(folder / "red.png")
    files = []
    for name in ("one", "two", "three"):
        load = ("LoadImage", {"image": "none.png" if name == "two" else "red.png"})
        graph = {"1": load, "2": ("SaveImage", {"images": ["1", 0], "filename_prefix": name})}
        files.append(str(save(folder, graph, f"{name}.json")))
    assert main(["run", files[0], files[2]]) == DONE
    assert sorted(path.name for path in (folder / "output").glob("*.png")) == ["one_00001_.png", "three_00001_.png"]
    capsys.readouterr()
    assert main(["run", *files]) == FAILED
    told = capsys.readouterr()
    assert "one_00002_.png" in told.out and "no file 'none.png'" in told.err and "three_00002_" not in told.out


def test_settings_belong_to_one_workflow(folder, capsys):
    assert main(["run", "a.json", "b.json", "--set", "2.x=1"]) == FAILED
    assert capsys.readouterr().err == (
        "--set changes the nodes of one workflow; run the others by commands of their own.\n"
    )


@pytest.mark.parametrize(
    ("nodes", "sentence"),
    [
        ({"7": ("ToyFail", {"how": "person"}), "8": ("PreviewImage", {"images": ["7", 0]})},
         "node 7 (Fail): Nobody is in the picture. Choose another.\n"),
        ({"7": ("ToyFail", {"how": "bug"}), "8": ("PreviewImage", {"images": ["7", 0]})},
         "node 7 (Fail): IndexError: index 3 is out of bounds\n"),
        ({"7": ("ToyShow", {})}, "node 7 (Show): input 'value' (FLOAT,IMAGE) is not connected.\n"),
        ({"7": ("LoadImage", {"image": "none.png"}), "8": ("PreviewImage", {"images": ["7", 0]})},
         "node 7 (Load Image): there is no file 'none.png'"),
    ],
)  # fmt: skip
def test_failures_are_sentences_and_status_one(folder, capsys, nodes, sentence):
    assert run(save(folder, nodes), registry=REGISTRY) == FAILED
    told = capsys.readouterr()
    assert sentence in told.err and "Traceback" not in told.err and told.out == ""


def test_a_missing_workflow_is_a_sentence(folder, capsys):
    assert main(["run", "none.json"]) == FAILED
    assert capsys.readouterr().err == "There is no workflow none.json.\n"


@pytest.mark.parametrize("how", ["cancel", "stop"])
def test_a_stop_is_told_and_has_its_status(folder, capsys, how):
    file = save(folder, {"7": ("ToyFail", {"how": how}), "8": ("PreviewImage", {"images": ["7", 0]})})
    assert run(file, registry=REGISTRY) == STOPPED
    assert "Stopped." in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends Ctrl-C to the whole console")
def test_ctrl_c_stops_within_half_a_second_and_leaves_nothing_half_written(folder):
    script = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored
sys.path.insert(0, {str(pack.ROOT / "tests")!r})
import pack; pack.load()
from pathlib import Path
from portrait_rig.headless.run import run
from toy_nodes import REGISTRY
print("ready", flush=True)
sys.exit(run(Path("graph.json"), registry=REGISTRY))
"""
    save(
        folder,
        {
            "1": ("ToyGrey", {"level": 0.5, "seed": 1, "size": "small", "red": False}),
            "2": ("ToyBrighten", {"image": ["1", 0], "steps": 1000}),
            **{str(n): ("ToyBrighten", {"image": [str(n - 1), 0], "steps": 1000}) for n in range(3, 200)},
            "200": ("SaveImage", {"images": ["199", 0], "filename_prefix": "x"}),
        },
    )
    running = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        assert running.stdout.readline() == "ready\n"
        while "[1/200]" not in running.stderr.readline():
            assert running.poll() is None
        time.sleep(0.3)
        running.send_signal(signal.SIGINT)
        started = time.monotonic()
        _, errors = running.communicate(timeout=30)
        seconds = time.monotonic() - started
    finally:
        running.kill()
    assert running.returncode == STOPPED and "Stopped." in errors and "Traceback" not in errors
    assert seconds < 2  # 0.1 s measured on an idle core; the interpreter's own end counts as well
    assert not list(folder.rglob("*.png"))


def test_the_list_of_nodes(capsys):
    assert main(["nodes"]) == DONE
    text = capsys.readouterr().out
    for node in NODES:
        assert node.GET_SCHEMA().node_id in text
    assert "level: FLOAT" not in text and "filename_prefix: STRING (default ComfyUI)" in text


def test_the_list_of_nodes_as_json(capsys):
    assert main(["nodes", "--json"]) == DONE
    found = json.loads(capsys.readouterr().out)
    assert found["CreateVideo"]["input"]["required"]["fps"][1]["max"] == 120.0
    assert found["SaveImage"]["output_node"] is True
    assert {node.GET_SCHEMA().node_id for node in NODES} <= found.keys()


def test_an_unknown_command_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["fly"])
    assert caught.value.code == 2
