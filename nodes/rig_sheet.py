"""The node that shows all that a rig can do with a face: Rig Sheet."""

from __future__ import annotations

import torch

from ..core.face import edit as face_edit
from ..core.face.model import FaceModel
from ..core.methods import rig_sheet
from ..core.methods.generate import generate
from ..core.methods.rig import Rig
from ..core.methods.sheet import sheet
from ..core.networks.generator import Generator
from ..core.types import Latent
from . import host
from .face_sliders import lamp_inputs
from .host import io
from .inputs import degrees_input
from .rig import LIMIT_DEGREES, passes_input

POSES, LIGHTS = "yaw and expression", "light"
MOST_CELLS = 15
"""Along a side of a sheet."""


class RigSheet(io.ComfyNode):
    """All that a rig can do with a face."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigRigSheet",
            display_name="Rig Sheet",
            category="Portrait Rig/rig",
            description="Draws one face in a grid of poses and expressions or of lights, to see at a glance what a rig "
            "changes and what it keeps.",
            inputs=[
                host.StyleGan.Input("stylegan", tooltip="The generator of rig and latent; it draws every cell."),
                host.RigNet.Input("rig", tooltip="From Load Rig; of the same generator."),
                host.Latent.Input("latent", tooltip="B latents, each gets its own sheet."),
                io.Combo.Input(
                    "grid",
                    options=[POSES, LIGHTS],
                    default=POSES,
                    tooltip=f"{POSES}: heads turn from left to right, the mood grows from top to bottom. {LIGHTS}: it "
                    "goes from left to right and from the first elevation to the last.",
                ),
                io.Int.Input("columns", default=5, min=1, max=MOST_CELLS, tooltip="Pictures side by side."),
                io.Int.Input("rows", default=3, min=1, max=MOST_CELLS, tooltip="Pictures above each other."),
                degrees_input(
                    "yaw",
                    LIMIT_DEGREES,
                    "Degrees, absolute: the head turns from −yaw to yaw; its own pitch and roll stay.",
                    25.0,
                    low=0.0,
                ),
                io.Combo.Input(
                    "mood", options=list(face_edit.MOODS), default=next(iter(face_edit.MOODS)),
                    tooltip="What changes from row to row, added to the face's own expression.",
                ),
                io.Float.Input(
                    "mood_first", default=0.0, min=-1.0, max=1.0, step=0.05, tooltip="Added in the top row, −1…1."
                ),
                io.Float.Input(
                    "mood_last", default=1.0, min=-1.0, max=1.0, step=0.05, tooltip="Added in the bottom row, −1…1."
                ),
                degrees_input(
                    "light_azimuth",
                    180.0,
                    "Degrees: the light goes from so far on the picture's left to so far on its right.",
                    60.0,
                    low=0.0,
                ),
                degrees_input(
                    "elevation_first", 90.0, "Degrees: from so far above the light comes in the top row.", 50.0
                ),
                degrees_input(
                    "elevation_last",
                    90.0,
                    "Degrees: from so far above it comes in the bottom row; negative is from below.",
                    10.0,
                ),
                *lamp_inputs(),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    tooltip="Of all changes: 1 goes all the way to what is asked for, more exaggerates.",
                ),
                io.Int.Input(
                    "height",
                    default=128,
                    min=16,
                    max=1024,
                    tooltip="Of every cell in pixels, whatever the generator's size.",
                ),
                passes_input(),
                host.FaceModel.Input(
                    "face_model",
                    optional=True,
                    tooltip=f"The rig's face model, which knows the moods; {POSES} needs it, {LIGHTS} does not.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="B sheets, a caption above each row."),
                host.Latent.Output(
                    display_name="latent", tooltip="The latents of all cells, row by row, for Generate Image."
                ),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls,
        stylegan: Generator,
        rig: Rig,
        latent: Latent,
        grid: str,
        columns: int,
        rows: int,
        yaw: float,
        mood: str,
        mood_first: float,
        mood_last: float,
        light_azimuth: float,
        elevation_first: float,
        elevation_last: float,
        light_strength: float,
        light_ambient: float,
        strength: float,
        height: int,
        passes: int,
        face_model: FaceModel | None = None,
    ) -> io.NodeOutput:
        latent.codes_for(stylegan.id)
        if grid == POSES:
            wishes = rig_sheet.pose_rows(columns, rows, yaw, mood, mood_first, mood_last)
        else:
            elevations = (elevation_first, elevation_last)
            wishes = rig_sheet.light_rows(columns, rows, light_azimuth, elevations, light_strength, light_ambient)
        with host.memory(stylegan.network, *rig.modules):
            changed = rig_sheet.edited(rig, latent, wishes, face_model, strength, passes)
            with host.working(len(changed)) as watch:
                pictures = generate(stylegan, changed, watch=watch)
        people = pictures[:, :3].expand(-1, 3, -1, -1).unflatten(0, (len(latent), rows, columns))
        captions = [row.caption for row in wishes]
        sheets = [sheet(list(zip(captions, person, strict=True)), height) for person in people]
        return io.NodeOutput(host.picture_out(torch.stack(sheets)), host.latent_out(changed))


NODES = [RigSheet]
