"""The sounds of speech that the toon world speaks with: how each is made, how long it lasts, how the mouth looks.

Names are ARPABET's in small letters. Sources:

* formants and bandwidths: Klatt 1980, "Software for a cascade/parallel formant synthesizer", tables II and III (a man);
* durations: Klatt 1979, "Synthesis by rule of segmental durations in English sentences" (inherent and shortest);
* peaks of hissing: Jongman, Wayland & Wong 2000, "Acoustic characteristics of English fricatives", table I;
* bursts: Blumstein & Stevens 1979 (lips: spread and falling, ridge: rising, velum: one narrow hump);
* time from a burst to the voice: Lisker & Abramson 1964, shortened by a third for running speech.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["vowel", "glide", "nasal", "stop", "fricative", "breath", "silence"]
SILENCE = "sil"


@dataclass(frozen=True)
class Noise:
    """What hisses: a hump of white noise. peak, width: Hz. level: dB above a loud vowel's voice."""

    peak: float
    width: float
    level: float


@dataclass(frozen=True)
class Phoneme:
    """One sound of speech.

    formants, bandwidths: Hz, the lowest three. seconds: (inherent, shortest) duration. viseme: what the mouth shows, a
    name of `world.visemes.VISEMES`. voice: 0…1, how strongly the vocal folds sound. noise: hiss or burst, if any.
    release: seconds from a stop's burst to its end.
    """

    kind: Kind
    formants: tuple[float, float, float]
    bandwidths: tuple[float, float, float]
    seconds: tuple[float, float]
    viseme: str
    voice: float = 1.0
    noise: Noise | None = None
    release: float = 0.0


HISS = {
    "labiodental": Noise(7733.0, 5000.0, -26.0),
    "dental": Noise(7470.0, 5000.0, -27.0),
    "alveolar": Noise(6839.0, 1800.0, -15.0),
    "palatal": Noise(3820.0, 1400.0, -14.0),
}
"""Sibilants are some ten dB louder than the others (Jongman et al., figure 4); at 16 kHz the widest lose
their top."""
BURSTS = {
    "lips": Noise(900.0, 1800.0, -20.0),
    "ridge": Noise(4500.0, 1800.0, -16.0),
    "velum": Noise(2100.0, 500.0, -17.0),
}
HUM, VOICE_BAR, BUZZ = 0.45, 0.12, 0.45
"""The voice of nasals, of voiced stops behind closed lips, and of voiced fricatives, beside a vowel's 1; from
levels seen in spectrograms."""
CLOSE, HALF_CLOSE = 0.6, 0.8
"""The voice of close vowels beside open ones: some 5 dB less (Lehiste & Peterson 1959)."""


def _vowel(
    formants: tuple[float, float, float], bandwidths: tuple[float, float, float], seconds: tuple[float, float],
    viseme: str, voice: float = 1.0,
) -> Phoneme:  # fmt: skip
    return Phoneme("vowel", formants, bandwidths, seconds, viseme, voice)


PHONEMES: dict[str, Phoneme] = {
    "iy": _vowel((310, 2020, 2960), (45, 200, 400), (0.155, 0.055), "ee", CLOSE),
    "ih": _vowel((400, 1800, 2570), (50, 100, 140), (0.135, 0.040), "ih", HALF_CLOSE),
    "eh": _vowel((530, 1680, 2500), (60, 90, 200), (0.150, 0.070), "eh"),
    "ae": _vowel((620, 1660, 2430), (70, 150, 320), (0.230, 0.080), "ae"),
    "aa": _vowel((700, 1220, 2600), (130, 70, 160), (0.240, 0.100), "ah"),
    "ao": _vowel((600, 990, 2570), (90, 100, 80), (0.240, 0.100), "aw"),
    "ah": _vowel((620, 1220, 2550), (80, 50, 140), (0.140, 0.060), "uh"),
    "ow": _vowel((540, 1100, 2300), (80, 70, 70), (0.150, 0.080), "oh"),
    "uh": _vowel((450, 1100, 2350), (80, 100, 80), (0.160, 0.060), "oo", HALF_CLOSE),
    "uw": _vowel((350, 1250, 2200), (65, 110, 140), (0.210, 0.070), "oo", CLOSE),
    "er": _vowel((470, 1270, 1540), (100, 60, 110), (0.180, 0.080), "er"),
    "w": Phoneme("glide", (290, 610, 2150), (50, 80, 60), (0.080, 0.060), "oo", 0.7),
    "y": Phoneme("glide", (260, 2070, 3020), (40, 250, 500), (0.080, 0.040), "ee", 0.7),
    "r": Phoneme("glide", (310, 1060, 1380), (70, 100, 120), (0.080, 0.030), "er", 0.7),
    "l": Phoneme("glide", (310, 1050, 2880), (50, 100, 280), (0.080, 0.040), "ridge", 0.7),
    # Murmurs: one low pole in the place of Klatt's first formant with a nasal pole and zero beside it.
    "m": Phoneme("nasal", (270, 1270, 2130), (60, 300, 300), (0.070, 0.060), "lips", HUM),
    "n": Phoneme("nasal", (270, 1340, 2470), (60, 300, 300), (0.060, 0.050), "ridge", HUM),
    "ng": Phoneme("nasal", (270, 2000, 2850), (60, 300, 330), (0.095, 0.060), "velum", HUM),
    "b": Phoneme("stop", (200, 1100, 2150), (60, 110, 130), (0.085, 0.060), "lips", VOICE_BAR, BURSTS["lips"], 0.008),
    "d": Phoneme("stop", (200, 1600, 2600), (60, 100, 170), (0.075, 0.050), "ridge", VOICE_BAR, BURSTS["ridge"], 0.012),
    "g": Phoneme("stop", (200, 1990, 2850), (60, 150, 280), (0.080, 0.060), "velum", VOICE_BAR, BURSTS["velum"], 0.018),
    "p": Phoneme("stop", (400, 1100, 2150), (300, 150, 220), (0.090, 0.060), "lips", 0.0, BURSTS["lips"], 0.038),
    "t": Phoneme("stop", (400, 1600, 2600), (300, 120, 250), (0.075, 0.055), "ridge", 0.0, BURSTS["ridge"], 0.046),
    "k": Phoneme("stop", (300, 1990, 2850), (250, 160, 330), (0.080, 0.060), "velum", 0.0, BURSTS["velum"], 0.053),
    "f": Phoneme("fricative", (340, 1100, 2080), (200, 120, 150), (0.100, 0.080), "teeth", 0.0, HISS["labiodental"]),
    "v": Phoneme("fricative", (220, 1100, 2080), (60, 90, 120), (0.060, 0.040), "teeth", BUZZ, HISS["labiodental"]),
    "th": Phoneme("fricative", (320, 1290, 2540), (200, 90, 200), (0.090, 0.060), "tongue", 0.0, HISS["dental"]),
    "dh": Phoneme("fricative", (270, 1290, 2540), (60, 80, 170), (0.050, 0.030), "tongue", BUZZ, HISS["dental"]),
    "s": Phoneme("fricative", (320, 1390, 2530), (200, 80, 200), (0.105, 0.060), "hiss", 0.0, HISS["alveolar"]),
    "z": Phoneme("fricative", (240, 1390, 2530), (70, 60, 180), (0.075, 0.040), "hiss", BUZZ, HISS["alveolar"]),
    "sh": Phoneme("fricative", (300, 1840, 2750), (200, 100, 300), (0.105, 0.080), "hush", 0.0, HISS["palatal"]),
    "zh": Phoneme("fricative", (280, 1840, 2750), (70, 100, 300), (0.070, 0.040), "hush", BUZZ, HISS["palatal"]),
    "hh": Phoneme("breath", (500, 1500, 2500), (300, 200, 300), (0.080, 0.020), "velum", 0.0),
    SILENCE: Phoneme("silence", (500, 1500, 2500), (100, 100, 200), (0.250, 0.100), "rest", 0.0),
}
"""What [h] and silence show is a mouth at rest; their own formants are those of a neutral vowel, since any will do."""

COMPOUNDS: dict[str, tuple[str, str]] = {
    "ey": ("eh", "iy"), "ay": ("aa", "ih"), "oy": ("ao", "ih"), "aw": ("aa", "uh"), "ow": ("ow", "uh"),
    "ch": ("t", "sh"), "jh": ("d", "zh"),
}  # fmt: skip
"""ARPABET's sounds that glide from one to another, and affricates."""


def is_vowel(name: str) -> bool:
    return PHONEMES[name].kind == "vowel"
