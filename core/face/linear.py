"""A face model that is linear in identity and expression: ICT-FaceKit, BFM, and the toon head before its eyes."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .basis import Directions
from .model import FaceModel
from .surface import Surface


class LinearFaceModel(FaceModel):
    """V = mean + Σ identity · direction + Σ expression · direction; no joints."""

    def __init__(
        self, surface: Surface, mean: Tensor, identities: Directions, expressions: Directions, **groups: Any
    ) -> None:
        """mean: [V, 3]. groups: what FaceModel takes by name."""
        super().__init__(surface, **groups)
        self.register_buffer("mean", mean)
        self.identities, self.expressions = identities, expressions

    def vertices(self, identity: Tensor, expression: Tensor, joints: Tensor | None = None) -> Tensor:
        return self.mean + self.identities(identity) + self.expressions(expression)

    def subset(self, vertex_ids: Tensor) -> LinearFaceModel:
        return LinearFaceModel(
            self.surface().subset(vertex_ids),
            self.mean[vertex_ids],
            self.identities.subset(vertex_ids),
            self.expressions.subset(vertex_ids),
            **self.groups(vertex_ids),
        )
