"""Every node's face to the world: a snapshot, and what each node owes its users.

A changed schema breaks saved workflows, so a change must be deliberate: `python tests/test_schemas.py` writes the
snapshot anew, and the difference belongs into the commit. New inputs go to the end.
"""

from __future__ import annotations

import ast
import inspect
import json
import math
import re
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))

import pack

pack.load()

import pytest
from portrait_rig.headless.graph import NOTES, read, widget_places
from portrait_rig.headless.registry import everything, sockets
from portrait_rig.headless.validate import validate
from portrait_rig.nodes import NODES

SNAPSHOT = Path(__file__).resolve().parent / "nodes" / "schemas.json"
HELP = pack.ROOT / "nodes" / "web" / "docs"
WORKFLOWS = sorted((pack.ROOT / "example_workflows").glob("*.json"))
FILE_CHOICES = {
    ("PortraitRigLoadFaceModel", "file"),
    ("PortraitRigLoadFaceRegressor", "file"),
    ("PortraitRigLoadIdentityNetwork", "file"),
    ("PortraitRigLoadRig", "file"),
    ("PortraitRigLoadStyleGan", "file"),
    ("PortraitRigLoadTextureGan", "file"),
}
"""Combos that list files of this machine; their choices are no part of the snapshot."""


def schemas() -> dict:
    """What ComfyUI's browser side is told about every node, without what depends on the machine."""
    found = {}
    for node in NODES:
        info = node.GET_NODE_INFO_V1()
        del info["python_module"]
        for group in info["input"].values():
            for name, (_, *options) in group.items():
                if (info["name"], name) in FILE_CHOICES:
                    del options[0]["options"]
        found[info["name"]] = info
    return json.loads(json.dumps(found))


each_node = pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)
each_workflow = pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)


def test_schemas_are_those_of_the_snapshot():
    saved = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    for name, info in schemas().items():
        assert info == saved.get(name), f"{name} changed; if that is meant: python tests/test_schemas.py"
    assert saved.keys() == schemas().keys(), "nodes vanished; if that is meant: python tests/test_schemas.py"


@each_node
def test_names(node):
    schema = node.GET_SCHEMA()
    assert re.fullmatch(r"PortraitRig[A-Z]\w+", schema.node_id)
    assert schema.display_name and schema.display_name != schema.node_id
    assert re.fullmatch(r"Portrait Rig/[a-z0-9 ]+", schema.category)
    assert len(schema.description) > 20 and schema.description.endswith(".")


@each_node
def test_the_id_is_a_literal(node):
    """Registries find a pack's nodes by reading its source."""
    tree = ast.parse(inspect.getsource(sys.modules[node.__module__]))
    (body,) = [n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == node.__name__]
    ids = [k.value for n in ast.walk(body) if isinstance(n, ast.Call) for k in n.keywords if k.arg == "node_id"]
    assert [type(value) for value in ids] == [ast.Constant]


@each_node
def test_every_socket_explains_itself(node):
    for name, socket in sockets(node).items():
        tooltip = socket.options.get("tooltip", "")
        assert len(tooltip) > 8 and tooltip.lower().strip(".") != name.replace("_", " "), name
    for output in node.GET_SCHEMA().outputs:
        assert output.display_name and len(output.tooltip or "") > 8


@each_node
def test_names_of_inputs_read_well(node):
    for name in [*sockets(node), *node.RETURN_NAMES]:
        assert re.fullmatch(r"[a-z][a-z0-9_]+", name)


@each_node
def test_widgets_have_defaults_within_their_limits(node):
    for name, socket in sockets(node).items():
        if socket.kind in ("INT", "FLOAT") and socket.widget:
            low, high = socket.options["min"], socket.options["max"]
            assert low <= socket.options["default"] <= high, name
        if socket.choices:
            assert socket.default in socket.choices, name


@each_node
def test_nothing_that_the_runner_lacks(node):
    schema = node.GET_SCHEMA()
    assert not schema.is_input_list and not schema.enable_expand and not any(node.OUTPUT_IS_LIST)
    assert not any(socket.options.get("lazy") for socket in sockets(node).values())


@each_node
def test_there_is_a_help_page(node):
    schema = node.GET_SCHEMA()
    page = (HELP / f"{schema.node_id}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {schema.display_name}\n")
    for name in [*sockets(node), *node.RETURN_NAMES]:
        assert name in page, f"the help page does not mention {name}"


def test_no_help_page_is_left_over():
    assert {page.stem for page in HELP.glob("*.md")} == {node.GET_SCHEMA().node_id for node in NODES}


@each_node
def test_defaults_are_whole_steps(node):
    """The browser shows as many places as the step has, and rounds to them once somebody turns the wheel."""
    for group in node.GET_NODE_INFO_V1()["input"].values():
        for name, (_, *options) in group.items():
            told = options[0] if options else {}
            if isinstance(told.get("default"), float) and told.get("step"):
                places = max(-math.floor(math.log10(told["step"]) + 1e-9), 0)
                assert round(told["default"], places) == told["default"], name


@each_node
def test_an_example_workflow_uses_it(node):
    node_id = node.GET_SCHEMA().node_id
    assert any(f'"{node_id}"' in path.read_text(encoding="utf-8") for path in WORKFLOWS)


def test_ids_occur_once():
    ids = [node.GET_SCHEMA().node_id for node in NODES]
    assert len(set(ids)) == len(ids)


# Example workflows ---------------------------------------------------------------------------------------------------


@each_workflow
def test_it_is_valid(workflow):
    registry = everything()
    validate(read(workflow, registry), registry)


@each_workflow
def test_links_and_widgets_are_those_of_the_schemas(workflow):
    content, registry = json.loads(workflow.read_text(encoding="utf-8")), everything()
    nodes = {node["id"]: node for node in content["nodes"]}
    for _, origin, origin_slot, target, target_slot, kind in content["links"]:
        output, entry = nodes[origin]["outputs"][origin_slot], nodes[target]["inputs"][target_slot]
        assert kind in (output["type"], entry["type"])
    for node in nodes.values():
        known = registry.get(node["type"])
        if known is None:
            assert node["type"] in NOTES
            continue
        assert {entry["name"] for entry in node.get("inputs", ())} <= sockets(known).keys()
        assert [output["type"] for output in node.get("outputs", ())] == list(known.RETURN_TYPES)
        assert len(node.get("widgets_values", ())) == len(widget_places(sockets(known))), node["type"]


@each_workflow
def test_it_has_a_thumbnail(workflow):
    from PIL import Image

    with Image.open(workflow.with_suffix(".jpg")) as picture:
        assert picture.format == "JPEG" and picture.width == picture.height >= 512


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(schemas(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{SNAPSHOT}: {len(NODES)} nodes")
