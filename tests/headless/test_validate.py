"""What is wrong with a workflow is said before anything runs."""

from __future__ import annotations

import pytest
from portrait_rig.core.errors import UserError
from portrait_rig.headless.graph import Link, parse
from portrait_rig.headless.overrides import apply
from portrait_rig.headless.validate import execution_order, types_match, validate
from toy_nodes import REGISTRY

GREY = {"level": 0.5, "seed": 1, "size": "small", "red": False}


def graph(**nodes):
    """Nodes by id (n1, n2, …) as (type, inputs)."""
    return parse(
        {name: {"class_type": kind, "inputs": inputs} for name, (kind, inputs) in nodes.items()}, REGISTRY
    )


def refusal(**nodes):
    with pytest.raises(UserError) as caught:
        validate(graph(**nodes), REGISTRY)
    return str(caught.value)


def test_a_good_graph_passes_in_the_order_of_work():
    checked = validate(
        graph(
            out=("ToyShow", {"value": ["bright", 0]}), bright=("ToyBrighten", {"image": ["grey", 0], "steps": 2}),
            grey=("ToyGrey", GREY), alone=("ToyGrey", {}),
        ),
        REGISTRY,
    )  # fmt: skip
    assert list(checked.nodes) == ["grey", "bright", "out"]  # 'alone' feeds nothing, so it does not run


def test_unknown_nodes_are_named_with_the_nearest_known_one():
    text = refusal(a=("ToyGray", {}), b=("SomethingElseEntirely", {}))
    assert "node a: there is no node 'ToyGray' here. Did you mean 'ToyGrey'?" in text
    assert "node b: there is no node 'SomethingElseEntirely' here." in text


def test_a_graph_without_output_is_refused():
    assert "no output node" in refusal(a=("ToyGrey", GREY))


def test_missing_links_and_values_are_named():
    text = refusal(a=("ToyShow", {}), b=("ToyBrighten", {"steps": 3}), c=("ToyShow", {"value": ["b", 0]}))
    assert "node a (Show): input 'value' (FLOAT,IMAGE) is not connected." in text
    assert "node b (Brighten): input 'image' (IMAGE) is not connected." in text
    text = refusal(a=("ToyGrey", {"level": 1}), b=("ToyShow", {"value": ["a", 0]}))
    assert "node a (Grey Picture): input 'seed' has no value." in text and "note" not in text


def test_wrong_types_are_named_with_both_types():
    middle = ("ToyBrighten", {"image": ["a", 1], "steps": 1})
    text = refusal(a=("ToyGrey", GREY), b=middle, c=("ToyShow", {"value": ["b", 0]}))
    assert text == "node b (Brighten): input 'image' takes IMAGE, but node a (Grey Picture) gives FLOAT."


@pytest.mark.parametrize(
    ("given", "wanted", "match"),
    [
        ("IMAGE", "IMAGE", True),
        ("IMAGE", "MASK", False),
        ("*", "MASK", True),
        ("IMAGE", "*", True),
        ("INT", "FLOAT,INT", True),
        ("INT, STRING", "FLOAT,INT", True),
        ("IMAGE", "FLOAT,INT", False),
        ("IMAGE", "IMAGES", False),
    ],
)
def test_types_of_links(given, wanted, match):
    assert types_match(given, wanted) is match


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"level": -0.1}, "input 'level' is -0.1, the smallest allowed is 0.0."),
        ({"level": 1.5}, "input 'level' is 1.5, the largest allowed is 1.0."),
        ({"level": float("nan")}, "input 'level' is nan"),
        ({"seed": 100}, "input 'seed' is 100, the largest allowed is 99."),
        ({"seed": "many"}, "input 'seed' takes INT, but holds 'many'."),
        ({"seed": None}, "input 'seed' takes INT, but holds None."),
        ({"size": "medium"}, "input 'size' is 'medium', but must be one of: small, large."),
    ],
)
def test_values_are_checked(change, sentence):
    assert sentence in refusal(a=("ToyGrey", {**GREY, **change}), b=("ToyShow", {"value": ["a", 0]}))


def test_the_limits_themselves_are_allowed_and_values_converted():
    given = {**GREY, "level": "1", "seed": 99.0, "red": 1, "unknown": 5}
    checked = validate(graph(a=("ToyGrey", given), b=("ToyShow", {"value": ["a", 0]})), REGISTRY)
    assert checked.nodes["a"].inputs == {"level": 1.0, "seed": 99, "size": "small", "red": True}


def test_links_to_nothing_are_named():
    assert "linked to node z, which is missing" in refusal(b=("ToyShow", {"value": ["z", 0]}))
    assert "output 2 of node a (Grey Picture), which has 2 outputs" in refusal(
        a=("ToyGrey", GREY), b=("ToyShow", {"value": ["a", 2]})
    )


def test_circles_are_named():
    text = refusal(
        a=("ToyBrighten", {"image": ["b", 0], "steps": 1}),
        b=("ToyBrighten", {"image": ["a", 0], "steps": 1}),
        c=("ToyShow", {"value": ["b", 0]}),
    )
    assert "circle: node b (Brighten) -> node a (Brighten) -> node b (Brighten)" in text


def test_a_long_chain_does_not_exhaust_the_stack():
    chain = {f"n{i}": ("ToyBrighten", {"image": [f"n{i - 1}", 0]}) for i in range(1, 3000)}
    order = execution_order(graph(n0=("ToyGrey", GREY), **chain), ["n2999"])
    assert order == [f"n{i}" for i in range(3000)]


def test_files_that_are_not_there_are_named_in_the_loaders_own_words():
    text = refusal(a=("LoadImage", {"image": "none.png"}), b=("PreviewImage", {"images": ["a", 0]}))
    assert text.startswith("node a (Load Image): there is no file 'none.png'")


# --set ----------------------------------------------------------------------------------------------------------------


def two():
    return parse(
        {
            "1": {"class_type": "ToyGrey", "inputs": dict(GREY), "_meta": {"title": "First. One"}},
            "2": {"class_type": "ToyGrey", "inputs": dict(GREY), "_meta": {"title": "Second"}},
            "3": {"class_type": "ToyShow", "inputs": {"value": ["1", 0]}},
        },
        REGISTRY,
    )


@pytest.mark.parametrize(
    ("setting", "node", "name", "value"),
    [
        ("1.level=0.25", "1", "level", 0.25),
        ("First. One.seed=7", "1", "seed", 7),
        ("second.red=yes", "2", "red", True),
        ("2.red=false", "2", "red", False),
        ("2.size=large", "2", "size", "large"),
        ("2.note=a=b.c", "2", "note", "a=b.c"),
    ],
)
def test_settings_find_their_node_and_take_its_type(setting, node, name, value):
    changed = apply(two(), setting, REGISTRY).nodes[node].inputs[name]
    assert changed == value and type(changed) is type(value)


def test_a_setting_replaces_a_link():
    graph = parse(
        {
            "1": {"class_type": "PrimitiveFloat", "inputs": {"value": 0.1}},
            "2": {"class_type": "ToyGrey", "inputs": {**GREY, "level": ["1", 0]}},
        },
        REGISTRY,
    )
    assert graph.nodes["2"].inputs["level"] == Link("1", 0)
    assert apply(graph, "ToyGrey.level=0.5", REGISTRY).nodes["2"].inputs["level"] == 0.5


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("1.level", "should read NODE.INPUT=VALUE"),
        ("level=1", "should read NODE.INPUT=VALUE"),
        ("9.level=1", r"fits no node. The workflow has: 1 \(First. One\)"),
        ("ToyGrey.level=1", r"fits 2 nodes: node 1 .* Name one by its id"),
        ("1.lvel=1", "has no input 'lvel'. It has: level, seed"),
        ("1.seed=abc", "takes INT, but holds 'abc'"),
        ("1.red=perhaps", "write true or false"),
        ("3.value=1", r"takes a link \(FLOAT,IMAGE\)"),
    ],
)
def test_settings_that_fit_nothing_are_a_sentence(setting, sentence):
    with pytest.raises(UserError, match=sentence):
        apply(two(), setting, REGISTRY)
