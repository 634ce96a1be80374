"""The linear half of a 3D morphable model: weighted directions over the vertices.

Source: Blanz & Vetter 1999, "A morphable model for the synthesis of 3D faces", section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Directions(nn.Module):
    """K weighted directions of V vertices, each of C values (positions or colours).

    weights [B, K] -> offsets [B, V, C], to be added to a mean. Stored as the model's files mean them: one unit of
    weight is one standard deviation (identity, albedo) or a blendshape at full strength.
    """

    def __init__(self, directions: Tensor) -> None:
        """directions: [K, V, C]; K may be 0. Half precision is widened to single, in which the sums run."""
        super().__init__()
        wide = directions.float() if directions.dtype in (torch.float16, torch.bfloat16) else directions
        self.register_buffer("directions", wide.contiguous())

    def __len__(self) -> int:
        return self.directions.shape[0]

    def forward(self, weights: Tensor) -> Tensor:
        count, vertices, channels = self.directions.shape
        flat = weights.to(self.directions.dtype) @ self.directions.reshape(count, vertices * channels)
        return flat.view(-1, vertices, channels)

    def copy(self) -> Directions:
        """Another module of the same numbers, for a model of its own that may be moved and cast alone."""
        return Directions(self.directions)

    def subset(self, vertex_ids: Tensor) -> Directions:
        """The same directions of only `vertex_ids` [n], in their order."""
        return Directions(self.directions[:, vertex_ids])
