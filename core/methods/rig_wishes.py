"""What somebody asks of a rig: parts of another face, and sliders on top, as the face that the latent shall show."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..errors import UserError
from ..face import edit
from ..face.edit import Assignment, Part
from ..face.light import dominant_light, rotated_light
from ..face.model import FaceModel
from ..face.reframe import shortest_turn
from ..networks.rig import COMPONENTS
from ..types import FaceParams
from .rig import Rig, in_order

PARTS: dict[str, Part] = {"pose": "rotation", "expression": "expression", "light": "light"}
"""The part of a face (`core.face.edit`) that each component of a rig is."""

LEAST_STRENGTH = 1e-3
"""A weaker light comes from nowhere and is not turned into a strong one."""


@dataclass(frozen=True)
class Lamp:
    """Where the light shall come from and how strong it shall be, in the terms of `core.face.edit.lit`.

    Instead of the light that is there, that light itself turns and changes its strengths, so that it keeps its colours
    and its fill, which the rig knows. added: a lamp in its colour comes beside it.
    """

    azimuth: float
    elevation: float
    strength: float
    ambient: float
    added: bool = False


@dataclass(frozen=True)
class Sliders:
    """What is asked by hand; nothing by default, and whatever is not asked for stays.

    pitch, yaw, roll: degrees, added to the head's angles, None asks for nothing; with `posed` they are the head's
    angles themselves. moods, changes: as in `edit.with_expression`; with `from_rest` on a face without expression.
    """

    pitch: float | None = None
    yaw: float | None = None
    roll: float | None = None
    posed: bool = False
    moods: Mapping[str, float] = field(default_factory=dict)
    changes: Collection[Assignment] = ()
    from_rest: bool = False
    lamp: Lamp | None = None

    @property
    def components(self) -> set[str]:
        """Those of a rig that are asked for."""
        asked = {
            "pose": any(angle is not None for angle in (self.pitch, self.yaw, self.roll)),
            "expression": self.from_rest or bool(self.moods or self.changes),
            "light": self.lamp is not None,
        }
        return {component for component in COMPONENTS if asked[component]}

    def on(self, params: FaceParams, model: FaceModel | None) -> FaceParams:
        """The faces with everything that is asked for. model: that of the parameters, which knows the expressions.

        UserError where expressions are asked for and it is missing or another one.
        """
        angles = (self.pitch, self.yaw, self.roll)
        params = edit.posed(params, *angles) if self.posed else edit.turned(params, *(angle or 0 for angle in angles))
        if self.from_rest:
            params = edit.scaled(params, expression=0)
            params = replace(params, joints=torch.zeros_like(params.joints))
        if self.moods or self.changes:
            if model is None:
                raise UserError(
                    f"Expressions are asked for by name, which the face model '{params.layout}' knows, and none is "
                    "connected. Connect it."
                )
            params = edit.with_expression(params, model, dict(self.moods), self.changes)
        if (lamp := self.lamp) is not None:
            params = edit.lit(
                params, lamp.azimuth, lamp.elevation, lamp.strength, lamp.ambient, lamp.added, tinted=True
            )
        return params


def wished(
    rig: Rig,
    own: FaceParams,
    sliders: Sliders,
    source: FaceParams | None = None,
    taken: Collection[str] = (),
    model: FaceModel | None = None,
) -> tuple[FaceParams, list[str]]:
    """The faces that latents shall show, through the rig's camera, and the components to edit, in their order.

    own: what the latents show, from `read_params`. source: the face that the components `taken` come from, on pictures
    of any size; sliders come on top. Frames of 1 go with N.
    """
    params = rig.framed(own)
    asked = sliders.components
    if source is not None:
        asked |= set(taken)
        parts = [PARTS[component] for component in in_order(taken)]
        params = edit.transferred(params, rig.framed(source), parts)
    return sliders.on(params, model), in_order(asked)


def turned_light(light: Tensor, like: Tensor) -> Tensor:
    """Light [B, 9, 3], turned to come from where `like` [B, 9, 3] does, and as strong and bright as that."""
    (start, strength), (end, wanted) = dominant_light(light), dominant_light(like)
    turned = rotated_light(light, shortest_turn(start, end))
    sides = turned[:, 1:] * (wanted / strength.clamp_min(LEAST_STRENGTH))[:, None, None]
    even = turned[:, :1] * (like[:, :1].mean(2) / turned[:, :1].mean(2).clamp_min(LEAST_STRENGTH))[..., None]
    return torch.cat([even, sides], 1)
