"""Every morphable model that is understood, and the one way to load one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checkpoints import Checkpoint, read
from ..errors import UserError
from . import bfm, flame, ict, toon
from .model import FaceModel

DEFAULT = Path(__file__).resolve().parents[2] / "weights" / "toon_head.safetensors"
"""The embedded head, free to use."""


@dataclass(frozen=True)
class Family:
    """One kind of file. name: what people call it, with the file to look for.

    matches: tells the kind from a file's arrays and plain metadata. build: makes the model of them, and of the arrays
    of those `companions` (file names) that lie beside the file.
    """

    name: str
    matches: Callable[[Mapping[str, Tensor], Mapping[str, Any]], bool]
    build: Callable[[Mapping[str, Tensor], Mapping[str, Any], Mapping[str, Mapping[str, Tensor]]], FaceModel]
    companions: tuple[str, ...] = ()


MODELS = (
    Family("the toon head (toon_head.safetensors)", toon.matches, lambda t, m, _: toon.from_tensors(t, m)),
    Family("ICT-FaceKit (its folder FaceXModel, or packed .safetensors)", ict.matches,
           lambda t, m, _: ict.from_tensors(t, m)),
    Family("FLAME (generic_model.pkl, flame2023.pkl, flame2023_Open.pkl)", flame.matches, flame.from_tensors,
           flame.COMPANIONS),
    Family("the Basel Face Model 2009 as Deep3D crops it (BFM_model_front.mat)", bfm.matches,
           lambda t, m, _: bfm.from_tensors(t, m)),
)  # fmt: skip


def load_face_model(path: str | Path = DEFAULT) -> FaceModel:
    """The face model in a file or folder, on the CPU in float32, ready for gradients to pass through.

    UserError where the file is missing, damaged, or no face model that is known here.
    """
    checkpoint = read(path)
    folder = checkpoint.path.parent
    companions = [read(folder / name) for name in recognise(checkpoint).companions if (folder / name).is_file()]
    return face_model_of(checkpoint, companions)


def face_model_of(checkpoint: Checkpoint, companions: Sequence[Checkpoint] = ()) -> FaceModel:
    """The face model in files that were read already; companions: those that lie beside it, in any order."""
    family = recognise(checkpoint)
    beside = {companion.path.name: companion.tensors for companion in companions}
    try:
        with torch.inference_mode(False), torch.no_grad():
            model = family.build(checkpoint.tensors, checkpoint.metadata, beside)
            _check(model)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        files = f"'{checkpoint.path.name}'" + (f" (with {', '.join(beside)} beside it)" if beside else "")
        raise UserError(
            f"{files} looks like {family.name}, but is damaged or incomplete: {_first_line(error)}. "
            "Download it again, or choose another file."
        ) from error
    return model


def recognise(checkpoint: Checkpoint) -> Family:
    """The one family whose file this is; UserError where there is none."""
    for family in MODELS:
        if family.matches(checkpoint.tensors, checkpoint.metadata):
            return family
    known = "; ".join(family.name for family in MODELS)
    raise UserError(
        f"'{checkpoint.path.name}' in '{checkpoint.path.parent}' holds no face model that is understood here. "
        f"Understood are: {known}. It holds: {', '.join(checkpoint.top_names()) or 'nothing'}. Choose another file."
    )


def _check(model: FaceModel) -> None:
    """ValueError where the arrays of a model contradict each other, as those of a damaged file do."""
    zeros = (torch.zeros(1, len(model.identity)), torch.zeros(1, len(model.expression)))
    mean = model.vertices(*zeros, torch.zeros(1, len(model.joints), 3))
    colours = model.vertex_albedo(torch.zeros(1, len(model.albedo)))
    if mean.shape != colours.shape or mean.shape[2] != 3:
        raise ValueError(f"{list(mean.shape)} vertices, {list(colours.shape)} colours")
    if not (mean.isfinite().all() and colours.isfinite().all() and model.uv.isfinite().all() and model.height > 0):
        raise ValueError("its mean face is not finite")
    triangles = len(model.faces)
    _check_numbers("triangles", model.faces, mean.shape[1])
    _check_numbers("texture triangles", model.uv_faces, len(model.uv))
    if model.faces.shape != (triangles, 3) or model.uv_faces.shape != (triangles, 3):
        raise ValueError(f"{list(model.faces.shape)} triangles, {list(model.uv_faces.shape)} texture triangles")
    if model.face_region.shape != (triangles,) or model.skin_region.shape != (triangles,):
        raise ValueError("its regions have another number of triangles")
    if model.contour is not None:
        _check_numbers("contour", model.contour, mean.shape[1])
    if model.landmark_faces is not None:
        _check_numbers("landmarks", model.landmark_faces, triangles)
        if model.landmarks(mean, torch.eye(3)[None]).shape != (1, 68, 3):
            raise ValueError(f"{len(model.landmark_faces)} landmarks instead of 68")


def _check_numbers(name: str, numbers: Tensor, count: int) -> None:
    if numbers.numel() == 0 or int(numbers.min()) < 0 or int(numbers.max()) >= count:
        raise ValueError(f"its {name} use numbers outside 0 to {count - 1}")


def _first_line(error: Exception) -> str:
    """What went wrong, short enough for a sentence; a missing name comes as its name alone."""
    text = str(error).strip().split("\n")[0].rstrip(".")
    return f"there is no {text}" if isinstance(error, KeyError) else text or type(error).__name__
