"""Face parameters on disk: one .safetensors file with everything but the face model itself.

Tensors carry the names of `FaceParams`' fields, the camera's with `camera.` in front. Metadata: format, version, layout
(the face model they belong to), camera_height, camera_width, camera_perspective.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from torch import Tensor

from ..checkpoints import read, save_safetensors
from ..errors import UserError
from ..types import SH_BANDS, Camera, FaceParams

FORMAT = "portrait_rig.face_params"
VERSION = 1
"""Raised when a reader of this version would misunderstand a file."""

SHAPES = {
    "identity": (None, None),
    "expression": (None, None),
    "albedo": (None, None),
    "joints": (None, None, 3),
    "angles": (None, 3),
    "translation": (None, 3),
    "light": (None, SH_BANDS, 3),
    "camera.focal": (None,),
    "camera.principal": (None, 2),
}
"""What a file must hold; None is any number. `texture` [B or 1, 3, S, S] may be there as well."""


def save_face_params(params: FaceParams, path: Path) -> None:
    """Writes the file in one piece: a failure leaves what was there before."""
    tensors = {f.name: value for f in fields(params) if isinstance(value := getattr(params, f.name), Tensor)}
    tensors |= {"camera.focal": params.camera.focal, "camera.principal": params.camera.principal}
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "layout": params.layout,
        "camera_height": str(params.camera.size[0]),
        "camera_width": str(params.camera.size[1]),
        "camera_perspective": str(int(params.camera.perspective)),
    }
    save_safetensors(path, {name: tensor.float() for name, tensor in tensors.items()}, metadata)


def load_face_params(path: Path) -> FaceParams:
    """Reads what `save_face_params` wrote; UserError for any other file, with its name."""
    checkpoint = read(path)
    metadata, tensors = checkpoint.metadata, checkpoint.tensors
    if metadata.get("format") != FORMAT:
        raise UserError(f"'{path.name}' holds no face parameters. Choose a file that Save Face Params wrote.")
    if metadata.get("version") != str(VERSION):
        raise UserError(
            f"'{path.name}' holds face parameters of version {metadata.get('version')}, this pack reads {VERSION}. "
            "Update the pack."
        )
    _check(path, tensors)
    try:
        size = int(metadata["camera_height"]), int(metadata["camera_width"])
        layout, perspective = metadata["layout"], bool(int(metadata["camera_perspective"]))
    except (KeyError, ValueError) as error:
        raise UserError(f"'{path.name}' lacks its camera or layout ({error}). Save the parameters again.") from None
    camera = Camera(tensors["camera.focal"], tensors["camera.principal"], size, perspective)
    values = {name: tensors[name] for name in SHAPES if "." not in name}
    return FaceParams(layout=layout, camera=camera, texture=tensors.get("texture"), **values)


def _check(path: Path, tensors: dict[str, Tensor]) -> None:
    missing = sorted(SHAPES.keys() - tensors.keys())
    if missing:
        raise UserError(f"'{path.name}' lacks {', '.join(missing)}. The file is damaged; save the parameters again.")
    frames = tensors["angles"].shape[0] if tensors["angles"].dim() else 0
    shapes = SHAPES | ({"texture": (None, 3, None, None)} if "texture" in tensors else {})
    for name, wanted in shapes.items():
        found = tensors[name].shape
        fits = len(found) == len(wanted) and all(w in (None, f) for w, f in zip(wanted, found, strict=True))
        if not fits or found[0] not in (1, frames):
            expected = ", ".join("any" if w is None else str(w) for w in (frames, *wanted[1:]))
            raise UserError(f"'{path.name}' holds {name} of shape {list(found)}; expected [{expected}].")
        if not tensors[name].is_floating_point() or not tensors[name].isfinite().all():
            raise UserError(f"'{path.name}' holds {name} values that are no (finite) numbers. The file is damaged.")
