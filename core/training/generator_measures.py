"""How much of the toon world a generator of portraits has learnt, by what the toon networks see in its pictures.

Source: Heusel et al. 2017, "GANs trained by a two time-scale update rule", section 4, for the Fréchet distance; here it
is taken between the features of the embedded networks instead of Inception's, since those know this world.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..face.crop import take
from ..face.model import FaceModel
from ..methods.fit.landmarks_stage import project_landmarks
from ..methods.identity import IdentityNetwork
from ..methods.regress import CodedRegressor
from ..types import FaceParams, Landmarks

SMILE = ("mouthSmile_L", "mouthSmile_R")
"""Expressions that make a smile; its strength is their mean."""


@dataclass(frozen=True, eq=False)
class Eyes:
    """What looks at pictures: a regressor for `model`, and a recogniser."""

    regressor: CodedRegressor
    identity: IdentityNetwork
    model: FaceModel


@dataclass(frozen=True, eq=False)
class Sights:
    """What was seen in N pictures.

    values: yaw, pitch, smile [N, 1] and light [N, 27], as the regressor gives them. features: [N, D] of identity (the
    embedding) and regressor (the mean of its last maps).
    """

    values: dict[str, Tensor]
    features: dict[str, Tensor]


@torch.no_grad()
def look(batches: Iterable[Tensor], eyes: Eyes) -> Sights:
    """Of portraits, batches of [B, 3, H, W] RGB 0…1 of any size, which the networks' crops bring to theirs.

    The recogniser's crop is cut by the landmarks of the head that the regressor sees.
    """
    values: dict[str, list[Tensor]] = {}
    features: dict[str, list[Tensor]] = {}
    for pictures in batches:
        params = eyes.regressor.regress(pictures)
        for name, value in _values(params, eyes.model).items():
            values.setdefault(name, []).append(value)
        crops = eyes.identity.crops(pictures, _landmarks(params, eyes.model))
        features.setdefault("identity", []).append(eyes.identity.embed(crops))
        features.setdefault("regressor", []).append(_last_maps(pictures, eyes.regressor))
    joined = [{name: torch.cat(parts) for name, parts in table.items()} for table in (values, features)]
    return Sights(*joined)


def spread_shares(samples: Sights, renders: Sights) -> dict[str, float]:
    """By value: the spread (root of the summed variances) over the samples by that over the renders."""
    return {name: spread(value) / spread(renders.values[name]) for name, value in samples.values.items()}


def frechet_distances(a: Sights, b: Sights) -> dict[str, float]:
    """By network."""
    return {name: frechet(values, b.features[name]) for name, values in a.features.items()}


def spread(values: Tensor) -> float:
    """[N, K] -> root mean square distance from the mean."""
    return values.double().var(0).sum().sqrt().item()


def frechet(a: Tensor, b: Tensor) -> float:
    """[N, D], [M, D] -> squared Wasserstein distance of the normal distributions with their means and covariances."""
    a, b = a.double(), b.double()
    first, second = (torch.atleast_2d(torch.cov(features.T)) for features in (a, b))
    root = _root(first)
    middle = torch.linalg.eigvalsh(root @ second @ root).clamp(min=0).sqrt().sum()
    return ((a.mean(0) - b.mean(0)).square().sum() + first.trace() + second.trace() - 2 * middle).item()


def _root(matrix: Tensor) -> Tensor:
    """Of a symmetric matrix without negative eigenvalues."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ (values.clamp(min=0).sqrt()[:, None] * vectors.T)


def _values(params: FaceParams, model: FaceModel) -> dict[str, Tensor]:
    smile = [model.expression.names.index(name) for name in SMILE]
    return {
        "yaw": params.angles[:, 1:2],
        "pitch": params.angles[:, :1],
        "smile": params.expression[:, smile].mean(1, keepdim=True),
        "light": params.light.flatten(1),
    }


def _landmarks(params: FaceParams, model: FaceModel) -> Landmarks:
    basis = model.landmark_basis()
    vertices = basis.vertices(params.identity, params.expression, params.joints)
    points = project_landmarks(basis, vertices, params.angles, params.translation, params.camera)
    return Landmarks(points, torch.ones(len(points)), params.camera.size)


def _last_maps(pictures: Tensor, regressor: CodedRegressor) -> Tensor:
    crops = take(pictures, regressor.crop(tuple(pictures.shape[2:]), None))
    return regressor.network.backbone(crops).mean((2, 3))
