"""A workflow as a plain graph: what a file says, after the editor's conveniences are dissolved.

`read` takes both formats that ComfyUI saves. The API format already is the plain graph. The UI format (litegraph) is
resolved as ComfyUI's browser side does it before queueing (frontend 1.35, `graphToPrompt`): widget values by position,
reroutes and primitives followed, muted nodes dropped, bypassed ones short-cut, subgraphs unfolded, notes ignored.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from .registry import Registry, Socket, sockets

MUTED, BYPASSED = 2, 4
"""Litegraph's numbers for a node's mode."""
NOTES = {"Note", "MarkdownNote"}
REROUTE, PRIMITIVE = "Reroute", "PrimitiveNode"
"""Nodes that exist in the editor only."""
SUBGRAPH_INPUTS, SUBGRAPH_OUTPUTS = -10, -20
"""Ids that stand for a subgraph's own inputs and outputs in its links."""
SEEDS = {"seed", "noise_seed"}
"""Whole numbers of these names are followed by a 'control after generate' widget even when the node does not ask."""
UPLOAD_WIDGETS = {"image_upload": 1, "video_upload": 1, "audio_upload": 2}
"""Widgets that the editor appends to the required ones for an upload: a button, for sound also a player."""


@dataclass(frozen=True)
class Link:
    """Output `slot` of the node with that id."""

    node: str
    slot: int


@dataclass(frozen=True)
class Node:
    """One step. inputs: by name, a Link or a plain value. title: what the person calls it."""

    id: str
    type: str
    title: str
    inputs: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"node {self.id} ({self.title})"

    def links(self) -> Iterator[tuple[str, Link]]:
        """The inputs that come from other nodes."""
        for name, value in self.inputs.items():
            if isinstance(value, Link):
                yield name, value


@dataclass(frozen=True)
class Graph:
    """Nodes by id, in the order of the file."""

    nodes: Mapping[str, Node]

    def with_input(self, node_id: str, name: str, value: Any) -> Graph:
        """The same graph with one input changed."""
        node = self.nodes[node_id]
        changed = replace(node, inputs={**node.inputs, name: value})
        return Graph({**self.nodes, node_id: changed})

    def as_prompt(self) -> dict[str, Any]:
        """The API format."""
        return {
            node.id: {
                "class_type": node.type,
                "inputs": {
                    name: [value.node, value.slot] if isinstance(value, Link) else value
                    for name, value in node.inputs.items()
                },
                "_meta": {"title": node.title},
            }
            for node in self.nodes.values()
        }


def read(path: Path, registry: Registry) -> Graph:
    """The workflow in a file. registry: the known nodes, whose widgets give values their names.

    UserError where the file is absent, is no workflow, or contradicts itself.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"There is no workflow {path}.") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as a workflow: {error}.") from None
    try:
        return parse(content, registry)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is a damaged workflow: {type(error).__name__} {error}.") from None


def parse(content: Any, registry: Registry) -> Graph:
    """The graph in a file's content; UserError where it is neither format."""
    if isinstance(content, dict) and isinstance(content.get("nodes"), list):
        return _from_editor(content, registry)
    entries = list(content.values()) if isinstance(content, dict) else []
    if entries and all(isinstance(entry, dict) and "class_type" in entry for entry in entries):
        return _from_prompt(content, registry)
    raise UserError(
        "this is no workflow. Expected what ComfyUI saves: an object with 'nodes' and 'links', "
        "or in API format an object of nodes with 'class_type'."
    )


def _from_prompt(content: Mapping[str, Any], registry: Registry) -> Graph:
    nodes = {}
    for node_id, entry in content.items():
        inputs = {name: _prompt_value(value) for name, value in entry.get("inputs", {}).items()}
        title = entry.get("_meta", {}).get("title") or registry.title(entry["class_type"])
        nodes[node_id] = Node(node_id, entry["class_type"], title, inputs)
    return Graph(nodes)


def _prompt_value(value: Any) -> Any:
    if isinstance(value, list) and len(value) == 2 and isinstance(value[1], int):
        return Link(str(value[0]), value[1])
    if isinstance(value, dict) and "__value__" in value:  # how a list is told from a link
        return value["__value__"]
    return value


# The editor's format -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Value:
    """A constant in place of a link: what a primitive holds."""

    value: Any


class _Scope:
    """One level of the graph: the workflow itself, or one use of a subgraph."""

    def __init__(
        self, content: Mapping[str, Any], definitions: Mapping[str, Any], path: str, parent: tuple[_Scope, dict] | None
    ) -> None:
        self.content, self.definitions, self.path, self.parent = content, definitions, path, parent
        self.nodes = {node["id"]: node for node in content["nodes"]}
        self.links = {link["id"]: link for link in map(_link, content.get("links") or ())}
        self.inner = {
            node_id: _Scope(definitions[node["type"]], definitions, f"{path}{node_id}:", (self, node))
            for node_id, node in self.nodes.items()
            if node["type"] in definitions
        }

    def executable(self) -> Iterator[tuple[_Scope, dict]]:
        """Nodes that the server runs, subgraphs unfolded."""
        for node_id, node in self.nodes.items():
            if node.get("mode", 0) in (MUTED, BYPASSED):
                continue
            if node_id in self.inner:
                yield from self.inner[node_id].executable()
            elif node["type"] not in NOTES | {REROUTE, PRIMITIVE}:
                yield self, node

    def source(self, link_id: int | None, passed: frozenset = frozenset()) -> Link | _Value | None:
        """Where a link really comes from; None where nothing (that is not muted) feeds it."""
        if link_id is None:
            return None
        if (self.path, link_id) in passed:
            raise UserError(f"the reroutes or bypassed nodes around link {link_id} form a circle.")
        passed |= {(self.path, link_id)}
        link = self.links.get(link_id)
        if link is None:
            raise UserError(f"link {link_id} is used by a node but missing from the list of links.")
        origin, slot = link["origin_id"], link["origin_slot"]
        if origin == SUBGRAPH_INPUTS:
            outer, instance = self.parent
            return outer.source(_nth(instance.get("inputs"), slot).get("link"), passed)
        node = self.nodes.get(origin)
        if node is None:
            raise UserError(f"link {link_id} starts at node {origin}, which is not in the workflow.")
        mode = node.get("mode", 0)
        if mode == MUTED:
            return None
        if mode == BYPASSED:
            return self.source(_bypass(node, slot), passed)
        if origin in self.inner:
            inner = self.inner[origin]
            end = (SUBGRAPH_OUTPUTS, slot)
            feeding = [i for i, e in inner.links.items() if (e["target_id"], e["target_slot"]) == end]
            return inner.source(feeding[0] if feeding else None, passed)
        if node["type"] == REROUTE:
            return self.source(_nth(node.get("inputs"), 0).get("link"), passed)
        if node["type"] == PRIMITIVE:
            return _Value(_nth(node.get("widgets_values"), 0))
        return Link(f"{self.path}{origin}", slot)


def _from_editor(content: Mapping[str, Any], registry: Registry) -> Graph:
    definitions = {item["id"]: item for item in (content.get("definitions") or {}).get("subgraphs") or ()}
    nodes = {}
    for scope, node in _Scope(content, definitions, "", None).executable():
        node_id = f"{scope.path}{node['id']}"
        known = registry.get(node["type"])
        inputs = {} if known is None else _widget_values(node, sockets(known))
        for entry in node.get("inputs") or ():
            source = scope.source(entry.get("link"))
            if source is not None:
                inputs[entry["name"]] = source.value if isinstance(source, _Value) else source
        title = node.get("title") or registry.title(node["type"])
        nodes[node_id] = Node(node_id, node["type"], title, inputs)
    return Graph(nodes)


def _link(entry: Any) -> dict[str, Any]:
    """Both spellings of a link: a list in workflows, an object in subgraphs and newer files."""
    if isinstance(entry, dict):
        return entry
    return dict(zip(("id", "origin_id", "origin_slot", "target_id", "target_slot", "type"), entry, strict=True))


def _bypass(node: Mapping[str, Any], slot: int) -> int | None:
    """The link that a bypassed node passes on as its output `slot`: its input of the same type, that place first."""
    kind = _nth(node.get("outputs"), slot).get("type")
    inputs = node.get("inputs") or []
    for entry in [*inputs[slot : slot + 1], *inputs]:
        if entry.get("type") == kind:
            return entry.get("link")
    return None


def _widget_values(node: Mapping[str, Any], known: Mapping[str, Socket]) -> dict[str, Any]:
    """A node's widget values by name; the default where the file is older than the widget."""
    found = {name: socket.default for name, socket in known.items() if socket.widget}
    values = node.get("widgets_values") or []
    if isinstance(values, dict):
        return {name: values.get(name, default) for name, default in found.items()}
    named = zip(widget_places(known), values, strict=False)
    return found | {name: value for name, value in named if name is not None}


def widget_places(known: Mapping[str, Socket]) -> list[str | None]:
    """Whose value stands at each position; None for widgets that only the editor uses."""
    places: list[str | None] = []
    for required in (True, False):
        group = [socket for socket in known.values() if socket.required is required and socket.widget]
        for socket in group:
            places.append(socket.name)
            seed = socket.type == "INT" and socket.name in SEEDS
            if socket.options.get("control_after_generate", seed):
                places.append(None)
        for socket in group:
            places += [None] * sum(count for flag, count in UPLOAD_WIDGETS.items() if socket.options.get(flag))
    return places


def _nth(items: Any, index: int) -> Any:
    return items[index]
