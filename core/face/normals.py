"""Normals of triangles and vertices, unit length, pointing out of a mesh whose triangles run counter-clockwise."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def face_normals(vertices: Tensor, faces: Tensor, unit: bool = True) -> Tensor:
    """[B, V, 3], [F, 3] -> [B, F, 3]; as long as twice the triangle's area where not `unit`. No area gives 0."""
    corners = vertices.index_select(1, faces.reshape(-1).long()).unflatten(1, (-1, 3))
    a, b, c = corners.unbind(2)
    normals = torch.linalg.cross(b - a, c - a)
    return functional.normalize(normals, dim=-1, eps=_smallest(normals)) if unit else normals


def vertex_normals(vertices: Tensor, faces: Tensor, by_area: bool = True) -> Tensor:
    """[B, V, 3], [F, 3] -> [B, V, 3]: the mean of the normals of the triangles around each vertex; 0 without any.

    by_area: triangles weigh by their area (DECA, `utils/util.py`, and everything here) or all alike (Deep3DFaceRecon,
    `models/bfm.py`, whose table of eight triangles a vertex holds the same sum).
    """
    normals = face_normals(vertices, faces, unit=not by_area)
    summed = torch.zeros_like(vertices).index_add(1, faces.reshape(-1).long(), normals.repeat_interleave(3, dim=1))
    return functional.normalize(summed, dim=-1, eps=_smallest(summed))


def _smallest(values: Tensor) -> float:
    """Below any length that a mesh has, in metres as well as centimetres: squares of it stay normal numbers."""
    return torch.finfo(values.dtype).tiny ** 0.5
