"""The nodes of the toon world: portraits and talking clips of which everything is known."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import torch

from ..core.errors import UserError
from ..core.methods.latents import SEEDS
from ..core.toon.speech import LONGEST_TEXT, SHORTEST, babble, spoken
from ..core.toon.world import Scene, ToonPicture, ToonWorld, joined_params, scene
from ..core.toon.world.accessories import BEARDS, GLASSES, HATS
from ..core.toon.world.hair import STYLES
from ..core.toon.world.scene import NONE, Lamp, View
from ..core.toon.world.talking import FASTEST, FPS, SLOWEST, TalkingClip, talking, talking_along
from ..core.types import Landmarks
from . import host
from .host import io
from .inputs import degrees_input, seed_input

FROM_SEED, SLIDERS = "from seed", "sliders"
SOURCES = (FROM_SEED, SLIDERS)
FRAMINGS = PORTRAIT, FIGURE = ("portrait", "figure")
MASK_OUTPUTS = {
    "skin": "Skin of face, ears, neck and hands, with brows, lashes and beard; 0…1, soft at edges, as all masks here.",
    "hair": "Hair of the head.",
    "face": "The face as models fit it: facial skin, eyes and mouth, without ears and neck.",
    "eyes": "What shows of the eyeballs.",
    "mouth": "Lips, teeth, tongue and the inside.",
    "body": "Clothes, collar and scarf; 0…1.",
    "background": "Everything behind the person.",
}
LARGEST_SIZE = 2048
"""Pixels; four samples each take about 3 GB there."""
MOST_PORTRAITS = 4096
LONGEST_CLIP = 60.0
"""Seconds; 1,500 frames of 256 pixels take about 1.2 GB."""
LAMP = Lamp()
"""The light of the sliders' defaults."""


class ToonPortrait(io.ComfyNode):
    """Portraits of a procedural world, with exact landmarks, parameters and masks."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigToonPortrait",
            display_name="Toon Portrait",
            category="Portrait Rig/face",
            description="Draws people of the embedded toon world from a seed. Everything about them is known exactly: "
            "landmarks, face parameters, masks and attributes, so that any workflow can start from a known answer.",
            inputs=[
                seed_input("Who it is, and everything else that is left to the seed."),
                io.Int.Input(
                    "count", default=1, min=1, max=MOST_PORTRAITS,
                    tooltip="Portraits B; about ten a second at 128 pixels on one core. The second has the next seed.",
                ),
                io.Int.Input(
                    "size", default=512, min=16, max=LARGEST_SIZE,
                    tooltip="Height of the pictures in pixels; time grows with its square.",
                ),
                io.Combo.Input(
                    "framing", options=list(FRAMINGS), default=FRAMINGS[0],
                    tooltip="portrait: FFHQ's square crop. figure: head to shoes, half as wide as high.",
                ),
                io.Boolean.Input(
                    "same_person", default=False,
                    tooltip="On: all portraits show the person of the seed, each in another pose, mood and light.",
                ),
                io.Combo.Input(
                    "pose", options=list(SOURCES), default=FROM_SEED,
                    tooltip="Whether the head turns as the seed says or as yaw, pitch and roll say.",
                ),
                degrees_input(
                    "yaw", 90.0, "Degrees, positive turns the face to the picture's right; with pose 'sliders'."
                ),
                degrees_input("pitch", 45.0, "Degrees, positive looks down; with pose 'sliders'."),
                degrees_input("roll", 45.0, "Degrees, positive tilts the crown to the left; with pose 'sliders'."),
                io.Combo.Input(
                    "mood", options=list(SOURCES), default=FROM_SEED,
                    tooltip="Whether the expression is the seed's or that of smile and jaw_open, eyes ahead.",
                ),
                io.Float.Input(
                    "smile", default=0.5, min=0.0, max=1.0, step=0.05,
                    tooltip="Strength 0…1 of both corners of the mouth; with mood 'sliders'.",
                ),
                io.Float.Input(
                    "jaw_open", default=0.0, min=0.0, max=1.0, step=0.05,
                    tooltip="Strength 0…1, 1 opens the mouth all the way; with mood 'sliders'.",
                ),
                _choice("hair", list(STYLES), "The style; its colour is always the seed's."),
                _choice("glasses", [NONE, *GLASSES], "Shape of the frame; 'sun' hides the eyes."),
                _choice("hat", [NONE, *HATS], "Kind of hat; made for flat hair, tall hair pokes through."),
                _choice("beard", [NONE, *BEARDS], "Kind of beard; it moves with every expression."),
                io.Combo.Input(
                    "light", options=list(SOURCES), default=FROM_SEED,
                    tooltip="Whether the light comes from where the seed says or from the two angles below.",
                ),
                degrees_input(
                    "light_azimuth", 180.0, "Degrees, 0 from the viewer, positive from the picture's right; with light "
                    "'sliders'.", round(math.degrees(LAMP.azimuth)),
                ),
                degrees_input(
                    "light_elevation", 90.0, "Degrees, positive from above; with light 'sliders'.",
                    round(math.degrees(LAMP.elevation)),
                ),
                io.Boolean.Input(
                    "plain", default=False,
                    tooltip="On: albedo times light and nothing else, exactly as Render Face draws heads, so that a "
                    "perfect fit has no error left. Off: with shadows, highlights and strands.",
                    extra_dict=host.ADVANCED,
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="B pictures, portraits or figures."),
                host.Landmarks.Output(
                    display_name="landmarks", tooltip="68 points a portrait, exact, in pixels, hidden ones included."
                ),
                host.FaceParams.Output(
                    display_name="face_params",
                    tooltip="B frames of the toon head; Render Face puts the same heads in the same places.",
                ),
                *(io.Mask.Output(display_name=name, tooltip=text) for name, text in MASK_OUTPUTS.items()),
                io.String.Output(
                    display_name="attributes",
                    tooltip="JSON, a table a portrait: gender -1…1, glasses, yaw and pitch in degrees, baldness, "
                    "beard, age and smile 0…1, the light's angles in degrees and its strengths.",
                ),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, seed: int, count: int, size: int, framing: str, same_person: bool, plain: bool, **options
    ) -> io.NodeOutput:
        with host.loading():
            world = ToonWorld.load()
        draw = world.render_figure if framing == FIGURE else world.render
        drawn: list[ToonPicture] = []
        with host.working(count) as watch:
            for number in range(count):
                person = scene(seed) if same_person else scene(seed + number)
                if same_person and number:
                    person = person.varied(seed + number)
                drawn.append(draw(_adjusted(person, **options), size, plain=plain))
                watch(number + 1, preview=lambda: drawn[-1].picture[None])
        points = torch.stack([each.landmarks68 for each in drawn])
        masks = [host.mask_out(torch.stack([each.masks[name] for each in drawn])) for name in MASK_OUTPUTS]
        rounded = [{name: round(value, 4) for name, value in each.attributes.items()} for each in drawn]
        return io.NodeOutput(
            host.picture_out(torch.stack([each.picture for each in drawn])),
            Landmarks(points, torch.ones(count), tuple(drawn[0].picture.shape[-2:])),
            joined_params([each.params for each in drawn]),
            *masks,
            json.dumps(rounded, indent=1),
        )


def _choice(name: str, options: list[str], tooltip: str) -> io.Combo.Input:
    return io.Combo.Input(name, options=[FROM_SEED, *options], default=FROM_SEED, tooltip=tooltip)


def _adjusted(
    person: Scene, pose: str, yaw: float, pitch: float, roll: float, mood: str, smile: float, jaw_open: float,
    hair: str, glasses: str, hat: str, beard: str, light: str, light_azimuth: float, light_elevation: float,
) -> Scene:  # fmt: skip
    """The scene with what the node's sockets decide."""
    if pose == SLIDERS:
        pitch, yaw, roll = (math.radians(angle) for angle in (pitch, yaw, roll))
        person = replace(person, view=View(pitch, yaw, roll))
    if mood == SLIDERS:
        strengths = {"mouthSmile_L": smile, "mouthSmile_R": smile, "jawOpen": jaw_open}
        person = replace(person, expression=strengths, gaze=(0.0, 0.0))
    if light == SLIDERS:
        azimuth, elevation = math.radians(light_azimuth), math.radians(light_elevation)
        person = replace(person, lamp=replace(LAMP, azimuth=azimuth, elevation=elevation))
    if hair != FROM_SEED:
        person = replace(person, hair=replace(person.hair, style=hair))
    if glasses != FROM_SEED:
        person = replace(person, glasses=replace(person.glasses, shape=glasses))
    if hat != FROM_SEED:
        person = replace(person, hat=replace(person.hat, kind=hat))
    return person if beard == FROM_SEED else replace(person, beard=beard)


class ToonTalkingClip(io.ComfyNode):
    """Clips of the procedural world's people talking, with exact parameters of every frame."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigToonTalkingClip",
            display_name="Toon Talking Clip",
            category="Portrait Rig/face",
            description="Lets a person of the embedded toon world talk: babble from a number, a text that you write, "
            "or any sound that you connect. The voice is made here as well, and every frame's parameters are exact.",
            inputs=[
                seed_input("Who it is, voice included; the same people as Toon Portrait's."),
                io.Int.Input(
                    "take", default=0, min=0, max=SEEDS - 1,
                    tooltip="What is babbled, and how head, eyes and brows move. One person has any number of takes.",
                ),
                io.Float.Input(
                    "seconds", default=3.0, min=SHORTEST, max=LONGEST_CLIP, step=0.1,
                    tooltip="Length of babble, and where connected audio is cut. A text takes the time that it takes.",
                ),
                io.Float.Input(
                    "fps", default=FPS, min=SLOWEST, max=FASTEST, step=1.0,
                    tooltip="Frames a second; the sound stays the same. Connect the output fps to Create Video.",
                ),
                io.Int.Input(
                    "size", default=256, min=16, max=LARGEST_SIZE, step=2,
                    tooltip="Side of the square frames in pixels, even for MP4 files. On one core some ten frames a "
                    "second at 128, four at 256.",
                ),
                io.String.Input(
                    "text", default="", multiline=True,
                    tooltip=f"What is said, at most {LONGEST_TEXT} characters; read by rules of English. Sounds in "
                    "brackets are exact: [HH AH0 L OW1]. Empty: babble.",
                ),
                io.Boolean.Input(
                    "plain", default=False,
                    tooltip="On: albedo times light and nothing else, exactly as Render Face draws heads.",
                    extra_dict=host.ADVANCED,
                ),
                io.Audio.Input(
                    "audio", optional=True,
                    tooltip="A sound to move the mouth to, by its loudness and colour; it takes the place of text and "
                    "babble.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="B frames."),
                io.Audio.Output(
                    display_name="audio",
                    tooltip="The clip's sound, one channel, as long as the frames: 16 kHz, or the connected audio's "
                    "rate.",
                ),
                host.FaceParams.Output(display_name="face_params", tooltip="B frames of the toon head, exact."),
                host.Landmarks.Output(display_name="landmarks", tooltip="68 points a frame, exact, in pixels."),
                io.String.Output(
                    display_name="phonemes",
                    tooltip="JSON: ARPABET's sounds with start and end in seconds and stress 0…1. Empty for connected "
                    "audio, whose sounds nobody knows.",
                ),
                io.Float.Output(display_name="fps", tooltip="Frames a second, for Create Video."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, seed: int, take: int, seconds: float, fps: float, size: int, text: str, plain: bool, audio: object = None
    ) -> io.NodeOutput:
        with host.loading():
            world = ToonWorld.load()
        clip = _clip(scene(seed), take, seconds, fps, text, audio)
        pictures, points = [], []  # masks and depths of a whole clip would fill the memory
        with host.working(len(clip)) as watch:
            for moment in clip.scenes:
                drawn = world.render(moment, size, plain=plain)
                pictures.append(drawn.picture)
                points.append(drawn.landmarks68)
                watch(len(pictures), preview=lambda: pictures[-1])
        phones = [
            {"phoneme": phone.phoneme, "start": round(phone.start, 4), "end": round(phone.end, 4),
             "stress": round(phone.stress, 3)}
            for phone in clip.phones
        ]  # fmt: skip
        return io.NodeOutput(
            host.picture_out(torch.stack(pictures)),
            host.audio_out(clip.waveform, clip.rate),
            clip.params(world, size),
            Landmarks(torch.stack(points), torch.ones(len(clip)), (size, size)),
            json.dumps(phones),
            fps,
        )


def _clip(person: Scene, take: int, seconds: float, fps: float, text: str, audio: object) -> TalkingClip:
    """What is connected is spoken, else what is written, else babble."""
    if audio is not None:
        waveform, rate = host.audio_in(audio)
        return talking_along(person, waveform, rate, take, fps, seconds)
    said = spoken(text) if text.strip() else babble(take, seconds)
    if said.seconds > LONGEST_CLIP:
        raise UserError(
            f"The text takes {said.seconds:.0f} seconds to say; a clip is at most {LONGEST_CLIP:.0f} seconds long. "
            "Make several clips of it."
        )
    return talking(person, said, take, fps)


NODES = [ToonPortrait, ToonTalkingClip]
