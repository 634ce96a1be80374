"""Fit 3DMM from start to end: what came in is checked, both stages run, gaps are filled, the clip is smoothed.

The order is GANFit's (Gecer et al. 2019, section 3.4): landmarks alone first, then everything against the pixels, be it
by pixels and a closed-form light or by all of GANFit's terms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from ...errors import UserError
from ...face.camera import default_camera
from ...face.landmarks import convert
from ...face.model import FaceModel
from ...face.render import RenderSettings, overlay, render
from ...face.skin import skin_mask
from ...face.surface import JAW_LANDMARKS
from ...optimise import Watch
from ...types import FaceParams, Landmarks, common_batch
from ..unwrap import UnwrapSettings, unwrap, wearing
from .chunks import History, Preview
from .frames import fill, in_turn, smooth
from .ganfit_stage import GanFit, fit_ganfit, ganfit_runs
from .landmarks_stage import OUTER_EYE_CORNERS, fit_landmarks, landmark_runs, project_landmarks
from .pixels_stage import fit_pixels, pixel_runs
from .settings import FitSettings

MARKUP = 68
ASPECT_TOLERANCE = 0.01
"""Relative; landmarks of a picture that was resized to whole pixels."""
PREVIEW_SIDE, PREVIEW_OPACITY = 256, 0.85
"""Pixels, as much as hosts show and cheap to draw; the face still shines through."""


@dataclass(frozen=True, eq=False)
class FitReport:
    """How a fit went, for each of B frames.

    found: [B] bool; frames without a face were filled in from their neighbours. landmark_error: [B], mean distance of
    the 51 inner landmarks in distances between the outer eye corners, NaN without a face. pixel_error: [B], mean
    distance of colours over the visible face, 0…√3, NaN without a face; None where no pixels were compared.
    """

    found: Tensor
    landmark_error: Tensor
    pixel_error: Tensor | None = None

    def __str__(self) -> str:
        seen = self.found
        parts = [f"{int(seen.sum())} of {len(seen)} frames with a face"]
        parts.append(f"landmarks {self.landmark_error[seen].mean() * 100:.2f} % of the eye distance off")
        if self.pixel_error is not None:
            parts.append(f"colours {self.pixel_error[seen].mean() * 100:.1f} % off")
        missing = (~seen).nonzero().squeeze(1).tolist()
        if missing:
            named = ", ".join(str(frame + 1) for frame in missing[:8]) + (", …" if len(missing) > 8 else "")
            parts.append(f"filled in from neighbours: frame {named}")
        return "; ".join(parts)


@dataclass(frozen=True, eq=False)
class FitResult:
    """What `fit` found: `params` of every frame that came in, how well they agree with it, and the way there.

    history: every weighted term at every step of the comparison with the pictures, a frame's mean; empty without one.
    """

    params: FaceParams
    report: FitReport
    history: History


def fit(
    pictures: Tensor | None,
    landmarks: Landmarks,
    model: FaceModel,
    settings: FitSettings | None = None,
    watch: Watch | None = None,
    start: FaceParams | None = None,
    mask: Tensor | None = None,
    method: GanFit | None = None,
) -> FitResult:
    """The parameters of `model` that show the face of every frame.

    pictures: [B, 3, H, W] RGB 0…1, or None to fit landmarks only. landmarks: B frames of 68 or 478 points, NaN where
    there is no face; such frames are filled in from their neighbours. start: 1 or B frames to begin from, instead of
    the mean face in the closed-form pose; its camera is kept. mask: [1 or B, 1, H, W] 0…1, what of the pictures may be
    compared. method: GANFit in place of the comparison of pixels; needs pictures. watch: is called at every step with
    the step, `fit_steps`, the loss and a preview [3, H, W]; whatever it raises passes through and leaves all inputs as
    they were.

    The model sits on the device to compute on; everything else is brought there. Needs gradients: not under inference
    mode, and with tensors that were not made there. UserError for what does not go together, and where no frame at all
    holds a face.
    """
    settings = settings or FitSettings()
    landmarks = _checked(pictures, landmarks, mask, model)
    frames, device = len(landmarks), model.faces.device
    begin = _start(start, landmarks, model, settings)
    found = landmarks.found.to(device)
    points = landmarks.points.to(device, begin.angles.dtype)[found]
    known = begin[found]
    seen, allowed = (None if value is None else _of(value, found, device) for value in (pictures, mask))

    runs = landmark_runs(len(points), settings)
    compared = _compared_steps(len(points), settings, method) if seen is not None else 0
    first, second = in_turn(watch, [sum(runs), compared])
    show = _preview(None if seen is None else seen[:1], model, landmarks.size) if watch is not None else None
    known = fit_landmarks(points, model, known, settings, start is not None, first, show)
    pixel_error, history, loss = None, {}, math.nan
    if seen is not None:
        if method is not None:
            usable = allowed
            if method.settings.skin_mask:
                usable = skin_mask(seen) * (1.0 if allowed is None else allowed)
            stage = (seen, points, model, known, settings, method, second, show, usable, start is not None)
            known, error, history = fit_ganfit(*stage)
        elif settings.pixel_steps:
            known, error, history = fit_pixels(seen, points, model, known, settings, second, show, allowed)
        if compared:
            loss = error.mean().item()
            pixel_error = known.angles.new_full((frames,), torch.nan).index_put((found,), error)
        if settings.texture == "photograph":
            total = fit_steps(len(points), settings, method=method)
            pulse = (lambda: watch(total, total, loss, None)) if watch is not None else (lambda: None)
            wanted = UnwrapSettings(settings.texture_size, together=settings.share_identity, views=settings.chunk)
            known = wearing(known, unwrap(seen, known, model, wanted, allowed, pulse), wanted)
    params = smooth(fill(known, found), settings.smoothing, model)
    return FitResult(params, FitReport(found, _landmark_error(params, landmarks, model), pixel_error), history)


def fit_steps(frames: int, settings: FitSettings, with_pictures: bool = True, method: GanFit | None = None) -> int:
    """The most steps that `fit` announces to `watch` for so many frames that hold a face."""
    compared = _compared_steps(frames, settings, method) if with_pictures else 0
    return sum(landmark_runs(frames, settings)) + compared


def _compared_steps(frames: int, settings: FitSettings, method: GanFit | None) -> int:
    """Of the stage that looks at the pictures."""
    return sum(pixel_runs(frames, settings) if method is None else ganfit_runs(frames, settings, method))


def _checked(pictures: Tensor | None, landmarks: Landmarks, mask: Tensor | None, model: FaceModel) -> Landmarks:
    """68 landmarks in the pictures' pixels; a sentence for all that does not go together."""
    model.landmarks68  # noqa: B018 says so where the model has none
    if not len(landmarks):
        raise UserError("There is nothing to fit: the landmarks hold no frame. Connect at least one picture.")
    landmarks = convert(landmarks, MARKUP)
    if not landmarks.found.any():
        raise UserError(
            f"None of the {len(landmarks)} frames holds a face, so there is nothing to fit. Use pictures that show "
            "one, or give its points as text."
        )
    if pictures is None:
        return landmarks
    if pictures.dim() != 4 or pictures.shape[1] != 3:
        raise UserError(f"A fit needs pictures of shape [frames, 3, height, width]; got {list(pictures.shape)}.")
    if len(pictures) != len(landmarks):
        raise UserError(
            f"There are {len(pictures)} pictures and landmarks of {len(landmarks)} frames. Find the landmarks in the "
            "same pictures that are fitted."
        )
    if not torch.isfinite(pictures).all():
        raise UserError("The pictures hold values that are no numbers (NaN or infinite), so nothing can be compared.")
    size = (pictures.shape[2], pictures.shape[3])
    if mask is not None:
        common_batch(pictures=len(pictures), masks=len(mask))
        if mask.dim() != 4 or mask.shape[1] != 1 or tuple(mask.shape[2:]) != size:
            raise UserError(
                f"A mask for these pictures needs the shape [frames, 1, {size[0]}, {size[1]}]; got {list(mask.shape)}."
            )
    return _scaled(landmarks, size)


def _scaled(landmarks: Landmarks, size: tuple[int, int]) -> Landmarks:
    """The landmarks of a picture that is now `size` (H, W); UserError where that is another shape of picture."""
    if tuple(landmarks.size) == size:
        return landmarks
    down, across = size[0] / landmarks.size[0], size[1] / landmarks.size[1]
    if abs(down / across - 1) > ASPECT_TOLERANCE:
        raise UserError(
            f"The landmarks were found in a picture of {landmarks.size[1]} x {landmarks.size[0]} pixels, this one has "
            f"{size[1]} x {size[0]}, another shape. Find the landmarks in the picture that is fitted."
        )
    return Landmarks(landmarks.points * landmarks.points.new_tensor([across, down]), landmarks.score, size)


def _start(start: FaceParams | None, landmarks: Landmarks, model: FaceModel, settings: FitSettings) -> FaceParams:
    """B frames to begin from, on the model's device."""
    frames, size = len(landmarks), landmarks.size
    if start is None:
        camera = default_camera(size, settings.field_of_view, frames, settings.perspective)
        neutral = model.neutral(camera, frames)
        return neutral.to(model.faces.device)
    common_batch(start=len(start), landmarks=frames)
    start = model.check(start).to(model.faces.device)
    resized = start.camera.resized(size)
    return replace(start, camera=resized).map(lambda value: value.expand(frames, *value.shape[1:]).clone())


def _of(value: Tensor, found: Tensor, device: torch.device) -> Tensor:
    value = value.to(device)
    return value if len(value) == 1 and len(found) > 1 else value[found]


def _landmark_error(params: FaceParams, landmarks: Landmarks, model: FaceModel) -> Tensor:
    """[B]: see `FitReport`."""
    small = model.landmark_basis()
    points = landmarks.points.to(params.angles)
    left, right = (points[:, corner] for corner in OUTER_EYE_CORNERS)
    shown = project_landmarks(
        small,
        small.vertices(params.identity, params.expression, params.joints),
        params.angles,
        params.translation,
        params.camera,
    )
    off = (shown - points)[:, JAW_LANDMARKS:].norm(dim=-1).mean(1)
    return off / (left - right).norm(dim=-1)


def _preview(picture: Tensor | None, model: FaceModel, size: tuple[int, int]) -> Preview:
    """Draws the first of the frames in work over the first picture or over black; as clay until it has a texture."""
    shrink = min(1.0, PREVIEW_SIDE / max(size))
    small = (max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink)))
    below = torch.zeros(1, 3, *small) if picture is None else functional.interpolate(picture, small, mode="area")

    @torch.no_grad()
    def show(params: FaceParams) -> Tensor:
        mode = "shaded" if params.texture is None else "textured"
        drawn = render(model, params[:1], RenderSettings(mode=mode), small)
        return overlay(below.to(drawn.colour), drawn, PREVIEW_OPACITY)[0]

    return show
