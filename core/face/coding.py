"""A face's parameters as one row of numbers of similar size, which is what a regressor is trained to give.

The numbers describe a square crop through one camera, whose axis meets the middle of the crop; `core.face.reframe`
brings parameters there and back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..types import SH_BANDS, Camera, FaceParams
from .model import FaceModel
from .reframe import seen_by

SMALLEST_SPREAD = 1e-6
"""A value that varies less is a constant of the training pictures."""
TENSORS = ("mean", "scale", "low", "high")
"""One number a value each: value = mean + scale · number, kept within low and high."""
LARGEST_SIDE = 2048
"""Pixels; regressors look at a few hundred."""
LIMITED = ("identity", "expression", "albedo")
"""Groups for which a face model states limits."""


@dataclass(frozen=True)
class CodedGroup:
    """One group of a row. values: takes it out of parameters, [B, K]. field, back: whose it is, and its shape there."""

    field: str
    values: Callable[[FaceParams], Tensor]
    back: Callable[[Tensor, int], Tensor] = lambda values, joints: values


GROUPS: dict[str, CodedGroup] = {
    "identity": CodedGroup("identity", lambda params: params.identity),
    "expression": CodedGroup("expression", lambda params: params.expression),
    "albedo": CodedGroup("albedo", lambda params: params.albedo),
    "joints": CodedGroup(
        "joints", lambda params: params.joints.flatten(1), lambda values, joints: values.unflatten(1, (joints, 3))
    ),
    "gaze": CodedGroup(
        "joints",
        lambda params: params.joints[..., :2].mean(1),
        lambda values, joints: nn.functional.pad(values, (0, 1))[:, None].expand(-1, joints, -1),
    ),
    "angles": CodedGroup("angles", lambda params: params.angles),
    "light": CodedGroup(
        "light", lambda params: params.light.flatten(1), lambda values, joints: values.unflatten(1, (SH_BANDS, 3))
    ),
    "translation": CodedGroup("translation", lambda params: params.translation),
}
"""What a row may hold, by name. joints: each joint's axis-angle. gaze: the first two of these, shared by all joints, as
eyes that look the same way have them. light: band by band, red green blue."""


class FaceCoding(nn.Module):
    """Parameters of the face model `layout` on crops of `side` squared <-> rows [B, K].

    groups: names of GROUPS with their numbers of values, in order. joints: how many the model has. focal: the camera's
    focal length in sides of the crop.
    """

    mean: Tensor
    scale: Tensor
    low: Tensor
    high: Tensor

    def __init__(
        self,
        layout: str,
        groups: Sequence[tuple[str, int]],
        joints: int,
        side: int,
        focal: float,
        tensors: Mapping[str, Tensor] | None = None,
    ) -> None:
        """tensors: those of TENSORS, [K] each; without them rows hold the values as they are."""
        super().__init__()
        self.layout, self.groups = layout, tuple((str(name), int(count)) for name, count in groups)
        self.joints, self.side, self.focal = joints, side, focal
        self._check_groups()
        if tensors is None:
            plain = torch.zeros(len(self))
            tensors = {"mean": plain, "scale": plain + 1, "low": plain - torch.inf, "high": plain + torch.inf}
        for name in TENSORS:
            if tensors[name].shape != (len(self),):
                raise ValueError(f"{name} holds {list(tensors[name].shape)} values instead of {len(self)}")
            self.register_buffer(name, tensors[name].to(torch.float32, copy=True))
        if not torch.isfinite(torch.stack([self.mean, self.scale])).all() or not (self.low <= self.high).all():
            raise ValueError("its means, scales or limits are no proper numbers")

    @classmethod
    def measured(
        cls, params: FaceParams, model: FaceModel, groups: Sequence[str], focal: float | None = None
    ) -> FaceCoding:
        """The coding for training on `params`, N faces of `model` on square crops: mean 0 and deviation 1.

        groups: names of GROUPS, in the order of the row. focal: None takes the mean of the cameras'. Identity,
        expression and albedo are kept within the model's limits, or within these faces' where they go beyond.
        """
        model.check(params)
        side = params.camera.size[0]
        counts = [(name, GROUPS[name].values(params[:1]).shape[1]) for name in groups]
        focal = float(params.camera.focal.mean()) / side if focal is None else focal
        coding = cls(model.layout, counts, len(model.joints), side, focal).to(params.angles.device)
        values = coding.values(params)
        spread = values.std(0, correction=0)
        coding.mean.copy_(values.mean(0))
        coding.scale.copy_(torch.where(spread > SMALLEST_SPREAD, spread, 0))
        widest = (coding.low, values.amin(0), torch.minimum), (coding.high, values.amax(0), torch.maximum)
        sizes = [count for _, count in counts]
        for end, (limits, extreme, wider) in enumerate(widest):
            for name, kept, seen in zip(groups, limits.split(sizes), extreme.split(sizes), strict=True):
                if name in LIMITED:
                    kept.copy_(wider(getattr(model, name).limits(kept)[end], seen))
        return coding

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> FaceCoding:
        """From a file's metadata, as `metadata` gives it; KeyError, TypeError or ValueError where it is damaged."""
        return cls(
            str(metadata["layout"]),
            json.loads(metadata["groups"]),
            int(metadata["joints"]),
            int(metadata["side"]),
            float(metadata["focal"]),
            tensors,
        )

    def metadata(self) -> dict[str, str]:
        """layout; groups: JSON [[name, count], …] in order; joints; side: pixels; focal: sides of the crop."""
        return {
            "layout": self.layout,
            "groups": json.dumps(self.groups),
            "joints": str(self.joints),
            "side": str(self.side),
            "focal": repr(self.focal),
        }

    def __len__(self) -> int:
        return sum(count for _, count in self.groups)

    def camera(self, frames: int = 1) -> Camera:
        """The camera of the crops."""
        focal = self.mean.new_full((frames,), self.focal * self.side)
        return Camera(focal, self.mean.new_full((frames, 2), self.side / 2), (self.side, self.side))

    def values(self, params: FaceParams) -> Tensor:
        """Parameters on crops of any camera -> [B, K] in their own units."""
        params = seen_by(params.require_layout(self.layout), self.camera())
        return torch.cat([GROUPS[name].values(params) for name, _ in self.groups], 1)

    def encode(self, params: FaceParams) -> Tensor:
        """Parameters on crops of any camera -> rows [B, K]; 0 where a value is constant."""
        return self.row(self.values(params))

    def within(self, rows: Tensor) -> Tensor:
        """Rows [B, K] whose values keep to the limits, as `decode` takes them."""
        return self.row(self._values(rows))

    def decode(self, rows: Tensor) -> FaceParams:
        """Rows [B, K] -> parameters on the crops."""
        values = self._values(rows)
        fields = {"joints": rows.new_zeros(len(rows), self.joints, 3)}
        names, counts = zip(*self.groups, strict=True)
        for name, part in zip(names, values.split(counts, 1), strict=True):
            fields[GROUPS[name].field] = GROUPS[name].back(part, self.joints)
        return FaceParams(layout=self.layout, camera=self.camera(len(rows)), **fields)

    def row(self, values: Tensor) -> Tensor:
        """Values [B, K] in their own units -> rows; 0 where a value is constant."""
        varies = self.scale > 0
        scale = torch.where(varies, self.scale, 1)  # through a division by 0 every gradient would become NaN
        return torch.where(varies, (values - self.mean) / scale, 0)

    def _values(self, rows: Tensor) -> Tensor:
        if rows.shape[-1] != len(self):
            raise UserError(f"A row of this coding holds {len(self)} values; got {rows.shape[-1]}.")
        return (self.mean + self.scale * rows).clamp(self.low, self.high)

    def _check_groups(self) -> None:
        fields = [GROUPS[name].field if name in GROUPS else name for name, _ in self.groups]
        needed = {group.field for group in GROUPS.values()} - {"joints"}
        if len(set(fields)) != len(fields) or not needed <= set(fields) or set(fields) - needed - {"joints"}:
            raise ValueError(
                f"its groups are {', '.join(name for name, _ in self.groups) or 'none'}; there must be "
                f"{', '.join(sorted(needed))}, and joints or gaze, once each"
            )
        fixed = {"joints": self.joints * 3, "gaze": 2, "angles": 3, "light": SH_BANDS * 3, "translation": 3}
        for name, count in self.groups:
            if count != fixed.get(name, count) or count < 0:
                raise ValueError(f"it has {count} values for {name} instead of {fixed.get(name)}")
        if not 1 <= self.side <= LARGEST_SIDE or not 0 < self.focal < torch.inf:
            raise ValueError(f"its crops of {self.side} pixels with a focal length of {self.focal:g} cannot be")
