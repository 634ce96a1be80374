"""The node that lays pictures out for people to compare: Picture Sheet."""

from __future__ import annotations

from torch import Tensor

from ..core.methods.sheet import sheet
from . import host
from .host import io

ROWS = 8
"""Inputs for rows; what needs more is no longer looked at with pleasure."""
SMALLEST, LARGEST = 16, 1024
"""Of a picture's height, pixels."""


class PictureSheet(io.ComfyNode):
    """Rows of pictures with captions, as one picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigPictureSheet",
            display_name="Picture Sheet",
            category="Portrait Rig/picture",
            description="Lays up to eight batches of pictures out on one, a batch a row with a caption above it, for "
            "comparing what several nodes made of the same people.",
            inputs=[
                io.String.Input(
                    "captions",
                    default="",
                    multiline=True,
                    tooltip="A line for each row_1, row_2, …; an empty or missing line leaves that row without words.",
                ),
                io.Int.Input(
                    "height",
                    default=128,
                    min=SMALLEST,
                    max=LARGEST,
                    tooltip="Of every picture on the sheet, in pixels; they are scaled and keep their proportions.",
                ),
                *(
                    io.Image.Input(
                        f"row_{number}", optional=True, tooltip=f"B pictures of any size for row {number} of the sheet."
                    )
                    for number in range(1, ROWS + 1)
                ),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="One picture, as wide as the longest row.")],
        )

    @classmethod
    def execute(cls, captions: str, height: int, **rows: Tensor | None) -> io.NodeOutput:
        lines = captions.splitlines()
        found = []
        for number in range(1, ROWS + 1):
            pictures = rows.get(f"row_{number}")
            if pictures is not None:
                caption = lines[number - 1].strip() if number <= len(lines) else ""
                found.append((caption, host.picture_in(pictures, f"row_{number}")))
        return io.NodeOutput(host.picture_out(sheet(found, height)[None]))


NODES = [PictureSheet]
