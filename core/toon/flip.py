"""Edge flips: makes a triangulation that was chosen in one space well shaped in another."""

from __future__ import annotations

import numpy as np

from .part import Array, Index

ROUNDS = 20
"""Passes over all edges at most; the skin settles after eight."""


def flip_edges(points: Array, faces: Index) -> Index:
    """[V, 3], [F, 3] -> triangles over the same vertices whose edges pass the Delaunay test in space.

    An edge turns when the two angles opposite to it add up to more than a half turn, worst first, unless the turned
    edge exists already or the two triangles would fold over. Border edges stay.
    """
    faces = faces.copy()
    for _ in range(ROUNDS):
        first, second, corners = _pairs(faces, len(points))
        a, b, c, d = points[corners.T]
        opposite = _angle(a - c, b - c) + _angle(a - d, b - d)
        now = np.cross(b - a, c - a) + np.cross(a - b, d - b)
        flat = np.minimum((np.cross(d - a, c - a) * now).sum(1), (np.cross(b - d, c - d) * now).sum(1)) > 0.0
        wanted = np.flatnonzero((opposite > np.pi + 1e-6) & flat)
        turned = _turn(faces, first, second, corners, wanted[np.argsort(-opposite[wanted], kind="stable")])
        if not turned:
            break
    return faces


def _pairs(faces: Index, count: int) -> tuple[Index, Index, Index]:
    """Inner edges a–b: the triangle that runs a → b with its third corner c, the one that runs b → a with its d."""
    start, end, third = faces.T.ravel(), np.roll(faces, -1, 1).T.ravel(), np.roll(faces, -2, 1).T.ravel()
    owner = np.tile(np.arange(len(faces)), 3)
    key = start * count + end
    order = np.argsort(key)
    place = np.searchsorted(key[order], end * count + start)
    twin = order[np.minimum(place, len(order) - 1)]
    inner = (key[twin] == end * count + start) & (start < end)
    return owner[inner], owner[twin[inner]], np.stack([start, end, third, third[twin]], 1)[inner]


def _turn(faces: Index, first: Index, second: Index, corners: Index, wanted: Index) -> int:
    """Turns the wanted edges one after the other, each triangle once at most; the number turned."""
    walked = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = {(min(edge), max(edge)) for edge in walked.tolist()}
    touched = np.zeros(len(faces), bool)
    turned = 0
    for edge in wanted:
        a, b, c, d = corners[edge].tolist()
        pair = [first[edge], second[edge]]
        if touched[pair].any() or (min(c, d), max(c, d)) in edges:
            continue
        faces[pair] = (a, d, c), (d, b, c)
        edges.add((min(c, d), max(c, d)))
        touched[pair] = True
        turned += 1
    return turned


def _angle(u: Array, v: Array) -> Array:
    return np.arctan2(np.linalg.norm(np.cross(u, v), axis=1), (u * v).sum(1))
