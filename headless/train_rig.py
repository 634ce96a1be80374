"""The command `train rig`: a generator, a face model and a regressor in, a rig out."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from ..core.checkpoints import read
from ..core.errors import UserError
from ..core.face.models import DEFAULT as TOON_HEAD
from ..core.face.models import load_face_model
from ..core.methods.regress import DEFAULT as TOON_REGRESSOR
from ..core.methods.regress import load_face_regressor
from ..core.networks.generator import load_generator
from ..core.networks.rig import COMPONENTS, MODES
from ..core.networks.running import PRECISIONS
from ..core.training.dfr import TEACHERS
from ..core.training.latent_corpus import Eye
from ..core.training.loop import RunSettings
from ..core.training.rig import RigSettings, train_rig
from ..nodes.rig_train import landmarks_for
from .run import DONE, FAILED, STOPPED
from .train import bar, command_line

DEFAULTS = RigSettings()


def add_rig(kinds: argparse._SubParsersAction) -> None:
    """The arguments of the command."""
    parser = kinds.add_parser(
        "rig",
        help="a rig of a generator: pose, expression and light of its portraits by the parameters of a face model",
        description="Draws latents of the generator, learns to read face parameters in them (DFR), and to change one "
        "component of these (a RigNet each). Ctrl-C stops after the step at work; --resume goes on from there.",
    )
    parser.add_argument("--generator", type=Path, required=True, metavar="FILE", help="a StyleGAN that Load StyleGAN "
                        "reads")  # fmt: skip
    parser.add_argument("--face-model", type=Path, default=TOON_HEAD, metavar="FILE", help="default: the toon head")
    parser.add_argument("--regressor", type=Path, default=TOON_REGRESSOR, metavar="FILE",
                        help="default: the toon regressor")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the rig and its runs")
    parser.add_argument("--resume", action="store_true", help="go on with the runs in that folder, if there are some")
    for name, value, about in (
        ("--latents", DEFAULTS.corpus.count, "to learn from"),
        ("--side", DEFAULTS.corpus.side, "pixels of their pictures that are kept"),
        ("--segments", DEFAULTS.corpus.segments, "most random codes in one latent"),
        ("--dfr-steps", DEFAULTS.dfr_run.steps, "of the network that reads latents"),
        ("--rignet-steps", DEFAULTS.rignet_run.steps, "of each network that edits them"),
        ("--dfr-batch", DEFAULTS.dfr_run.batch, "latents a step"),
        ("--rignet-batch", DEFAULTS.rignet_run.batch, "latents a step, which make as many pairs"),
        ("--width", DEFAULTS.dfr.width, "features of DFR's inner layers"),
        ("--seed", DEFAULTS.corpus.seed, "of all chance"),
        ("--checkpoint-every", RunSettings.checkpoint_every, "steps"),
        ("--sheet-every", RunSettings.sheet_every, "steps"),
    ):
        parser.add_argument(name, type=int, default=value, metavar="N", help=f"{about} (default: %(default)s)")
    for name, value, about in (
        ("--truncation", DEFAULTS.corpus.truncation, "of random codes"),
        ("--dfr-rate", DEFAULTS.dfr_run.rate, "learning rate"),
        ("--rignet-rate", DEFAULTS.rignet_run.rate, "learning rate"),
        ("--reconstruction", DEFAULTS.rignet.reconstruction, "weight: an edit to what is there changes nothing"),
        ("--consistency", DEFAULTS.rignet.consistency, "weight: nothing else changes"),
    ):
        parser.add_argument(name, type=float, default=value, metavar="X", help=f"{about} (default: %(default)s)")
    parser.add_argument("--teacher", choices=TEACHERS, default=DEFAULTS.dfr.teacher, help="of DFR: the regressor's "
                        "parameters, or the pictures through the renderer (default: %(default)s)")  # fmt: skip
    parser.add_argument("--mode", choices=MODES, default=DEFAULTS.rignet.mode, help="what a RigNet's decoder is told "
                        "(default: %(default)s)")  # fmt: skip
    parser.add_argument("--precision", choices=list(PRECISIONS), default="fp32", help="of the drawing of latents "
                        "(default: %(default)s)")  # fmt: skip
    parser.add_argument("--components", default=",".join(COMPONENTS), metavar="A,B", help="default: %(default)s")
    parser.add_argument("--together", action="store_true", help="one run for all components: faster, and entangled")
    parser.add_argument("--pictures", action="store_true", help="RigNets compare with the pictures themselves, as "
                        "published, in place of what DFR reads in them")  # fmt: skip
    parser.set_defaults(act=_train)


def settings_of(options: argparse.Namespace) -> RigSettings:
    """What the arguments ask for; the defaults where they say nothing. UserError where that cannot be."""
    return RigSettings(
        corpus=replace(
            DEFAULTS.corpus, count=options.latents, side=options.side, segments=options.segments,
            truncation=options.truncation, seed=options.seed,
        ),
        dfr=replace(DEFAULTS.dfr, teacher=options.teacher, width=options.width),
        dfr_run=replace(
            DEFAULTS.dfr_run, steps=options.dfr_steps, batch=options.dfr_batch, rate=options.dfr_rate,
            seed=options.seed,
        ),
        rignet=replace(
            DEFAULTS.rignet, components=tuple(filter(None, options.components.split(","))), mode=options.mode,
            reconstruction=options.reconstruction, consistency=options.consistency, pictures=options.pictures,
        ),
        rignet_run=replace(
            DEFAULTS.rignet_run, steps=options.rignet_steps, batch=options.rignet_batch, rate=options.rignet_rate,
            seed=options.seed,
        ),
        together=options.together,
    )  # fmt: skip


def _train(options: argparse.Namespace) -> int:
    try:
        settings, regressor = settings_of(options), load_face_regressor(options.regressor)
        generator = replace(load_generator(read(options.generator)), precision=PRECISIONS[options.precision])
        model = load_face_model(options.face_model)
        eye = Eye(generator, regressor, model, landmarks_for(regressor), settings.corpus.side)
        run = RunSettings(
            checkpoint_every=options.checkpoint_every, sheet_every=options.sheet_every,
            command=command_line(sys.argv[1:]),
        )  # fmt: skip
        with bar(settings.steps, True) as watch:
            outcome = train_rig(options.out, eye, settings, run, watch, options.resume)
    except UserError as error:
        print(error, file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(f"Stopped. To go on: the same command with --resume. The runs are in {options.out}.", file=sys.stderr)
        return STOPPED
    print("\n".join(outcome.report), file=sys.stderr)
    print(outcome.path)
    return DONE
