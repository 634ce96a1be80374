"""What is known about the pictures of a toon corpus, as parameters."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

from torch import Tensor

from ..face.camera import place, project
from ..face.model import FaceModel
from ..toon.corpus import PARAMETERS, Corpus
from ..types import Camera, FaceParams


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


def projected(model: FaceModel, params: FaceParams) -> Tensor:
    """[B, V, 2] pixels of a model's vertices, its joints at rest."""
    points = place(model.vertices(params.identity, params.expression), params.angles, params.translation)
    return project(params.camera, points, params.translation)[..., :2]
