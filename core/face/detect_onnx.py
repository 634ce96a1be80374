"""Running networks in ONNX files through onnxruntime, where it is installed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError

PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
"""Where onnxruntime computes: those that this installation has, in this order."""


@dataclass(frozen=True, eq=False)
class OnnxModel:
    """A network that takes pictures. name: of its file. size: (H, W) of its input, None where any will do."""

    name: str
    session: Any
    size: tuple[int, int] | None

    def run(self, pictures: np.ndarray) -> list[np.ndarray]:
        """[B, 3, H, W] float32 -> all outputs, in the file's order. UserError where the network fails on them."""
        try:
            return self.session.run(None, {self.session.get_inputs()[0].name: pictures})
        except Exception as error:  # noqa: BLE001 (onnxruntime's own errors share no other class)
            raise UserError(
                f"The network in '{self.name}' fails on pictures {list(pictures.shape)} ({_reason(error)}). "
                "Use the file as its authors published it."
            ) from None


def open_model(path: Path) -> OnnxModel:
    """The network in a file. UserError where onnxruntime is missing, or the file holds no network for pictures."""
    runtime = _onnxruntime()
    providers = [name for name in PROVIDERS if name in runtime.get_available_providers()]
    try:
        session = runtime.InferenceSession(str(path), providers=providers)
    except Exception as error:  # noqa: BLE001 (as above)
        raise UserError(
            f"onnxruntime {runtime.__version__} cannot open '{path.name}' ({_reason(error)}). Fetch the file again, it "
            "may be cut short or a web page."
        ) from None
    taken = [tuple(each.shape) for each in session.get_inputs()]
    if len(taken) != 1 or len(taken[0]) != 4 or taken[0][1] != 3:
        raise UserError(f"'{path.name}' takes {taken}, but a network for pictures takes one input [B, 3, H, W].")
    height, width = taken[0][2:]
    fixed = isinstance(height, int) and isinstance(width, int)
    return OnnxModel(path.name, session, (height, width) if fixed else None)


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise UserError(
            "insightface's networks run in onnxruntime, which is not installed. Install it by `pip install "
            "onnxruntime`, or choose another source of landmarks."
        ) from None
    return onnxruntime


def _reason(error: Exception) -> str:
    """The last line of an error that may have many."""
    return (str(error).strip().splitlines() or ["no reason given"])[-1].strip()[:200]
