"""How well and how fast Fit 3DMM fits: real portraits, clips, toon renders with known answers, cancel, GANFit's speed.

    python benchmarks/fit.py [--threads N] [--only portraits clips toon cancel ganfit] [--write]

Portraits and clips need `../shared/data` and are left out where it is absent. `--write` stores the table as `fit.md`.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
import pack  # noqa: E402

pack.load()
from portrait_rig.core.face.camera import default_camera, place, project  # noqa: E402
from portrait_rig.core.face.models import load_face_model  # noqa: E402
from portrait_rig.core.face.raster import rasterise  # noqa: E402
from portrait_rig.core.face.render import RenderSettings, render  # noqa: E402
from portrait_rig.core.methods.fit import FitSettings, GanFit, GanFitSettings, fit  # noqa: E402
from portrait_rig.core.methods.fit.landmarks_stage import project_landmarks  # noqa: E402
from portrait_rig.core.methods.identity import load_identity_network  # noqa: E402
from portrait_rig.core.methods.texture_gan import load_texture_gan  # noqa: E402
from portrait_rig.core.types import FaceParams, Landmarks  # noqa: E402

PORTRAITS = pack.SHARED / "data" / "portraits"
ICT = pack.SHARED / "data" / "ict_facekit" / "ict_facekit_light.safetensors"
TABLE = Path(__file__).with_suffix(".md")
SMOOTHING = 5.0
"""Frames; the default of a clip at 30 frames a second."""
TOON_SCENES = 32
OUTER_EYE_CORNERS = (36, 45)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    lines = [
        "# Fit 3DMM, measured", "",
        f"`python benchmarks/fit.py --threads {arguments.threads} --write`; torch {torch.__version__}, "
        f"Python {platform.python_version()}, {platform.machine()}, threads: {arguments.threads}. "
        "Seconds are those of the processor, all threads together, so that other work on the machine does not count.",
    ]  # fmt: skip
    for name in arguments.only:
        for line in PARTS[name]():
            lines.append(line)
            print(line, flush=True)
    if arguments.write:
        TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def portraits() -> Iterator[str]:
    """Landmark error after each stage, plausibility, time; ICT-FaceKit."""
    if not PORTRAITS.is_dir():
        return
    model, found = load_face_model(ICT), json.loads((PORTRAITS / "landmarks.json").read_text())
    yield from ("", "## Portraits (ICT-FaceKit, 256² pixels, both stages and a 512² texture)", "")
    yield "| picture | landmarks, stage 1 | landmarks, end | colours | largest identity | expressions | seconds |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    rows = []
    for name, entry in found.items():
        if entry.get("ibug68") is None or name.endswith(".mp4"):
            continue
        picture = torch.from_numpy(np.array(Image.open(PORTRAITS / name).convert("RGB"))).permute(2, 0, 1)[None] / 255
        marks = Landmarks(torch.tensor(entry["ibug68"])[None], torch.ones(1), (entry["height"], entry["width"]))
        first = fit(None, marks, model, FitSettings(pixel_steps=0)).report.landmark_error.item()
        began = time.process_time()
        result = fit(picture, marks, model)
        seconds = time.process_time() - began
        params, report = result.params, result.report
        rows.append((first, report.landmark_error.item(), report.pixel_error.item(), seconds))
        yield (
            f"| {name} | {first:.2%} | {rows[-1][1]:.2%} | {rows[-1][2]:.1%} | {params.identity.abs().max():.2f} σ | "
            f"{params.expression.min():.2f}…{params.expression.max():.2f} | {seconds:.1f} |"
        )
    mean = np.mean(rows, 0)
    yield f"| **mean** | **{mean[0]:.2%}** | **{mean[1]:.2%}** | {mean[2]:.1%} | | | {mean[3]:.1f} |"
    yield ""
    yield "Landmarks: mean of the 51 inner ones, in distances between the outer eye corners; at most 1.8 % is asked."


def clips() -> Iterator[str]:
    """Landmark jitter of shared-identity fits, before and after smoothing."""
    if not PORTRAITS.is_dir():
        return
    model, found = load_face_model(ICT), json.loads((PORTRAITS / "landmarks.json").read_text())
    yield from ("", f"## Clips (ICT-FaceKit, shared identity, smoothing {SMOOTHING:g} frames, landmarks only)", "")
    yield "| clip | frames in, out | jitter in | jitter out | ratio | landmarks | seconds |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for name, entry in found.items():
        if not name.endswith(".mp4"):
            continue
        blank = [[math.nan] * 2] * 68
        points = torch.tensor([blank if frame is None else frame for frame in entry["ibug68"]])
        marks = Landmarks(points, torch.isfinite(points).all(2).all(1).float(), (entry["height"], entry["width"]))
        began = time.process_time()
        result = fit(None, marks, model, FitSettings(pixel_steps=0, share_identity=True, smoothing=SMOOTHING))
        seconds = time.process_time() - began
        before, after = jitter(points), jitter(shown(model, result.params))
        error = result.report.landmark_error.nanmean()
        yield (
            f"| {name} | {len(points)}, {len(result.params)} | {before:.3%} | {after:.3%} | {after / before:.2f} | "
            f"{error:.2%} | {seconds:.0f} |"
        )
    yield ""
    yield "Jitter: mean length of the second difference over time, in distances between the outer eye corners."


def toon() -> Iterator[str]:
    """Known answers: random toon heads, fitted from exact landmarks and their renders."""
    model = load_face_model()
    truth = scenes(model, TOON_SCENES)
    with torch.no_grad():
        pictures = render(model, truth, RenderSettings(antialias=False)).colour.clamp(0, 1)
    marks = Landmarks(shown(model, truth), torch.ones(TOON_SCENES), truth.camera.size)
    began = time.process_time()
    found = fit(pictures, marks, model, FitSettings(texture="model")).params
    seconds = time.process_time() - began
    degrees = (found.angles - truth.angles).abs().amax(1).rad2deg()
    skin = model.faces[model.face_region].unique()
    seen, meant = (vertices_on_screen(model, face)[:, skin] for face in (found, truth))
    height = meant[..., 1].amax(1) - meant[..., 1].amin(1)
    off = (seen - meant).norm(dim=-1).mean(1) / height
    cosine = functional.cosine_similarity(light_direction(found.light), light_direction(truth.light))
    light = cosine.clamp(-1, 1).arccos().rad2deg()
    yield from ("", f"## {TOON_SCENES} toon renders, 256², from exact landmarks", "")
    yield "| | median | mean | largest | asked |"
    yield "| --- | --- | --- | --- | --- |"
    for name, values, form, asked in (
        ("largest of three angles, degrees", degrees, ".2f", "1.5"),
        ("facial vertices in the picture, of the face's height", off, ".2%", "1 %"),
        ("direction of the light, degrees", light, ".1f", "10"),
    ):
        yield f"| {name} | {values.median():{form}} | {values.mean():{form}} | {values.max():{form}} | {asked} |"
    yield ""
    yield f"{seconds / TOON_SCENES:.1f} seconds a picture."


def cancel() -> Iterator[str]:
    """The longest time between two calls of `watch`, after any of which a cancel takes effect."""
    model = load_face_model()
    truth = scenes(model, 4)
    with torch.no_grad():
        pictures = render(model, truth, RenderSettings(antialias=False)).colour.clamp(0, 1)
    marks = Landmarks(shown(model, truth), torch.ones(4), truth.camera.size)
    gaps, last = [], time.process_time()

    def watch(step: int, total: int, loss: float, preview: object) -> None:
        nonlocal last
        now = time.process_time()
        gaps.append(now - last)
        last = now

    fit(pictures, marks, model, FitSettings(pixel_steps=20), watch)
    yield from ("", "## Cancel", "")
    yield (
        f"Longest time between two chances to cancel, four toon pictures at once: {max(gaps[1:]):.2f} s; "
        f"median {float(np.median(gaps)):.2f} s. At most 0.5 s is asked."
    )


def ganfit() -> Iterator[str]:
    """GANFit's iterations a second with the embedded networks, and where the time goes."""
    model, steps, side = load_face_model(), 12, 256
    network, textures = load_identity_network(), load_texture_gan()
    truth = scenes(model, 1)
    with torch.no_grad():
        picture = render(model, truth, RenderSettings(antialias=False)).colour.clamp(0, 1)
    marks = Landmarks(shown(model, truth), torch.ones(1), truth.camera.size)
    method = GanFit(network, textures, GanFitSettings(steps=steps))
    moments: list[float] = []
    settings = FitSettings(landmark_steps=1, texture="model", pixel_size=side)
    fit(picture, marks, model, settings, lambda *_: moments.append(time.process_time()), method=method)
    whole = float(np.median(np.diff(moments[-steps:])))
    views = (side, method.settings.view_size)
    crop = torch.rand(1, 3, network.side, network.side)
    drawn = [(place(model.vertices(truth.identity, truth.expression), truth.angles, truth.translation), view)
             for view in views]  # fmt: skip

    def rasterising() -> Tensor:
        found = []
        for stands, view in drawn:
            screen = project(truth.camera.resized((view, view)), stands.clone().requires_grad_())
            found.append(rasterise(screen, model.faces, (view, view), cull="back").barycentrics.sum())
        return sum(found)

    def recogniser() -> Tensor:
        here, anew = (crop.clone().requires_grad_() for _ in range(2))
        embedding, maps = network.look(here)
        return embedding.sum() + sum(map(torch.sum, maps)) + network.embed(anew).sum()

    def generator() -> Tensor:
        return textures.albedo(textures.start().requires_grad_()).sum()

    yield from ("", f"## GANFit, toon head, {side}² pixels and random views of {views[1]}²", "")
    yield "| part of an iteration | milliseconds | share |"
    yield "| --- | --- | --- |"
    parts = {
        "rasterising, both renders": seconds_of(rasterising),
        f"recogniser, both renders ({network.name})": seconds_of(recogniser),
        f"texture generator ({textures.id.name})": seconds_of(generator),
    }
    parts["shading, geometry, everything else"] = whole - sum(parts.values())
    for name, seconds in parts.items():
        yield f"| {name} | {1000 * seconds:.0f} | {seconds / whole:.0%} |"
    yield f"| **an iteration, {1 / whole:.1f} a second** | **{1000 * whole:.0f}** | |"


def seconds_of(part: Callable[[], Tensor], rounds: int = 7) -> float:
    """Of the processor, forward and backward; median."""
    taken = []
    for _ in range(rounds):
        began = time.process_time()
        part().backward()
        taken.append(time.process_time() - began)
    return float(np.median(taken))


def scenes(model: object, count: int, seed: int = 0, side: int = 256) -> FaceParams:
    """Random faces: identity and albedo N(0, 0.8), four expressions each, yaw ±35°, pitch and roll ±15°, one light."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    face = model.neutral(default_camera((side, side), frames=count), count)
    expression = torch.zeros_like(face.expression)
    for row in expression:
        row[torch.randperm(len(row), generator=generator)[:4]] = uniform(0, 0.8, 4)
    direction = functional.normalize(normal(count, 3) * torch.tensor([1, 1, 0.3]) + torch.tensor([0, 0, 0.8]), dim=1)
    light = torch.zeros_like(face.light)
    light[:, 0] = uniform(0.5, 0.9, count, 1)
    strength = uniform(0.15, 0.3, count, 1)
    x, y, z = (strength * direction).split(1, dim=1)
    light[:, 3], light[:, 1], light[:, 2] = -x, -y, z
    angles = torch.stack([uniform(-limit, limit, count) for limit in (15.0, 35.0, 15.0)], 1).deg2rad()
    translation = face.translation * torch.stack([torch.ones(count), torch.ones(count), uniform(0.75, 1, count)], 1)
    translation[:, :2] = uniform(-0.1, 0.1, count, 2) * model.height
    return replace(
        face,
        identity=(0.8 * normal(*face.identity.shape)).clamp(-1.8, 1.8),
        albedo=(0.8 * normal(*face.albedo.shape)).clamp(-1.8, 1.8),
        expression=expression,
        angles=angles,
        translation=translation,
        light=light,
    )


def light_direction(light: Tensor) -> Tensor:
    """[B, 9, 3] -> [B, 3]: where the first band is brightest, mean over the colours."""
    grey = light.mean(2)
    return torch.stack([-grey[:, 3], -grey[:, 1], grey[:, 2]], 1)


def shown(model: object, face: FaceParams) -> Tensor:
    """[B, 68, 2] pixels."""
    small = model.landmark_basis()
    vertices = small.vertices(face.identity, face.expression, face.joints)
    return project_landmarks(small, vertices, face.angles, face.translation, face.camera)


def vertices_on_screen(model: object, face: FaceParams) -> Tensor:
    """[B, V, 2] pixels."""
    vertices = model.vertices(face.identity, face.expression, face.joints)
    return project(face.camera, place(vertices, face.angles, face.translation), face.translation)[..., :2]


def jitter(points: Tensor) -> float:
    left, right = (points[:, corner] for corner in OUTER_EYE_CORNERS)
    second = points[2:] - 2 * points[1:-1] + points[:-2]
    return (second.norm(dim=-1).nanmean() / (left - right).norm(dim=-1).nanmean()).item()


PARTS = {"portraits": portraits, "clips": clips, "toon": toon, "cancel": cancel, "ganfit": ganfit}

if __name__ == "__main__":
    main()
