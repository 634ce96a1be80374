"""How the mouth looks for each group of sounds, and how neighbouring sounds share it.

Blending is Cohen & Massaro's (1993, "Modeling coarticulation in synthetic visual speech"): every sound pulls on every
articulator with a strength that falls off exponentially before and after it, and the mouth shows the weighted mean. So
lips are rounded early for [uw] through a [t] that does not care, and only sounds that need a shape insist on it. What
must be exact is not left to a mean: while lips are shut for [p b m], nothing may open them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..expressions import PAIRED
from ..phonemes import PHONEMES, is_vowel
from ..speech import Phone

JAW, LIPS, ROUND = "jaw", "lips", "round"
ARTICULATORS: Mapping[str, tuple[str, ...]] = {
    JAW: ("jawOpen",),
    LIPS: ("mouthStretch", "mouthSmile", "mouthUpperUp", "mouthLowerDown", "mouthRollLower", "mouthPress", "tongueOut"),
    ROUND: ("mouthFunnel", "mouthPucker"),
}
"""What moves by itself, and the expressions that it is made of; a name of a pair means both sides."""
FALL = {JAW: 0.050, LIPS: 0.038, ROUND: 0.075}
"""Seconds after which a sound's pull has fallen to 37 %: the jaw is heavy, and rounding begins early; by looking."""


@dataclass(frozen=True)
class Viseme:
    """A shape of the mouth. shape: strengths 0…1 of expressions, 0 where a name is missing. pull: how much each
    articulator insists on it, JAW, LIPS, ROUND.
    """

    shape: Mapping[str, float]
    pull: tuple[float, float, float]


VISEMES: dict[str, Viseme] = {
    "rest": Viseme({}, (0.7, 0.7, 0.5)),
    "lips": Viseme({"mouthPress": 0.35}, (5.0, 6.0, 0.2)),
    "teeth": Viseme({"jawOpen": 0.07, "mouthRollLower": 0.75, "mouthUpperUp": 0.3}, (4.0, 5.0, 0.5)),
    "tongue": Viseme({"jawOpen": 0.17, "mouthLowerDown": 0.3, "tongueOut": 0.45}, (2.5, 2.5, 0.5)),
    "ridge": Viseme({"jawOpen": 0.15, "mouthLowerDown": 0.25, "mouthStretch": 0.1}, (1.6, 0.8, 0.1)),
    "hiss": Viseme({"jawOpen": 0.07, "mouthStretch": 0.35, "mouthUpperUp": 0.25, "mouthLowerDown": 0.45}, (4, 2, 0.4)),
    "hush": Viseme({"jawOpen": 0.06, "mouthFunnel": 0.5, "mouthPucker": 0.15}, (3.5, 1.5, 3.0)),
    "velum": Viseme({"jawOpen": 0.2}, (0.7, 0.2, 0.1)),
    "er": Viseme({"jawOpen": 0.17, "mouthFunnel": 0.3, "mouthPucker": 0.15}, (1.2, 1.0, 1.5)),
    "ee": Viseme({"jawOpen": 0.14, "mouthStretch": 0.4, "mouthSmile": 0.22, "mouthLowerDown": 0.25}, (1.2, 1.2, 1.2)),
    "ih": Viseme({"jawOpen": 0.24, "mouthStretch": 0.25, "mouthLowerDown": 0.25}, (1.4, 1.0, 0.8)),
    "eh": Viseme({"jawOpen": 0.44, "mouthStretch": 0.25, "mouthUpperUp": 0.2, "mouthLowerDown": 0.2}, (1.8, 1.0, 0.9)),
    "ae": Viseme({"jawOpen": 0.6, "mouthStretch": 0.3, "mouthUpperUp": 0.25, "mouthLowerDown": 0.2}, (2.0, 1.0, 1.0)),
    "ah": Viseme({"jawOpen": 0.72, "mouthLowerDown": 0.15}, (2.2, 1.0, 1.0)),
    "uh": Viseme({"jawOpen": 0.5, "mouthLowerDown": 0.15}, (1.8, 1.0, 0.8)),
    "aw": Viseme({"jawOpen": 0.55, "mouthFunnel": 0.45}, (2.0, 1.0, 1.5)),
    "oh": Viseme({"jawOpen": 0.33, "mouthFunnel": 0.4, "mouthPucker": 0.3}, (1.6, 1.0, 1.8)),
    "oo": Viseme({"jawOpen": 0.1, "mouthFunnel": 0.12, "mouthPucker": 0.8}, (1.5, 1.0, 2.5)),
}
"""Set by looking at each; openings follow the first formant of the vowels, roundings the second."""
QUIET = 0.55
"""How far a mouth opens for an unstressed vowel, beside 1 for a fully stressed one."""
SHUT = ("lips",)
"""Visemes that seal the lips."""
SEALED = {"mouthPress": 0.35, "mouthRollLower": 0.12}
"""Strengths of sealed lips."""
APART = ("jawOpen", "mouthFunnel", "mouthUpperUp", "mouthLowerDown", "mouthStretch", "mouthSmile", "tongueOut")
"""What opens lips, or shows teeth between them; gone while they are sealed."""
SEALING = 0.045
"""Seconds in which lips close before, and open after."""


def mouth_at(phones: Sequence[Phone], times: np.ndarray) -> dict[str, np.ndarray]:
    """Expression -> its strength [N], 0…1, at so many seconds [N]; all names of ARTICULATORS, pairs still one."""
    starts = np.array([phone.start for phone in phones])
    ends = np.array([phone.opening for phone in phones])
    away = np.maximum(np.maximum(starts - times[:, None], times[:, None] - ends), 0.0)
    visemes = [VISEMES[PHONEMES[phone.phoneme].viseme] for phone in phones]
    wide = np.array([QUIET + (1 - QUIET) * phone.stress if is_vowel(phone.phoneme) else 1.0 for phone in phones])
    found: dict[str, np.ndarray] = {}
    for number, (articulator, names) in enumerate(ARTICULATORS.items()):
        pull = np.exp(-away / FALL[articulator]) * np.array([viseme.pull[number] for viseme in visemes])
        pull /= pull.sum(1, keepdims=True)
        for name in names:
            found[name] = pull @ (wide * np.array([viseme.shape.get(name, 0.0) for viseme in visemes]))
    seal = sealed_at(phones, times)
    return {
        name: values * (1 - seal if name in APART else 1) + seal * np.maximum(SEALED.get(name, 0.0) - values, 0)
        for name, values in found.items()
    }


def sealed_at(phones: Sequence[Phone], times: np.ndarray) -> np.ndarray:
    """[N] 0…1: how far lips are shut for a sound that needs it."""
    seal = np.zeros(len(times))
    for phone in phones:
        if PHONEMES[phone.phoneme].viseme in SHUT:
            away = np.maximum(np.maximum(phone.start - times, times - phone.opening), 0.0)
            t = np.clip(1 - away / SEALING, 0, 1)
            seal = np.maximum(seal, t * t * (3 - 2 * t))
    return seal


def both_sides(strengths: Mapping[str, float]) -> dict[str, float]:
    """Names of pairs become their two sides, as the toon head knows them."""
    sides: dict[str, float] = {}
    for name, strength in strengths.items():
        sides |= {f"{name}_L": strength, f"{name}_R": strength} if name in PAIRED else {name: strength}
    return sides
