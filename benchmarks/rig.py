"""How exactly a rig edits, measured twice on latents that it has not seen: by its own DFR, and by a regressor that
looks at the pictures of the edited latents.

    python benchmarks/rig.py --runs DIR [--sheet FILE]

DIR is the folder that `train rig` wrote the rig into; the ablations learn from its latents, shorter. FILE becomes a
picture of edits. Writes rig.md beside itself.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

import pack  # noqa: E402

pack.load()

import torch  # noqa: E402
from PIL import Image  # noqa: E402
from portrait_rig.core.checkpoints import read  # noqa: E402
from portrait_rig.core.face.light import direction_from_angles, dominant_light  # noqa: E402
from portrait_rig.core.face.models import DEFAULT as HEAD  # noqa: E402
from portrait_rig.core.face.models import load_face_model  # noqa: E402
from portrait_rig.core.methods.identity import IdentityNetwork, load_identity_network, similarity  # noqa: E402
from portrait_rig.core.methods.regress import load_face_regressor  # noqa: E402
from portrait_rig.core.methods.rig import PASSES, SLIDER_REACH, edit, load_rig  # noqa: E402
from portrait_rig.core.methods.rig_wishes import Lamp, Sliders, wished  # noqa: E402
from portrait_rig.core.networks.generator import load_generator  # noqa: E402
from portrait_rig.core.networks.rig import COMPONENTS, parts  # noqa: E402
from portrait_rig.core.toon.corpus import HELD_OUT  # noqa: E402
from portrait_rig.core.toon.world.draws import numbers_of  # noqa: E402
from portrait_rig.core.toon.world.render import ToonWorld  # noqa: E402
from portrait_rig.core.toon.world.sampling import scene, scene_of_latent  # noqa: E402
from portrait_rig.core.training.latent_corpus import Eye, LatentCorpus, Sight  # noqa: E402
from portrait_rig.core.training.rig import RigSettings  # noqa: E402
from portrait_rig.core.training.rig_measures import Edited, measured  # noqa: E402
from portrait_rig.core.training.rig_view import FaceView  # noqa: E402
from portrait_rig.core.types import FaceParams, Landmarks  # noqa: E402
from rig_bench import SEED, Bench, Edit, by_rig  # noqa: E402
from rig_other_ways import (  # noqa: E402
    ABLATED,
    ABLATION_BATCH,
    ABLATION_PAIRS,
    ABLATION_STEPS,
    ablations,
    by_arithmetic,
    by_corrector,
)
from torch import Tensor  # noqa: E402

WIDEST = 20.0
"""Degrees of the turns in which identity is compared."""
YAWS = range(-25, 30, 5)
MOODS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
LAMPS = tuple((azimuth, elevation) for elevation in (0.0, 25.0) for azimuth in (-50.0, -25.0, 0.0, 25.0, 50.0))
LAMP_STRENGTH, LAMP_AMBIENT = 0.55, 0.57
"""Of the lights that are asked for: as much as the lights that DFR reads in latents; these hardly differ in either."""
BARS = {"error": 0.3, "leak": 0.15, "residual": 0.02}
SLIDERS_FACES, SELF_FACES, FLOOR_FACES, ROW = 24, 16, 100, 6
"""Latents under each slider, toon people whose likeness to themselves is measured, those that are drawn anew with
another's component, people on the sheet."""
TURNS = 3
"""Numbers of a scene's draws of its view that turn the head; they come first."""


# Sliders and identity ------------------------------------------------------------------------------------------------


def slid(bench: Bench, asked: Sequence[Sliders], faces: int) -> list[Sight]:
    """What the first latents show under each wish."""
    latent, own = bench.latent[:faces], bench.read[:faces]
    found = []
    for sliders in asked:
        target, components = wished(bench.rig, own, sliders, model=bench.eye.model)
        found.append(bench.eye.see(edit(bench.rig, latent, target, components, reach=SLIDER_REACH).w))
    return found


def rising(values: Tensor) -> float:
    """Share of the columns of [steps, faces] that never fall; they stay where a wish goes beyond a rig's reach."""
    return float((values.diff(dim=0) >= 0).all(0).float().mean())


def sliders(bench: Bench) -> dict[str, str]:
    found = {}
    poses = slid(bench, [Sliders(0.0, float(yaw), 0.0, posed=True) for yaw in YAWS], SLIDERS_FACES)
    yaws = torch.stack([sight.params.angles[:, 1] for sight in poses]).rad2deg()
    off = (yaws - torch.tensor(list(YAWS), dtype=yaws.dtype)[:, None]).abs()
    found["yaw: median error, degrees"] = f"{off.median():.2f} (≤ 4)"
    found["yaw: by angle"] = ", ".join(f"{yaw}: {row.median():.1f}" for yaw, row in zip(YAWS, off, strict=True))
    means = ", ".join(f"{value:.1f}" for value in yaws.mean(1))
    found["yaw: mean at each step"] = f"{means} ({'rising' if bool((yaws.mean(1).diff() > 0).all()) else 'not rising'})"
    found["yaw: faces in which it never falls"] = f"{rising(yaws):.0%}"
    names = bench.eye.model.expression.names
    for mood, shapes in (("smile", ("mouthSmile_L", "mouthSmile_R")), ("jaw_open", ("jawOpen",))):
        places = [names.index(shape) for shape in shapes]
        looks = slid(bench, [Sliders(moods={mood: value}, from_rest=True) for value in MOODS], SLIDERS_FACES)
        seen = torch.stack([sight.params.expression[:, places].mean(1) for sight in looks])
        means = seen.mean(1)
        found[f"{mood}: mean at {MOODS}"] = (
            f"{', '.join(f'{value:.2f}' for value in means)} "
            f"({'never falls' if bool((means.diff() >= 0).all()) else 'falls'})"
        )
        found[f"{mood}: faces in which it never falls"] = f"{rising(seen):.0%}"
    lamps = [Sliders(lamp=Lamp(azimuth, elevation, LAMP_STRENGTH, LAMP_AMBIENT)) for azimuth, elevation in LAMPS]
    asked = direction_from_angles(*torch.tensor(LAMPS).deg2rad().unbind(1))
    angles = [
        torch.rad2deg(torch.acos((dominant_light(sight.params.light)[0] @ want).clamp(-1, 1)))
        for sight, want in zip(slid(bench, lamps, SLIDERS_FACES), asked, strict=True)
    ]
    found["light: median error of its direction, degrees"] = f"{torch.cat(angles).median():.1f} (≤ 20)"
    found["light: by (azimuth, elevation)"] = ", ".join(
        f"({a:.0f}, {e:.0f}): {value.median():.0f}" for (a, e), value in zip(LAMPS, angles, strict=True)
    )
    return found


def embedded(network: IdentityNetwork, sight: Sight) -> Tensor:
    size = (sight.pictures.shape[2], sight.pictures.shape[3])
    return network.embed(network.crops(sight.pictures, Landmarks(sight.points, torch.ones(len(sight.points)), size)))


def identities(bench: Bench, network: IdentityNetwork) -> dict[str, str]:
    """Likeness of latents before and after a turn, and of toon people to themselves after the same turn."""
    random = torch.Generator().manual_seed(SEED)
    turns = (torch.rand(len(bench.latent), generator=random) * 2 - 1) * math.radians(WIDEST)
    target = replace(bench.read, angles=bench.read.angles + torch.nn.functional.pad(turns[:, None], (1, 1)))
    after = bench.eye.see(edit(bench.rig, bench.latent, target, ["pose"]).w)
    before = embedded(network, bench.seen)
    alike = similarity(before, embedded(network, after))
    strangers = similarity(before, before.roll(1, 0))
    itself = _of_toon_people(network, bench.eye, turns)
    return {
        "likeness before and after a turn within ±20°": f"{alike.mean():.3f}",
        "of toon people to themselves, drawn after such a turn": f"{itself.mean():.3f}",
        "ratio": f"{alike.mean() / itself.mean():.3f} (≥ 0.8)",
        "of different latents": f"{strangers.mean():.3f}",
    }


def floor(bench: Bench) -> list[str]:
    """What the regressor measures where no rig edits: toon people that are drawn anew with the next one's view, mood or
    lamp, by the renderer, and by the generator, whose z are the draws of such scenes.
    """
    groups, generator = bench.rig.coding.groups, bench.eye.generator
    names = [name for name, _ in groups]
    lines = [f"| drawn by | component | error | leak | {' | '.join(names)} |", f"|{' --- |' * (4 + len(names))}"]
    z = torch.randn(FLOOR_FACES, generator.z_dim, generator=torch.Generator().manual_seed(SEED))

    def drawn(z: Tensor) -> Tensor:
        return bench.eye.see(generator.map(z).w).params

    for who, draw in (("world", lambda z: rendered(bench.eye, z)), ("generator", drawn)):
        before = bench.rig.rows_of(draw(z))
        for component in COMPONENTS:
            after = bench.rig.rows_of(draw(with_draws(z, z.roll(1, 0), component)))
            found = measured(before, after, before.roll(1, 0), before.std(0), groups, component, bench.effects)
            cells = [f"{found.leaks[name]:.2f}" if name in found.leaks else "" for name in names]
            lines.append(f"| {who} | {component} | {found.error:.2f} | {found.leak:.2f} | {' | '.join(cells)} |")
    return lines


def with_draws(z: Tensor, other: Tensor, component: str) -> Tensor:
    """Latents z [N, Z] of scenes, with a component as `other` [N, Z] draws it; the rest of a view stays."""
    groups = {"pose": ["view"], "expression": ["mood", "gaze"], "light": ["light"]}[component]
    z = z.clone()
    for place in map(numbers_of, groups):
        place = slice(place.start, place.start + TURNS) if component == "pose" else place
        z[:, place] = other[:, place]
    return z


def rendered(eye: Eye, z: Tensor) -> FaceParams:
    """What the regressor sees in the toon world's own pictures of the scenes of z [N, Z]."""
    world, side = ToonWorld.load(), eye.generator.size[0]
    pictures = torch.stack([world.snapshot(scene_of_latent(one), side).picture for one in z.numpy()]).clamp(0, 1)
    return eye.regressor.regress(pictures)


def _of_toon_people(network: IdentityNetwork, eye: Eye, turns: Tensor) -> Tensor:
    world, found = ToonWorld.load(), []
    side = eye.generator.size[0]
    for number in range(SELF_FACES):
        drawn = scene(HELD_OUT + number)
        view = replace(drawn.view, yaw=drawn.view.yaw + float(turns[number]))
        shots = [world.snapshot(one, side) for one in (drawn, replace(drawn, view=view))]
        pictures = torch.stack([shot.picture for shot in shots]).clamp(0, 1)
        points = torch.stack([shot.landmarks68 for shot in shots])
        pair = network.embed(network.crops(pictures, Landmarks(points, torch.ones(2), (side, side))))
        found.append(similarity(pair[:1], pair[1:]))
    return torch.cat(found)


# Tables --------------------------------------------------------------------------------------------------------------


def edit_table(bench: Bench, changes: Mapping[str, Edit]) -> list[str]:
    """A line for each way to edit and each component."""
    lines = ["| edit | component | error, DFR | error, regressor | leak, DFR | leak, regressor | residual | "
             "leak for a whole edit, DFR | the same, regressor |", f"|{' --- |' * 9}"]  # fmt: skip
    for name, change in changes.items():
        for component in COMPONENTS:
            read, seen = bench.edited(change, component)
            left = bench.residual(change, component)
            cells = [_judged(read.error, "error"), _judged(seen.error, "error"), _judged(read.leak, "leak"),
                     _judged(seen.leak, "leak"), _judged(left, "residual"), _whole(read), _whole(seen)]  # fmt: skip
            lines.append(f"| {name} | {component} | {' | '.join(cells)} |")
    return lines


def leak_table(bench: Bench, change: Edit) -> list[str]:
    """Leaks group by group."""
    names = [name for name, _ in bench.rig.coding.groups]
    lines = [f"| component | measured by | {' | '.join(names)} |", f"| --- | --- |{' --- |' * len(names)}"]
    for component in COMPONENTS:
        for who, result in zip(("DFR", "regressor"), bench.edited(change, component), strict=True):
            cells = [f"{result.leaks[name]:.2f}" if name in result.leaks else "" for name in names]
            lines.append(f"| {component} | {who} | {' | '.join(cells)} |")
    return lines


def _judged(value: float, bar: str) -> str:
    return f"{value:.3f}" if value < BARS[bar] else f"**{value:.3f}**"


def _whole(found: Edited) -> str:
    """Leak by the part of the edit that arrived: who moves little also leaks little."""
    return f"{found.leak / (1 - found.error):.2f}" if found.error < 1 else "–"


def misread(bench: Bench) -> str:
    """What DFR does not see of what the regressor sees, as a share of the spread, by group."""
    read, seen = bench.rig.rows(bench.latent.w), bench.rows(bench.seen)
    told = []
    for name, part in parts(bench.rig.coding.groups).items():
        off = ((read - seen)[:, part] * bench.effects[part]).square().sum()
        usual = ((seen - seen.mean(0))[:, part] * bench.effects[part]).square().sum()
        told.append(f"{name} {(off / usual.clamp_min(1e-12)).sqrt():.2f}")
    return ", ".join(told)


def sheet(bench: Bench, file: Path) -> None:
    """Rows: latents; turned by −20, 20; smiling; open mouth; light from the left, from the right."""
    wishes = [Sliders(yaw=-20.0), Sliders(yaw=20.0), Sliders(moods={"smile": 1.0}, from_rest=True),
              Sliders(moods={"jaw_open": 0.8}, from_rest=True), Sliders(lamp=Lamp(-50, 10, 0.9, 0.4)),
              Sliders(lamp=Lamp(50, 10, 0.9, 0.4))]  # fmt: skip
    rows = [bench.seen.pictures[:ROW], *(sight.pictures for sight in slid(bench, wishes, ROW))]
    picture = torch.cat([torch.cat(list(row), 2) for row in zip(*[list(row) for row in rows], strict=True)], 1)
    pixels = (picture.permute(1, 2, 0) * 255).byte().numpy()
    Image.fromarray(pixels).resize((picture.shape[2] * 2, picture.shape[1] * 2)).save(file)


def speed(bench: Bench, *components: str) -> str:
    """Of one edit without drawing, processor time."""
    latent, target = bench.latent[:1], bench.read[1:2]
    times = []
    for _ in range(50):
        start = time.process_time()
        edit(bench.rig, latent, target, components)
        times.append(time.process_time() - start)
    return f"{sorted(times)[len(times) // 2] * 1e3:.2f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", type=Path, default=HERE.parent / "weights" / "toon_stylegan.safetensors")
    parser.add_argument("--rig", type=Path, default=HERE.parent / "weights" / "toon_rig.safetensors")
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--no-ablations", action="store_true")
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    model = load_face_model(HEAD)
    eye = Eye(load_generator(read(options.generator)), load_face_regressor(), model)
    rig = load_rig(options.rig)
    corpus = LatentCorpus(options.runs / "corpus", model)
    effects = FaceView(corpus, model, rig.coding).effects()
    with torch.no_grad():
        bench = Bench(eye, rig, options.pairs, effects)
        if options.sheet is not None:
            sheet(bench, options.sheet)
        parts = ["# The rig of the toon generator", "", MEANING.format(pairs=options.pairs), ""]
        ways = {"RigNet, one pass": by_rig(rig, 1), f"**the rig, {PASSES} passes**": by_rig(rig)}
        parts += [*edit_table(bench, ways), "", f"Leaks by group, {PASSES} passes:", "",
                  *leak_table(bench, by_rig(rig)), "", f"What DFR misses of what the regressor sees in the same "
                  f"pictures, root of the share of variance: {misread(bench)}.", ""]  # fmt: skip
        parts += ["What the regressor measures where no rig edits: scenes that are drawn anew with another's view, "
                  "mood or lamp, by the toon world and by the generator, whose z are the draws of scenes "
                  f"({FLOOR_FACES} people):", "",
                  *floor(bench), ""]  # fmt: skip
        for title, found in (("Sliders", sliders(bench)), ("Identity", identities(bench, load_identity_network()))):
            parts += [f"## {title}", "", *(f"- {name}: {value}" for name, value in found.items()), ""]
        took = (
            f"Without drawing, an edit of one component takes {speed(bench, 'pose')} of processor time (≤ 5 ms), of "
            f"all three {speed(bench, *COMPONENTS)}; {PASSES} passes."
        )
        parts += [FOUND, "", took, ""]
    _write(parts)
    if not options.no_ablations:
        others = ablations(bench, corpus, RigSettings())
        with torch.no_grad():
            few = Bench(eye, rig, ABLATION_PAIRS, effects)
            others["latent arithmetic"] = by_arithmetic(few, corpus)
            others[f"the corrector alone, {PASSES} passes"] = by_corrector(rig, PASSES)
            others[f"**the rig, {PASSES} passes**"] = by_rig(rig)
            table = edit_table(few, others)
        told = ABLATED.format(steps=ABLATION_STEPS, batch=ABLATION_BATCH, pairs=ABLATION_PAIRS)
        parts += ["## Other ways", "", told, "", *table, ""]
    _write(parts)


def _write(parts: Sequence[str]) -> None:
    (HERE / "rig.md").write_text("\n".join(parts), encoding="utf-8")


MEANING = """Over {pairs} held-out pairs of mixed latents (w, v): w gets one component of v. error: distance of that
component from what was asked, by the distance before; asked is what the same observer sees in v. leak: root mean square
of the change of every other group by its spread over latents, their mean. Both weigh a number by what it does to the
drawn face. residual: what an edit to its own parameters moves a latent, by the spread of latents. DFR is the rig's own
reader; the regressor looks at the pictures of the edited latents, and the rig was not trained against it. One pass is
RigNet as published; in further ones, what DFR finds amiss is corrected. Bold: beyond
the bar (error 0.3, leak 0.15, residual 0.02). Leak for a whole edit: leak by 1 − error, since who moves little leaks
little."""
FOUND = """What the regressor's bars ask cannot be had here. It reads another identity in the same head once that is
turned: on scenes that the toon world itself draws anew, where nothing but the component changes, it sees three times
the bar's leak for pose and just the bar's for expression and light. The generator adds its own: asked through z for the
same scene with another's view, mood or lamp, it redraws with twice the bar's leak or more, and with errors beyond it.
The rig leaks less than that in all three components, and its errors are smaller but for pose.

DFR misses about half of the deviation of identity and two fifths of that of expression; its bars are for what it reads.

Without non-linearity and with no residual, a RigNet that is told a difference moves every latent along one fixed
direction a parameter. How it weighs the rest of the face against the edit decides where it ends: for pose, as DFR reads
it, with a weight on consistency of 8 (shipped) at an error of 0.20 and a leak of 0.19, with 16 at 0.34 and 0.17.
Descending both measures directly, without drawing, finds an error of 0.22 and a leak of 0.16 (measured with an earlier
DFR): the limit of what is linear. The corrector is linear, too, but is told what became of this very latent, and goes
on from there: what DFR reads is a third nearer to what was asked, and other groups keep a third more. The regressor
sees the smaller error as well, but hardly another leak. A second correction takes still more off what DFR reads (pose
0.12, leak 0.12), and adds to what the regressor sees change."""
if __name__ == "__main__":
    main()
