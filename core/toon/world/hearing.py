"""A sound from elsewhere, heard as far as a mouth needs it: how loud, how open, how bright, how hissing.

No words are recognised. A mouth opens with loudness, the more so the higher the first formant seems to lie, spreads
where there is energy in the second formant's upper range and rounds where there is none, narrows over hissing. Limits
between those were set on the vowels of `voice`, whose sounds are known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...errors import UserError
from ..voice import RATE
from .liveliness import Accent

HOP, WINDOW = 160, 480
"""Samples at RATE, 10 and 30 ms: the steps of hearing, and what each hears."""
SILENT = 1e-4
"""Loudest step (root of the mean square) of a sound that is taken for silence: −80 dB."""
REFERENCE = 0.95
"""Quantile of the steps' loudness that counts as loud."""
RANGE = 30.0
"""Decibels below loud at which the mouth is shut; less where the background is louder than that."""
BACKGROUND, ABOVE_BACKGROUND = 0.10, 6.0
"""Quantile that counts as background, and decibels above it where the mouth begins to open."""
NARROWEST_RANGE = 12.0
"""Decibels; a steady tone is all background and would be divided by nothing."""
SLOW = 9
"""Steps that loudness and colour are averaged over: about a sound's length."""
HUM, FIRST, SECOND, HISS = (150, 500), (550, 1100), (1500, 3200), (3800, 7900)
"""Hertz: bands below and about an open vowel's first formant, of a front vowel's second, and of hissing."""
OPEN_FROM, OPEN_TO = -14.0, 2.0
"""Decibels of FIRST over HUM, from shut to wide vowels."""
BRIGHT_FROM, BRIGHT_TO = -26.0, -10.0
"""Decibels of SECOND over HUM and FIRST, from back to front vowels."""
HISS_FROM, HISS_TO = -3.0, 9.0
"""Decibels of HISS over all below."""
BEAT, BEAT_HEIGHT = 0.28, 0.45
"""Seconds between two accents at least, and how loud (0…1) they are at least."""


@dataclass(frozen=True, eq=False)
class Heard:
    """What was heard, by steps. times: [N] seconds. loud, open, bright, hiss: [N] 0…1. accents: stressed moments."""

    seconds: float
    times: np.ndarray
    loud: np.ndarray
    open: np.ndarray
    bright: np.ndarray
    hiss: np.ndarray
    accents: tuple[Accent, ...]

    def mouth(self, times: np.ndarray) -> dict[str, np.ndarray]:
        """Expression -> its strength [M] at so many seconds [M], a name of a pair for both its sides."""
        loud, opened, bright, hiss = (
            np.interp(times, self.times, values) for values in (self.loud, self.open, self.bright, self.hiss)
        )
        voiced = loud * (1 - hiss)
        rounded = voiced * (1 - bright) * (1 - 0.6 * opened)
        return {
            "jawOpen": voiced * (0.14 + 0.50 * opened) + 0.07 * loud * hiss,
            "mouthFunnel": 0.45 * rounded * np.minimum(0.4 + opened, 1),
            "mouthPucker": 0.55 * rounded * (1 - opened),
            "mouthStretch": 0.40 * voiced * bright + 0.30 * loud * hiss,
            "mouthSmile": 0.15 * voiced * bright,
            "mouthUpperUp": 0.20 * voiced * opened + 0.20 * loud * hiss,
            "mouthLowerDown": 0.20 * voiced + 0.40 * loud * hiss,
        }


def hear(sound: Tensor, rate: int) -> Heard:
    """sound: [T], `rate` samples a second. UserError for no samples, no rate, and values that are no numbers."""
    from scipy.signal import find_peaks, resample_poly  # which take half a second to load

    if sound.dim() != 1 or not len(sound) or rate <= 0:
        raise UserError(
            f"A sound to talk along with needs samples and a rate; got {list(sound.shape)} samples at {rate} a second."
        )
    if not torch.isfinite(sound).all():
        raise UserError("The sound holds values that are no numbers (NaN or infinite). Look for what made it.")
    seconds = len(sound) / rate
    common = math.gcd(int(rate), RATE)
    samples = resample_poly(sound.double().cpu().numpy(), RATE // common, int(rate) // common)
    power = _power(samples)
    times = (np.arange(len(power)) + 0.5) * HOP / RATE
    bands = {band: _in_band(power, band) for band in (HUM, FIRST, SECOND, HISS)}
    voice = bands[HUM] + bands[FIRST] + bands[SECOND]
    loud = _loudness(_averaged(voice + bands[HISS]))
    peaks, _ = find_peaks(loud, height=BEAT_HEIGHT, distance=round(BEAT * RATE / HOP))
    return Heard(
        seconds=seconds,
        times=times,
        loud=loud,
        open=_between(bands[FIRST], bands[HUM], OPEN_FROM, OPEN_TO),
        bright=_between(bands[SECOND], bands[HUM] + bands[FIRST], BRIGHT_FROM, BRIGHT_TO),
        hiss=_between(bands[HISS], voice, HISS_FROM, HISS_TO),
        accents=tuple(Accent(float(times[i]), float(loud[i])) for i in peaks),
    )


def _power(samples: np.ndarray) -> np.ndarray:
    """[N, WINDOW // 2 + 1] power of every step, its window about the step's middle."""
    steps = max(math.ceil(len(samples) / HOP), 1)
    around = (WINDOW - HOP) // 2
    padded = np.pad(samples, (around, steps * HOP - len(samples) + around))
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][:steps]
    return np.abs(np.fft.rfft(windows * np.hanning(WINDOW) / WINDOW)) ** 2


def _in_band(power: np.ndarray, band: tuple[int, int]) -> np.ndarray:
    hertz = np.fft.rfftfreq(WINDOW, 1 / RATE)
    return power[:, (hertz >= band[0]) & (hertz < band[1])].sum(1)


def _averaged(values: np.ndarray) -> np.ndarray:
    """Under a raised cosine of SLOW steps."""
    window = np.hanning(SLOW + 2)[1:-1]
    padded = np.pad(values, SLOW // 2, mode="edge")
    return np.convolve(padded, window / window.sum(), mode="valid")


def _loudness(power: np.ndarray) -> np.ndarray:
    """[N] 0 shut … 1 as loud as it gets."""
    loudest = np.quantile(power, REFERENCE)
    if loudest < SILENT**2:
        return np.zeros_like(power)
    decibels = 10 * np.log10(np.maximum(power, 1e-3 * SILENT**2) / loudest)
    quiet = max(-RANGE, float(np.quantile(decibels, BACKGROUND)) + ABOVE_BACKGROUND)
    quiet = min(quiet, -NARROWEST_RANGE)
    return np.clip(1 - decibels / quiet, 0, 1)


def _between(above: np.ndarray, below: np.ndarray, low: float, high: float) -> np.ndarray:
    """[N] 0…1: where the ratio of two bands lies between two levels in decibels."""
    tiny = 1e-3 * SILENT**2
    ratio = 10 * np.log10((_averaged(above) + tiny) / (_averaged(below) + tiny))
    return np.clip((ratio - low) / (high - low), 0, 1)
