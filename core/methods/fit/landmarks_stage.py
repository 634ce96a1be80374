"""Stage 1 of a fit: pose, identity and expression from 68 landmarks.

The cost is that of the most probable face: squared landmark errors in units of what a landmark finder gets wrong,
robust against single wild points, plus the priors. Jaw landmarks are points of an outline: they slide along the cheek
with the pose (`FaceModel.landmarks`) and along the outline they were found on, so that their distance from it counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from ...face.camera import place, project, rotation_matrix
from ...face.model import FaceModel
from ...face.surface import JAW_LANDMARKS
from ...optimise import LoopSettings, Watch, run
from ...types import Camera, FaceParams
from .frames import in_turn, join
from .gauss_newton import GaussNewton, robust
from .pose import closed_form_pose
from .priors import fitted_expressions, fitted_joints, landmark_priors
from .settings import FitSettings

OUTER_EYE_CORNERS = (36, 45)
JAW_WEIGHT = 0.5
"""Of a jaw landmark's squared error: finders place the outline about half as well as eyes, nose and mouth."""
JAW_ALONG, LINE_ALONG = 0.02, 0.5
"""Part of a squared error that counts along the line a point lies on, for the jaw and for the lines of the face, since
finders space points on a line as they like: on seven portraits their mean error is up to 13 % of the eye distance along
the jaw, up to 3 % along the lips and below 1 % across them."""
BROWS, EYELIDS, LIPS = ((17, 22), (22, 27)), ((36, 42), (42, 48)), ((48, 60), (60, 68))
LINES = tuple((*ends, False) for ends in ((0, JAW_LANDMARKS), *BROWS)) + tuple((*ends, True) for ends in EYELIDS + LIPS)
"""First and past the last landmark of a line, and whether it is closed."""
CORNERS = (36, 39, 42, 45, 48, 54, 60, 64)
"""Of eyes and lips: points in their own right."""
OUTLIER = 3.0
"""Landmark noises at which an error counts half (Cauchy)."""
POSE_STEPS = 8
PATIENCE, TOLERANCE = 5, 1e-3
"""Steps in a row that lower the cost by less than a thousandth end a run; further ones hardly move a landmark."""
CHUNK = 32
"""Frames in work at once: 80 MB of derivatives at 160 unknowns."""
KEYFRAMES = 16
"""Frames, spread evenly, from which a shared identity is found: their landmarks outweigh its priors by far."""


class LandmarkCost:
    """Landmark errors of B frames in units of the landmark noise; both stages of a fit keep to it.

    points: [B, 68, 2] pixels of `camera`'s picture, all finite. unit: [B] pixels, what errors are measured in
    (`eye_distance`). noise: part of it that a landmark is usually off by.
    """

    def __init__(self, model: FaceModel, points: Tensor, unit: Tensor, camera: Camera, noise: float) -> None:
        self._model, self._points, self._camera = model, points, camera
        self._scale = 1 / (noise * unit[:, None, None])
        self._along = _directions(points)
        count = torch.ones_like(points[0, :, :1])
        for first, past, _ in LINES:
            count[first:past] = LINE_ALONG
        count[:JAW_LANDMARKS] = JAW_ALONG
        count[list(CORNERS)] = 1.0
        self._slack = 1 - count.sqrt()
        self._weight = torch.ones_like(count)
        self._weight[:JAW_LANDMARKS] = JAW_WEIGHT**0.5

    def residuals(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """[B, 68, 2] for `parameters` named as in `FaceParams`."""
        vertices = self._model.vertices(parameters["identity"], parameters["expression"], parameters["joints"])
        return self.residuals_of(vertices, parameters)

    def residuals_of(self, vertices: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        """[B, 68, 2] for the model's `vertices` [B, V, 3] in the pose of `parameters`."""
        return self.pixels_of(vertices, parameters) * self._scale

    def pixels_of(self, vertices: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        """The same in pixels of the picture, without the noise's unit."""
        shown = project_landmarks(self._model, vertices, parameters["angles"], parameters["translation"], self._camera)
        off = shown - self._points
        slide = (off * self._along).sum(-1, keepdim=True) * self._along
        return (off - self._slack * slide) * self._weight

    def cost(self, vertices: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        """[B]: the robust sum that stage 1 minimises, for the model's `vertices` [B, V, 3]."""
        return robust(self.residuals_of(vertices, parameters), OUTLIER).sum(-1)


def eye_distance(model: FaceModel, face: FaceParams) -> Tensor:
    """[B] pixels between the outer eye corners of the mean face at each frame's distance, whichever way it looks."""
    mean = model.vertices(*(torch.zeros_like(getattr(face, name)[:1]) for name in ("identity", "expression", "joints")))
    corners = model.landmarks(mean)[0, list(OUTER_EYE_CORNERS)]
    return (corners[0] - corners[1]).norm() * face.camera.focal / -face.translation[:, 2]


def _directions(points: Tensor) -> Tensor:
    """[B, 68, 2] unit vectors along the line that each landmark lies on; 0 for those of the nose, which lie on none."""
    along = torch.zeros_like(points)
    for first, past, closed in LINES:
        line = points[:, first:past]
        before, after = line.roll(1, 1), line.roll(-1, 1)
        if not closed:
            before = torch.cat([line[:, :1], before[:, 1:]], 1)
            after = torch.cat([after[:, :-1], line[:, -1:]], 1)
        along[:, first:past] = functional.normalize(after - before, dim=-1)
    return along


def project_landmarks(
    model: FaceModel, vertices: Tensor, angles: Tensor, translation: Tensor, camera: Camera
) -> Tensor:
    """The 68 landmarks on `vertices` [B, V, 3] in pixels, [B, 68, 2]; those of the jaw where the turned face ends."""
    points = model.landmarks(vertices, rotation_matrix(angles))
    return project(camera, place(points, angles, translation), translation)[..., :2]


def fit_landmarks(
    points: Tensor,
    model: FaceModel,
    start: FaceParams,
    settings: FitSettings,
    posed: bool = False,
    watch: Watch | None = None,
    preview: Callable[[FaceParams], Tensor] | None = None,
) -> FaceParams:
    """`start` with pose, identity, expression and jaw changed so that its landmarks lie on `points` [B, 68, 2].

    start: B frames, whose other values stay. posed: it already stands about right; else its pose is found first.
    preview: makes a picture of the frames in work. Frames are fitted in chunks, which bounds memory. A shared identity
    is found from KEYFRAMES, then held while every frame finds the rest.
    """
    small = model.landmark_basis()
    shared = None
    stages = landmark_runs(len(points), settings)
    watches = iter(in_turn(watch, stages))
    if settings.share_identity and len(points) > 1:
        keys = torch.linspace(0, len(points) - 1, min(KEYFRAMES, len(points))).round().long().to(points.device)
        run_ = _Run(points[keys], small, start[keys], settings, shared=True)
        shared = run_.go(posed, next(watches), preview).identity[:1]
    fitted = []
    for first in range(0, len(points), CHUNK):
        frames = slice(first, first + CHUNK)
        begin = start[frames]
        if shared is not None:
            begin = replace(begin, identity=shared.expand(len(begin), -1))
        run_ = _Run(points[frames], small, begin, settings, identity_known=shared is not None)
        fitted.append(run_.go(posed, next(watches), preview))
    return join(fitted)


def landmark_runs(frames: int, settings: FitSettings) -> list[int]:
    """Most steps of each run that `fit_landmarks` makes for so many frames."""
    runs = -(-frames // CHUNK) + (settings.share_identity and frames > 1)
    return [POSE_STEPS + settings.landmark_steps] * runs


class _Run:
    """One chunk: which unknowns there are, and how they fill a `FaceParams`."""

    def __init__(
        self,
        points: Tensor,
        model: FaceModel,
        start: FaceParams,
        settings: FitSettings,
        shared: bool = False,
        identity_known: bool = False,
    ) -> None:
        self._points, self._model, self._start, self._settings = points, model, start, settings
        self._columns = {
            "expression": fitted_expressions(model).nonzero().squeeze(1).to(points.device),
            "joints": fitted_joints(model).nonzero().squeeze(1).to(points.device),
        }
        self._priors = landmark_priors(model)
        self._names = ["angles", "translation", "expression", "joints"] + ["identity"] * (not identity_known)
        self._shared = shared

    def go(self, posed: bool, watch: Watch | None, preview: Callable[[FaceParams], Tensor] | None) -> FaceParams:
        if not posed:
            one = self._start[:1]
            shape = self._model.landmarks(self._model.vertices(one.identity, one.expression, one.joints))[0]
            angles, translation = closed_form_pose(
                shape[JAW_LANDMARKS:], self._points[:, JAW_LANDMARKS:], self._start.camera
            )
            self._start = replace(self._start, angles=angles, translation=translation)
        unit = eye_distance(self._model, self._start)
        self._cost = LandmarkCost(self._model, self._points, unit, self._start.camera, self._settings.landmark_noise)
        pose_watch, watch = in_turn(watch, [POSE_STEPS, self._settings.landmark_steps])
        if not posed:
            self._start = self._solve(["angles", "translation"], POSE_STEPS, pose_watch, preview)
        return self._solve(self._names, self._settings.landmark_steps, watch, preview)

    def _solve(
        self, names: list[str], steps: int, watch: Watch | None, preview: Callable[[FaceParams], Tensor] | None
    ) -> FaceParams:
        unknowns = {name: self._part(name) for name in names}
        stepper = GaussNewton(
            {name: value for name, value in unknowns.items() if value[0].numel()},
            lambda parameters: self._cost.residuals(self._filled(parameters)),
            OUTLIER,
            self._priors,
        )
        settings = LoopSettings(steps=steps, patience=PATIENCE, tolerance=TOLERANCE)
        show = None if preview is None else lambda parameters: preview(replace(self._start, **self._filled(parameters)))
        result = run(stepper, settings, watch, show)
        filled = self._filled(result.parameters)
        return replace(self._start, **{name: filled[name].expand_as(getattr(self._start, name)) for name in filled})

    def _part(self, name: str) -> Tensor:
        """The unknowns of a group: its fitted columns, one row where all frames share them."""
        value = getattr(self._start, name)
        if name in self._columns:
            return value.index_select(1, self._columns[name])
        return value.mean(0, keepdim=True) if self._shared and name == "identity" else value

    def _filled(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Whole groups: unknowns in their columns, the start everywhere else."""
        filled = {name: getattr(self._start, name) for name in self._names} | {"identity": self._start.identity}
        for name, value in parameters.items():
            columns = self._columns.get(name)
            filled[name] = value if columns is None else filled[name].index_copy(1, columns, value)
        return filled
