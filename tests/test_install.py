"""The package's metadata agrees with the folders, and the pack runs from anywhere, installed or not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pack
import pytest

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    from pip._vendor import tomli as tomllib

PROJECT = tomllib.loads((pack.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS = PROJECT["tool"]["setuptools"]
CODE = ["core", "headless", "nodes"]


def run(*command, **options):
    environment = {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"} | options.pop("env", {})
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, **options)


def test_every_folder_with_code_is_a_listed_package():
    folders = {path.parent for folder in CODE for path in (pack.ROOT / folder).rglob("*.py")}
    names = {"portrait_rig", *(".".join(["portrait_rig", *f.relative_to(pack.ROOT).parts]) for f in folders)}
    assert sorted(SETUPTOOLS["packages"]) == sorted(names)


def test_every_file_that_is_no_code_is_package_data():
    patterns = SETUPTOOLS["package-data"]["portrait_rig"]
    listed = {path for pattern in patterns for path in pack.ROOT.glob(pattern)}
    wanted = [pack.ROOT / "nodes", pack.ROOT / "weights", pack.ROOT / "examples", pack.ROOT / "example_workflows"]
    there = {p for folder in wanted for p in folder.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")}
    assert there - listed == set()


def test_nothing_is_pinned_and_the_registry_finds_what_it_needs():
    required = (pack.ROOT / "requirements.txt").read_text(encoding="utf-8").split()
    assert "torch" in required and not [name for name in required if re.search(r"[<>=]", name)]
    assert PROJECT["tool"]["setuptools"]["dynamic"]["dependencies"]["file"] == ["requirements.txt"]
    assert {"test", "pytorch3d", "detect", "cluster", "train"} <= PROJECT["project"]["optional-dependencies"].keys()
    comfy = PROJECT["tool"]["comfy"]
    assert comfy["DisplayName"] == "Portrait Rig" and comfy["requires-comfyui"] == ">=0.8.0" and comfy["PublisherId"]
    assert "comfyui" not in PROJECT["project"]["name"].lower()
    assert re.fullmatch(r"\d+\.\d+\.\d+", PROJECT["project"]["version"])


def test_the_readme_names_both_commands_and_the_check_runs_them():
    readme = (pack.ROOT / "README.md").read_text(encoding="utf-8")
    found = dict(re.findall(r"<!-- (\w+) -->\n```sh\n(.+)\n```\n", readme))
    assert found["quickstart"] == (
        "pip install -e . && python -m portrait_rig run example_workflows/fit_3dmm.json example_workflows/toon_set.json"
    )
    assert found["tests"] == 'pip install -e ".[test]" && python -m pytest'
    check = (pack.ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "command_after tests" in check and "command_after quickstart" in check


@pytest.mark.skipif(sys.platform == "win32", reason="makes a symbolic link")
def test_the_command_runs_from_a_folder_of_another_name(tmp_path):
    """Without installation: a folder called portrait_rig on the path is enough."""
    (tmp_path / "portrait_rig").symlink_to(pack.ROOT, target_is_directory=True)
    done = run(sys.executable, "-m", "portrait_rig", "nodes", cwd=tmp_path.parent, env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert "PortraitRigSaveMesh" in done.stdout


def test_the_tests_start_from_any_folder(tmp_path):
    test = str(pack.ROOT / "tests" / "core" / "test_files.py")
    done = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_comfyui_loads_the_folder_by_its_path(tmp_path):
    """As ComfyUI's loader does: the module's name is the path, its dots replaced."""
    code = f"""
import importlib.util, sys, asyncio
name = {str(pack.ROOT).replace(".", "_x_")!r}
spec = importlib.util.spec_from_file_location(name, {str(pack.ROOT / "__init__.py")!r})
module = importlib.util.module_from_spec(spec)
sys.modules[name] = module
spec.loader.exec_module(module)
print(len(asyncio.run(asyncio.run(module.comfy_entrypoint()).get_node_list())), module.WEB_DIRECTORY)
"""
    done = run(sys.executable, "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    count, web = done.stdout.split()
    assert int(count) > 0 and (pack.ROOT / web).is_dir()


def test_a_wheel_holds_everything(tmp_path):
    """Built from a copy without network; the installed package lists its nodes."""
    if shutil.which("git") is None or not (pack.ROOT / ".git").exists():
        pytest.skip("needs the list of the repository's files")
    files = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=pack.ROOT).stdout.splitlines()
    for name in files:
        if (pack.ROOT / name).is_file() and not name.startswith("tests/"):
            (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(pack.ROOT / name, tmp_path / "source" / name)
    version = run(sys.executable, "-c", "import setuptools; print(setuptools.__version__)").stdout
    if not version or int(version.split(".")[0]) < 68:
        pytest.skip("needs setuptools 68 in this environment to build without network")
    target = str(tmp_path / "installed")
    done = run(
        sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index", "--target", target,
        str(tmp_path / "source"),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    listed = run(sys.executable, "-m", "portrait_rig", "nodes", cwd=tmp_path, env={"PYTHONPATH": target})
    assert "PortraitRigSaveMesh" in listed.stdout, listed.stderr
    for name in ("nodes/web/docs/PortraitRigSaveMesh.md", "example_workflows/fit_3dmm.json"):
        assert (tmp_path / "installed" / "portrait_rig" / name).is_file()
