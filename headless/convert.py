"""The command `convert`: a published generator into .safetensors, read anywhere without running anything."""

from __future__ import annotations

import sys
from pathlib import Path

from ..core.checkpoints import read, save_safetensors
from ..core.errors import UserError
from ..core.networks.generator import load_generator, packed
from .run import DONE, FAILED

SUFFIX = ".safetensors"


def convert(source: Path, target: Path, which: str, overwrite: bool = False) -> int:
    """Writes the generator `which` of `source` to `target` and says what it is; the exit status.

    What loads back has the same fingerprint, so latents of the one fit the other. overwrite: an existing target may go.
    """
    try:
        if target.suffix.lower() != SUFFIX:
            raise UserError(f"'{target.name}' should end in {SUFFIX}, the only format that is written.")
        if not source.is_file():
            raise UserError(f"There is no file {source}.")
        if target.exists() and not overwrite:
            raise UserError(f"{target} exists already. Choose another name, or allow it with --overwrite.")
        generator = load_generator(read(source), which)
        save_safetensors(target, *packed(generator))
    except UserError as error:
        print(error, file=sys.stderr)
        return FAILED
    print(generator.describe())
    print(target)
    return DONE
