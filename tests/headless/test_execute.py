"""Execution: order, caches, errors, stop."""

from __future__ import annotations

import pytest
import torch
import toy_nodes
from portrait_rig.headless.execute import Cache, NodeError, execute
from portrait_rig.headless.graph import parse
from portrait_rig.headless.validate import validate
from portrait_rig.nodes import host
from toy_nodes import REGISTRY

GREY = {"level": 0.5, "seed": 1, "size": "small", "red": False}


@pytest.fixture(autouse=True)
def calls():
    toy_nodes.CALLS.clear()
    return toy_nodes.CALLS


class Quiet:
    """A reporter that keeps what it hears."""

    def __init__(self):
        self.heard = []

    def started(self, node, number, total):
        self.heard.append((node.id, number, total))

    def finished(self, node, seconds, cached):
        self.heard.append((node.id, cached))


def run(nodes, cache=None, reporter=None):
    content = {name: {"class_type": kind, "inputs": inputs} for name, (kind, inputs) in nodes.items()}
    return execute(validate(parse(content, REGISTRY), REGISTRY), REGISTRY, reporter or Quiet(), cache)


def chain(**change):
    return {
        "a": ("ToyGrey", {**GREY, **change}),
        "b": ("ToyBrighten", {"image": ["a", 0], "steps": 3}),
        "c": ("ToyShow", {"value": ["b", 0]}),
    }


def test_nodes_run_once_in_order_and_are_reported(calls):
    reporter = Quiet()
    outcomes = run(chain(), reporter=reporter)
    assert calls == ["grey", "brighten", "show"]
    assert reporter.heard == [("a", 1, 3), ("a", False), ("b", 2, 3), ("b", False), ("c", 3, 3), ("c", False)]
    # three steps from 0.5 towards 1: the error shrinks by 1 - 10 * 2 / 48 in each
    assert outcomes["b"].outputs[0].mean().item() == pytest.approx(1 - 0.5 * (1 - 20 / 48) ** 3, abs=1e-6)
    assert outcomes["c"].ui == {"text": ("mean 0.901",)}


def test_nodes_run_inside_inference_mode():
    assert run(chain())["a"].outputs[0].is_inference()


def test_equal_nodes_share_their_work(calls):
    nodes = {
        "a": ("ToyGrey", GREY),
        "b": ("ToyGrey", dict(GREY)),
        "c": ("ToyGrey", {**GREY, "level": 1}),
        "x": ("ToyShow", {"value": ["a", 0]}),
        "y": ("ToyShow", {"value": ["b", 1]}),
        "z": ("ToyShow", {"value": ["c", 0]}),
    }
    run(nodes)
    assert calls.count("grey") == 2 and calls.count("show") == 3


def test_a_kept_cache_spares_what_did_not_change(calls):
    cache = Cache()
    run(chain(), cache)
    run(chain(), cache)
    assert calls == ["grey", "brighten", "show"]
    run({**chain(), "b": ("ToyBrighten", {"image": ["a", 0], "steps": 4})}, cache)
    assert calls[3:] == ["brighten", "show"]
    run(chain(level=0.25), cache)
    assert calls[5:] == ["grey", "brighten", "show"]


def test_true_and_one_are_different_values(calls):
    cache = Cache()
    run({"a": ("PreviewAny", {"source": 1})}, cache)
    outcome = run({"a": ("PreviewAny", {"source": True})}, cache)
    assert outcome["a"].ui == {"text": ("true",)}


def test_a_nan_fingerprint_never_matches(calls):
    cache, nodes = Cache(), {"a": ("ToyClock", {}), "b": ("ToyShow", {"value": ["a", 0]})}
    run(nodes, cache)
    run(nodes, cache)
    assert calls == ["clock", "show", "clock", "show"]


def test_a_persons_sentence_names_the_node():
    with pytest.raises(NodeError) as caught:
        run({"7": ("ToyFail", {"how": "person"}), "8": ("PreviewImage", {"images": ["7", 0]})})
    assert str(caught.value) == "node 7 (Fail): Nobody is in the picture. Choose another."


def test_a_fault_names_its_kind_as_well():
    with pytest.raises(NodeError, match=r"^node 7 \(Fail\): IndexError: index 3 is out of bounds$"):
        run({"7": ("ToyFail", {"how": "bug"}), "8": ("PreviewImage", {"images": ["7", 0]})})


@pytest.mark.parametrize(("how", "kind"), [("cancel", host.Cancelled), ("stop", KeyboardInterrupt)])
def test_a_stop_passes_through(how, kind):
    with pytest.raises(kind):
        run({"7": ("ToyFail", {"how": how}), "8": ("PreviewImage", {"images": ["7", 0]})})


def test_what_ran_before_a_failure_is_kept(calls):
    cache = Cache()
    nodes = {"a": ("ToyGrey", GREY), "f": ("ToyFail", {"how": "person"}), "s": ("ToyShow", {"value": ["a", 0]})}
    with pytest.raises(NodeError):
        run({**nodes, "g": ("ToyShow", {"value": ["f", 0]})}, cache)
    run(nodes, cache)
    assert calls.count("grey") == 1


def test_inputs_are_shared_so_nodes_must_not_change_them():
    """Two readers of one output see the same tensor."""
    outcomes = run({**chain(), "d": ("ToyShow", {"value": ["a", 0]})})
    assert torch.equal(outcomes["a"].outputs[0], torch.full((1, 4, 4, 3), 0.5))
