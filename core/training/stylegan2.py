"""StyleGAN2 trained from pictures: published losses, schedules and presets, with adaptive augmentation.

Source: Karras et al. 2020, "Analyzing and improving the image quality of StyleGAN" and "Training generative adversarial
networks with limited data"; constants from stylegan2-ada-pytorch, `training/`. One step is up to four descents:
generator, its path-length regulariser, discriminator, its R1 penalty; the regularisers are lazy.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..networks.generator import Generator, packed, usable_precision
from ..networks.layers import MappingOptions
from ..networks.running import PRECISIONS
from ..networks.stylegan2 import HALF_BLOCKS, HALF_CLAMP, StyleGan2, StyleGan2Options, channel_table
from ..networks.stylegan2_discriminator import Discriminator, DiscriminatorOptions
from . import stylegan2_losses as losses
from .augment import Augmenter
from .images import Feed, PictureSource, mixed_seed
from .kept import below, kept_adam, restore_adam
from .loop import Step
from .stylegan2_settings import StyleGan2Settings
from .team import Team

BETAS, EPSILON = (0.0, 0.99), 1e-8
"""Of Adam, before the correction for lazy regularisation."""
LARGEST_GRADIENT = 1e5
"""In place of infinite ones, as half precision makes them (training_loop.py)."""
SHEET_SIDE, MOST_COLUMNS, MOST_ROWS = 1024, 6, 4
"""A sheet holds as many pictures as fit into so many pixels, but no more columns and rows than these."""
WEIGHTS, DRAWS, NOISE, SHEET = range(4)
"""What a random generator is for: the second number of its seed."""


class StyleGan2Trainer:
    """Generator, discriminator, averaged generator and their optimisers: the `Trainer` that `loop.train` drives.

    notes: sentences about the run that its user should read. Close it at the end: it holds threads.
    """

    product = "generator"

    def __init__(
        self, settings: StyleGan2Settings, source: PictureSource, name: str = "stylegan2", team: Team | None = None
    ) -> None:
        """source: pictures of the size `settings.size`. name: of the generator. team: see `team.team`, else the CPU.

        UserError where the processes cannot share the batch evenly.
        """
        self.settings, self.source, self.name, self.team = settings, source, name, team or Team()
        if settings.batch % self.team.size:
            raise UserError(
                f"A batch of {settings.batch} pictures cannot be shared evenly by {self.team.size} processes. "
                "Choose a multiple."
            )
        self.notes: list[str] = []
        share = settings.batch // self.team.size
        self._chunk = _largest_divisor(share, settings.chunk or share)
        group = _largest_divisor(self._chunk, settings.group)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mixed_seed(settings.seed, WEIGHTS))
            generator = StyleGan2(_generator_options(settings))
            discriminator = Discriminator(_discriminator_options(settings, group))
        self.generator = generator.requires_grad_(False).to(self.team.device)
        self.discriminator = discriminator.requires_grad_(False).to(self.team.device)
        self.average = copy.deepcopy(self.generator)
        self.augmenter = Augmenter(settings.augment)
        self._adams = {
            "generator": _adam(self.generator, settings.rate, settings.losses.generator_interval),
            "discriminator": _adam(self.discriminator, settings.rate, settings.losses.discriminator_interval),
        }
        self._path_mean = torch.zeros([])
        self._feed = Feed(source, settings.batch, settings.seed, settings.mirror, self.team.rank, self.team.size)
        self._draws = self._noise = torch.Generator()

    @property
    def main(self) -> bool:
        """Whether this process writes."""
        return self.team.rank == 0

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """Everything that must be on the computing device; may be moved between steps, and before `load_state`."""
        return self.generator, self.discriminator, self.average

    def close(self) -> None:
        self._feed.close()

    def describe(self) -> str:
        """One line: what is trained on what."""
        height, width = self.settings.size
        millions = [sum(p.numel() for p in net.parameters()) / 1e6 for net in (self.generator, self.discriminator)]
        s = self.settings
        return (
            f"StyleGAN2 {width}×{height}, {millions[0]:.2g} and {millions[1]:.2g} million weights; "
            f"{self.source.about}; batch {s.batch}, gamma {s.losses.r1_gamma:.3g}, rate {s.rate:g}, "
            f"augmentation {s.augment.mode}"
        )

    def result(self) -> Generator:
        """The averaged generator as it is now, a copy."""
        return Generator.of(copy.deepcopy(self.average), self.name)

    # One step ---------------------------------------------------------------------------------------------------------

    def advance(self, step: int) -> Step:
        """All chance in it comes from (seed, step, process), so a run that goes on needs no generator's state."""
        s, weights = self.settings, self.settings.losses
        device = self._device
        self._draws = torch.Generator().manual_seed(mixed_seed(s.seed, DRAWS, step, self.team.rank))
        self._noise = torch.Generator(device).manual_seed(mixed_seed(s.seed, NOISE, step, self.team.rank))
        real = self._feed.at(step).to(device).float() / 127.5 - 1  # as the authors; 0…255 becomes −1…1
        chunks = real.split(self._chunk)
        with torch.enable_grad():
            terms = {"generator": self._descend("generator", self._generator_losses(chunks))}
            if weights.path_weight and step % weights.generator_interval == 0:
                terms["path"] = self._descend("generator", self._path_losses(chunks))
            terms["discriminator"] = self._descend("discriminator", self._discriminator_losses(chunks))
            if weights.r1_gamma and step % weights.discriminator_interval == 0:
                terms["r1"] = self._descend("discriminator", self._r1_losses(chunks))
        self._follow(step)
        if (step + 1) % s.augment.interval == 0:
            self.augmenter.signs = self._averaged(self.augmenter.signs)
            self.augmenter.adapt(s.batch * s.augment.interval)
        return Step(terms, {"augmentation": self.augmenter.probability, "path_mean": float(self._path_mean)})

    def _generator_losses(self, chunks: tuple[Tensor, ...]) -> Iterator[Tensor]:
        for chunk in chunks:
            scores = self._judged(self._drawn(self._codes(len(chunk))))
            yield losses.generator_loss(scores).mean() / len(chunks)

    def _path_losses(self, chunks: tuple[Tensor, ...]) -> Iterator[Tensor]:
        weights = self.settings.losses
        for chunk in chunks:
            ws = self._codes(max(len(chunk) // weights.path_batch_shrink, 1))
            picture = self._drawn(ws)
            noise = torch.randn(picture.shape, generator=self._noise, device=picture.device)
            penalty, self._path_mean = losses.path_length_penalty(picture, ws, self._path_mean, weights, noise)
            yield penalty.mean() * weights.path_weight * weights.generator_interval / len(chunks)

    def _discriminator_losses(self, chunks: tuple[Tensor, ...]) -> Iterator[Tensor]:
        for chunk in chunks:
            with torch.no_grad():
                fake = self._drawn(self._codes(len(chunk)))
            real_scores = self._judged(chunk)
            self.augmenter.observe(real_scores)
            yield losses.discriminator_loss(self._judged(fake), real_scores).mean() / len(chunks)

    def _r1_losses(self, chunks: tuple[Tensor, ...]) -> Iterator[Tensor]:
        """The gradient is that by the pictures before augmentation."""
        weights = self.settings.losses
        for chunk in chunks:
            real = chunk.detach().requires_grad_()
            penalty = losses.r1_penalty(real, self._judged(real)) * (weights.r1_gamma / 2)
            yield penalty.mean() * weights.discriminator_interval / len(chunks)

    def _codes(self, count: int) -> Tensor:
        """[count, num_ws, w_dim], of random z, styles mixed."""
        mapping, mixing = self.generator.mapping, self.settings.losses.style_mixing
        ws = mapping(self._z(count), update_w_avg=True)
        return losses.mix_styles(ws, mapping(self._z(count)), mixing, self._draws) if mixing else ws

    def _z(self, count: int) -> Tensor:
        return torch.randn(count, self.settings.latent, generator=self._draws)

    def _drawn(self, ws: Tensor) -> Tensor:
        return self.generator.synthesis(ws, "random", seed=self._noise, precision=self._precision)

    def _judged(self, pictures: Tensor) -> Tensor:
        return self.discriminator(self.augmenter(pictures, self._draws), precision=self._precision)

    def _descend(self, which: str, parts: Iterator[Tensor]) -> float:
        """One step of an optimiser down the sum of `parts`, each of which is freed before the next is computed.

        The loss; NaN where it was not finite, and then nothing has changed. Gradients that are not finite, as half
        precision makes them, are replaced as the authors do.
        """
        network, adam = getattr(self, which), self._adams[which]
        before = self.generator.mapping.w_avg.clone(), self._path_mean
        network.requires_grad_(True)
        adam.zero_grad()
        total = torch.zeros([], device=self._device)
        for part in parts:
            part.backward()
            total += part.detach()
        network.requires_grad_(False)
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        flat = self.team.averaged(torch.cat([total.reshape(1), *(gradient.flatten() for gradient in gradients)]))
        loss = float(flat[0])
        if not math.isfinite(loss):
            self.generator.mapping.w_avg.copy_(before[0])
            self._path_mean = before[1]
            adam.zero_grad()
            return math.nan
        flat = torch.nan_to_num(flat[1:], nan=0.0, posinf=LARGEST_GRADIENT, neginf=-LARGEST_GRADIENT)
        for gradient, values in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(values.view_as(gradient))
        adam.step()
        adam.zero_grad()
        return loss

    @torch.no_grad()
    def _follow(self, step: int) -> None:
        """The averaged generator moves towards the trained one; statistics become the same in all processes."""
        s, w_avg = self.settings, self.generator.mapping.w_avg
        w_avg.copy_(self._averaged(w_avg))
        self._path_mean = self._averaged(self._path_mean)
        decay = losses.average_decay(s.batch, step * s.batch, s.half_life, s.ramp_up)
        for kept, new in zip(self.average.parameters(), self.generator.parameters(), strict=True):
            kept.lerp_(new, 1 - decay)
        for kept, new in zip(self.average.buffers(), self.generator.buffers(), strict=True):
            kept.copy_(new)

    def _averaged(self, values: Tensor) -> Tensor:
        """Over the processes, wherever the values lie."""
        return self.team.averaged(values.to(self._device)).to(values.device)

    @property
    def _device(self) -> torch.device:
        return self.generator.mapping.w_avg.device

    @property
    def _precision(self) -> torch.dtype | None:
        return usable_precision(PRECISIONS[self.settings.precision], self._device)

    # Looking, stopping, going on --------------------------------------------------------------------------------------

    @torch.no_grad()
    def sheet(self) -> Tensor:
        """Pictures of the averaged generator at codes that stay the same, [3, H, W] 0…1."""
        height, width = self.settings.size
        columns, rows = min(max(SHEET_SIDE // width, 1), MOST_COLUMNS), min(max(SHEET_SIDE // height, 1), MOST_ROWS)
        random = torch.Generator().manual_seed(mixed_seed(self.settings.seed, SHEET))
        z = torch.randn(columns * rows, self.settings.latent, generator=random)
        pictures = torch.cat([self.average(part).cpu() for part in z.split(self._chunk)]) / 2 + 0.5
        grid = pictures.reshape(rows, columns, 3, height, width).permute(2, 0, 3, 1, 4)
        return grid.reshape(3, rows * height, columns * width).clamp(0, 1)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {"path_mean": self._path_mean, "augment.signs": self.augmenter.signs}
        for part in ("generator", "discriminator", "average"):
            network = getattr(self, part)
            tensors |= {f"{part}.{name}": value for name, value in network.state_dict().items()}
        for part, adam in self._adams.items():
            tensors |= kept_adam(f"adam.{part}.", adam, getattr(self, part))
        plain = {
            "settings": _as_plain(self.settings),
            "probability": self.augmenter.probability,
            "pictures": {"fingerprint": self.source.fingerprint, "about": self.source.about},
        }
        return tensors, plain

    def load_state(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """UserError where the settings were others; other pictures are only noted: a collection may grow."""
        ours, theirs = _flat(_as_plain(self.settings)), _flat(plain["settings"])
        changed = [name for name in ours if ours[name] != theirs.get(name) and name != "chunk"]
        if changed:
            found = ", ".join(f"{name} {theirs.get(name)} (now {ours[name]})" for name in changed)
            raise UserError(f"This run was begun with other settings: {found}. Set them back, or begin another run.")
        if plain["pictures"]["fingerprint"] != self.source.fingerprint:
            self.notes.append(f"The pictures have changed since the run was begun ({plain['pictures']['about']}).")
        for part in ("generator", "discriminator", "average"):
            getattr(self, part).load_state_dict(below(tensors, f"{part}."))
        for part, adam in self._adams.items():
            restore_adam(f"adam.{part}.", adam, getattr(self, part), tensors)
        self._path_mean, self.augmenter.signs = tensors["path_mean"], tensors["augment.signs"]
        self.augmenter.probability = plain["probability"]

    def packed(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """The averaged generator, with what it was made from."""
        tensors, metadata = packed(self.result())
        made = {
            "settings": json.dumps(_as_plain(self.settings), sort_keys=True),
            "seed": str(self.settings.seed),
            "pictures": self.source.about,
            "pictures_fingerprint": self.source.fingerprint,
        }
        return tensors, {**metadata, **made}


def _generator_options(settings: StyleGan2Settings) -> StyleGan2Options:
    mapping = MappingOptions(z_dim=settings.latent, w_dim=settings.latent, num_layers=settings.mapping_layers)
    start = (4, 2) if settings.portrait else (4, 4)
    return StyleGan2Options(_channels(settings), mapping, start=start, **_half(settings))


def _discriminator_options(settings: StyleGan2Settings, group: int) -> DiscriminatorOptions:
    return DiscriminatorOptions(
        _channels(settings),
        end=(4, 2) if settings.portrait else (4, 4),
        architecture=settings.discriminator,
        group_size=group,
        **_half(settings),
    )


def _channels(settings: StyleGan2Settings) -> dict[int, int]:
    return channel_table(settings.resolution, settings.channel_base, settings.channel_max)


def _half(settings: StyleGan2Settings) -> dict[str, Any]:
    """What train.py sets for half precision, and leaves alone without."""
    if PRECISIONS[settings.precision] is None:
        return {}
    return {"num_fp16_res": HALF_BLOCKS, "conv_clamp": HALF_CLAMP}


def _adam(network: nn.Module, rate: float, interval: int) -> torch.optim.Adam:
    rate, betas = losses.lazy_adam(rate, BETAS, interval)
    return torch.optim.Adam(network.parameters(), lr=rate, betas=betas, eps=EPSILON)


def _largest_divisor(number: int, limit: int) -> int:
    return max(n for n in range(1, min(limit, number) + 1) if number % n == 0)


def _as_plain(settings: StyleGan2Settings) -> dict[str, Any]:
    """As JSON gives it back."""
    return json.loads(json.dumps(asdict(settings)))


def _flat(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the losses and of the augmentation as 'losses r1_gamma' and so on."""
    found: dict[str, Any] = {}
    for name, item in plain.items():
        found |= {f"{name} {key}": value for key, value in item.items()} if isinstance(item, Mapping) else {name: item}
    return found
