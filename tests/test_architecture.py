"""Imports run downwards only, and only one file knows ComfyUI; read from the source, so nothing is left to luck."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pack
import pytest

FOLDERS = ["core", "headless", "nodes"]
FILES = sorted(path for folder in FOLDERS for path in (pack.ROOT / folder).rglob("*.py"))
PACKAGE = "portrait_rig"

LAYERS = [
    "core.errors",
    "core.types",
    "core.files core.sound core.optimise core.checkpoints",
    "core.face core.networks core.perceptual",
    "core.methods core.training core.toon core.metrics",
    "nodes",
    "headless",
    "__main__",
]
"""From the bottom to the top; a module imports from its own row and the rows above it in this list."""
LEVELS = {name: level for level, names in enumerate(LAYERS) for name in names.split()}

HOST_MODULES = {"comfy", "comfy_api", "comfy_extras", "comfy_execution", "folder_paths", "server", "execution"}
HOST, STANDIN = "nodes.host", "nodes.standin"
HEAVY = {"cv2", "av", "onnxruntime", "pytorch3d", "lpips", "ray", "accelerate", "scipy.signal", "scipy.stats"}
"""Loaded where they are used, so that ComfyUI starts quickly and works without the optional ones."""


def module_name(path: Path) -> str:
    parts = path.relative_to(pack.ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, top_level_only: bool = False) -> Iterator[str]:
    """Absolute names of what a file imports; the pack's own without its name in front, others as they are."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = list(tree.body) if top_level_only else list(ast.walk(tree))
    own = module_name(path).split(".")
    package = own if path.name == "__init__.py" else own[:-1]
    for node in found:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1]
            for alias in node.names:
                yield "." + ".".join([*base, *filter(None, [node.module]), alias.name])


def packages(name: str) -> list[str]:
    """'a.b.c' -> 'a', 'a.b', 'a.b.c'."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


def level(name: str) -> int | None:
    """The row of a module of the pack; None for a package that only holds others, such as `core` itself."""
    parts = name.split(".")
    return next((LEVELS[key] for n in range(len(parts), 0, -1) if (key := ".".join(parts[:n])) in LEVELS), None)


each_file = pytest.mark.parametrize("path", FILES, ids=module_name)


@each_file
def test_every_module_has_its_place(path):
    assert level(module_name(path)) is not None or module_name(path) == "core"


@each_file
def test_imports_run_downwards(path):
    own = level(module_name(path))
    for name in imports(path):
        if name.startswith(".") and own is not None and level(name[1:]) is not None:
            assert level(name[1:]) <= own, f"{module_name(path)} imports {name[1:]}"


@each_file
def test_the_pack_is_imported_relatively(path):
    """ComfyUI loads it under another name."""
    assert not [name for name in imports(path) if name.split(".")[0] in (PACKAGE, "core", "nodes", "headless")]


@each_file
def test_only_the_border_knows_the_host(path):
    if module_name(path) != HOST:
        assert not [name for name in imports(path) if name.split(".")[0] in HOST_MODULES]


@each_file
def test_only_the_border_knows_the_standin(path):
    own = module_name(path)
    if own != HOST and not own.startswith(STANDIN):
        assert not [name for name in imports(path) if name.startswith(f".{STANDIN}")]


@each_file
def test_checkpoints_know_no_network_and_the_standin_no_node(path):
    own, names = module_name(path), [name[1:] for name in imports(path) if name.startswith(".")]
    if own.startswith("core.checkpoints"):
        assert not [name for name in names if name.startswith(("core.networks", "core.face"))]
    if own.startswith(STANDIN):
        assert not [name for name in names if name.startswith("nodes.") and not name.startswith(STANDIN)]


@each_file
def test_heavy_libraries_are_imported_where_they_are_used(path):
    assert not {part for name in imports(path, top_level_only=True) for part in packages(name)} & HEAVY


def test_the_readers_of_imports_read():
    """The tests above would pass on a reader that finds nothing."""
    found = list(imports(pack.ROOT / "nodes" / "host.py"))
    assert {"comfy_api.latest", "folder_paths", ".core.types.Mesh", ".nodes.standin.runtime"} <= set(found)
    assert level("core.face.glb") < level("core.methods.fit.settings") < level("nodes.host") < level("headless.run")


def test_loading_the_pack_loads_nothing_heavy():
    code = "import sys; sys.path.insert(0, sys.argv[1]); import pack; pack.load(); print(*sys.modules)"
    command = [sys.executable, "-c", code, str(pack.ROOT / "tests")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert not set(done.stdout.split()) & HEAVY
