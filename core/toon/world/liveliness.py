"""What a face does while the mouth is busy: blinks, glances, a swaying and nodding head, brows that lift.

Everything happens at times in seconds that are drawn from one seed, so a clip at another number of frames a second
shows the same. Amounts were set by looking at clips.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .scene import Scene
from .visemes import both_sides

STREAM = 97
"""Sets these random numbers apart from other users of the same seed."""
FACING = 0.45
"""Share of its own turn that a head keeps: who talks looks at the viewer, more or less."""
MOOD = 0.22
"""Strongest smile that lasts through the talking."""
BLINKS = (1.4, 4.0)
"""Seconds between blinks, shortest and longest; in conversation people blink every two to three (Bentivoglio 1997)."""
CLOSING, CLOSED, OPENING = 0.08, 0.03, 0.15
"""Seconds of a blink's parts."""
GLANCES, SACCADE = (0.5, 1.9), 0.05
"""Seconds between glances, shortest and longest, and how long the eyes take."""
GLANCE = (0.030, 0.09)
"""Radians, standard deviations of a glance's pitch and yaw, at most GLANCE_LIMIT of them."""
GLANCE_LIMIT = 2.0
SWAY = (0.020, 0.045, 0.020)
"""Radians, standard deviations of the head's slow pitch, yaw and roll."""
SWAYING, WAVES = (0.08, 0.55), 5
"""Hertz of the slowest and fastest wave that sway is made of, and how many there are."""
NOD, NOD_SPREAD, NOD_LAG = 0.045, 0.10, 0.04
"""Radians of a full accent's nod, its standard deviation and its delay in seconds."""
LIFT, LIFT_SPREAD = 0.50, 0.15
"""Strength of brows that lift with a full accent, and the standard deviation in seconds."""
LIFTING, LIFTED = 0.6, 0.5
"""Only accents above this lift brows, and this share of those do."""


@dataclass(frozen=True)
class Accent:
    """A stressed moment. at: seconds. size: 0…1."""

    at: float
    size: float


def moments(
    person: Scene, mouth: Mapping[str, np.ndarray], accents: Sequence[Accent], times: np.ndarray, seed: int
) -> tuple[Scene, ...]:
    """The person at so many seconds [N], with mouths [N] by expression, a name of a pair for both its sides."""
    streams = iter(np.random.default_rng([seed, STREAM]).spawn(6))
    face = dict(mouth)
    smile = MOOD * next(streams).random() * (1 - np.clip(mouth["mouthPucker"] + mouth["mouthFunnel"], 0, 1))
    face["mouthSmile"] = mouth["mouthSmile"] + smile
    face["eyeBlink"] = _blinks(times, next(streams))
    lift = _lift(times, accents, next(streams))
    face["browOuterUp"], face["browInnerUp"] = lift, 0.6 * lift
    gaze = _glances(times, next(streams))
    turn = _sway(times, next(streams))
    turn[:, 0] += sum(NOD * a.size * _hump(times - a.at - NOD_LAG, NOD_SPREAD) for a in accents)
    own = np.array([person.view.pitch, person.view.yaw, person.view.roll]) * FACING
    found = []
    for index in range(len(times)):
        pitch, yaw, roll = (float(angle) for angle in own + turn[index])
        strengths = {name: float(np.clip(values[index], 0, 1)) for name, values in face.items()}
        view = replace(person.view, pitch=pitch, yaw=yaw, roll=roll)
        look = (float(gaze[index, 0]) - 0.5 * pitch, float(gaze[index, 1]) - 0.5 * yaw)  # half back to the viewer
        found.append(replace(person, expression=both_sides(strengths), gaze=look, view=view))
    return tuple(found)


def _blinks(times: np.ndarray, random: np.random.Generator) -> np.ndarray:
    shut, at = np.zeros(len(times)), random.uniform(0.3, BLINKS[1])
    while at < times[-1]:
        phase = times - at
        rise, fall = phase / CLOSING, 1 - (phase - CLOSING - CLOSED) / OPENING
        shut = np.maximum(shut, np.clip(np.minimum(rise, fall), 0, 1))
        at += random.uniform(*BLINKS)
    return shut


def _glances(times: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """[N, 2] radians, pitch and yaw: mostly back to the viewer."""
    gaze, at, last = np.zeros((len(times), 2)), 0.0, np.zeros(2)
    while at < times[-1]:
        away = random.random() < 0.5
        target = np.clip(random.standard_normal(2), -GLANCE_LIMIT, GLANCE_LIMIT) * GLANCE * away
        gaze += np.clip((times - at) / SACCADE, 0, 1)[:, None] * (target - last)
        last, at = target, at + random.uniform(*GLANCES)
    return gaze


def _sway(times: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """[N, 3] radians: sums of slow waves."""
    hertz = random.uniform(*SWAYING, (WAVES, 3))
    phase = random.uniform(0, 2 * np.pi, (WAVES, 3))
    waves = np.sin(2 * np.pi * hertz * times[:, None, None] + phase)
    return waves.sum(1) * np.array(SWAY) * np.sqrt(2 / WAVES)


def _lift(times: np.ndarray, accents: Sequence[Accent], random: np.random.Generator) -> np.ndarray:
    lift = np.zeros(len(times))
    for accent in accents:
        chosen = random.random() < LIFTED
        if chosen and accent.size > LIFTING:
            lift = np.maximum(lift, LIFT * accent.size * _hump(times - accent.at, LIFT_SPREAD))
    return lift


def _hump(away: np.ndarray, spread: float) -> np.ndarray:
    return np.exp(-0.5 * (away / spread) ** 2)
