"""A photograph's latent that a rig can still edit: five energies, first over one code, then over one a layer (PIE).

A plain inversion into W+ comes close to any picture by codes that the generator never makes by itself, which a rig
then reads and edits wrongly. Here the photograph is compared with what is drawn (synthesis, recognition), and random
latents v lend their pose, expression or light to the code: it must show theirs in **their** picture (edit), and all
else must stay the photograph's in the **photograph** (invariance, recognition again). An edit to what is there already
must change nothing (identity).

Source: Tewari et al. 2020, "PIE: Portrait Image Embedding for Semantic Control", section 4. Its weights are not
published; those here were chosen on portraits of the toon world, see `benchmarks/pie.md`. Adam instead of AdaDelta.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import UserError
from ..face.model import FaceModel
from ..networks.generator import Generator
from ..networks.rig import columns, swapped
from ..optimise import PROJECTOR, AdamSettings, Result, Watch, minimise
from ..perceptual import Distance
from ..types import FaceParams, Landmarks, Latent, common_batch
from .fit.frames import in_turn
from .identity import IdentityNetwork, similarity
from .inversion import (
    Inversion,
    InvertSettings,
    Weighted,
    finished,
    frozen,
    invert,
    invert_steps,
    statistics,
    targets,
)
from .latents import untruncated
from .render_distance import Portraits, RenderDistance
from .rig import Rig, in_order


@dataclass(frozen=True)
class EmbedWeights:
    """Of the energies. pyramid, pixel, perceptual: of the synthesis, as in `InvertSettings`. identity: of the mean
    squared change by an edit to what is there, in spreads of W. edit, invariance: of `RenderDistance`. recognition: of
    squared distances of embeddings; edited_recognition: the same after an edit.
    """

    pyramid: float = InvertSettings.pyramid
    pixel: float = InvertSettings.pixel
    perceptual: float = InvertSettings.perceptual
    identity: float = 0.1
    edit: float = 0.3
    invariance: float = 0.15
    recognition: float = 0.0003
    edited_recognition: float = 0.0003


@dataclass(frozen=True)
class EmbedSettings:
    """How a photograph is embedded.

    approach_steps: of plain inversion into W before, from the best of several starts. w_steps: with all energies over
    one code. plus_steps: then over one a layer, which starts from it; 0 stays in W. PIE: 2000 and 1000, the first 500
    of them (here the approach) without v. rate: the highest learning rate. every: recognition and the terms of v, which
    take most of the time, are worked out at every so-manieth step and weigh as much more. side: pixels in which faces
    are drawn and compared; pictures that are smaller keep their size. seed: of all chance.
    """

    approach_steps: int = 100
    w_steps: int = 150
    plus_steps: int = 150
    rate: float = InvertSettings.rate
    every: int = 4
    side: int = 64
    seed: int = 0
    weights: EmbedWeights = EmbedWeights()

    @property
    def approach(self) -> InvertSettings:
        """The plain inversion."""
        chosen = {name: getattr(self.weights, name) for name in ("pyramid", "pixel", "perceptual")}
        return InvertSettings(space="W", steps=self.approach_steps, rate=self.rate, seed=self.seed, **chosen)

    @property
    def runs(self) -> list[int]:
        """Steps that are reported to a watch, run by run."""
        return [invert_steps(self.approach), self.w_steps, self.plus_steps]


@dataclass(frozen=True, eq=False)
class Embedding:
    """What was found, for B portraits.

    inversion: the latent and how close its picture comes. similarity: [B] cosines of the recogniser between portrait
    and picture, or None without one. change: [B] what an edit to what is there already changes, in spreads of W.
    history: every term at every step with all energies, a portrait's mean; NaN where it was not worked out.
    """

    inversion: Inversion
    similarity: Tensor | None
    change: Tensor
    history: dict[str, list[float]]

    @property
    def latent(self) -> Latent:
        return self.inversion.latent

    def report(self) -> str:
        """A line a portrait."""
        lines = []
        for number, (psnr, change) in enumerate(zip(self.inversion.psnr, self.change, strict=True)):
            alike = "" if self.similarity is None else f", similarity {self.similarity[number]:.2f}"
            lines.append(f"portrait {number + 1}: PSNR {psnr:.1f} dB{alike}, an edit to itself changes {change:.1%}")
        return "\n".join(lines)


def embed_portrait(
    picture: Tensor,
    generator: Generator,
    rig: Rig,
    model: FaceModel,
    face: FaceParams,
    settings: EmbedSettings = EmbedSettings(),
    *,
    recogniser: IdentityNetwork | None = None,
    perceptual: Distance | None = None,
    watch: Watch | None = None,
) -> Embedding:
    """Latents of the portraits `picture` [B, 3, H, W] 0…1, framed as the generator's own pictures, all in one descent.

    rig: of this generator and of `model`. face: what the portraits show, B frames or 1 on the same pictures, by a fit
    or a regressor. recogniser: without one there is no recognition. perceptual: LPIPS, as for `invert`.
    UserError for a rig or face of another generator, model or size; RuntimeError under inference mode.
    """
    energies = Energies(picture, generator, rig, model, face, settings, recogniser, perceptual)
    watches = iter(in_turn(watch, settings.runs))
    near = invert(energies.target, energies.generator, settings.approach, perceptual=perceptual, watch=next(watches))
    codes, history = near.latent.w[:, :1], {}
    for steps in (settings.w_steps, settings.plus_steps):
        if steps:
            run = _descent(codes, energies, steps, settings.rate, next(watches))
            history = _joined(history, run.history)
            codes = run.parameters["w"]
        codes = codes.expand(-1, generator.num_ws, -1)
    found = finished(codes, generator, energies.target, None, run if history else near.result)
    with torch.no_grad():
        alike = None if recogniser is None else energies.similarity(found.picture)
        change = energies.change(found.latent.w).sqrt()
    return Embedding(found, alike, change, {name: [v / len(codes) for v in term] for name, term in history.items()})


class Energies:
    """The energies of codes [B, L, C] against B portraits, each [B]; what never changes is worked out once.

    target: [B, 3, H, W], the portraits at the generator's size. generator: frozen.
    """

    def __init__(
        self,
        picture: Tensor,
        generator: Generator,
        rig: Rig,
        model: FaceModel,
        face: FaceParams,
        settings: EmbedSettings = EmbedSettings(),
        recogniser: IdentityNetwork | None = None,
        perceptual: Distance | None = None,
    ) -> None:
        _check(picture, generator, rig, model, face)
        frames = common_batch(portraits=len(picture), faces=len(face))
        self.target = targets(picture, None, generator)[0].expand(frames, -1, -1, -1)
        self.generator, self.rig, self.components = frozen(generator), rig, in_order(rig.rignets)
        weights = settings.weights
        self._distance = Weighted(weights.pyramid, weights.pixel, weights.perceptual, perceptual)
        self._renders, self._recogniser = RenderDistance(model), recogniser
        side = min(settings.side, *generator.size)
        self._size = side, round(side * generator.size[1] / generator.size[0])
        with torch.no_grad():
            self.spread = statistics(self.generator)[1]
            self.rows = rig.rows_of(face).expand(frames, -1)
            self.portraits = self.seen(self.target, self.rows)
            self._wanted = None if recogniser is None else self._embedded(self.target, self.rows)
        self._weights, self._every, self._made = weights, settings.every, 0
        self._random = torch.Generator().manual_seed(settings.seed)

    def drawn(self, ws: Tensor) -> Tensor:
        """[B, 3, H, W] of codes [B, 1 or L, C]."""
        return self.generator.draw(self.generator.latent(ws.expand(-1, self.generator.num_ws, -1)))

    def seen(self, pictures: Tensor, rows: Tensor) -> Portraits:
        """Pictures that show faces of these rows, in the size in which they are compared."""
        points = self._renders.points(self.rig.placed(rows))
        return Portraits(pictures, points).resized(self._size)

    def change(self, ws: Tensor) -> Tensor:
        """PIE's identity energy: squared length of what edits to the present parameters change, in spreads of W; the
        mean over layers and components.
        """
        present = self.rig.rows(ws)
        moves = [self.rig.moved(ws, present, component, present) - ws for component in self.components]
        return (torch.stack(moves) / self.spread).square().sum(3).mean(dim=(0, 2))

    def edit(self, seen: Portraits, rows: Tensor, edited: Tensor, component: str) -> Tensor:
        """How far v, `seen` and read as `rows` [1, P], is from itself with the `component` of the rows `edited` [B, P],
        which is v's once the edit has succeeded.
        """
        return self._renders(seen, self.rig.placed(self._swapped(rows, edited, component)[0]))

    def invariance(self, edited: Tensor, component: str) -> Tensor:
        """How far the portraits are from the faces of the rows `edited` with the portraits' own `component`."""
        return self._renders(self.portraits, self.rig.placed(self._swapped(self.rows, edited, component)[1]))

    def recognition(self, drawn: Tensor, rows: Tensor) -> Tensor:
        """Squared distance of the portraits' embeddings from those of pictures that show faces of these rows."""
        return (self._embedded(drawn, rows) - self._wanted).square().sum(1)

    def similarity(self, drawn: Tensor) -> Tensor:
        """Cosines between the portraits and pictures of the same framing."""
        return similarity(self._embedded(drawn, self.rows), self._wanted)

    def __call__(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weighted terms of the codes `values["w"]`, summed over portraits.

        At every so-manieth call those that take long, too: recognition, and those of a random v, which lends one
        component after the other.
        """
        ws = values["w"].expand(-1, self.generator.num_ws, -1)
        drawn = self.drawn(ws)
        terms = self._distance(drawn, self.target, None)
        if self._weights.identity:
            terms["identity"] = self._weights.identity * self.change(ws).sum()
        turn, rest = divmod(self._made, self._every)
        self._made += 1
        if rest == 0:
            dear = self._lent(ws, self.components[turn % len(self.components)])
            if self._wanted is not None and self._weights.recognition:
                dear["recognition"] = self._weights.recognition * self.recognition(drawn, self.rows).sum()
            terms |= {name: self._every * term for name, term in dear.items()}
        return terms

    def _lent(self, ws: Tensor, component: str) -> dict[str, Tensor]:
        """The terms of a random v that lends its `component`."""
        weights = self._weights
        if not (weights.edit or weights.invariance or weights.edited_recognition):
            return {}
        with torch.no_grad():
            z = torch.randn(1, self.generator.z_dim, generator=self._random).to(self.generator.device)
            other = self.generator.latent(untruncated(self.generator, z)).w
            rows = self.rig.rows(other)
            seen = self.seen(self.drawn(other).clamp(0, 1), rows)
        moved = self.rig.moved(ws, rows.expand(len(ws), -1), component)
        edited, terms = self.rig.rows(moved), {}
        if weights.edit:
            terms["edit"] = weights.edit * self.edit(seen, rows, edited, component).sum()
        if weights.invariance:
            terms["invariance"] = weights.invariance * self.invariance(edited, component).sum()
        if self._wanted is not None and weights.edited_recognition:
            alike = self.recognition(self.drawn(moved), edited)
            terms["edited_recognition"] = weights.edited_recognition * alike.sum()
        return terms

    def _swapped(self, rows: Tensor, edited: Tensor, component: str) -> tuple[Tensor, Tensor]:
        places = columns(self.rig.coding.groups, component)
        return swapped(self.rows, rows.expand(len(edited), -1), edited, places)

    def _embedded(self, pictures: Tensor, rows: Tensor) -> Tensor:
        with torch.no_grad():
            points = self._renders.points(self.rig.placed(rows))
            marks = Landmarks(points, torch.ones_like(points[:, 0, 0]), tuple(pictures.shape[-2:]))
        return self._recogniser.embed(self._recogniser.crops(pictures, marks))


def _check(picture: Tensor, generator: Generator, rig: Rig, model: FaceModel, face: FaceParams) -> None:
    if rig.generator.fingerprint != generator.id.fingerprint:
        raise UserError(
            f"The rig '{rig.name}' was trained for generator '{rig.generator.name}', not for '{generator.id.name}'. "
            "Load the rig of that generator, or train one with Train Rig."
        )
    if not rig.rignets:
        raise UserError(f"The rig '{rig.name}' edits nothing, and nothing is to be kept editable. Train its networks.")
    if model.layout != rig.layout:
        raise UserError(
            f"The rig '{rig.name}' speaks of the face model '{rig.layout}', and '{model.layout}' is connected. "
            "Connect the rig's."
        )
    face.require_layout(rig.layout)
    if tuple(face.camera.size) != tuple(picture.shape[-2:]):
        (high, wide), (height, width) = face.camera.size, picture.shape[-2:]
        raise UserError(
            f"The face parameters belong to pictures of {wide} × {high} pixels, the portraits have {width} × {height}. "
            "Connect parameters of these very portraits, from Regress Face Params or Fit 3DMM."
        )


def _descent(codes: Tensor, energies: Energies, steps: int, rate: float, watch: Watch) -> Result:
    """The last state: with another v each time, the lowest cost is the luckiest v."""
    settings = AdamSettings(steps=steps, rate=rate, schedule=PROJECTOR, keep_best=False)
    return minimise({"w": codes}, energies, settings, watch, lambda values: energies.drawn(values["w"])[0].detach())


def _joined(before: Mapping[str, list[float]], after: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """Two runs' histories as one; a term that a short run never worked out is NaN there."""
    gaps = [[math.nan] * max(map(len, run.values()), default=0) for run in (before, after)]
    return {name: [*before.get(name, gaps[0]), *after.get(name, gaps[1])] for name in {**before, **after}}
