"""What the method of GANFit can be told: weights of its terms, its light, the spread of its random views.

Source: Gecer et al. 2019, "GANFIT", sections 3.3 and 4, for weights and rates; what they leave open was chosen here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal

from ...errors import UserError

Lighting = Literal["harmonics", "point"]
LIGHTINGS: tuple[Lighting, ...] = ("harmonics", "point")
"""Deep3DFaceRecon's spherical harmonics, or GANFit's point light plus an even one."""
SMALLEST_VIEW, LARGEST_VIEW = 32, 1024
"""Pixels; a random view feeds nothing but the recogniser, which looks at 112."""


@dataclass(frozen=True)
class Weights:
    """λ of each term; 0 leaves a term out. Defaults are the paper's.

    identity: 1 − cosine of the embeddings of picture and render. novel_view: the same for a render with random
    expression, camera and light. content: the recogniser's maps. pixels: difference of RGB on −1…1, summed over the
    colours. landmarks: sum of the distances of the 68 points, in pixels of a square of 512 around the face. shape: mean
    squared standard deviation of identity and expression. light: squared distance from the neutral light. texture: how
    unusual the generator finds a map; the paper has no such term, since a progressive GAN needs none.
    """

    identity: float = 2.0
    novel_view: float = 2.0
    content: float = 50.0
    pixels: float = 1.0
    landmarks: float = 0.001
    shape: float = 0.05
    light: float = 0.01
    texture: float = 0.01

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value >= 0:
                raise UserError(f"The weight of GANFit's term '{name}' must be 0 or more; got {value}.")


TERMS = tuple(term.name for term in fields(Weights))
NEED_NETWORK = ("identity", "novel_view", "content")
"""Terms that only a recogniser can tell."""


@dataclass(frozen=True)
class ViewSpread:
    """Standard deviations of the random views. The paper takes them from fits of 300W-3D, which are not public.

    expression: of its coefficients (the paper's number). yaw, pitch, roll, light: degrees, the latter of the direction
    to the light around straight ahead. ambient, strength: of the even and the directed light around 0.5 each.
    """

    expression: float = 0.5
    yaw: float = 22.5
    pitch: float = 10.0
    roll: float = 5.0
    light: float = 45.0
    ambient: float = 0.1
    strength: float = 0.15

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value >= 0:
                raise UserError(f"The spread of random views in {name} must be 0 or more; got {value}.")


@dataclass(frozen=True)
class GanFitSettings:
    """steps: of all terms together, after the landmarks. rate: Adam's first step of the texture's latent, that of
    FFHQ-UV's texture stage. light: one of LIGHTINGS. skin_mask: compare only what has the colour of skin. view_size:
    side of the random views, pixels. seed: of their draws.
    """

    steps: int = 150
    weights: Weights = field(default_factory=Weights)
    views: ViewSpread = field(default_factory=ViewSpread)
    light: Lighting = "harmonics"
    rate: float = 0.1
    skin_mask: bool = False
    view_size: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if self.light not in LIGHTINGS:
            raise UserError(f"GANFit's light is one of {', '.join(LIGHTINGS)}; got '{self.light}'.")
        if self.steps < 1:
            raise UserError(f"GANFit makes at least 1 step; got {self.steps}.")
        if not self.rate > 0:
            raise UserError(f"The rate of a texture's latent must be above 0; got {self.rate:g}.")
        if not SMALLEST_VIEW <= self.view_size <= LARGEST_VIEW:
            raise UserError(
                f"GANFit's random views measure {SMALLEST_VIEW} to {LARGEST_VIEW} pixels; got {self.view_size}."
            )
