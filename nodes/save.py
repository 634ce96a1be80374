"""Results out of the graph into files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..core.face.glb import save_glb
from . import folders, host
from .host import io


class SaveMesh(io.ComfyNode):
    """Meshes as .glb files with UVs and texture, which SaveGLB of ComfyUI 0.8.0 leaves out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigSaveMesh",
            display_name="Save Face Mesh (.glb)",
            category="Portrait Rig/face",
            description="Writes every mesh as a .glb file with normals, UVs and its texture, for Blender, game engines "
            "and the web.",
            inputs=[
                io.Mesh.Input("mesh", tooltip="One file is written for each mesh of the batch."),
                io.String.Input(
                    "filename_prefix",
                    default="mesh/face",
                    tooltip="Folder and name below the output folder; a number and .glb are added. "
                    "May hold %year%, %month%, %day%, %hour%, %minute%, %second%.",
                ),
            ],
            outputs=[
                io.String.Output(
                    display_name="file",
                    tooltip="The last file's path below the output folder; Preview 3D shows it.",
                )
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, mesh: Any, filename_prefix: str) -> io.NodeOutput:
        results = []
        for one in host.mesh_in(mesh):
            file = folders.output_path(filename_prefix, ".glb")
            save_glb(one, file.path)
            results.append(file.result)
        last = Path(results[-1]["subfolder"], results[-1]["filename"]).as_posix()
        return io.NodeOutput(last, ui={"3d": results})


NODES = [SaveMesh]
