"""The command `nodes`: every node with its sockets, for people or as JSON."""

from __future__ import annotations

import json
from typing import Any

from ..nodes.host import io
from .registry import Registry, Socket, sockets


def as_text(registry: Registry) -> str:
    """One block a node: id, name, inputs with type, default and range, outputs."""
    return "\n\n".join(_block(node) for node in registry.classes.values())


def as_json(registry: Registry) -> str:
    """What ComfyUI's server answers to /object_info, for these nodes."""
    info = {name: _plain(node.GET_NODE_INFO_V1()) for name, node in registry.classes.items()}
    return json.dumps(info, indent=2, default=str)


def _block(node: type[io.ComfyNode]) -> str:
    schema = node.GET_SCHEMA()
    lines = [f"{schema.node_id}  {schema.display_name or ''}".rstrip()]
    if schema.description:
        lines.append(f"    {schema.description}")
    lines += [f"    in   {_described(socket)}" for socket in sockets(node).values()]
    for name, kind in zip(node.RETURN_NAMES, node.RETURN_TYPES, strict=True):
        lines.append(f"    out  {name}: {kind}")
    return "\n".join(lines)


def _described(socket: Socket) -> str:
    notes = [] if socket.required else ["optional"]
    options = socket.options
    if socket.choices is not None:
        notes.append("one of " + (", ".join(map(str, socket.choices)) or "(no files yet)"))
    if "min" in options or "max" in options:
        notes.append(f"{options.get('min', '')}…{options.get('max', '')}")
    if options.get("default") not in (None, ""):
        notes.append(f"default {options['default']}")
    return f"{socket.name}: {socket.type}" + (f" ({'; '.join(notes)})" if notes else "")


def _plain(info: Any) -> dict[str, Any]:
    """Without what depends on the host it was asked in."""
    return {key: value for key, value in info.items() if key != "python_module"}
