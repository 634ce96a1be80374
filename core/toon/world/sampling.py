"""From a seed to a scene.

Each group of choices has a random draws of its own, so that replacing one (`scene(7, hat=...)`) leaves the others as
they were. The distributions were set by looking at sheets of 32 portraits; deviations of 0.7 in every identity
direction at once are people, of 1.0 caricatures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from ...errors import UserError
from ..expressions import PAIRED
from . import palette
from .accessories import BEARDS, GLASSES, HATS
from .backdrop import BACKDROPS
from .clothes import COLLARS, PATTERNS
from .draws import GROUPS, Draws, SeededDraws, draws_of_latent
from .figure import ARMS, LEGS, OUTFITS
from .hair import STYLES
from .scene import NONE, Backdrop, Clothes, Figure, Glasses, Hair, Hat, Lamp, Scene, View

SPREAD, LIMIT = 0.70, 1.6
"""Standard deviation of an identity coefficient, and the most it ever is."""
LARGEST_YAW, LARGEST_PITCH, LARGEST_ROLL = 0.95, 0.42, 0.22
"""Radians; a scene of a seed never turns further."""


def scene(seed: int, **overrides: Any) -> Scene:
    """The scene of a seed, any whole number from 0; the same on every call. overrides: fields of `Scene` to replace.

    UserError for a negative seed or an unknown field.
    """
    if seed < 0:
        raise UserError(f"The seed of a toon scene must be 0 or more; got {seed}.")
    known = {field.name for field in fields(Scene)} - {"seed"}
    if unknown := sorted(overrides.keys() - known):
        raise UserError(f"A toon scene has no {', '.join(unknown)}. It has: {', '.join(sorted(known))}.")
    drawn = _composed(seed, {group: SeededDraws(seed, group) for group in GROUPS})
    return replace(drawn, **overrides)


def scene_of_latent(z: Sequence[float], seed: int = 0) -> Scene:
    """The scene of `draws.latent_size()` numbers; z ~ N(0, I) gives scenes as seeds do. seed: only its name.

    UserError where there are more or fewer numbers.
    """
    return _composed(seed, draws_of_latent(z))


def _composed(seed: int, draws: Mapping[str, Draws]) -> Scene:
    person = draws["person"]
    presentation = float(np.clip(person.sign() * person.normal(0.75, 0.25), -1.0, 1.0))
    age = person.beta(1.3, 2.2)
    tone = TONES[person.one(len(TONES))] + person.normal(0.0, 0.12)
    hair = _hair(draws["hair"], presentation, age, tone)
    hat = _hat(draws["hat"], hair)
    beard = _beard(draws["beard"], presentation, age)
    return Scene(
        seed=seed,
        presentation=presentation,
        age=age,
        identity=_identity(draws["identity"], presentation, age),
        expression=_expression(draws["mood"]),
        albedo=_albedo(draws["albedo"], presentation, age, tone, hair, beard),
        gaze=_gaze(draws["gaze"]),
        hair=hair,
        glasses=_glasses(draws["glasses"], age),
        hat=hat,
        beard=beard,
        clothes=_clothes(draws["clothes"]),
        figure=_figure(draws["figure"], presentation),
        backdrop=_backdrop(draws["backdrop"]),
        lamp=_lamp(draws["light"]),
        view=_view(draws["view"]),
    )


def another_moment(person: Scene, seed: int, *, view: bool, mood: bool, light: bool, outfit: bool, hair: bool) -> Scene:
    """`Scene.varied`."""
    changed: dict[str, Any] = {}
    if view:
        changed["view"] = _view(SeededDraws(seed, "view"))
    if mood:
        changed |= {"expression": _expression(SeededDraws(seed, "mood")), "gaze": _gaze(SeededDraws(seed, "gaze"))}
    if light:
        changed["lamp"] = _lamp(SeededDraws(seed, "light"))
    styled = person.hair
    if hair:
        tone = person.albedo["skin_lightness"]
        drawn = _hair(SeededDraws(seed, "hair"), person.presentation, person.age, tone)
        styled = changed["hair"] = replace(drawn, colour=person.hair.colour)
    if outfit:
        changed |= {
            "clothes": _clothes(SeededDraws(seed, "clothes")),
            "backdrop": _backdrop(SeededDraws(seed, "backdrop")),
            "glasses": _glasses(SeededDraws(seed, "glasses"), person.age),
        }
    if outfit or hair:
        changed["hat"] = _hat(SeededDraws(seed, "hat"), styled)
    return replace(person, **changed)


TONES = (-2.9, -2.3, -1.6, -1.0, -0.4, 0.15, 0.55, 0.85)
"""Lightness of skins, standard deviations."""


def _worn(draws: Draws, kinds: Mapping[str, float], worn: bool) -> str:
    """One of the kinds, or none."""
    if not worn:
        draws.skip(len(kinds))
        return NONE
    return draws.pick(kinds)


def _among(everything: Mapping[str, float], weights: Mapping[str, float]) -> dict[str, float]:
    """`weights` with a 0 for what it lacks of `everything`, so that it asks as many numbers of a latent."""
    return {name: weights.get(name, 0.0) for name in everything}


def _normal(draws: Draws, mean: float, deviation: float, limit: float) -> float:
    return float(np.clip(draws.normal(mean, deviation), -limit, limit))


IDENTITY = (
    "head_width", "head_length", "head_depth", "forehead_high", "jaw_width", "chin_pointed", "midface_short",
    "nose_wide", "nose_bulb", "mouth_wide", "neck_wide", "brow_tilt", "forehead_out", "temples_narrow", "jaw_square",
    "chin_long", "chin_forward", "cheek_full", "cheek_bone", "nose_long", "nose_out", "nose_tip_up", "nose_bridge",
    "mouth_high", "mouth_forward", "mouth_corners", "lip_upper_full", "lip_lower_full", "ears_out", "brow_high",
    "brow_ridge", "ear_size", "brow_thick", "eye_size", "eyes_apart", "eyes_high", "eyes_deep", "eye_tilt",
    "eye_opening", "stylisation",
)  # fmt: skip
"""The directions that vary, in the order in which they are drawn."""
FEMININE = {
    "jaw_width": -0.55,
    "jaw_square": -0.55,
    "neck_wide": -0.75,
    "brow_ridge": -0.7,
    "nose_long": -0.25,
    "nose_wide": -0.2,
    "chin_pointed": 0.45,
    "eye_size": 0.3,
    "lip_upper_full": 0.55,
    "lip_lower_full": 0.5,
    "brow_high": 0.45,
    "brow_thick": -0.75,
    "cheek_bone": 0.3,
    "stylisation": 0.2,
    "chin_long": -0.2,
}
"""What a presentation of 1 adds, and −1 takes away."""
OLD = {
    "nose_long": 0.6,
    "ear_size": 0.7,
    "lip_upper_full": -0.5,
    "eye_opening": -0.7,
    "stylisation": -0.5,
    "nose_bulb": 0.4,
    "forehead_high": 0.4,
    "eye_size": -0.4,
}
"""What an age of 1 adds."""
QUIETER = {
    "midface_short": 0.6,
    "stylisation": 0.7,
    "chin_pointed": 0.7,
    "cheek_full": 0.8,
    "mouth_forward": 0.7,
    "chin_long": 0.7,
    "eyes_deep": 0.7,
    "eye_opening": 0.7,
}
"""Directions of which the usual spread is too much."""


def _identity(draws: Draws, presentation: float, age: float) -> dict[str, float]:
    found = {}
    for name in IDENTITY:
        mean = presentation * FEMININE.get(name, 0.0) + age * OLD.get(name, 0.0)
        found[name] = _normal(draws, mean, SPREAD * QUIETER.get(name, 1.0), LIMIT)
    return found


MOODS: dict[str, tuple[float, dict[str, float]]] = {
    "neutral": (2.0, {}),
    "smile": (4.0, {"mouthSmile": 0.75, "cheekSquint": 0.3}),
    "grin": (3.0, {"mouthSmile": 0.85, "jawOpen": 0.14, "mouthUpperUp": 0.55, "cheekSquint": 0.4}),
    "laugh": (2.0, {"mouthSmile": 0.9, "jawOpen": 0.42, "mouthUpperUp": 0.6, "cheekSquint": 0.6, "browOuterUp": 0.3}),
    "surprise": (1.0, {"browOuterUp": 0.8, "browInnerUp": 0.8, "eyeWide": 0.7, "jawOpen": 0.5}),
    "sad": (0.8, {"browInnerUp": 0.8, "mouthFrown": 0.7, "eyeSquint": 0.2}),
    "grim": (0.8, {"browDown": 0.8, "mouthPress": 0.5, "eyeSquint": 0.35}),
    "talk": (1.3, {"jawOpen": 0.28, "mouthFunnel": 0.35, "browOuterUp": 0.2}),
    "talk_wide": (1.0, {"jawOpen": 0.22, "mouthStretch": 0.4, "mouthLowerDown": 0.4, "mouthUpperUp": 0.25}),
    "kiss": (0.6, {"mouthPucker": 0.8, "browOuterUp": 0.25}),
    "smirk": (1.0, {"mouthSmile_L": 0.8, "mouthDimple_L": 0.4, "browOuterUp_L": 0.4}),
    "wink": (0.5, {"eyeBlink_L": 1.0, "mouthSmile": 0.75, "browOuterUp_R": 0.5}),
    "sneer": (0.3, {"noseSneer": 0.7, "browDown": 0.6, "mouthUpperUp": 0.4}),
    "calm": (0.5, {"eyeBlink": 1.0, "mouthSmile": 0.45}),
}
"""How often, and what; a name of a pair without its side means both."""
TREMOR = {
    "browDown": 0.15,
    "browInnerUp": 0.2,
    "browOuterUp": 0.2,
    "eyeSquint": 0.15,
    "eyeBlink": 0.12,
    "mouthSmile": 0.12,
    "jawOpen": 0.04,
    "mouthLeft": 0.15,
    "mouthRight": 0.15,
    "jawLeft": 0.1,
    "jawRight": 0.1,
}
"""The most that is added to any mood, so that no two smiles are equal."""


def _expression(draws: Draws) -> dict[str, float]:
    mood = MOODS[draws.pick({name: weight for name, (weight, _) in MOODS.items()})][1]
    strength = draws.uniform(0.65, 1.1)
    swapped = draws.chance(0.5)
    found: dict[str, float] = {}
    for name, amount in mood.items():
        whole = amount if name == "eyeBlink" or amount == 1.0 else amount * strength
        for side in _sides(name):
            found[_other(side) if swapped else side] = min(whole, 1.0)
    for name, most in TREMOR.items():
        shared = most * draws.uniform(0.0, 1.0) ** 2
        for side in _sides(name):
            found[side] = min(found.get(side, 0.0) + shared * draws.uniform(0.6, 1.0), 1.0)
    return found


def _sides(name: str) -> tuple[str, ...]:
    return (f"{name}_L", f"{name}_R") if name in PAIRED else (name,)


def _other(name: str) -> str:
    return name[:-1] + {"L": "R", "R": "L"}[name[-1]] if name[-2:] in ("_L", "_R") else name


def _gaze(draws: Draws) -> tuple[float, float]:
    return _normal(draws, 0.02, 0.06, 0.16), _normal(draws, 0.0, 0.13, 0.34)


def _albedo(draws: Draws, presentation: float, age: float, tone: float, hair: Hair, beard: str) -> dict[str, float]:
    fair = float(np.clip((tone + 1.2) / 2.0, 0.0, 1.0))
    made_up = bool(draws.chance(0.6) if presentation > 0.2 else draws.skip())
    brow_light, brow_red = palette.brow_coefficients(palette.grown(hair.colour))
    irises = palette.IRIS_WEIGHTS_FAIR if fair > 0.6 else palette.IRIS_WEIGHTS_DARK
    iris = palette.IRISES[draws.pick(_among(palette.IRIS_WEIGHTS_FAIR, irises))]
    jitter = draws.uniform(-0.15, 0.15)
    shaved = {"buzz": 1.5, "mohawk": 1.3, "receding": 0.6, "bald": 0.35}.get(hair.style, 0.9)
    return {
        "skin_lightness": tone,
        "skin_warmth": _normal(draws, 0.2, 0.6, 1.3),
        "skin_redness": _normal(draws, 0.0, 0.5, 1.0),
        "skin_saturation": _normal(draws, 0.0, 0.5, 1.0) - 0.5 * (1.0 - fair),
        "blush": _normal(draws, -1.0 if presentation < 0 else -0.3, 0.4, 1.6) - 0.6 * (1.0 - fair),
        "nose_redness": _normal(draws, -0.3, 0.4, 1.0) - 0.4 * (1.0 - fair),
        "ear_redness": _normal(draws, 0.0, 0.5, 1.0),
        "under_eye": _normal(draws, -0.5 + 0.8 * age, 0.25, 0.9),
        "freckles": draws.uniform(0.5, 1.1) if draws.chance(0.30 * fair) else draws.skip(),
        "stubble": draws.uniform(0.3, 1.2) if beard == "stubble" else draws.skip() + 0.5 * (beard != NONE),
        "shaved_hair": shaved * float(np.clip(1.15 - np.mean(hair.colour) - 0.35 * (1.0 - fair), 0.0, 1.0)),
        "lip_redness": _normal(draws, 1.5 if made_up else 0.15, 0.45, 2.4) - 0.5 * (1.0 - fair),
        "lip_lightness": _normal(draws, 0.0, 0.5, 1.0),
        "lip_hue": _normal(draws, 0.3, 0.5, 1.3) + (0.5 if made_up else 0.0),
        "lid_shadow": draws.uniform(0.8, 2.0) if made_up else _normal(draws, 0.0, 0.3, 0.5),
        "lid_hue": _normal(draws, 0.3, 0.8, 1.5) if made_up else draws.skip(),
        "brow_lightness": brow_light + jitter,
        "brow_redness": brow_red,
        "iris_blue": iris[0],
        "iris_green": iris[1],
        "iris_lightness": iris[2] + jitter,
        "eye_redness": _normal(draws, 0.2 * age, 0.3, 0.8),
        "teeth_lightness": _normal(draws, 0.2 - 0.6 * age, 0.3, 1.0),
    }


OLDEST_DYED = 0.5
"""Beyond this age nobody's hair is blue."""


def _hair(draws: Draws, presentation: float, age: float, tone: float) -> Hair:
    weights = {}
    for name, style in STYLES.items():
        worn = -0.9 if style is None else style.presentation
        weights[name] = math.exp(-((presentation - worn) ** 2) / 0.75)
        if style is None or style.baldness > 0.5:
            weights[name] *= 0.25 + 1.4 * age
        if name in ("mohawk", "spikes", "space_buns", "pigtails"):
            weights[name] *= 0.9 * (1.0 - age)
    natural = palette.HAIR_WEIGHTS_FAIR if tone > -0.6 else palette.HAIR_WEIGHTS_DARK
    grey = max(age - 0.45, 0.0) * 14.0
    style = draws.pick(weights)
    if age > OLDEST_DYED or style in ("receding", "buzz"):
        natural = {name: weight for name, weight in natural.items() if name not in palette.DYED}
    natural = _among(palette.HAIR_WEIGHTS_FAIR, natural)
    colour = palette.HAIR[draws.pick({**natural, "grey": 0.15 + grey, "white": 0.05 + 0.6 * grey})]
    shift = draws.normal(0.0, 0.06)
    return Hair(
        style=style,
        colour=tuple(float(np.clip(c * (1.0 + shift), 0.03, 0.95)) for c in colour),
        volume=draws.uniform(0.88, 1.15),
        mirrored=draws.chance(0.5),
    )


def _glasses(draws: Draws, age: float) -> Glasses:
    worn = draws.chance(0.22 + 0.25 * age)
    return Glasses(_worn(draws, GLASSES, worn), palette.choose(draws, palette.FRAMES))


def _hat(draws: Draws, hair: Hair) -> Hat:
    style = STYLES[hair.style]
    fits = style is None or style.hats
    worn = bool(draws.chance(0.17) if fits else draws.skip())
    colour, trim = palette.two(draws, palette.CLOTH)
    return Hat(_worn(draws, HATS, worn), colour, trim)


def _beard(draws: Draws, presentation: float, age: float) -> str:
    worn = bool(draws.chance(0.40 + 0.25 * age) if presentation < -0.25 else draws.skip())
    return _worn(draws, BEARDS, worn)


def _clothes(draws: Draws) -> Clothes:
    colour, second = palette.two(draws, palette.CLOTH)
    collar = draws.pick(dict.fromkeys(COLLARS, 1.0))
    pattern = draws.pick({name: 3.0 if name == "plain" else 1.0 for name in PATTERNS})
    return Clothes(collar, pattern, colour, second, second if draws.chance(0.5) else colour)


def _figure(draws: Draws, presentation: float) -> Figure:
    outfits = dict.fromkeys(OUTFITS, 1.0)
    if presentation < 0:
        outfits |= {"dress": 0.0, "skirt": 0.0}
    bottom, shoes = palette.two(draws, palette.CLOTH)
    left, right = (draws.pick(dict.fromkeys(ARMS, 1.0)) for _ in range(2))
    return Figure(draws.pick(outfits), left, right, draws.pick(dict.fromkeys(LEGS, 1.0)), bottom, shoes)


def _backdrop(draws: Draws) -> Backdrop:
    inner, outer = palette.BACKDROPS[draws.one(len(palette.BACKDROPS))]
    return Backdrop(draws.pick(BACKDROPS), inner, outer, draws.uniform(0.0, 1.0))


def _lamp(draws: Draws) -> Lamp:
    side = draws.sign()
    return Lamp(
        azimuth=side * draws.uniform(0.2, 1.15),
        elevation=draws.uniform(0.20, 0.90),
        strength=draws.uniform(0.46, 0.66),
        ambient=draws.uniform(0.48, 0.58),
        fill=draws.uniform(0.05, 0.20),
        warmth=_normal(draws, 0.2, 0.45, 1.0),
    )


def _view(draws: Draws) -> View:
    return View(
        pitch=_normal(draws, 0.0, 0.13, LARGEST_PITCH),
        yaw=_normal(draws, 0.0, 0.33, LARGEST_YAW),
        roll=_normal(draws, 0.0, 0.07, LARGEST_ROLL),
        shift_x=_normal(draws, 0.0, 0.03, 0.08),
        shift_y=_normal(draws, 0.0, 0.03, 0.08),
        zoom=1.0 + _normal(draws, 0.0, 0.03, 0.07),
    )
