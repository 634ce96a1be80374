"""Workflow files of both formats become the same plain graph."""

from __future__ import annotations

import json

import pytest
from portrait_rig.core.errors import UserError
from portrait_rig.headless.graph import Link, parse, read
from toy_nodes import REGISTRY


def entry(node_id, kind, inputs=(), outputs=(), widgets=(), **more):
    """One node of the editor's format; inputs and outputs as (name, type, link) and (type,)."""
    return {
        "id": node_id,
        "type": kind,
        "inputs": [{"name": name, "type": socket, "link": link} for name, socket, link in inputs],
        "outputs": [{"name": socket, "type": socket} for socket in outputs],
        "widgets_values": list(widgets),
        **more,
    }


def grey(node_id=1, **more):
    widgets = [0.25, 7, "fixed", "large", True, "hi"]
    return entry(node_id, "ToyGrey", outputs=("IMAGE", "FLOAT"), widgets=widgets, **more)


def show(node_id, link, kind="IMAGE"):
    return entry(node_id, "ToyShow", [("value", kind, link)])


def graph(nodes, links=(), **more):
    return parse({"nodes": nodes, "links": list(links), **more}, REGISTRY)


def test_widget_values_are_named_by_position_and_the_seeds_extra_one_is_skipped():
    node = graph([grey()]).nodes["1"]
    assert node.inputs == {"level": 0.25, "seed": 7, "size": "large", "red": True, "note": "hi"}
    assert node.title == "Grey Picture"


def test_widget_values_by_name():
    node = graph([{**grey(), "widgets_values": {"level": 0.5, "button": 1}}]).nodes["1"]
    assert node.inputs == {"level": 0.5, "seed": 0, "size": "small", "red": False, "note": ""}


def test_widgets_that_are_newer_than_the_file_take_their_default():
    node = graph([{**grey(), "widgets_values": [0.25, 7, "fixed"]}]).nodes["1"]
    assert node.inputs == {"level": 0.25, "seed": 7, "size": "small", "red": False, "note": ""}


def test_the_upload_buttons_place_is_skipped():
    from portrait_rig.headless.graph import widget_places
    from portrait_rig.headless.registry import sockets

    assert widget_places(sockets(REGISTRY.get("LoadImage"))) == ["image", None]
    assert widget_places(sockets(REGISTRY.get("PrimitiveInt"))) == ["value", None]
    assert widget_places(sockets(REGISTRY.get("LoadAudio"))) == ["audio", None, None]


def test_links_name_the_output():
    found = graph([grey(), show(2, 5)], [[5, 1, 1, 2, 0, "FLOAT"]])
    assert found.nodes["2"].inputs == {"value": Link("1", 1)}


def test_links_written_as_objects():
    link = {"id": 5, "origin_id": 1, "origin_slot": 0, "target_id": 2, "target_slot": 0, "type": "IMAGE"}
    assert graph([grey(), show(2, 5)], [link]).nodes["2"].inputs == {"value": Link("1", 0)}


def test_a_converted_widget_takes_its_link_and_the_others_keep_their_places():
    node = grey(2)
    node["inputs"] = [{"name": "seed", "type": "INT", "link": 3, "widget": {"name": "seed"}}]
    number = entry(1, "PrimitiveInt", outputs=("INT",), widgets=[4, "fixed"])
    found = graph([number, node], [[3, 1, 0, 2, 0, "INT"]]).nodes["2"]
    assert found.inputs["seed"] == Link("1", 0) and found.inputs["size"] == "large"


def test_reroutes_are_followed():
    nodes = [grey(), entry(2, "Reroute", [("", "*", 1)], ("IMAGE",)), entry(3, "Reroute", [("", "*", 2)], ("IMAGE",))]
    found = graph([*nodes, show(4, 3)], [[1, 1, 0, 2, 0, "*"], [2, 2, 0, 3, 0, "*"], [3, 3, 0, 4, 0, "*"]])
    assert set(found.nodes) == {"1", "4"} and found.nodes["4"].inputs == {"value": Link("1", 0)}


def test_reroutes_in_a_circle_are_refused():
    nodes = [entry(2, "Reroute", [("", "*", 2)], ("*",)), entry(3, "Reroute", [("", "*", 1)], ("*",)), show(4, 1)]
    with pytest.raises(UserError, match="circle"):
        graph(nodes, [[1, 2, 0, 3, 0, "*"], [2, 3, 0, 2, 0, "*"]])


def test_primitives_give_their_value():
    node = grey(2)
    node["inputs"] = [{"name": "level", "type": "FLOAT", "link": 3, "widget": {"name": "level"}}]
    found = graph([entry(1, "PrimitiveNode", outputs=("FLOAT",), widgets=[0.75]), node], [[3, 1, 0, 2, 0, "FLOAT"]])
    assert found.nodes["2"].inputs["level"] == 0.75 and set(found.nodes) == {"2"}


def test_notes_are_ignored():
    assert set(graph([grey(), entry(2, "Note", widgets=["x"]), entry(3, "MarkdownNote", widgets=["x"])]).nodes) == {"1"}


def test_muted_nodes_are_gone_with_their_links():
    found = graph([grey(mode=2), show(2, 5)], [[5, 1, 0, 2, 0, "IMAGE"]])
    assert set(found.nodes) == {"2"} and found.nodes["2"].inputs == {}


def test_bypassed_nodes_pass_on_the_input_of_the_same_type():
    middle = entry(2, "ToyBrighten", [("mask", "MASK", None), ("image", "IMAGE", 5)], ("IMAGE",), [3], mode=4)
    found = graph([grey(), middle, show(3, 6)], [[5, 1, 0, 2, 1, "IMAGE"], [6, 2, 0, 3, 0, "IMAGE"]])
    assert found.nodes["3"].inputs == {"value": Link("1", 0)} and "2" not in found.nodes


def test_bypassed_nodes_without_such_an_input_pass_nothing():
    middle = entry(2, "ToyBrighten", [("mask", "MASK", 5)], ("IMAGE",), [3], mode=4)
    found = graph([grey(), middle, show(3, 6)], [[5, 1, 0, 2, 0, "MASK"], [6, 2, 0, 3, 0, "IMAGE"]])
    assert found.nodes["3"].inputs == {}


def _subgraph():
    """Brightens its input; the inner node's steps come from the outside where linked."""
    inner = entry(7, "ToyBrighten", [("image", "IMAGE", 1), ("steps", "INT", 2)], ("IMAGE",), [9])
    links = [
        {"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 7, "target_slot": 0, "type": "IMAGE"},
        {"id": 2, "origin_id": -10, "origin_slot": 1, "target_id": 7, "target_slot": 1, "type": "INT"},
        {"id": 3, "origin_id": 7, "origin_slot": 0, "target_id": -20, "target_slot": 0, "type": "IMAGE"},
    ]
    return {"id": "some-uuid", "name": "Brighter", "nodes": [inner], "links": links}


def test_subgraphs_are_unfolded():
    use = entry(2, "some-uuid", [("image", "IMAGE", 5), ("steps", "INT", None)], ("IMAGE",))
    found = graph(
        [grey(), use, show(3, 6)],
        [[5, 1, 0, 2, 0, "IMAGE"], [6, 2, 0, 3, 0, "IMAGE"]],
        definitions={"subgraphs": [_subgraph()]},
    )
    assert found.nodes["2:7"].inputs == {"image": Link("1", 0), "steps": 9}
    assert found.nodes["3"].inputs == {"value": Link("2:7", 0)}


def test_a_bypassed_subgraph_passes_its_picture_on():
    use = entry(2, "some-uuid", [("image", "IMAGE", 5), ("steps", "INT", None)], ("IMAGE",), mode=4)
    found = graph(
        [grey(), use, show(3, 6)],
        [[5, 1, 0, 2, 0, "IMAGE"], [6, 2, 0, 3, 0, "IMAGE"]],
        definitions={"subgraphs": [_subgraph()]},
    )
    assert set(found.nodes) == {"1", "3"} and found.nodes["3"].inputs == {"value": Link("1", 0)}


def test_the_api_format():
    found = parse(
        {
            "4": {"class_type": "ToyGrey", "inputs": {"level": 0.5}, "_meta": {"title": "Mine"}},
            "5": {"class_type": "ToyShow", "inputs": {"value": ["4", 0], "list": {"__value__": [1, 2]}}},
        },
        REGISTRY,
    )
    assert found.nodes["5"].inputs == {"value": Link("4", 0), "list": [1, 2]}
    assert (found.nodes["4"].title, found.nodes["5"].title) == ("Mine", "Show")
    assert parse(found.as_prompt(), REGISTRY).nodes["5"].inputs["value"] == Link("4", 0)


def test_both_formats_give_the_same():
    editor = graph([grey(), show(2, 5)], [[5, 1, 0, 2, 0, "IMAGE"]])
    assert parse(editor.as_prompt(), REGISTRY) == editor


@pytest.mark.parametrize("content", [[], {}, "text", 3, None, {"nodes": 1}, {"a": {"b": 1}}])
def test_other_json_is_no_workflow(content):
    with pytest.raises(UserError, match="no workflow"):
        parse(content, REGISTRY)


@pytest.mark.parametrize(
    "content",
    [
        {"nodes": [{"type": "ToyGrey"}]},
        {"nodes": [1]},
        {"nodes": [grey()], "links": [[1, 2]]},
        {"nodes": [show(2, 5)], "links": []},
        {"nodes": [show(2, 5)], "links": [[5, 99, 0, 2, 0, "IMAGE"]]},
        {"1": {"class_type": "ToyGrey", "inputs": 3}},
    ],
)
def test_damaged_files_are_a_sentence_with_their_name(tmp_path, content):
    file = tmp_path / "broken.json"
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"broken\.json"):
        read(file, REGISTRY)


@pytest.mark.parametrize("text", ["", "{", "\x00\x01", "[" * 100_000])
def test_files_that_are_no_json(tmp_path, text):
    file = tmp_path / "broken.json"
    file.write_text(text)
    with pytest.raises(UserError, match="cannot be read as a workflow"):
        read(file, REGISTRY)


def test_an_absent_file(tmp_path):
    with pytest.raises(UserError, match="There is no workflow"):
        read(tmp_path / "none.json", REGISTRY)
