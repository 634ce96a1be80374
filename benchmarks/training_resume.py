"""Does a run that was stopped end like one that was not? Two trainings, one stopped half-way and gone on with.

`python benchmarks/training_resume.py [--resolution 32] [--steps 200]` trains a small StyleGAN2 on discs before
gradients, once without a stop and once in two processes with a checkpoint between them, and compares every tensor of
the last checkpoints bit by bit: networks, averaged generator, both optimisers, augmentation. Exit status 1 on any
difference. On a GPU, PyTorch's own kernels may differ from run to run; `--deterministic` forbids that.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

import pack  # noqa: E402
from discs import discs  # noqa: E402

pack.load()

from portrait_rig.core.checkpoints import read  # noqa: E402
from portrait_rig.core.training.augment import AugmentSettings  # noqa: E402
from portrait_rig.core.training.images import BatchPictures  # noqa: E402
from portrait_rig.core.training.loop import RunSettings, train  # noqa: E402
from portrait_rig.core.training.stylegan2 import StyleGan2Trainer  # noqa: E402
from portrait_rig.core.training.stylegan2_settings import settings_for  # noqa: E402
from portrait_rig.core.training.team import team  # noqa: E402

PICTURES = 50


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--resolution", type=int, default=32)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--channels", type=int, default=16, help="of every layer")
    parser.add_argument("--deterministic", action="store_true", help="only kernels that give the same bits every time")
    parser.add_argument("--part", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part is not None:
        one_part(options, options.part)
        return 0
    half = options.steps // 2
    print(f"PyTorch {torch.__version__}, {team().device}, {options.resolution}², batch {options.batch}")
    with tempfile.TemporaryDirectory() as temporary:
        for name, stops in (("whole", [options.steps]), ("stopped", [half, options.steps])):
            for steps in stops:
                started = time.perf_counter()
                again = [*sys.argv, "--part", str(Path(temporary, name)), "--steps", str(steps)]
                subprocess.run([sys.executable, *again], check=True)
                print(f"{name}, to step {steps}: {time.perf_counter() - started:.0f} s", flush=True)
        ends = [
            read(Path(temporary, name, f"checkpoint-{options.steps:08d}.safetensors")) for name in ("whole", "stopped")
        ]
    names = sorted(ends[0].tensors)
    if names != sorted(ends[1].tensors):
        print("identical: no, the checkpoints hold different tensors")
        return 1
    other = [name for name in names if not torch.equal(ends[0].tensors[name], ends[1].tensors[name])]
    numbers = sum(tensor.numel() for tensor in ends[0].tensors.values())
    plain = ends[0].metadata["plain"] == ends[1].metadata["plain"]
    same = plain and not other
    print(f"{len(names)} tensors, {numbers:,} numbers; different: {', '.join(other[:5]) or 'none'}")
    print(f"identical: {'yes' if same else 'no'}")
    return 0 if same else 1


def one_part(options: argparse.Namespace, folder: Path) -> None:
    """A process of its own, so that nothing but the checkpoint goes from one to the next."""
    torch.use_deterministic_algorithms(options.deterministic)
    settings = settings_for(
        "auto", options.resolution, batch=options.batch, channel_base=options.channels * options.resolution,
        channel_max=options.channels, latent=32, mirror=True, augment=AugmentSettings(probability=0.3),
    )  # fmt: skip
    source = BatchPictures(discs(PICTURES, settings.size), settings.size)
    trainer = StyleGan2Trainer(settings, source, team=team())
    train(trainer, folder, RunSettings(options.steps), resume=True)
    trainer.close()


if __name__ == "__main__":
    sys.exit(main())
