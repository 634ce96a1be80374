"""What the host at hand accepts and answers, as JSON: `python tests/contract.py`.

Run once against the stand-in and once against a real ComfyUI (its folder on PYTHONPATH); `test_host_contract.py`
compares the two answers.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

TYPES = [
    "Boolean", "Int", "Float", "String", "Combo", "Image", "Mask", "Audio", "Video", "Mesh", "AnyType", "MultiType",
]  # fmt: skip
"""Socket types that the pack may use."""

CORE_MODULES = ["audio", "hunyuan3d", "preview_any", "primitive", "video"]
"""Parts of `comfy_extras` that hold core nodes which run headless; the others are in `nodes.py`."""


def facts(folder: Path) -> dict[str, Any]:
    """Everything that is compared. folder: an empty one for the host's inputs and outputs."""
    import pack

    sys.argv = [sys.argv[0], "--cpu"]  # ComfyUI reads its options on import
    try:
        import comfy.options
    except ModuleNotFoundError:
        pass
    else:
        comfy.options.enable_args_parsing()
    pack.load()
    import toy_nodes
    from portrait_rig.nodes import NODES, folders, host

    (folder / "in").mkdir()
    folders.use_folders(folder / "in", folder / "out")
    sample = _sample(host.io)
    inside = host.INSIDE_COMFYUI
    return {
        "inside": inside,
        "inputs": {name: _options(getattr(host.io, name), inside) for name in TYPES},
        "enums": {
            name: {member.name: member.value for member in getattr(host.io, name)}
            for name in ("FolderType", "UploadType", "NumberDisplay", "Hidden")
        },
        "schema": list(inspect.signature(host.io.Schema).parameters),
        "functions": {
            f"{module.__name__.rpartition('.')[2]}.{name}": list(inspect.signature(getattr(module, name)).parameters)
            for module, name in _functions(host)
        },
        "nodes": {
            node.GET_SCHEMA().node_id: {k: v for k, v in node.GET_NODE_INFO_V1().items() if k != "python_module"}
            for node in [sample, *toy_nodes.TOYS, *NODES]
        },
        "executed": _execute(toy_nodes, host),
        "saved": _saved_names(folders, folder),
        "shown": host.ui.PreviewText("hello").as_dict(),
        "result": host.ui.SavedResult("a.png", "sub", host.io.FolderType.output),
        "containers": host.Types.VideoContainer.as_input(),
        "codecs": host.Types.VideoCodec.as_input(),
        "core": _core_nodes(inside),
    }


def _options(kind: Any, inside: bool) -> list[str]:
    """Names that its `Input` takes."""
    if inside:
        return sorted(set(inspect.signature(kind.Input.__init__).parameters) - {"self"})
    own = {"types"} if kind.io_type == "COMFY_MULTITYPED_V3" else set()
    return sorted({"id", "optional", "extra_dict", *kind.Input.keys, *own})


def _functions(host: Any) -> list[tuple[Any, str]]:
    """What host.py calls."""
    return [
        *((host._mm, name) for name in (
            "get_torch_device", "intermediate_device", "free_memory", "soft_empty_cache",
            "throw_exception_if_processing_interrupted", "interrupt_current_processing",
        )),
        *((host._utils, name) for name in ("ProgressBar", "set_progress_bar_global_hook")),
        *((host.folder_paths, name) for name in (
            "get_filename_list", "get_full_path", "get_input_directory", "get_output_directory", "get_temp_directory",
            "set_input_directory", "set_output_directory", "set_temp_directory", "annotated_filepath",
            "get_save_image_path",
        )),
    ]  # fmt: skip


def _sample(io: Any) -> Any:
    """A node that uses every option there is."""

    class Sample(io.ComfyNode):
        @classmethod
        def define_schema(cls):
            return io.Schema(
                node_id="Sample",
                display_name="Sample",
                category="c",
                description="d",
                inputs=[
                    io.Image.Input("image", tooltip="t", display_name="Picture", lazy=False, raw_link=False),
                    io.Mask.Input("mask", optional=True, extra_dict={"advanced": True, "gone": None}),
                    io.Int.Input("n", default=1, min=0, max=9, step=1, display_mode=io.NumberDisplay.slider,
                                 control_after_generate=True, socketless=True, force_input=False),
                    io.Float.Input("x", default=1.0, round=0.1, step=0.1, force_input=True),
                    io.String.Input("text", multiline=True, placeholder="p", dynamic_prompts=False),
                    io.Boolean.Input("on", default=True, label_on="yes", label_off="no"),
                    io.Combo.Input("file", options=["a", "b"], default="a", upload=io.UploadType.image,
                                   image_folder=io.FolderType.output, control_after_generate=False),
                    io.MultiType.Input("many", types=[io.Float, io.Image], optional=True),
                    io.MultiType.Input(io.Int.Input("more", default=3), types=[io.Int, io.Float]),
                    io.AnyType.Input("any"),
                    io.Custom("A_TYPE").Input("own"),
                ],
                outputs=[io.Image.Output(), io.Mask.Output("m"), io.Float.Output(display_name="f", tooltip="t"),
                         io.Custom("A_TYPE").Output("own_out", is_output_list=True)],
                is_output_node=True, is_experimental=True, is_deprecated=True, not_idempotent=True,
            )  # fmt: skip

        @classmethod
        def execute(cls, **inputs):
            return None

    return Sample


def _execute(toy_nodes: Any, host: Any) -> dict[str, Any]:
    """One node that optimises, run the way the host runs it; and whether a bare tensor is refused."""
    import torch

    class Bare(host.io.ComfyNode):
        @classmethod
        def define_schema(cls):
            return host.io.Schema(node_id="Bare", outputs=[host.io.Image.Output()])

        @classmethod
        def execute(cls):
            return torch.zeros(1)

    with torch.inference_mode():
        clone = toy_nodes.Brighten.PREPARE_CLASS_CLONE({"hidden_inputs": {host.io.Hidden.unique_id: "3"}})
        result = clone.EXECUTE_NORMALIZED(image=torch.full((1, 2, 2, 3), 0.5), steps=2)
        try:
            Bare.EXECUTE_NORMALIZED()
            refused = False
        except Exception as error:  # noqa: BLE001 - its kind is the host's affair
            refused = "Invalid return type" in str(error)
    return {
        "values": result[0].flatten().tolist(),
        "results": len(result.result),
        "id": clone.hidden.unique_id,
        "bare refused": refused,
    }


def _saved_names(folders: Any, folder: Path) -> list[Any]:
    """How output files are numbered."""
    found = []
    for prefix in ("a", "sub/a", "sub/a", "size_%width%x%height%"):
        file = folders.output_path(prefix, ".bin", (2, 3))
        file.path.touch()
        found.append([file.path.relative_to(folder).as_posix(), file.result])
    return found


def _core_nodes(inside: bool) -> dict[str, Any]:
    """Ids, inputs and outputs of the core nodes that run headless."""
    from portrait_rig.headless.core_nodes import CORE_NODES

    if not inside:
        return {node.GET_SCHEMA().node_id: _signature(node) for node in CORE_NODES}
    import nodes

    classes = dict(nodes.NODE_CLASS_MAPPINGS)
    for name in CORE_MODULES:
        try:
            module = importlib.import_module(f"comfy_extras.nodes_{name}")
        except Exception as error:  # noqa: BLE001 - torchaudio refuses a torch that it was not built for
            print(f"comfy_extras.nodes_{name} cannot be compared: {error}", file=sys.stderr)
            continue
        classes |= getattr(module, "NODE_CLASS_MAPPINGS", {})
        if hasattr(module, "comfy_entrypoint"):
            extension = asyncio.run(module.comfy_entrypoint())
            classes |= {node.GET_SCHEMA().node_id: node for node in asyncio.run(extension.get_node_list())}
    ids = [node.GET_SCHEMA().node_id for node in CORE_NODES]
    return {node_id: _signature(classes[node_id]) for node_id in ids if node_id in classes}


def _signature(node: Any) -> dict[str, Any]:
    """What a workflow depends on: names, order, types, defaults and limits of inputs; types of outputs."""
    kept = ("default", "min", "max", "control_after_generate", "image_upload", "audio_upload", "video_upload")
    inputs = {}
    for group in ("required", "optional"):
        for name, (kind, *options) in node.INPUT_TYPES().get(group, {}).items():
            found = options[0] if options else {}
            kind = "COMBO" if isinstance(kind, list) else kind
            inputs[name] = [group, str(kind), {key: found[key] for key in kept if key in found}]
    return {
        "inputs": list(inputs.items()),
        "outputs": list(node.RETURN_TYPES),
        "output node": bool(getattr(node, "OUTPUT_NODE", False)),
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        print("\n" + json.dumps(facts(Path(temporary).resolve())))
