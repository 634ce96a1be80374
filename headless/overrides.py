"""`--set NODE.INPUT=VALUE`: changes one value of a workflow from the command line."""

from __future__ import annotations

from typing import Any

from ..core.errors import UserError
from .graph import Graph, Node
from .registry import Registry, Socket, sockets
from .validate import convert

YES, NO = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}


def apply(graph: Graph, setting: str, registry: Registry) -> Graph:
    """The graph with one setting applied.

    setting: 'NODE.INPUT=VALUE', NODE an id, a title or a node's type where only one node has it. A value that came
    through a link is replaced. UserError says which part of the setting fits nothing.
    """
    target, equals, text = setting.partition("=")
    if not equals or "." not in target:
        raise UserError(f"The setting '{setting}' should read NODE.INPUT=VALUE, for example 7.steps=50.")
    node, input_name = _find(graph, target, registry)
    socket = sockets(registry.get(node.type))[input_name]
    if not socket.widget:
        raise UserError(f"The setting '{setting}': '{input_name}' of {node} takes a link ({socket.type}), no value.")
    return graph.with_input(node.id, input_name, parse_value(text, socket))


def parse_value(text: str, socket: Socket) -> Any:
    """A typed text as the socket's type has it; UserError where it is none."""
    if socket.kind == "BOOLEAN":
        word = text.strip().lower()
        if word not in YES | NO:
            raise UserError(f"input '{socket.name}' is a switch: write true or false, not '{text}'.")
        return word in YES
    if socket.kind == "COMBO":
        return next((choice for choice in socket.choices or () if str(choice) == text), text)
    return convert(text, socket)


def _find(graph: Graph, target: str, registry: Registry) -> tuple[Node, str]:
    """The node and input that 'NODE.INPUT' names; both may hold dots."""
    cuts = [index for index, letter in enumerate(target) if letter == "."]
    for cut in reversed(cuts):
        found = _named(graph, target[:cut])
        if not found:
            continue
        if len(found) > 1:
            raise UserError(
                f"The setting '{target}' fits {len(found)} nodes: {', '.join(map(str, found))}. Name one by its id."
            )
        node, name = found[0], target[cut + 1 :]
        kind = registry.get(node.type)
        known = [] if kind is None else list(sockets(kind))
        if name not in known:
            there = ", ".join(known) or "none"
            raise UserError(f"The setting '{target}': {node} has no input '{name}'. It has: {there}.")
        return node, name
    present = ", ".join(f"{node.id} ({node.title})" for node in graph.nodes.values())
    raise UserError(f"The setting '{target}' fits no node. The workflow has: {present}.")


def _named(graph: Graph, name: str) -> list[Node]:
    """Nodes of that id, else of that title, else of that type."""
    if name in graph.nodes:
        return [graph.nodes[name]]
    nodes = list(graph.nodes.values())
    return [n for n in nodes if n.title.lower() == name.lower()] or [n for n in nodes if n.type == name]
