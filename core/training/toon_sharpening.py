"""A scene generator made sharp: the regression goes on beside a discriminator that sees picture and scene.

Pixel losses blur whatever they cannot place exactly; an adversarial term prefers a crisp lash a pixel away. The
discriminator is a small convolutional one that judges patches at several scales (Isola et al. 2017, "Image-to-image
translation with conditional adversarial networks", section 3.2) and, at the coarsest, whether the picture fits the
scene (Miyato & Koyama 2018, "cGANs with projection discriminator"). Losses: non-saturating, with a lazy R1 penalty, as
in StyleGAN2. Half as many pictures again are drawn from codes of no scene and judged without one, so that those are
people too: codes between a scene and the mean, as truncation gives them, and codes that change from one scene to
another between two layers (Karras et al. 2019, "A style-based generator architecture", section 3.1). Only the
synthesis learns: scenes keep their codes, so a mapping network learnt for them stays right.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..networks.generator import usable_precision
from ..networks.layers import Convolution, FullyConnected
from ..networks.running import PRECISIONS
from ..toon.corpus import Corpus
from .images import mixed_seed
from .kept import below, kept_adam, restore_adam
from .loop import Step
from .stylegan2_losses import discriminator_loss, generator_loss, lazy_adam, r1_penalty
from .supervised import SupervisedSettings
from .toon_regression import SceneLesson, load_scene_generator, packed_scenes, reconstruction

WEIGHTS, CODES = range(2)
"""What chance is for: the second number of its seed."""
BETAS, R1_INTERVAL = (0.0, 0.99), 16
"""Of Adam; steps between two R1 penalties (stylegan2-ada-pytorch)."""
NEAREST = 0.5
"""Codes between scenes and their mean are at least this far from the mean."""
MIXED = 0.5
"""Share of the codes of no scene that are mixed of two."""
CENTRE_DECAY = 0.995
"""Of the running mean of codes (stylegan2-ada-pytorch, w_avg_beta)."""


@dataclass(frozen=True)
class SharpeningSettings:
    """batch: scenes a step. rate, judge_rate: Adam's, of generator and discriminator; they rise over `warm_up` steps
    and fall along half a cosine. reconstruction: weight of the regression's loss. adversarial: of the discriminator's
    verdict. r1: gamma. width: channels of the discriminator's first layer. half_life: of the averaged weights, steps.
    """

    steps: int = 4000
    batch: int = 12
    rate: float = 4e-3
    judge_rate: float = 6e-3
    warm_up: int = 100
    reconstruction: float = 1.5
    adversarial: float = 0.8
    r1: float = 0.3
    width: int = 32
    half_life: float = 300.0
    precision: str = "bf16"
    seed: int = 0


class Judge(nn.Module):
    """Pictures [B, 3, H, W] −1…1 and scenes [B, S] or None -> [B, N] scores of patches, coarse and fine."""

    def __init__(self, scenes: int, width: int, levels: int) -> None:
        super().__init__()
        self.first = Convolution(3, width, 3, "lrelu")
        self.layers, self.heads = nn.ModuleList(), nn.ModuleList()
        channels = width
        for level in range(levels):
            wider = min(width << (level + 1), 4 * width)
            self.layers.append(Convolution(channels, wider, 3, "lrelu", down=2))
            if level:
                self.heads.append(Convolution(wider, 1, 1))
            channels = wider
        self.fits = FullyConnected(scenes, channels)

    def forward(self, pictures: Tensor, scenes: Tensor | None, precision: torch.dtype | None = None) -> Tensor:
        x, scores = self.first(pictures.to(precision or pictures.dtype)), []
        for level, layer in enumerate(self.layers):
            x = layer(x)
            if level:
                scores.append(self.heads[level - 1](x).float().flatten(1))
        found = torch.cat(scores, 1)
        if scenes is not None:
            pooled = x.float().mean((2, 3))
            found = found + (pooled * self.fits(scenes)).sum(1, keepdim=True) / math.sqrt(x.shape[1])
        return found


class ToonSharpening:
    """The `Trainer` that makes a scene generator sharp."""

    product, main = "scene_generator", True

    def __init__(self, settings: SharpeningSettings, corpus: Corpus, start: Path) -> None:
        """start: the product of a regression, or of a run like this. UserError where the corpus does not fit it."""
        self.settings = settings
        self.notes: list[str] = []
        self.network = load_scene_generator(start).train()
        self.network.synthesis.requires_grad_(True)
        lesson = SupervisedSettings(batch=settings.batch, precision=settings.precision, seed=settings.seed)
        self.lesson = SceneLesson(self.network.options, corpus, lesson)
        levels = max(int(math.log2(self.network.options.resolution)) - 3, 2)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mixed_seed(settings.seed, WEIGHTS))
            self.judge = Judge(self.network.options.scenes, settings.width, levels)
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        judge_rate, betas = lazy_adam(settings.judge_rate, BETAS, R1_INTERVAL)
        self._adam = torch.optim.Adam(self.network.synthesis.parameters(), lr=settings.rate, betas=BETAS)
        self._judge_adam = torch.optim.Adam(self.judge.parameters(), lr=judge_rate, betas=betas)
        self._judge_rate = judge_rate

    def describe(self) -> str:
        """One line."""
        millions = [sum(p.numel() for p in net.parameters()) / 1e6 for net in (self.network, self.judge)]
        return f"Scene generator, {millions[0]:.2f} million weights, and judge, {millions[1]:.2f}; {self.lesson.about}"

    def advance(self, step: int) -> Step:
        """Generator, discriminator, and every R1_INTERVAL steps its penalty. Chance comes from the step's number."""
        s, device = self.settings, next(self.network.parameters()).device
        share = min((step + 1) / s.warm_up, 1.0) * 0.5 * (1 + math.cos(math.pi * min(step / s.steps, 1.0)))
        for adam, rate in ((self._adam, s.rate), (self._judge_adam, self._judge_rate)):
            for group in adam.param_groups:
                group["lr"] = rate * max(share, 1e-3)
        scenes, real, weight = (part.to(device) for part in self.lesson.batch_of(step))
        ramp = min(step / (2 * s.warm_up), 1.0)
        with torch.enable_grad():
            ws = self.network.encode(scenes)
            drawn = self._drawn(ws)
            between = self._drawn(self._no_scene(ws, step))
            terms = reconstruction(drawn, real, weight)
            terms = {name: s.reconstruction * value for name, value in terms.items()}
            self.judge.requires_grad_(False)
            verdict = self._judged(generator_loss, drawn, scenes) + self._judged(generator_loss, between, None)
            terms["verdict"] = s.adversarial * ramp * verdict
            whole = _descend(self._adam, self.network, sum(terms.values()))
            self.judge.requires_grad_(True)
            judged = self._judged(discriminator_loss, drawn.detach(), scenes, real)
            judged = judged + self._judged(discriminator_loss, between.detach(), None, real[: len(between)])
            told = {name: float(value.detach()) for name, value in terms.items()} | {"judge": float(judged.detach())}
            whole &= _descend(self._judge_adam, self.judge, judged)
            if step % R1_INTERVAL == 0:
                shown = real.detach().requires_grad_()
                penalty = r1_penalty(shown, self.judge(shown, scenes).mean(1)).mean() * s.r1 / 2
                told["r1"] = float(penalty.detach())
                whole &= _descend(self._judge_adam, self.judge, penalty * R1_INTERVAL)
        self._follow(ws.detach())
        return Step(told if whole else dict.fromkeys(told, math.nan))

    def sheet(self) -> Tensor:
        with torch.no_grad():
            return self.lesson.sheet(self.average)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {}
        for name in ("network", "average", "judge"):
            tensors |= {f"{name}.{key}": value for key, value in getattr(self, name).state_dict().items()}
        tensors |= kept_adam("adam.", self._adam, self.network) | kept_adam("judge_adam.", self._judge_adam, self.judge)
        return tensors, {"settings": asdict(self.settings), "progress": self.lesson.progress()}

    def load_state(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        ours = asdict(self.settings)
        if changed := [name for name in ours if ours[name] != plain["settings"].get(name)]:
            raise UserError(f"This run was begun with other settings: {', '.join(changed)}. Begin another run.")
        for name in ("network", "average", "judge"):
            getattr(self, name).load_state_dict(below(tensors, f"{name}."))
        restore_adam("adam.", self._adam, self.network, tensors)
        restore_adam("judge_adam.", self._judge_adam, self.judge, tensors)
        self.lesson.go_on(plain["progress"])

    def packed(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        tensors, metadata = packed_scenes(self.average)
        return tensors, {**metadata, "sharpening": json.dumps(asdict(self.settings)), "pictures": self.lesson.about}

    def _drawn(self, ws: Tensor) -> Tensor:
        precision = usable_precision(PRECISIONS[self.settings.precision], ws.device)
        return self.network.drawn(ws, precision)

    def _judged(self, loss: Callable[..., Tensor], drawn: Tensor, scenes: Tensor | None, *real: Tensor) -> Tensor:
        """Loss of the scores of `drawn`, and of `real` pictures where it takes them, as a share of a whole batch."""
        precision = usable_precision(PRECISIONS[self.settings.precision], drawn.device)
        scores = [self.judge(pictures, scenes, precision) for pictures in (drawn, *real)]
        return loss(*scores).mean() * len(drawn) / self.settings.batch

    def _no_scene(self, ws: Tensor, step: int) -> Tensor:
        """Half as many codes [N, num_ws, w_dim]: some of two scenes, the others nearer to the mean than scenes are."""
        random = torch.Generator().manual_seed(mixed_seed(self.settings.seed, CODES, step))
        count, layers = max(len(ws) // 2, 1), self.network.synthesis.options.num_ws
        psi = NEAREST + (1 - NEAREST) * torch.rand(count, 1, 1, generator=random)
        cut = torch.randint(1, layers, (count, 1, 1), generator=random)
        mixed = torch.rand(count, 1, 1, generator=random) < MIXED
        psi, cut, mixed = psi.to(ws.device), cut.to(ws.device), mixed.to(ws.device)
        one, other = ws[:count, None], ws[-count:, None]
        crossed = torch.where(torch.arange(layers, device=ws.device)[:, None] < cut, one, other)
        return torch.where(mixed, crossed, torch.lerp(self.network.centre, one, psi))

    @torch.no_grad()
    def _follow(self, ws: Tensor) -> None:
        self.network.centre.lerp_(ws.mean(0), 1 - CENTRE_DECAY)
        share = 1 - 0.5 ** (1 / self.settings.half_life)
        for kept, new in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
            kept.lerp_(new, share)


def _descend(adam: torch.optim.Adam, network: nn.Module, loss: Tensor) -> bool:
    """One step, unless the loss or a gradient is not finite."""
    adam.zero_grad()
    if not torch.isfinite(loss):
        return False
    loss.backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    if not torch.isfinite(torch.stack(torch._foreach_norm(gradients))).all():
        adam.zero_grad()
        return False
    adam.step()
    return True
