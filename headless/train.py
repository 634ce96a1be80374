"""The command `train stylegan`: pictures of a folder in, a generator out, without ComfyUI."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tqdm import tqdm

from ..core.errors import UserError
from ..core.networks.running import PRECISIONS
from ..core.optimise import DONE, Preview
from ..core.training.augment import MODES, AugmentSettings
from ..core.training.images import FolderPictures, named
from ..core.training.loop import RunSettings, train
from ..core.training.stylegan2 import StyleGan2Trainer
from ..core.training.stylegan2_settings import AUTO, PRESETS, StyleGan2Settings, settings_for
from ..core.training.team import Team, team
from .run import DONE as WELL
from .run import FAILED, STOPPED

KEPT = ("batch", "chunk", "channel_base", "channel_max", "latent", "mirror", "portrait", "precision", "seed")
"""Options that are settings by the same name; left out, they are the preset's."""


def add_stylegan(kinds: argparse._SubParsersAction) -> None:
    """The arguments of `train stylegan`."""
    parser = kinds.add_parser(
        "stylegan",
        help="a StyleGAN2 generator from a folder of pictures",
        description="Trains a StyleGAN2 generator. Ctrl-C stops after the step at work; --resume goes on from there. "
        "On several GPUs or machines: accelerate launch -m portrait_rig train stylegan …",
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of pictures, of any size")
    parser.add_argument("--portrait", action="store_true", default=None, help="pictures half as wide as high")
    add_run_options(parser)
    parser.set_defaults(act=train_stylegan)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """What every StyleGAN2 training is told, whatever it draws."""
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder for everything the run writes")
    parser.add_argument("--resolution", type=int, required=True, help="height in pixels, a power of two")
    parser.add_argument("--steps", type=int, default=RunSettings.steps, help="of the whole run (default: %(default)s)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in that folder, if there is one")
    parser.add_argument("--preset", choices=[AUTO, *PRESETS], default=AUTO, help="(default: %(default)s)")
    parser.add_argument("--batch", type=int, help="pictures a step, of all processes")
    parser.add_argument("--chunk", type=int, help="of these at once in each process, to save memory")
    parser.add_argument("--gamma", type=float, help="weight of R1; more for harder, fewer or larger pictures")
    parser.add_argument("--augment", choices=MODES, default=MODES[0], help="(default: %(default)s)")
    parser.add_argument("--probability", type=float, default=0.0, help="of augmentation, at the start or fixed")
    parser.add_argument("--mirror", action="store_true", default=None, help="add every picture's mirror image")
    parser.add_argument("--channel-base", type=int, help="resolution r has min(base / r, max) channels")
    parser.add_argument("--channel-max", type=int)
    parser.add_argument("--latent", type=int, help="values of z and of w")
    parser.add_argument("--precision", choices=list(PRECISIONS))
    parser.add_argument("--seed", type=int)
    parser.add_argument("--checkpoint-every", type=int, default=RunSettings.checkpoint_every, metavar="STEPS")
    parser.add_argument("--sheet-every", type=int, default=RunSettings.sheet_every, metavar="STEPS")
    parser.add_argument("--name", help="of the generator (default: that of the run's folder)")


def train_stylegan(options: argparse.Namespace) -> int:
    """Runs it and says what happened; the exit status."""
    return train_generator(options, lambda settings, processes: _trainer(options, settings, processes))


def train_generator(
    options: argparse.Namespace, make: Callable[[StyleGan2Settings, Team], StyleGan2Trainer]
) -> int:
    """Runs the trainer that `make` gives for the options' settings and says what happened; the exit status."""
    try:
        return _trained(options, make)
    except UserError as error:
        print(error, file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(f"Stopped. To go on: the same command with --resume. The run is in {options.out}.", file=sys.stderr)
        return STOPPED


def _trainer(options: argparse.Namespace, settings: StyleGan2Settings, processes: Team) -> StyleGan2Trainer:
    source = FolderPictures(options.data, settings.size)
    return StyleGan2Trainer(settings, source, run_name(options), processes)


def run_name(options: argparse.Namespace) -> str:
    """Of what is trained: the one that was given, or that of the run's folder."""
    return options.name or options.out.resolve().name


def _trained(options: argparse.Namespace, make: Callable[[StyleGan2Settings, Team], StyleGan2Trainer]) -> int:
    processes = team()
    augment = AugmentSettings(options.augment, options.probability)
    changes = {name: getattr(options, name, None) for name in KEPT}
    settings = settings_for(
        options.preset, options.resolution, processes.size, r1_gamma=options.gamma, augment=augment, **changes
    )
    run = RunSettings(
        options.steps, options.checkpoint_every, options.sheet_every, command=command_line(sys.argv[1:])
    )  # fmt: skip
    trainer = make(settings, processes)
    say = print if trainer.main else lambda *_, **__: None
    say(f"{trainer.describe()}; processes: {processes.size}, on {processes.device}", file=sys.stderr)
    if trainer.source.skipped:
        say(f"Left out: {named(trainer.source.skipped)}.", file=sys.stderr)
    with closing(trainer), bar(options.steps, trainer.main) as watch:
        outcome = train(trainer, options.out, run, watch, options.resume)
    for note in trainer.notes:
        say(note, file=sys.stderr)
    processes.close()
    if outcome.skipped:
        say(f"{outcome.skipped} steps were not finite and were left out, whole or in part.", file=sys.stderr)
    if outcome.stopped != DONE:
        raise UserError(f"The training stopped at step {outcome.steps}: {outcome.stopped}. Try a larger --gamma.")
    say(outcome.product)
    return WELL


def command_line(arguments: list[str]) -> str:
    """How a person types it, for the metadata of what comes out."""
    return shlex.join(["python", "-m", "portrait_rig", *arguments])


@contextmanager
def bar(total: int, main: bool) -> Iterator:
    """A `Watch` with a bar, which turns Ctrl-C into a stop between two steps; a second Ctrl-C stops at once."""
    asked = False

    def ask(*_: object) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, ask)
    with tqdm(total=total, file=sys.stderr, disable=None if main else True, unit="step") as shown:

        def watch(step: int, total: int, loss: float, preview: Preview | None) -> None:
            shown.update(step - shown.n)
            shown.set_postfix(loss=f"{loss:.3g}", refresh=False)
            if asked:
                raise KeyboardInterrupt

        try:
            yield watch
        finally:
            signal.signal(signal.SIGINT, before)
