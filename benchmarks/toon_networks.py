"""How good the embedded networks are on toon people that no training has seen; writes `toon_networks.md` beside itself.

`python benchmarks/toon_networks.py` renders 128 people of four pictures each, then 64 figures and larger portraits, and
measures `weights/toon_regressor`, `toon_identity` and `toon_landmarks`; `--held-out DIR` takes a corpus of people from
seed 1,000,000 on that is there already, `--only NAME` measures one network and prints it alone. Portraits take ten
minutes of one core, networks two.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

import pack  # noqa: E402

pack.load()

import torch  # noqa: E402
from PIL import Image  # noqa: E402
from portrait_rig.core.face.models import load_face_model  # noqa: E402
from portrait_rig.core.methods.find_toon import load_toon_finder  # noqa: E402
from portrait_rig.core.methods.identity import load_identity_network  # noqa: E402
from portrait_rig.core.methods.regress import FaceRegressor, load_face_regressor  # noqa: E402
from portrait_rig.core.toon.corpus import HELD_OUT, Corpus, CorpusSettings, render_corpus  # noqa: E402
from portrait_rig.core.toon.world import ToonWorld, scene  # noqa: E402
from portrait_rig.core.training.faceless import KINDS, faceless  # noqa: E402
from portrait_rig.core.training.images import fitted  # noqa: E402
from portrait_rig.core.training.supervised import generator  # noqa: E402
from portrait_rig.core.training.toon_measures import (  # noqa: E402
    finder_quality,
    identity_quality,
    marks_error,
    regressor_quality,
)
from torch.nn import functional  # noqa: E402

PEOPLE = 128
SMALL = 64
"""Side of the pictures of small generators."""
SIZES = (96, 256, 512, 1024)
"""Heights of portraits whose faces are looked for; a face is a little under half of it."""
A_SIZE, A_KIND = 16, 20
"""Portraits of each size, and pictures without a face of each kind and size."""
EMPTY_SIZES = (64, 128, 384)
DOG = pack.SHARED / "data" / "portraits" / "s33.jpg"
"""A drawn dog; measured where it is present."""
BARS = {
    ("regressor", "angles"): "≤ 3",
    ("regressor", "identity"): "≥ 0.8",
    ("regressor", "expression"): "≥ 0.9",
    ("identity", "AUC"): "≥ 0.99",
    ("landmarks", "error"): "≤ 2.5",
}
"""What each must reach."""
NOTES = {
    "regressor": "What moves a head's outline or its features across is found (squareness of the jaw 0.95, distance of "
    "the eyes 0.94), what moves them towards the camera hardly (depth of the head 0.16, of the eyes 0.45). Every face "
    "is looked at twice and in the mirror; one look and its mirror image give identity 0.796. Linear regression from "
    "217 exact points of the face, with pose and expression known, gives 0.92 on the same people, and 0.81 once each "
    "point is off by a fifth of a pixel of 128. On people of the training pictures identity is 0.01 better.",
    "landmarks": "Portraits in shuffled pieces and upside down hold faces of a kind.",
}
"""What the figures do not say."""


@contextmanager
def held_out(folder: Path | None, **settings: object) -> Iterator[Corpus]:
    """The corpus in the folder, or one that is rendered now."""
    if folder is not None:
        yield Corpus(folder)
        return
    with tempfile.TemporaryDirectory() as made:
        for _ in render_corpus(Path(made), CorpusSettings(PEOPLE, first=HELD_OUT, **settings)):
            pass
        yield Corpus(Path(made))


class Smaller(torch.nn.Module):
    """A regressor that sees pictures of SMALL² brought to their size."""

    def __init__(self, regressor: FaceRegressor) -> None:
        super().__init__()
        self._regressor = regressor

    def regress(self, pictures: torch.Tensor):
        size = pictures.shape[-2:]
        small = functional.interpolate(pictures, (SMALL, SMALL), mode="bilinear", antialias=True)
        return self._regressor.regress(functional.interpolate(small, size, mode="bilinear"))


def regressor(folder: Path | None) -> dict[str, float]:
    network, model = load_face_regressor(), load_face_model()
    with held_out(folder) as corpus:
        found = regressor_quality(network, corpus, model)
        small = regressor_quality(Smaller(network), corpus, model)
    return found | {f"{name}, from {SMALL}²": small[name] for name in ("angles", "identity", "expression", "points")}


def identity(folder: Path | None) -> dict[str, float]:
    with held_out(folder) as corpus:
        return identity_quality(load_identity_network(), corpus)


@torch.inference_mode()
def landmarks(folder: Path | None) -> dict[str, float]:
    finder, world = load_toon_finder(), ToonWorld.load()
    with held_out(folder) as corpus:
        found = finder_quality(finder, corpus)
        spare = corpus.pictures(range(A_KIND)).float() / 255
    for size in SIZES:
        drawn = [world.render(scene(HELD_OUT + number), size) for number in range(A_SIZE)]
        errors = [marks_error(finder.find(one.picture[None])[0], one.landmarks68) for one in drawn]
        found |= _told(f"portraits of {size}²", errors)
    figures = [world.render_figure(scene(HELD_OUT + number), 256) for number in range(A_SIZE)]
    errors = [marks_error(finder.find(one.picture[None])[0], one.landmarks68) for one in figures]
    found |= _told("figures of 256 × 128", errors)
    for kind in KINDS:
        seen = [
            faceless(kind, size, spare[number], generator(HELD_OUT, size, number))
            for size in EMPTY_SIZES
            for number in range(A_KIND)
        ]
        wrong = sum(bool(finder.find(picture[None])[0]) for picture in seen)
        found[f"faces found in {len(seen)} × {kind}"] = wrong
    if DOG.exists():
        with Image.open(DOG) as file:
            dogs = [fitted(file, (side, side)).float() / 255 for side in (256, 512)]
        found["faces found in the dog"] = sum(len(finder.find(dog[None])[0]) for dog in dogs)
    return found


def _told(name: str, errors: list[float]) -> dict[str, float]:
    """Median error, and how many were missed."""
    off = torch.tensor(errors)
    return {f"error, {name}": off[off.isfinite()].median().item(), f"missed, {name}": (~off.isfinite()).sum().item()}


MEASURED = {"regressor": regressor, "identity": identity, "landmarks": landmarks}


def table(name: str, found: dict[str, float]) -> str:
    rows = [f"| {what} | {value:.4g} | {BARS.get((name, what), '')} |" for what, value in found.items()]
    about = (MEANING[name].__doc__ or "").split("\n\n", 1)[1].replace("\n    ", " ").strip()
    note = [NOTES[name], ""] if name in NOTES else []
    head = [f"## toon_{name}", "", about, "", "| what | found | bar |", "| --- | --- | --- |"]
    return "\n".join([*head, *rows, "", *note])


MEANING = {"regressor": regressor_quality, "identity": identity_quality, "landmarks": finder_quality}
"""Whose docstrings say what the figures are."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--held-out", type=Path)
    parser.add_argument("--only", choices=MEASURED)
    options = parser.parse_args()
    names = [options.only] if options.only else list(MEASURED)
    tables = [table(name, MEASURED[name](options.held_out)) for name in names]
    text = "\n".join(["# The embedded networks on people that they have not seen", "", *tables])
    print(text)
    if not options.only:
        (HERE / "toon_networks.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
