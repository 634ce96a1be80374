"""Light as unknowns of a fit: spherical harmonics as in Deep3DFaceRecon, or GANFit's point light plus an even one.

Both begin as the same light, half of it even, half from the viewer, and both pay for what leads away from it. A picture
cannot tell dark skin from little light, nor red skin from red light. Skin differs fivefold from person to person, and
the light of photographs is chosen to show faces well, so its level and colour are dear and its direction is cheap.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from ...face.light import DEEP3D_FACTORS, PhongLight, ambient_light, distant_light
from ...types import FaceParams

AMBIENT = STRENGTH = 0.5
"""Of the first light: a skin that faces the viewer shows its albedo as it is."""
DISTANCE = 6.0
"""Half head heights from the head to the first point light: GANFit's, whose head measures 2 units. Positions are in
this unit, so that a step turns a point light as far as it turns spherical harmonics."""
NEAREST = 1 / 3
"""Of DISTANCE in front of the head's origin; nearer, a point light shines from inside the head."""
TINT = 100.0
"""How much dearer a coloured change of light is than a grey one: with GANFit's 0.01 and a colour's weight of 6, about
Deep3DFaceRecon's w_gamma over w_color, spread over 27 coefficients."""
BANDS = (1.0,) * 4 + (10.0,) * 5
"""How dear a change of each coefficient is: as in the closed-form light, bands of higher order ten times, since half of
their ball is unseen and may come out black."""
LEVEL = 500.0
"""How much dearer a change of the level is, the mean shading of a ball's visible half. Chosen on toon portraits: far
below it dark skin comes out light and dimly lit, above it nothing is gained."""
VISIBLE_HALF = (1.0, 0.0, 2 / 3, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0)
"""Means of the polynomials 1, y, z, x, xy, yz, 3z² − 1, xz, x² − y² over the disc that a ball shows."""
RATE, POSITION_RATE = 0.01, 0.03
"""Adam's first steps: GANFit's for colours; a place is further away."""


class Lights(Protocol):
    """Unknown lights of B frames.

    values, rates, limits: as `core.optimise.AdamSettings` takes them.
    """

    values: dict[str, Tensor]
    rates: dict[str, float]
    limits: dict[str, tuple[Tensor, Tensor]]

    def drawn(self, parameters: Mapping[str, Tensor], face: FaceParams) -> Tensor | PhongLight:
        """What `render_mesh` takes."""

    def harmonics(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """[B, 9, 3], what `FaceParams` keeps."""

    def cost(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """[B], squared distance from the first light."""


class HarmonicLights:
    """27 coefficients a frame."""

    def __init__(self, like: Tensor, start: Tensor | None = None) -> None:
        """like: [B, 3], a tensor of the device and type. start: [B, 9, 3] to begin from, such as a regressor's."""
        self._first = first_light(like)
        self.values = {"light": self._first.clone() if start is None else start}
        self.rates, self.limits = {"light": RATE}, {}

    def drawn(self, parameters: Mapping[str, Tensor], face: FaceParams) -> Tensor:
        return parameters["light"]

    def harmonics(self, parameters: Mapping[str, Tensor]) -> Tensor:
        return parameters["light"]

    def cost(self, parameters: Mapping[str, Tensor]) -> Tensor:
        change = parameters["light"] - self._first
        return (_squares(change) * change.new_tensor(BANDS)).sum(1) + LEVEL * _level(change).square()


class PointLights:
    """A position, and the colours of the point light and of the even one."""

    def __init__(self, like: Tensor, height: float) -> None:
        """like: as above. height: of the head, model units."""
        self._unit = DISTANCE * height / 2
        level = torch.ones_like(like)
        self._first = like.new_tensor([0.0, 0.0, 1.0])
        self.values = {
            "light_position": self._first.expand_as(like).clone(),
            "light_colour": STRENGTH * level,
            "light_ambient": AMBIENT * level,
        }
        self.rates = {**dict.fromkeys(self.values, RATE), "light_position": POSITION_RATE}
        far, none = like.new_full((3,), torch.inf), torch.zeros_like(self._first)
        self.limits = {
            "light_position": (like.new_tensor([-torch.inf, -torch.inf, NEAREST]), far),
            "light_colour": (none, far),
            "light_ambient": (none, far),
        }

    def drawn(self, parameters: Mapping[str, Tensor], face: FaceParams) -> PhongLight:
        position = face.translation + self._unit * parameters["light_position"]
        return PhongLight(position, parameters["light_colour"], parameters["light_ambient"])

    def harmonics(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """As seen from the head's origin."""
        direction = functional.normalize(parameters["light_position"], dim=-1)
        return distant_light(direction, parameters["light_colour"]) + ambient_light(parameters["light_ambient"])

    def cost(self, parameters: Mapping[str, Tensor]) -> Tensor:
        moved = (parameters["light_position"] - self._first).square().sum(1)
        colours = _squares(parameters["light_colour"] - STRENGTH) + _squares(parameters["light_ambient"] - AMBIENT)
        harmonics = self.harmonics(parameters)
        return moved + colours + LEVEL * _level(harmonics - first_light(harmonics[:, 0])).square()


def first_light(like: Tensor) -> Tensor:
    """[B, 9, 3] for B rows of `like`."""
    level = like.new_ones(len(like), 3)
    return distant_light(like.new_tensor([[0.0, 0.0, 1.0]]), STRENGTH * level) + ambient_light(AMBIENT * level)


def _squares(change: Tensor) -> Tensor:
    """[..., 3] -> [...]: the change's grey part squared, and its coloured part TINT times."""
    grey = change.mean(-1, keepdim=True)
    return 3 * grey.squeeze(-1).square() + TINT * (change - grey).square().sum(-1)


def _level(light: Tensor) -> Tensor:
    """[B, 9, 3] -> [B]: mean shading of all that the viewer sees of a ball."""
    weights = light.new_tensor(DEEP3D_FACTORS) * light.new_tensor(VISIBLE_HALF)
    return (weights @ light).mean(-1)
