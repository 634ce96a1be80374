"""A scene: everything that a picture of the toon world shows, as plain values with names.

A name that the world does not know is refused at once. `sampling.scene` draws scenes from seeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ...errors import UserError
from . import palette
from .accessories import BEARDS, GLASSES, HATS
from .backdrop import BACKDROPS
from .clothes import COLLARS, PATTERNS
from .figure import ARMS, LEGS, OUTFITS
from .hair import STYLES
from .palette import Colour

NONE = "none"
"""Where a person wears none of a kind."""
BALD = "bald"


@dataclass(frozen=True)
class Hair:
    """style: a name of `hair.STYLES`. volume: times the style's thickness. mirrored: parted on the other side."""

    style: str = "short"
    colour: Colour = palette.HAIR["brown"]
    volume: float = 1.0
    mirrored: bool = False

    def __post_init__(self) -> None:
        _known("hair style", self.style, STYLES)


@dataclass(frozen=True)
class Glasses:
    """shape: a name of `accessories.GLASSES`, or 'none'."""

    shape: str = NONE
    colour: Colour = palette.FRAMES[0]

    def __post_init__(self) -> None:
        _known("shape of glasses", self.shape, (NONE, *GLASSES))


@dataclass(frozen=True)
class Hat:
    """kind: a name of `accessories.HATS`, or 'none'. trim: the colour of its brim, fold or knot."""

    kind: str = NONE
    colour: Colour = palette.CLOTH[0]
    trim: Colour = palette.CLOTH[1]

    def __post_init__(self) -> None:
        _known("hat", self.kind, (NONE, *HATS))


@dataclass(frozen=True)
class Clothes:
    """collar: a name of `clothes.COLLARS`. pattern: one of `clothes.PATTERNS`, of the two colours. trim: the collar."""

    collar: str = "crew"
    pattern: str = "plain"
    colour: Colour = palette.CLOTH[0]
    second: Colour = palette.CLOTH[1]
    trim: Colour = palette.CLOTH[0]

    def __post_init__(self) -> None:
        _known("collar", self.collar, COLLARS)
        _known("pattern", self.pattern, PATTERNS)


@dataclass(frozen=True)
class Backdrop:
    """kind: one of `backdrop.BACKDROPS`. inner, outer: its two colours. phase: 0…1, where its shapes lie."""

    kind: str = "glow"
    inner: Colour = palette.BACKDROPS[0][0]
    outer: Colour = palette.BACKDROPS[0][1]
    phase: float = 0.0

    def __post_init__(self) -> None:
        _known("backdrop", self.kind, BACKDROPS)


@dataclass(frozen=True)
class Lamp:
    """A key light, an even one, and a weak fill from the other side.

    azimuth, elevation: radians towards the key; 0 from the viewer, positive from the picture's right, from above.
    strength, ambient, fill: 1 shows the albedo where only this light falls, straight on. warmth: −1 cool … 1 warm.
    """

    azimuth: float = -0.6
    elevation: float = 0.55
    strength: float = 0.58
    ambient: float = 0.54
    fill: float = 0.12
    warmth: float = 0.2


@dataclass(frozen=True)
class View:
    """pitch, yaw, roll: radians, how the head is turned (`core.types`). shift_x, shift_y: head units, how far the face
    is off the framing of FFHQ. zoom: 1 is that framing, more is nearer.
    """

    pitch: float = 0.0
    yaw: float = 0.0
    roll: float = 0.0
    shift_x: float = 0.0
    shift_y: float = 0.0
    zoom: float = 1.0


@dataclass(frozen=True)
class Figure:
    """What only a full figure shows.

    outfit: a name of `figure.OUTFITS`. left_arm, right_arm: of `figure.ARMS`. legs: of `figure.LEGS`. bottom, shoes:
    colours.
    """

    outfit: str = "jeans"
    left_arm: str = "down"
    right_arm: str = "down"
    legs: str = "straight"
    bottom: Colour = palette.CLOTH[2]
    shoes: Colour = palette.CLOTH[6]

    def __post_init__(self) -> None:
        _known("outfit", self.outfit, OUTFITS)
        _known("pose of an arm", self.left_arm, ARMS)
        _known("pose of an arm", self.right_arm, ARMS)
        _known("pose of the legs", self.legs, LEGS)


@dataclass(frozen=True)
class Scene:
    """One person, as a portrait or as a full figure.

    presentation: −1 masculine … 1 feminine. age: 0 young … 1 old. identity, albedo: standard deviations, expression:
    strengths 0…1, all by the names of the toon head, 0 where a name is missing. gaze: radians (pitch, yaw) of both
    eyes in the head; positive looks down and to the picture's right. beard: a name of `accessories.BEARDS` or 'none'.
    """

    seed: int
    presentation: float
    age: float
    identity: Mapping[str, float]
    expression: Mapping[str, float]
    albedo: Mapping[str, float]
    gaze: tuple[float, float]
    hair: Hair
    glasses: Glasses
    hat: Hat
    beard: str
    clothes: Clothes
    figure: Figure
    backdrop: Backdrop
    lamp: Lamp
    view: View

    def __post_init__(self) -> None:
        _known("beard", self.beard, (NONE, *BEARDS))

    def varied(
        self, seed: int, *, view: bool = True, mood: bool = True, light: bool = True, outfit: bool = False,
        hair: bool = False,
    ) -> Scene:  # fmt: skip
        """The same person, as another moment of `seed` shows them.

        view: another pose. mood: another expression and gaze. light: another light. outfit: other clothes, hat, glasses
        and backdrop. hair: another style of the same colour.
        """
        from .sampling import another_moment  # which knows scenes

        return another_moment(self, seed, view=view, mood=mood, light=light, outfit=outfit, hair=hair)

    def bare(self) -> Scene:
        """The same head without hair, beard, hat and glasses, as a face model alone draws it."""
        return replace(
            self,
            hair=replace(self.hair, style=BALD),
            glasses=replace(self.glasses, shape=NONE),
            hat=replace(self.hat, kind=NONE),
            beard=NONE,
            albedo={**self.albedo, "shaved_hair": 0.0, "stubble": 0.0},
        )


def _known(what: str, name: str, names: Iterable[str]) -> None:
    """UserError where `name` is none of `names`."""
    if name not in names:
        raise UserError(f"The toon world has no {what} called '{name}'. It has: {', '.join(names)}.")
