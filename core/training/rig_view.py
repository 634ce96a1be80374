"""What the trainings of a rig compare: a face drawn from a row of parameters, with the picture of a latent.

The face is drawn at the vertices of a coarse mesh, as MoFA draws it: every vertex that faces the camera has a colour
and a place in the picture, and is compared with the picture's colour there. No pixel is settled between triangles, so a
step takes a tenth of the time that rasterising at 64² takes. Landmarks are compared beside it.

Source: L_render of Tewari et al. 2020, "StyleRig", section 4; the vertices of Tewari et al. 2017, "MoFA", section 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from ..face.camera import place, project
from ..face.coarse import coarse_face
from ..face.coding import FaceCoding
from ..face.light import shade
from ..face.model import FaceModel
from ..face.normals import vertex_normals
from ..methods.fit.landmarks_stage import project_landmarks
from ..methods.render_distance import LANDMARK_WEIGHT
from .latent_corpus import LatentCorpus

GRAZING = 0.1
"""Least cosine between a vertex's normal and the way to the camera at which it counts: beyond, outlines and what hides
it decide its colour."""
STEP = 1e-2
"""Deviations by which a number is changed to see what it does."""
SAMPLE = 48
"""Faces on which that is seen."""


class View(Protocol):
    """Compares what numbered latents show with rows of parameters."""

    def distances(self, numbers: Tensor, rows: Tensor, shown: Tensor | None = None) -> dict[str, Tensor]:
        """Weighted terms [B] of latents `numbers` [B] int64 and rows [B, P], differentiable in these.

        shown: rows [B, P] that stand for what the latents show, where their pictures are not looked at.
        """


@dataclass(frozen=True, eq=False)
class Drawn:
    """B faces at their vertices. Places in sides of the picture, x to the right and y down from its top left corner.

    places: [B, V, 2]. colours: [B, V, 3], not clamped. weights: [B, V], how much of the picture each stands for; no
    gradient. marks: [B, 68, 2], or None where they were not asked for.
    """

    places: Tensor
    colours: Tensor
    weights: Tensor
    marks: Tensor | None


class FaceView:
    """The view of a corpus of latents through a face model."""

    def __init__(self, corpus: LatentCorpus, model: FaceModel, coding: FaceCoding) -> None:
        self.corpus = corpus
        self.coding = unlimited(coding)
        coarse = coarse_face(model)
        self._marked = coarse.landmark_basis()
        self._model = coarse.subset(coarse.faces[coarse.face_region | ~coarse.skin_region].unique())
        self._faces = self._model.faces[self._model.face_region | ~self._model.skin_region]
        self._areas = _areas(self._model, self._faces)

    def distances(self, numbers: Tensor, rows: Tensor, shown: Tensor | None = None) -> dict[str, Tensor]:
        """colours: mean squared difference over the vertices that are seen. places: mean squared distance of landmarks,
        with `shown` of those vertices, in sides of the picture.
        """
        found = self.drawn(rows, marks=shown is None)
        if shown is None:
            pictures = self.corpus.pictures(numbers).to(rows)
            grid = found.places[:, :, None] * 2 - 1
            colours = functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
            colours, weights = colours.squeeze(3).mT, found.weights
            marks = self.corpus.points[numbers].to(rows) / self.corpus.side
            places = (found.marks - marks).square().sum(2).mean(1)
        else:
            with torch.no_grad():
                wanted = self.drawn(shown, marks=False)
            colours, weights = wanted.colours, wanted.weights
            places = _mean((found.places - wanted.places).square().sum(2), weights)
        colour = _mean((found.colours - colours).square().mean(2), weights)
        return {"colours": colour, "places": LANDMARK_WEIGHT * places}

    def drawn(self, rows: Tensor, marks: bool = True) -> Drawn:
        """Rows [B, P], beyond the model's limits as well: a limit would stop gradients."""
        params, model = self.coding.decode(rows), self._model
        shape = params.identity, params.expression, params.joints
        stands = place(model.vertices(*shape), params.angles, params.translation)
        normals = vertex_normals(stands, self._faces)
        places = project(params.camera, stands, params.translation)[..., :2] / params.camera.size[0]
        colours = model.vertex_albedo(params.albedo) * shade(params.light, normals)
        facing = (normals * functional.normalize(-stands, dim=-1)).sum(-1)
        weights = (facing * (facing > GRAZING) * self._areas).detach()
        if not marks:
            return Drawn(places, colours, weights, None)
        points = project_landmarks(
            self._marked, self._marked.vertices(*shape), params.angles, params.translation, params.camera
        )
        return Drawn(places, colours, weights, points / params.camera.size[0])

    @torch.no_grad()
    def effects(self) -> Tensor:
        """[P] what one deviation of each number does to the drawing: root of the squared changes of colours and,
        weighted as in `distances`, of places, a mean over vertices and faces.

        Source of the idea: the weighted parameter distance of Zhu et al. 2016, "3DDFA", section 3.3.
        """
        chosen = torch.linspace(0, len(self.corpus.rows) - 1, min(SAMPLE, len(self.corpus.rows))).long()
        rows = self.coding.encode(self.corpus.params[self.corpus.rows[chosen]])
        before, effects = self.drawn(rows, marks=False), []
        weights = before.weights / before.weights.sum()
        for number in range(rows.shape[1]):
            moved = rows.clone()
            moved[:, number] += STEP
            after = self.drawn(moved, marks=False)
            squares = (after.colours - before.colours).square().mean(2)
            squares = squares + LANDMARK_WEIGHT * (after.places - before.places).square().sum(2)
            effects.append((squares * weights).sum().sqrt() / STEP)
        return torch.stack(effects)


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """[B, V] twice -> [B]."""
    return (values * weights).sum(1) / weights.sum(1).clamp_min(torch.finfo(values.dtype).tiny)


def unlimited(coding: FaceCoding) -> FaceCoding:
    """The same rows without limits on what they decode to: at a limit there is no gradient."""
    ends = {"low": torch.full_like(coding.low, -torch.inf), "high": torch.full_like(coding.high, torch.inf)}
    tensors = {"mean": coding.mean, "scale": coding.scale, **ends}
    return FaceCoding(coding.layout, coding.groups, coding.joints, coding.side, coding.focal, tensors)


def _areas(model: FaceModel, faces: Tensor) -> Tensor:
    """[V] a third of the area of the triangles round each vertex of the mean face."""
    like = model.colours
    still = like.new_zeros(1, len(model.joints), 3)
    rest = model.vertices(like.new_zeros(1, len(model.identity)), like.new_zeros(1, len(model.expression)), still)[0]
    a, b, c = rest[faces].unbind(1)
    each = torch.linalg.cross(b - a, c - a).norm(dim=1) / 6
    return torch.zeros(len(rest), device=each.device).index_add(0, faces.flatten(), each.repeat_interleave(3))
