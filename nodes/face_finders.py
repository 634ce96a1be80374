"""Which finders of faces there are on this machine, where their files lie, and which of them 'auto' takes."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from ..core.errors import UserError
from ..core.face import detect, detect_points, detect_scrfd
from ..core.face.detect_onnx import open_model
from ..core.face.landmarks import Frames
from ..core.methods import find_toon
from . import folders, host

TOON, INSIGHTFACE, YUNET = "toon", "insightface", "YuNet"
MARKERS = {"insightface 1k3d68": "1k3d68.onnx", "insightface 2d106det": "2d106det.onnx"}
"""Sources of 68 points, and insightface's files that mark what its detector has found."""
DETECTORS = ("det_10g.onnx", "det_2.5g.onnx", "det_500m.onnx")
"""insightface's detectors, the best first; files whose names begin with DETECTOR_NAMES come after them."""
DETECTOR_NAMES = ("det_", "scrfd_")
INSIGHTFACE_ORIGIN = "insightface's packs buffalo_l and antelopev2 (github.com/deepinsight/insightface, releases)"
INSIGHTFACE_LICENCE = "non-commercial research only"
YUNET_ORIGIN = "OpenCV's model zoo, models/face_detection_yunet"
YUNET_LICENCE = "MIT"
SURE_OF_TOON = 0.95
"""Score from which 'auto' believes the embedded finder, which knows drawn faces only: 24 toon portraits and a rendered
film character had 0.97 and more, photographs, paintings and statues 0.86 to 0.94 at most, by the picture's size."""


@dataclass(frozen=True)
class Finder:
    """One way to find faces. installed: whether all that it needs is on this machine. find: pictures [B, 3, H, W] RGB
    0…1 and the lowest score to report -> every picture's faces. sure: the lowest score that 'auto' believes.
    """

    name: str
    installed: Callable[[], bool]
    find: Callable[[Tensor, float], Frames]
    sure: float = 0.0


def find(source: str, pictures: Tensor, minimum_score: float) -> Frames:
    """The faces that the finder `source` finds; UserError names what it lacks."""
    return next(finder for finder in FINDERS if finder.name == source).find(pictures, minimum_score)


def find_automatically(pictures: Tensor, minimum_score: float = find_toon.MINIMUM_SCORE) -> Frames:
    """Faces by the first installed finder that finds one in every picture, else by the one that finds them in most.

    All pictures of a call are marked by the same finder. UserError where none but drawn faces could be looked for and
    none was found.
    """
    installed = [finder for finder in FINDERS if finder.installed()]
    best: Frames = [[] for _ in pictures]
    for finder in installed:
        found = finder.find(pictures, max(minimum_score, finder.sure))
        if all(found):
            return found
        best = max(best, found, key=lambda frames: sum(map(bool, frames)))
    if not any(best) and all(finder.name == TOON for finder in installed):
        _refuse_photographs()
    return best


def _refuse_photographs() -> None:
    try:
        _yunet()
    except UserError as missing:
        raise UserError(
            "The embedded finder is sure of no drawn face here, and photographs need another. "
            f"{missing} The source '{TOON}' takes what the embedded one is less sure of."
        ) from None


def _find_toon(pictures: Tensor, minimum_score: float) -> Frames:
    path = folders.model_path(find_toon.DEFAULT.name)
    with host.loading():
        finder = find_toon.load_toon_finder(path)
    return finder.find(pictures, minimum_score)


def _find_five(pictures: Tensor, minimum_score: float) -> Frames:
    detector = open_model(_insightface(_detector() or DETECTORS[0]))
    return detect_scrfd.five_of(detect_scrfd.find_with_scrfd(pictures, detector, minimum_score), detector.name)


def _find_marked(file: str, pictures: Tensor, minimum_score: float) -> Frames:
    detector = open_model(_insightface(_detector() or DETECTORS[0]))
    marker = open_model(_insightface(_file(file) or file))
    return detect_points.mark(pictures, detect_scrfd.find_with_scrfd(pictures, detector, minimum_score), marker)


def _find_with_yunet(pictures: Tensor, minimum_score: float) -> Frames:
    return detect.find_with_yunet(pictures, _yunet(), minimum_score)


# Files ---------------------------------------------------------------------------------------------------------------


def _onnx_files() -> list[str]:
    return folders.model_names({".onnx"}, also=[folders.INSIGHTFACE_FOLDER])


def _file(name: str) -> str | None:
    """Where in the model folders a file of that name lies."""
    return next((found for found in _onnx_files() if Path(found).name == name), None)


def _detector() -> str | None:
    """The best of insightface's detectors that is here."""
    others = [name for name in _onnx_files() if Path(name).name.startswith(DETECTOR_NAMES)]
    return next(filter(None, [*map(_file, DETECTORS), *others]), None)


def _yunet_file() -> str | None:
    """The newest YuNet that is here."""
    return max((name for name in folders.model_names({".onnx"}) if "yunet" in name.lower()), default=None)


def _insightface(name: str) -> Path:
    return folders.model_path(name, INSIGHTFACE_ORIGIN, INSIGHTFACE_LICENCE, also=[folders.INSIGHTFACE_FOLDER])


def _yunet() -> Path:
    return folders.model_path(_yunet_file() or detect.MODEL_NAME, YUNET_ORIGIN, YUNET_LICENCE)


def _runs_onnx() -> bool:
    return importlib.util.find_spec("onnxruntime") is not None


FINDERS = (
    Finder(TOON, lambda: find_toon.DEFAULT.name in folders.model_names(), _find_toon, SURE_OF_TOON),
    *(
        Finder(name, lambda file=file: bool(_runs_onnx() and _detector() and _file(file)), partial(_find_marked, file))
        for name, file in MARKERS.items()
    ),
    Finder(INSIGHTFACE, lambda: bool(_runs_onnx() and _detector()), _find_five),
    Finder(YUNET, lambda: _yunet_file() is not None, _find_with_yunet),
)
"""In the order in which 'auto' asks them: the embedded one is sure or silent, more points come before fewer."""
