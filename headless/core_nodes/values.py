"""Meshes out, plain values in and shown; ids and inputs as in ComfyUI 0.8.0, `comfy_extras`."""

from __future__ import annotations

import json
import sys
from typing import Any

from ...core.face.glb import save_glb
from ...nodes import folders, host
from ...nodes.host import io


class SaveGLB(io.ComfyNode):
    """Meshes as .glb files, with their texture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaveGLB",
            display_name="Save GLB",
            category="3d",
            inputs=[io.Mesh.Input("mesh"), io.String.Input("filename_prefix", default="mesh/ComfyUI")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, mesh: Any, filename_prefix: str) -> io.NodeOutput:
        results = []
        for one in host.mesh_in(mesh):
            file = folders.output_path(filename_prefix, ".glb")
            save_glb(one, file.path)
            results.append(file.result)
        return io.NodeOutput(ui={"3d": results})


class PreviewAny(io.ComfyNode):
    """Any value as text."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PreviewAny",
            display_name="Preview as Text",
            category="utils",
            inputs=[io.AnyType.Input("source")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, source: Any) -> io.NodeOutput:
        text = source if isinstance(source, str) else json.dumps(source, indent=4, default=str)
        return io.NodeOutput(ui={"text": (text,)})


def _primitive(node_id: str, display_name: str, socket: type, **options: Any) -> type[io.ComfyNode]:
    """A node that gives the value of its widget."""

    class Primitive(io.ComfyNode):
        @classmethod
        def define_schema(cls) -> io.Schema:
            return io.Schema(
                node_id=node_id,
                display_name=display_name,
                category="utils/primitive",
                inputs=[socket.Input("value", **options)],
                outputs=[socket.Output()],
            )

        @classmethod
        def execute(cls, value: Any) -> io.NodeOutput:
            return io.NodeOutput(value)

    return Primitive


NODES = [
    SaveGLB,
    PreviewAny,
    _primitive("PrimitiveString", "String", io.String),
    _primitive("PrimitiveStringMultiline", "String (Multiline)", io.String, multiline=True),
    _primitive("PrimitiveInt", "Int", io.Int, min=-sys.maxsize, max=sys.maxsize, control_after_generate=True),
    _primitive("PrimitiveFloat", "Float", io.Float, min=-sys.maxsize, max=sys.maxsize, step=0.1),
    _primitive("PrimitiveBoolean", "Boolean", io.Boolean),
]
