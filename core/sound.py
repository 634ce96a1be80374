"""Sound files in and out, through PyAV (any container that FFmpeg reads; FLAC out)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .errors import UserError
from .files import replacing

PCM_SCALE = {"u8": 2.0**7, "s16": 2.0**15, "s32": 2.0**31}
"""Full scale of the whole-number sample formats that decoders give; all others are floats in −1…1."""
FLAC_SCALE = 2**15 - 1
"""Full scale of the 16-bit samples that are written."""


def read(path: str | Path) -> tuple[Tensor, int] | None:
    """([C, T] float32 −1…1, samples a second) of a file's first audio track; None where it has none.

    UserError where FFmpeg cannot read the file.
    """
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                return None
            stream = container.streams.audio[0]
            parts = [_samples(frame) for frame in container.decode(stream)]
            rate = stream.rate
    except (OSError, av.FFmpegError) as error:
        raise UserError(f"The sound of {Path(path).name} cannot be read: {error}.") from None
    return (torch.cat(parts, 1), int(rate)) if parts else None


def write_flac(path: Path, waveform: Tensor, rate: int) -> None:
    """waveform: [1 or 2, T] −1…1, clamped. Writes 16 bits a sample, replacing an old file only when done."""
    import av

    channels = waveform.shape[0]
    if channels not in (1, 2) or not waveform.shape[1]:
        raise UserError(f"A sound file needs one or two channels and some samples; got {list(waveform.shape)}.")
    samples = (waveform.detach().cpu().float().clamp(-1, 1) * FLAC_SCALE).round().short().T.contiguous()
    with replacing(path) as temporary, av.open(str(temporary), "w", format="flac") as container:
        stream = container.add_stream("flac", rate=rate, layout="mono" if channels == 1 else "stereo")
        frame = av.AudioFrame.from_ndarray(samples.numpy().reshape(1, -1), "s16", stream.layout.name)
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _samples(frame: object) -> Tensor:
    """One decoded frame as [C, T] −1…1."""
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, frame.layout.nb_channels).T
    name = frame.format.name.removesuffix("p")
    samples = torch.from_numpy(np.ascontiguousarray(values)).float() / PCM_SCALE.get(name, 1.0)
    return samples - 1 if name == "u8" else samples
