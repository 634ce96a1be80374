"""Pictures of many latents, a few at a time, with noise that does not depend on how many are drawn together."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..errors import UserError
from ..networks.generator import Generator
from ..optimise import Watch
from ..types import Latent

DEFAULT = Path(__file__).resolve().parents[2] / "weights" / "toon_stylegan.safetensors"
"""The embedded generator of toon portraits."""
RANDOM = "random"
"""The noise mode with a seed; see `stylegan2.NOISE_MODES`."""


def generate(
    generator: Generator,
    latent: Latent,
    noise: str = "const",
    seed: int = 0,
    at_once: int = 4,
    watch: Watch | None = None,
) -> Tensor:
    """Pictures [B, C, H, W] of 0…1, float32 on the CPU, drawn `at_once` together.

    noise: a mode of StyleGAN2. seed: of random noise; picture i takes seed + i. watch: as in `core.optimise`, called
    after every chunk. UserError for another generator's latents and for pictures that are no numbers.
    """
    parts, done = [], 0
    for few in latent.w.split(at_once):
        chosen = Latent(few, latent.generator)
        given = _noise(generator, [seed + done + i for i in range(len(few))]) if noise == RANDOM else None
        drawn = generator.draw(chosen, noise, given).float()
        if not torch.isfinite(drawn).all():
            raise UserError(
                f"The generator '{generator.id.name}' drew values that are no numbers. Load it in fp32; if it is so "
                "already, its weights or the latents are damaged."
            )
        parts.append(drawn.clamp(0, 1).cpu())
        done += len(few)
        if watch is not None:
            watch(done, len(latent), 0.0, lambda shown=parts[-1]: shown[-1])
    return torch.cat(parts) if parts else torch.zeros(0, 3, *generator.size)


def _noise(generator: Generator, seeds: list[int]) -> list[Tensor]:
    """[N, 1, H, W] for every layer that takes noise; made on the CPU, so that a seed means the same everywhere."""
    randoms = [torch.Generator().manual_seed(seed) for seed in seeds]
    sizes = [layer.noise_const.shape for layer in generator.network.synthesis.noise_layers()]
    return [torch.stack([torch.randn(1, *size, generator=random) for random in randoms]) for size in sizes]
