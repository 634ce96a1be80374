"""The last of the toon generator's trainings: z to w.

A scene generator draws from scenes. A mapping network learns to go from z straight to the w that the scene of z has
(`core.toon.world.draws`): z ~ N(0, I) then gives people as the toon world has them, and the product is a StyleGAN2 like
any other. Nothing is rendered, so scenes are made as fast as they are used up.

What can be told of w from z by squared errors varies less than w does: whatever a network is unsure of, it draws as the
mean. A linear map gives the codes back the covariance that they should have; the layers that read codes absorb it.
For the same reason synthesis draws moods too faintly, which learnt from pictures by squared errors: codes exaggerate
them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..networks.generator import Generator, packed
from ..networks.layers import Mapping as MappingNetwork
from ..networks.layers import MappingOptions
from ..networks.stylegan2 import StyleGan2, StyleGan2Options
from ..toon.world.draws import latent_size
from ..toon.world.sampling import scene_of_latent
from ..toon.world.vector import scene_vector, vector_names
from .images import mixed_seed
from .supervised import Rows, SupervisedSettings, generator
from .toon_regression import SceneGenerator, load_scene_generator

LAYERS, WIDTH = 4, 512
"""Of the mapping network; two layers cannot tell a choice among many possibilities from its runners-up."""
POOL, PASSES = 98_304, 16
"""Scenes made at once, and how often they are used: making one takes as long as twenty in a step. A sixth as many, used
six times each, were learnt by heart."""
WEIGHTS, POOLS, MEAN = range(3)
"""What chance is for: the second number of its seed."""
LARGEST_STRETCH = 2.0
"""By which one direction of codes is stretched at most: some hardly vary, and not by what they should."""
COMPARED = 16_384
"""Codes whose covariance is compared."""
LIVELIER = 1.3
"""By which moods are exaggerated. Smiles of 600 scenes spread 0.83 times as far drawn as rendered; those of 1,000
samples 0.77 times at 1, 0.81 at 1.15, 0.85 at 1.3."""
SHOWN = 32
"""Pictures on a sheet."""


class MappingLesson:
    """The `Lesson` of the mapping network."""

    product = "generator"

    def __init__(self, scenes: Path, settings: SupervisedSettings, name: str, pool: int = POOL) -> None:
        """scenes: the file of a scene generator. name: of the generator that comes of it."""
        self.teacher = load_scene_generator(scenes)
        self.name, self.fingerprint = name, scenes.name
        self.about = f"z and w of the scenes of '{scenes.name}'"
        options = self.teacher.options
        self.options = MappingOptions(latent_size(), 0, options.latent, LAYERS, layer_features=WIDTH)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mixed_seed(settings.seed, WEIGHTS))
            self.network = MappingNetwork(self.options, None)
        self._pool, self._seed, self._made = pool, settings.seed, -1
        self._z, self._w, self._moods = torch.zeros(0), torch.zeros(0), torch.zeros(0)
        self._passes = 0
        self._order = Rows(self._refilled, settings.batch, settings.seed)
        self._styles, self._spread = _style_space(self.teacher)

    def losses(self, network: nn.Module, step: int, run: Callable[..., Any]) -> dict[str, Tensor]:
        """Squared error of all styles, in units of each layer's own variance."""
        rows = self._order.at(step)
        device = next(network.parameters()).device
        missed = (network(self._z[rows].to(device)) - self._w[rows].to(device)) @ self._styles.to(device)
        return {"styles": (missed / self._spread.to(device)).square().mean()}

    def progress(self) -> dict[str, Any]:
        return {**self._order.progress(), "passes": self._passes}

    def go_on(self, progress: Mapping[str, Any]) -> None:
        self._passes = int(progress["passes"])
        self._fill((self._passes - 1) // PASSES)
        self._order.go_on(progress)

    def sheet(self, network: nn.Module) -> Tensor:
        """Pictures of the scenes of some z, and below each row those of the same z through the mapping network."""
        z = torch.randn(SHOWN, self.options.z_dim, generator=generator(self._seed, MEAN))
        device = next(network.parameters()).device
        matrix, shift, _ = self.stretch(network)
        found = network(z.to(device)) @ matrix.to(device) + shift.to(device)
        both = torch.stack([w.to(device).unflatten(0, (4, -1)) for w in (self._taught(self._scenes(z)), found)], 1)
        pictures = torch.cat([self.teacher.to(device).drawn(part) for part in both.flatten(0, 2).split(8)]).cpu()
        height, width = pictures.shape[2:]
        grid = pictures.reshape(8, -1, 3, height, width).permute(2, 0, 3, 1, 4)
        return (grid.reshape(3, 8 * height, -1) / 2 + 0.5).clamp(0, 1)

    def packed(self, network: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
        """A whole generator, its mean code that of a pool of z; matrices in half precision (pictures move by 1e-3)."""
        tensors, metadata = packed(Generator.of(self.generator(network), self.name))
        return {name: value.half() if value.dim() > 1 else value for name, value in tensors.items()}, metadata

    def generator(self, network: nn.Module) -> StyleGan2:
        """The mapping network and the teacher's synthesis as one."""
        made = self.teacher.synthesis.options
        whole = StyleGan2(
            StyleGan2Options(
                made.channels, self.options, start=made.start, num_fp16_res=made.num_fp16_res, use_noise=False
            )
        )
        whole.synthesis.load_state_dict(self.teacher.synthesis.state_dict())
        whole.mapping.load_state_dict({**network.state_dict(), "w_avg": whole.mapping.w_avg})
        matrix, shift, centre = self.stretch(network)
        with torch.no_grad():
            whole.mapping.w_avg.copy_(centre)
            for layer in whole.synthesis.readers():
                layer.bias += (layer.weight @ shift) / math.sqrt(layer.weight.shape[1])
                layer.weight.copy_(layer.weight @ matrix.T)
        return whole.eval().requires_grad_(False)

    @torch.no_grad()
    def stretch(self, network: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
        """A matrix [w_dim, w_dim] and a shift [w_dim], for codes in rows, that give the codes the mean and covariance
        of those to be learnt (optimal transport between normal distributions) and exaggerate moods, and the codes' own
        mean.
        """
        self._fill(max(self._made, 0))
        wanted = self._w[:COMPARED].double()
        network = copy.deepcopy(network).cpu()
        found = torch.cat([network(part) for part in self._z[:COMPARED].split(1024)]).double()
        root = _power(torch.cov(found.T), 0.5)
        inverse = _power(torch.cov(found.T), -0.5)
        matrix = inverse @ _power(root @ torch.cov(wanted.T) @ root, 0.5) @ inverse
        values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
        matrix = vectors * values.clamp(1.0, LARGEST_STRETCH) @ vectors.T
        matrix = matrix @ _exaggerated(wanted, self._moods[:COMPARED].double(), LIVELIER)
        shift = wanted.mean(0) - found.mean(0) @ matrix
        return matrix.float(), shift.float(), found.mean(0).float()

    def _refilled(self) -> int:
        """A pool of new scenes after every `PASSES` passes; how many there are."""
        self._fill(self._passes // PASSES)
        self._passes += 1
        return self._pool

    def _fill(self, number: int) -> None:
        if number == self._made:
            return
        random = generator(self._seed, POOLS, number)
        self._z = torch.randn(self._pool, self.options.z_dim, generator=random)
        rows = self._scenes(self._z)
        moods = [name.startswith("expression ") for name in vector_names(self.teacher.options.figures)]
        self._moods, self._w, self._made = rows[:, moods], self._taught(rows), number

    def _scenes(self, z: Tensor) -> Tensor:
        """Rows of the scenes of z."""
        figure = self.teacher.options.figures
        rows = [scene_vector(scene_of_latent(one), figure=figure) for one in z.numpy()]
        return torch.tensor(rows, dtype=torch.float32)

    @torch.no_grad()
    def _taught(self, rows: Tensor) -> Tensor:
        """Codes of scenes."""
        return self.teacher.cpu().encode(rows)


def _exaggerated(codes: Tensor, causes: Tensor, times: float) -> Tensor:
    """[W, W], for codes in rows round their mean: what codes [N, W] owe to causes [N, K], if it is linear and can
    be told from them, becomes so many times as much; whatever else they say stays.
    """
    codes, causes = codes - codes.mean(0), causes - causes.mean(0)
    told = torch.linalg.lstsq(codes, causes, driver="gelsd").solution
    owed = torch.linalg.lstsq(causes, codes, driver="gelsd").solution
    return torch.eye(codes.shape[1], dtype=codes.dtype) + (times - 1) * told @ owed


def _power(matrix: Tensor, exponent: float) -> Tensor:
    """Of a symmetric matrix without negative eigenvalues; the smallest ones count as a millionth of the largest."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=1e-6 * float(values[-1])) ** exponent @ vectors.T


@torch.no_grad()
def _style_space(teacher: SceneGenerator) -> tuple[Tensor, Tensor]:
    """[w_dim, S] from codes to all styles, and [S] the deviation of each one's layer over N(0, I) codes."""
    weights = teacher.synthesis.style_weights()
    spread = torch.cat([weight.square().sum(1).mean().sqrt().expand(len(weight)) for weight in weights])
    return torch.cat(weights).t().contiguous(), spread
