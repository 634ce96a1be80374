"""Wavefront OBJ: one mesh, or a folder of meshes over the same faces (ICT-FaceKit's FaceXModel).

Source: the OBJ format (v, vt, f with 1-based or negative indices); ICT-FaceKit's folder: one OBJ for each mode, each a
full mesh, beside `vertex_indices.json`.
"""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .limits import Budget, UnreadableError, damaged, quoted

MAX_FILE_BYTES = 512 << 20
"""Text of one OBJ or JSON file. ICT-FaceKit's meshes are below 4 MB."""

_LINES = tuple(re.compile(rb"^[ \t]*" + key + rb"[ \t]+(.*)$", re.MULTILINE) for key in (b"v", b"vt", b"f"))
"""Vertices, texture coordinates and faces."""


def read_obj(path: Path, budget: Budget) -> dict[str, Tensor]:
    """One mesh.

    vertices: [V, 3] float64. faces: [F, 3] int64, polygons cut into fans from their first corner. polygons: [F] int64,
    the face line (from 0) that each triangle came from. With texture coordinates: uv: [T, 2] float64, uv_faces: [F, 3]
    int64 into uv.
    """
    mesh = _Text(path, budget)
    return {"vertices": mesh.vertices()} | mesh.topology()


def read_obj_folder(folder: Path, budget: Budget) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All meshes of a folder: `vertices.NAME` [V, 3] for NAME.obj, in order of their names, and one set of faces.

    The metadata holds the folder's JSON files by name. UnreadableError where a mesh has other faces than the first.
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".obj" and path.is_file())
    if not paths:
        raise UnreadableError(
            "is a folder without .obj files. Choose a weights file or the folder with the model's meshes."
        )
    tensors: dict[str, Tensor] = {}
    first: _Text | None = None
    for path in paths:
        mesh = _Text(path, budget)
        vertices = mesh.vertices()
        if first is None:
            first = mesh
            tensors |= mesh.topology()
        elif mesh.faces != first.faces or len(mesh.positions) != len(first.positions):
            raise UnreadableError(
                f"holds meshes of different topology: {quoted(path.name)} differs from {quoted(paths[0].name)}. "
                "Keep only the meshes of one model in the folder."
            )
        tensors[f"vertices.{path.stem}"] = vertices
    notes = {path.stem: _json(path, budget) for path in sorted(folder.glob("*.json"))}
    return tensors, notes


class _Text:
    """The lines of one OBJ file, sorted by their meaning."""

    def __init__(self, path: Path, budget: Budget) -> None:
        self.budget = budget
        content = _read(path, budget).replace(b"\\\r\n", b" ").replace(b"\\\n", b" ")
        budget.spend_steps(content.count(b"\n"))
        self.name = path.name
        self.positions, self.coordinates, self.faces = (pattern.findall(content) for pattern in _LINES)
        if not self.positions:
            raise damaged(f"{quoted(self.name)} holds no vertices")

    def vertices(self) -> Tensor:
        return self._numbers(self.positions, 3)

    def topology(self) -> dict[str, Tensor]:
        corners: list[tuple[int, ...]] = []
        polygons: list[int] = []
        for number, line in enumerate(self.faces):
            ring = [self._corner(corner) for corner in line.split()]
            if len(ring) < 3:
                raise damaged(f"face {number + 1} of {quoted(self.name)} has fewer than three corners")
            for second, third in pairwise(ring[1:]):
                corners.append((ring[0][0], second[0], third[0], ring[0][1], second[1], third[1]))
                polygons.append(number)
        table = torch.tensor(corners, dtype=torch.int64).reshape(-1, 6)
        found = {"faces": table[:, :3].contiguous(), "polygons": torch.tensor(polygons, dtype=torch.int64)}
        if self.coordinates and len(table) and bool((table[:, 3:] >= 0).all()):
            found |= {"uv": self._numbers(self.coordinates, 2), "uv_faces": table[:, 3:].contiguous()}
        return found

    def _numbers(self, lines: list[bytes], columns: int) -> Tensor:
        """The first `columns` numbers of every line; more (weights, colours) are dropped."""
        try:
            rows = [[*map(float, line.split(None, columns)[:columns])] for line in lines]
            self.budget.spend_bytes(len(rows) * columns * 8)
            return torch.from_numpy(np.array(rows, dtype=np.float64).reshape(len(lines), columns))
        except ValueError as error:
            raise damaged(f"{quoted(self.name)} has a vertex that is not {columns} numbers") from error

    def _corner(self, corner: bytes) -> tuple[int, int]:
        """Indices from 0 of the vertex and of its texture coordinate, −1 where there is none."""
        vertex, _, rest = corner.partition(b"/")
        texture = rest.partition(b"/")[0]
        return self._index(vertex, len(self.positions)), self._index(texture, len(self.coordinates)) if texture else -1

    def _index(self, word: bytes, count: int) -> int:
        """OBJ counts from 1, and backwards from the end with negative numbers."""
        try:
            number = int(word)
        except ValueError:
            number = 0
        index = number - 1 if number > 0 else count + number
        if not number or not 0 <= index < count:
            raise damaged(f"{quoted(self.name)} has a face with the corner {quoted(word.decode('latin-1'))}")
        return index


def _json(path: Path, budget: Budget) -> Any:
    try:
        return json.loads(_read(path, budget))
    except (ValueError, RecursionError) as error:
        raise damaged(f"{quoted(path.name)} is not valid JSON") from error


def _read(path: Path, budget: Budget) -> bytes:
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise UnreadableError(f"holds {quoted(path.name)} of {size >> 20} MiB, far more than a mesh needs.")
    budget.spend_bytes(size)
    return path.read_bytes()
