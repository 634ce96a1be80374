"""The toon landmark finder's lesson: where faces are in any picture, and where their 68 points.

The scout learns from small scenes into which portraits are put at every size that it has to know, beside and over
pictures without faces; the marker from squares round a face, missed as the scout and its own first look miss, and from
squares that hold none. Both networks: `core.networks.landmark_finder`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..face.landmarks import EYE_CORNERS, mirrored_points, move_points
from ..methods.find_toon import FORMAT, VERSION, WIDER, ToonFinder, box_of, crops, roll_of, squares
from ..networks.landmark_finder import FACE_SIDE, STRIDE, FinderOptions, LandmarkFinder
from ..toon.corpus import Corpus
from .faceless import backdrop
from .spoiling import coarser, spoiled
from .supervised import CHANCE, WEIGHTS, Rows, SupervisedSettings, generator, halved
from .toon_measures import finder_quality
from .toon_truth import corpus_fingerprint

SCENE = 96
"""Side of the scout's pictures."""
SCENES = 0.25
"""Share of the pictures of a step that are scenes; the scout has much less to learn."""
SIZES = (-0.85, 0.75)
"""Range of a face's size as the scout tells it: log2 of its side by FACE_SIDE; more than the octave it must know."""
TOO_LARGE, LARGEST = 1.25, 2.2
"""Sizes of faces that a copy of the picture half as large will show, so that the scout has to pass over them."""
EMPTY, OVERSIZED, HALVES = 0.35, 0.08, 0.25
"""Shares of the scenes without a face, with one that is too large, and of two halves."""
INSIDE, NEAR = 0.16, 0.45
"""Distances from a face's middle in its sides: cells nearer than the first show a face, beyond the second none; between
nothing is asked."""
LEAN = 0.35
"""Largest turn of a face in its scene, radians, besides its own."""
CERTAIN = 2.0
"""Exponent by which sure answers count less (Lin et al. 2017, "Focal loss"); theirs."""
ROUGH = (0.14, 0.30, 0.35)
FINE = (0.04, 0.08, 0.06)
"""How far squares miss: deviations of the shift in sides of the box, of log2 of the size, of the turn in radians; as
the scout gives them, and as the marker's first look does."""
NO_FACE = 0.35
"""Share of the squares that hold none."""
COARSE, COARSEST, GRAIN, GLARE = 0.4, 0.35, 0.03, 0.15
"""Of the squares and scenes: see `core.training.spoiling`."""
WEIGHTS_OF = {"face": 1.0, "place": 0.5, "size": 0.5, "points": 10.0, "verdict": 0.5}
SHEET = 8
"""Pictures on a sheet."""


class LandmarksLesson:
    """A `supervised.Lesson`: scenes and squares made from a corpus of portraits."""

    product = "toon_landmarks"

    def __init__(
        self,
        corpus: Corpus,
        settings: SupervisedSettings,
        held_out: Corpus | None = None,
        options: FinderOptions | None = None,
    ) -> None:
        """corpus: of portraits; it may still grow. settings: `batch` counts scenes and squares. held_out: of other
        people, to measure with.
        """
        self.corpus, self.held_out, self._seed = corpus, held_out, settings.seed
        self._size, self._points = corpus.settings.size, corpus.truth("landmarks68")
        self._rows = Rows(self._grown, settings.batch, settings.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator(settings.seed, WEIGHTS).initial_seed())
            network = LandmarkFinder(options)
        self._side = network.marker.side
        middle, side = box_of(self._points)
        matrices = squares(middle, side, roll_of(self._points), self._side)
        network.marker.mean.copy_((move_points(self._points, matrices) / self._side - 0.5).mean(0))
        self.network: nn.Module = network
        self.fingerprint = corpus_fingerprint(corpus)

    @property
    def about(self) -> str:
        return f"{len(self._points)} toon portraits of {self._size}² and pictures without a face, made by code"

    def losses(self, network: nn.Module, step: int, run: Callable[..., Any]) -> dict[str, Tensor]:
        rows = self._rows.at(step)
        count, random = max(round(len(rows) * SCENES), 1), generator(self._seed, CHANCE, step)
        scenes, wanted, asked = self._scenes(rows[:count], random)
        faces, points, shown = self._squares(rows[count:], random)
        maps, marked, logits = run(network, scenes, faces)
        off = (marked - points).norm(dim=2).mean(1)
        apart = (points[:, EYE_CORNERS[0][0]] - points[:, EYE_CORNERS[1][1]]).norm(dim=1).clamp(min=1e-3)
        terms = scout_terms(maps, wanted, asked)
        terms["points"] = (off / apart)[shown].sum() / shown.sum().clamp(min=1)
        terms["verdict"] = functional.binary_cross_entropy_with_logits(logits, shown.float())
        return {name: WEIGHTS_OF[name] * term for name, term in terms.items()}

    def progress(self) -> dict[str, Any]:
        return {"rows": self._rows.progress()}

    def go_on(self, progress: Mapping[str, Any]) -> None:
        self._rows.go_on(progress["rows"])

    def sheet(self, network: nn.Module) -> Tensor:
        """Pictures of the corpus with the points that are found in them."""
        rows = torch.linspace(0, self.corpus.count - 1, SHEET).long()
        pictures = self.corpus.pictures(rows).float() / 255
        for picture, faces in zip(pictures, ToonFinder(self.product, network).find(pictures), strict=True):
            for face in faces:
                column, row = face.points.long().clamp(0, self._size - 1).unbind(1)
                picture[:, row, column] = torch.tensor([0.0, 1.0, 0.0])[:, None]
        return torch.cat(list(pictures), 2)

    def packed(self, network: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
        """What `core.methods.find_toon` reads; layers in half precision."""
        metadata = {"format": FORMAT, "version": VERSION}
        if self.held_out is not None:
            quality = finder_quality(ToonFinder(self.product, network), self.held_out)
            metadata["measured"] = json.dumps({name: round(value, 4) for name, value in quality.items()})
        return halved(network.state_dict()), metadata

    def _grown(self) -> int:
        if self.corpus.refresh() != len(self._points):
            self._points = self.corpus.truth("landmarks68")
        return len(self._points)

    def _portraits(self, rows: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Pictures [B, 3, S, S] 0…1 and points [B, 68, 2] of those rows, half of them mirrored."""
        flip = torch.rand(len(rows), generator=random) < 0.5
        pictures, points = self.corpus.pictures(rows).float() / 255, self._points[rows]
        pictures = torch.where(flip[:, None, None, None], pictures.flip(3), pictures)
        return pictures, torch.where(flip[:, None, None], mirrored_points(points, self._size), points)

    # Scenes for the scout ---------------------------------------------------------------------------------------------

    def _scenes(self, rows: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures [B, 3, SCENE, SCENE], what the maps should be [B, 4, h, w], and what is asked of a cell [B, h, w]:
        1 to show a face, 0 none, −1 nothing.
        """
        count = len(rows)
        pictures, points = self._portraits(rows, random)
        walls = torch.stack([backdrop(SCENE, picture, random) for picture in pictures.roll(1, 0)])
        kind = torch.rand(count, generator=random)
        empty, oversized = kind < EMPTY, kind > 1 - OVERSIZED
        low = torch.where(oversized, TOO_LARGE, SIZES[0])
        high = torch.where(oversized, LARGEST, SIZES[1])
        size = low + (high - low) * torch.rand(count, generator=random)
        middle, side = box_of(points)
        turn = (torch.rand(count, generator=random) * 2 - 1) * LEAN
        zoom = FACE_SIDE * 2**size / side
        place = SCENE * (0.08 + 0.84 * torch.rand(count, 2, generator=random))
        matrices = squares(middle, SCENE / (WIDER * zoom), turn, SCENE)
        matrices[:, :2, 2] += place - SCENE / 2
        seen = crops(pictures, matrices, SCENE)
        behind = torch.rand(count, generator=random) < 0.5
        cut = (_inside(matrices, self._size) | behind[:, None, None]) & ~empty[:, None, None]
        scenes = torch.where(cut[:, None], seen, walls)
        middle, side = box_of(move_points(points, matrices))
        wanted, asked = targets(middle, side, ~(empty | oversized), ~empty)
        halves = torch.rand(count, generator=random) < HALVES
        other = torch.arange(SCENE) >= SCENE // 2
        scenes = torch.where(halves[:, None, None, None] & other, scenes.roll(1, 0), scenes)
        cells = halves[:, None, None] & other[STRIDE // 2 :: STRIDE]
        wanted = torch.where(cells[:, None], wanted.roll(1, 0), wanted)
        asked = torch.where(cells, asked.roll(1, 0), asked)
        order = torch.randperm(count, generator=random)
        return spoiled(scenes[order], GRAIN, GLARE, random), wanted[order], asked[order]

    # Squares for the marker -------------------------------------------------------------------------------------------

    def _squares(self, rows: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures [B, 3, side, side], points [B, 68, 2] in sides from the middle, whether a face is shown [B]."""
        count, side = len(rows), self._side
        pictures, points = self._portraits(rows, random)
        shown = torch.rand(count, generator=random) >= NO_FACE
        bare = ~shown & (torch.rand(count, generator=random) < 0.6)
        walls = [backdrop(self._size, pictures[number - 1], random) for number in bare.nonzero()[:, 0].tolist()]
        scenes = pictures.clone()
        if walls:
            scenes[bare] = torch.stack(walls)
        middle, box = box_of(points)
        rough = (torch.rand(count, generator=random) < 0.5)[:, None]
        shift, size, turn = torch.where(rough, torch.tensor(ROUGH), torch.tensor(FINE)).unbind(1)
        missed = torch.randn(count, 4, generator=random).clamp(-2, 2)
        away = _elsewhere(count, random) * (~shown)[:, None]
        middle = middle + (missed[:, :2] * shift[:, None] + away[:, :2]) * box[:, None]
        box = box * 2 ** (missed[:, 2] * size + away[:, 2])
        matrices = squares(middle, box, roll_of(points) + missed[:, 3] * turn, side)
        seen = crops(scenes, matrices, side)
        order = torch.randperm(count, generator=random)
        seen = spoiled(coarser(seen[order], COARSE, COARSEST, random), GRAIN, GLARE, random)
        return seen, (move_points(points, matrices) / side - 0.5)[order], shown[order]


def targets(middle: Tensor, side: Tensor, known: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    """One face a scene: middle [B, 2] and side [B] in pixels -> maps [B, 4, h, w] and what is asked [B, h, w].

    known: [B] the scout has to find it; there: [B] it is in the picture at all, so that cells near it are not asked
    where it need not be found, but for those at its middle, which must not be taken for a smaller face.
    """
    cells = (torch.arange(SCENE // STRIDE) + 0.5) * STRIDE
    dx, dy = torch.broadcast_tensors(
        middle[:, 0, None, None] - cells[None, None, :], middle[:, 1, None, None] - cells[None, :, None]
    )
    far = torch.hypot(dx, dy)
    own = (dx.abs() <= STRIDE / 2) & (dy.abs() <= STRIDE / 2)
    at, near = (far <= INSIDE * side[:, None, None]) | own, far <= NEAR * side[:, None, None]
    asked = torch.where(near & known[:, None, None], -1, 0)
    asked = torch.where(at & known[:, None, None], 1, asked)
    size = (side / FACE_SIDE).clamp(min=1e-3).log2()[:, None, None].expand_as(dx)
    return torch.stack([(asked > 0).float(), dx / STRIDE, dy / STRIDE, size], 1), asked * there[:, None, None]


def scout_terms(maps: Tensor, wanted: Tensor, asked: Tensor) -> dict[str, Tensor]:
    """Losses of the scout's maps [B, 4, h, w]: is there a face, where is its middle, how large is it."""
    shows, counts = asked > 0, (asked > 0).sum().clamp(min=1)
    logits = maps[:, 0]
    surprise = functional.binary_cross_entropy_with_logits(logits, shows.float(), reduction="none")
    doubt = (logits.sigmoid() - shows.float()).abs() ** CERTAIN
    place, size = (maps[:, 1:3] - wanted[:, 1:3]).abs().sum(1), (maps[:, 3] - wanted[:, 3]).abs()
    return {
        "face": (surprise * doubt)[asked >= 0].sum() / counts,
        "place": place[shows].sum() / counts,
        "size": size[shows].sum() / counts,
    }


def _inside(matrices: Tensor, size: int) -> Tensor:
    """[B, SCENE, SCENE] bool: the pixel comes from within a picture of size²."""
    places = torch.arange(SCENE) + 0.5
    pixels = torch.stack([places[None].expand(SCENE, -1), places[:, None].expand(-1, SCENE)], -1)
    back = move_points(pixels.reshape(1, -1, 2).expand(len(matrices), -1, -1), torch.linalg.inv(matrices.double()))
    return ((back >= 0) & (back <= size)).all(2).unflatten(1, (SCENE, SCENE))


def _elsewhere(count: int, random: torch.Generator) -> Tensor:
    """[B, 3] shifts in sides of a box and log2 of a size that leave no face in it: beside, only a part, or far away."""
    turn = torch.rand(count, generator=random) * 2 * torch.pi
    reach = 0.75 + 0.6 * torch.rand(count, generator=random)
    kind = torch.randint(3, (count,), generator=random)
    shift = torch.stack([turn.cos(), turn.sin()], 1) * torch.where(kind == 0, reach, 0.3)[:, None]
    size = torch.where(kind == 1, -1.3, torch.where(kind == 2, 1.3, 0.0))
    return torch.cat([shift, size[:, None]], 1)
