"""The few nodes of ComfyUI's core that the pack's workflows use, under its ids, input names and types (0.8.0)."""

from __future__ import annotations

from ...nodes.host import io
from . import clips, pictures, values

CORE_NODES: list[type[io.ComfyNode]] = [*pictures.NODES, *clips.NODES, *values.NODES]
