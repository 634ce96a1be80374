"""The nodes, and the door's list of them."""

from __future__ import annotations

from . import (
    face_find,
    face_fit,
    face_ganfit,
    face_params,
    face_render,
    folders,
    identity,
    invert,
    latent_files,
    latents,
    load,
    regress,
    rig,
    rig_embed,
    rig_sheet,
    rig_train,
    save,
    sheet,
    stylegan,
    texture,
    texture_train,
    toon,
    train,
)
from .host import ComfyExtension, io

NODES: list[type[io.ComfyNode]] = [
    *load.NODES,
    *face_find.NODES,
    *face_fit.NODES,
    *face_render.NODES,
    *face_ganfit.NODES,
    *regress.NODES,
    *identity.NODES,
    *face_params.NODES,
    *save.NODES,
    *stylegan.NODES,
    *latents.NODES,
    *latent_files.NODES,
    *invert.NODES,
    *rig.NODES,
    *rig_sheet.NODES,
    *rig_embed.NODES,
    *rig_train.NODES,
    *train.NODES,
    *texture.NODES,
    *texture_train.NODES,
    *toon.NODES,
    *sheet.NODES,
]
"""Every node of the pack, in the order of the menus."""


class PortraitRig(ComfyExtension):
    """What ComfyUI loads."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES


async def comfy_entrypoint() -> PortraitRig:
    """Called once by ComfyUI when it loads the pack."""
    folders.register_model_folder()
    return PortraitRig()
