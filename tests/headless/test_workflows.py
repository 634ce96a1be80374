"""Every example workflow runs as it stands, only smaller and shorter."""

from __future__ import annotations

import pack
import pytest
import trimesh
from PIL import Image
from portrait_rig.headless.graph import read
from portrait_rig.headless.registry import everything, sockets
from portrait_rig.headless.run import DONE, run

WORKFLOWS = sorted((pack.ROOT / "example_workflows").glob("*.json"))
SMALLEST = ("steps", "texture_size", "pixel_size", "supersample", "height")
"""Inputs whose names end so are set to the smallest value that they allow: they cost time and prove nothing here."""
SHORTER = {
    "rig_train": ["5.latents=100"],
    "identity_similarity": [f"{node}.{setting}" for node in (4, 8) for setting in ("count=2", "size=64")],
    "toon_set": ["3.count=2", "8.count=2", "8.size=128"],
    "toon_talking": ["2.fps=5", "2.size=64"],
}
"""Settings of single workflows, by their names, for the same reason."""
UNTOLD = ("previews", "sheets")
"""Folders of pictures that no line tells of: live ones, and the progress of a training."""


def smaller(workflow):
    """The settings that make it quick."""
    registry = everything()
    graph = read(workflow, registry)
    return SHORTER.get(workflow.stem, []) + [
        f"{node.id}.{name}={socket.options['min']}"
        for node in graph.nodes.values()
        for name, socket in sockets(registry.get(node.type)).items()
        if name.endswith(SMALLEST) and "min" in socket.options
    ]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_it_runs(folder, capsys, workflow):
    assert run(workflow, smaller(workflow), folder / "out") == DONE, capsys.readouterr().err
    saved = [path for path in (folder / "out").rglob("*") if path.is_file() and path.parent.name not in UNTOLD]
    assert saved
    for path in saved:
        if path.suffix == ".png":
            with Image.open(path) as picture:
                low, high = picture.convert("L").getextrema()
            assert high - low > 30, f"{path.name} shows nothing"
    told = capsys.readouterr().out
    assert all(str(path) in told for path in saved if path.suffix in (".png", ".glb", ".mp4"))


def test_the_fitted_head_is_a_mesh_with_its_texture(folder):
    workflow = pack.ROOT / "example_workflows" / "fit_3dmm.json"
    assert run(workflow, smaller(workflow), folder / "out") == DONE
    (file,) = (folder / "out").rglob("*.glb")
    mesh = trimesh.load(file, force="mesh")
    picture = mesh.visual.material.baseColorTexture
    assert len(mesh.vertices) > 2500 and mesh.visual.uv.shape == (len(mesh.vertices), 2)
    assert picture.width == picture.height and len(picture.convert("L").getcolors()) > 30
