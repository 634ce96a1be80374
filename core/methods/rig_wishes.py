"""What somebody asks of a rig: parts of another face, and sliders on top, as the face that the latent shall show."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import torch

from ..errors import UserError
from ..face import edit
from ..face.edit import Assignment, Part
from ..face.model import FaceModel
from ..networks.rig import COMPONENTS
from ..types import FaceParams
from .rig import Rig, in_order

PARTS: dict[str, Part] = {"pose": "rotation", "expression": "expression", "light": "light"}
"""The part of a face (`core.face.edit`) that each component of a rig is."""


@dataclass(frozen=True)
class Lamp:
    """The light that `core.face.edit.lit` makes, in the colour of the one that is there: degrees, degrees, strengths.

    added: to that light, instead of in its place.
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
