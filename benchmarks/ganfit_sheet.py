"""A sheet to look at: real portraits fitted by GANFit with ICT-FaceKit, turned to both sides, with their texture maps.

    python benchmarks/ganfit_sheet.py SHEET.png [--steps 150] [--only s3.jpg astronaut.png] [--network FILE]

A row a portrait: the picture; the fit over it with the map that GANFit found; the head turned by −30°, 0° and 30°, with
the picture unwrapped onto it under GANFit's light; then both maps. Needs `../shared/data`. The embedded recogniser
knows toon heads only, so without `--network` (an ArcFace file) the terms that look through one are left out and skin's
colour decides what is compared.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
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
from portrait_rig.core.face.alignment import align  # noqa: E402
from portrait_rig.core.face.crop import take  # noqa: E402
from portrait_rig.core.face.edit import turned  # noqa: E402
from portrait_rig.core.face.model import FaceModel  # noqa: E402
from portrait_rig.core.face.models import load_face_model  # noqa: E402
from portrait_rig.core.face.render import RenderSettings, overlay, render  # noqa: E402
from portrait_rig.core.methods.fit import FitSettings, GanFit, GanFitSettings, fit, loss_table  # noqa: E402
from portrait_rig.core.methods.identity import load_identity_network  # noqa: E402
from portrait_rig.core.methods.unwrap import UnwrapSettings, unwrap, wearing  # noqa: E402
from portrait_rig.core.types import FaceParams, Landmarks  # noqa: E402

PORTRAITS = pack.SHARED / "data" / "portraits"
ICT = pack.SHARED / "data" / "ict_facekit" / "ict_facekit_light.safetensors"
CROP, TILE = 512, 256
"""Pixels of the side of what is fitted, and of a picture in the sheet."""
YAWS = (-30.0, 0.0, 30.0)
"""Degrees, of the head itself, whichever way it looked."""
GREY = 0.35


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sheet", type=Path)
    parser.add_argument("--steps", type=int, default=GanFitSettings.steps)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--network", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    network = None if arguments.network is None else load_identity_network(arguments.network)
    method = GanFit(network, None, GanFitSettings(steps=arguments.steps, skin_mask=True))
    model = load_face_model(ICT)
    rows = []
    for name, picture, marks in portraits(arguments.only):
        result = fit(picture, marks, model, FitSettings(texture="model"), method=method)
        print(f"{name}: {result.report}\n{loss_table(result.history, vars(method.weights))}\n", flush=True)
        rows.append(row(picture, result.params, model))
        sheet = (torch.cat(rows, 1).permute(1, 2, 0).clamp(0, 1) * 255).round().byte().numpy()
        Image.fromarray(sheet).save(arguments.sheet)


def portraits(only: list[str] | None) -> Iterator[tuple[str, Tensor, Landmarks]]:
    """Name, close crop [1, 3, CROP, CROP] and its landmarks."""
    for name, entry in json.loads((PORTRAITS / "landmarks.json").read_text()).items():
        if entry.get("ibug68") is None or name.endswith(".mp4") or (only and name not in only):
            continue
        picture = torch.from_numpy(np.array(Image.open(PORTRAITS / name).convert("RGB"))).permute(2, 0, 1)[None] / 255
        marks = Landmarks(torch.tensor(entry["ibug68"])[None], torch.ones(1), (entry["height"], entry["width"]))
        crop = align(marks, "FFHQ", CROP)
        matrix = crop.matrices.to(marks.points)
        points = marks.points @ matrix[:, :2, :2].mT + matrix[:, None, :2, 2]
        yield name, take(picture, crop), Landmarks(points, marks.score, (CROP, CROP))


@torch.no_grad()
def row(picture: Tensor, found: FaceParams, model: FaceModel) -> Tensor:
    """[3, TILE, n · TILE]."""
    wanted = UnwrapSettings(TILE * 2)
    photograph = wearing(found, unwrap(picture, found, model, wanted), wanted)
    tiles = [picture, overlay(picture, render(model, found))]
    upright = replace(photograph, angles=torch.zeros_like(found.angles))
    for yaw in YAWS:
        drawn = render(model, turned(upright, yaw=yaw), RenderSettings(supersample=2), (TILE, TILE))
        tiles.append(drawn.colour + GREY * (1 - drawn.alpha))
    tiles += [found.texture, photograph.texture]
    return torch.cat([functional.interpolate(tile, (TILE, TILE), mode="area")[0] for tile in tiles], 2)


if __name__ == "__main__":
    main()
