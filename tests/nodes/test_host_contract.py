"""The stand-in against a real ComfyUI, where there is one.

PORTRAIT_RIG_COMFYUI names its folder (without it, `comfy_api` must be importable), PORTRAIT_RIG_COMFYUI_PYTHON the
interpreter that has its requirements (this one, if not set).
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from functools import lru_cache

import pack
import pytest

FOLDER, INTERPRETER = os.environ.get("PORTRAIT_RIG_COMFYUI"), os.environ.get("PORTRAIT_RIG_COMFYUI_PYTHON")
PROBE = pack.ROOT / "tests" / "contract.py"

pytestmark = pytest.mark.skipif(
    not FOLDER and importlib.util.find_spec("comfy_api") is None,
    reason="no ComfyUI to compare with; set PORTRAIT_RIG_COMFYUI to its folder",
)


def _probe(interpreter: str, path: list[str]) -> dict:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    done = subprocess.run([interpreter, str(PROBE)], capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@lru_cache
def real() -> dict:
    found = _probe(INTERPRETER or sys.executable, [FOLDER] if FOLDER else sys.path)
    assert found["inside"]
    return found


@lru_cache
def ours() -> dict:
    found = _probe(sys.executable, [])
    assert not found["inside"]
    return found


def test_every_input_option_of_the_standin_exists():
    for kind, options in ours()["inputs"].items():
        missing = set(options) - set(real()["inputs"][kind])
        assert not missing, f"{kind}: {missing}"


def test_every_schema_field_exists():
    assert set(ours()["schema"]) <= set(real()["schema"])


def test_enumerations_have_the_same_members():
    for name, members in ours()["enums"].items():
        assert members.items() <= real()["enums"][name].items(), name


def test_functions_take_the_same_arguments():
    names = {"model_management": "runtime", "utils": "runtime", "folder_paths": "folder_paths"}
    theirs = {f"{names[k.partition('.')[0]]}.{k.partition('.')[2]}": v for k, v in real()["functions"].items()}
    for name, arguments in ours()["functions"].items():
        assert theirs[name][: len(arguments)] == arguments, name


def test_every_node_is_described_alike():
    assert ours()["nodes"].keys() == real()["nodes"].keys()
    for name, info in ours()["nodes"].items():
        theirs = real()["nodes"][name]
        assert {key: theirs[key] for key in info} == info, name


@pytest.mark.parametrize("what", ["executed", "saved", "shown", "result", "containers", "codecs"])
def test_answers_are_the_same(what):
    if what == "executed":
        values = real()[what].pop("values")
        assert ours()[what].pop("values") == pytest.approx(values, abs=1e-6)
    assert ours()[what] == real()[what]


def test_core_nodes_have_comfyuis_inputs_and_outputs():
    assert {"LoadImage", "SaveImage", "SaveGLB", "SaveVideo"} <= real()["core"].keys()
    for name, signature in real()["core"].items():
        assert ours()["core"][name] == signature, name
