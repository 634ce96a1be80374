"""What is drawn of a scene: all its meshes as one, and what every sample of the picture sees of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ...face.normals import vertex_normals
from ...face.raster import Fragments

KINDS = ("skin", "eyes", "mouth", "brow", "lash", "ear", "beard", "hair", "body", "collar", "hat", "hat_trim", "frame",
         "lens", "limb", "bottom", "shoe")  # fmt: skip
"""Materials, by number."""
HEAD = ("skin", "eyes", "mouth", "brow", "lash", "ear")
"""Those of the head's own triangles, which come first."""


@dataclass(frozen=True, eq=False)
class Stage:
    """All meshes of a scene as one, in camera space; the head's vertices come first.

    placed, normals: [V, 3]. faces: [F, 3], of which the first `head_count` are the head's, triangles `head_face` of its
    own. kind: [F] number in KINDS. uv: [V, 2], shade: [V], of what is worn. nearer: [V], what depths are multiplied by
    when it is decided who is seen. model: the head in model space.
    """

    placed: Tensor
    normals: Tensor
    faces: Tensor
    kind: Tensor
    uv: Tensor
    shade: Tensor
    nearer: Tensor
    model: Tensor
    head_face: Tensor
    head_count: int


@dataclass(frozen=True, eq=False)
class Sample:
    """The covered samples. face, kind: [N]. corners: [N, 3] vertices, weights: [N, 3]. normals: [N, 3] unit, as the
    mesh has them. depth: [H, W], inf where nothing is. hit: [N] flat places in size (H, W).
    """

    face: Tensor
    kind: Tensor
    corners: Tensor
    weights: Tensor
    normals: Tensor
    depth: Tensor
    hit: Tensor
    size: tuple[int, int]

    def carry(self, values: Tensor, rows: Tensor) -> Tensor:
        """[V, C] of the vertices -> [n, C] at the samples `rows`."""
        return (values[self.corners[rows]] * self.weights[rows][..., None]).sum(1)


class StageBuilder:
    """Puts the pieces of a scene together; the head comes first."""

    def __init__(self, placed: Tensor, normals: Tensor, faces: Tensor, kind: Tensor, head_face: Tensor) -> None:
        """The head as `Stage` holds it: vertices in camera space, and those of its triangles that are drawn."""
        self._points, self._normals, self._faces, self._kinds = [placed], [normals], [faces], [kind]
        self._uv, self._shade = [placed.new_zeros(len(placed), 2)], [placed.new_zeros(len(placed))]
        self._nearer = [placed.new_ones(len(placed))]
        self._head_face, self._count = head_face, len(placed)

    def add(
        self, material: str, points: Tensor, faces: Tensor, uv: Tensor, shade: Tensor, nearer: float = 1.0
    ) -> None:
        """A piece of one material, in camera space."""
        self._points.append(points)
        self._normals.append(vertex_normals(points[None], faces)[0])
        self._faces.append(faces + self._count)
        self._kinds.append(torch.full((len(faces),), KINDS.index(material), device=points.device))
        self._uv.append(uv)
        self._shade.append(shade)
        self._nearer.append(torch.full_like(shade, nearer))
        self._count += len(points)

    def stage(self, model: Tensor) -> Stage:
        """Everything that was added. model: [V, 3], the head in model space."""
        columns = (self._points, self._normals, self._faces, self._kinds, self._uv, self._shade, self._nearer)
        return Stage(*(torch.cat(column) for column in columns), model, self._head_face, len(self._head_face))


def sampled(fragments: Fragments, stage: Stage) -> Sample:
    """What the samples of one rasterised frame see of the stage."""
    face = fragments.face.reshape(-1)
    hit = (face >= 0).nonzero().squeeze(1)
    face = face[hit]
    weights = fragments.barycentrics.reshape(-1, 3)[hit]
    corners = stage.faces[face]
    normals = functional.normalize((stage.normals[corners] * weights[..., None]).sum(1), dim=1)
    height, width = fragments.face.shape[1:]
    return Sample(face, stage.kind[face], corners, weights, normals, fragments.depth[0], hit, (height, width))
