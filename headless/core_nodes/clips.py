"""Sound and clips in and out; ids and inputs as in ComfyUI 0.8.0, `comfy_extras` (nodes_audio.py, nodes_video.py)."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from torch import Tensor

from ...core import sound
from ...core.errors import UserError
from ...core.files import replacing
from ...nodes import folders
from ...nodes.host import InputImpl, Types, io
from .pictures import file_fingerprint, file_is_there

VIDEO_EXTENSIONS = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"}
SOUND_EXTENSIONS = {".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a"} | VIDEO_EXTENSIONS


class LoadAudio(io.ComfyNode):
    """The sound of a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadAudio",
            display_name="Load Audio",
            category="audio",
            inputs=[io.Combo.Input("audio", options=folders.input_names(SOUND_EXTENSIONS), upload=io.UploadType.audio)],
            outputs=[io.Audio.Output()],
        )

    @classmethod
    def validate_inputs(cls, audio: str) -> bool | str:
        return file_is_there(audio)

    @classmethod
    def fingerprint_inputs(cls, audio: str) -> tuple:
        return file_fingerprint(audio)

    @classmethod
    def execute(cls, audio: str) -> io.NodeOutput:
        found = sound.read(audio)
        if found is None:
            raise UserError(f"The file {audio} has no sound.")
        return io.NodeOutput({"waveform": found[0][None], "sample_rate": found[1]})


class SaveAudio(io.ComfyNode):
    """Sound as FLAC files."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaveAudio",
            display_name="Save Audio (FLAC)",
            category="audio",
            inputs=[io.Audio.Input("audio"), io.String.Input("filename_prefix", default="audio/ComfyUI")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, audio: dict[str, Any], filename_prefix: str) -> io.NodeOutput:
        results = []
        for waveform in audio["waveform"]:
            file = folders.output_path(filename_prefix, ".flac")
            sound.write_flac(file.path, waveform, int(audio["sample_rate"]))
            results.append(file.result)
        return io.NodeOutput(ui={"audio": results})


class LoadVideo(io.ComfyNode):
    """A clip, decoded where its frames are needed."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadVideo",
            display_name="Load Video",
            category="image/video",
            inputs=[io.Combo.Input("file", options=folders.input_names(VIDEO_EXTENSIONS), upload=io.UploadType.video)],
            outputs=[io.Video.Output()],
        )

    @classmethod
    def validate_inputs(cls, file: str) -> bool | str:
        return file_is_there(file)

    @classmethod
    def fingerprint_inputs(cls, file: str) -> tuple:
        return file_fingerprint(file)

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        return io.NodeOutput(InputImpl.VideoFromFile(file))


class GetVideoComponents(io.ComfyNode):
    """A clip's frames, sound and frames a second."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GetVideoComponents",
            display_name="Get Video Components",
            category="image/video",
            inputs=[io.Video.Input("video")],
            outputs=[
                io.Image.Output(display_name="images"),
                io.Audio.Output(display_name="audio"),
                io.Float.Output(display_name="fps"),
            ],
        )

    @classmethod
    def execute(cls, video: Any) -> io.NodeOutput:
        components = video.get_components()
        return io.NodeOutput(components.images, components.audio, float(components.frame_rate))


class CreateVideo(io.ComfyNode):
    """Frames and sound as a clip."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CreateVideo",
            display_name="Create Video",
            category="image/video",
            inputs=[
                io.Image.Input("images"),
                io.Float.Input("fps", default=30.0, min=1.0, max=120.0, step=1.0),
                io.Audio.Input("audio", optional=True),
            ],
            outputs=[io.Video.Output()],
        )

    @classmethod
    def execute(cls, images: Tensor, fps: float, audio: dict[str, Any] | None = None) -> io.NodeOutput:
        components = Types.VideoComponents(images=images, frame_rate=Fraction(fps), audio=audio)
        return io.NodeOutput(InputImpl.VideoFromComponents(components))


class SaveVideo(io.ComfyNode):
    """A clip as an MP4 file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaveVideo",
            display_name="Save Video",
            category="image/video",
            inputs=[
                io.Video.Input("video"),
                io.String.Input("filename_prefix", default="video/ComfyUI"),
                io.Combo.Input("format", options=Types.VideoContainer.as_input(), default="auto"),
                io.Combo.Input("codec", options=Types.VideoCodec.as_input(), default="auto"),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, video: Any, filename_prefix: str, format: str, codec: str) -> io.NodeOutput:
        width, height = video.get_dimensions()
        if width % 2 or height % 2 or not width * height:
            raise UserError(
                f"H.264 stores clips whose sides are even numbers of pixels; these frames are {width}x{height}. "
                "Crop or resize them first."
            )
        file = folders.output_path(filename_prefix, ".mp4", (height, width))
        with replacing(file.path) as temporary:
            video.save_to(str(temporary), Types.VideoContainer(format), Types.VideoCodec(codec))
        return io.NodeOutput(ui={"images": [file.result], "animated": (True,)})


NODES = [LoadAudio, SaveAudio, LoadVideo, GetVideoComponents, CreateVideo, SaveVideo]
