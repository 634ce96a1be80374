"""Face parameters changed by hand: turned, given an expression, lit anew, or with parts of another face.

Every function returns new parameters; ranges are those of the face model's groups.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from ..errors import UserError
from ..types import FaceParams, common_batch
from .light import light_from_direction, tint
from .model import FaceModel, Group

MOODS: dict[str, tuple[tuple[str, float], ...]] = {
    "smile": (("mouthSmile", 1.0), ("mouthFrown", -1.0)),
    "jaw_open": (("jawOpen", 1.0),),
    "blink": (("eyeBlink", 1.0), ("eyeWide", -1.0)),
    "brows": (("browInnerUp", 1.0), ("browOuterUp", 1.0), ("browDown", -1.0)),
    "pucker": (("mouthPucker", 1.0), ("mouthStretch", -1.0)),
}
"""Sliders by name and the blendshapes (ARKit's names) at their two ends, 1 the positive, −1 the negative."""
JAW_JOINT, JAW_OPEN = "jaw", math.radians(20)
"""Models that move the jaw by a joint of this name (FLAME) open it so far at full strength; about what the toon head's
jawOpen turns."""
AXES = ("pitch", "yaw", "roll")
SIDES = (("Left", "_L"), ("Right", "_R"))
"""ARKit's suffixes and ICT-FaceKit's."""

Part = Literal["identity", "expression", "albedo", "rotation", "position", "light", "camera"]
PARTS: tuple[Part, ...] = ("identity", "expression", "albedo", "rotation", "position", "light", "camera")
OWN_PARTS = frozenset({"identity", "expression", "albedo", "position"})
"""Parts whose numbers mean something only to the face model that made them."""

_ASSIGNMENT = re.compile(r"^([\w.]+)\s*(\+?=)\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)$")


@dataclass(frozen=True)
class Assignment:
    """One `name=value` (set) or `name+=value` (add)."""

    name: str
    value: float
    added: bool = False


def assignments(text: str) -> list[Assignment]:
    """'jawOpen=0.5, mouthSmile_L+=1' -> assignments; commas, semicolons or line breaks between them."""
    found = []
    for part in filter(None, (piece.strip() for piece in re.split(r"[,;\n]", text))):
        match = _ASSIGNMENT.match(part)
        try:
            name, sign, number = match.groups()
            found.append(Assignment(name, float(number), sign == "+="))
        except (AttributeError, ValueError):
            raise UserError(
                f"'{part[:60]}' is not understood. Write name=value to set a value or name+=value to add to it, with "
                "commas between, such as: jawOpen=0.5, mouthSmile_L+=0.3."
            ) from None
    return found


def turned(params: FaceParams, pitch: float = 0.0, yaw: float = 0.0, roll: float = 0.0) -> FaceParams:
    """Degrees, added to the head's angles: positive pitch looks down, yaw turns to the picture's right."""
    added = params.angles.new_tensor([math.radians(angle) for angle in (pitch, yaw, roll)])
    return replace(params, angles=params.angles + added)


def posed(
    params: FaceParams, pitch: float | None = None, yaw: float | None = None, roll: float | None = None
) -> FaceParams:
    """Degrees, signs as in `turned`, instead of the head's angles; None leaves one as it is."""
    asked = zip((pitch, yaw, roll), params.angles.unbind(1), strict=True)
    angles = [own if angle is None else torch.full_like(own, math.radians(angle)) for angle, own in asked]
    return replace(params, angles=torch.stack(angles, 1))


def with_expression(
    params: FaceParams, model: FaceModel, moods: dict[str, float] | None = None, changes: Collection[Assignment] = ()
) -> FaceParams:
    """moods: values −1…1 by the names of MOODS, added. changes: to single expressions. Kept in the model's range.

    UserError for an expression that the model does not have.
    """
    model.check(params)
    values, joints = params.expression.clone(), params.joints.clone()
    for mood, value in (moods or {}).items():
        if value and mood == "jaw_open" and _lacks(model, "jawOpen") and JAW_JOINT in model.joints:
            joints[:, model.joints.index(JAW_JOINT), 0] += value * JAW_OPEN
        elif value:
            _add_mood(values, model, mood, value)
    values = _assign(values, model.expression, changes, "expression", model.layout)
    low, high = model.expression.low, model.expression.high
    touched = values != params.expression  # what a fit found beyond the range stays unless it is changed
    return replace(params, expression=torch.where(touched, values.clamp(low, high), values), joints=joints)


def with_identity(params: FaceParams, model: FaceModel, changes: Collection[Assignment]) -> FaceParams:
    """Changes to single identity directions, in the model's units (standard deviations)."""
    model.check(params)
    values = _assign(params.identity, model.identity, changes, "identity", model.layout)
    return replace(params, identity=values)


def with_albedo(params: FaceParams, model: FaceModel, changes: Collection[Assignment]) -> FaceParams:
    """Changes to single albedo directions, in the model's units (standard deviations)."""
    model.check(params)
    return replace(params, albedo=_assign(params.albedo, model.albedo, changes, "albedo", model.layout))


def with_joints(params: FaceParams, model: FaceModel, changes: Collection[Assignment]) -> FaceParams:
    """Changes in degrees by '<joint>.<axis>', such as jaw.pitch or left_eye.yaw; axes are pitch, yaw, roll."""
    model.check(params)
    names = tuple(f"{joint}.{axis}" for joint in model.joints for axis in AXES)
    degrees = torch.rad2deg(params.joints).flatten(1)
    degrees = _assign(degrees, Group(names), changes, "joint", model.layout)
    return replace(params, joints=torch.deg2rad(degrees).unflatten(1, params.joints.shape[1:]))


def scaled(params: FaceParams, expression: float = 1.0, identity: float = 1.0, albedo: float = 1.0) -> FaceParams:
    """Strengths multiplied: 0 is the neutral or mean face, 1 as it is, more exaggerates."""
    return replace(
        params,
        expression=params.expression * expression,
        identity=params.identity * identity,
        albedo=params.albedo * albedo,
    )


def lit(
    params: FaceParams,
    azimuth: float,
    elevation: float,
    strength: float,
    ambient: float,
    added: bool = False,
    tinted: bool = False,
) -> FaceParams:
    """White light, or `tinted` as the present one, from one side and from everywhere, instead of that or added to it.

    azimuth, elevation: degrees; 0, 0 comes from the viewer, positive from the picture's right and from above.
    strength, ambient: 1 shows the albedo as it is where only this light falls.
    """
    numbers = (math.radians(azimuth), math.radians(elevation), strength, ambient)
    light = light_from_direction(*(params.light.new_tensor([number]) for number in numbers))
    if tinted:
        light = light * tint(params.light)
    return replace(params, light=params.light + light if added else light.expand_as(params.light).clone())


def transferred(target: FaceParams, source: FaceParams, parts: Collection[Part]) -> FaceParams:
    """`target` with the named parts of `source`; a batch of 1 goes with a batch of N.

    Rotation, light and camera may come from another face model; the rest is refused with both names. A camera comes
    with its picture's size. Identity takes a free texture along, expression the joints.
    """
    if unknown := set(parts) - set(PARTS):
        raise UserError(f"'{sorted(unknown)[0]}' is no part of a face; parts are {', '.join(PARTS)}.")
    if OWN_PARTS & set(parts):
        source.require_layout(target.layout)
    frames = common_batch(target=len(target), source=len(source))
    names = {"identity": ["identity"], "expression": ["expression", "joints"], "albedo": ["albedo"]}
    names |= {"rotation": ["angles"], "position": ["translation"], "light": ["light"], "camera": []}
    changes = {name: getattr(source, name) for part in parts for name in names[part]}
    if "albedo" in parts:
        changes["texture"] = source.texture
    if "camera" in parts:
        changes["camera"] = source.camera
    return _spread(replace(target, **changes), frames)


def _spread(params: FaceParams, frames: int) -> FaceParams:
    """Every tensor for `frames` frames; a texture stays one for all."""
    spread = params.map(lambda t: t.expand(frames, *t.shape[1:]).clone() if t.shape[0] == 1 else t)
    return replace(spread, texture=params.texture)


def _add_mood(values: Tensor, model: FaceModel, mood: str, value: float) -> None:
    """Raises or lowers the blendshapes of a slider in `values`, which the caller owns."""
    ends: dict[bool, list[int]] = {True: [], False: []}
    for name, sign in MOODS[mood]:
        ends[sign * value > 0] += matching(name, model.expression.names)
    raised, lowered = ends[True], ends[False]
    if not raised and not lowered:
        raise UserError(
            f"The face model '{model.layout}' has no expression for '{mood.replace('_', ' ')}' "
            f"({', '.join(name for name, _ in MOODS[mood])}). Leave that slider at 0 and write the model's own "
            f"expressions in the text: {_listed(model.expression.names)}."
        )
    rest = values.new_full((len(values), 1), abs(value))
    if lowered:  # back to rest first, then on towards the other end
        rest = (rest - values[:, lowered].amax(1, keepdim=True).clamp(min=0)).clamp(min=0)
        values[:, lowered] = (values[:, lowered] - abs(value)).clamp(min=0)
    values[:, raised] += rest


def _assign(values: Tensor, group: Group, changes: Collection[Assignment], kind: str, layout: str) -> Tensor:
    values = values.clone()
    for change in changes:
        places = matching(change.name, group.names)
        if not places:
            raise UserError(
                f"The face model '{layout}' has no {kind} named '{change.name}'. "
                f"It has {_listed(group.names) or 'none'}."
            )
        values[:, places] = values[:, places] * float(change.added) + change.value
    return values


def matching(name: str, names: Collection[str]) -> list[int]:
    """Places of a name: itself, its spelling with Left/Right for _L/_R or the reverse, else both its sides; no case."""
    place = {known.casefold(): index for index, known in enumerate(names)}
    spellings = [name, *(name[: -len(a)] + b for pair in SIDES for a, b in (pair, pair[::-1]) if name.endswith(a))]
    for spelling in spellings:
        if spelling.casefold() in place:
            return [place[spelling.casefold()]]
    for left, right in zip(*SIDES, strict=True):
        both = [place[(name + side).casefold()] for side in (left, right) if (name + side).casefold() in place]
        if both:
            return both
    return []


def _lacks(model: FaceModel, name: str) -> bool:
    return not matching(name, model.expression.names)


def _listed(names: Collection[str]) -> str:
    """The first names, for a message."""
    names = list(names)
    return ", ".join(names[:40]) + (", …" if len(names) > 40 else "")
