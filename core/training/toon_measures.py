"""How good the toon networks are, on people that no training has seen."""

from __future__ import annotations

import torch
from torch import Tensor

from ..face.model import FaceModel
from ..methods.regress import FaceRegressor
from ..toon.corpus import Corpus
from ..types import FaceParams
from .toon_truth import corpus_params, projected

AT_ONCE = 32
"""Pictures in work at once."""
VARIES = 0.02
"""Deviation of a value over the measured pictures below which its correlation says nothing; no mood shows a tongue."""
CORRELATED = ("identity", "expression", "albedo", "light", "joints")
THINNED = 10
"""Every so-manieth vertex of the face is enough to measure shapes."""


@torch.no_grad()
def regressor_quality(regressor: FaceRegressor, corpus: Corpus, model: FaceModel) -> dict[str, float]:
    """On the portraits of `corpus`, which `model` drew, without landmarks.

    pitch, yaw, roll: median error in degrees; angles: median over the pictures of the mean of the three.
    identity, expression, albedo, light, joints: correlation of all the values that vary, each in deviations of the
    truth round its mean, taken as one list; '… each': the mean of the values' own correlations. 'identity shape':
    correlation of where identity alone puts vertices of the face, round their mean. points: median over the pictures of
    the mean distance of the face's vertices in the picture, percent of its side.
    """
    true = corpus_params(corpus, model)
    told = regressor.regress(torch.cat(_pictures(corpus)))
    off = (told.angles - true.angles).abs().rad2deg()
    quality = dict(zip(("pitch", "yaw", "roll"), off.median(0).values.tolist(), strict=True))
    quality["angles"] = off.mean(1).median().item()
    for name in CORRELATED:
        each, together = _correlations(getattr(told, name).flatten(1), getattr(true, name).flatten(1))
        quality |= {name: together, f"{name} each": each}
    face = model.subset(model.faces[model.face_region].unique()[::THINNED])
    shapes = [_at_rest(face, params) for params in (told, true)]
    quality["identity shape"] = _correlation(*(shape - shapes[1].mean(0) for shape in shapes))
    places = [projected(face, params) for params in (told, true)]
    quality["points"] = (places[0] - places[1]).norm(dim=2).mean(1).median().item() / corpus.settings.size * 100
    return quality


def _pictures(corpus: Corpus) -> list[Tensor]:
    return [corpus.pictures(rows).float() / 255 for rows in torch.arange(corpus.count).split(AT_ONCE)]


def _at_rest(model: FaceModel, params: FaceParams) -> Tensor:
    """[B, V, 3] the model's vertices without expression."""
    return model.vertices(params.identity, torch.zeros_like(params.expression))


def _correlations(told: Tensor, true: Tensor) -> tuple[float, float]:
    """[N, K] twice -> mean of the columns' correlations, and that of all in deviations of the truth."""
    varies = true.std(0) > VARIES
    told, true = told[:, varies], true[:, varies]
    each = [_correlation(a, b) for a, b in zip(told.T, true.T, strict=True)]
    spread, middle = true.std(0), true.mean(0)
    return sum(each) / max(len(each), 1), _correlation((told - middle) / spread, (true - middle) / spread)


def _correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's, of all numbers in them."""
    a, b = a.double() - a.double().mean(), b.double() - b.double().mean()
    return ((a * b).sum() / (a.norm() * b.norm()).clamp(min=1e-12)).item()
