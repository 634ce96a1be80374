"""Sliders that turn a head, change its expression and move its light, wherever a node does that."""

from __future__ import annotations

from ..core.face import edit
from .host import io
from .inputs import degrees_input

KEEP, REPLACE, ADD = "keep", "replace", "add"
AXES = {
    "yaw": "positive turns the face to the picture's right.",
    "pitch": "positive looks down.",
    "roll": "positive tilts the head towards the picture's left.",
}
"""The head's angles in the order of the widgets, and what their signs mean."""
MOOD_TOOLTIPS = {
    "smile": "Added: 1 is the full smile, −1 the full frown.",
    "jaw_open": "Added: 1 opens the mouth fully; negative closes one that is open.",
    "blink": "Added: 1 closes both eyes, −1 opens them wide.",
    "brows": "Added: 1 raises the brows fully, −1 lowers them.",
    "pucker": "Added: 1 purses the lips fully, −1 stretches them.",
}
TEXT_RULES = "name=value sets, name+=value adds; commas between."
"""What texts of named values may say."""


def angle_inputs(limit: float, start: str) -> list[io.Input]:
    """Yaw, pitch and roll in degrees. start: how their tooltips begin."""
    return [degrees_input(name, limit, f"{start} {meaning}") for name, meaning in AXES.items()]


def mood_inputs() -> list[io.Input]:
    """A slider for each of `edit.MOODS`."""
    return [
        io.Float.Input(
            name,
            default=0.0,
            min=-1.0,
            max=1.0,
            step=0.05,
            display_mode=io.NumberDisplay.slider,
            tooltip=MOOD_TOOLTIPS[name],
        )
        for name in edit.MOODS
    ]


def expressions_input() -> io.Input:
    return io.String.Input(
        "expressions",
        default="",
        multiline=True,
        tooltip=f"Single expressions by the model's names, 0…1: jawOpen=0.5, mouthSmile_L=1. {TEXT_RULES} "
        "Without _L or _R both sides are meant. Load Face Model lists the names.",
    )


def light_inputs() -> list[io.Input]:
    """What becomes of the light, and the light that `edit.lit` makes."""
    return [
        io.Combo.Input(
            "light",
            options=[KEEP, REPLACE, ADD],
            default=KEEP,
            tooltip="keep: the light as it is. replace: only the light below. add: the light below on top.",
        ),
        degrees_input(
            "light_azimuth", 180.0, "Degrees: 0 comes from the viewer, positive from the picture's right.", 45.0
        ),
        degrees_input("light_elevation", 90.0, "Degrees: 0 is level, positive from above.", 20.0),
        *lamp_inputs(),
    ]


def lamp_inputs() -> list[io.Input]:
    """How bright the light is, from its side and from all sides; the defaults are about a toon portrait's."""
    return [
        io.Float.Input(
            "light_strength",
            default=0.55,
            min=0.0,
            max=4.0,
            step=0.05,
            tooltip="1 shows the skin's own colour where this light falls straight on.",
        ),
        io.Float.Input(
            "light_ambient",
            default=0.55,
            min=0.0,
            max=4.0,
            step=0.05,
            tooltip="Light from everywhere: 1 shows the skin's own colour on all sides.",
        ),
    ]
