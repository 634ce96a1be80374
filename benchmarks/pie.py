"""What becomes of embedded portraits when a rig turns them: PIE against plain inversion, on heads that can be turned.

    python benchmarks/pie.py [--generator FILE] [--rig FILE] [--portraits 16] [--turn 15] [--ablations] [--threads N]
        [--sheet PNG] [--write]

Portraits of the toon world that nothing was trained on are embedded by each method with as many steps; the rig then
turns their latents by so many degrees. The world renders the same scenes turned by as much, under the same light and
with the same expression, which is the answer. `--write` stores the table as `pie.md`.
"""

from __future__ import annotations

import argparse
import math
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
import pack  # noqa: E402

pack.load()
from portrait_rig.core.checkpoints import read  # noqa: E402
from portrait_rig.core.methods import rig as rigs  # noqa: E402
from portrait_rig.core.methods.embed_portrait import EmbedSettings, EmbedWeights, embed_portrait  # noqa: E402
from portrait_rig.core.methods.identity import load_identity_network, similarity  # noqa: E402
from portrait_rig.core.methods.inversion import InvertSettings, invert, invert_steps  # noqa: E402
from portrait_rig.core.methods.regress import load_face_regressor  # noqa: E402
from portrait_rig.core.networks.generator import load_generator  # noqa: E402
from portrait_rig.core.perceptual import psnr  # noqa: E402
from portrait_rig.core.toon.corpus import HELD_OUT  # noqa: E402
from portrait_rig.core.toon.world.render import ToonWorld, joined_params  # noqa: E402
from portrait_rig.core.toon.world.sampling import scene  # noqa: E402
from portrait_rig.core.types import FaceParams, Landmarks, Latent  # noqa: E402

TABLE = Path(__file__).with_suffix(".md")
GENERATOR = ROOT / "weights" / "toon_stylegan.safetensors"
FRONTAL = 12.0
"""Degrees of yaw to either side at most; a further turn would leave what the generator has seen."""
SETTINGS = EmbedSettings()
"""The node's; 16 portraits by all methods take a quarter of an hour of one core."""
SHOWN = 6
"""Portraits on the sheet."""
HEAD = "| | PSNR before | PSNR after | similarity after | turned by | processor, s a portrait |\n" + "| --- " * 6 + "|"


@dataclass(frozen=True, eq=False)
class Known:
    """B portraits, the same people turned, and both truths."""

    before: Tensor
    after: Tensor
    truth: FaceParams
    turned: FaceParams
    landmarks: Landmarks


@dataclass(frozen=True, eq=False)
class Outcome:
    """A method's latents, pictures before and after the turn [B, 3, H, W], and its seconds of the processor."""

    latent: Latent
    before: Tensor
    after: Tensor
    seconds: float


class Bench:
    """The scenes, the networks, and how results are judged."""

    def __init__(self, generator: Path, rig: Path, turn: float) -> None:
        self.world = ToonWorld.load()
        self.generator, self.rig = load_generator(read(generator)), rigs.load_rig(rig)
        self.regressor, self.recogniser = load_face_regressor(), load_identity_network()
        self.turn = math.radians(turn)

    def people(self, count: int) -> Known:
        """The first `count` held-out people who look nearly straight ahead."""
        scenes = []
        for seed in range(HELD_OUT, 2 * HELD_OUT):
            one = scene(seed)
            if abs(math.degrees(one.view.yaw)) <= FRONTAL:
                scenes.append(one)
            if len(scenes) == count:
                break
        size = self.generator.size[0]
        further = [replace(one, view=replace(one.view, yaw=one.view.yaw + self.turn)) for one in scenes]
        shots, turned = ([self.world.snapshot(one, size) for one in some] for some in (scenes, further))
        points = torch.stack([shot.landmarks68 for shot in turned])
        return Known(
            torch.stack([shot.picture for shot in shots]),
            torch.stack([shot.picture for shot in turned]),
            joined_params([shot.params for shot in shots]),
            joined_params([shot.params for shot in turned]),
            Landmarks(points, torch.ones(count), (size, size)),
        )

    def plain(self, known: Known, space: str, steps: int) -> Outcome:
        """By inversion alone, of as many steps as PIE takes, its trials included."""
        settings = InvertSettings(space=space, steps=steps)
        settings = replace(settings, steps=round(steps * steps / invert_steps(settings)))
        start = time.process_time()
        found = invert(known.before, self.generator, settings)
        return self._outcome(found.latent, found.picture, time.process_time() - start)

    def pie(self, known: Known, settings: EmbedSettings) -> Outcome:
        start = time.process_time()
        with torch.no_grad():
            face = self.regressor.regress(known.before)
        found = embed_portrait(
            known.before, self.generator, self.rig, self.world.head, face, settings, recogniser=self.recogniser
        )
        return self._outcome(found.latent, found.inversion.picture, time.process_time() - start)

    @torch.no_grad()
    def _outcome(self, latent: Latent, before: Tensor, seconds: float) -> Outcome:
        """Turned from where the rig sees the head."""
        present = rigs.read_params(self.rig, latent)
        wanted = replace(present, angles=present.angles + torch.tensor([0.0, self.turn, 0.0]))
        turned = rigs.edit(self.rig, latent, wanted, ("pose",))
        return Outcome(latent, before, self.generator.draw(turned).clamp(0, 1), seconds / len(before))

    @torch.no_grad()
    def row(self, name: str, known: Known, outcome: Outcome) -> str:
        """Means; yaw by the regressor on the pictures, which knows nothing of rig and latents."""
        crops = [self.recogniser.crops(pictures, known.landmarks) for pictures in (known.after, outcome.after)]
        alike = similarity(*map(self.recogniser.embed, crops)).mean()
        yaws = [self.regressor.regress(pictures).angles[:, 1] for pictures in (outcome.before, outcome.after)]
        gained = torch.rad2deg(yaws[1] - yaws[0]).median()
        values = [psnr(a, b).mean() for a, b in ((outcome.before, known.before), (outcome.after, known.after))]
        return f"| {name} | {values[0]:.2f} | {values[1]:.2f} | {alike:.3f} | {gained:.1f}° | {outcome.seconds:.1f} |"


def tables(
    bench: Bench, known: Known, settings: EmbedSettings, ablations: bool
) -> Iterator[tuple[str, Outcome]]:
    """Rows with the outcomes behind them, as they come."""
    steps = sum(settings.runs)
    for space in ("W", "W+"):
        outcome = bench.plain(known, space, steps)
        yield bench.row(f"inversion into {space}, {steps} steps", known, outcome), outcome
    chosen = {
        "**PIE**": settings,
        "PIE without edit and invariance": replace(settings, weights=replace(settings.weights, edit=0, invariance=0)),
        "PIE in W alone": replace(settings, w_steps=settings.w_steps + settings.plus_steps, plus_steps=0),
    }
    for name, one in list(chosen.items())[: None if ablations else 1]:
        outcome = bench.pie(known, one)
        yield bench.row(f"{name}, {steps} steps", known, outcome), outcome


def sheet(known: Known, outcomes: list[Outcome], path: Path, side: int = 96) -> None:
    """A row a portrait: itself and turned, then for every method what it found and what became of it."""
    columns = [known.before, known.after, *(p for outcome in outcomes for p in (outcome.before, outcome.after))]
    rows = torch.cat([torch.cat(list(column[:SHOWN]), 1) for column in columns], 2).clamp(0, 1)
    pixels = (rows.permute(1, 2, 0) * 255).round().byte().numpy()
    image = Image.fromarray(pixels)
    scale = side / known.before.shape[-1]
    image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", type=Path, default=GENERATOR)
    parser.add_argument("--rig", type=Path, default=rigs.DEFAULT)
    parser.add_argument("--portraits", type=int, default=16)
    parser.add_argument("--turn", type=float, default=15.0, help="degrees")
    for name in ("approach_steps", "w_steps", "plus_steps", "every"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(SETTINGS, name))
    for name, value in vars(EmbedWeights()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=value, help="weight")
    parser.add_argument("--ablations", action="store_true", help="PIE without some of it, too")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sheet", type=Path, help="a picture of the first results")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    bench = Bench(args.generator, args.rig, args.turn)
    known = bench.people(args.portraits)
    weights = EmbedWeights(**{name: getattr(args, name) for name in vars(EmbedWeights())})
    steps = {name: getattr(args, name) for name in ("approach_steps", "w_steps", "plus_steps", "every")}
    settings = EmbedSettings(weights=weights, **steps)
    lines, outcomes = [HEAD], []
    print(HEAD)
    for line, outcome in tables(bench, known, settings, args.ablations):
        print(line, flush=True)
        lines.append(line)
        outcomes.append(outcome)
        if args.sheet:
            sheet(known, outcomes, args.sheet)
    if args.write:
        TABLE.write_text(_page(bench, known, args, lines), encoding="utf-8")


def _page(bench: Bench, known: Known, args: argparse.Namespace, lines: list[str]) -> str:
    unturned = psnr(known.before, known.after).mean()
    about = f"torch {torch.__version__}, Python {platform.python_version()}, {platform.machine()}"
    chosen = " --ablations" * args.ablations
    command = f"python benchmarks/pie.py --portraits {args.portraits} --turn {args.turn:g}{chosen} --write"
    return "\n".join(
        [
            "# PIE, measured",
            "",
            f"{about}, {args.threads} thread. {len(known.before)} portraits of the toon world from seed {HELD_OUT:,} "
            f"on that look at most {FRONTAL:g}° to the side, {bench.generator.size[0]}² pixels, embedded, then turned "
            f"by {args.turn:g}° by the rig. PIE: {args.approach_steps} steps of approach after its trials, "
            f"{args.w_steps} in W, {args.plus_steps} in W+. Compared with the world's own render of the same scene "
            "turned by as much, whole pictures in decibels; similarity to it by toon_identity, through which PIE "
            "looks, too; turn by toon_regressor, the median.",
            "",
            *lines,
            "",
            f"The portrait itself, not turned at all, is at {unturned:.2f} dB from the turned one.",
            "",
            f"`{command}`",
            "",
        ]
    )


if __name__ == "__main__":
    main()
