"""The command `toon-corpus`: pictures of the toon world with their truth, for trainings."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing

from tqdm import tqdm

from ..core.errors import UserError
from ..core.toon.corpus import CorpusSettings, render_corpus
from .run import DONE, FAILED, STOPPED


def render(options: argparse.Namespace) -> int:
    """Renders what is missing; the exit status."""
    try:
        settings = CorpusSettings(
            options.people, options.moments, options.size, options.figures, options.bare, options.first
        )
        with (
            closing(render_corpus(options.out, settings, options.workers)) as work,
            tqdm(total=settings.shards, unit="shard", file=sys.stderr, disable=None) as bar,
        ):
            for done in work:
                bar.update(done - bar.n)
    except UserError as error:
        print(error, file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("Stopped. To go on: the same command again.", file=sys.stderr)
        return STOPPED
    return DONE
