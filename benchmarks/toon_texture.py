"""The embedded texture generator against the toon world that it was trained on: figures and a sheet.

`python benchmarks/toon_texture.py` prints how near its maps come to the true ones, how well a search of latents
recovers people whom the training never saw, and whether skins are as varied. `--sheet PATH` draws 16 people's maps
above 16 of its samples. `--file FILE` measures another file of the same layout.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

import pack  # noqa: E402

pack.load()

import torch  # noqa: E402
from PIL import Image  # noqa: E402
from portrait_rig.core.face.models import load_face_model  # noqa: E402
from portrait_rig.core.face.uv import albedo_maps, texels  # noqa: E402
from portrait_rig.core.methods.texture_gan import DEFAULT, TextureGan, load_texture_gan  # noqa: E402
from portrait_rig.core.optimise import COSINE, AdamSettings, minimise  # noqa: E402
from portrait_rig.core.perceptual import psnr  # noqa: E402
from portrait_rig.core.toon.world.albedo import people_coefficients  # noqa: E402

HELD_OUT = 1_000_000
"""Seeds from here on were never trained on."""
RATE = 0.05
"""Of the search; as for the latents of a fit, larger than a network's."""
COLUMNS, THUMBNAIL = 8, 128
SHEET = 16


def people_maps(model, count: int, size: tuple[int, int]) -> torch.Tensor:
    """[count, 3, H, W], the albedo of people who were held out."""
    coefficients = people_coefficients(model.albedo.names, range(HELD_OUT, HELD_OUT + count))
    return albedo_maps(model, coefficients, size).clamp(0, 1)


def search(gan: TextureGan, target: torch.Tensor, steps: int, prior: float) -> torch.Tensor:
    """Latents [B, D] whose maps come nearest to `target`, from the generator's start."""

    def loss(values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        drawn = gan.albedo(values["latent"])
        return {"maps": (drawn - target).square().mean((1, 2, 3)).sum(),
                "prior": prior * gan.prior(values["latent"]).sum()}  # fmt: skip

    settings = AdamSettings(steps=steps, rate=RATE, schedule=COSINE)
    return minimise({"latent": gan.start(len(target))}, loss, settings).parameters["latent"]


def tones(maps: torch.Tensor, skin: torch.Tensor) -> torch.Tensor:
    """[B, 3], the mean colour of the facial skin."""
    return maps.flatten(2)[:, :, skin.flatten()].mean(2)


def measured(gan: TextureGan, model, people: int, steps: int, samples: int) -> None:
    size = gan.size
    places = texels(model, size)
    skin = (model.face_region & model.skin_region)[places.face[0].clamp_min(0)] & places.covered[0]
    target = people_maps(model, people, size)
    mask = skin[None, None].float()
    with torch.no_grad():
        start = gan.albedo(gan.start())
    print(f"nearest so far, the start:  {psnr(start, target).mean():5.2f} dB, facial skin "
          f"{psnr(start, target, mask).mean():5.2f} dB")  # fmt: skip
    began = time.perf_counter()
    latents = search(gan, target, steps, prior=1e-4)
    seconds = time.perf_counter() - began
    with torch.no_grad():
        found = gan.albedo(latents)
    whole, inside = psnr(found, target), psnr(found, target, mask)
    print(f"found by {steps} steps:        {whole.mean():5.2f} dB (worst {whole.min():.2f}), facial skin "
          f"{inside.mean():5.2f} dB (worst {inside.min():.2f})")  # fmt: skip
    print(f"a step of the search:       {1000 * seconds / steps / people:.0f} ms a map on one core")
    with torch.no_grad():
        drawn = torch.cat([gan.albedo(gan.sample(seed)) for seed in range(samples)]).clamp(0, 1)
    for name, values in (("people", tones(people_maps(model, samples, size), skin)), ("samples", tones(drawn, skin))):
        brightness, hue = values.mean(1), values[:, 0] - values[:, 2]
        tenths = brightness.quantile(torch.tensor([0.1, 0.5, 0.9]))
        print(f"skin of {samples} {name + ':':10} mean {brightness.mean():.3f}, deviation {brightness.std():.3f}, "
              f"10 % {tenths[0]:.3f}, 50 % {tenths[1]:.3f}, 90 % {tenths[2]:.3f}; "
              f"red − blue {hue.mean():.3f} ± {hue.std():.3f}")  # fmt: skip


def sheet(gan: TextureGan, model) -> Image.Image:
    """Two rows of people's maps, then two of samples."""
    with torch.no_grad():
        drawn = torch.cat([gan.albedo(gan.sample(seed)) for seed in range(SHEET)]).clamp(0, 1)
    both = torch.cat([people_maps(model, SHEET, gan.size), drawn])
    both = torch.nn.functional.interpolate(both, (THUMBNAIL, THUMBNAIL), mode="area")
    rows = [torch.cat(list(both[first : first + COLUMNS]), 2) for first in range(0, len(both), COLUMNS)]
    return Image.fromarray((torch.cat(rows, 1).permute(1, 2, 0).numpy() * 255 + 0.5).astype("uint8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--file", type=Path, default=DEFAULT)
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load_face_model()
    gan = load_texture_gan(options.file).require(model)
    print(gan.describe())
    if options.sheet is not None:
        sheet(gan, model).save(options.sheet, quality=90)
        print(options.sheet)
    else:
        measured(gan, model, options.people, options.steps, options.samples)


if __name__ == "__main__":
    main()
