"""Stage 2 by GANFit: the face a recogniser takes for the person, under a texture that a generator can draw.

Everything descends together: shape, expression, pose, light and the latent of a UV albedo map. A render is compared
with the photograph pixel by pixel and through the eyes of a recogniser; a second render under a random expression,
camera and light must show the same person, which keeps light and pose out of the texture. Several pictures of one
person share shape and latent, where the paper averages them after every step.

Source: Gecer et al. 2019, "GANFIT: Generative Adversarial Network Fitting for High Fidelity 3D Face Reconstruction".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ...errors import UserError
from ...face.camera import place
from ...face.light import PhongLight
from ...face.model import FaceModel
from ...face.render import PosedMesh, Rendered, RenderSettings, render_mesh
from ...networks.textures import FreeTextures
from ...optimise import AdamSettings, Watch, minimise
from ...types import Camera, FaceParams, Landmarks
from ..identity import IdentityNetwork
from ..texture_gan import TextureGan, free_textures, own_textures
from .chunks import History, Preview, chunk_runs, fit_in_chunks, mean_history
from .close_up import GRAZING, CloseUp
from .frames import join
from .ganfit_settings import NEED_NETWORK, GanFitSettings, Weights
from .ganfit_terms import content_term, identity_term, landmark_term, pixel_term
from .landmarks_stage import LandmarkCost, eye_distance, project_landmarks
from .lights import HarmonicLights, PointLights
from .novel_view import NovelViews
from .priors import IDENTITY_RIDGE
from .settings import FitSettings
from .unknowns import SCHEDULE, FaceUnknowns

FREE = 30.0
"""How much more the prior of a free map weighs than a generator's, since nothing else keeps light and hair out of it.
Chosen on portraits: at 5 the map is the photograph, at 150 lips and brows fade."""
BACKGROUND = 0.5
"""Grey behind a head in a random view."""
DRAWING = RenderSettings(antialias=False, cull="back")


@dataclass(frozen=True, eq=False)
class GanFit:
    """The method and what it looks through, which sits on the face model's device.

    network: the recogniser; without one the terms that need it are left out. textures: the generator of albedo maps;
    without one the model's own skin colours, or a free map where it has but one.
    """

    network: IdentityNetwork | None = None
    textures: TextureGan | None = None
    settings: GanFitSettings = field(default_factory=GanFitSettings)

    @property
    def weights(self) -> Weights:
        """Of the terms that can be told."""
        if self.network is not None:
            return self.settings.weights
        return replace(self.settings.weights, **dict.fromkeys(NEED_NETWORK, 0.0))

    def textures_for(self, model: FaceModel) -> TextureGan:
        """UserError where the generator draws another model's maps."""
        if self.textures is not None:
            return self.textures.require(model)
        return own_textures(model) if len(model.albedo) else free_textures(model)


def fit_ganfit(
    pictures: Tensor,
    points: Tensor,
    model: FaceModel,
    start: FaceParams,
    settings: FitSettings,
    method: GanFit,
    watch: Watch | None = None,
    preview: Preview | None = None,
    mask: Tensor | None = None,
    lit: bool = False,
) -> tuple[FaceParams, Tensor, History]:
    """`start` [B frames] refined; the remaining colour distance [B], 0…√3; and every term's way, a frame's mean.

    pictures: [B, 3, H, W]. points: [B, 68, 2] landmarks. mask: [B or 1, 1, H, W] 0…1, where to compare, or None.
    lit: the light of `start` was found by somebody and is begun from. The result's texture is the generator's map.
    """
    if not any(vars(method.weights).values()):
        raise UserError("All weights of GANFit are 0, so there is nothing to fit. Raise at least one.")
    method = replace(method, textures=method.textures_for(model))
    shared = settings.share_identity and len(points) > 1

    def chunk(frames: Tensor, begin: FaceParams, known: _Chunk | None) -> _Chunk:
        allowed = None if mask is None else mask[frames] if len(mask) > 1 else mask
        cut = (pictures[frames], points[frames], allowed)
        return _Chunk(*cut, model, begin, settings, method, lit, shared, known)

    done = fit_in_chunks(start, settings, method.settings.steps, chunk, watch, preview)
    face = join([replace(work.result, texture=None) for work in done])
    maps = [work.result.texture for work in (done[:1] if shared else done)]
    return replace(face, texture=torch.cat(maps)), torch.cat([work.error for work in done]), mean_history(done)


def ganfit_runs(frames: int, settings: FitSettings, method: GanFit) -> list[int]:
    """Most steps of each run that `fit_ganfit` makes for so many frames."""
    return chunk_runs(frames, settings, method.settings.steps)


class _Chunk:
    """The frames in work. known: a chunk that found identity and texture for all frames, or None."""

    def __init__(
        self,
        pictures: Tensor,
        points: Tensor,
        mask: Tensor | None,
        model: FaceModel,
        start: FaceParams,
        settings: FitSettings,
        method: GanFit,
        lit: bool,
        shared: bool,
        known: _Chunk | None,
    ) -> None:
        self.result, self.error, self.history = start, start.angles.new_zeros(len(start)), {}
        self._model, self._start, self._method, self._textures = model, start, method, method.textures
        self._weights = method.weights
        self._unknowns = FaceUnknowns(model, start, shared, ("identity",) if known is None else ())
        self._skin, self._shown = _regions(model)
        vertices = self._unknowns.vertices(start)[:, model.faces[model.face_region].unique()]
        self._view = CloseUp.of(pictures, mask, vertices, start, settings.pixel_size)
        self._landmarks = LandmarkCost(model, points, eye_distance(model, start), start.camera, settings.landmark_noise)
        if method.settings.light == "point":
            self._lights = PointLights(start.angles, model.height)
        else:
            self._lights = HarmonicLights(start.angles, start.light if lit else None)
        self._latent = None if known is None else known.found["latent"]
        self._begin = {**self._unknowns.values, **self._lights.values}
        if known is None:
            self._begin["latent"] = self._textures.start(1 if shared else len(start))
        self._views = NovelViews(
            model, method.settings.views, method.settings.view_size, settings.field_of_view, method.settings.seed
        )
        self._marks = self._view.landmarks(points)
        if method.network is not None:
            with torch.no_grad():
                self._embedding, self._maps = method.network.look(
                    method.network.crops(self._view.target, self._marks)
                )
        self.found: dict[str, Tensor] = {}

    def go(self, watch: Watch | None, preview: Preview | None) -> None:
        """Fills in `result`, `error`, `found` and `history`."""
        latent = {"latent": self._method.settings.rate} if "latent" in self._begin else {}
        settings = AdamSettings(
            steps=self._method.settings.steps,
            schedule=SCHEDULE,
            rates={**self._unknowns.rates, **self._lights.rates, **latent},
            limits={**self._unknowns.limits, **self._lights.limits},
            keep_best=not self._weights.novel_view,  # with it, the lowest loss is that of the luckiest view
        )
        show = None if preview is None else lambda parameters: preview(self._result(parameters))
        run = minimise(self._begin, self._loss, settings, watch, show)
        self.found, self.history = run.parameters, run.history
        with torch.no_grad():
            self.result = self._result(self.found)
            drawn, weight = self._drawn(self.found, self._guess(self.found))
            off = (drawn.colour - self._view.target).norm(dim=1, keepdim=True) * weight
            self.error = off.flatten(1).sum(1) / weight.flatten(1).sum(1).clamp_min(1)

    def _loss(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Every term that has a weight, summed over the frames."""
        guess, weights, terms = self._guess(parameters), self._weights, {}
        if weights.pixels or weights.identity or weights.content:
            terms |= self._seen_terms(parameters, guess)
        if weights.novel_view:
            terms["novel_view"] = self._novel_term(guess)
        if weights.landmarks:
            terms["landmarks"] = self._landmark_term(guess)
        groups = [name for name in ("identity", "expression", "joints") if name in parameters]
        if weights.shape and groups:
            costs = [self._unknowns.prior(parameters, name).flatten(1).mean(1) for name in groups]
            terms["shape"] = torch.cat(costs) / IDENTITY_RIDGE
        if weights.light:
            terms["light"] = self._lights.cost(parameters)
        if weights.texture and "latent" in parameters:
            free = isinstance(self._textures.source, FreeTextures)
            terms["texture"] = self._textures.prior(parameters["latent"]) * (FREE if free else 1.0)
        return {name: getattr(weights, name) * term.sum() for name, term in terms.items()}

    def _seen_terms(self, parameters: Mapping[str, Tensor], guess: _Guess) -> dict[str, Tensor]:
        """Those of the render that stands as in the photograph."""
        drawn, weight = self._drawn(parameters, guess)
        target, terms = self._view.target, {}
        if self._weights.pixels:
            terms["pixels"] = pixel_term(drawn.colour, target, weight)
        if self._weights.identity or self._weights.content:
            network = self._method.network
            cover = self._view.allowed * self._on(drawn, self._shown)
            laid = target + cover * (drawn.colour - target)
            embedding, maps = network.look(network.crops(laid, self._marks))
            if self._weights.identity:
                terms["identity"] = identity_term(embedding, self._embedding)
            if self._weights.content:
                terms["content"] = content_term(maps, self._maps)
        return terms

    def _novel_term(self, guess: _Guess) -> Tensor:
        view = self._views.draw(guess.face.identity)
        vertices = self._unknowns.vertices(view)
        drawn = self._rendered(vertices, view, guess.texture, view.camera, view.light)
        picture = drawn.colour + BACKGROUND * (1 - drawn.alpha)
        points = project_landmarks(self._model, vertices.detach(), view.angles, view.translation, view.camera)
        marks = Landmarks(points, torch.ones_like(points[:, 0, 0]), view.camera.size)
        network = self._method.network
        return identity_term(network.embed(network.crops(picture, marks)), self._embedding)

    def _landmark_term(self, guess: _Guess) -> Tensor:
        pose = {name: getattr(guess.face, name) for name in ("angles", "translation")}
        off = self._landmarks.pixels_of(guess.vertices, pose)
        return landmark_term(off * self._view.scale.to(off)[:, None, None], self._view.camera.size[0])

    def _guess(self, parameters: Mapping[str, Tensor]) -> _Guess:
        face = self._unknowns.face(parameters)
        return _Guess(face, self._unknowns.vertices(face), self._texture(parameters))

    def _drawn(self, parameters: Mapping[str, Tensor], guess: _Guess) -> tuple[Rendered, Tensor]:
        """The face in the close-up, and how much each pixel counts [B, 1, S, S], which carries no gradient."""
        light = self._lights.drawn(parameters, guess.face)
        drawn = self._rendered(guess.vertices, guess.face, guess.texture, self._view.camera, light)
        with torch.no_grad():
            weight = self._view.allowed * self._on(drawn, self._skin) * (drawn.normals[:, 2:] > GRAZING)
        return drawn, weight

    def _rendered(
        self, vertices: Tensor, face: FaceParams, texture: Tensor, camera: Camera, light: Tensor | PhongLight
    ) -> Rendered:
        stands = place(vertices, face.angles, face.translation)
        mesh = PosedMesh(
            stands, self._model.faces, texture=texture, uv=self._model.uv, uv_faces=self._model.uv_faces
        )
        return render_mesh(mesh, camera, light, face.translation, DRAWING)

    def _on(self, drawn: Rendered, region: Tensor) -> Tensor:
        """[B, 1, S, S] 0 or 1: the pixel sees a triangle of `region` [F]."""
        return (region[drawn.fragments.face.clamp_min(0)] & drawn.fragments.covered)[:, None].to(drawn.colour)

    def _texture(self, parameters: Mapping[str, Tensor]) -> Tensor:
        return self._textures.albedo(parameters.get("latent", self._latent))

    def _result(self, parameters: Mapping[str, Tensor]) -> FaceParams:
        """The whole face: with the light as spherical harmonics and the albedo as a texture."""
        with torch.no_grad():
            face = self._unknowns.face(parameters)
            light = self._lights.harmonics(parameters)
            return replace(face, light=light, texture=self._texture(parameters).clamp(0, 1))


@dataclass(frozen=True, eq=False)
class _Guess:
    """B frames at one step. vertices: [B, V, 3] in model space. texture: [B or 1, 3, H, W] albedo."""

    face: FaceParams
    vertices: Tensor
    texture: Tensor


def _regions(model: FaceModel) -> tuple[Tensor, Tensor]:
    """[F] bool each: facial skin, whose colours are compared; and that with eyes and mouth, which gaze may move."""
    return model.face_region, model.face_region | ~model.skin_region
