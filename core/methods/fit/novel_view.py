"""A face seen anew: random expression, camera and light, so that what a fit finds must hold beyond the photograph.

Source: GANFit (Gecer et al. 2019), section 3.3.1; its spreads are those of `ganfit_settings.ViewSpread`.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from ...face.camera import default_camera
from ...face.light import ambient_light, direction_from_angles, distant_light
from ...face.model import FaceModel
from ...types import FaceParams
from .ganfit_settings import ViewSpread
from .lights import AMBIENT, STRENGTH
from .priors import fitted_expressions

FILL = 0.9
"""Share of the view's height that the head takes, so that the recogniser's crop is not enlarged."""
BLENDSHAPES = 4
"""Blendshapes at work at once on average; forty random ones together make no face."""
DIMMEST = 0.1
"""Of either light, however the draw falls."""


class NovelViews:
    """Draws views for a model; the same seed gives the same views on every device."""

    def __init__(self, model: FaceModel, spread: ViewSpread, size: int, field_of_view: float, seed: int) -> None:
        """size: pixels of a view's side. field_of_view: degrees across it."""
        self._model, self._spread = model, spread
        self._random = torch.Generator().manual_seed(seed)
        neutral = model.neutral(default_camera((size, size), field_of_view))
        distance = neutral.camera.focal.to(model.colours) * model.height / (FILL * size)
        self._neutral = replace(neutral, translation=neutral.translation.new_tensor([[0.0, 0.0, -distance.item()]]))
        self._shown = fitted_expressions(model)

    def draw(self, identity: Tensor) -> FaceParams:
        """Identities [B, K] in B new views, which carry no gradient of their own."""
        count, spread, like = len(identity), self._spread, identity
        view = self._neutral.map(lambda value: value.to(like).expand(count, *value.shape[1:]))
        turns = self._normal(count, 3) * torch.tensor([spread.pitch, spread.yaw, spread.roll])
        return replace(
            view,
            identity=identity,
            expression=self._expression(count).to(like),
            angles=turns.deg2rad().to(like),
            light=self._light(count).to(like),
        )

    def _expression(self, count: int) -> Tensor:
        group = self._model.expression
        drawn = self._spread.expression * self._normal(count, len(group))
        if not group.gaussian and len(group):
            at_work = torch.rand(count, len(group), generator=self._random) < BLENDSHAPES / len(group)
            drawn = drawn.abs() * at_work
        low, high = group.limits(drawn)
        return (drawn * self._shown).clamp(low, high)

    def _light(self, count: int) -> Tensor:
        azimuth, elevation = (self._normal(2, count) * math.radians(self._spread.light)).unbind()
        ambient = (AMBIENT + self._spread.ambient * self._normal(count, 1)).clamp(min=DIMMEST)
        strength = (STRENGTH + self._spread.strength * self._normal(count, 1)).clamp(min=DIMMEST)
        direction = functional.normalize(direction_from_angles(azimuth, elevation), dim=-1)
        return distant_light(direction, strength.expand(-1, 3)) + ambient_light(ambient.expand(-1, 3))

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self._random)
