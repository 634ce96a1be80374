"""The toon world to look at and to time.

`python benchmarks/toon_world.py` measures portraits a second, scenes built and drawn in turn; `--processes 2` draws in
two of them. `--sheet portraits --out weights/toon_portraits.jpg` draws 32 people, `--sheet figures` 16 full
figures, `--sheet person` one person in 16
moods, 9 views and 7 lights.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

import pack  # noqa: E402

pack.load()

import torch  # noqa: E402
from PIL import Image  # noqa: E402
from portrait_rig.core.toon.world import ToonWorld, scene  # noqa: E402
from portrait_rig.core.toon.world.scene import View  # noqa: E402

WARM_UP = 40
"""Pictures drawn before the clock starts: styles are laid out when first worn."""
VIEWS = tuple(View(pitch=pitch, yaw=yaw) for pitch in (-0.3, 0.0, 0.3) for yaw in (-0.7, 0.0, 0.7))


def speed(seeds: range, size: int, plain: bool = False) -> float:
    """Portraits a second, in one process."""
    torch.set_num_threads(1)
    world = ToonWorld.load()
    with torch.inference_mode():
        for seed in range(WARM_UP):
            world.render(scene(seed), size)
        for seed in seeds:
            world.wardrobe.of(scene(seed))
        start = time.perf_counter()
        for seed in seeds:
            world.render(scene(seed), size, plain=plain)
    return len(seeds) / (time.perf_counter() - start)


def tiled(pictures: list[torch.Tensor], columns: int) -> Image.Image:
    rows = [torch.cat(pictures[first : first + columns], 2) for first in range(0, len(pictures), columns)]
    whole = torch.cat(rows, 1).permute(1, 2, 0)
    return Image.fromarray((whole.numpy() * 255 + 0.5).astype("uint8"))


def portraits(world: ToonWorld, first: int, size: int, count: int = 32) -> Image.Image:
    return tiled([world.render(scene(first + k), size).picture for k in range(count)], 8)


def figures(world: ToonWorld, first: int, size: int, count: int = 16) -> Image.Image:
    """Full figures, twice as high as wide."""
    return tiled([world.render_figure(scene(first + k), 2 * size).picture for k in range(count)], 8)


def person(world: ToonWorld, seed: int, size: int) -> Image.Image:
    """Sixteen moments of one person, then nine views, then seven lights."""
    someone = scene(seed)
    moments = [someone.varied(k, view=False, light=False) for k in range(16)]
    views = [replace(someone, view=view) for view in VIEWS]
    lights = [someone.varied(k, view=False, mood=False) for k in range(7)]
    return tiled([world.render(each, size).picture for each in (*moments, *views, *lights)], 8)


DRAWN = {"portraits": portraits, "figures": figures, "person": person}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--sheet", choices=tuple(DRAWN))
    arguments.add_argument("--out", type=Path)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--size", type=int, default=128)
    arguments.add_argument("--count", type=int, default=60)
    arguments.add_argument("--processes", type=int, default=1)
    chosen = arguments.parse_args()
    if chosen.sheet:
        with torch.inference_mode():
            made = DRAWN[chosen.sheet](ToonWorld.load(), chosen.seed, chosen.size)
        made.save(chosen.out, quality=88)
        return
    shares = [range(1000 * k, 1000 * k + chosen.count) for k in range(chosen.processes)]
    with multiprocessing.get_context("spawn").Pool(chosen.processes) as pool:
        rates = pool.starmap(speed, [(share, chosen.size) for share in shares])
    print(f"{chosen.size}²: " + " + ".join(f"{rate:.1f}" for rate in rates) + f" = {sum(rates):.1f} portraits a second")


if __name__ == "__main__":
    main()
