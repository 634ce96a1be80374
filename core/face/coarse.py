"""A face model with far fewer triangles, for losses that are drawn small and very often.

Vertices that lie in one cell of a grid and hang together through edges inside it become one of them. Lips and lids,
which touch but share no edge, so stay apart. The vertices that remain are the model's own and move as they did.
Source: vertex clustering (Rossignac & Borrel 1993), of connected pieces instead of whole cells.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .landmarks import LEFT_EYE, RIGHT_EYE
from .model import FaceModel

CELL = 0.06
"""Side of a cell in heights of the face. Chosen on the toon head drawn at 64²: a tenth of the triangles, no holes."""
MOUTH = slice(48, 68)
"""iBUG's points of the lips."""


def coarse_face(model: FaceModel, cell: float = CELL) -> FaceModel:
    """`model` reduced to facial skin and eyes, in coarse triangles, and to what its landmarks need.

    Without the mouth's inside, which generators paint as they like. Its `face_region | ~skin_region` are the triangles
    to be drawn; the others only carry landmarks. Texture coordinates are lost. UserError without landmarks.
    """
    rest = _at_rest(model)
    shown = _shown(model, rest)
    members = model.faces[shown]
    kind = model.face_region[shown]
    kept, faces, kind = _clustered(rest, members, kind, cell * model.height)
    marks = model.faces[model.landmarks68.faces]
    needed = torch.cat([kept, model.surface().landmark_vertices()]).unique()
    number = torch.full((len(rest),), -1, dtype=torch.int64, device=rest.device)
    number[needed] = torch.arange(len(needed), device=rest.device)
    part = model.subset(needed)
    part.faces = torch.cat([number[faces], number[marks]])
    carriers = torch.ones(len(marks), dtype=torch.bool, device=kind.device)
    part.face_region = torch.cat([kind, ~carriers])
    part.skin_region = torch.cat([kind, carriers])
    part.landmark_faces = torch.arange(len(faces), len(faces) + len(marks), device=rest.device)
    part.landmark_barycentrics = model.landmark_barycentrics
    part.uv, part.uv_faces = model.uv.new_zeros(1, 2), torch.zeros_like(part.faces)
    return part


def _at_rest(model: FaceModel) -> Tensor:
    """[V, 3] of the mean face."""
    like = model.colours
    rows = [like.new_zeros(1, len(group)) for group in (model.identity, model.expression)]
    return model.vertices(*rows, like.new_zeros(1, len(model.joints), 3))[0]


def _shown(model: FaceModel, rest: Tensor) -> Tensor:
    """[F] bool: facial skin, and what is no skin and nearer to an eye than to the mouth."""
    points = model.landmarks(rest[None])[0]
    places = torch.stack([points[part].mean(0) for part in (LEFT_EYE, RIGHT_EYE, MOUTH)])
    nearest = torch.cdist(rest[model.faces].mean(1), places).argmin(1)
    return model.face_region | (~model.skin_region & (nearest < 2))


def _clustered(rest: Tensor, faces: Tensor, kind: Tensor, cell: float) -> tuple[Tensor, Tensor, Tensor]:
    """Vertices that stay [n] ascending, triangles among them [F', 3] in the old numbers, and their `kind` [F']."""
    place = (rest / cell).floor().long()
    sort = torch.zeros(len(rest), dtype=torch.int64, device=rest.device)
    sort[faces[kind]] = 1  # skin and eyes do not merge
    place = torch.cat([place, sort[:, None]], 1)
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = edges[(place[edges[:, 0]] == place[edges[:, 1]]).all(1)]
    edges = torch.cat([edges, edges.flip(1)])
    piece = torch.arange(len(rest), device=rest.device)
    while True:  # the lowest number in a piece spreads through it
        lower = piece.scatter_reduce(0, edges[:, 0], piece[edges[:, 1]], "amin")
        if torch.equal(lower, piece):
            break
        piece = lower
    counted = torch.cat([rest, torch.ones_like(rest[:, :1])], 1)
    sums = torch.zeros_like(counted).index_add(0, piece, counted)
    middle = sums[:, :3] / sums[:, 3:].clamp_min(1)
    far = (rest - middle[piece]).norm(dim=1)
    least = torch.full_like(far, torch.inf).scatter_reduce(0, piece, far, "amin")
    candidates = torch.where(far <= least[piece], torch.arange(len(rest), device=rest.device), len(rest))
    chosen = torch.full_like(piece, len(rest)).scatter_reduce(0, piece, candidates, "amin")
    merged = chosen[piece][faces]
    whole = (merged != merged.roll(1, 1)).all(1)
    merged, kind = merged[whole], kind[whole]
    first = _first_of_each(merged.sort(1).values)
    return merged[first].unique(), merged[first], kind[first]


def _first_of_each(rows: Tensor) -> Tensor:
    """Where each of the distinct rows of [n, 3] occurs first, ascending."""
    distinct, owner = rows.unique(dim=0, return_inverse=True)
    places = torch.arange(len(rows), device=rows.device)
    first = torch.full((len(distinct),), len(rows), device=rows.device)
    return first.scatter_reduce(0, owner, places, "amin").sort().values
