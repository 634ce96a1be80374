"""The commands `train toon-scenes`, `toon-sharp` and `toon-generator`: the three trainings of the toon generator."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from ..core.errors import UserError
from ..core.toon.corpus import Corpus
from ..core.training.loop import Trainer
from ..core.training.supervised import SupervisedSettings, SupervisedTrainer
from .train_toon import add_run_options, drive

PLAIN = SupervisedSettings(decay=0.0, longest=1e6, warm_up=0.02)
"""Without what keeps classifiers from learning by heart: these networks see few pictures often."""
SCENES = replace(PLAIN, steps=10_000, batch=16, rate=3e-2, precision="bf16")
SHARP = replace(PLAIN, steps=4000, batch=12, rate=4e-3, precision="bf16")
WHOLE = replace(PLAIN, steps=6000, batch=256, rate=10.0)
"""The mapping network's weights are a hundred times as large as others (rate multiplier 0.01), and so are its steps:
after 400 of them 1.53 of a variance of 3.56 were left at a rate of 10, 1.73 at 3; after 600 at a rate of 0.3, 2.5."""


def add_toon_generator(kinds: argparse._SubParsersAction) -> None:
    """The arguments of the three commands."""
    scenes = _command(kinds, "toon-scenes", "first: a generator that draws scenes, by regression", SCENES)
    scenes.add_argument("--corpus", type=Path, required=True, metavar="DIR", help="pictures, from `toon-corpus`")
    scenes.add_argument("--channels", required=True, metavar="N,N,…", help="features at 4, 8, … up to the pictures' "
                        "height, such as 192,192,128,96,64 for 64 pixels")  # fmt: skip
    scenes.add_argument("--start", type=Path, metavar="FILE", help="a scene generator of this or a lower resolution")
    scenes.set_defaults(make=_scenes)

    sharp = _command(kinds, "toon-sharp", "second: the same made sharp, against a discriminator", SHARP)
    sharp.add_argument("--corpus", type=Path, required=True, metavar="DIR", help="pictures, from `toon-corpus`")
    sharp.add_argument("--start", type=Path, required=True, metavar="FILE", help="a scene generator")
    sharp.add_argument("--judge-rate", type=float, default=6e-3, metavar="RATE", help="of the discriminator "
                       "(default: %(default)s)")  # fmt: skip
    sharp.add_argument("--adversarial", type=float, default=0.8, metavar="WEIGHT", help="of the discriminator's "
                       "verdict (default: %(default)s)")  # fmt: skip
    sharp.add_argument("--reconstruction", type=float, default=1.5, metavar="WEIGHT", help="of the distance to the "
                       "rendering (default: %(default)s)")  # fmt: skip
    sharp.set_defaults(make=_sharp)

    whole = _command(kinds, "toon-generator", "third: a StyleGAN2 out of it, z included", WHOLE)
    whole.add_argument("--start", type=Path, required=True, metavar="FILE", help="a scene generator")
    whole.add_argument("--name", default="toon", help="of the generator (default: %(default)s)")
    whole.set_defaults(make=_whole)


def _command(
    kinds: argparse._SubParsersAction, kind: str, about: str, defaults: SupervisedSettings
) -> argparse.ArgumentParser:
    parser = kinds.add_parser(
        kind,
        help=f"the toon generator, {about}",
        description="One of the three trainings of the toon generator. Ctrl-C stops after the step at work; --resume "
        "goes on from there.",
    )
    add_run_options(parser, defaults)
    parser.set_defaults(act=lambda options: drive(lambda: options.make(options), options), defaults=defaults)
    return parser


def _scenes(options: argparse.Namespace) -> Trainer:
    from ..core.training.toon_regression import SceneLesson, SceneOptions

    try:
        channels = tuple(int(part) for part in options.channels.split(","))
    except ValueError as error:
        raise UserError(f"--channels must be whole numbers with commas between; got '{options.channels}'.") from error
    corpus, settings = Corpus(options.corpus), _supervised(options)
    made = SceneOptions(channels, corpus.truth("scene").shape[1], figures=corpus.settings.figures)
    return SupervisedTrainer(settings, SceneLesson(made, corpus, settings, options.start))


def _sharp(options: argparse.Namespace) -> Trainer:
    from ..core.training.toon_sharpening import SharpeningSettings, ToonSharpening

    settings = SharpeningSettings(
        steps=options.steps,
        batch=options.batch,
        rate=options.rate,
        judge_rate=options.judge_rate,
        reconstruction=options.reconstruction,
        adversarial=options.adversarial,
        precision=options.precision,
        seed=options.seed,
    )
    return ToonSharpening(settings, Corpus(options.corpus), options.start)


def _whole(options: argparse.Namespace) -> Trainer:
    from ..core.training.toon_mapping import MappingLesson

    settings = _supervised(options)
    return SupervisedTrainer(settings, MappingLesson(options.start, settings, options.name))


def _supervised(options: argparse.Namespace) -> SupervisedSettings:
    told = {name: getattr(options, name) for name in ("steps", "batch", "rate", "precision", "seed")}
    return replace(options.defaults, **told)
