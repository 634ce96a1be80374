"""What a fit can be told, and what is assumed where nothing is said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...errors import UserError
from ...face.camera import DEFAULT_FIELD_OF_VIEW

Texture = Literal["photograph", "model"]
TEXTURES: tuple[Texture, ...] = ("photograph", "model")
"""Where a result's colours come from: unwrapped from the photograph, or the model's own."""
MOST_PIXELS = 4096
"""Along a side; more would fill the memory of most machines."""


@dataclass(frozen=True)
class FitSettings:
    """One fit, start to end.

    field_of_view: degrees across the picture's height, which one picture cannot tell. perspective: False projects
    without perspective. landmark_steps, pixel_steps: at most so many in either stage; 0 pixel steps stop after the
    landmarks. landmark_noise: how far off a landmark usually is, in distances between the outer eye corners; smaller
    follows the landmarks more closely and is less plausible. share_identity: all frames show one person. smoothing:
    frames; motion of a shorter period than this is mostly taken for noise and removed, 0 keeps all. pixel_size: side of
    the square around the face in which pixels are compared. chunk: frames in work at once in the pixel stage; memory
    grows with it, nothing else. texture: one of TEXTURES. texture_size: side of an unwrapped texture.
    """

    field_of_view: float = DEFAULT_FIELD_OF_VIEW
    perspective: bool = True
    landmark_steps: int = 40
    pixel_steps: int = 60
    landmark_noise: float = 0.02
    share_identity: bool = False
    smoothing: float = 0.0
    pixel_size: int = 256
    chunk: int = 4
    texture: Texture = "photograph"
    texture_size: int = 512

    def __post_init__(self) -> None:
        if self.texture not in TEXTURES:
            raise UserError(f"A fit's texture is one of {', '.join(TEXTURES)}; got '{self.texture}'.")
        for name, low in (("landmark_steps", 1), ("pixel_steps", 0), ("smoothing", 0), ("chunk", 1)):
            if getattr(self, name) < low:
                raise UserError(f"A fit's {name.replace('_', ' ')} must be at least {low}; got {getattr(self, name)}.")
        for name, low in (("pixel_size", 32), ("texture_size", 16)):
            if not low <= getattr(self, name) <= MOST_PIXELS:
                raise UserError(
                    f"A fit's {name.replace('_', ' ')} must lie within {low} and {MOST_PIXELS}; "
                    f"got {getattr(self, name)}."
                )
        if not self.landmark_noise > 0:
            raise UserError(f"A fit's landmark noise must be above 0; got {self.landmark_noise:g}.")
