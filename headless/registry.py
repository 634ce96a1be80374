"""Which nodes there are, and what their sockets look like."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..nodes.host import io

WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
"""Types whose value a person can type; all others need a link."""
EMPTY = {"INT": 0, "FLOAT": 0.0, "STRING": "", "BOOLEAN": False}
"""What the editor shows where a schema names no default."""


@dataclass(frozen=True)
class Socket:
    """One input of a node. type: one name, or several with commas. options: as in ComfyUI's V1 dictionary."""

    name: str
    type: str
    required: bool
    options: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """The type of its widget, which an input of several types names apart."""
        return self.options.get("widgetType", self.type)

    @property
    def widget(self) -> bool:
        """Whether the editor shows a widget for it."""
        return self.kind in WIDGET_TYPES and not self.options.get("forceInput")

    @property
    def default(self) -> Any:
        """What a new node's widget shows."""
        if "default" in self.options:
            return self.options["default"]
        if self.choices:
            return self.choices[0]
        return EMPTY.get(self.kind)

    @property
    def choices(self) -> list[Any] | None:
        """The allowed values of a combo, None for other types."""
        return list(self.options.get("options") or ()) if self.kind == "COMBO" else None


@dataclass(frozen=True)
class Registry:
    """Node classes by id."""

    classes: Mapping[str, type[io.ComfyNode]]

    @classmethod
    def of(cls, nodes: Iterable[type[io.ComfyNode]]) -> Registry:
        return cls({node.GET_SCHEMA().node_id: node for node in nodes})

    def get(self, node_type: str) -> type[io.ComfyNode] | None:
        return self.classes.get(node_type)

    def title(self, node_type: str) -> str:
        """The name shown to people, the id itself for unknown nodes."""
        node = self.get(node_type)
        return node_type if node is None else node.GET_SCHEMA().display_name or node_type

    def nearest(self, node_type: str) -> str | None:
        """The known id that looks most like `node_type`."""
        lowered = {name.lower(): name for name in self.classes}
        found = difflib.get_close_matches(node_type.lower(), lowered, n=1)
        return lowered[found[0]] if found else None


def sockets(node: type[io.ComfyNode]) -> dict[str, Socket]:
    """A node's inputs by name, in the order of its schema's groups: required, then optional."""
    types = node.INPUT_TYPES()
    return {
        name: Socket(name, kind, group == "required", options)
        for group in ("required", "optional")
        for name, (kind, options) in types.get(group, {}).items()
    }


def everything() -> Registry:
    """The pack's nodes and those of ComfyUI's core that workflows need here."""
    from ..nodes import NODES
    from .core_nodes import CORE_NODES

    return Registry.of([*CORE_NODES, *NODES])
