"""Stage 2 of a fit: the model is drawn and compared with the photograph, pixel by pixel.

Light has a closed form once shape and albedo are given, so it is solved for at every step rather than descended to; the
rest follows the gradient through the renderer. A model without albedo directions gets a free colour for every vertex,
kept smooth. The landmark cost and the priors of stage 1 stay in force, on the scale that Deep3DFaceRecon weighs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ...face.camera import place
from ...face.light import shade
from ...face.model import FaceModel
from ...face.normals import vertex_normals
from ...face.render import PosedMesh, Rendered, RenderSettings, render_mesh
from ...optimise import AdamSettings, Watch, minimise
from ...types import FaceParams
from .chunks import History, Preview, chunk_runs, fit_in_chunks, mean_history
from .close_up import GRAZING, CloseUp
from .frames import join
from .landmarks_stage import LandmarkCost, eye_distance
from .light_solver import solve_light, solve_tone
from .priors import IDENTITY_RIDGE
from .settings import FitSettings
from .unknowns import SCHEDULE, FaceUnknowns

COLOUR_WEIGHT, COEFFICIENT_WEIGHT, ALBEDO_RATIO, REFLECTANCE_WEIGHT = 1.92, 3e-4, 1.7e-2, 5.0
"""Deep3DFaceRecon, models/facerecon_model.py: w_color, w_reg, w_tex, w_reflc."""
PRIOR_WEIGHT = 4 * COEFFICIENT_WEIGHT / IDENTITY_RIDGE
"""Of the whole cost of stage 1; without the 4, one squared deviation of identity weighs as in Deep3DFaceRecon. Chosen
on seven portraits: it keeps landmarks where stage 1 had them (1.7 for 1.8 % of the eye distance)."""
COLOUR_EPSILON = 1e-6
"""Under the root of a pixel's colour distance (Deep3DFaceRecon, models/losses.py)."""
SMOOTHNESS_WEIGHT = 30.0
"""Of squared differences between the colours of neighbouring vertices. Chosen so that brows and lips come out soft,
while shadows, which are smoother than that, are left to the light."""
COLOUR_RATE = 0.01
"""Adam's first step of a free colour, as `unknowns.RATES`."""


def fit_pixels(
    pictures: Tensor,
    points: Tensor,
    model: FaceModel,
    start: FaceParams,
    settings: FitSettings,
    watch: Watch | None = None,
    preview: Preview | None = None,
    mask: Tensor | None = None,
) -> tuple[FaceParams, Tensor, History]:
    """`start` [B frames] refined against `pictures` [B, 3, H, W]; the remaining colour distance [B], 0…√3; and every
    term's way, a frame's mean.

    points: [B, 68, 2] landmarks. mask: [B or 1, 1, H, W] 0…1, where to compare, or None. With a shared identity, that
    and the albedo are found from a first chunk of frames spread over the clip, then held.
    """
    part = model.subset(_needed(model))
    shared = settings.share_identity and len(points) > 1

    def chunk(frames: Tensor, begin: FaceParams, known: _Chunk | None) -> _Chunk:
        allowed = None if mask is None else mask[frames] if len(mask) > 1 else mask
        return _Chunk(pictures[frames], points[frames], part, begin, settings, allowed, shared, known)

    done = fit_in_chunks(start, settings, settings.pixel_steps, chunk, watch, preview)
    return join([work.result for work in done]), torch.cat([work.error for work in done]), mean_history(done)


def pixel_runs(frames: int, settings: FitSettings) -> list[int]:
    """Most steps of each run that `fit_pixels` makes for so many frames."""
    return chunk_runs(frames, settings, settings.pixel_steps)


class _Chunk:
    """The frames in work: what they are compared with, what is unknown, and what came out.

    model: reduced to facial skin and landmarks. known: a chunk that found identity and colours for all frames, or None.
    """

    def __init__(
        self,
        pictures: Tensor,
        points: Tensor,
        model: FaceModel,
        start: FaceParams,
        settings: FitSettings,
        mask: Tensor | None,
        shared: bool,
        known: _Chunk | None,
    ) -> None:
        self.result, self.error, self.history = start, start.angles.new_zeros(len(start)), {}
        self._model, self._start, self._settings = model, start, settings
        self._faces = model.faces[model.face_region]
        self._light = start.light
        self._skin = self._faces.unique()
        self._unknowns = FaceUnknowns(model, start, shared, ("identity", "albedo") if known is None else ())
        skin = self._unknowns.vertices(start)[:, self._skin]
        view = CloseUp.of(pictures, mask, skin, start, settings.pixel_size)
        self._camera = view.camera
        self._target, self._allowed = (value.permute(0, 2, 3, 1) for value in (view.target, view.allowed))
        self._landmarks = LandmarkCost(model, points, eye_distance(model, start), start.camera, settings.landmark_noise)
        self._edges = _edges(self._faces)
        self._colours = None if known is None else known.found.get("colours")
        self._begin = dict(self._unknowns.values)
        if known is None and not len(model.albedo):
            self._begin["colours"] = self._toned()[: 1 if shared else len(start)]
        self.found: dict[str, Tensor] = {}

    def go(self, watch: Watch | None, preview: Preview | None) -> None:
        """Fills in `result`, `error`, `history` and `found`."""
        free = {"colours"} & self._begin.keys()
        settings = AdamSettings(
            steps=self._settings.pixel_steps,
            schedule=SCHEDULE,
            rates={**self._unknowns.rates, **dict.fromkeys(free, COLOUR_RATE)},
            limits={**self._unknowns.limits, **dict.fromkeys(free, (0.0, 1.0))},
        )
        show = None if preview is None else lambda parameters: preview(self._face(parameters))
        run = minimise(self._begin, self._loss, settings, watch, show)
        self.found, self.history = run.parameters, run.history
        with torch.no_grad():
            _, off, weight = self._compared(self.found)
            self.error = (off * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp_min(1)
        self.result = self._face(self.found)

    def _loss(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        _, off, weight = self._compared(parameters)
        colour = ((off * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp_min(1)).sum()
        terms = {"colour": COLOUR_WEIGHT * colour, "landmarks": PRIOR_WEIGHT * self._landmark_cost(parameters)}
        terms["prior"] = PRIOR_WEIGHT * self._unknowns.priors(parameters)
        if "albedo" in parameters:
            terms["albedo"] = COEFFICIENT_WEIGHT * ALBEDO_RATIO * parameters["albedo"].square().sum()
        if "colours" in parameters:
            terms |= self._colour_costs(parameters["colours"])
        return terms

    def _compared(self, parameters: Mapping[str, Tensor]) -> tuple[Rendered, Tensor, Tensor]:
        """What is drawn, the colour distance [B, S, S, 1] and how much each pixel counts, which carries no gradient."""
        face = self._face(parameters)
        vertices = self._unknowns.vertices(face)
        stands = place(vertices, face.angles, face.translation)
        albedo = parameters.get("colours", self._colours)
        albedo = self._model.vertex_albedo(face.albedo) if albedo is None else albedo
        bends = vertex_normals(stands, self._model.faces)
        mesh = PosedMesh(stands, self._faces, albedo.expand(len(stands), -1, -1), normals=bends)
        settings = RenderSettings(mode="albedo", antialias=False, cull="back")
        drawn = render_mesh(mesh, self._camera, face.light, face.translation, settings)
        albedo, normals = drawn.colour.permute(0, 2, 3, 1), drawn.normals.permute(0, 2, 3, 1)
        with torch.no_grad():
            weight = self._allowed * (drawn.alpha.permute(0, 2, 3, 1) > 0) * (normals[..., 2:] > GRAZING)
            before = self._distance(albedo * shade(self._light, normals))
            self._light = solve_light(self._target, albedo, normals, weight / before)
        return drawn, self._distance(albedo * shade(self._light, normals)), weight

    def _distance(self, colour: Tensor) -> Tensor:
        return ((colour - self._target).square().sum(-1, keepdim=True) + COLOUR_EPSILON).sqrt()

    def _landmark_cost(self, parameters: Mapping[str, Tensor]) -> Tensor:
        face = self._face(parameters)
        named = {name: getattr(face, name) for name in ("angles", "translation")}
        return self._landmarks.cost(self._unknowns.vertices(face), named).sum()

    def _colour_costs(self, colours: Tensor) -> dict[str, Tensor]:
        steps = colours[:, self._edges[:, 0]] - colours[:, self._edges[:, 1]]
        skin = colours[:, self._skin]
        spread = (skin - skin.mean(1, keepdim=True)).square().sum(-1).mean(1)
        return {
            "smoothness": SMOOTHNESS_WEIGHT * steps.square().sum(-1).mean(1).sum(),
            "reflectance": REFLECTANCE_WEIGHT * spread.sum(),
        }

    def _face(self, parameters: Mapping[str, Tensor]) -> FaceParams:
        """Unknowns where there are any, the present light, the start everywhere else."""
        return replace(self._unknowns.face(parameters), light=self._light)

    def _toned(self) -> Tensor:
        """[B, V, 3]: the model's colours, tinted as the pictures are."""
        with torch.no_grad():
            drawn, _, weight = self._compared({})
            albedo, normals = (value.permute(0, 2, 3, 1) for value in (drawn.colour, drawn.normals))
            tone = solve_tone(self._target, albedo, normals, weight)
        return (self._model.vertex_albedo(self._start.albedo) * tone[:, None]).clamp(0, 1)


def _needed(model: FaceModel) -> Tensor:
    """[n] vertex numbers, ascending: of the facial skin and of the landmarks."""
    skin = model.faces[model.face_region].flatten()
    return torch.cat([skin, model.surface().landmark_vertices()]).unique()


def _edges(faces: Tensor) -> Tensor:
    """[E, 2]: every edge of the triangles, once."""
    ends = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).sort(1).values
    count = int(faces.max()) + 1 if len(faces) else 1
    numbered = (ends[:, 0] * count + ends[:, 1]).unique()  # ten times faster than unique rows
    return torch.stack([numbered.div(count, rounding_mode="floor"), numbered % count], 1)
