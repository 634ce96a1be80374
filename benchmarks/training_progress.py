"""Does training teach anything? Fréchet distance between drawn and real pictures before, during and after a short run.

`python benchmarks/training_progress.py [--resolution 32] [--steps 500] [--out RUN]` trains a small StyleGAN2 on discs
before gradients, of which there are as many as it asks for, and compares 512 drawn pictures with 512 it has never seen:
means and covariances of the pictures at 8×8 pixels, the distance of the two Gaussians (Heusel et al. 2017, with pixels
in place of Inception's features). The floor is the distance between two sets of real pictures.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import scipy.linalg
import torch
from torch import Tensor
from torch.nn import functional

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

import pack  # noqa: E402
from discs import disc  # noqa: E402

pack.load()

from portrait_rig.core.training.images import MadePictures  # noqa: E402
from portrait_rig.core.training.loop import RunSettings, train  # noqa: E402
from portrait_rig.core.training.stylegan2 import StyleGan2Trainer  # noqa: E402
from portrait_rig.core.training.stylegan2_settings import settings_for  # noqa: E402

SAMPLES = 512
SIDE = 8
"""Pixels of the pictures that are compared: 192 numbers each, fewer than there are samples."""
UNSEEN = 10_000_000
"""The first number of the pictures that training does not reach."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--resolution", type=int, default=32)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--channels", type=int, default=32, help="at the lowest resolutions")
    parser.add_argument("--gamma", type=float, default=1.0, help="the rule's 0.0002·res²/batch is for larger pictures")
    parser.add_argument("--looks", type=int, default=5, help="how often the distance is measured")
    parser.add_argument("--out", type=Path, help="keep the run in this folder")
    options = parser.parse_args()

    settings = settings_for(
        "auto", options.resolution, batch=options.batch, channel_base=options.channels * 16,
        channel_max=options.channels, latent=64, r1_gamma=options.gamma,
    )  # fmt: skip
    size = settings.size
    trainer = StyleGan2Trainer(settings, MadePictures(lambda number: disc(number, size), f"discs, {size}"))
    real, other = (torch.stack([disc(start + n, size) for n in range(SAMPLES)]) for start in (UNSEEN, 2 * UNSEEN))
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads. {trainer.describe()}")
    print(f"floor, real against real: {frechet(real, other):.4f}")
    first = report(trainer, 0, real, None, 0.0)
    with tempfile.TemporaryDirectory() as temporary:
        folder, started = options.out or Path(temporary), time.perf_counter()
        for look in range(1, options.looks + 1):
            steps = options.steps * look // options.looks
            train(trainer, folder, RunSettings(steps, sheet_every=100), resume=True)
            report(trainer, steps, real, first, time.perf_counter() - started)
    trainer.close()


def report(trainer: StyleGan2Trainer, step: int, real: Tensor, first: float | None, seconds: float) -> float:
    with torch.no_grad():
        z = torch.randn(SAMPLES, trainer.settings.latent, generator=torch.Generator().manual_seed(1))
        drawn = torch.cat([trainer.average(part) for part in z.split(32)]) / 2 + 0.5
    distance = frechet(real, drawn.clamp(0, 1))
    change = "" if first is None else f", {100 * (distance / first - 1):+.0f} %"
    means = [pictures.mean(dim=(0, 2, 3)).tolist() for pictures in (drawn, real)]
    shades = " against ".join(" ".join(f"{value:.2f}" for value in mean) for mean in means)
    print(f"step {step:5d}: distance {distance:.4f}{change}; mean colour {shades}; {seconds:.0f} s", flush=True)
    return distance


def frechet(first: Tensor, second: Tensor) -> float:
    """Between Gaussians with the means and covariances of [N, 3, H, W]."""
    rows = [functional.adaptive_avg_pool2d(pictures, SIDE).flatten(1).double().numpy() for pictures in (first, second)]
    means, spreads = [r.mean(0) for r in rows], [np.cov(r, rowvar=False) for r in rows]
    root = scipy.linalg.sqrtm(spreads[0] @ spreads[1]).real
    return float(((means[0] - means[1]) ** 2).sum() + np.trace(spreads[0] + spreads[1] - 2 * root))


if __name__ == "__main__":
    main()
