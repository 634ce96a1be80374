"""Everything that turns a latent into a UV map of albedo, behind one interface.

GANFit (Gecer et al. 2019) puts a progressive GAN where morphable models have a linear texture; its own was never
published, so a StyleGAN2 of UV maps (FFHQ-UV, Bai et al. 2023), a linear basis or a free map may take that place.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from ..errors import UserError
from .generator import Generator
from .progan import ProGan

STATISTICS_SAMPLES, STATISTICS_SEED, STATISTICS_AT_ONCE = 10_000, 123, 1000
"""Random codes that the mean and spread of W are taken from; as in StyleGAN2's projector. FFHQ-UV takes 100,000."""
START_CANDIDATES, START_SEED, START_SIDE = 64, 0, 32
"""A progressive GAN starts at the one of so many random latents whose map, at this size, is nearest to their mean.
GANFit tells of no starting point; a zero vector, the mean of all latents, has no direction."""
ROUGH, FAR = 0.02, 0.2
"""Root mean square difference of a free map's neighbouring texels, and of it from its base, at which its prior is 1
each. Chosen from unwrapped portraits at 256 texels, whose skin has 0.01 to 0.03 and 0.1 to 0.3."""


class Textures(nn.Module, ABC):
    """latent [B, latent_size] -> maps [B, 3, H, W] RGB, nominally 0…1 and not clamped, row 0 at v = 1; differentiable.

    family: what people call it. noise_size: standard normal values that a random latent is made from.
    """

    family: str
    latent_size: int
    noise_size: int
    size: tuple[int, int]

    @abstractmethod
    def forward(self, latent: Tensor) -> Tensor: ...

    def drawn(self, noise: Tensor) -> Tensor:
        """[B, noise_size] standard normal -> latents [B, latent_size], distributed as the maps it learnt from."""
        return noise

    def start(self) -> Tensor:
        """[1, latent_size] where a search begins: the mean, or the most usual map."""
        return next(self.buffers()).new_zeros(1, self.latent_size)

    def prior(self, latent: Tensor) -> Tensor:
        """[B, latent_size] -> [B], how unusual each is; a term for fits. About 1 for a random latent."""
        return latent.square().mean(1)

    def facts(self) -> list[str]:
        """What is worth telling beside family and sizes."""
        return []


class ProGanTextures(Textures):
    """A progressive GAN of UV maps. Only a latent's direction counts, so its prior keeps the length at a random one's,
    where steps have their usual effect; it is 0 there.
    """

    family = ProGan.family

    def __init__(self, network: ProGan, start: Tensor | None = None) -> None:
        """start: [latent], found here where None."""
        super().__init__()
        self.network = network
        self.latent_size = self.noise_size = network.options.latent
        self.size = network.size
        found = self._most_usual() if start is None else start.float()
        if found.shape != (self.latent_size,) or not 0 < found.square().sum() < torch.inf:
            raise UserError(f"The latent to start at should hold {self.latent_size} finite values, and not only zeros.")
        self.register_buffer("_start", found / found.square().mean().sqrt())

    def forward(self, latent: Tensor) -> Tensor:
        return self.network(latent) / 2 + 0.5

    def start(self) -> Tensor:
        return self._start[None]

    def prior(self, latent: Tensor) -> Tensor:
        return (latent.square().mean(1) - 1).square()

    def facts(self) -> list[str]:
        return self.network.facts()

    @torch.no_grad()
    def _most_usual(self) -> Tensor:
        random = torch.Generator().manual_seed(START_SEED)
        latents = torch.randn(START_CANDIDATES, self.latent_size, generator=random)
        lod = max(len(self.network.options.channels) - START_SIDE.bit_length() + 2, 0)
        pictures = self.network(latents, max(float(lod), self.network.options.lod))
        return latents[(pictures - pictures.mean(0)).square().mean((1, 2, 3)).argmin()]


class StyleGanTextures(Textures):
    """A StyleGAN2 (or 3) of UV maps, one code for all layers: w = mean + spread · latent, so that a latent of zeros is
    the mean map and the prior pulls towards it.

    Source: FFHQ-UV, RGB_Fitting/network/texgan.py (map_z_to_w). It lets every layer have a code of its own; GANFit's
    author warns that such freedom leaves the faces (issue 17 of barisgecer/GANFit), so this does not.
    """

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator.exact()
        self.network = generator.network
        self.family = generator.network.family
        self.latent_size, self.noise_size, self.size = generator.w_dim, generator.z_dim, generator.size
        mean, spread = self._statistics()
        self.register_buffer("mean", mean)
        self.register_buffer("spread", spread)

    def forward(self, latent: Tensor) -> Tensor:
        w = self.mean + self.spread * latent
        return self.network.synthesis(w[:, None].expand(-1, self.generator.num_ws, -1), "const") / 2 + 0.5

    def drawn(self, noise: Tensor) -> Tensor:
        return (self.network.mapping.features(noise) - self.mean) / self.spread

    def start(self) -> Tensor:
        return torch.zeros_like(self.mean)[None]

    def facts(self) -> list[str]:
        return self.network.facts()

    @torch.no_grad()
    def _statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of every value of w, [w_dim] each."""
        random = torch.Generator().manual_seed(STATISTICS_SEED)
        z = torch.randn(STATISTICS_SAMPLES, self.noise_size, generator=random)
        w = torch.cat([self.network.mapping.features(part) for part in z.split(STATISTICS_AT_ONCE)])
        return w.mean(0), w.std(0).clamp_min(torch.finfo(w.dtype).tiny)


class LinearTextures(Textures):
    """A mean map and weighted directions, a value of 1 being one standard deviation, as in BFM and FLAME."""

    family = "linear basis"

    def __init__(self, mean: Tensor, directions: Tensor) -> None:
        """mean: [3, H, W]. directions: [K, 3, H, W]."""
        super().__init__()
        self.latent_size = self.noise_size = len(directions)
        self.size = (mean.shape[1], mean.shape[2])
        self.register_buffer("mean", mean.float().clone())
        self.register_buffer("directions", directions.float().clone())

    def forward(self, latent: Tensor) -> Tensor:
        return self.mean + (latent @ self.directions.flatten(1)).unflatten(1, self.mean.shape)


class FreeTextures(Textures):
    """Any map at all: a latent is what is added to a base. Its prior asks for smoothness and for staying near.

    Random latents are random walks of no meaning, scaled to the prior; there is nothing learnt to draw from.
    """

    family = "free map"

    def __init__(self, base: Tensor) -> None:
        """base: [3, H, W] RGB 0…1."""
        super().__init__()
        self.size = (base.shape[1], base.shape[2])
        self.latent_size = base.numel()
        self.noise_size = 3
        self.register_buffer("base", base.float().clone())

    def forward(self, latent: Tensor) -> Tensor:
        return self.base + latent.unflatten(1, self.base.shape)

    def drawn(self, noise: Tensor) -> Tensor:
        """Another tint of the base, [B, 3] · FAR."""
        return (FAR * noise[:, :, None, None]).expand(-1, -1, *self.size).flatten(1)

    def prior(self, latent: Tensor) -> Tensor:
        added = latent.unflatten(1, self.base.shape)
        steps = (added.diff(dim=axis).square().mean((1, 2, 3)) for axis in (2, 3))
        return sum(steps) / (2 * ROUGH**2) + latent.square().mean(1) / FAR**2
