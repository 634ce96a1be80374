"""The first stage of a rig: DFR learns to read face parameters in latents.

Two teachers, alone or together. A regressor has looked at every latent's picture, and its parameters are the answers:
each number weighs by what it does to the drawn face (the weighted parameter distance of Zhu et al. 2016, "3DDFA").
Or the pictures themselves: the face that DFR's parameters draw is compared with them, landmarks first (Tewari et al.
2020, "StyleRig", section 4.1, after Tewari et al. 2017, "MoFA").
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..face.coding import GROUPS, FaceCoding
from ..face.model import FaceModel
from ..face.render import RenderSettings, render
from ..methods.rig import Rig, packed
from ..networks.rig import WIDTH, Dfr, parts
from .corrector import solve_corrector
from .latent_corpus import LatentCorpus
from .rig_view import FaceView
from .supervised import WEIGHTS, Rows, SupervisedSettings, generator

REGRESSOR, PICTURES, BOTH = "regressor", "pictures", "both"
TEACHERS = (REGRESSOR, PICTURES, BOTH)
"""Who says what is right: parameters of a regressor, the pictures through the renderer, or the sum of the two."""
CODED = ("identity", "expression", "albedo", "joints", "angles", "light", "translation")
"""Groups of `core.face.coding` in the rows of a rig; joints only where the model has some."""
EARLY = 0.15
"""Part of a run by pictures in which landmarks and statistics alone are followed, so that the face is in place before
colours are compared; the fact that it takes some is jacobwjs/photometric_optimization's."""
STATISTICS = {"identity": 3e-4, "expression": 0.8 * 3e-4, "albedo": 1.7e-2 * 3e-4}
"""Weights of squared coefficients in the model's units. Source: Deep3DFaceRecon_pytorch, facerecon_model.py (w_reg,
w_id, w_exp, w_tex), whose colours are compared on a like scale."""
TINT = 10.0 * 3e-4
"""Weight of the squared distance of the light's three colours from their mean; Deep3DFaceRecon's 10 (w_gamma) on the
scale of the others."""
INPUT_NOISE = 0.25
"""Deviations of noise on codes. It makes DFR deaf to directions in which codes hardly differ and of which it knows
nothing; else a RigNet moves codes there, which only DFR believes. Chosen on a toon generator: with 0.5 DFR misses more,
with less hardly any less."""
MOST_CODES = 2000
"""Whose statistics are taken."""
SHEET = 10
"""Latents on a sheet, none of them trained on."""


@dataclass(frozen=True)
class DfrSettings:
    """teacher: one of TEACHERS. width: features of the inner layers. noise: on codes, deviations."""

    teacher: str = REGRESSOR
    width: int = WIDTH
    noise: float = INPUT_NOISE

    def __post_init__(self) -> None:
        if self.teacher not in TEACHERS:
            raise UserError(f"DFR is taught by one of {', '.join(TEACHERS)}; got '{self.teacher}'.")


class Centred(nn.Module):
    """DFR as it is trained: on codes brought to mean 0 and deviation 1. `plain` gives the same function as a `Dfr`."""

    def __init__(self, network: Dfr, mean: Tensor, deviation: Tensor) -> None:
        """mean: [L, C]. deviation: of all values together."""
        super().__init__()
        self.network = network
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)

    def forward(self, ws: Tensor) -> Tensor:
        return self.network((ws - self.mean) / self.deviation)

    @torch.no_grad()
    def plain(self) -> Dfr:
        """On codes as they are."""
        inner, device = self.network, self.mean.device
        made = Dfr(inner.num_ws, inner.w_dim, inner.outputs, inner.width).to(device)
        made.load_state_dict(inner.state_dict())
        first = made.layers[0]
        first.weight.div_(self.deviation)
        first.bias.sub_(first.weight @ self.mean.flatten())
        return made.eval().requires_grad_(False)


class DfrLesson:
    """A `supervised.Lesson`: codes of a corpus of latents, and the parameters or pictures that belong to them."""

    product = "dfr"

    def __init__(
        self, corpus: LatentCorpus, model: FaceModel, settings: SupervisedSettings, dfr: DfrSettings = DfrSettings()
    ) -> None:
        self.corpus, self.model, self.settings = corpus, model, dfr
        self.coding = rig_coding(corpus, model)
        self.view = FaceView(corpus, model, self.coding)
        self.effects = self.view.effects()
        self._seed, self._early = settings.seed, EARLY * settings.steps
        self._answers = self.coding.encode(corpus.params)
        self._rows = Rows(lambda: len(corpus.rows), settings.batch, settings.seed)
        codes = corpus.codes(corpus.rows[:: max(len(corpus.rows) // MOST_CODES, 1)])
        layers, width = codes.shape[1:]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator(settings.seed, WEIGHTS).initial_seed())
            inner = Dfr(layers, width, len(self.coding), dfr.width)
        self.network: nn.Module = Centred(inner, codes.mean(0), (codes - codes.mean(0)).std())
        self.fingerprint, self.about = corpus.fingerprint, f"{corpus.about}; taught by {dfr.teacher}"

    def losses(self, network: nn.Module, step: int, run: Callable[..., Any]) -> dict[str, Tensor]:
        numbers = self.corpus.rows[self._rows.at(step)]
        ws = self.corpus.codes(numbers)
        random = generator(self._seed, WEIGHTS + 1, step)
        ws = ws + self.settings.noise * self.network.deviation.cpu() * torch.randn(ws.shape, generator=random)
        found = run(network, ws.to(self.network.mean.device))
        terms: dict[str, Tensor] = {}
        if self.settings.teacher != PICTURES:
            terms |= self._from_regressor(found, self._answers[numbers].to(found))
        if self.settings.teacher != REGRESSOR:
            terms |= self._from_pictures(found, numbers, step)
        return terms

    def progress(self) -> dict[str, Any]:
        return {"rows": self._rows.progress(), **asdict(self.settings)}

    def go_on(self, progress: Mapping[str, Any]) -> None:
        require_same(self.progress(), progress)
        self._rows.go_on(progress["rows"])

    def sheet(self, network: nn.Module) -> Tensor:
        """Pictures of latents that are kept from the training, over the heads that DFR reads in them."""
        numbers = self.corpus.held_out[torch.arange(SHEET) % len(self.corpus.held_out)]
        rows = network(self.corpus.codes(numbers).to(self.network.mean.device)).cpu()
        drawn = render(self.model, self.coding.decode(self.coding.within(rows)), RenderSettings(antialias=False))
        pair = [self.corpus.pictures(numbers), drawn.colour]
        return torch.cat([torch.cat(list(row), 2) for row in pair], 1).clamp(0, 1)

    def packed(self, network: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
        """A rig that only reads."""
        measured = {name: round(value, 4) for name, value in self.validation(network).items()}
        return packed(self.rig(network), {"measured": json.dumps(measured), "teacher": self.settings.teacher})

    def rig(self, network: nn.Module) -> Rig:
        """The trained network as a rig without RigNets."""
        side, dfr = self.corpus.generator_size, network.plain()
        codes = self.corpus.codes(self.corpus.rows[:: max(len(self.corpus.rows) // MOST_CODES, 1)])
        corrector = solve_corrector(dfr, codes, self.coding.groups, self.effects)
        return Rig(self.product, self.corpus.generator, side, self.coding, dfr, {}, corrector)

    @torch.no_grad()
    def validation(self, network: nn.Module) -> dict[str, float]:
        """Share of each group's variance, weighted by what its numbers do, that is missed on held-out latents."""
        numbers = self.corpus.held_out
        found = network(self.corpus.codes(numbers).to(self.network.mean.device)).cpu()
        wanted, mean = self._answers[numbers], self._answers[self.corpus.rows].mean(0)
        missed = {}
        for name, part in parts(self.coding.groups).items():
            weight = self.effects[part].square()
            all_of_it = ((wanted - mean)[:, part].square() @ weight).mean().clamp_min(1e-12)
            missed[f"missed {name}"] = float(((found - wanted)[:, part].square() @ weight).mean() / all_of_it)
        return missed

    def _from_regressor(self, found: Tensor, wanted: Tensor) -> dict[str, Tensor]:
        """Within a group a number's squared error counts by the square of what it does; groups count alike, since
        places and colours have no common unit.
        """
        terms, squares = {}, (found - wanted).square()
        for name, part in parts(self.coding.groups).items():
            weight = self.effects[part].to(found).square()
            terms[name] = (squares[:, part] @ weight).mean() / weight.sum().clamp_min(1e-12)
        return terms

    def _from_pictures(self, found: Tensor, numbers: Tensor, step: int) -> dict[str, Tensor]:
        terms = {name: each.mean() for name, each in self.view.distances(numbers, found).items()}
        if step < self._early:
            terms["colours"] = 0 * terms["colours"]
        params = self.view.coding.decode(found)
        for name, weight in STATISTICS.items():
            terms[f"statistics {name}"] = weight * getattr(params, name).square().sum(1).mean()
        tint = params.light - params.light.mean(2, keepdim=True)
        return terms | {"tint": TINT * tint.square().sum((1, 2)).mean()}


def require_same(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """UserError where another run's progress has other settings than this one's; the rows it has come to may differ."""
    if changed := [name for name in ours if name != "rows" and ours[name] != theirs.get(name)]:
        found = ", ".join(f"{name} {theirs.get(name)} (now {ours[name]})" for name in changed)
        raise UserError(f"This run was begun with other settings: {found}. Set them back, or begin another run.")


def rig_coding(corpus: LatentCorpus, model: FaceModel) -> FaceCoding:
    """What the rows of a rig mean: the parameters of the corpus, each with mean 0 and deviation 1."""
    groups = [name for name in CODED if GROUPS[name].values(corpus.params[:1]).shape[1]]
    return FaceCoding.measured(corpus.params, model, groups)
