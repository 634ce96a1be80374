"""Checks a graph before anything runs, by ComfyUI's rules, and says everything that is wrong with it at once.

Source of the rules: ComfyUI 0.8.0, `execution.py` (validate_prompt, validate_inputs), `comfy_execution/validation.py`.
Stricter in one point: where several outputs are asked for, one that is wrong stops all, not only itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from ..core.errors import UserError
from ..nodes.host import io
from .graph import Graph, Link, Node
from .registry import Registry, Socket, sockets

ANY = "*"
SHOWN_CHOICES = 12
"""So many allowed values are listed in an error; more would hide the sentence."""


def validate(graph: Graph, registry: Registry) -> Graph:
    """The part of the graph that runs: its output nodes and what feeds them, values converted to their types.

    UserError lists every problem, one line each.
    """
    problems = [_unknown(node, registry) for node in graph.nodes.values() if registry.get(node.type) is None]
    if problems:
        raise UserError("\n".join(problems))
    outputs = [node.id for node in graph.nodes.values() if registry.get(node.type).OUTPUT_NODE]
    if not outputs:
        raise UserError(
            "The workflow has no output node, so there is nothing to run. "
            "Add a node that shows or saves something, such as Preview Image or Save Image."
        )
    order = execution_order(graph, outputs)
    checked: dict[str, Node] = {}
    for node_id in order:
        node, found = _check_node(graph.nodes[node_id], graph, registry)
        checked[node_id] = node
        problems += [f"{node}: {problem}" for problem in found]
    if problems:
        raise UserError("\n".join(problems))
    return Graph(checked)


def execution_order(graph: Graph, outputs: list[str]) -> list[str]:
    """Ids of `outputs` and everything before them, each after what it needs. UserError for a circle or a lost link."""
    order: list[str] = []
    state: dict[str, bool] = {}  # False while a node's sources are being visited, True afterwards
    for output in outputs:
        path = [output]
        while path:
            current = path[-1]
            state.setdefault(current, False)
            waiting = None
            for name, link in graph.nodes[current].links():
                if link.node not in graph.nodes:
                    here = graph.nodes[current]
                    raise UserError(f"{here}: input '{name}' is linked to node {link.node}, which is missing.")
                if link.node in state and not state[link.node]:
                    circle = " -> ".join(str(graph.nodes[i]) for i in [*path[path.index(link.node) :], link.node])
                    raise UserError(f"The workflow runs in a circle: {circle}. Cut one of these links.")
                if link.node not in state:
                    waiting = link.node
                    break
            if waiting is not None:
                path.append(waiting)
                continue
            path.pop()
            if not state[current]:
                state[current] = True
                order.append(current)
    return order


def types_match(given: str, wanted: str) -> bool:
    """Whether a link may join these types; each may be several names with commas, '*' goes with all."""
    given_names, wanted_names = ({part.strip() for part in kind.split(",")} for kind in (given, wanted))
    return ANY in given_names | wanted_names or bool(given_names & wanted_names)


def own_method(node: type[io.ComfyNode], name: str) -> Callable[..., Any] | None:
    """The node's own `validate_inputs` or `fingerprint_inputs`; None where it only has the base class's placeholder."""
    for base in node.__mro__:
        if base is io.ComfyNode:
            break
        if name in base.__dict__:
            return getattr(node, name)
    return None


def _unknown(node: Node, registry: Registry) -> str:
    nearest = registry.nearest(node.type)
    hint = f" Did you mean '{nearest}'?" if nearest else ""
    return f"node {node.id}: there is no node '{node.type}' here.{hint}"


def _check_node(node: Node, graph: Graph, registry: Registry) -> tuple[Node, list[str]]:
    """The node with its values converted and unknown inputs dropped, and what is wrong with it."""
    kind = registry.get(node.type)
    custom = own_method(kind, "validate_inputs")
    arguments = inspect.getfullargspec(custom) if custom else None
    self_checked = set(arguments.args[1:]) if arguments else set()
    checks_all = bool(arguments and arguments.varkw)
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, socket in sockets(kind).items():
        if name not in node.inputs:
            if socket.required:
                problems.append(_missing(socket))
            continue
        value = node.inputs[name]
        try:
            if isinstance(value, Link):
                _check_link(value, socket, graph, registry)
            else:
                value = convert(value, socket)
                if not checks_all and name not in self_checked:
                    check_value(value, socket)
        except UserError as error:
            problems.append(str(error))
            continue
        values[name] = value
    if custom and not problems:
        wanted = values if checks_all else {name: values[name] for name in self_checked & values.keys()}
        verdict = custom(**{name: None if isinstance(value, Link) else value for name, value in wanted.items()})
        if verdict is not True:
            problems.append(verdict if isinstance(verdict, str) else "its inputs were refused by the node's own check.")
    return replace(node, inputs=values), problems


def _missing(socket: Socket) -> str:
    if socket.widget:
        return f"input '{socket.name}' has no value."
    return f"input '{socket.name}' ({socket.type}) is not connected."


def _check_link(link: Link, socket: Socket, graph: Graph, registry: Registry) -> None:
    source = graph.nodes[link.node]
    types = registry.get(source.type).RETURN_TYPES
    if not 0 <= link.slot < len(types):
        raise UserError(
            f"input '{socket.name}' is linked to output {link.slot} of {source}, which has {len(types)} outputs."
        )
    if not types_match(types[link.slot], socket.type):
        raise UserError(f"input '{socket.name}' takes {socket.type}, but {source} gives {types[link.slot]}.")


def convert(value: Any, socket: Socket) -> Any:
    """`value` as the socket's type has it, as ComfyUI converts it; UserError where that fails."""
    kinds: dict[str, Callable[[Any], Any]] = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}
    change = kinds.get(socket.kind)
    if change is None:
        return value
    try:
        return change(value)
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"input '{socket.name}' takes {socket.type}, but holds {value!r}.") from None


def check_value(value: Any, socket: Socket) -> None:
    """UserError where a value is out of range, or is none of a combo's choices."""
    low, high = socket.options.get("min"), socket.options.get("max")
    if low is not None and not value >= low:
        raise UserError(f"input '{socket.name}' is {value}, the smallest allowed is {low}.")
    if high is not None and not value <= high:
        raise UserError(f"input '{socket.name}' is {value}, the largest allowed is {high}.")
    choices = socket.choices
    if choices is not None and value not in choices:
        raise UserError(f"input '{socket.name}' is {value!r}, but must be one of: {_listed(choices)}.")


def _listed(choices: list[Any]) -> str:
    shown: Iterator[str] = map(str, choices[:SHOWN_CHOICES])
    more = f", and {len(choices) - SHOWN_CHOICES} more" if len(choices) > SHOWN_CHOICES else ""
    return (", ".join(shown) + more) or "(nothing; the list is empty)"
