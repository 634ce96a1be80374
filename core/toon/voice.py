"""A voice: from sounds and their times to the sound itself, by the rules of a formant synthesiser.

Source: Klatt 1980, "Software for a cascade/parallel formant synthesizer": pulses of the vocal folds and breath run
through a chain of resonators, hissing through one of its own, and all settings change with time. The pulses' shape and
the flutter of the pitch are Klatt & Klatt 1990's. The same voice says the same to the bit on the same machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .phonemes import PHONEMES, SILENCE, is_vowel
from .speech import Phone, Utterance

RATE = 16000
"""Samples a second."""
STEP = 16
"""Samples between changes of settings, 1 ms. Klatt's 5 ms click where formants move fast."""
FINER = 4
"""Pulses are drawn at so many times the rate, since their sharp end would alias."""
HIGHER_FORMANTS = ((3300.0, 250.0), (3750.0, 250.0), (4900.0, 500.0), (5900.0, 600.0), (6900.0, 800.0))
"""(Hz, bandwidth). Klatt's fourth to sixth, the sixth sharper, and two more, since his rate was 10 kHz."""
HIGHEST = 7400.0
"""Hz; what a short throat lifts beyond stays here, below half the rate."""
GLIDE, SWELL = 0.070, 0.022
"""Seconds over which formants, and strengths, go from one sound's to the next's; chosen from spectrograms."""
BURST = 0.010
"""Seconds of noise when a stop opens."""
BREATHED, ASPIRATED, BREATHY = 0.040, 0.025, 0.010
"""Strength of breath in [h], after [p t k] and in a voice of breathiness 1, where pulses peak at 1; so [h] lies some
15 dB below a stressed vowel."""
OPENED_VOICE = 0.5
"""Strength of the voice just after a voiced stop has opened."""
BESIDE = 0.75
"""Strength of all that is no vowel, beside a stressed one, on top of the phoneme's own."""
LOUDNESS = (0.45, 1.0)
"""Strength of unstressed and of fully stressed vowels: 7 dB."""
SHIMMER = 0.03
"""Standard deviation of a pulse's strength."""
TILT = (4500.0, 1500.0)
"""Hz above which pulses are softened by 6 dB an octave, for a pressed and for a breathy voice."""
LEVEL = 320
"""Samples, 20 ms, over which loudness is measured."""
PEAK = 0.7
"""Of the finished sound; full scale is 1."""
STREAM = 83
"""Sets these random numbers apart from other users of the same seed."""

Array = np.ndarray


@dataclass(frozen=True)
class Voice:
    """Who speaks.

    pitch: Hz, the middle of the voice. throat: times a man's formants; about 1.17 for women (Peterson & Barney 1952).
    breath: 0 pressed … 1 sighing. open_share: of each period, while the folds are open. jitter: standard deviation of a
    period's length, as a share of it.
    """

    pitch: float = 118.0
    throat: float = 1.0
    breath: float = 0.3
    open_share: float = 0.6
    jitter: float = 0.008


def voice_of(presentation: float, age: float, seed: int) -> Voice:
    """A voice that suits a face: presentation −1 masculine … 1 feminine, age 0…1, as in `world.scene.Scene`.

    118 and 208 Hz, and formants 17 % apart, are about what Peterson & Barney 1952 and later studies give.
    """
    random = np.random.default_rng([seed, STREAM])
    high = (presentation + 1) / 2
    return Voice(
        pitch=float(118.0 * (208.0 / 118.0) ** high * 2 ** random.normal(0.0, 0.12) * (1 - 0.08 * age)),
        throat=float(1.0 + 0.17 * high + random.normal(0.0, 0.025)),
        breath=float(np.clip(0.2 + 0.25 * high + random.normal(0.0, 0.1), 0.05, 0.8)),
        open_share=float(0.55 + 0.1 * high),
        jitter=float(0.006 + 0.008 * age),
    )


def speak(utterance: Utterance, voice: Voice, seed: int = 0) -> Tensor:
    """The sound of an utterance, [T] −1…1 at RATE. seed: of noise and of the voice's small irregularities."""
    count = math.ceil(round(utterance.seconds * RATE, 3))
    track = _track(utterance, math.ceil(count / STEP))
    random = np.random.default_rng([seed, STREAM, 1])
    times = (np.arange(len(track.voiced)) + 0.5) * STEP / RATE
    pulses, opened = _pulses(pitch_at(utterance, voice, times, seed), voice, random)
    breath = (0.5 + opened) * random.standard_normal(len(pulses))
    breathed = track.breath + BREATHY * voice.breath * track.voiced
    throat = pulses * _drawn_out(track.voiced) + breath * _drawn_out(breathed)
    for frequency, bandwidth in zip(track.formants.T, track.bandwidths.T, strict=True):
        throat = _resonated(throat, np.minimum(frequency * voice.throat, HIGHEST), bandwidth)
    for frequency, bandwidth in HIGHER_FORMANTS:
        throat = _resonator(min(frequency * voice.throat, HIGHEST), bandwidth)(throat)
    hiss = _hiss(random.standard_normal(len(pulses)), track)
    sound = (throat / _loudest(throat) + hiss)[:count]
    return torch.from_numpy(PEAK * sound / (np.abs(sound).max() or 1.0)).float()


# Melody --------------------------------------------------------------------------------------------------------------

DECLINE = (1.5, -2.0)
"""Semitones at the start and at the end of a phrase: the voice sinks as the breath goes."""
ACCENT, ACCENT_SPREAD = 2.5, 0.075
"""Semitones of a fully stressed vowel, and seconds, the standard deviation of that hump."""
ENDING, ENDING_SECONDS = (-2.5, 6.0), 0.30
"""Semitones by which statements fall and questions rise, over the last so many seconds."""
ACCENTED = 0.5
"""Vowels of less stress have no hump."""
FLUTTER = 0.25
"""Klatt & Klatt 1990: their FL of 25, as a share."""


def pitch_at(utterance: Utterance, voice: Voice, times: Array, seed: int = 0) -> Array:
    """Hz of the voice at so many seconds [N], in pauses too: decline, accents, endings, and a little flutter."""
    random = np.random.default_rng([seed, STREAM, 2])
    knots = [(at, tone) for p in utterance.phrases for at, tone in zip((p.start, p.end), DECLINE, strict=True)]
    tones = np.interp(times, *np.array(knots).T)
    for phrase in utterance.phrases:
        along = np.clip((times - phrase.end) / ENDING_SECONDS + 1, 0, 1) * (times <= phrase.end + ENDING_SECONDS / 2)
        tones = tones + ENDING[phrase.question] * along**2
    for phone in utterance.phones:
        if phone.stress >= ACCENTED:
            away = times - (0.6 * phone.start + 0.4 * phone.end)
            size = ACCENT * phone.stress * random.uniform(0.6, 1.4)
            tones = tones + size * np.exp(-0.5 * (away / ACCENT_SPREAD) ** 2)
    waver = sum(np.sin(2 * np.pi * hertz * times) for hertz in (12.7, 7.1, 4.7))
    return voice.pitch * 2 ** (tones / 12) * (1 + FLUTTER * 0.02 * waver)


# Settings over time --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Track:
    """Settings of every step. formants, bandwidths: [N, 3] Hz. voiced, breath, noise: [N] strengths. peak, width: [N]
    Hz of what hisses.
    """

    formants: Array
    bandwidths: Array
    voiced: Array
    breath: Array
    noise: Array
    peak: Array
    width: Array


def _track(utterance: Utterance, steps: int) -> _Track:
    phones = utterance.phones
    times = (np.arange(steps) + 0.5) * STEP / RATE
    index = np.searchsorted([phone.start for phone in phones], times, side="right") - 1
    opened = times >= np.array([phone.opening for phone in phones])[index]
    shapes = [PHONEMES[phone.phoneme] for phone in _shaping(phones)]
    sounds = [PHONEMES[phone.phoneme] for phone in phones]
    stop = np.array([sound.kind == "stop" for sound in sounds])[index]
    voiceless = np.array([sound.voice == 0 for sound in sounds])[index]
    voiced = np.array([_strength(phone) for phone in phones])[index]
    voiced = np.where(stop & opened & ~voiceless, OPENED_VOICE, voiced)
    breath = np.where(stop & opened & voiceless, ASPIRATED, 0.0)
    breath += BREATHED * np.array([sound.kind == "breath" for sound in sounds])[index]
    hisses = [sound.noise for sound in sounds]
    level = np.array([0.0 if hiss is None else 10 ** (hiss.level / 20) for hiss in hisses])[index]
    since = times - np.array([phone.opening for phone in phones])[index]
    burst = level * (stop & (since >= 0) & (since < BURST))
    nearest = _nearest_hiss(phones, times)
    return _Track(
        formants=_smoothed(np.array([shape.formants for shape in shapes], dtype=float)[index], GLIDE),
        bandwidths=_smoothed(np.array([shape.bandwidths for shape in shapes], dtype=float)[index], GLIDE),
        voiced=_smoothed(voiced, SWELL),
        breath=_smoothed(breath, SWELL),
        noise=_smoothed(level * ~stop, SWELL) + burst,
        peak=nearest[:, 0],
        width=nearest[:, 1],
    )


def _shaping(phones: tuple[Phone, ...]) -> list[Phone]:
    """Whose formants each sound has: [h] and silence those of what comes next, at the end of what came last."""
    shaping: list[Phone] = []
    follower = next((phone for phone in reversed(phones) if phone.phoneme != SILENCE), phones[-1])
    for phone in reversed(phones):
        follower = follower if PHONEMES[phone.phoneme].kind in ("silence", "breath") else phone
        shaping.append(follower)
    return shaping[::-1]


def _strength(phone: Phone) -> float:
    """Of the voice, before the opening of a stop."""
    loud = LOUDNESS[0] + (LOUDNESS[1] - LOUDNESS[0]) * phone.stress if is_vowel(phone.phoneme) else BESIDE
    return PHONEMES[phone.phoneme].voice * loud


def _nearest_hiss(phones: tuple[Phone, ...], times: Array) -> Array:
    """[N, 2] peak and width of the hiss that is nearest in time, so that a sound's tail keeps its colour."""
    found = [(phone.opening, phone.end, PHONEMES[phone.phoneme].noise) for phone in phones]
    found = [(0.5 * (start + end), noise) for start, end, noise in found if noise is not None]
    if not found:
        return np.tile([HIGHEST / 2, HIGHEST / 2], (len(times), 1))
    centres = np.array([centre for centre, _ in found])
    edges = (centres[1:] + centres[:-1]) / 2
    shapes = np.array([(min(noise.peak, HIGHEST), noise.width) for _, noise in found])
    return shapes[np.searchsorted(edges, times)]


def _smoothed(values: Array, seconds: float) -> Array:
    """[N] or [N, C] under a raised cosine of so many seconds; ends are held."""
    half = round(seconds * RATE / STEP / 2)
    window = np.hanning(2 * half + 3)[1:-1]
    window /= window.sum()
    padded = np.pad(values, [(half, half)] + [(0, 0)] * (values.ndim - 1), mode="edge")
    return np.apply_along_axis(np.convolve, 0, padded, window, mode="valid")


def _drawn_out(values: Array) -> Array:
    """[N] of the steps -> one value a sample."""
    return np.interp(np.arange(len(values) * STEP) / STEP, np.arange(len(values)) + 0.5, values)


# Sources and resonators ----------------------------------------------------------------------------------------------


def _pulses(pitch: Array, voice: Voice, random: np.random.Generator) -> tuple[Array, Array]:
    """Flow through the folds, differentiated, and 0…1 how far they stand open; [N · STEP] each. Peaks at −1.

    KLGLOTT88: the flow a·t² − b·t³ while they are open, shut at once.
    """
    fine = STEP * FINER
    flow, opened = np.zeros(len(pitch) * fine), np.zeros(len(pitch) * fine)
    at = 0.0
    while at < len(flow):
        period = RATE * FINER / pitch[int(at // fine)] * (1 + voice.jitter * random.standard_normal())
        strength = 1 + SHIMMER * random.standard_normal()
        here = np.arange(math.ceil(at), min(math.ceil(at + voice.open_share * period), len(flow)))
        share = (here - at) / (voice.open_share * period)
        flow[here] = strength * (2 * share - 3 * share**2)
        opened[here] = 1.0
        at += period
    softened = TILT[0] + (TILT[1] - TILT[0]) * voice.breath
    keep = math.exp(-2 * math.pi * softened / RATE)
    pulses = _filtered([1 - keep], [1, -keep], _thinned(flow))
    return pulses, opened.reshape(-1, FINER).mean(1)


def _coefficients(frequency: Array | float, bandwidth: Array | float) -> tuple[Array, Array, Array]:
    """A, B, C of Klatt's resonator y = A·x + B·y₁ + C·y₂, which lets a steady flow through unchanged."""
    c = -np.exp(-2 * np.pi * np.asarray(bandwidth) / RATE)
    b = 2 * np.exp(-np.pi * np.asarray(bandwidth) / RATE) * np.cos(2 * np.pi * np.asarray(frequency) / RATE)
    return 1 - b - c, b, c


def _resonator(frequency: float, bandwidth: float):
    """A resonator that stays as it is."""
    a, b, c = _coefficients(frequency, bandwidth)
    return lambda sound: _filtered([a], [1, -b, -c], sound)


def _resonated(sound: Array, frequency: Array, bandwidth: Array, even: bool = False) -> Array:
    """[N · STEP] through a resonator whose settings [N] change every step, its last two samples carried over.

    even: white noise keeps its strength, instead of a steady flow.
    """
    gain, b, c = _coefficients(frequency, bandwidth)
    if even:  # the variance of y for white x, of a recursion of second order
        gain = np.sqrt((1 + c) * ((1 - c) ** 2 - b**2) / (1 - c))
    made = np.empty_like(sound)
    last, before = 0.0, 0.0
    for index, (a1, b1, c1) in enumerate(zip(gain, b, c, strict=True)):
        piece = slice(index * STEP, (index + 1) * STEP)
        made[piece] = _filtered([a1], [1, -b1, -c1], sound[piece], [b1 * last + c1 * before, c1 * last])
        last, before = made[piece][-1], made[piece][-2]
    return made


def _filtered(forward: list[float], back: list[float], sound: Array, state: list[float] | None = None) -> Array:
    """A recursive filter, from rest or from a state."""
    from scipy.signal import lfilter  # half of the time that loading the whole pack would take

    return lfilter(forward, back, sound) if state is None else lfilter(forward, back, sound, zi=state)[0]


def _thinned(sound: Array) -> Array:
    """Every FINER-th sample, without aliases."""
    from scipy.signal import resample_poly

    return resample_poly(sound, 1, FINER)


def _hiss(noise: Array, track: _Track) -> Array:
    return _resonated(noise, track.peak, track.width, even=True) * _drawn_out(track.noise)


def _loudest(sound: Array) -> float:
    """Strength (root of the mean square) of the loudest moments, 1 where there is nothing."""
    power = sound[: len(sound) // LEVEL * LEVEL].reshape(-1, LEVEL) ** 2
    return float(np.sqrt(np.quantile(power.mean(1), 0.97))) or 1.0
