"""Face landmarks: the markups and how they follow from one another, and which of the faces in a picture is meant.

Pixels are those of `core.types`: continuous, x to the right, y down, the centre of the first pixel at (0.5, 0.5).
MediaPipe's normalised coordinates times the picture's size are in that convention already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import UserError
from ..types import Landmarks

MESH_POINTS = (468, 478)
"""Points of MediaPipe's face mesh without and with the irises' ten; only the latter is a markup of ours."""

# fmt: off
MEDIAPIPE_OF_IBUG = (
    162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389,  # jaw, from the picture's left
    71, 63, 105, 66, 107, 336, 296, 334, 293, 301,  # brows
    168, 197, 5, 4, 75, 97, 2, 326, 305,  # bridge, tip, wings of the nose
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,  # eyes
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,  # outer lips
    78, 82, 13, 312, 308, 317, 14, 87,  # inner lips
)
# fmt: on
"""For each of iBUG's 68 points the vertex of MediaPipe's face mesh that stands for it. The mesh follows the visible
outline only roughly, so the jaw's points sit a little inside on a turned head."""

LEFT_EYE, RIGHT_EYE = slice(36, 42), slice(42, 48)
"""Eyelid points among iBUG's 68; left and right as seen in the picture."""
EYE_CORNERS = ((36, 39), (42, 45))
"""Deep3DFaceRecon's five points take an eye as the middle of its two corners (util/preprocess.py, `extract_5p`)."""
MIRRORED_68 = (
    *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1),
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65,
)  # fmt: skip
"""For each of iBUG's 68 points the one that takes its place in the mirror image."""
NOSE_TIP = 30
MOUTH_CORNERS = (48, 54)

Which = Literal["largest", "left to right", "as listed"]
WHICH: tuple[Which, ...] = ("largest", "left to right", "as listed")
"""How the faces of a picture are counted: largest first, from left to right, or as their source lists them."""

Missing = Literal["error", "skip", "pass"]
MISSING: tuple[Missing, ...] = ("error", "skip", "pass")
"""What becomes of a frame without a face: refuse all, leave the frame out, or keep it with NaN points and score 0."""
MARKUP_OF_NOBODY = 68
"""Points of frames that 'pass' keeps where no frame at all holds a face, so that nothing tells the markup."""


@dataclass(frozen=True, eq=False)
class Face:
    """One face that was found. points: [N, 2] pixels. score: 0…1."""

    points: Tensor
    score: float = 1.0

    @property
    def area(self) -> float:
        """Of the upright box around the points, square pixels."""
        return (self.points.amax(0) - self.points.amin(0)).prod().item()

    @property
    def centre_x(self) -> float:
        return (self.points[:, 0].amax() + self.points[:, 0].amin()).item() / 2


Frames = Sequence[Sequence[Face]]
"""What a finder reports: for every frame its faces, none where there is none."""


def convert(landmarks: Landmarks, markup: int) -> Landmarks:
    """The same faces in a coarser markup: 478 -> 68 -> 5. UserError for a finer one, which nothing here can invent."""
    if markup == landmarks.markup:
        return landmarks
    if markup > landmarks.markup:
        raise UserError(
            f"{markup} points a face are needed, these landmarks hold {landmarks.markup}. The missing points cannot be "
            f"worked out from fewer; connect a finder that gives {markup} points, or type them as points text."
        )
    return Landmarks(convert_points(landmarks.points, markup), landmarks.score, landmarks.size)


def convert_points(points: Tensor, markup: int) -> Tensor:
    """[..., 468 or 478 or 68, 2] -> [..., 68 or 5, 2], differentiable."""
    if points.shape[-2] in MESH_POINTS:
        points = points[..., list(MEDIAPIPE_OF_IBUG), :]
    return points if markup == points.shape[-2] else five_points(points)


def five_points(points68: Tensor) -> Tensor:
    """[..., 68, 2 or 3] -> [..., 5, 2 or 3]: eye, eye, nose tip, mouth corner, mouth corner, each picture's left first.

    Source: Deep3DFaceRecon_pytorch, util/preprocess.py, `extract_5p`.
    """
    eyes = [points68[..., list(corners), :].mean(-2) for corners in EYE_CORNERS]
    rest = [points68[..., index, :] for index in (NOSE_TIP, *MOUTH_CORNERS)]
    return torch.stack([*eyes, *rest], dim=-2)


def choose(
    frames: Frames, size: tuple[int, int], which: Which = "largest", number: int = 1, missing: Missing = "error"
) -> tuple[Landmarks, Tensor]:
    """One face a frame -> (landmarks, kept [K] int64: the frames they belong to; all but those that 'skip' leaves out).

    number: 1 is the first of `which`; a frame that holds fewer faces counts as without one. UserError where 'error'
    meets a frame without a face, where 'skip' leaves nothing, and where faces differ in their number of points.
    """
    if which not in WHICH or missing not in MISSING:
        raise UserError(
            f"Faces are counted by one of {', '.join(WHICH)}, and a missing one is treated by one of "
            f"{', '.join(MISSING)}; got '{which}' and '{missing}'."
        )
    chosen = [_chosen(faces, which, number) for faces in frames]
    counts = {face.points.shape[0] for faces in frames for face in faces}
    if len(counts) > 1:
        raise UserError(
            f"The faces are marked with different numbers of points ({', '.join(map(str, sorted(counts)))}). "
            "Use one markup for all frames."
        )
    without = [index for index, face in enumerate(chosen) if face is None]
    if without and (missing == "error" or (missing == "skip" and len(without) == len(chosen))):
        raise UserError(_nobody(without, frames, which, number))
    kept = [index for index, face in enumerate(chosen) if face is not None or missing == "pass"]
    blank = Face(torch.full((counts.pop() if counts else MARKUP_OF_NOBODY, 2), torch.nan), 0.0)
    picked = [chosen[index] or blank for index in kept]
    points = torch.stack([face.points.float() for face in picked]) if picked else blank.points[None][:0]
    if points.shape[1] == MESH_POINTS[0]:
        points = convert_points(points, 68)
    return Landmarks(points, torch.tensor([face.score for face in picked]), size), torch.tensor(kept, dtype=torch.int64)


def from_core_payload(payload: Mapping[str, Any], size: tuple[int, int]) -> list[list[Face]]:
    """ComfyUI core's FACE_LANDMARKS -> faces, scaled to a picture of `size` (H, W) where it was found in another size.

    The payload's `frames` list, for every picture, its faces as {'landmarks_xy': [468 or 478, 2] pixels, 'score', …}.
    """
    if not isinstance(payload, Mapping) or "frames" not in payload:
        raise UserError(
            "These face landmarks lack the list 'frames' that ComfyUI's MediaPipe landmarker writes; connect the "
            "FACE_LANDMARKS output of that node."
        )
    found_in = payload.get("image_size") or size
    ratio = torch.tensor([size[1] / found_in[1], size[0] / found_in[0]])
    return [[_payload_face(face, ratio) for face in faces] for faces in payload["frames"]]


def move(landmarks: Landmarks, matrices: Tensor, size: tuple[int, int]) -> Landmarks:
    """The landmarks seen in another picture of `size` (H, W): matrices [B or 1, 3, 3], old pixels -> new pixels."""
    return Landmarks(move_points(landmarks.points, matrices), landmarks.score, size)


def move_points(points: Tensor, matrices: Tensor) -> Tensor:
    """[B, N, 2] points and [B or 1, 3, 3] affine matrices -> [B, N, 2], computed in float64, in the points' dtype."""
    matrices = matrices.to(points.device, torch.float64)
    moved = points.double() @ matrices[:, :2, :2].mT + matrices[:, None, :2, 2]
    return moved.to(points.dtype)


def mirrored_points(points: Tensor, width: float) -> Tensor:
    """[B, 68, 2] pixels on pictures of that width -> on their mirror images, differentiable."""
    points = points[:, list(MIRRORED_68)]
    return torch.stack([width - points[..., 0], points[..., 1]], -1)


def _chosen(faces: Sequence[Face], which: Which, number: int) -> Face | None:
    if which == "largest":
        faces = sorted(faces, key=lambda face: -face.area)
    elif which == "left to right":
        faces = sorted(faces, key=lambda face: face.centre_x)
    return faces[number - 1] if 1 <= number <= len(faces) else None


def _nobody(without: list[int], frames: Frames, which: Which, number: int) -> str:
    """The sentence for frames without the wanted face; counts frames from 1, as people do."""
    named = ", ".join(str(index + 1) for index in without[:8]) + (", …" if len(without) > 8 else "")
    where = "the picture" if len(frames) == 1 else f"{len(without)} of {len(frames)} pictures (number {named})"
    most = max(len(frames[index]) for index in without)
    if most:
        return f"Face number {number} ({which}) was asked for, but there are at most {most} in {where}. Choose another."
    return (
        f"No face was found in {where}. Use a picture that shows a face, give the face's points as text, or set what "
        "becomes of missing faces to 'skip' or 'pass'."
    )


def _payload_face(face: Mapping[str, Any], ratio: Tensor) -> Face:
    points = torch.as_tensor(face["landmarks_xy"]).to(torch.float32)
    if points.dim() != 2 or points.shape[0] not in MESH_POINTS or points.shape[1] < 2:
        raise UserError(
            f"A face of ComfyUI's landmarks has points of shape {list(points.shape)}; expected [468 or 478, 2]."
        )
    score = face.get("score", face.get("presence"))
    return Face(points[:, :2] * ratio, 1.0 if score is None else float(score))
