"""The toon recogniser: who a toon head is, whatever it does, wears or is lit by; the pack's own small ArcFace.

Source of the margin: Deng et al. 2019, "ArcFace". Its learnt class centres would each be seen a few times only, since
there are thousands of people with a handful of pictures; so the other pictures of the batch stand in for them: the mean
of a person's other pictures is the right answer, the means of the other people are the wrong ones (Snell et al. 2017,
"Prototypical networks"). One picture of each person is the bare head, so that hair and clothes do not help.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import UserError
from ..face.alignment import arcface
from ..face.crop import take
from ..face.landmarks import five_points
from ..methods.identity import DIFFERENT, FORMAT, SAME, VERSION, IdentityNetwork
from ..networks.generator import fingerprint
from ..networks.iresnet import IResNet, IResNetOptions
from ..toon.corpus import Corpus
from ..types import Landmarks
from .spoiling import coarser, spoiled
from .supervised import CHANCE, WEIGHTS, Rows, SupervisedSettings, generator, halved
from .toon_measures import identity_quality
from .toon_truth import corpus_fingerprint

OPTIONS = IResNetOptions(depths=(1, 2, 2, 1), widths=(16, 32, 64, 128), embedding=128)
"""1.2 million weights; about 70 crops of 112² a second on one core, forward and backward in bfloat16."""
MARGIN, SCALE = 0.3, 24.0
"""Radians added to the angle of the right answer, and what cosines are multiplied by. ArcFace's 0.5 and 64 are for ten
thousands of classes; here a batch holds some tens."""
MISSED = 0.012
"""Deviation of a point that a landmark finder gives, in distances between the eyes' middles."""
COARSE, COARSEST = 0.4, 0.43
"""Share of the crops seen at a lower resolution, and the lowest, as a share."""
GRAIN, GLARE = 0.03, 0.12
"""Deviation of noise at most, and the most by which brightness is off."""
SLOPE = 0.25
"""Of every PReLU, from start to end: learning slopes takes a quarter of the time on a CPU and gains little."""
SHEET = 8
"""People on a sheet, a column each."""


class IdentityLesson:
    """A `supervised.Lesson`: all pictures of some people of a corpus at a time, cut as ArcFace cuts them."""

    product = "toon_identity"

    def __init__(
        self,
        corpus: Corpus,
        settings: SupervisedSettings,
        held_out: Corpus | None = None,
        options: IResNetOptions = OPTIONS,
    ) -> None:
        """corpus: of portraits, 3 or more of each person; it may still grow. held_out: of other people, to measure
        with. UserError where the corpus or the batch is too small.
        """
        self.corpus, self.held_out, self._seed = corpus, held_out, settings.seed
        self._moments = corpus.settings.moments
        people = settings.batch // self._moments
        if self._moments < 3 or people < 2:
            raise UserError(
                f"A recogniser needs 3 or more pictures of each person and 2 or more people a step; this corpus has "
                f"{self._moments} of each and a batch of {settings.batch} holds {people} people."
            )
        self._points = five_points(corpus.truth("landmarks68"))
        self._rows = Rows(self._grown, people, settings.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator(settings.seed, WEIGHTS).initial_seed())
            self.network: nn.Module = IResNet(options)
        for module in list(self.network.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.PReLU):
                    setattr(module, name, FixedSlope(child.num_parameters))
        self.side, self.fingerprint = options.side, corpus_fingerprint(corpus)

    @property
    def about(self) -> str:
        return f"{len(self._points)} toon portraits of {len(self._points) // self._moments} people"

    def losses(self, network: nn.Module, step: int, run: Callable[..., Any]) -> dict[str, Tensor]:
        people = self._rows.at(step)
        rows = (people[:, None] * self._moments + torch.arange(self._moments)).flatten()
        crops = self._varied(rows, generator(self._seed, CHANCE, step))
        found = functional.normalize(run(network, crops * 2 - 1)).unflatten(0, (len(people), self._moments))
        return {"margin": margin_loss(found)}

    def progress(self) -> dict[str, Any]:
        return {"rows": self._rows.progress()}

    def go_on(self, progress: Mapping[str, Any]) -> None:
        self._rows.go_on(progress["rows"])

    def sheet(self, network: nn.Module) -> Tensor:
        """Crops, a column a person; under each a bar, the cosine with the first of its column, 0…1."""
        rows = torch.arange(SHEET * self._moments)[: self.corpus.count]
        crops = self._crops(rows, self._points[rows])
        found = functional.normalize(network(crops * 2 - 1)).unflatten(0, (-1, self._moments))
        crops = crops.unflatten(0, (-1, self._moments)).clone()
        alike = (found * found[:, :1]).sum(2).clamp(0, 1)
        bar = torch.arange(self.side) / self.side < alike[..., None]
        crops[:, :, :, -4:] = bar[:, :, None, None].to(crops)
        return torch.cat([torch.cat(list(person), 1) for person in crops], 2)

    def packed(self, network: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
        """What `core.methods.identity` reads; convolutions in half precision. The thresholds are those measured; where
        nobody was held out they are 0, so that no verdict says 'uncertain'.
        """
        metadata = {"format": FORMAT, "version": VERSION, DIFFERENT: "0.0", SAME: "0.0"}
        if self.held_out is not None:
            shown = IdentityNetwork(self.product, fingerprint(network.state_dict()), network)
            quality = identity_quality(shown, self.held_out)
            limits = sorted((quality["strangers at most"], quality["same at least"]))
            metadata |= {name: f"{limit:.3f}" for name, limit in zip((DIFFERENT, SAME), limits, strict=True)}
            metadata["measured"] = json.dumps({name: round(value, 4) for name, value in quality.items()})
        return halved(network.state_dict()), metadata

    def _grown(self) -> int:
        """People there are now, whole ones."""
        if self.corpus.refresh() != len(self._points):
            self._points = five_points(self.corpus.truth("landmarks68"))
        return len(self._points) // self._moments

    def _crops(self, rows: Tensor, points: Tensor) -> Tensor:
        """[B, 3, side, side] 0…1 of those rows, cut by points [B, 5, 2]."""
        pictures = self.corpus.pictures(rows).float() / 255
        size = (pictures.shape[2], pictures.shape[3])
        return take(pictures, arcface(Landmarks(points, torch.ones(len(points)), size), self.side))

    def _varied(self, rows: Tensor, random: torch.Generator) -> Tensor:
        """The crops of a step, mirrored, missed a little, blurred, in another order of moments every time."""
        points = self._points[rows]
        apart = (points[:, 0] - points[:, 1]).norm(dim=1)[:, None, None]
        crops = self._crops(rows, points + torch.randn(points.shape, generator=random) * apart * MISSED)
        flip = torch.rand(len(rows), 1, 1, 1, generator=random) < 0.5
        crops = torch.where(flip, crops.flip(3), crops)
        order = torch.randperm(len(rows), generator=random)
        crops = spoiled(coarser(crops[order], COARSE, COARSEST, random), GRAIN, GLARE, random)
        return crops[order.argsort()]


class FixedSlope(nn.PReLU):
    """A PReLU whose slopes stay as they are at the start; its weights are the published layer's."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        return functional.leaky_relu(x, SLOPE)


def margin_loss(embeddings: Tensor, margin: float = MARGIN, scale: float = SCALE) -> Tensor:
    """[P people, M pictures of each, D] of length 1 -> scalar.

    Cross entropy of the cosines with the people of the batch; a picture's own person is the mean of the others of M,
    and its angle counts `margin` radians more.
    """
    people, moments, _ = embeddings.shape
    total = embeddings.sum(1, keepdim=True)
    centres = functional.normalize(total[:, 0], dim=1)
    own = (embeddings * functional.normalize(total - embeddings, dim=2)).sum(2)
    far = own < math.cos(math.pi - margin)  # beyond, the cosine of the sum would rise again
    stricter = torch.where(far, own - margin * math.sin(margin), _cosine_of_sum(own, margin))
    cosines = torch.einsum("pmd,qd->pmq", embeddings, centres)
    right = torch.eye(people, dtype=torch.bool)[:, None]
    logits = torch.where(right, stricter[..., None], cosines) * scale
    return functional.cross_entropy(logits.flatten(0, 1), torch.arange(people).repeat_interleave(moments))


def _cosine_of_sum(cosine: Tensor, angle: float) -> Tensor:
    """cos(θ + angle) from cos θ."""
    return cosine * math.cos(angle) - (1 - cosine.square()).clamp(min=1e-6).sqrt() * math.sin(angle)
