"""Normals of triangles and vertices, unit length, pointing out of a mesh whose triangles run counter-clockwise."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def face_normals(vertices: Tensor, faces: Tensor, unit: bool = True) -> Tensor:
    """[B, V, 3], [F, 3] -> [B, F, 3]; as long as twice the triangle's area where not `unit`. No area gives 0."""
    rows = _corner_rows(vertices, faces)
    a, b, c = vertices.flatten(0, 1).index_select(0, rows).reshape(len(vertices), len(faces), 3, 3).unbind(2)
    normals = torch.linalg.cross(b - a, c - a)
    return functional.normalize(normals, dim=-1, eps=_smallest(normals)) if unit else normals


def vertex_normals(vertices: Tensor, faces: Tensor, by_area: bool = True) -> Tensor:
    """[B, V, 3], [F, 3] -> [B, V, 3]: the mean of the normals of the triangles around each vertex; 0 without any.

    by_area: triangles weigh by their area (DECA, `utils/util.py`, and everything here) or all alike (Deep3DFaceRecon,
    `models/bfm.py`, whose table of eight triangles a vertex holds the same sum).
    """
    normals = face_normals(vertices, faces, unit=not by_area)
    corners = normals.flatten(0, 1).repeat_interleave(3, dim=0)
    summed = torch.zeros_like(vertices).flatten(0, 1).index_add(0, _corner_rows(vertices, faces), corners)
    summed = summed.reshape(vertices.shape)
    return functional.normalize(summed, dim=-1, eps=_smallest(summed))


def _corner_rows(vertices: Tensor, faces: Tensor) -> Tensor:
    """[B · F · 3] rows of the flattened vertices; adding to rows is ten times faster than along a middle dimension."""
    frames, count = vertices.shape[:2]
    first = torch.arange(frames, device=faces.device)[:, None] * count
    return (faces.long().reshape(1, -1) + first).reshape(-1)


def _smallest(values: Tensor) -> float:
    """Below any length that a mesh has, in metres as well as centimetres: squares of it stay normal numbers."""
    return torch.finfo(values.dtype).tiny ** 0.5
