"""What a scene is, as numbers: the eight attributes that StyleFlow edits, and the light.

Source of the eight: Abdal et al. 2021, "StyleFlow", section 4.
"""

from __future__ import annotations

import math

from .accessories import BEARD_DEPTH
from .hair import STYLES
from .scene import NONE, Scene

UNITS = {
    "gender": "-1 masculine presentation, 1 feminine",
    "glasses": "0 or 1",
    "yaw": "degrees, positive to the picture's right",
    "pitch": "degrees, positive down",
    "baldness": "0 full hair, 1 none",
    "beard": "0 shaved, 1 full",
    "age": "0 young, 1 old",
    "smile": "0 none, 1 full",
    "light_azimuth": "degrees, 0 from the viewer, positive from the picture's right",
    "light_elevation": "degrees, positive from above",
    "light_strength": "key light, 1 shows the albedo",
    "light_ambient": "even light, 1 shows the albedo",
}
"""Every attribute and its unit."""
STUBBLE = 0.25
"""How much of a beard stubble is."""


def attributes(scene: Scene) -> dict[str, float]:
    """Name -> number, in the order and the units of `UNITS`."""
    style = STYLES[scene.hair.style]
    smile = 0.5 * sum(scene.expression.get(f"mouthSmile_{side}", 0.0) for side in "LR")
    beard = BEARD_DEPTH.get(scene.beard, 0.0) / max(BEARD_DEPTH.values())
    values = (
        scene.presentation,
        float(scene.glasses.shape != NONE),
        math.degrees(scene.view.yaw),
        math.degrees(scene.view.pitch),
        1.0 if style is None else style.baldness,
        STUBBLE if scene.beard == "stubble" else beard,
        scene.age,
        smile,
        math.degrees(scene.lamp.azimuth),
        math.degrees(scene.lamp.elevation),
        scene.lamp.strength,
        scene.lamp.ambient,
    )
    return dict(zip(UNITS, values, strict=True))
