"""Executes a checked graph: each node once, after what it needs, nothing twice that would give the same.

Source of the cache key: ComfyUI 0.8.0, `comfy_execution/caching.py` (CacheKeySetInputSignature).
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from ..core.errors import UserError
from ..nodes.host import Cancelled, io
from .graph import Graph, Link, Node
from .registry import Registry
from .validate import own_method


class NodeError(Exception):
    """A node failed; the message names it and says why. The cause is what it raised."""


class Reporter(Protocol):
    """Who is told how the work goes."""

    def started(self, node: Node, number: int, total: int) -> None: ...

    def finished(self, node: Node, seconds: float, cached: bool) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """What one node gave: its outputs, and what it shows on itself (ComfyUI's `ui` dictionary)."""

    outputs: tuple[Any, ...]
    ui: Mapping[str, Any]


@dataclass
class Cache:
    """Outcomes by the signature of everything that led to them."""

    outcomes: dict[Any, Outcome] = field(default_factory=dict)


def execute(graph: Graph, registry: Registry, reporter: Reporter, cache: Cache | None = None) -> dict[str, Outcome]:
    """Runs a graph that `validate` returned; the outcomes by node id.

    cache: kept by the caller, it spares nodes whose inputs did not change since its last run. NodeError where a node
    fails; whatever stops the work (KeyboardInterrupt, the host's cancel) passes through.
    """
    cache = Cache() if cache is None else cache
    done: dict[str, Outcome] = {}
    signatures: dict[str, Any] = {}
    for number, node in enumerate(graph.nodes.values(), 1):
        kind = registry.get(node.type)
        reporter.started(node, number, len(graph.nodes))
        started = time.perf_counter()
        try:
            signatures[node.id] = _signature(node, kind, signatures)
            outcome = cache.outcomes.get(signatures[node.id])
            cached = outcome is not None
            if outcome is None:
                outcome = _run(node, kind, graph, done)
                cache.outcomes[signatures[node.id]] = outcome
        except Cancelled:
            raise
        except Exception as error:
            raise NodeError(f"{node}: {_sentence(error)}") from error
        done[node.id] = outcome
        reporter.finished(node, time.perf_counter() - started, cached)
    return done


def _run(node: Node, kind: type[io.ComfyNode], graph: Graph, done: Mapping[str, Outcome]) -> Outcome:
    values = {
        name: done[value.node].outputs[value.slot] if isinstance(value, Link) else value
        for name, value in node.inputs.items()
    }
    hidden = {io.Hidden.unique_id: node.id, io.Hidden.prompt: graph.as_prompt(), io.Hidden.extra_pnginfo: None}
    clone = kind.PREPARE_CLASS_CLONE({"hidden_inputs": hidden})
    with torch.inference_mode():
        result = clone.EXECUTE_NORMALIZED(**values)
    outputs, expected = tuple(result.args), len(kind.RETURN_TYPES)
    if len(outputs) != expected:
        raise TypeError(f"the node returned {len(outputs)} outputs, its schema has {expected}")
    ui = result.ui or {}
    return Outcome(outputs, ui if isinstance(ui, Mapping) else ui.as_dict())


def _signature(node: Node, kind: type[io.ComfyNode], signatures: Mapping[str, Any]) -> Any:
    """Equal for nodes that would give the same; a node that must run anew gets one that equals nothing."""
    schema = kind.GET_SCHEMA()
    inputs = tuple(
        (name, (signatures[value.node], value.slot) if isinstance(value, Link) else _frozen(value))
        for name, value in sorted(node.inputs.items())
    )
    own = node.id if schema.not_idempotent or io.Hidden.unique_id in schema.hidden else None
    return (node.type, _fingerprint(node, kind), own, inputs)


def _fingerprint(node: Node, kind: type[io.ComfyNode]) -> Any:
    """What `fingerprint_inputs` says, given None for every linked input; an exception or NaN means never the same."""
    method = own_method(kind, "fingerprint_inputs")
    if method is None:
        return None
    try:
        found = method(**{name: None if isinstance(v, Link) else v for name, v in node.inputs.items()})
    except Exception:  # noqa: BLE001 - the node itself will say what is wrong when it runs
        return object()
    return object() if isinstance(found, float) and math.isnan(found) else _frozen(found)


def _frozen(value: Any) -> Any:
    """A constant as something hashable; 1, 1.0 and True stay different."""
    if isinstance(value, Mapping):
        return tuple((key, _frozen(item)) for key, item in sorted(value.items()))
    if isinstance(value, (list, tuple)):
        return tuple(map(_frozen, value))
    return (type(value).__name__, value)


def _sentence(error: Exception) -> str:
    """A person's sentence as it stands; of anything else its kind too, since it is a fault in a node."""
    if isinstance(error, UserError):
        return str(error)
    return f"{type(error).__name__}: {error}"
