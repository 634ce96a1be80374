"""A scene as one row of numbers in which everything that a picture shows is said, for networks that draw from scenes.

Choices are one-hot; quantities are centred and scaled to about −1…1; colours of what is not worn are 0. Two scenes with
equal rows look alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache

from ..expressions import PAIRED
from .accessories import BEARDS, GLASSES, HATS
from .backdrop import BACKDROPS
from .clothes import COLLARS, PATTERNS
from .figure import ARMS, LEGS, OUTFITS
from .hair import STYLES
from .palette import Colour
from .sampling import IDENTITY, MOODS, SPREAD, TREMOR, scene
from .scene import NONE, Scene

GAZE_UNIT, VIEW_UNITS, SHIFT_UNIT = 0.15, (0.15, 0.35, 0.08), 0.03
"""Radians, radians (pitch, yaw, roll) and head units (or times) that count as 1."""
VOLUME_UNIT = 0.1
"""Times the volume."""


def scene_vector(scene: Scene, *, figure: bool = False) -> list[float]:
    """The row of a portrait, or of a full figure, which also shows outfit and pose."""
    return list(_named(scene, figure).values())


@lru_cache
def vector_names(figure: bool = False) -> tuple[str, ...]:
    """What each number of `scene_vector` is."""
    return tuple(_named(scene(0), figure))


@lru_cache
def _expressions() -> tuple[str, ...]:
    """Every expression that a scene can show."""
    used = {name for _, mood in MOODS.values() for name in mood} | TREMOR.keys()
    sided = {f"{name}_{side}" for name in used if name in PAIRED for side in "LR"}
    return tuple(sorted(sided | {name for name in used if name not in PAIRED}))


def _named(scene: Scene, figure: bool) -> dict[str, float]:
    hair, glasses, hat, clothes, back = scene.hair, scene.glasses, scene.hat, scene.clothes, scene.backdrop
    view, lamp = scene.view, scene.lamp
    bald = STYLES[hair.style] is None
    row: dict[str, float] = {}
    row |= {f"identity {name}": scene.identity.get(name, 0.0) / SPREAD for name in IDENTITY}
    row |= {f"expression {name}": 2.0 * scene.expression.get(name, 0.0) for name in _expressions()}
    row |= {f"albedo {name}": value for name, value in scene.albedo.items()}
    row |= {f"gaze {axis}": value / GAZE_UNIT for axis, value in zip(("pitch", "yaw"), scene.gaze, strict=True)}
    row |= _one_hot("hair", hair.style, STYLES) | _colour("hair", hair.colour, not bald or scene.beard != NONE)
    row |= {"hair volume": (hair.volume - 1.0) / VOLUME_UNIT, "hair mirrored": 1.0 if hair.mirrored else -1.0}
    row |= _one_hot("beard", scene.beard, (NONE, *BEARDS))
    row |= _one_hot("glasses", glasses.shape, (NONE, *GLASSES))
    row |= _colour("glasses", glasses.colour, glasses.shape != NONE)
    row |= _one_hot("hat", hat.kind, (NONE, *HATS))
    row |= _colour("hat", hat.colour, hat.kind != NONE) | _colour("hat trim", hat.trim, hat.kind != NONE)
    row |= _one_hot("collar", clothes.collar, COLLARS) | _one_hot("pattern", clothes.pattern, PATTERNS)
    row |= _colour("clothes", clothes.colour) | _colour("trim", clothes.trim)
    row |= _colour("pattern", clothes.second, clothes.pattern != "plain")
    row |= _one_hot("backdrop", back.kind, BACKDROPS) | _colour("inner", back.inner) | _colour("outer", back.outer)
    turn = 2.0 * math.pi * back.phase
    row |= {f"phase {name}": wave(times * turn) for times in (1, 2) for name, wave in
            ((f"sin {times}", math.sin), (f"cos {times}", math.cos))}  # fmt: skip
    row |= {"light across": math.sin(lamp.azimuth), "light up": (lamp.elevation - 0.55) / 0.2,
            "light key": (lamp.strength - 0.56) / 0.06, "light even": (lamp.ambient - 0.53) / 0.03,
            "light fill": (lamp.fill - 0.12) / 0.05, "light warmth": lamp.warmth / 0.45,
            "light side": math.copysign(1.0, lamp.azimuth)}  # fmt: skip
    turned = zip(("pitch", "yaw", "roll"), (view.pitch, view.yaw, view.roll), VIEW_UNITS, strict=True)
    row |= {f"view {axis}": angle / unit for axis, angle, unit in turned}
    row |= {"view right": view.shift_x / SHIFT_UNIT, "view up": view.shift_y / SHIFT_UNIT,
            "view zoom": (view.zoom - 1.0) / SHIFT_UNIT}  # fmt: skip
    if figure:
        body = scene.figure
        row |= _one_hot("outfit", body.outfit, OUTFITS) | _one_hot("legs", body.legs, LEGS)
        row |= _one_hot("left arm", body.left_arm, ARMS) | _one_hot("right arm", body.right_arm, ARMS)
        row |= _colour("bottom", body.bottom) | _colour("shoes", body.shoes)
    return row


def _one_hot(what: str, name: str, names: Iterable[str]) -> dict[str, float]:
    return {f"{what} is {one}": float(one == name) for one in names}


def _colour(what: str, colour: Colour, seen: bool = True) -> dict[str, float]:
    return {f"{what} {channel}": (2.0 * value - 1.0) * seen for channel, value in zip("rgb", colour, strict=True)}
