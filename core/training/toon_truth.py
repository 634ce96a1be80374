"""What is known about the pictures of a toon corpus, as parameters, and what becomes of it in a mirror."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace

from torch import Tensor

from ..face.camera import place, project
from ..face.model import FaceModel
from ..toon.corpus import PARAMETERS, Corpus
from ..types import Camera, FaceParams

ODD_BANDS = (3, 4, 7)
"""Spherical harmonics that change their sign with x (`core.face.light`): x, xy, xz."""
MIRRORED_ANGLES = (1.0, -1.0, -1.0)
"""Pitch stays, yaw and roll turn round; so do a joint's axis-angles."""


def corpus_params(corpus: Corpus, model: FaceModel) -> FaceParams:
    """Of all pictures of a corpus that `model` drew, as they are known."""
    size = corpus.settings.size
    width = size // 2 if corpus.settings.figures else size
    camera = Camera(corpus.truth("focal"), corpus.truth("principal"), (size, width))
    parts = {name: corpus.truth(name) for name in PARAMETERS}
    return model.check(FaceParams(layout=model.layout, camera=camera, **parts))


def corpus_fingerprint(corpus: Corpus) -> str:
    """Equal for corpora whose pictures are drawn alike; how many are there already does not count."""
    settings = {name: value for name, value in asdict(corpus.settings).items() if name != "people"}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def mirrored_params(params: FaceParams, model: FaceModel) -> FaceParams:
    """Parameters that show the mirror image. The model's joints must come in pairs, such as eyes, or be none."""
    turned = params.angles.new_tensor(MIRRORED_ANGLES)
    light = params.light.clone()
    light[:, list(ODD_BANDS)] *= -1
    principal = params.camera.principal.clone()
    principal[:, 0] = params.camera.size[1] - principal[:, 0]
    return replace(
        params,
        identity=params.identity[:, list(model.identity.mirrored)],
        expression=params.expression[:, list(model.expression.mirrored)],
        albedo=params.albedo[:, list(model.albedo.mirrored)],
        joints=params.joints.flip(1) * turned,
        angles=params.angles * turned,
        translation=params.translation * params.translation.new_tensor([-1.0, 1.0, 1.0]),
        light=light,
        camera=replace(params.camera, principal=principal),
    )


def projected(model: FaceModel, params: FaceParams) -> Tensor:
    """[B, V, 2] pixels of a model's vertices, its joints at rest."""
    points = place(model.vertices(params.identity, params.expression), params.angles, params.translation)
    return project(params.camera, points, params.translation)[..., :2]
