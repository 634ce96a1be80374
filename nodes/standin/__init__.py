"""What the pack uses of ComfyUI 0.8.0, for machines without ComfyUI: same names, same arguments, nothing more.

Strict on purpose: an option, an attribute or a return value that ComfyUI would refuse is refused here as well, so that
a node which passes its tests also loads there. A contract test compares this package with a real `comfy_api`. Only
`nodes.host` imports it.
"""

from __future__ import annotations

from . import folder_paths, io, media, runtime

__all__ = ["ComfyExtension", "InputImpl", "Types", "folder_paths", "io", "runtime", "ui"]

ui = media


class ComfyExtension:
    """What `comfy_entrypoint` returns."""

    async def on_load(self) -> None:
        """Called by newer hosts once the extension is loaded."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        raise NotImplementedError


class Types:
    """Values of the host's own sockets."""

    MESH = media.MESH
    VideoComponents = media.VideoComponents
    VideoContainer = media.VideoContainer
    VideoCodec = media.VideoCodec


class InputImpl:
    """Clips."""

    VideoFromFile = media.VideoFromFile
    VideoFromComponents = media.VideoFromComponents
