"""Portrait Rig: 3D control over portraits with GANs, as ComfyUI nodes."""

if __package__:  # pytest imports this file without a package; ComfyUI and Python import it with one
    from .nodes import comfy_entrypoint

    WEB_DIRECTORY = "./nodes/web"
    __all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
