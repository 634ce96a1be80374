"""Stands in for `comfy_api.latest`'s `Types`, `InputImpl` and `ui`: meshes, clips and what nodes show on themselves."""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...core import sound
from . import folder_paths
from .io import FolderType


class MESH:
    """vertices: [B, V, 3]. faces: [B, F, 3]. Further attributes (uvs, texture, …) are set afterwards."""

    def __init__(self, vertices: Tensor, faces: Tensor) -> None:
        self.vertices, self.faces = vertices, faces


class VideoContainer(str, Enum):
    """File formats of clips."""

    AUTO = "auto"
    MP4 = "mp4"

    @classmethod
    def as_input(cls) -> list[str]:
        return [member.value for member in cls]

    @classmethod
    def get_extension(cls, value: str) -> str:
        cls(value)
        return "mp4"


class VideoCodec(str, Enum):
    """Codecs of clips."""

    AUTO = "auto"
    H264 = "h264"

    @classmethod
    def as_input(cls) -> list[str]:
        return [member.value for member in cls]


@dataclass
class VideoComponents:
    """images: [B, H, W, 3] RGB 0…1. audio: {'waveform': [1, C, T], 'sample_rate': int} or None."""

    images: Tensor
    frame_rate: Fraction
    audio: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


class VideoFromFile:
    """A clip in a file; decoded when its components are asked for."""

    def __init__(self, file: str) -> None:
        self._file = file

    def get_dimensions(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        import av

        with av.open(self._file) as container:
            if not container.streams.video:
                raise ValueError(f"No video stream found in file '{self._file}'")
            stream = container.streams.video[0]
            return stream.width, stream.height

    def get_components(self) -> VideoComponents:
        """All frames and the first audio track."""
        import av

        with av.open(self._file) as container:
            if not container.streams.video:
                raise ValueError(f"No video stream found in file '{self._file}'")
            rate = Fraction(container.streams.video[0].average_rate or 1)
            frames = [torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
        images = torch.stack(frames).float().div_(255) if frames else torch.zeros(0, 0, 0, 3)
        return VideoComponents(images, rate, self._audio())

    def _audio(self) -> dict[str, Any] | None:
        found = sound.read(self._file)
        return None if found is None else {"waveform": found[0][None], "sample_rate": found[1]}

    def save_to(
        self,
        path: str,
        format: VideoContainer = VideoContainer.AUTO,
        codec: VideoCodec = VideoCodec.AUTO,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        VideoFromComponents(self.get_components()).save_to(path, format, codec, metadata)


class VideoFromComponents:
    """A clip in memory."""

    def __init__(self, components: VideoComponents) -> None:
        self._components = components

    def get_components(self) -> VideoComponents:
        return self._components

    def get_dimensions(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self._components.images.shape[2], self._components.images.shape[1]

    def save_to(
        self,
        path: str,
        format: VideoContainer = VideoContainer.AUTO,
        codec: VideoCodec = VideoCodec.AUTO,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Writes H.264 and, where there is sound, AAC into an MP4 file. The sides must be even numbers of pixels."""
        import av

        images, audio = self._components.images, self._components.audio
        rate = Fraction(round(self._components.frame_rate * 1000), 1000)
        with av.open(path, mode="w", format="mp4") as container:
            video = container.add_stream("h264", rate=rate)
            video.height, video.width = images.shape[1:3]
            video.pix_fmt = "yuv420p"
            track = None
            if audio is not None:
                sample_rate = int(audio["sample_rate"])
                waveform = audio["waveform"][0, :2, : math.ceil(sample_rate / rate * len(images))].float().cpu()
                track = container.add_stream("aac", rate=sample_rate)
            for image in images:
                pixels = (image[..., :3] * 255).round().clamp(0, 255).byte().cpu().numpy()
                container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(video.encode(None))
            if track is not None:
                samples = np.ascontiguousarray(waveform.T.numpy()).reshape(1, -1)
                frame = av.AudioFrame.from_ndarray(samples, "flt", layout="mono" if len(waveform) == 1 else "stereo")
                frame.sample_rate, frame.pts = sample_rate, 0
                container.mux(track.encode(frame))
                container.mux(track.encode(None))


class SavedResult(dict):
    """One written file, as the browser is told about it."""

    def __init__(self, filename: str, subfolder: str, type: FolderType) -> None:
        super().__init__(filename=filename, subfolder=subfolder, type=type.value)


class PreviewImage:
    """Pictures shown on the node: [B, H, W, 3] RGB 0…1, written as PNG to the temporary folder."""

    def __init__(self, image: Tensor, animated: bool = False, cls: type | None = None) -> None:
        folder = Path(folder_paths.get_temp_directory())
        folder.mkdir(parents=True, exist_ok=True)
        prefix = f"preview_{secrets.token_hex(3)}"
        self.animated, self.values = animated, []
        for index, picture in enumerate(image):
            pixels = (picture * 255).clamp(0, 255).byte().cpu().numpy()
            Image.fromarray(pixels).save(folder / f"{prefix}_{index:05d}_.png", compress_level=1)
            self.values.append(SavedResult(f"{prefix}_{index:05d}_.png", "", FolderType.temp))

    def as_dict(self) -> dict[str, Any]:
        return {"images": self.values, "animated": (self.animated,)}


class PreviewVideo:
    """Saved clips shown on the node."""

    def __init__(self, values: list[SavedResult]) -> None:
        self.values = values

    def as_dict(self) -> dict[str, Any]:
        return {"images": self.values, "animated": (True,)}


class PreviewText:
    """A text shown on the node."""

    def __init__(self, value: str) -> None:
        self.value = value

    def as_dict(self) -> dict[str, Any]:
        return {"text": (self.value,)}
