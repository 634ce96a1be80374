"""The stand-in refuses what ComfyUI refuses, and looks the same to those who read the V1 view."""

from __future__ import annotations

import importlib
import subprocess
import sys
import textwrap

import pack
import pytest
import torch
from portrait_rig.nodes import standin
from portrait_rig.nodes.standin import io


def _node(**schema):
    class Node(io.ComfyNode):
        @classmethod
        def define_schema(cls):
            return io.Schema(node_id="T", **schema)

        @classmethod
        def execute(cls, **inputs):
            return io.NodeOutput(inputs)

    return Node


@pytest.mark.parametrize(
    "make",
    [
        lambda: io.Int.Input("n", advanced=True),
        lambda: io.Int.Input("n", placeholder="x"),
        lambda: io.Image.Input("n", default=1),
        lambda: io.Combo.Input("n", options=["a"], force_input=True),
        lambda: io.Image.Output("n", optional=True),
        lambda: io.Schema("T", search_aliases=["x"]),
    ],
)
def test_options_that_comfyui_080_lacks_are_refused(make):
    with pytest.raises(TypeError):
        make()


def test_types_that_comfyui_080_lacks_are_absent():
    assert not hasattr(io, "File3DGLB") and not hasattr(io, "Curve")


def test_an_advanced_input_goes_through_extra_dict():
    assert io.Int.Input("n", extra_dict={"advanced": True}).as_dict() == {"advanced": True}


@pytest.mark.parametrize("value", [torch.zeros(1), 1, "text", [1]])
def test_bare_results_are_refused(value):
    class Bare(io.ComfyNode):
        @classmethod
        def define_schema(cls):
            return io.Schema(node_id="T", outputs=[io.Image.Output()])

        @classmethod
        def execute(cls):
            return value

    with pytest.raises(TypeError, match="Invalid return type"):
        Bare.EXECUTE_NORMALIZED()


@pytest.mark.parametrize("value", [None, (1,), {"result": (1,), "ui": {}}, io.NodeOutput(1)])
def test_results_that_comfyui_takes_are_taken(value):
    class Good(io.ComfyNode):
        @classmethod
        def define_schema(cls):
            return io.Schema(node_id="T")

        @classmethod
        def execute(cls):
            return value

    assert Good.EXECUTE_NORMALIZED().args == (() if value is None else (1,))


def test_classes_are_locked():
    node = _node()
    with pytest.raises(AttributeError, match="locked class"):
        node.cache = {}
    with pytest.raises(AttributeError, match="locked class"):
        node.PREPARE_CLASS_CLONE(None).cache = {}


def test_hidden_values_reach_the_clone_only():
    node = _node()
    clone = node.PREPARE_CLASS_CLONE({"hidden_inputs": {io.Hidden.unique_id: "7"}})
    assert clone.hidden.unique_id == "7" and clone.hidden.prompt is None and node.hidden.unique_id is None


def test_the_v1_view():
    node = _node(
        inputs=[
            io.Image.Input("image", tooltip="t"),
            io.Combo.Input("file", options=["a"], upload=io.UploadType.image),
            io.Float.Input("x", default=1.0, min=0.0, optional=True, display_mode=io.NumberDisplay.slider),
        ],
        outputs=[io.Mask.Output(display_name="m", tooltip="t"), io.Float.Output()],
        category="c",
        description="d",
        is_output_node=True,
    )
    types = node.INPUT_TYPES()
    assert types["required"] == {
        "image": ("IMAGE", {"tooltip": "t"}),
        "file": ("COMBO", {"multiselect": False, "options": ["a"], "image_upload": True}),
    }
    assert types["optional"] == {"x": ("FLOAT", {"default": 1.0, "min": 0.0, "display": "slider"})}
    assert types["hidden"] == {"prompt": ("PROMPT",), "extra_pnginfo": ("EXTRA_PNGINFO",)}
    assert (node.RETURN_TYPES, node.RETURN_NAMES) == (["MASK", "FLOAT"], ["m", "FLOAT"])
    assert (node.CATEGORY, node.DESCRIPTION, node.OUTPUT_NODE, node.FUNCTION) == ("c", "d", True, "EXECUTE_NORMALIZED")


def test_an_input_of_several_types_keeps_its_widget():
    both = io.MultiType.Input(io.Float.Input("x", default=2.0), types=[io.Float, io.Image])
    assert both.get_io_type() == "FLOAT,IMAGE"
    assert both.as_dict() == {"default": 2.0, "widgetType": "FLOAT"}


def test_ids_that_occur_twice_are_refused():
    with pytest.raises(ValueError, match=r"\['a'\]"):
        _node(inputs=[io.Int.Input("a"), io.Float.Input("a")]).INPUT_TYPES()


def test_a_node_needs_both_methods():
    class Half(io.ComfyNode):
        @classmethod
        def define_schema(cls):
            return io.Schema(node_id="T")

    with pytest.raises(TypeError, match="No execute"):
        Half.GET_SCHEMA()


def test_only_an_absent_comfyui_brings_the_standin(tmp_path):
    """A ComfyUI that is there but broken must say so itself."""
    (tmp_path / "comfy_api").mkdir()
    (tmp_path / "comfy_api" / "latest.py").write_text("import a_module_that_nobody_has")
    code = f"""
        import sys
        sys.path[:0] = [{str(tmp_path)!r}, {str(pack.ROOT / "tests")!r}]
        import pack
        try:
            pack.load()
        except ModuleNotFoundError as error:
            print(error.name)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "a_module_that_nobody_has", done.stderr


def test_the_extension_lists_nodes():
    import asyncio

    nodes = importlib.import_module("portrait_rig.nodes")
    extension = asyncio.run(nodes.comfy_entrypoint())
    assert isinstance(extension, standin.ComfyExtension)
    listed = asyncio.run(extension.get_node_list())
    assert listed == nodes.NODES and len(listed) > 0
