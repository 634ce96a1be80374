"""Codes of a generator drawn by seed, mixed, truncated and walked between.

Sources: Karras et al. 2019 (StyleGAN), section 3.1 for style mixing, appendix B for truncation; generate.py of
stylegan2-ada-pytorch for what a seed means; Shoemake 1985 for the spherical path.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy
import torch
from torch import Tensor
from torch.nn import functional

from ..errors import UserError
from ..networks.generator import Generator
from ..networks.layers import truncate
from ..types import Latent, common_batch

ALL, CUSTOM = "all", "custom"
LAYER_RANGES = {ALL: "0-", "coarse": "0-3", "middle": "4-7", "fine": "8-"}
"""Layers by what they steer: pose and shape, features, colours and texture. StyleGAN, figure 3: the resolutions 4 and
8, 16 and 32, 64 and above, two layers each."""
LINEAR, SPHERICAL = "linear", "spherical"
PATHS = (LINEAR, SPHERICAL)
"""Between two codes: a straight line, or an arc around the mean code, along which no frame is blander than its ends."""

SEEDS = 2**32
"""numpy's RandomState knows so many."""
SMALLEST_SINE = 1e-3
"""Codes in nearly the same or the opposite direction from the mean, or on it, are joined by a straight line."""

_RANGE = re.compile(r"(\d+)(?:\s*-\s*(\d*))?")


def noise_of_seed(seed: int, count: int, z_dim: int) -> Tensor:
    """Random z [count, z_dim] float32, all from one seed, as official scripts draw it."""
    drawn = numpy.random.RandomState(seed % SEEDS).randn(count, z_dim)
    return torch.from_numpy(drawn.astype(numpy.float32))


def sample(
    generator: Generator,
    seed: int,
    count: int = 1,
    truncation: float = 1.0,
    cutoff: int | None = None,
    category: int | None = None,
) -> Latent:
    """`count` random latents; number i is that of the seed `seed` + i, as in official scripts, whatever the count.

    truncation, cutoff: as `Generator.map`. category: index of a conditional one's class.

    UserError where a category is missing, beyond the last, or given to a generator that has none.
    """
    if (category is None) != (generator.c_dim == 0) or category not in (None, *range(generator.c_dim)):
        known = f"has {generator.c_dim} classes, numbered from 0" if generator.c_dim else "has no classes"
        asked = "none was chosen" if category is None else f"class {category} was asked for"
        raise UserError(f"The generator '{generator.id.name}' {known}, but {asked}. Choose accordingly.")
    label = None if category is None else _one_hot([category] * count, generator)
    z = torch.cat([noise_of_seed(seed + i, 1, generator.z_dim) for i in range(count)])
    return generator.map(z, label, truncation, cutoff)


def untruncated(generator: Generator, z: Tensor) -> Tensor:
    """Codes w [N, w_dim] of z [N, z_dim]; a conditional generator's classes come in turn."""
    label = _one_hot([i % generator.c_dim for i in range(len(z))], generator) if generator.c_dim else None
    return generator.network.mapping.features(z, label)


def layers_of(ranges: str, count: int) -> list[int]:
    """Indices below `count` of a name in LAYER_RANGES or of text such as '0-3, 7, 10-'; sorted, each once.

    UserError where the text is no such list, or names no layer or one that the generator lacks.
    """
    found: set[int] = set()
    for part in LAYER_RANGES.get(ranges, ranges).split(","):
        matched = _RANGE.fullmatch(part.strip())
        if matched is None:
            raise UserError(
                f"'{ranges}' is no list of layers. Write numbers and ranges, such as 0-3, 7, 10-, or take one of "
                f"{', '.join(LAYER_RANGES)}."
            )
        first = int(matched[1])
        last = first if matched[2] is None else int(matched[2] or max(first, count - 1))
        if not first <= last < count:
            raise UserError(f"'{ranges}' goes beyond this generator's layers: it has {count}, numbered from 0.")
        found.update(range(first, last + 1))
    return sorted(found)


def mixed(a: Latent, b: Latent, amount: float = 1.0, layers: str = ALL) -> Latent:
    """`a` moved towards `b` in some layers (see `layers_of`): 0 is a, 1 is b, beyond exaggerates.

    Batches of 1 go with any. UserError for latents of two generators.
    """
    other = b.codes_for(a.generator).to(a.w)
    frames = common_batch(first=len(a), second=len(b))
    w = a.w.expand(frames, -1, -1).clone()
    chosen = layers_of(layers, w.shape[1])
    w[:, chosen] = torch.lerp(w[:, chosen], other.expand(frames, -1, -1)[:, chosen], amount)
    return replace(a, w=w)


def truncated(latent: Latent, generator: Generator, psi: float, cutoff: int | None = None) -> Latent:
    """Moved towards the mean code: 1 leaves it, 0 is the mean; in the first `cutoff` layers, or in all."""
    w = latent.codes_for(generator.id)
    return replace(latent, w=truncate(w, generator.w_avg, psi, cutoff))


def joined(*latents: Latent) -> Latent:
    """All codes of one generator in one batch."""
    first = latents[0]
    return replace(first, w=torch.cat([latent.codes_for(first.generator).to(first.w) for latent in latents]))


def walk(latent: Latent, frames: int, centre: Tensor | None = None, loop: bool = False) -> Latent:
    """`frames` steps from each code to the next: K codes give (K − 1) · frames + 1, or with `loop`, back to the first
    and ready to be repeated, K · frames.

    centre: the mean code [C] that a spherical path turns around; None goes straight.
    """
    count = len(latent)
    if count < 2:
        raise UserError(f"A walk needs at least 2 latents, and got {count}. Sample more, or connect others behind.")
    steps = (torch.arange(frames).to(latent.w) / frames)[:, None, None]
    around = latent.w.roll(-1, dims=0)
    pairs = list(zip(latent.w, around, strict=True))[: count if loop else count - 1]
    parts = [_between(a, b, steps, centre) for a, b in pairs]
    return replace(latent, w=torch.cat(parts if loop else [*parts, latent.w[-1:]]))


def _between(a: Tensor, b: Tensor, t: Tensor, centre: Tensor | None) -> Tensor:
    """Codes [F, L, C] from a to b [L, C] at t [F, 1, 1]; distances from the centre change evenly, as angles do."""
    if centre is None:
        return torch.lerp(a, b, t)
    centre = centre.to(a)
    lengths = [(end - centre).norm(dim=1, keepdim=True) for end in (a, b)]
    ends = [(end - centre) / length.clamp_min(1e-12) for end, length in zip((a, b), lengths, strict=True)]
    angle = torch.acos((ends[0] * ends[1]).sum(1, keepdim=True).clamp(-1, 1))
    sine = torch.sin(angle) * (torch.minimum(*lengths) > SMALLEST_SINE * torch.maximum(*lengths))
    turned = (torch.sin((1 - t) * angle) * ends[0] + torch.sin(t * angle) * ends[1]) / sine.clamp_min(SMALLEST_SINE)
    arc = centre + turned * torch.lerp(*lengths, t)
    return torch.where(sine > SMALLEST_SINE, arc, torch.lerp(a, b, t))


def _one_hot(categories: list[int], generator: Generator) -> Tensor:
    """[N, c_dim]."""
    return functional.one_hot(torch.tensor(categories), generator.c_dim)
