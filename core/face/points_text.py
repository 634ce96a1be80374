"""Landmarks as text: JSON that is typed into a node, read from a file, or written for later.

What is understood, always in pixels (x to the right, y down, the centre of the first pixel at 0.5):

    FACE    [[x, y], …] with 5, 68, 468 or 478 points in the order of their markup; a third number a point is ignored
    FRAME   FACE, or null for no face, or {"faces": [FACE, …]} for any number of them
    text    one FACE: the same points in every frame
            [FRAME, …]: one entry a frame
            [[FACE, …], …]: for every frame the list of its faces
            {NAME: any of the above} with the name points, mediapipe478 or ibug68 — the first of these that is there —
            and, optionally, width and height of the picture that was measured, where it differs from the connected one
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch

from ..errors import UserError
from ..types import MARKUPS, Landmarks
from .landmarks import MESH_POINTS, Face

NAMES = ("points", "mediapipe478", "ibug68")
POINT_COUNTS = tuple(sorted({*MARKUPS, *MESH_POINTS}))
MAXIMUM_BYTES = 64 << 20
"""A longer file is not read: an hour of 478 points at 30 frames a second fits ten times over when rounded to pixels."""

_EXPECTED = (
    "Expected one face as [[x, y], …] with "
    + ", ".join(map(str, POINT_COUNTS[:-1]))
    + f" or {POINT_COUNTS[-1]} points, a list with one face or null a frame, or such a list under one of the names "
    + ", ".join(NAMES)
    + "."
)


def parse(text: str, size: tuple[int, int], frames: int = 1) -> list[list[Face]]:
    """Points text -> for each of `frames` frames its faces, in pixels of a picture of `size` (H, W).

    A single frame's points go with any number of frames. UserError says what in the text is not understood.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, ValueError) else "it is nested too deeply"
        raise UserError(f"The points text is no valid JSON: {reason}. {_EXPECTED}") from None
    ratio = (1.0, 1.0)
    if isinstance(value, dict):
        ratio = _ratio(value, size)
        name = next((name for name in NAMES if name in value), None)
        if name is None and "faces" not in value:
            raise UserError(f"The points text holds the names {', '.join(list(value)[:8]) or 'none'}. {_EXPECTED}")
        value = [value] if name is None else value[name]
    listed = [value] if value is None or _is_face(value) else value
    if not isinstance(listed, list):
        raise UserError(f"The points text holds {type(value).__name__} where points should be. {_EXPECTED}")
    found = [[_face(face, ratio) for face in _faces(frame)] for frame in listed]
    if len(found) == frames:
        return found
    if len(found) == 1:
        return found * frames
    raise UserError(
        f"The points text has {len(found)} frames, the picture batch {frames}. Give one frame for all or one for each; "
        'several faces of one picture are written {"faces": [face, face]}.'
    )


def read(path: Path) -> str:
    """The text of a points file; UserError where it is too long or no text."""
    try:
        if path.stat().st_size > MAXIMUM_BYTES:
            raise UserError(f"'{path.name}' is larger than {MAXIMUM_BYTES >> 20} MB, too large for a points file.")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError(f"'{path.name}' is no text file. {_EXPECTED}") from None
    except OSError as error:
        raise UserError(f"The points file '{path}' cannot be read: {error.strerror or error}.") from None


def write(landmarks: Landmarks) -> str:
    """Landmarks -> points text that `parse` reads back to within 0.005 pixels; frames without a face become null."""
    frames = [
        [[round(x, 2), round(y, 2)] for x, y in points.tolist()] if found else None
        for points, found in zip(landmarks.points, landmarks.found.tolist(), strict=True)
    ]
    return json.dumps({"height": landmarks.size[0], "width": landmarks.size[1], "points": frames})


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_point(value: Any) -> bool:
    return isinstance(value, list) and len(value) in (2, 3) and all(map(_is_number, value))


def _is_face(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and _is_point(value[0])


def _faces(frame: Any) -> list[Any]:
    """A FRAME, or a list of FACEs, as the list of its faces."""
    if frame is None:
        return []
    if isinstance(frame, dict) and isinstance(frame.get("faces"), list):
        return frame["faces"]
    if _is_face(frame):
        return [frame]
    if isinstance(frame, list):
        return [face for face in frame if face is not None]
    raise UserError(f"A frame of the points text is {json.dumps(frame)[:60]}. {_EXPECTED}")


def _face(value: Any, ratio: tuple[float, float]) -> Face:
    if not _is_face(value) or not all(map(_is_point, value)):
        raise UserError(f"A face of the points text is no list of [x, y] pairs: {json.dumps(value)[:60]}. {_EXPECTED}")
    if len(value) not in POINT_COUNTS:
        raise UserError(f"A face of the points text has {len(value)} points. {_EXPECTED}")
    if not all(math.isfinite(number) for point in value for number in point):
        raise UserError("The points text holds a NaN or infinite number; write null for a frame without a face.")
    return Face(torch.tensor([[point[0] * ratio[0], point[1] * ratio[1]] for point in value], dtype=torch.float32))


def _ratio(value: dict[str, Any], size: tuple[int, int]) -> tuple[float, float]:
    """Connected picture by measured picture, in x and y."""
    width, height = value.get("width", size[1]), value.get("height", size[0])
    if not (_is_number(width) and _is_number(height) and width > 0 and height > 0):
        raise UserError(f"The points text says width {width!r} and height {height!r}; both must be positive numbers.")
    return size[1] / width, size[0] / height
