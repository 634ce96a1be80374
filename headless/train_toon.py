"""The commands `train toon-regressor`, `toon-identity` and `toon-landmarks`: a toon corpus in, a small network out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from ..core.errors import UserError
from ..core.face.models import DEFAULT, load_face_model
from ..core.networks.running import PRECISIONS
from ..core.optimise import DONE
from ..core.toon.corpus import Corpus
from ..core.training.loop import RunSettings, Trainer, train
from ..core.training.supervised import Lesson, SupervisedSettings, SupervisedTrainer
from .run import DONE as WELL
from .run import FAILED, STOPPED
from .train import bar, command_line

DEFAULTS = SupervisedSettings()


def add_toon(kinds: argparse._SubParsersAction) -> None:
    """The arguments of the three commands."""
    for kind, (about, lesson) in KINDS.items():
        parser = kinds.add_parser(
            kind,
            help=about,
            description=f"Trains {about}. Ctrl-C stops after the step at work; --resume goes on from there. A corpus "
            "comes from `toon-corpus`; it may still grow while the training runs.",
        )
        parser.add_argument("--corpus", type=Path, required=True, metavar="DIR", help="portraits to learn from")
        parser.add_argument("--held-out", type=Path, metavar="DIR", help="corpus of people from seed 1,000,000 on: "
                            "the file then says how good the network is")  # fmt: skip
        add_run_options(parser)
        parser.set_defaults(act=train_toon, lesson=lesson)


def add_run_options(parser: argparse.ArgumentParser, defaults: SupervisedSettings = DEFAULTS) -> None:
    """What every training by a lesson is told."""
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder for what the run writes")
    parser.add_argument("--steps", type=int, default=defaults.steps, help="of the whole run (default: %(default)s)")
    parser.add_argument("--stop", type=int, metavar="STEP", help="end here, as the first part of the whole run")
    parser.add_argument("--resume", action="store_true", help="go on with the run in that folder, if there is one")
    parser.add_argument("--batch", type=int, default=defaults.batch, help="pictures a step (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=defaults.rate, help="learning rate (default: %(default)s)")
    parser.add_argument("--precision", choices=list(PRECISIONS), default=defaults.precision)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--checkpoint-every", type=int, default=RunSettings.checkpoint_every, metavar="STEPS")
    parser.add_argument("--sheet-every", type=int, default=RunSettings.sheet_every, metavar="STEPS")


def train_toon(options: argparse.Namespace) -> int:
    """Runs it and says what happened; the exit status."""

    def trainer() -> Trainer:
        settings = settings_of(options)
        held_out = None if options.held_out is None else Corpus(options.held_out)
        return SupervisedTrainer(settings, options.lesson(Corpus(options.corpus), held_out, settings))

    return drive(trainer, options)


def settings_of(options: argparse.Namespace) -> SupervisedSettings:
    """What `add_run_options` was told."""
    return SupervisedSettings(
        steps=options.steps, batch=options.batch, rate=options.rate, precision=options.precision, seed=options.seed
    )


def teach(lesson: Callable[[], Lesson], settings: SupervisedSettings, options: argparse.Namespace) -> int:
    """Trains by the lesson that is made, says what happened; the exit status."""
    return drive(lambda: SupervisedTrainer(settings, lesson()), options)


def drive(make: Callable[[], Trainer], options: argparse.Namespace) -> int:
    """Runs the trainer that is made, says what happened; the exit status."""
    try:
        return _driven(make(), options)
    except UserError as error:
        print(error, file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(f"Stopped. To go on: the same command with --resume. The run is in {options.out}.", file=sys.stderr)
        return STOPPED


def _driven(trainer: Trainer, options: argparse.Namespace) -> int:
    run = RunSettings(
        min(options.stop or options.steps, options.steps), options.checkpoint_every, options.sheet_every,
        command=command_line(sys.argv[1:]),
    )  # fmt: skip
    print(trainer.describe(), file=sys.stderr)
    with bar(run.steps, True) as watch:
        outcome = train(trainer, options.out, run, watch, options.resume)
    for note in trainer.notes:
        print(note, file=sys.stderr)
    if outcome.stopped != DONE:
        raise UserError(f"The training stopped at step {outcome.steps}: {outcome.stopped}. Try a smaller --rate.")
    print(outcome.product)
    return WELL


def _regressor(corpus: Corpus, held_out: Corpus | None, settings: SupervisedSettings) -> Lesson:
    from ..core.training.toon_regressor import RegressorLesson

    return RegressorLesson(corpus, load_face_model(DEFAULT), settings, held_out)


def _identity(corpus: Corpus, held_out: Corpus | None, settings: SupervisedSettings) -> Lesson:
    from ..core.training.toon_identity import IdentityLesson

    return IdentityLesson(corpus, settings, held_out)


def _landmarks(corpus: Corpus, held_out: Corpus | None, settings: SupervisedSettings) -> Lesson:
    from ..core.training.toon_landmarks import LandmarksLesson

    return LandmarksLesson(corpus, settings, held_out)


KINDS: dict[str, tuple[str, Callable[[Corpus, Corpus | None, SupervisedSettings], Lesson]]] = {
    "toon-regressor": ("the regressor from toon portraits to face parameters", _regressor),
    "toon-identity": ("the recogniser of toon people", _identity),
    "toon-landmarks": ("the finder of toon faces and their 68 points", _landmarks),
}
"""Command -> what it trains, and how its lesson is made."""
