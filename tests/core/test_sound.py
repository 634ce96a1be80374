"""Sound in every sample format that decoders give."""

from __future__ import annotations

import av
import numpy as np
import pytest
import torch
from portrait_rig.core import sound
from portrait_rig.core.errors import UserError

RATE = 8000
LEFT = 0.5 * torch.sin(torch.arange(RATE) * 2 * torch.pi * 200 / RATE)
"""One second of 200 Hz at half of full scale; the right channel is silent."""


def encode(path, codec, sample_format):
    """The tone through FFmpeg's own conversion."""
    stereo = torch.stack([LEFT, torch.zeros(RATE)]).numpy().astype(np.float32)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, layout="stereo", format=sample_format)
        frame = av.AudioFrame.from_ndarray(stereo, "fltp", "stereo")
        frame.sample_rate = RATE
        converter = av.AudioResampler(sample_format, "stereo", RATE)
        for part in [*converter.resample(frame), *converter.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("name", "codec", "sample_format", "tolerance"),
    [
        ("a.wav", "pcm_u8", "u8", 1 / 2**7),
        ("a.wav", "pcm_s16le", "s16", 1 / 2**15),
        ("a.wav", "pcm_s32le", "s32", 1e-6),
        ("a.wav", "pcm_f32le", "flt", 1e-6),
        ("a.m4a", "alac", "s16p", 1 / 2**15),
    ],
)
def test_every_sample_format_comes_in_at_full_scale(tmp_path, name, codec, sample_format, tolerance):
    encode(tmp_path / name, codec, sample_format)
    waveform, rate = sound.read(tmp_path / name)
    assert rate == RATE and waveform.shape[0] == 2
    assert (waveform[0, :RATE] - LEFT).abs().max() <= tolerance
    assert waveform[1].abs().max() <= tolerance


def test_a_flac_file_is_replaced_whole(tmp_path):
    file = tmp_path / "a.flac"
    sound.write_flac(file, LEFT[None] * 4, RATE)  # too loud: clamped
    waveform, rate = sound.read(file)
    assert rate == RATE and torch.allclose(waveform[0], (LEFT * 4).clamp(-1, 1), atol=1 / 2**14)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("shape", [(0, 10), (3, 10), (1, 0)])
def test_other_numbers_of_channels_and_silence_of_no_length_are_refused(tmp_path, shape):
    with pytest.raises(UserError, match="one or two channels"):
        sound.write_flac(tmp_path / "a.flac", torch.zeros(shape), RATE)


@pytest.mark.parametrize("content", [b"", b"RIFF\x00\x00\x00\x00WAVE", bytes(range(256)) * 20])
def test_what_is_no_sound_is_a_sentence(tmp_path, content):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.wav cannot be read"):
        sound.read(tmp_path / "a.wav")
