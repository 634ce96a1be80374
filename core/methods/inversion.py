"""The latent that makes a generator draw given pictures, found by descent.

Source: Karras et al. 2020 (StyleGAN2), appendix D, and stylegan2-ada-pytorch's `projector.py` for every constant that
names it; W+ after Abdal et al. 2019, "Image2StyleGAN". The distance is ours to choose: LPIPS where its backbone is
present, a pyramid distance where not.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import UserError
from ..networks.generator import Generator
from ..optimise import PROJECTOR, AdamSettings, Result, Watch, minimise
from ..perceptual import Distance, pixel_distance, psnr, pyramid_distance
from ..types import Latent, common_batch
from .latents import noise_of_seed, untruncated

SPACES = ("W", "W+")
"""One code for all layers, which stays where the generator's own pictures lie; or one a layer, which comes closer."""
STARTS = ("best of random", "mean", "latent")
"""Where the search starts: at the most promising of the mean and several random codes, at the mean, or at a latent that
is connected. The mean alone, projector.py's choice, ends far away for many pictures of an untrained generator."""
TRIALS, TRIAL_SHARE = 8, 0.08
"""So many starts are tried, for that part of the steps each. Measured on pictures for which a quarter of all starts
lead there: after 40 steps the best of eight was always one of those."""

STATISTICS_SAMPLES, STATISTICS_SEED = 10_000, 123
"""Random codes that the mean and spread of W are taken from. projector.py: w_avg_samples, RandomState(123)."""
SATURATED = 0.5 / 255
"""Values of the target so close to black or white are black or white in a file."""
CHUNK = 1000
"""Codes mapped at once, to bound memory."""
W_NOISE_UNTIL = 0.75
"""Part of the run after which no more noise is added to the code. projector.py: noise_ramp_length."""
SMALLEST_NOISE = 8
"""Noise pictures are regularised over a pyramid down to this many pixels. projector.py."""
CANDIDATES_AT_ONCE = 8
"""Random starts drawn together, to bound memory."""


@dataclass(frozen=True)
class InvertSettings:
    """How a picture is inverted.

    steps: of descent. rate: the highest learning rate; it rises over the first twentieth and falls over the last
    quarter of the run. w_noise: noise on the code at the start, in spreads of W, which keeps it from the nearest
    hollow. pyramid, pixel, perceptual: weights of the distances. stay: pull of the code towards the mean, in spreads of
    W; more keeps it editable. fit_noise: also fit the generator's noise pictures, kept free of structure by
    `noise_weight`. candidates: random codes of which 'best of random' tries the nearest. seed: of all chance.
    """

    space: str = "W+"
    start: str = "best of random"
    steps: int = 500
    rate: float = 0.03  # projector.py: 0.1, which overshoots when W is wide
    w_noise: float = 0.05  # projector.py: as much for every value of w, which drowns codes when W is wide
    pyramid: float = 1.0
    pixel: float = 1.0
    perceptual: float = 1.0
    stay: float = 0.0
    fit_noise: bool = False
    noise_weight: float = 1e5  # projector.py: regularize_noise_weight
    candidates: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, known in (("space", self.space, SPACES), ("start", self.start, STARTS)):
            if value not in known:
                raise UserError(f"The {name} '{value}' is unknown; known are {', '.join(known)}.")


@dataclass(frozen=True, eq=False)
class Inversion:
    """What was found.

    latent: of B pictures. generator: the one to draw it with; its noise or weights may be fitted, its latents stay
    interchangeable with the original's. picture: [B, 3, H, W] as drawn. psnr: [B] decibels. result: the last descent.
    """

    latent: Latent
    generator: Generator
    picture: Tensor
    psnr: Tensor
    result: Result

    def report(self) -> str:
        """A line a picture and one about the run."""
        lines = [f"picture {number}: PSNR {value:.1f} dB" for number, value in enumerate(self.psnr.tolist(), 1)]
        return "\n".join([*lines, f"{self.result.steps} steps, {self.result.stopped}"])


def invert(
    picture: Tensor,
    generator: Generator,
    settings: InvertSettings = InvertSettings(),
    *,
    perceptual: Distance | None = None,
    mask: Tensor | None = None,
    start: Latent | None = None,
    watch: Watch | None = None,
) -> Inversion:
    """Latents of `picture` [B, 3, H, W] 0…1 (resized to the generator's size by area or bilinear), all in one descent.

    perceptual: LPIPS or another `core.perceptual.Distance`, weighted by `settings.perceptual`. mask: [B or 1, 1, H, W],
    what should be alike. start: needed by the start 'latent'. UserError for wrong batches, a missing or foreign start;
    RuntimeError under inference mode.
    """
    target, mask = targets(picture, mask, generator)
    original, generator = generator, frozen(generator)
    distance = Weighted(settings.pyramid, settings.pixel, settings.perceptual, perceptual)
    random = torch.Generator().manual_seed(settings.seed)
    watch = watch or _nobody
    total = invert_steps(settings)
    mean, spread = statistics(generator)
    watch(0, total, math.nan, None)
    starts = _starting_codes(settings, generator, target, mask, start, mean, distance, watch)

    def descend(codes: Tensor, noise: Sequence[Tensor], steps: int, before: int) -> Result:
        made = 0

        def loss(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
            nonlocal made
            done, made = made / steps, made + 1
            w = values["w"]
            strength = settings.w_noise * spread / math.sqrt(w.shape[2]) * max(0.0, 1 - done / W_NOISE_UNTIL) ** 2
            shaken = w + strength * torch.randn(w.shape, generator=random).to(w) if strength else w
            terms = distance(_drawn(generator, shaken, values), target, mask)
            if noise:
                terms["noise"] = settings.noise_weight * sum(_structure(n) for n in _noise_of(values))
            if settings.stay:
                terms["stay"] = settings.stay * ((w - mean) / spread).square().sum(2).mean(1).sum()
            return terms

        parameters = {"w": codes, **{f"noise{i}": n for i, n in enumerate(noise)}}
        adam = AdamSettings(steps=steps, rate=settings.rate, schedule=PROJECTOR)
        return minimise(
            parameters,
            loss,
            adam,
            lambda step, _, loss, preview: watch(before + step, total, loss, preview),
            lambda values: _drawn(generator, values["w"], values)[0].detach(),
        )

    before, codes = 0, starts[0]
    if len(starts) > 1:
        tried = []
        for one in starts:
            tried.append(descend(one, (), _trial_steps(settings), before).parameters["w"])
            before += _trial_steps(settings)
        codes = _nearest(tried, generator, target, mask, distance)
    noise = _fresh_noise(generator, random) if settings.fit_noise else []
    result = descend(codes, noise, settings.steps, before)
    found = original if not noise else _with_noise(original, [n[0, 0] for n in _noise_of(result.parameters)])
    return finished(result.parameters["w"], found, target, mask, result)


def invert_steps(settings: InvertSettings) -> int:
    """Steps that `invert` reports to its watch: those of the trials, too."""
    trials = _tried_at_random(settings) + 1 if settings.start == "best of random" else 0
    return trials * _trial_steps(settings) + settings.steps


def finished(w: Tensor, generator: Generator, target: Tensor, mask: Tensor | None, result: Result) -> Inversion:
    """The outcome of a descent that ended at the codes w [B, 1 or L, C]."""
    with torch.no_grad():
        latent = generator.latent(w.expand(-1, generator.num_ws, -1).contiguous())
        drawn = generator.draw(latent)
        return Inversion(latent, generator, drawn.clamp(0, 1), psnr(drawn, target, mask), result)


@dataclass(frozen=True, eq=False)
class Weighted:
    """The distances of `core.perceptual` with their weights; a sum over pictures, so that each is fitted on its own.

    What was drawn blacker than black or whiter than white counts as equal where the target is black or white: a picture
    in a file cannot say how far beyond it went, and asking for less bends everything else. (A random generator's own
    pictures, recovered in W within 500 steps: 21 dB without this, above 60 dB with it.)
    """

    pyramid: float
    pixel: float
    perceptual: float
    network: Distance | None

    def terms(self, drawn: Tensor, target: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
        """[B] each, by name."""
        drawn = _shown(drawn, target)
        found = {
            "pyramid": (self.pyramid, pyramid_distance),
            "pixel": (self.pixel, pixel_distance),
            "perceptual": (self.perceptual if self.network else 0.0, self.network),
        }
        terms = {name: weight * distance(drawn, target, mask) for name, (weight, distance) in found.items() if weight}
        if not terms:
            raise UserError("All weights of the distance are 0; give pyramid, pixel or perceptual a weight above 0.")
        return terms

    def score(self, drawn: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
        """[B], all terms together."""
        return torch.stack(list(self.terms(drawn, target, mask).values())).sum(0)

    def __call__(self, drawn: Tensor, target: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
        return {name: term.sum() for name, term in self.terms(drawn, target, mask).items()}


def targets(picture: Tensor, mask: Tensor | None, generator: Generator) -> tuple[Tensor, Tensor | None]:
    """Pictures [B, C, H, W] and masks at the generator's size and of one batch.

    UserError for no picture, where proportions or numbers differ, and for generators that draw neither RGB nor grey.
    """
    if len(picture) == 0:
        raise UserError("There is no picture to invert. Connect at least one.")
    if generator.channels not in (1, 3):
        raise UserError(
            f"The generator '{generator.id.name}' draws {generator.channels} channels; pictures can be inverted in "
            "generators of RGB or grey. Use another one."
        )
    target = fitted(picture, generator.size)
    if mask is None:
        return target, None
    mask = fitted(mask, generator.size)
    return target.expand(common_batch(pictures=len(target), masks=len(mask)), -1, -1, -1), mask


def frozen(generator: Generator) -> Generator:
    """In full precision, uncompiled, and so that no gradient is written to its weights."""
    if not any(parameter.requires_grad for parameter in generator.network.parameters()):
        return generator.exact()
    return replace(generator.exact(), network=copy.deepcopy(generator.network).requires_grad_(False))


def fitted(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """[B, C, H, W] at the size (H, W) of the generator; UserError where the proportions differ by more than 2 %."""
    height, width = picture.shape[-2:]
    if abs(height * size[1] - width * size[0]) > 0.02 * height * size[1]:
        raise UserError(
            f"The picture is {width}×{height}, this generator draws {size[1]}×{size[0]}. "
            "Crop it to the same proportions first; Align Face does so for portraits."
        )
    if (height, width) == tuple(size):
        return picture
    return functional.interpolate(picture, size, mode="bilinear", antialias=True)


def statistics(generator: Generator) -> tuple[Tensor, Tensor]:
    """(mean [C], spread []) of W: the spread is the root mean square distance from the mean. Source: projector.py."""
    z = noise_of_seed(STATISTICS_SEED, STATISTICS_SAMPLES, generator.z_dim)
    with torch.no_grad():
        codes = torch.cat([untruncated(generator, few) for few in z.split(CHUNK)])
        mean = codes.mean(0)
        return mean, (codes - mean).square().sum(1).mean().sqrt()


def _starting_codes(
    settings: InvertSettings,
    generator: Generator,
    target: Tensor,
    mask: Tensor | None,
    start: Latent | None,
    mean: Tensor,
    distance: Weighted,
    watch: Watch,
) -> list[Tensor]:
    """Where to try, each [B, 1, C] in W, [B, L, C] in W+."""
    frames, layers = len(target), 1 if settings.space == "W" else generator.num_ws
    if settings.start == "latent":
        if start is None:
            raise UserError("The start 'latent' needs a latent; connect one, or start from 'mean'.")
        w = start.codes_for(generator.id).to(mean)
        common_batch(pictures=frames, latents=len(w))
        return [(w.mean(1, keepdim=True) if layers == 1 else w).expand(frames, -1, -1)]
    average = mean.expand(frames, layers, -1)
    if settings.start == "mean":
        return [average]
    with torch.no_grad():
        z = noise_of_seed(settings.seed, settings.candidates, generator.z_dim)
        codes = generator.latent(untruncated(generator, z)).w
        scores = []
        for few in codes.split(CANDIDATES_AT_ONCE):
            watch(0, invert_steps(settings), math.nan, None)
            for one in generator.draw(generator.latent(few)):
                scores.append(distance.score(one.expand_as(target), target, mask))
        nearest = torch.stack(scores).argsort(0)[: _tried_at_random(settings)]
    return [average, *(codes[best, :layers] for best in nearest)]


def _tried_at_random(settings: InvertSettings) -> int:
    return min(settings.candidates, TRIALS - 1)


def _trial_steps(settings: InvertSettings) -> int:
    return max(1, round(settings.steps * TRIAL_SHARE))


def _nearest(
    tried: Sequence[Tensor], generator: Generator, target: Tensor, mask: Tensor | None, distance: Weighted
) -> Tensor:
    """For every picture the best of K codes [B, 1 or L, C]."""
    with torch.no_grad():
        scores = torch.stack([distance.score(_drawn(generator, w, {"w": w}), target, mask) for w in tried])
        return torch.stack(tuple(tried))[scores.argmin(0), torch.arange(len(target), device=scores.device)]


def _nobody(step: int, total: int, loss: float, preview: object) -> None:
    """Watches without looking."""


def _shown(drawn: Tensor, target: Tensor) -> Tensor:
    """`drawn` clamped to 0…1, but only where the target lies on that limit; elsewhere a step back must be felt."""
    drawn = torch.where(target <= SATURATED, drawn.clamp_min(0), drawn)
    return torch.where(target >= 1 - SATURATED, drawn.clamp_max(1), drawn)


def _drawn(generator: Generator, w: Tensor, values: Mapping[str, Tensor]) -> Tensor:
    noise = _noise_of(values)
    return generator.draw(generator.latent(w.expand(-1, generator.num_ws, -1)), noise=noise or None)


def _fresh_noise(generator: Generator, random: torch.Generator) -> list[Tensor]:
    """A noise picture [1, 1, H, W] for every layer that takes one."""
    layers = generator.network.synthesis.noise_layers()
    if not layers:
        raise UserError(f"The generator '{generator.id.name}' has no noise to fit; switch 'fit noise' off.")
    stored = [layer.noise_const for layer in layers]
    return [torch.randn(noise.shape, generator=random).to(noise)[None, None] for noise in stored]


def _noise_of(values: Mapping[str, Tensor]) -> list[Tensor]:
    """The noise pictures among the parameters with mean 0 and deviation 1, in the order of synthesis.

    projector.py sets the pictures back to that after every step; here the descent never leaves it.
    """
    noise = [values[f"noise{i}"] for i in range(len(values) - 1)]
    centred = [n - n.mean() for n in noise]
    return [n * n.square().mean().clamp_min(1e-12).rsqrt() for n in centred]


def _structure(noise: Tensor) -> Tensor:
    """How much a noise picture [1, 1, H, W] resembles itself one pixel on, over all scales. Source: projector.py."""
    total = noise.new_zeros([])
    while True:
        for axis in (2, 3):
            total = total + (noise * noise.roll(1, axis)).mean().square()
        if min(noise.shape[-2:]) <= SMALLEST_NOISE:
            return total
        noise = functional.avg_pool2d(noise, 2)


def _with_noise(generator: Generator, noise: list[Tensor]) -> Generator:
    """A copy whose stored noise is `noise` [H, W] a layer; its latents are the original's."""
    network: Any = copy.deepcopy(generator.network)
    with torch.no_grad():
        for layer, values in zip(network.synthesis.noise_layers(), noise, strict=True):
            layer.noise_const.copy_(values)
    return replace(generator, network=network, tuned=True, compiled=None)
