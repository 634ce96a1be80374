"""How good the toon networks are, on people that no training has seen."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..face.landmarks import EYE_CORNERS, Face
from ..face.model import FaceModel
from ..face.surface import JAW_LANDMARKS
from ..methods.find_toon import ToonFinder
from ..methods.identity import IdentityNetwork
from ..methods.regress import FaceRegressor
from ..toon.corpus import BARE, Corpus
from ..types import FaceParams, Landmarks
from .toon_truth import corpus_params, projected

AT_ONCE = 32
"""Pictures in work at once."""
VARIES = 0.02
"""Deviation of a value over the measured pictures below which its correlation says nothing; no mood shows a tongue."""
CORRELATED = ("identity", "expression", "albedo", "light", "joints")
THINNED = 10
"""Every so-manieth vertex of the face is enough to measure shapes."""
NOWHERE_NEAR = 0.5
"""Mean error of a face's points, in distances between its eyes' outer corners, that is another face."""
STRANGERS, OWN = 0.999, 0.01
"""Quantiles of the similarities of different people, and of pictures of one person, that become thresholds."""


@torch.no_grad()
def regressor_quality(regressor: FaceRegressor, corpus: Corpus, model: FaceModel) -> dict[str, float]:
    """On the portraits of `corpus`, which `model` drew, without landmarks.

    pitch, yaw, roll: median error in degrees; angles: median over the pictures of the mean of the three.
    identity, expression, albedo, light, joints: correlation of all the values that vary, each round its true mean,
    taken as one list; '… each': the mean of the values' own correlations, of which many are hardly to be seen.
    'identity shape': correlation of where identity alone puts vertices of the face, round their mean. points: median
    over the pictures of the mean distance of the face's vertices in the picture, percent of its side.
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


@torch.no_grad()
def identity_quality(network: IdentityNetwork, corpus: Corpus) -> dict[str, float]:
    """On the portraits of `corpus`, several of each person, cut by their true landmarks.

    AUC: chance that two pictures of one person are more alike than two of different people, over all pairs; 'dressed':
    neither is a bare head (they differ in view, mood, light and outfit); 'bare and dressed': one of each; 'other hair',
    'other glasses or hat': of the dressed pairs of one person only those, against all dressed pairs of different
    people. strangers at most: similarity that one pair of different people in a thousand exceeds; same at least: that
    one pair of one person in a hundred misses.
    """
    size, landmarks = corpus.settings.size, corpus.truth("landmarks68")
    person, bare = corpus.truth("person"), corpus.truth("kind") == BARE
    found = []
    for rows, pictures in zip(torch.arange(corpus.count).split(AT_ONCE), _pictures(corpus), strict=True):
        marks = Landmarks(landmarks[rows], torch.ones(len(rows)), (size, size))
        found.append(network.embed(network.crops(pictures, marks)))
    alike = torch.cat(found) @ torch.cat(found).T
    same = person[:, None] == person
    pairs = torch.ones_like(same).triu(1)
    dressed = pairs & ~bare[:, None] & ~bare
    scenes = [corpus.settings.scene_of(number)[0] for number in range(corpus.count)]
    hair = _differ([scene.hair.style for scene in scenes])
    worn = _differ([(scene.glasses.shape, scene.hat.kind) for scene in scenes])
    quality = {
        "AUC": _auc(alike, same, pairs),
        "AUC dressed": _auc(alike, same, dressed),
        "AUC bare and dressed": _auc(alike, same, pairs & (bare[:, None] != bare)),
        "AUC other hair": _auc(alike, same, dressed & (hair | ~same)),
        "AUC other glasses or hat": _auc(alike, same, dressed & (worn | ~same)),
    }
    quality["strangers at most"] = torch.quantile(_some(alike[pairs & ~same]), STRANGERS).item()
    quality["same at least"] = torch.quantile(_some(alike[pairs & same]), OWN).item()
    return quality


@torch.no_grad()
def finder_quality(finder: ToonFinder, corpus: Corpus) -> dict[str, float]:
    """On the pictures of `corpus`, one face in each.

    error, error mean: median and mean over the pictures of the mean distance of the 68 points from the true ones, in
    percent of the distance between the outer corners of the eyes; without jaw: of the 51 others. missed: pictures whose
    best face is nowhere near, percent. extra: faces beyond the first, in percent of the pictures.
    """
    true, errors, extra = corpus.truth("landmarks68"), [], 0
    for rows, pictures in zip(torch.arange(corpus.count).split(AT_ONCE), _pictures(corpus), strict=True):
        for marks, faces in zip(true[rows], finder.find(pictures), strict=True):
            extra += max(len(faces) - 1, 0)
            errors.append((marks_error(faces, marks), marks_error(faces, marks, JAW_LANDMARKS)))
    found = torch.tensor(errors)
    known = found[found.isfinite().all(1)]
    return {
        "error": known[:, 0].median().item(),
        "error mean": known[:, 0].mean().item(),
        "error without jaw": known[:, 1].median().item(),
        "missed": (1 - len(known) / corpus.count) * 100,
        "extra": extra / corpus.count * 100,
    }


def marks_error(faces: Sequence[Face], true: Tensor, first: int = 0) -> float:
    """Mean distance of the best face's points from `true` [68, 2], those from `first` on, in percent of the distance
    between the eyes' outer corners; infinite where no face is there or it is another one.
    """
    if not faces:
        return math.inf
    outer = (true[EYE_CORNERS[0][0]] - true[EYE_CORNERS[1][1]]).norm()
    off = (faces[0].points - true).norm(dim=1) / outer
    return off[first:].mean().item() * 100 if off.mean() < NOWHERE_NEAR else math.inf


def _auc(alike: Tensor, same: Tensor, pairs: Tensor) -> float:
    """Area under the curve of true by false positives: Mann and Whitney's U over all pairs; ties count half."""
    own, strange = alike[pairs & same].double(), alike[pairs & ~same].double().sort().values
    below, upto = (torch.searchsorted(strange, own, right=right) for right in (False, True))
    return ((below + upto).double() / 2 / len(strange)).mean().item()


def _differ(values: list[object]) -> Tensor:
    """[N, N] bool: values i and j are not equal."""
    names = sorted(set(values))
    number = torch.tensor([names.index(value) for value in values])
    return number[:, None] != number


def _some(values: Tensor) -> Tensor:
    """Evenly chosen ones, as many as `torch.quantile` takes."""
    return values[:: max(len(values) // 1_000_000, 1)]


def _pictures(corpus: Corpus) -> list[Tensor]:
    return [corpus.pictures(rows).float() / 255 for rows in torch.arange(corpus.count).split(AT_ONCE)]


def _at_rest(model: FaceModel, params: FaceParams) -> Tensor:
    """[B, V, 3] the model's vertices without expression."""
    return model.vertices(params.identity, torch.zeros_like(params.expression))


def _correlations(told: Tensor, true: Tensor) -> tuple[float, float]:
    """[N, K] twice -> mean of the columns' correlations, and that of all, round the means of the truth."""
    varies = true.std(0) > VARIES
    told, true = told[:, varies], true[:, varies]
    each = [_correlation(a, b) for a, b in zip(told.T, true.T, strict=True)]
    return sum(each) / max(len(each), 1), _correlation(told - true.mean(0), true - true.mean(0))


def _correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's, of all numbers in them."""
    a, b = a.double() - a.double().mean(), b.double() - b.double().mean()
    return ((a * b).sum() / (a.norm() * b.norm()).clamp(min=1e-12)).item()
