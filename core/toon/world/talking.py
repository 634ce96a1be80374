"""A person of the toon world who talks: for every frame of a clip the scene, and the sound that goes with it.

The mouth follows sounds of speech whose times are known, or the loudness and colour of a sound from elsewhere; the rest
of the face lives beside it. Since scenes are exact, so are the parameters of every frame: clips that a network can
learn from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...errors import UserError
from ...types import FaceParams
from ..speech import Phone, Utterance, babble
from ..voice import RATE, speak, voice_of
from .hearing import hear
from .liveliness import Accent, moments
from .render import ToonWorld, joined_params
from .sampling import scene
from .scene import Scene
from .visemes import mouth_at

FPS = 25.0
"""Frames a second of the videos that PIRenderer was trained on (VoxCeleb's)."""
SLOWEST, FASTEST = 5.0, 120.0
"""Frames a second that clips can have."""


@dataclass(frozen=True, eq=False)
class TalkingClip:
    """scenes: one a frame; frame i shows the moment (i + 0.5) / fps. waveform: [T] −1…1, as long as the frames. rate:
    samples a second. phones: the sounds and their times, none where the sound came from elsewhere.
    """

    scenes: tuple[Scene, ...]
    waveform: Tensor
    rate: int
    fps: float
    phones: tuple[Phone, ...] = ()

    def __len__(self) -> int:
        return len(self.scenes)

    def params(self, world: ToonWorld, size: int) -> FaceParams:
        """The frames' parameters of the toon head on pictures of size² pixels, without drawing them."""
        return joined_params([world.params(moment, size) for moment in self.scenes])


def babbling(seed: int, seconds: float, fps: float = FPS) -> TalkingClip:
    """The person of a seed babbling: a clip from one number."""
    return talking(scene(seed), babble(seed, seconds), seed, fps)


def talking(person: Scene, utterance: Utterance, seed: int = 0, fps: float = FPS) -> TalkingClip:
    """The person says it, in a voice that suits the face and is the same in all clips of that person.

    seed: how the face moves besides, and the voice's small irregularities. UserError for frames a second outside of
    SLOWEST…FASTEST.
    """
    times = _times(utterance.seconds, fps)
    accents = [Accent((p.start + p.end) / 2, p.stress) for p in utterance.phones if p.stress > 0]
    scenes = moments(person, mouth_at(utterance.phones, times), accents, times, seed)
    waveform = speak(utterance, voice_of(person.presentation, person.age, person.seed), seed)
    return TalkingClip(scenes, _as_long(waveform, RATE, len(times), fps), RATE, fps, utterance.phones)


def talking_along(
    person: Scene, waveform: Tensor, rate: int, seed: int = 0, fps: float = FPS, seconds: float = math.inf
) -> TalkingClip:
    """The person moves the mouth to a sound from elsewhere: [T] or [C, T], `rate` samples a second.

    The clip's sound is the same, its channels mixed, cut after so many seconds, with silence up to the end of the last
    frame. UserError as from `hearing.hear`, and for frames a second outside of SLOWEST…FASTEST.
    """
    sound = waveform.detach().float().cpu()
    sound = sound.mean(0) if sound.dim() == 2 else sound
    if seconds < math.inf:
        sound = sound[: max(round(seconds * rate), 1)]
    heard = hear(sound, rate)
    times = _times(heard.seconds, fps)
    scenes = moments(person, heard.mouth(times), heard.accents, times, seed)
    return TalkingClip(scenes, _as_long(sound, rate, len(times), fps), rate, fps)


def _times(seconds: float, fps: float) -> np.ndarray:
    """[N] the moments that frames show."""
    if not SLOWEST <= fps <= FASTEST:
        raise UserError(f"A talking clip needs {SLOWEST:g} to {FASTEST:g} frames a second; got {fps:g}.")
    count = max(math.ceil(round(seconds * fps, 6)), 1)
    return (np.arange(count) + 0.5) / fps


def _as_long(waveform: Tensor, rate: int, frames: int, fps: float) -> Tensor:
    """[T] as long as the frames: silence behind it, or a few samples less."""
    length = round(frames / fps * rate)
    return torch.nn.functional.pad(waveform, (0, max(length - len(waveform), 0)))[:length]
