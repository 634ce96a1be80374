"""The second stage of a rig: a RigNet learns to move one component of a face and nothing else.

Pairs of latents (w, v): the edited code shall show v's component. Both of its losses draw faces. The edited code's
component on everything else of v is compared with the picture of v: only the component can be to blame. Everything but
the component, on w's, is compared with the picture of w. And w with its own parameters shall stay as it is. Every pair
is used both ways. DFR is frozen; gradients go through it.

Source: Tewari et al. 2020, "StyleRig", section 4.3; what it leaves open is chosen here and said where it is.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..networks.rig import COMPONENTS, DEFAULT_MODE, RigNet, columns, given, inputs_of, swapped
from .corrector import covariance
from .dfr import require_same
from .loop import Step
from .rig_measures import measured, residual
from .rig_view import View
from .supervised import CHANCE, WEIGHTS, Rows, SupervisedSettings, SupervisedTrainer, generator

RECONSTRUCTION = 40.0
"""Weight of the squared residual, as a share of the codes' variance. Chosen by the residual on held-out latents."""
CONSISTENCY = 8.0
"""Weight of what else changes, by that of the edit. Chosen on the toon generator: with 1 the error for pose is 0.11 and
the leak 0.24, with 8 they are 0.24 and 0.17, and light leaks 0.10 in place of 0.15."""
NATURAL = 0.001
"""Weight of an edit's length; chosen so that it costs less than the edit itself where both agree."""
SHRINKAGE = 0.01
"""Share of the mean variance that is added to the codes' covariance, which may have directions without any."""
LEAST_UNIT = 1e-9
"""Of a loss, for groups that are never drawn."""
SHEET = 10
"""Latents on a sheet."""
VALIDATE_EVERY = 100
"""Steps between two looks at held-out latents."""
MOST_VALIDATED = 256
"""Held-out latents that are looked at."""

Groups = Sequence[tuple[str, int]]


@dataclass(frozen=True)
class RigNetSettings:
    """components: what is trained, each by a network of its own; more than one: together, by the sum of their edits.

    mode: of `networks.rig.MODES`. layers: by component, those that its network changes; all where it is not named.
    reconstruction, edit, consistency: weights of the three losses; the last two are in units of what another face's
    parameters cost. natural: weight of an edit's squared length in deviations of the codes, a layer and an edited
    number: of all edits that DFR believes in, the likeliest among codes. pictures: compare with the pictures, as
    published, in place of the face that DFR reads in them: hair, glasses, and a regressor's light that is not the
    picture's best then pull at the edit. balanced: the consistency of one group of parameters at a time, each in its
    own unit; else of all at once, in which what moves most of the picture drowns the rest.
    """

    components: tuple[str, ...]
    mode: str = DEFAULT_MODE
    layers: Mapping[str, Sequence[int]] | None = None
    reconstruction: float = RECONSTRUCTION
    edit: float = 1.0
    consistency: float = CONSISTENCY
    natural: float = NATURAL
    pictures: bool = False
    balanced: bool = True

    def __post_init__(self) -> None:
        if not self.components or set(self.components) - COMPONENTS.keys():
            raise UserError(
                f"A rig edits {', '.join(COMPONENTS)}; asked for is {', '.join(self.components) or 'nothing'}."
            )


class Codes(Protocol):
    """Latents to learn from, such as a `LatentCorpus`. rows, held_out: those to train on and to measure with."""

    rows: Tensor
    held_out: Tensor
    fingerprint: str
    about: str

    def codes(self, rows: Tensor) -> Tensor:
        """[N, L, C]."""


@dataclass(frozen=True, eq=False)
class Reader:
    """Reads rows of parameters in codes. dfr: trained. groups: of the rows. within: keeps rows to the limits that
    parameters have. effects: [P], see `rig_measures`.
    """

    dfr: nn.Module
    groups: Groups
    effects: Tensor
    within: Callable[[Tensor], Tensor] = lambda rows: rows

    @torch.no_grad()
    def rows(self, codes: Tensor) -> Tensor:
        return self.within(self.dfr(codes))


class RigNetLesson:
    """A `supervised.Lesson` for the RigNets of one component, or of several together."""

    def __init__(
        self, codes: Codes, reader: Reader, view: View, settings: SupervisedSettings, rig: RigNetSettings,
        draw: Callable[[Tensor], Tensor] | None = None, pack: Callable[..., Any] | None = None,
    ) -> None:  # fmt: skip
        """draw: pictures [B, 3, S, S] 0…1 of codes [B, L, C], for sheets; None shows none. pack: makes the product of
        {component: RigNet} and notes; None packs the networks alone.
        """
        self.corpus, self.reader, self.view, self.settings = codes, reader, view, rig
        self.product = "_".join(rig.components)
        self._draw, self._pack = draw, pack
        self._places = {name: columns(reader.groups, name) for name in rig.components}
        self._union = sorted({place for places in self._places.values() for place in places})
        self._seed = settings.seed
        self._batch = Rows(lambda: len(codes.rows), settings.batch, settings.seed)
        if settings.batch < 2:
            raise UserError("A RigNet learns from pairs, so a batch has 2 latents or more.")
        sample = codes.codes(codes.rows[:: max(len(codes.rows) // 1000, 1)])
        self._variance = (sample - sample.mean(0)).square().flatten(1).sum(1).mean()
        self._whiten = _whitening(sample).to(reader.effects)
        self._read = reader.rows(sample.to(reader.effects))
        layers, width = sample.shape[1:]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator(settings.seed, WEIGHTS).initial_seed())
            networks = {
                name: RigNet(layers, width, inputs_of(rig.mode, reader.groups, name), rig.mode,
                             (rig.layers or {}).get(name))
                for name in rig.components
            }  # fmt: skip
        self.network: nn.Module = nn.ModuleDict(networks)
        edited = {group for name in rig.components for group in COMPONENTS[name]}
        self._others = [name for name, count in reader.groups if name not in edited and count]
        self._usual = self._measure_units()
        self.fingerprint = codes.fingerprint
        self.about = f"{', '.join(rig.components)} ({rig.mode}); {codes.about}"

    def losses(self, network: nn.Module, step: int, run: Callable[..., Any]) -> dict[str, Tensor]:
        first = self.corpus.rows[self._batch.at(step)]
        half = len(first) // 2
        first = first[: 2 * half]
        second = first.roll(half)  # so that every pair comes both ways
        device = self.reader.effects.device
        ws = self.corpus.codes(first).to(device)
        own = self.reader.rows(ws)
        other = own.roll(half, 0)
        edited = self.moved(network, ws, own, other)
        found = self.reader.dfr(edited)
        as_other, as_own = swapped(own, other, found, self._union)
        rig, kept = self.settings, self.moved(network, ws, own, own)
        terms = {"reconstruction": rig.reconstruction * (kept - ws).square().flatten(1).sum(1).mean() / self._variance}
        far = ((edited - ws) @ self._whiten).square().sum(2).mean()
        terms["natural"] = rig.natural / len(self._union) * far
        terms["edit"] = rig.edit / self._usual["edit"] * self._distance(second, as_other, other).mean()
        if not rig.balanced:
            whole = self._distance(first, as_own, own)
            return terms | {"consistency": rig.consistency / self._usual["consistency"] * whole.mean()}
        names = list(self._others)
        which = torch.randint(len(names), (len(ws),), generator=generator(self._seed, CHANCE, step))
        one = torch.stack([self._mask(name) for name in names])[which].to(device)
        parts = self._distance(first, torch.where(one, as_own, own), own)
        usual = parts.new_tensor([self._usual[name] for name in names])[which]
        return terms | {"consistency": rig.consistency * (parts / usual).mean()}

    def _distance(self, numbers: Tensor, rows: Tensor, shown: Tensor) -> Tensor:
        """[B]."""
        shown = None if self.settings.pictures else shown
        return torch.stack(list(self.view.distances(numbers, rows, shown).values())).sum(0)

    def _mask(self, name: str) -> Tensor:
        """[P] bool: the numbers of a group."""
        return torch.cat([torch.full((count,), name == other) for other, count in self.reader.groups])

    @torch.no_grad()
    def _measure_units(self) -> dict[str, float]:
        """What the losses are for another face: its component ('edit'), all but that ('consistency'), or one group."""
        numbers = self.corpus.rows[torch.linspace(0, len(self.corpus.rows) - 1, MOST_VALIDATED).long()]
        own = self.reader.rows(self.corpus.codes(numbers).to(self.reader.effects.device))
        other = own.roll(1, 0)
        rows = dict(zip(("edit", "consistency"), swapped(own, own, other, self._union), strict=True))
        rows |= {name: torch.where(self._mask(name).to(own.device), other, own) for name in self._others}
        floor = self._distance(numbers, own, own)
        usual = {name: self._distance(numbers, changed, own) - floor for name, changed in rows.items()}
        return {name: max(float(value.mean()), LEAST_UNIT) for name, value in usual.items()}

    def moved(self, network: nn.Module, ws: Tensor, own: Tensor, wanted: Tensor) -> Tensor:
        """Codes [B, L, C] with all components as the rows `wanted` [B, P] have them; own: what DFR reads in `ws`.

        Several components are edited one after the other; what is read in between is taken not to change.
        """
        for name, places in self._places.items():
            ws = network[name](ws, given(self.settings.mode, own, wanted, places))
        return ws

    def progress(self) -> dict[str, Any]:
        rig = self.settings
        told = {"mode": rig.mode, "components": list(rig.components),
                "layers": {name: list(layers) for name, layers in (rig.layers or {}).items()}}  # fmt: skip
        return {"rows": self._batch.progress(), **told}

    def go_on(self, progress: Mapping[str, Any]) -> None:
        require_same(self.progress(), progress)
        self._batch.go_on(progress["rows"])

    @torch.no_grad()
    def validation(self, network: nn.Module) -> dict[str, float]:
        """Edit error, leaks and residual of every component, edited alone, on held-out latents, as DFR reads them."""
        numbers = self.corpus.held_out[:MOST_VALIDATED]
        ws = self.corpus.codes(numbers).to(self.reader.effects.device)
        own = self.reader.rows(ws)
        other, spread = own.roll(1, 0), self._read.std(0)
        found: dict[str, float] = {}
        for name, places in self._places.items():
            after, kept = (
                network[name](ws, given(self.settings.mode, own, wanted, places)) for wanted in (other, own)
            )
            result = measured(
                own, self.reader.rows(after), other, spread, self.reader.groups, name, self.reader.effects
            )
            found |= {f"{name} error": result.error, f"{name} leak": result.leak}
            found |= {f"{name} leak {group}": value for group, value in result.leaks.items()}
            found[f"{name} residual"] = residual(ws, kept)
        return found

    def sheet(self, network: nn.Module) -> Tensor:
        """Held-out latents across, below them the same with a component of the next one, row by row."""
        if self._draw is None:
            return torch.zeros(3, 1, 1)
        ws = self.corpus.codes(self.corpus.held_out[:SHEET]).to(self.reader.effects.device)
        own = self.reader.rows(ws)
        rows = [ws]
        for name, places in self._places.items():
            rows.append(network[name](ws, given(self.settings.mode, own, own.roll(-1, 0), places)))
        return torch.cat([torch.cat(list(self._draw(row).cpu()), 2) for row in rows], 1).clamp(0, 1)

    def networks(self, network: nn.Module) -> dict[str, RigNet]:
        """By component, for use."""
        return {name: copy.deepcopy(each).eval().requires_grad_(False) for name, each in network.items()}

    def packed(self, network: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
        """A rig with the networks of these components; without `pack` their tensors alone."""
        notes = {"measured": json.dumps({name: round(value, 4) for name, value in self.validation(network).items()})}
        if self._pack is None:
            return dict(network.state_dict()), notes
        return self._pack(self.networks(network), notes)


def _whitening(codes: Tensor) -> Tensor:
    """[C, C], times which differences of codes [N, L, C], of any layer, have deviation 1 in all directions."""
    values, vectors = torch.linalg.eigh(covariance(codes))
    return vectors / (values.clamp_min(0) + SHRINKAGE * values.mean()).sqrt()


class RigTrainer(SupervisedTrainer):
    """Logs what held-out latents say beside the losses, now and then. Its lessons have a `validation(network)`."""

    def load_state(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Asks the lesson first: another one's weights may not even fit."""
        self.lesson.go_on(plain["progress"])
        super().load_state(tensors, plain)

    def advance(self, step: int) -> Step:
        done = super().advance(step)
        if step % VALIDATE_EVERY:
            return done
        return replace(done, figures={**done.figures, **self.lesson.validation(self.average)})
