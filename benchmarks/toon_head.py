"""How sound and how good the toon head is: a table of every expression's geometry, and a sheet to look at.

`python benchmarks/toon_head.py` prints the table; `--sheet PATH.jpg` also draws views and all expressions, as
`weights/toon_head.jpg` was made. Distances are head units; the head is two of them high.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

import pack  # noqa: E402
import toon_measures as measures  # noqa: E402

pack.load()

from portrait_rig.core.face.camera import default_camera  # noqa: E402
from portrait_rig.core.face.light import light_from_direction  # noqa: E402
from portrait_rig.core.face.models import DEFAULT, load_face_model  # noqa: E402
from portrait_rig.core.face.render import RenderSettings, render  # noqa: E402

SIDE = 176
"""Pixels of one picture of the sheet."""
COLUMNS = 8
BACKGROUND = (0.82, 0.85, 0.90)
VIEWS = ((0.0, 0.0), (0.0, 0.6), (0.0, 1.2), (0.0, math.pi), (-0.35, 0.0), (0.35, -0.4), (0.0, -0.6), (0.0, -1.2))
"""Pitch and yaw of the first row."""
NEARER, LOWER = 0.66, (0.0, 0.16, 0.0)
"""The camera goes this near, and the head up by head units, so that it fills its tile."""
LEAN = -0.35
"""Yaw under which expressions are drawn: corners of the mouth show there."""
LIGHTS = {"azimuth": -0.6, "elevation": 0.55, "strength": 0.62, "ambient": 0.56}
"""A window on the left; radians, and shares of a white wall's brightness."""
SPREAD = 0.8
"""Deviation from which people are drawn; with a whole one in 40 fields at once faces become caricatures."""
MOODS = {
    "laugh": {"mouthSmile": 1.0, "jawOpen": 0.45, "mouthUpperUp": 0.8, "cheekSquint": 1.0},
    "surprise": {"browOuterUp": 1.0, "browInnerUp": 1.0, "eyeWide": 1.0, "jawOpen": 0.6},
    "anger": {"browDown": 1.0, "eyeSquint": 1.0, "noseSneer": 1.0, "mouthUpperUp": 1.0, "mouthLowerDown": 1.0},
    "sadness": {"browInnerUp": 1.0, "mouthFrown": 1.0, "eyeSquint": 0.3},
    "wink": {"eyeBlink_L": 1.0, "mouthSmile": 0.8, "browOuterUp_R": 0.8},
}
"""Combinations, added to the sheet; names without a side mean both."""


def strengths(model, mood: dict[str, float]) -> torch.Tensor:
    """[1, E] from names; one without `_L` or `_R` is set on both sides."""
    row = torch.zeros(1, len(model.expression))
    for number, name in enumerate(model.expression.names):
        row[0, number] = mood.get(name, mood.get(name.removesuffix("_L").removesuffix("_R"), 0.0))
    return row


def table(model, parts: dict[str, np.ndarray]) -> str:
    """A line an expression at full strength: triangles turned over, distance of lids from ball, teeth before lips."""
    rest = shape(model, {})
    faces = model.faces.numpy()
    skin = faces[parts["skin"]]
    around = skin[(rest[skin].mean(1)[:, 2] > 0.2) & (rest[skin].mean(1)[:, 1] < -0.3)]
    teeth = np.unique(faces[parts["teeth_upper"] | parts["teeth_lower"]])
    lid = model.eyes.lid.numpy()
    area = np.linalg.norm(measures.face_normals(rest, skin), axis=1)
    titles = ("turned over", "of area", "lid to ball", "teeth out", "move")
    lines = ["{:18s} {:>12s} {:>8s} {:>12s} {:>10s} {:>7s}".format("expression", *titles)]
    for name in ("neutral", *model.expression.names):
        moved = shape(model, {name: 1.0})
        close = min(
            measures.nearest_to_ball(moved, skin[(lid[skin] == side).all(1)], centre, 1.0) / radius
            for side, centre, radius in zip(
                (1, 2), model.eyes.centres.numpy(), model.eyes.radius.tolist(), strict=True
            )
        )
        over = measures.turned_over(rest, moved, skin)
        depth = measures.behind_skin(moved[teeth], moved, around)
        lines.append(
            f"{name:18s} {over.sum():12d} {area[over].sum() / area.sum():8.0e} {close:12.3f} "
            f"{int((depth < 0).sum()):10d} {np.linalg.norm(moved - rest, axis=1).max():7.3f}"
        )
    return "\n".join(lines)


def shape(model, mood: dict[str, float]) -> np.ndarray:
    """[V, 3] of the mean head."""
    return model.vertices(torch.zeros(1, len(model.identity)), strengths(model, mood))[0].numpy()


@dataclass(frozen=True)
class Tile:
    """One picture of the sheet. mood: strengths by name. person: seed of a random identity and skin, None the mean."""

    name: str
    pitch: float = 0.0
    yaw: float = LEAN
    mood: dict[str, float] = field(default_factory=dict)
    person: int | None = None


def sheet(model) -> Image.Image:
    """Views of the neutral head, every expression with both sides at once, moods, and people."""
    names = dict.fromkeys(name.removesuffix("_L").removesuffix("_R") for name in model.expression.names)
    moods = {name: {name: 1.0} | ({"jawOpen": 0.5} if name == "tongueOut" else {}) for name in names} | MOODS
    tiles = [Tile("", pitch, yaw) for pitch, yaw in VIEWS]
    tiles += [Tile(name, mood=mood) for name, mood in moods.items()]
    tiles += [Tile("", yaw=-LEAN * (-1) ** seed, person=seed) for seed in range(-len(tiles) % COLUMNS + 2 * COLUMNS)]
    picture = Image.new("RGB", (COLUMNS * SIDE, len(tiles) // COLUMNS * SIDE))
    for number, tile in enumerate(tiles):
        drawing = drawn(model, tile)
        ImageDraw.Draw(drawing).text((4, SIDE - 14), tile.name, fill=(40, 40, 40))
        picture.paste(drawing, (number % COLUMNS * SIDE, number // COLUMNS * SIDE))
    return picture


def drawn(model, tile: Tile) -> Image.Image:
    params = model.neutral(default_camera((SIDE, SIDE)))
    identity, albedo = params.identity, params.albedo
    if tile.person is not None:
        numbers = np.random.default_rng(tile.person)
        identity, albedo = (
            torch.tensor((numbers.normal(size=(1, len(group))) * SPREAD).clip(-1.8, 1.8), dtype=torch.float32)
            for group in (model.identity, model.albedo)
        )
        albedo[0, model.albedo.names.index("skin_lightness")] = numbers.uniform(-3.0, 1.0)
        albedo[0, model.albedo.names.index("catchlight")] = 0.0
    params = replace(
        params,
        identity=identity,
        albedo=albedo,
        expression=strengths(model, tile.mood),
        light=light_from_direction(**{name: torch.tensor([value]) for name, value in LIGHTS.items()}),
        angles=torch.tensor([[tile.pitch, tile.yaw, 0.0]]),
        translation=params.translation * NEARER + torch.tensor(LOWER),
    )
    result = render(model, params, RenderSettings(supersample=2))
    colour = result.colour[0] + (1.0 - result.alpha[0]) * torch.tensor(BACKGROUND)[:, None, None]
    return Image.fromarray((colour.clamp(0, 1).permute(1, 2, 0).numpy() * 255.0 + 0.5).astype(np.uint8))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--sheet", type=Path)
    chosen = arguments.parse_args()
    with torch.inference_mode():
        model = load_face_model(DEFAULT)
        print(model.describe())
        print(table(model, measures.parts_of(DEFAULT)))
        if chosen.sheet:
            sheet(model).save(chosen.sheet, quality=88)


if __name__ == "__main__":
    main()
