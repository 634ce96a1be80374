"""How well GANFit fits, on portraits of the toon world that nothing was trained on, whose answers are known.

    python benchmarks/ganfit.py [--only main light shape ablation] [--portraits 32] [--some 8] [--threads N] [--write]

main: against the fit by landmarks and pixels. light: what of it ends in the texture, with and without the second view.
shape: from one picture and from five. ablation: each term left out. The last three look at `--some` only. The
recogniser and the texture generator are the embedded ones. `--write` stores the tables as `ganfit.md`.
"""

from __future__ import annotations

import argparse
import platform
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
import pack  # noqa: E402

pack.load()
from portrait_rig.core.face.light import LUMA  # noqa: E402
from portrait_rig.core.face.render import RenderSettings, render  # noqa: E402
from portrait_rig.core.methods import identity as identities  # noqa: E402
from portrait_rig.core.methods import texture_gan as generators  # noqa: E402
from portrait_rig.core.methods.fit import FitSettings, GanFit, GanFitSettings, ViewSpread, Weights, fit  # noqa: E402
from portrait_rig.core.methods.fit.landmarks_stage import project_landmarks  # noqa: E402
from portrait_rig.core.methods.fit.novel_view import NovelViews  # noqa: E402
from portrait_rig.core.toon.corpus import HELD_OUT  # noqa: E402
from portrait_rig.core.toon.world.render import ToonWorld, joined_params  # noqa: E402
from portrait_rig.core.toon.world.sampling import scene  # noqa: E402
from portrait_rig.core.types import FaceParams, Landmarks  # noqa: E402

TABLE = Path(__file__).with_suffix(".md")
SIZE, COMPARED = 256, 96
"""Pixels of a portrait's side, and of the square in which pixels are compared."""
PICTURES_OF_A_PERSON = 5
UNSEEN = 900_000_000
"""Seeds of the moments that fits do not see."""
JUDGED_FROM = 12_345
"""Seed of the views in which fits are judged; theirs is another."""
DRAWN = RenderSettings(antialias=False)
DARKEST = 0.02
"""Of an albedo or a shading, under a logarithm."""


@dataclass(frozen=True, eq=False)
class Known:
    """B portraits and the truth. mask: [B, 1, H, W], the face where nothing hides it. unseen: [B, 3, H, W], the same
    people at another moment, which no fit is shown.
    """

    pictures: Tensor
    landmarks: Landmarks
    mask: Tensor
    truth: FaceParams
    unseen: Tensor
    unseen_landmarks: Landmarks

    def __getitem__(self, rows: slice) -> Known:
        def some(marks: Landmarks) -> Landmarks:
            return Landmarks(marks.points[rows], marks.score[rows], marks.size)

        return Known(self.pictures[rows], some(self.landmarks), self.mask[rows], self.truth[rows], self.unseen[rows],
                     some(self.unseen_landmarks))  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """[B] each. albedo: mean absolute error of visible skin, 0…1. similarity: cosine of the recogniser between the fit
    in a random view and a picture of the person that the fit did not see. baked: correlation over visible skin of the
    albedo's error with the true shading, both as logarithms; share: the slope, 1 where the albedo is darker as the
    shading is. shape: mean distance of vertices after rigid alignment, of the head's height.
    landmarks: mean distance of the inner landmarks, of the eye distance.
    """

    albedo: Tensor
    similarity: Tensor
    baked: Tensor
    share: Tensor
    shape: Tensor
    landmarks: Tensor

    HEAD = "| | albedo error | similarity, novel view | baked-in light | shape | landmarks |\n" + "| --- " * 6 + "|"

    def row(self, name: str) -> str:
        return (
            f"| {name} | {self.albedo.mean():.4f} | {self.similarity.mean():.3f} | {self.baked.mean():.3f} | "
            f"{self.shape.mean():.2%} | {self.landmarks.mean():.2%} |"
        )


class Bench:
    """The head, what looks at it, and how fits are judged."""

    def __init__(self, steps: int) -> None:
        self.world = ToonWorld.load()
        self.model = self.world.head
        self.network = identities.load_identity_network()
        self.textures = generators.load_texture_gan()
        self.settings = FitSettings(texture="model", pixel_size=COMPARED)
        self.steps = steps

    def people(self, count: int, moments: int = 1) -> Known:
        """`moments` pictures in a row of each person."""
        drawn, unseen = [], []
        for person in range(HELD_OUT, HELD_OUT + count):
            first = scene(person)
            later = [first.varied(UNSEEN + person + moment * count) for moment in range(moments)]
            drawn += [self.world.render(moment, SIZE) for moment in [first, *later[1:]]]
            unseen += [self.world.render(later[0], SIZE)] * moments

        def marks(pictures: list) -> Landmarks:
            points = torch.stack([picture.landmarks68 for picture in pictures])
            return Landmarks(points, torch.ones(len(pictures)), (SIZE, SIZE))

        return Known(
            torch.stack([picture.picture for picture in drawn]),
            marks(drawn),
            torch.stack([picture.masks["face"] for picture in drawn])[:, None],
            joined_params([picture.params for picture in drawn]),
            torch.stack([picture.picture for picture in unseen]),
            marks(unseen),
        )

    def by_pixels(self, known: Known) -> FaceParams:
        """The fit by landmarks and pixels, with the photograph's texture."""
        settings = replace(self.settings, texture="photograph", texture_size=256)
        return fit(known.pictures, known.landmarks, self.model, settings, mask=known.mask).params

    def by_ganfit(
        self,
        known: Known,
        weights: Weights,
        settings: FitSettings | None = None,
        textures: generators.TextureGan | None = None,
    ) -> FaceParams:
        tools = (self.network, textures or self.textures)
        method = GanFit(*tools, GanFitSettings(steps=self.steps, weights=weights, view_size=112))
        given = (known.pictures, known.landmarks, self.model, settings or self.settings)
        return fit(*given, mask=known.mask, method=method).params

    @torch.no_grad()
    def measured(self, found: FaceParams, known: Known) -> Measured:
        albedo, baked, share = self._albedo(found, known)
        shape, landmarks = self.shape(found, known.truth), self._landmarks(found, known)
        return Measured(albedo, self._similarity(found, known), baked, share, shape, landmarks)

    def shape(self, found: FaceParams, truth: FaceParams) -> Tensor:
        rest = torch.zeros_like(truth.expression)
        ours, theirs = (self.model.vertices(face.identity, rest) for face in (found, truth))
        return (rigidly(ours, theirs) - theirs).norm(dim=-1).mean(1) / self.model.height

    def _albedo(self, found: FaceParams, known: Known) -> tuple[Tensor, Tensor, Tensor]:
        """Both albedos are drawn on the true head, so that only colours are compared."""
        bare = replace(DRAWN, mode="albedo")
        worn = replace(known.truth, albedo=found.albedo, texture=found.texture)
        true = render(self.model, known.truth, bare)
        wanted, ours = (drawn.colour.clamp(0, 1) for drawn in (true, render(self.model, worn, bare)))
        shading = render(self.model, known.truth, replace(DRAWN, mode="shaded")).colour
        skin = self.model.face_region[true.fragments.face.clamp_min(0)] & true.fragments.covered
        skin &= known.mask[:, 0] > 1 - 1e-3
        error, baked, share = [], [], []
        luma = ours.new_tensor(LUMA)[:, None]
        for one, other, light, where in zip(ours, wanted, shading, skin, strict=True):
            error.append((one - other)[:, where].abs().mean())
            grey = [(luma * colour[:, where]).sum(0).clamp_min(DARKEST).log() for colour in (one, other, light)]
            off, lit = (value - value.mean() for value in (grey[0] - grey[1], grey[2]))
            together = (off * lit).mean()
            baked.append((together / (off.square().mean() * lit.square().mean()).sqrt()).nan_to_num())
            share.append(together / lit.square().mean())
        return torch.stack(error), torch.stack(baked), torch.stack(share)

    def _similarity(self, found: FaceParams, known: Known) -> Tensor:
        views = NovelViews(self.model, ViewSpread(), 128, self.settings.field_of_view, JUDGED_FROM)
        view = replace(views.draw(found.identity), albedo=found.albedo, texture=found.texture)
        vertices = self.model.vertices(view.identity, view.expression, view.joints)
        points = project_landmarks(self.model, vertices, view.angles, view.translation, view.camera)
        drawn = render(self.model, view, DRAWN)
        pictures = drawn.colour + 0.5 * (1 - drawn.alpha)
        crops = (
            self.network.crops(pictures, Landmarks(points, torch.ones(len(points)), view.camera.size)),
            self.network.crops(known.unseen, known.unseen_landmarks),
        )
        return identities.similarity(*(self.network.embed(crop) for crop in crops))

    def _landmarks(self, found: FaceParams, known: Known) -> Tensor:
        vertices = self.model.vertices(found.identity, found.expression, found.joints)
        shown = project_landmarks(self.model, vertices, found.angles, found.translation, found.camera)
        points = known.landmarks.points
        return (shown - points)[:, 17:].norm(dim=-1).mean(1) / (points[:, 36] - points[:, 45]).norm(dim=-1)


def against_pixels(bench: Bench, portraits: int) -> Iterator[str]:
    known = bench.people(portraits)
    yield from ("", f"## {portraits} held-out portraits, {SIZE}² pixels, compared at {COMPARED}²", "", Measured.HEAD)
    began = time.process_time()
    pixels = bench.by_pixels(known)
    seconds = [(time.process_time() - began) / portraits]
    own = bench.measured(replace(pixels, texture=None), known)
    photograph = bench.measured(pixels, known)
    mean = replace(pixels, identity=0 * pixels.identity, albedo=0 * pixels.albedo, texture=None)
    yield bench.measured(known.truth, known).row("the truth itself")
    yield bench.measured(mean, known).row("mean face in that pose")
    yield photograph.row("landmarks and pixels, photograph's texture")
    yield own.row("landmarks and pixels, model's albedo")
    began = time.process_time()
    ours = bench.measured(bench.by_ganfit(known, Weights()), known)
    seconds.append((time.process_time() - began) / portraits)
    yield ours.row("**GANFit**")
    without = bench.measured(bench.by_ganfit(known, Weights(novel_view=0)), known)
    yield without.row("GANFit without the novel view")
    best = min(photograph.albedo.mean(), own.albedo.mean())
    yield from (
        "",
        f"Albedo error {1 - ours.albedo.mean() / best:.0%} lower than the better of both textures of the fit by "
        f"landmarks and pixels (30 % is asked), on {(ours.albedo < photograph.albedo).float().mean():.0%} of the "
        f"portraits lower than the photograph's. Similarity {ours.similarity.mean():.3f} for "
        f"{photograph.similarity.mean():.3f}. Baked-in light {ours.baked.mean():.3f} for {without.baked.mean():.3f} "
        "without the novel view, half of which is asked.",
        "",
        f"{seconds[0]:.1f} seconds of the processor a portrait by landmarks and pixels, {seconds[1]:.1f} by GANFit "
        f"({bench.steps} steps).",
    )


def light(bench: Bench, portraits: int) -> Iterator[str]:
    known = bench.people(portraits)
    yield from ("", f"## Light in the texture, {portraits} of these portraits", "")
    yield "| | correlation with the shading | share of the shading | its median | albedo error |"
    yield "| --- " * 5 + "|"
    pixels = bench.measured(bench.by_pixels(known), known)
    rows = [("landmarks and pixels, photograph's texture", pixels)]
    for textures in (bench.textures, generators.free_textures(bench.model, 128)):
        for name, weights in (("", Weights()), (" without the novel view", Weights(novel_view=0))):
            found = bench.by_ganfit(known, weights, textures=textures)
            rows.append((f"GANFit, {textures.id.name}{name}", bench.measured(found, known)))
    for name, row in rows:
        numbers = f"{row.baked.mean():.3f} | {row.share.mean():.1%} | {row.share.median():.1%}"
        yield f"| {name} | {numbers} | {row.albedo.mean():.4f} |"


def ablation(bench: Bench, portraits: int) -> Iterator[str]:
    known = bench.people(portraits)
    yield from ("", f"## Each term left out, {portraits} of these portraits", "", Measured.HEAD)
    yield bench.measured(bench.by_ganfit(known, Weights()), known).row("all terms")
    for name in vars(Weights()):
        found = bench.by_ganfit(known, replace(Weights(), **{name: 0.0}))
        yield bench.measured(found, known).row(f"without {name.replace('_', ' ')}")


def shape(bench: Bench, people: int) -> Iterator[str]:
    known = bench.people(people, PICTURES_OF_A_PERSON)
    yield from ("", f"## Shape of {people} people, after rigid alignment, of the head's height", "")
    yield from ("| | mean | largest | asked |", "| --- | --- | --- | --- |")
    every = slice(None, None, PICTURES_OF_A_PERSON)
    mean = replace(known.truth, identity=0 * known.truth.identity)
    one = bench.shape(bench.by_ganfit(known[every], Weights()), known.truth[every])
    together = replace(bench.settings, share_identity=True, chunk=PICTURES_OF_A_PERSON)
    five = []
    for person in range(people):
        rows = slice(person * PICTURES_OF_A_PERSON, (person + 1) * PICTURES_OF_A_PERSON)
        found = bench.by_ganfit(known[rows], Weights(), together)
        five.append(bench.shape(found, known.truth[rows])[:1])
    first = bench.shape(mean, known.truth)[every]
    for name, values, asked in (
        ("mean head", first, ""), ("from one picture", one, "2.5 %"), ("from five", torch.cat(five), "2 %")
    ):  # fmt: skip
        yield f"| {name} | {values.mean():.2%} | {values.max():.2%} | {asked} |"


def rigidly(points: Tensor, target: Tensor) -> Tensor:
    """[B, N, 3] turned and moved, not scaled, onto `target`: Kabsch 1976."""
    centre, aim = points.mean(1, keepdim=True), target.mean(1, keepdim=True)
    left, _, right = torch.linalg.svd((points - centre).mT @ (target - aim))
    signs = torch.ones_like(left[:, 0])
    signs[:, 2] = torch.linalg.det(left @ right).sign()
    return (points - centre) @ (left * signs[:, None]) @ right + aim


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--portraits", type=int, default=32)
    parser.add_argument("--some", type=int, default=8, help="portraits of the ablation, people of the shapes")
    parser.add_argument("--steps", type=int, default=GanFitSettings.steps)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    bench = Bench(arguments.steps)
    for name in arguments.only:
        lines = []
        for line in PARTS[name](bench, arguments.portraits if name == "main" else arguments.some):
            lines.append(line)
            print(line, flush=True)
        command = f"benchmarks/ganfit.py --only {name} --portraits {arguments.portraits} --some {arguments.some}"
        lines += ["", f"`python {command} --steps {arguments.steps} --write`"]
        if arguments.write:
            write(name, bench, lines)


def write(part: str, bench: Bench, lines: list[str]) -> None:
    """Puts a part's lines into the table, in place of its older ones."""
    old = TABLE.read_text(encoding="utf-8") if TABLE.exists() else ""
    parts = dict(re.findall(r"<!-- (\w+) -->\n(.*?)\n<!-- end -->", old, re.DOTALL))
    parts[part] = "\n".join(lines).strip("\n")
    about = [
        "# GANFit, measured", "",
        f"torch {torch.__version__}, Python {platform.python_version()}, {platform.machine()}. Portraits of the toon "
        f"world from seed {HELD_OUT:,} on, exact landmarks, and the world's own mask of the face, which leaves out "
        "hair, beards, glasses and hats. Random views of 112 pixels.", "",
        f"* {bench.network.describe().splitlines()[0]}", f"* {bench.textures.describe().splitlines()[0]}",
    ]  # fmt: skip
    for name in PARTS:
        if name in parts:
            about += ["", f"<!-- {name} -->", parts[name], "<!-- end -->"]
    TABLE.write_text("\n".join(about) + "\n", encoding="utf-8")


PARTS = {"main": against_pixels, "light": light, "shape": shape, "ablation": ablation}

if __name__ == "__main__":
    main()
