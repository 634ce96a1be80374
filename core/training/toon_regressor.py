"""The toon regressor: a toon portrait to the parameters of the toon head, the pack's own small Deep3DFaceRecon.

Source of the idea: Deng et al. 2019 (`core.networks.recon_net`), with the answers known here instead of a renderer in
the loss, and a network that finds places, which shape is read from (`core.networks.keypoint_net`). The loss is the
squared error of every value in its own deviations, plus how far points of the face end up from their places in the
picture, which weighs values by what they do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..face.camera import rotation_matrix
from ..face.coding import FaceCoding
from ..face.mirror import mirror_of, mirrored_params
from ..face.model import FaceModel
from ..face.reframe import reframed
from ..face.render import RenderSettings, render
from ..methods.regress import CodedRegressor, Framing, Look, packed
from ..networks.keypoint_net import KeypointNet, KeypointNetOptions
from ..networks.resnet import ResNetOptions
from ..toon.corpus import Corpus
from ..toon.world.render import PORTRAIT
from ..types import FaceParams
from .spoiling import coarser, spoiled, warped
from .supervised import CHANCE, WEIGHTS, Rows, SupervisedSettings, generator, halved
from .toon_measures import regressor_quality
from .toon_truth import corpus_fingerprint, corpus_params, projected

TRUNK = ResNetOptions.basic((1, 2, 2), 40)
"""The whole network has 2.9 million weights."""
WEIGHTS_OF = {"identity": 6.0, "expression": 1.0, "albedo": 0.5, "joints": 0.3, "angles": 2.0, "light": 0.7,
              "translation": 1.0}  # fmt: skip
"""The groups of `core.face.coding`, in the order of the outputs, and the weight of each one's mean squared error."""
BY_SPREAD = ("identity", "expression", "albedo")
"""Groups in which a value counts by its deviation: many expressions are never more than a tremor."""
FRAMING = Framing(wider=1.11, raised=0.0, part=0.75, lowered=11 / 128)
"""The square that the regressor looks at, the middle 96 pixels of 128 across: the 68 points of 11,000 portraits never
leave it, and pixels of hair and shoulders would take half of the time."""
LOOKS = (Look(1 / 0.96, 0.02), Look(1 / 1.04, -0.02))
"""At each face, and at its mirror image: identity then has a correlation of 0.804 on held-out people, with one look and
its mirror image 0.796."""
FOCAL = PORTRAIT.distance / PORTRAIT.high / FRAMING.part
"""Sides of that square: the portraits' own camera at zoom 1."""
POINTS, POINT_WEIGHT = 160, 1.5
"""Points of the face that are compared in the picture, and the weight of their mean distance in percent of its side."""
SHIFT, ZOOM, TURN = 0.035, 0.06, 0.05
"""Largest shift in sides of the picture, change of size, turn in radians: generators and croppers are not exact."""
COARSE, COARSEST = 0.3, 0.42
"""Share of the pictures seen at a lower resolution, as small generators make them, and the lowest, as a share."""
GRAIN, GLARE = 0.02, 0.03
"""Deviation of noise at most, and the most by which brightness is off; more would contradict the light."""
EARLY, EARLY_SIDE = 0.2, 64
"""Part of the run in which pictures are shrunk to so many pixels, which takes half of the time: what is learnt is
kept when they grow (progressive resizing: Howard 2018, "Training ImageNet in 3 hours for $25")."""
SHEET = 8
"""Pictures on a sheet, each over the head that the regressor sees in it."""


class RegressorLesson:
    """A `supervised.Lesson`: pictures of a corpus of portraits, mirrored, moved, blurred, with their parameters."""

    product = "toon_regressor"

    def __init__(
        self,
        corpus: Corpus,
        head: FaceModel,
        settings: SupervisedSettings,
        held_out: Corpus | None = None,
        trunk: ResNetOptions = TRUNK,
    ) -> None:
        """corpus: of portraits; it may still grow. head: the face model that drew them. held_out: of other people, to
        measure with.
        """
        self.corpus, self.head, self.held_out = corpus, head, held_out
        self._seed, self._early = settings.seed, EARLY * settings.steps
        size = corpus.settings.size
        self._side = round(size * FRAMING.part)
        self._square = FRAMING.in_portrait((size, size), self._side).matrices.float()
        self._read()
        seen = reframed(self._params, self._square, (self._side, self._side))
        self.coding = FaceCoding.measured(seen, head, list(WEIGHTS_OF), FOCAL)
        self._rows = Rows(self._grown, settings.batch, settings.seed)
        on_face = head.faces[head.face_region].unique()
        self._points = head.subset(on_face[:: max(len(on_face) // POINTS, 1)])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator(settings.seed, WEIGHTS).initial_seed())
            network = KeypointNet(KeypointNetOptions(trunk, len(self.coding)))
        self.network: nn.Module = network.to(memory_format=torch.channels_last)  # a quarter faster on CPUs
        self.fingerprint = corpus_fingerprint(corpus)

    @property
    def about(self) -> str:
        return f"{len(self._params)} toon portraits of {self.corpus.settings.size}²"

    def losses(self, network: nn.Module, step: int, run: Callable[..., Any]) -> dict[str, Tensor]:
        rows = self._rows.at(step)
        random = generator(self._seed, CHANCE, step)
        pictures, params = self._varied(self.corpus.pictures(rows).float() / 255, rows, random)
        if step < self._early:
            pictures = functional.interpolate(pictures, (EARLY_SIDE, EARLY_SIDE), mode="bilinear", antialias=True)
        found, wanted = run(network, pictures), self.coding.encode(params)
        terms = {}
        squares, start = (found - wanted).square(), 0
        for name, count in self.coding.groups:
            shares = self.coding.scale[start : start + count]
            shares = shares if name in BY_SPREAD else (shares > 0).float()
            terms[name] = WEIGHTS_OF[name] * (squares[:, start : start + count] @ shares).mean() / shares.sum()
            start += count
        places = [projected(self._points, self.coding.decode(each)) for each in (found, wanted)]
        terms["points"] = POINT_WEIGHT * 100 / self._side * (places[0] - places[1]).norm(dim=2).mean()
        return terms

    def progress(self) -> dict[str, Any]:
        return {
            "rows": self._rows.progress(),
            "mean": self.coding.mean.tolist(),
            "deviation": self.coding.scale.tolist(),
        }

    def go_on(self, progress: Mapping[str, Any]) -> None:
        self.coding.mean.copy_(torch.tensor(progress["mean"]))
        self.coding.scale.copy_(torch.tensor(progress["deviation"]))
        self._rows.go_on(progress["rows"])

    def sheet(self, network: nn.Module) -> Tensor:
        """Pictures of the corpus over the heads that the network sees in them."""
        rows = torch.linspace(0, self.corpus.count - 1, SHEET).long()
        pictures = self.corpus.pictures(rows).float() / 255
        params = self.regressor(network).regress(pictures)
        drawn = render(self.head, params, RenderSettings(antialias=False)).colour
        return torch.cat([torch.cat(list(row), 2) for row in (pictures, drawn)], 1).clamp(0, 1)

    def regressor(self, network: nn.Module) -> CodedRegressor:
        """The network in use."""
        return CodedRegressor(network, self.coding, FRAMING, mirror_of(self.coding, self.head), LOOKS)

    def packed(self, network: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
        """What `core.methods.regress` reads; convolutions in half precision."""
        regressor, notes = self.regressor(network), {}
        if self.held_out is not None:
            quality = regressor_quality(regressor, self.held_out, self.head)
            notes["measured"] = json.dumps({name: round(value, 4) for name, value in quality.items()})
        tensors, metadata = packed(regressor, notes)
        return halved(tensors), metadata

    def _read(self) -> None:
        self._params = corpus_params(self.corpus, self.head)
        self._mirrored = mirrored_params(self._params, self.head)

    def _grown(self) -> int:
        """Rows there are now; their answers are read with them."""
        if self.corpus.refresh() != len(self._params):
            self._read()
        return self.corpus.count

    def _varied(self, pictures: Tensor, rows: Tensor, random: torch.Generator) -> tuple[Tensor, FaceParams]:
        """Squares [B, 3, side, side] of pictures [B, 3, S, S] 0…1, and their parameters, those rows', varied alike."""
        count, size, side = len(pictures), pictures.shape[-1], self._side
        flip = torch.rand(count, generator=random) < 0.5
        pictures = torch.where(flip[:, None, None, None], pictures.flip(3), pictures)
        params = _either(flip, self._mirrored[rows], self._params[rows])
        shift = (torch.rand(count, 2, generator=random) * 2 - 1) * SHIFT * size
        zoom = 1 + (torch.rand(count, generator=random) * 2 - 1) * ZOOM
        turn = (torch.rand(count, generator=random) * 2 - 1) * TURN
        matrices = self._square @ _about_middle(size, shift, zoom, turn)
        squares = coarser(warped(pictures, matrices, side), COARSE, COARSEST, random)
        return spoiled(squares, GRAIN, GLARE, random), reframed(params, matrices, (side, side))


def _either(first: Tensor, a: FaceParams, b: FaceParams) -> FaceParams:
    """Frames of `a` where `first` [B], else of `b`."""
    both = [[], []]
    for values, params in zip(both, (a, b), strict=True):
        params.map(lambda value, values=values: values.append(value) or value)
    chosen = iter(torch.where(first.view(-1, *[1] * (x.dim() - 1)), x, y) for x, y in zip(*both, strict=True))
    return a.map(lambda _: next(chosen))


def _about_middle(size: int, shift: Tensor, zoom: Tensor, turn: Tensor) -> Tensor:
    """[B, 3, 3] old pixels -> new: enlarged and turned about the middle of size², then shifted."""
    angles = torch.stack([torch.zeros_like(turn), torch.zeros_like(turn), turn], 1)
    matrices = rotation_matrix(angles)
    matrices[:, :2, :2] *= zoom[:, None, None]
    middle = torch.full((2,), size / 2)
    matrices[:, :2, 2] = middle + shift - (matrices[:, :2, :2] @ middle)
    return matrices
