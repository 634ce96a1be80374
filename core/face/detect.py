"""Finding faces in pictures with YuNet, the small detector that OpenCV runs, where its model file is present.

YuNet gives a face's five points and a score. Source: OpenCV, `cv2.FaceDetectorYN`; a row of its answer is box x, y,
width, height, then x, y of the subject's right eye, left eye, nose tip, right and left mouth corner, then the score.
The subject's right is the picture's left, so the points come in the order of our markup of five.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..errors import UserError
from .landmarks import Face

MODEL_NAME = "face_detection_yunet_2023mar.onnx"
"""File name in OpenCV's model zoo (opencv_zoo, models/face_detection_yunet, MIT)."""
MINIMUM_SCORE = 0.7
"""Faces below it are not reported. OpenCV's sample takes 0.9, which loses half-turned faces and paintings."""
OVERLAP = 0.3
"""Boxes that overlap more than this share (intersection over union) are one face; OpenCV's sample."""
CANDIDATES = 5000
"""Boxes kept before overlaps are merged; OpenCV's sample."""
LONGEST_SIDE = 1024
"""Larger pictures are shrunk to it before the search: YuNet finds faces of about 10 to 300 pixels."""


def find_with_yunet(pictures: Tensor, model: Path, minimum_score: float = MINIMUM_SCORE) -> list[list[Face]]:
    """Pictures [B, 3, H, W] RGB 0…1 -> for every picture its faces with five points, best score first.

    UserError where the file is no YuNet model or this OpenCV cannot run it.
    """
    cv2 = _opencv()
    height, width = pictures.shape[-2:]
    scale = min(1.0, LONGEST_SIDE / max(height, width, 1))
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    try:
        finder = cv2.FaceDetectorYN.create(str(model), "", size, minimum_score, OVERLAP, CANDIDATES)
        answers = [finder.detect(_shrunk(picture, size))[1] for picture in pictures]
    except (cv2.error, AttributeError) as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else "no reason given"
        raise UserError(
            f"OpenCV {cv2.__version__} cannot find faces with '{model.name}' ({reason}). "
            f"Use '{MODEL_NAME}' from OpenCV's model zoo and OpenCV 4.8 or newer."
        ) from None
    ratio = torch.tensor([width / size[0], height / size[1]])
    return [[_face(row, ratio) for row in ([] if rows is None else rows.tolist())] for rows in answers]


def _opencv():
    try:
        import cv2
    except ModuleNotFoundError:
        raise UserError(
            "YuNet runs in OpenCV, which is not installed. Install it by `pip install opencv-python-headless`, or take "
            "the landmarks from somewhere else."
        ) from None
    return cv2


def _shrunk(picture: Tensor, size: tuple[int, int]):
    """[3, H, W] RGB 0…1 -> OpenCV's uint8 BGR array of the given (width, height)."""
    cv2 = _opencv()
    bgr = picture.detach().clamp(0, 1).mul(255).round().to("cpu", torch.uint8).permute(1, 2, 0).flip(-1)
    array = bgr.contiguous().numpy()
    return array if array.shape[1::-1] == size else cv2.resize(array, size, interpolation=cv2.INTER_AREA)


def _face(row: list[float], ratio: Tensor) -> Face:
    return Face(torch.tensor(row[4:14]).view(5, 2) * ratio, min(max(row[14], 0.0), 1.0))
