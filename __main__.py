"""Portrait Rig without ComfyUI: `python -m portrait_rig run WORKFLOW.json`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; its exit status."""
    parser = argparse.ArgumentParser(prog="portrait_rig", description="The nodes of Portrait Rig without ComfyUI.")
    commands = parser.add_subparsers(dest="command", required=True)
    for add in COMMANDS:
        add(commands)
    options = parser.parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # Windows consoles lack many letters
    try:
        return options.act(options)
    except KeyboardInterrupt:
        return 130  # what shells give for a stop by Ctrl-C
    except BrokenPipeError:  # the reader, such as `head`, had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _add_run(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("run", help="run workflows saved by ComfyUI (UI or API format)")
    parser.add_argument(
        "workflows", nargs="+", type=Path, metavar="WORKFLOW", help="the .json file; several run one after another"
    )
    parser.add_argument(
        "--set", action="append", default=[], dest="settings", metavar="NODE.INPUT=VALUE",
        help="change a value; NODE is an id, or a title or type that only one node has",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, default=Path("output"), help="folder for results (default: %(default)s)")
    parser.add_argument("--input", type=Path, default=Path("input"), help="folder for inputs (default: %(default)s)")
    parser.set_defaults(act=_run)


def _run(options: argparse.Namespace) -> int:
    from .headless.run import run_all

    return run_all(options.workflows, options.settings, options.output, options.input)


def _add_nodes(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("nodes", help="list the nodes with their sockets")
    parser.add_argument("--json", action="store_true", help="as ComfyUI's /object_info has them")
    parser.set_defaults(act=_nodes)


def _nodes(options: argparse.Namespace) -> int:
    from .headless import listing
    from .headless.registry import everything

    print((listing.as_json if options.json else listing.as_text)(everything()))
    return 0


def _add_train(commands: argparse._SubParsersAction) -> None:
    from .headless.train import add_stylegan
    from .headless.train_rig import add_rig
    from .headless.train_texture import add_texture
    from .headless.train_toon import add_toon
    from .headless.train_toon_generator import add_toon_generator

    kinds = commands.add_parser(
        "train", help="train a network; the run can be stopped and gone on with"
    ).add_subparsers(dest="kind", required=True)
    add_stylegan(kinds)
    add_toon(kinds)
    add_toon_generator(kinds)
    add_texture(kinds)
    add_rig(kinds)


def _add_corpus(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "toon-corpus",
        help="render pictures of the toon world, with everything known about them, to train on",
        description="Renders what is missing in the folder; a stopped rendering goes on when it is called again.",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the corpus")
    parser.add_argument("--people", type=int, required=True, help="how many people; more can be added to a corpus")
    parser.add_argument("--moments", type=int, default=4, help="pictures of each (default: %(default)s)")
    parser.add_argument("--size", type=int, default=128, help="pixels of their height (default: %(default)s)")
    parser.add_argument("--figures", action="store_true", help="whole people, half as wide as high")
    parser.add_argument("--no-bare", action="store_false", dest="bare", help="without a bare head as the last moment")
    parser.add_argument("--first", type=int, default=0, help="seed of the first person (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: %(default)s)")
    parser.set_defaults(act=_corpus)


def _corpus(options: argparse.Namespace) -> int:
    from .headless.toon_corpus import render

    return render(options)


def _add_convert(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "convert",
        help="convert a StyleGAN file (.pkl, .pt, .pth) to .safetensors",
        description="Converts a StyleGAN2 or StyleGAN3 generator, in any layout that Load StyleGAN knows, to "
        ".safetensors. Nothing in the file is executed. Latents of the original fit the result.",
    )
    parser.add_argument("source", type=Path, metavar="IN", help="the file as its authors published it")
    parser.add_argument("target", type=Path, metavar="OUT.safetensors", help="the file to write")
    parser.add_argument(
        "--which", default="G_ema", choices=["G_ema", "G"],
        help="the averaged generator of a training checkpoint, or the one in training (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace the target where it exists")
    parser.set_defaults(act=_convert)


def _convert(options: argparse.Namespace) -> int:
    from .headless.convert import convert

    return convert(options.source, options.target, options.which, options.overwrite)


COMMANDS: list[Callable[[argparse._SubParsersAction], None]] = [
    _add_run, _add_nodes, _add_train, _add_corpus, _add_convert,
]  # fmt: skip
"""Each adds one command: its arguments, and what it does as the default `act`."""

if __name__ == "__main__":
    sys.exit(main())
