"""The commands `train texture-gan` (one's own UV maps or portraits) and `train toon-texture` (the embedded one)."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from ..core.errors import UserError
from ..core.face.model import FaceModel
from ..core.face.models import DEFAULT, load_face_model
from ..core.methods.fit import FitSettings
from ..core.training.images import FolderPictures, files_in, named
from ..core.training.portrait_textures import MAPS, unwrap_folder
from ..core.training.stylegan2_settings import StyleGan2Settings
from ..core.training.team import Team
from ..core.training.texture_gan import TextureGanTrainer
from ..core.training.toon_texture import DEFAULTS, ToonTextureLesson
from ..nodes.face_finders import find_automatically
from . import train, train_toon
from .run import FAILED


def add_texture(kinds: argparse._SubParsersAction) -> None:
    """The arguments of both commands."""
    parser = kinds.add_parser(
        "texture-gan",
        help="a generator of face textures from UV maps or from portraits",
        description="Trains a StyleGAN2 of UV maps, which Load Texture GAN reads. Ctrl-C stops after the step at work; "
        "--resume goes on from there.",
    )
    parser.add_argument("--face-model", type=Path, default=DEFAULT, metavar="FILE",
                        help="whose UV layout the maps have (default: the toon head)")  # fmt: skip
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--data", type=Path, metavar="DIR", help="folder of UV maps")
    data.add_argument("--portraits", type=Path, metavar="DIR", help="folder of portraits, their points beside them "
                      "as .json or found by a finder; they are fitted and unwrapped first")  # fmt: skip
    train.add_run_options(parser)
    parser.set_defaults(act=train_texture_gan)
    toon = kinds.add_parser(
        "toon-texture",
        help="the embedded generator of the toon head's textures",
        description="Trains a progressive GAN's generator on albedo maps of the toon world, whose latents are known.",
    )
    train_toon.add_run_options(toon, DEFAULTS)
    toon.set_defaults(act=train_toon_texture)


def train_texture_gan(options: argparse.Namespace) -> int:
    """Runs it and says what happened; the exit status."""
    try:
        model = load_face_model(options.face_model)
        maps = options.data if options.portraits is None else _unwrapped(options, model)
    except UserError as error:
        print(error, file=sys.stderr)
        return FAILED

    def make(settings: StyleGan2Settings, processes: Team) -> TextureGanTrainer:
        source = FolderPictures(maps, settings.size)
        return TextureGanTrainer(settings, source, model.layout, train.run_name(options), processes)

    return train.train_generator(options, make)


def train_toon_texture(options: argparse.Namespace) -> int:
    """Runs it and says what happened; the exit status."""
    told = {name: getattr(options, name) for name in ("steps", "batch", "rate", "precision", "seed")}
    settings = replace(DEFAULTS, **told)
    return train_toon.teach(
        lambda: ToonTextureLesson(load_face_model(DEFAULT), settings.steps, settings.batch, settings.seed),
        settings,
        options,
    )


def _unwrapped(options: argparse.Namespace, model: FaceModel) -> Path:
    """The folder of maps beside the run, with a map for every portrait."""
    maps = options.out / MAPS
    settings = FitSettings(texture_size=options.resolution)
    with train.bar(len(files_in(options.portraits)), True) as watch:
        harvest = unwrap_folder(options.portraits, maps, model, find_automatically, settings, watch)
    if harvest.skipped:
        print(f"Left out: {named(harvest.skipped)}.", file=sys.stderr)
    return maps
