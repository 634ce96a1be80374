"""Pieces that are worn: meshes laid out on the mean head, which ride on its skin when the identity changes.

Units and axes are those of the head (`core.toon.field`). A vertex rides on the skin near its anchor, so what is worn
follows every identity without a word about any of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..part import Array, Index

RIDE_ON = 12
"""Skin vertices that carry one vertex of a piece."""
RIDE_WIDTH = 0.11
"""Head units; how fast a skin vertex loses its say with distance. Narrower shows the skin's own bumps in the hair."""


@dataclass(frozen=True, eq=False)
class Piece:
    """A mesh on the mean head.

    vertices: [N, 3]. faces: [F, 3], either winding. anchors: [N, 3], the places of the head that the vertices follow.
    uv: [N, 2], what its painter wants to know. shade: [N] 0…1, how much a fold hides from the light.
    """

    vertices: Array
    faces: Index
    anchors: Array
    uv: Array
    shade: Array

    def mirrored(self) -> Piece:
        """Left and right exchanged."""
        flip = np.array([-1.0, 1.0, 1.0])
        return replace(self, vertices=self.vertices * flip, anchors=self.anchors * flip, faces=self.faces[:, ::-1])


def joined(*pieces: Piece) -> Piece:
    """One piece of several."""
    start = np.cumsum([0] + [len(piece.vertices) for piece in pieces[:-1]])
    return Piece(
        np.concatenate([piece.vertices for piece in pieces]),
        np.concatenate([piece.faces + first for piece, first in zip(pieces, start, strict=True)]),
        np.concatenate([piece.anchors for piece in pieces]),
        np.concatenate([piece.uv for piece in pieces]),
        np.concatenate([piece.shade for piece in pieces]),
    )


def grid(points: Array, anchors: Array, uv: Array, shade: Array, around: bool = False) -> Piece:
    """A sheet from rows and columns: points, anchors [R, C, 3], uv [R, C, 2], shade [R, C].

    around: the last column is sewn to the first.
    """
    rows, columns = points.shape[:2]
    number = np.arange(rows * columns).reshape(rows, columns)
    after = np.roll(number, -1, axis=1) if around else number[:, 1:]
    here = number if around else number[:, :-1]
    a, b, c, d = here[:-1], here[1:], after[1:], after[:-1]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    return Piece(
        points.reshape(-1, 3), faces, np.broadcast_to(anchors, points.shape).reshape(-1, 3), uv.reshape(-1, 2),
        np.broadcast_to(shade, points.shape[:2]).reshape(-1),
    )  # fmt: skip


def tube(path: Array, radius: Array | float, anchors: Array, sides: int = 10, flat: float = 1.0, loop: bool = False,
         grooves: int = 0) -> Piece:
    """A tube along `path` [N, 3]. radius: [N] or one. anchors: [3] or [N, 3].

    flat: depth as a share of the width, across the path's plane. loop: the path ends where it begins. grooves: locks
    round the tube, as in a tail of hair.
    """  # fmt: skip
    n = len(path)
    radius = np.broadcast_to(np.asarray(radius, float), (n,))
    ahead = np.roll(path, -1, 0) - np.roll(path, 1, 0) if loop else np.gradient(path, axis=0)
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    up = np.array([0.0, 0.0, 1.0]) if np.abs(ahead[:, 2]).max() < 0.9 else np.array([0.31, 0.95, 0.05])
    side = np.cross(ahead, up)
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    over = np.cross(side, ahead)
    turn = 2.0 * np.pi * np.arange(sides) / sides
    lock = np.abs(np.sin(0.5 * grooves * turn))[None] if grooves else np.ones((1, sides))
    reach = radius[:, None] * (0.78 + 0.22 * lock)
    ring = reach[..., None] * (np.cos(turn)[None, :, None] * side[:, None]
                               + flat * np.sin(turn)[None, :, None] * over[:, None])  # fmt: skip
    points = path[:, None] + ring
    uv = np.stack(np.broadcast_arrays(turn[None] / (2.0 * np.pi), np.linspace(0, 1, n)[:, None]), -1)
    if loop:
        points, uv = np.concatenate([points, points[:1]]), np.concatenate([uv, uv[:1]])
        n += 1
    held = np.asarray(anchors, float)
    held = held if held.ndim == 1 else np.concatenate([held, held[:1]])[:n, None]
    return grid(points, held, uv, 0.55 * (1.0 - np.broadcast_to(lock, points.shape[:2])), around=True)


def ball(centre: Array, radii: Array, anchor: Array, rows: int = 18, columns: int = 36, grooves: int = 0) -> Piece:
    """An ellipsoid about the y axis, with meridian locks where `grooves` > 0."""
    polar = np.linspace(0.0, np.pi, rows)[:, None]
    turn = 2.0 * np.pi * np.arange(columns)[None] / columns
    lock = np.abs(np.sin(0.5 * grooves * turn)) if grooves else np.ones_like(turn)
    reach = 1.0 - 0.13 * (1.0 - lock) * np.sin(polar)
    direction = np.stack(np.broadcast_arrays(np.sin(polar) * np.sin(turn), np.cos(polar), np.sin(polar) * np.cos(turn)),
                         -1)  # fmt: skip
    points = np.asarray(centre) + np.asarray(radii) * reach[..., None] * direction
    uv = np.stack(np.broadcast_arrays(turn / (2 * np.pi), polar / np.pi), -1)
    return grid(points, np.asarray(anchor, float), uv, np.broadcast_to(0.55 * (1.0 - lock), points.shape[:2]), True)


class Worn:
    """A piece with the skin vertices that carry it, ready to be drawn on any identity."""

    def __init__(self, piece: Piece, skin: Tensor, skin_rows: Tensor) -> None:
        """skin: [S, 3] the mean's skin, skin_rows: [S] its vertex numbers."""
        like = skin.new_tensor
        self.vertices, self.uv, self.shade = like(piece.vertices), like(piece.uv), like(piece.shade)
        self.faces = torch.as_tensor(piece.faces.copy(), dtype=torch.int64, device=skin.device)
        places, number = np.unique(piece.anchors.round(4), axis=0, return_inverse=True)
        distance, nearest = torch.cdist(like(places), skin).topk(RIDE_ON, largest=False)
        nearness = torch.exp(-0.5 * ((distance - distance[:, :1]) / RIDE_WIDTH) ** 2)
        number = torch.as_tensor(number.reshape(-1), device=skin.device)
        self.rows = skin_rows[nearest]
        self.weights = nearness / nearness.sum(1, keepdim=True)
        self.number = number

    def on(self, moved: Tensor) -> Tensor:
        """[N, 3] for a head whose vertices moved by [V, 3] from the mean."""
        carried = (moved[self.rows] * self.weights[..., None]).sum(1)
        return self.vertices + carried[self.number]
