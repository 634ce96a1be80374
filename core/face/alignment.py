"""Where published networks expect a face: five alignments, each a function from landmarks to a `Crop`.

Coordinates are continuous, as in `core.types`; authors who count pixel centres as whole numbers are met half a pixel
further on. Rounding and filters are the authors' too.

Frames without a face (NaN points) take the crop of the nearest frame that has one, so that a clip keeps its length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import UserError
from ..types import Landmarks
from .crop import Crop, Stage
from .landmarks import LEFT_EYE, MOUTH_CORNERS, RIGHT_EYE, convert_points
from .resampling import Filter

STANDARD_FIVE = (
    (-0.31148657, 0.29036078, 0.13377953),
    (0.30979887, 0.28972036, 0.13179526),
    (0.00325350, -0.04617932, 0.55244243),
    (-0.25216928, -0.38133916, 0.22405732),
    (0.24846620, -0.38128236, 0.22235769),
)
"""The five points of a mean face, x y z with y up. Source: Deep3DFaceRecon_pytorch, similarity_Lm3D_all.mat."""
DEEP3D_SIZE, DEEP3D_SCALE = 224, 102.0
"""Side of the crop, and pixels of it for one unit of STANDARD_FIVE (util/preprocess.py, `rescale_factor`)."""
EG3D_SIZE, EG3D_SCALE, EG3D_CENTRE, EG3D_OUTPUT = 1024, 300.0, 700, 512
"""As above with the middle square that is then cut out and its final side (eg3d, dataset_preprocessing/ffhq)."""
ARCFACE_SIZE = 112
ARCFACE_POINTS = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
"""Where the five points go in 112 × 112, pixel centres at whole numbers (insightface, face_align.py)."""
DECA_SIZE, DECA_SCALE, DECA_BOX_OF_68, DECA_LOWER = 224, 1.25, 1.1, 0.12
"""Side of the crop, crop side by box side, box side by extent of the 68 points, and how far in sides the centre of a
detector's box is moved down (DECA, datasets.py and detectors.py)."""
FFHQ_SIZE = 1024
FFHQ_EYES, FFHQ_MOUTH, FFHQ_DOWN = 2.0, 1.8, 0.1
"""Half side in distances between the eyes, or from eyes to mouth; how far below the eyes the centre lies (ffhq-dataset,
download_ffhq.py, `recreate_aligned_images`)."""
SMALLEST_FACE, SMALLEST_AREA = 1.0, 1e-9
"""Extent of a face's points in pixels, and factor on areas, below which landmarks are taken for broken."""
CENTRE = 0.5
"""From whole-number pixel centres to continuous coordinates."""

COINCIDE = "The points of the face (nearly) coincide, so that no crop follows from them. Check the landmarks."

Kind = Literal["FFHQ", "Deep3D", "EG3D", "ArcFace", "DECA"]


@dataclass(frozen=True, eq=False)
class PosFit:
    """Scaled orthographic pose of five points. scale: [B] pixels a unit. translation: [B, 2] pixels, y up."""

    scale: Tensor
    translation: Tensor


def align(landmarks: Landmarks, kind: Kind, size: int | None = None) -> Crop:
    """The crop of a published alignment; size: side in pixels, None for the size its authors use."""
    if kind not in ALIGNMENTS:
        raise UserError(f"'{kind}' is no alignment; choose one of {', '.join(ALIGNMENTS)}.")
    return ALIGNMENTS[kind](landmarks, SIZES[kind] if size is None else size)


def ffhq(landmarks: Landmarks, size: int = FFHQ_SIZE) -> Crop:
    """The alignment of FFHQ, which StyleGAN's faces have: turned and scaled by eyes and mouth; needs 5 points or more.

    Over the picture's border the picture is mirrored; the authors also blur the mirrored part.
    """
    quad = ffhq_quad(_filled(landmarks))
    origin, across, down = quad[:, 0], quad[:, 3] - quad[:, 0], quad[:, 1] - quad[:, 0]
    to_picture = _affine(torch.stack([across / size, down / size], dim=-1), origin)
    return _single("FFHQ", torch.linalg.inv(_require_area(to_picture)), size, "antialiased mirror", landmarks)


def ffhq_quad(points: Tensor) -> Tensor:
    """[B, N, 2] points -> [B, 4, 2] float64 corners: top left, bottom left, bottom right, top right."""
    points = points.double()
    if points.shape[1] == 5:
        left, right, mouth = points[:, 0], points[:, 1], points[:, 3:5].mean(1)
    else:
        points = convert_points(points, 68)
        left, right = points[:, LEFT_EYE].mean(1), points[:, RIGHT_EYE].mean(1)
        mouth = points[:, list(MOUTH_CORNERS)].mean(1)
    eyes, eye_to_eye = (left + right) / 2, right - left
    eye_to_mouth = mouth - eyes
    x = eye_to_eye - _quarter_turn(eye_to_mouth)
    half = torch.maximum(eye_to_eye.norm(dim=1) * FFHQ_EYES, eye_to_mouth.norm(dim=1) * FFHQ_MOUTH)
    x = functional.normalize(x, dim=1) * half[:, None]
    y = _quarter_turn(x)
    centre = eyes + eye_to_mouth * FFHQ_DOWN
    return torch.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y], dim=1)


def deep3d(landmarks: Landmarks, size: int = DEEP3D_SIZE, scale: float | None = None) -> Crop:
    """Deep3DFaceRecon's crop: scaled and shifted by the POS fit, not turned.

    scale: pixels of the crop for a unit of STANDARD_FIVE; None for 102 at a side of 224 and in proportion.
    """
    scale = DEEP3D_SCALE * size / DEEP3D_SIZE if scale is None else scale
    return Crop("Deep3D", (_pos_stage(landmarks, size, scale),), landmarks.size)


def eg3d(
    landmarks: Landmarks,
    size: int = EG3D_OUTPUT,
    *,
    first: int = EG3D_SIZE,
    scale: float = EG3D_SCALE,
    centre: int = EG3D_CENTRE,
) -> Crop:
    """EG3D's crop for FFHQ models: the POS fit at 1024 pixels, of which the middle 700 become `size`."""
    corner = (first - centre) // 2
    cut = _affine(torch.eye(2, dtype=torch.float64)[None], torch.full((1, 2), -float(corner), dtype=torch.float64))
    shrink = torch.diag(torch.tensor([size / centre, size / centre, 1.0], dtype=torch.float64))[None]
    stages = (
        _pos_stage(landmarks, first, scale),
        Stage(cut, (centre, centre), "bicubic"),
        Stage(shrink, (size, size), "lanczos"),
    )
    return Crop("EG3D", stages, landmarks.size)


def arcface(landmarks: Landmarks, size: int = ARCFACE_SIZE) -> Crop:
    """ArcFace's crop: the similarity that brings the five points nearest to their places; bilinear as the authors'."""
    points = _five(landmarks) - CENTRE
    places = points.new_tensor(ARCFACE_POINTS) * (size / ARCFACE_SIZE)
    return _single("ArcFace", _from_centres(similarity(points, places.expand_as(points))), size, "bilinear", landmarks)


def similarity(source: Tensor, target: Tensor) -> Tensor:
    """[B, N, 2] points -> [B, 3, 3]: least-squares rotation, uniform scale and shift. Source: Umeyama 1991."""
    source_mean, target_mean = source.mean(1), target.mean(1)
    centred, wanted = source - source_mean[:, None], target - target_mean[:, None]
    U, S, Vh = torch.linalg.svd(wanted.mT @ centred / source.shape[1])
    signs = torch.ones_like(S)
    signs[:, 1] = torch.sign(torch.linalg.det(U @ Vh))
    rotation = U @ torch.diag_embed(signs) @ Vh
    spread = centred.square().sum(2).mean(1)
    linear = rotation * ((S * signs).sum(1) / spread)[:, None, None]
    return _affine(linear, target_mean - (linear @ source_mean[:, :, None])[:, :, 0])


def deca(landmarks: Landmarks, size: int = DECA_SIZE) -> Crop:
    """DECA's crop: a square around the 68 points' box, 1.1 · 1.25 times its mean side, not turned; needs 68 points."""
    points = _filled(landmarks)
    if points.shape[1] == 5:
        raise UserError(
            "DECA's crop needs the outline of the face: 68 or 478 points, these landmarks hold 5. Choose another "
            "alignment, or a finder that gives more points."
        )
    centre, box = deca_box(convert_points(points, 68).double())
    return _single("DECA", deca_matrices(centre, box, size), size, "bilinear", landmarks)


def deca_box(points: Tensor) -> tuple[Tensor, Tensor]:
    """[B, N, 2] points -> centre [B, 2] and side [B] of the square that DECA takes as the face."""
    low, high = points.amin(1), points.amax(1)
    return (low + high) / 2, (high - low).mean(1) * DECA_BOX_OF_68


def deca_detector_box(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """[B, 4] left, top, right, bottom of a face detector's box -> centre [B, 2], a little lower, and side [B]."""
    low, high = boxes[:, :2], boxes[:, 2:]
    side = (high - low).mean(1)
    return (low + high) / 2 + side[:, None] * side.new_tensor([0.0, DECA_LOWER]), side


def deca_matrices(centre: Tensor, box: Tensor, size: int, scale: float = DECA_SCALE) -> Tensor:
    """Centres [B, 2] and sides [B] of boxes -> [B, 3, 3]; the square's side is cut to a whole number, as upstream's."""
    side = (box * scale).trunc()
    factor = (size - 1) / side
    linear = factor[:, None, None] * torch.eye(2, dtype=centre.dtype)
    return _from_centres(_affine(linear, -(centre - CENTRE - side[:, None] / 2) * factor[:, None]))


def pos(points: Tensor) -> PosFit:
    """[B, 5, 2] points with y up -> scale and translation that bring STANDARD_FIVE onto them, least squares.

    Source: Deep3DFaceRecon_pytorch, util/preprocess.py, `POS`: both rows of the projection are free, the scale is the
    mean of their lengths.
    """
    points = points.double()
    known = points.new_tensor(STANDARD_FIVE)
    design = torch.cat([known, known.new_ones(len(known), 1)], dim=1)
    rows = torch.linalg.pinv(design) @ points  # [B, 4, 2]: three of the projection, then the translation
    return PosFit(rows[:, :3].norm(dim=1).mean(1), rows[:, 3])


def pos_of(landmarks: Landmarks) -> PosFit:
    """The POS fit in Deep3DFaceRecon's coordinates: pixel centres at whole numbers, y up from the last row."""
    points = _five(landmarks) - CENTRE
    return pos(torch.stack([points[..., 0], landmarks.size[0] - 1 - points[..., 1]], dim=-1))


def deep3d_points(landmarks: Landmarks, size: int = DEEP3D_SIZE, scale: float = DEEP3D_SCALE) -> Tensor:
    """[B, N, 2] float64: the landmarks in Deep3DFaceRecon's crop as its losses see them.

    Pixel centres at whole numbers, y up, and without the crop's rounding to whole pixels, which upstream leaves out
    here; at most about a pixel from `move(landmarks, deep3d(…).matrices, …)`.
    """
    fit = pos_of(landmarks)
    height, width = landmarks.size
    half = fit.translation.new_tensor([width, height]) / 2
    factor = (scale / fit.scale)[:, None]
    resized = (half * 2 * factor).trunc()
    points = _filled(landmarks).double() - CENTRE
    upward = torch.stack([points[..., 0], height - 1 - points[..., 1]], dim=-1)
    return (upward - (fit.translation - half)[:, None]) * factor[:, None] - (resized / 2 - size / 2)[:, None]


def _pos_stage(landmarks: Landmarks, size: int, scale: float) -> Stage:
    """The picture is resized to whole numbers of pixels, then a square is cut at whole pixels."""
    fit, (height, width) = pos_of(landmarks), landmarks.size
    factor = scale / fit.scale
    resized = torch.stack([(width * factor).trunc(), (height * factor).trunc()], dim=1)
    if not (resized > 0).all():
        raise UserError("The five points of the face are too far apart for this picture; check their order and values.")
    middle = fit.translation.new_tensor([width, height]) / 2
    offset = (fit.translation - middle) * factor[:, None] * fit.translation.new_tensor([1.0, -1.0])
    corner = (resized / 2 - size / 2 + offset).trunc()
    linear = torch.diag_embed(resized / fit.translation.new_tensor([width, height]))
    return Stage(_affine(linear, -corner), (size, size), "bicubic")


def _single(kind: str, matrices: Tensor, size: int, filter: Filter, landmarks: Landmarks) -> Crop:
    return Crop(kind, (Stage(_require_area(matrices), (size, size), filter),), landmarks.size)


def _require_area(matrices: Tensor) -> Tensor:
    if not torch.isfinite(matrices).all() or (torch.linalg.det(matrices).abs() < SMALLEST_AREA).any():
        raise UserError(COINCIDE)
    return matrices


def _filled(landmarks: Landmarks) -> Tensor:
    """[B, N, 2] on the CPU with frames without a face taking the points of the nearest frame that has one."""
    found = landmarks.found.cpu().nonzero()[:, 0]
    if len(landmarks) and not len(found):
        raise UserError("None of these frames holds a face to align. Use pictures that show one.")
    frames = torch.arange(len(landmarks))
    nearest = found[(frames[:, None] - found[None]).abs().argmin(1)] if len(landmarks) else frames
    points = landmarks.points.detach().cpu()[nearest]
    if ((points.amax(1) - points.amin(1)).amax(1) < SMALLEST_FACE).any():
        raise UserError(COINCIDE)
    return points


def _five(landmarks: Landmarks) -> Tensor:
    """[B, 5, 2] float64 on the CPU."""
    return convert_points(_filled(landmarks), 5).double()


def _quarter_turn(vector: Tensor) -> Tensor:
    """[B, 2] (x, y) -> (−y, x): from pointing right to pointing down."""
    return torch.stack([-vector[:, 1], vector[:, 0]], dim=1)


def _affine(linear: Tensor, shift: Tensor) -> Tensor:
    """[B, 2, 2] and [B, 2] -> [B, 3, 3]."""
    last = linear.new_tensor([0.0, 0.0, 1.0]).expand(len(linear), 1, 3)
    return torch.cat([torch.cat([linear, shift[:, :, None]], dim=2), last], dim=1)


def _from_centres(matrices: Tensor) -> Tensor:
    """A matrix between pictures whose pixel centres are whole numbers -> one between continuous coordinates."""
    shift = matrices.new_tensor([[1.0, 0.0, CENTRE], [0.0, 1.0, CENTRE], [0.0, 0.0, 1.0]])
    return shift @ matrices @ torch.linalg.inv(shift)


ALIGNMENTS: dict[str, Callable[..., Crop]] = {
    "FFHQ": ffhq,
    "Deep3D": deep3d,
    "EG3D": eg3d,
    "ArcFace": arcface,
    "DECA": deca,
}
"""Every alignment by the name that nodes show."""
SIZES = {"FFHQ": FFHQ_SIZE, "Deep3D": DEEP3D_SIZE, "EG3D": EG3D_OUTPUT, "ArcFace": ARCFACE_SIZE, "DECA": DECA_SIZE}
"""Sides of their crops in pixels, as their authors use them."""
