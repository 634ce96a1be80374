"""What can be measured on a head's triangles: shared by its test and its benchmark."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from safetensors import safe_open


def edge_counts(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[F, 3] -> edges [E, 2], triangles at each, how often its busier direction is walked (1 where all agree)."""
    walked = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    directed, times = np.unique(walked, axis=0, return_counts=True)
    edges, counts = np.unique(np.sort(walked, axis=1), axis=0, return_counts=True)
    busiest = np.zeros(len(edges), int)
    key = {tuple(edge): number for number, edge in enumerate(edges.tolist())}
    for (a, b), n in zip(directed.tolist(), times.tolist(), strict=True):
        number = key[min(a, b), max(a, b)]
        busiest[number] = max(busiest[number], n)
    return edges, counts, busiest


def signed_areas(corners: np.ndarray) -> np.ndarray:
    """[F, 3, 2] -> [F], positive where counter-clockwise."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    return 0.5 * ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0])


def texels_covered_twice(corners: np.ndarray, size: int) -> int:
    """[F, 3, 2] in 0…1 -> texels of a size² texture whose centre lies inside more than one triangle."""
    count = np.zeros((size, size), int)
    for triangle, area in zip(corners * size, signed_areas(corners * size), strict=True):
        (x0, y0), (x1, y1) = np.floor(triangle.min(0)).astype(int), np.ceil(triangle.max(0)).astype(int)
        x, y = np.meshgrid(np.arange(x0, x1) + 0.5, np.arange(y0, y1) + 0.5)
        inside = np.ones(x.shape, bool)
        for p, q in zip(triangle, np.roll(triangle, -1, axis=0), strict=True):
            inside &= ((q - p)[0] * (y - p[1]) - (q - p)[1] * (x - p[0])) / area > 1e-6
        count[y0:y1, x0:x1] += inside
    return int((count > 1).sum())


def face_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return np.cross(b - a, c - a)


def turned_over(rest: np.ndarray, moved: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """[F] bool: the triangles whose normal turns by more than a right angle from `rest` to `moved`."""
    return (face_normals(rest, faces) * face_normals(moved, faces)).sum(1) < 0


def nearest_to_ball(vertices: np.ndarray, faces: np.ndarray, centre: np.ndarray, radius: float) -> float:
    """Least distance of the triangles' corners, edge middles and centres from a ball's centre, in its radii."""
    corners = vertices[faces]
    middles = 0.5 * (corners + np.roll(corners, -1, axis=1))
    points = np.concatenate([corners.reshape(-1, 3), middles.reshape(-1, 3), corners.mean(1)])
    return float(np.linalg.norm(points - centre, axis=1).min() / radius)


def behind_skin(points: np.ndarray, vertices: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """[N, 3] points -> [N] how far each lies behind the skin's outside as seen from the front; NaN where none is there.

    skin: [F, 3] triangles that may cover the points. Negative: the point sticks out.
    """
    shown = skin[face_normals(vertices, skin)[:, 2] > 0]
    a, b, c = (vertices[shown[:, k]] for k in range(3))
    u, v = (b - a)[:, :2], (c - a)[:, :2]
    area = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    depth = np.full(len(points), np.nan)
    for number, point in enumerate(points):
        w = point[:2] - a[:, :2]
        s = (w[:, 0] * v[:, 1] - w[:, 1] * v[:, 0]) / area
        t = (u[:, 0] * w[:, 1] - u[:, 1] * w[:, 0]) / area
        over = (s >= 0) & (t >= 0) & (s + t <= 1)
        if over.any():
            depth[number] = (a[:, 2] + s * (b - a)[:, 2] + t * (c - a)[:, 2])[over].max() - point[2]
    return depth


def parts_of(path: Path) -> dict[str, np.ndarray]:
    """Name -> [F] bool, the triangles of every part of a packed toon head."""
    with safe_open(path, "np") as file:
        names, part = json.loads(file.metadata()["parts"]), file.get_tensor("part")
    return {name: part == number for number, name in enumerate(names)}


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
