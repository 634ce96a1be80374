"""How good a generator of toon people is; writes its section of `toon_generator.md`, and a sheet to look at.

    python benchmarks/toon_generator.py weights/toon_stylegan.safetensors --corpus portraits --held-out held

The two folders are corpora of the toon world, which are made by

    python -m portrait_rig toon-corpus --out portraits --people 15000 --workers 2
    python -m portrait_rig toon-corpus --out held --people 128 --first 1000000

and for figures with `--figures --no-bare --moments 2` besides; `--sheet FILE.jpg` draws samples, renders and
inversions. Renders are reduced to the generator's size, so that
nothing is asked of it that it has no pixels for. Portraits are shown to the embedded networks, whose crops enlarge
them; figures are measured by inversion only. Some ten minutes of one core.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

import pack  # noqa: E402

pack.load()

import torch  # noqa: E402
from PIL import Image  # noqa: E402
from portrait_rig.core.checkpoints import read  # noqa: E402
from portrait_rig.core.face.models import load_face_model  # noqa: E402
from portrait_rig.core.methods.identity import load_identity_network  # noqa: E402
from portrait_rig.core.methods.inversion import Inversion, InvertSettings, invert  # noqa: E402
from portrait_rig.core.methods.latents import noise_of_seed  # noqa: E402
from portrait_rig.core.methods.regress import load_face_regressor  # noqa: E402
from portrait_rig.core.methods.sheet import sheet  # noqa: E402
from portrait_rig.core.networks.generator import Generator, load_generator  # noqa: E402
from portrait_rig.core.toon.corpus import BARE, Corpus  # noqa: E402
from portrait_rig.core.training.generator_measures import Eyes, frechet_distances, look, spread_shares  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn import functional  # noqa: E402

TABLES = HERE / "toon_generator.md"
COUNT = 2000
"""Samples, and renders of each of two sets, for spreads and distances."""
INVERTED = 32
"""Held-out scenes that are inverted, each of another person."""
SHOWN, COLUMNS, PSI = 16, 8, 0.7
"""Samples on the sheet, how many in a row, and their truncation."""
SEED = 0
AT_ONCE = 50
INVERSION = InvertSettings(space="W+", start="mean", steps=500, rate=0.2, w_noise=0.0, pixel=20.0)
"""Found with drafts in 300 steps, medians. Eight held-out scenes, 32²: 28.9 dB from the mean with the other defaults,
29.5 at rate 0.1, 30.3 without noise on the codes and with pixels weighted so. Four scenes, 64²: 29.0 dB so, 29.4 at
this rate. Trying random starts besides gains 0.8 dB more, for 64 % more time."""
INVERSION_BARS = {False: 27.0, True: 25.0}
"""Decibels, median; of portraits and of figures."""
SPREAD_BAR = 0.8
HEAD = f"""# Embedded generators of toon people

By `python benchmarks/toon_generator.py FILE --corpus DIR --held-out DIR`. Everything is measured at the generator's own
size: renders are reduced to it by area.

- Inversion: held-out scenes (seeds from 1,000,000), all in one descent in {INVERSION.space}, from the mean, at the rate
  {INVERSION.rate:g}, no noise on the codes, pixels weighted {INVERSION.pixel:g}, the pyramid {INVERSION.pyramid:g}.
- Spread: of what `toon_regressor` sees in {COUNT:,} samples at ψ 1, by what it sees in {COUNT:,} renders. Smile: the
  mean of both corners' strengths; light: all 27 coefficients, the root of their summed variances.
- Fréchet distance between {COUNT:,} samples and {COUNT:,} renders, in the embedding of `toon_identity` (of length 1)
  and in the mean of `toon_regressor`'s last maps; beside it that of the renders to {COUNT:,} others of other people.
"""


def rows_of(corpus: Corpus) -> Tensor:
    """Numbers of its dressed pictures, which are what generators learn."""
    return (corpus.truth("kind") != BARE).nonzero().squeeze(1)


def renders(corpus: Corpus, rows: Tensor, size: tuple[int, int]) -> Iterator[Tensor]:
    """Batches [B, 3, H, W] 0…1, reduced to `size`."""
    for few in rows.split(AT_ONCE):
        yield functional.interpolate(corpus.pictures(few).float() / 255, size, mode="area")


@torch.no_grad()
def samples(generator: Generator, count: int, psi: float) -> Iterator[Tensor]:
    """Batches [B, 3, H, W] 0…1."""
    for few in noise_of_seed(SEED, count, generator.z_dim).split(AT_ONCE):
        yield generator.draw(generator.map(few, truncation=psi)).clamp(0, 1)


def inverted(generator: Generator, targets: Tensor, steps: int) -> Inversion:
    started = time.perf_counter()

    def tell(step: int, total: int, loss: float, preview: object) -> None:
        if step % 50 == 0:
            print(f"inversion: step {step} of {total}, {time.perf_counter() - started:.0f} s", file=sys.stderr)

    return invert(targets, generator, replace(INVERSION, steps=steps), watch=tell)


def inversion_table(found: Inversion, figures: bool) -> list[str]:
    psnr, bar = found.psnr.sort().values, f"≥ {INVERSION_BARS[figures]:g} dB"
    return [
        f"| inversion, {found.result.steps} steps: PSNR, median of {len(psnr)} | {psnr.quantile(0.5):.2f} dB | {bar} |",
        f"| least, greatest | {psnr[0]:.2f}, {psnr[-1]:.2f} dB | |",
    ]


def seen_table(generator: Generator, corpus: Corpus) -> list[str]:
    """What the networks say; renders are taken evenly from the corpus, the two sets of different people."""
    rows = rows_of(corpus)
    chosen = rows[torch.linspace(0, len(rows) - 1, 2 * COUNT).long()]
    eyes = Eyes(load_face_regressor(), load_identity_network(), load_face_model())
    first, second = (look(renders(corpus, part, generator.size), eyes) for part in chosen.split(COUNT))
    drawn = look(samples(generator, COUNT, 1.0), eyes)
    lines = [
        f"| spread of {name} by the renders' | {share:.2f} | ≥ {SPREAD_BAR:g} |"
        for name, share in spread_shares(drawn, first).items()
    ]
    own = frechet_distances(second, first)
    for name, distance in frechet_distances(drawn, first).items():
        lines.append(f"| Fréchet distance of {name}; of two sets of renders | {distance:.4g}; {own[name]:.4g} | |")
    return lines


def picture(generator: Generator, shown: Tensor, found: Inversion) -> Image.Image:
    """Samples, renders, and below the first row of these what the inversion found."""
    drawn = torch.cat(list(samples(generator, SHOWN, PSI)))
    rows = []
    for caption, pictures in ((f"Samples, truncation {PSI:g}", drawn), ("Renders of strangers", shown[:SHOWN])):
        parts = pictures.split(COLUMNS)
        rows += zip((caption, *[""] * (len(parts) - 1)), parts, strict=True)
    rows.append((f"The first {COLUMNS} of them, inverted", found.picture[:COLUMNS]))
    laid = sheet(rows, 2 * 128 if generator.size[0] != generator.size[1] else 128)
    return Image.fromarray((laid.permute(1, 2, 0) * 255).round().byte().numpy())


def written(section: str, text: str) -> None:
    """Puts a section into the file of tables, in place of the one of its name."""
    before = TABLES.read_text(encoding="utf-8") if TABLES.exists() else ""
    kept = {part.split("\n", 1)[0]: part for part in re.split(r"^## ", before, flags=re.MULTILINE)[1:]}
    kept[section] = f"{section}\n\n{text}\n"
    parts = [f"## {kept[name].strip()}\n" for name in sorted(kept, reverse=True)]
    TABLES.write_text("\n".join([HEAD, *parts]), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generator", type=Path)
    parser.add_argument("--corpus", type=Path, help="renders to compare with; only portraits need them")
    parser.add_argument("--held-out", type=Path, required=True, help="people from seed 1,000,000 on")
    parser.add_argument("--sheet", type=Path, help="a picture to write")
    parser.add_argument("--scenes", type=int, default=INVERTED, help="how many to invert (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=INVERSION.steps, help="of inversion (default: %(default)s)")
    options = parser.parse_args()
    torch.manual_seed(SEED)
    generator = load_generator(read(options.generator))
    held = Corpus(options.held_out)
    figures, moments = held.settings.figures, held.settings.moments
    people = torch.arange(min(options.scenes, held.count // moments)) * moments
    targets = torch.cat(list(renders(held, people, generator.size)))
    found = inverted(generator, targets, options.steps)
    lines = inversion_table(found, figures)
    if not figures:
        lines += seen_table(generator, Corpus(options.corpus))
    about = generator.describe().replace("\n", "; ") + ".\n"
    written(options.generator.stem, "\n".join([about, "| what | found | bar |", "| --- | --- | --- |", *lines]))
    print(TABLES.read_text(encoding="utf-8"))
    if options.sheet:
        picture(generator, targets, found).save(options.sheet, quality=88, optimize=True)


if __name__ == "__main__":
    main()
