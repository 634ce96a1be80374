"""Pictures without a face, made by code: what a finder of faces must pass over.

Walls, slopes, noise of every grain, cloth, discs, rings and eyes without a face, furry heads with a dark nose, and toon
portraits whose pieces have been shuffled or turned upside down, so that hair, skin and eyes alone are not enough.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

KINDS = {"wall": 1, "slope": 1, "noise": 2, "cloth": 2, "discs": 3, "animal": 2, "shuffled": 3, "upside down": 3}
"""And how often `backdrop` takes each: more often what a young finder takes for faces."""
PIECES = 4
"""A shuffled portrait is cut into so many pieces along each side: none holds both eyes."""
MOST_DISCS = 14


def faceless(kind: str, size: int, portrait: Tensor, random: torch.Generator) -> Tensor:
    """One of KINDS, [3, size, size] RGB 0…1. portrait: [3, S, S], of which some kinds take pieces."""
    if kind == "wall":
        return _colour(random).expand(3, size, size).clone()
    if kind == "slope":
        return _slope(size, random)
    if kind == "noise":
        return _noise(size, random)
    if kind == "cloth":
        return _cloth(size, random)
    if kind == "discs":
        return _discs(size, random)
    if kind == "animal":
        return _animal(size, random)
    whole = functional.interpolate(portrait[None], (size, size), mode="bilinear", antialias=True)[0]
    return _shuffled(whole, random) if kind == "shuffled" else whole.flip(1)


def backdrop(size: int, portrait: Tensor, random: torch.Generator) -> Tensor:
    """Any of KINDS, [3, size, size]."""
    shares = torch.tensor([float(share) for share in KINDS.values()])
    kind = list(KINDS)[int(torch.multinomial(shares, 1, generator=random))]
    return faceless(kind, size, portrait, random)


def _rand(random: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(shape, generator=random)


def _colour(random: torch.Generator) -> Tensor:
    """[3, 1, 1]: half of them any, half of the hues of skin and fur."""
    any_, brown = _rand(random, 3), torch.tensor([1.0, 0.75, 0.58]) * (0.2 + 0.8 * _rand(random, 1))
    chosen = any_ if _rand(random, 1) < 0.5 else brown + 0.12 * (any_ - 0.5)
    return chosen.clamp(0, 1)[:, None, None]


def _mixed(share: Tensor, random: torch.Generator) -> Tensor:
    """[H, W] 0…1 -> a blend of two colours."""
    return torch.lerp(_colour(random), _colour(random), share)


def _grid(size: int) -> tuple[Tensor, Tensor]:
    place = (torch.arange(size) + 0.5) / size * 2 - 1
    return place[None].expand(size, size), place[:, None].expand(size, size)


def _slope(size: int, random: torch.Generator) -> Tensor:
    x, y = _grid(size)
    a, b, c = (_rand(random, 3) * 2 - 1).tolist()
    share = torch.sigmoid(3 * (a * x + b * y + c * (x * x + y * y)))
    return _mixed(share, random)


def _noise(size: int, random: torch.Generator) -> Tensor:
    """Octaves of noise, grey or coloured, some of them blocky."""
    channels = 3 if _rand(random, 1) < 0.4 else 1
    fall, mode = float(_rand(random, 1)) * 1.2, "nearest" if _rand(random, 1) < 0.3 else "bicubic"
    total, side = torch.zeros(1, channels, size, size), 2
    while side <= size:
        octave = torch.randn(1, channels, side, side, generator=random)
        total += functional.interpolate(octave, (size, size), mode=mode) * side**-fall
        side *= 2
    share = torch.sigmoid(total[0] / total.std() * (0.5 + 2 * _rand(random, 1)))
    return _mixed(share, random).clamp(0, 1)


def _cloth(size: int, random: torch.Generator) -> Tensor:
    """Stripes, checks or dots, turned, under a soft shade."""
    x, y = _grid(size)
    turn, often = float(_rand(random, 1)) * 3.1416, 3 + 22 * float(_rand(random, 1))
    u = torch.cos(torch.tensor(turn)) * x + torch.sin(torch.tensor(turn)) * y
    v = torch.cos(torch.tensor(turn)) * y - torch.sin(torch.tensor(turn)) * x
    waves = torch.sin(often * u), torch.sin(often * v)
    pattern = (waves[0], waves[0] * waves[1], waves[0] + waves[1] - 1.0)[int(torch.randint(3, (), generator=random))]
    cloth = _mixed(torch.sigmoid(8 * pattern), random)
    shade = _noise(size, random).mean(0)
    return (cloth * (0.7 + 0.5 * shade)).clamp(0, 1)


def _discs(size: int, random: torch.Generator) -> Tensor:
    """Soft and hard ellipses and rings over another backdrop; some are eyes: dark in light, with a gleam."""
    x, y = _grid(size)
    picture = _slope(size, random) if _rand(random, 1) < 0.5 else _noise(size, random)
    for _ in range(int(torch.randint(2, MOST_DISCS, (), generator=random))):
        cx, cy, wide, high, edge, kind = (_rand(random, 6)).tolist()
        radius = 0.04 + 0.6 * wide**2
        far = torch.sqrt(((x - 2.2 * cx + 1.1) / radius) ** 2 + ((y - 2.2 * cy + 1.1) / (radius * (0.5 + high))) ** 2)
        sharp = 3 + 40 * edge
        disc = torch.sigmoid(sharp * (1 - far))
        if kind < 0.25:
            disc = disc * torch.sigmoid(sharp * (far - 0.7))
        picture = torch.lerp(picture, _colour(random), disc)
        if kind > 0.7:
            picture = torch.lerp(picture, 0.15 * _colour(random), torch.sigmoid(sharp * (0.55 - far)))
            picture = torch.lerp(picture, torch.ones(3, 1, 1), torch.sigmoid(sharp * (0.15 - far)))
    return picture.clamp(0, 1)


def _animal(size: int, random: torch.Generator) -> Tensor:
    """A head of fur with ears, small dark eyes and a dark nose on a muzzle, over another backdrop."""
    x, y = _grid(size)
    a = _rand(random, 10).tolist()
    x, y = x - 0.8 * (a[0] - 0.5), y - 0.8 * (a[1] - 0.5)
    scale = 0.35 + 0.6 * a[2]
    x, y = x / scale, y / scale
    fur = (_noise(size, random).mean(0) - 0.5) * 0.5
    skin, dark = _colour(random), 0.12 * _colour(random)
    picture = _slope(size, random) if a[3] < 0.5 else _noise(size, random)

    def blob(cx: float, cy: float, wide: float, high: float, colour: Tensor, edge: float = 14.0) -> None:
        nonlocal picture
        far = torch.sqrt(((x - cx) / wide) ** 2 + ((y - cy) / high) ** 2)
        picture = torch.lerp(picture, colour, torch.sigmoid(edge * (1 - far)))

    for side in (-1, 1):
        blob(side * (0.62 + 0.3 * a[4]), -0.75 + 1.0 * a[5], 0.28, 0.40, (skin * 0.8 + fur).clamp(0, 1))
    blob(0.0, 0.0, 0.85, 0.85 + 0.2 * a[6], (skin + fur).clamp(0, 1))
    blob(0.0, 0.35, 0.42, 0.38, (1.15 * skin + 0.06 + fur).clamp(0, 1))
    for side in (-1, 1):
        blob(side * (0.30 + 0.15 * a[7]), -0.15, 0.07 + 0.05 * a[8], 0.07 + 0.04 * a[8], dark)
    blob(0.0, 0.18, 0.14 + 0.12 * a[9], 0.10 + 0.10 * a[9], dark)
    return picture.clamp(0, 1)


def _shuffled(picture: Tensor, random: torch.Generator) -> Tensor:
    """Its PIECES² pieces in another order."""
    side = picture.shape[1] // PIECES
    whole = picture[:, : side * PIECES, : side * PIECES]
    pieces = whole.unflatten(1, (PIECES, side)).unflatten(3, (PIECES, side)).permute(1, 3, 0, 2, 4).flatten(0, 1)
    pieces = pieces[torch.randperm(PIECES**2, generator=random)].unflatten(0, (PIECES, PIECES))
    joined = pieces.permute(2, 0, 3, 1, 4).reshape(3, side * PIECES, side * PIECES)
    return functional.interpolate(joined[None], picture.shape[1:], mode="nearest")[0]
