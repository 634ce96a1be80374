"""A piece of the head and the few shapes of triangle rows that all pieces are made of."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.int64]
MIRROR = np.array([-1.0, 1.0, 1.0])
NO_VERTICES: Index = np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False)
class Part:
    """One named piece.

    vertices: [V, 3] head units. faces: [F, 3], counter-clockwise from outside; they number the vertices of `sewn`
    first, then the part's own. sewn: [S] vertices of the skin that the part is sewn to. mirror: [V] the own vertex at
    (−x, y, z); None where the part is one of a pair, whose twin has the same order. uv: [T, 2] in any unit, scaled
    later to the part's island; uv_faces: [F, 3].
    """

    name: str
    vertices: Array
    faces: Index
    mirror: Index | None
    uv: Array
    uv_faces: Index
    sewn: Index = field(default_factory=lambda: NO_VERTICES)

    def __len__(self) -> int:
        return len(self.vertices)

    def twin(self, name: str, sewn: Index = NO_VERTICES) -> Part:
        """The mirror image, wound the right way round, with its vertices in the same order."""
        return replace(
            self,
            name=name,
            vertices=self.vertices * MIRROR,
            faces=self.faces[:, ::-1],
            uv=self.uv * np.array([-1.0, 1.0]),
            uv_faces=self.uv_faces[:, ::-1],
            sewn=sewn,
        )


def strip(a: Index, b: Index, closed: bool = True) -> Index:
    """Two rows of n vertices -> 2n triangles (2n − 2 when open), wound a → next a → next b."""
    a_next, b_next = np.roll(a, -1), np.roll(b, -1)
    if not closed:
        a, b, a_next, b_next = a[:-1], b[:-1], a_next[:-1], b_next[:-1]
    return np.concatenate([np.stack([a, a_next, b_next], 1), np.stack([a, b_next, b], 1)])


def grid(rows: int, columns: int) -> Index:
    """Triangles of a rows × columns lattice numbered row by row."""
    index = np.arange(rows * columns).reshape(rows, columns)
    return np.concatenate([strip(index[i], index[i + 1], closed=False) for i in range(rows - 1)])


def tube(rings: Array, start: Array, end: Array) -> tuple[Array, Index, Array, Index]:
    """A closed tube: [R, S, 3] rings between two tips [3] -> vertices, faces, uv (a cut-open rectangle), uv_faces.

    Vertices: ring by ring, then the two tips. Faces look outward where a ring turns clockwise seen from `start`.
    """
    count, sides = rings.shape[:2]
    index = np.arange(count * sides).reshape(count, sides)
    first, last = count * sides, count * sides + 1
    faces = np.concatenate([*(strip(index[i], index[i + 1]) for i in range(count - 1)),
                            fan(index[0], first)[:, [1, 0, 2]], fan(index[-1], last)])
    v, u = np.meshgrid(np.linspace(0.1, 0.9, count), np.linspace(0.0, 1.0, sides + 1), indexing="ij")
    middle = (np.arange(sides) + 0.5) / sides
    uv = np.concatenate([np.column_stack([u.ravel(), v.ravel()]), np.column_stack([middle, np.zeros(sides)]),
                         np.column_stack([middle, np.ones(sides)])])
    lattice = np.arange(count * (sides + 1)).reshape(count, sides + 1)
    tips = count * (sides + 1) + np.arange(2 * sides).reshape(2, sides)
    uv_faces = np.concatenate([
        *(_open_strip(lattice[i], lattice[i + 1]) for i in range(count - 1)),
        np.stack([lattice[0, 1:], lattice[0, :-1], tips[0]], 1),
        np.stack([lattice[-1, :-1], lattice[-1, 1:], tips[1]], 1),
    ])
    return np.concatenate([rings.reshape(-1, 3), start[None], end[None]]), faces, uv, uv_faces


def _open_strip(a: Index, b: Index) -> Index:
    return np.concatenate([np.stack([a[:-1], a[1:], b[1:]], 1), np.stack([a[:-1], b[1:], b[:-1]], 1)])


def fan(ring: Index, tip: int) -> Index:
    """Triangles from a ring to one vertex, wound like the ring."""
    return np.stack([ring, np.roll(ring, -1), np.full(len(ring), tip)], 1)


def smoothstep(low: float, high: float, x: Array) -> Array:
    """0 at `low`, 1 at `high`, cubic between, constant outside; `low` > `high` falls instead of rising."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def bell(points: Array, centre: tuple[float, ...], width: tuple[float, ...]) -> Array:
    """[N, 3] -> [N] Gaussian of 1 at `centre`; an infinite width ignores that axis."""
    return np.exp(-0.5 * (((points - np.array(centre)) / np.array(width)) ** 2).sum(axis=1))
