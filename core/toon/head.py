"""Builds the toon head and writes it: `python -m portrait_rig.core.toon.head weights/toon_head.safetensors`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from . import field, marks
from .assemble import Head, build_head
from .expressions import build_expressions
from .identity import build_identity, eye_follow
from .paint import LOWEST, build_albedo
from .part import MIRROR

LAYOUT = "toon-head"
UNIT_IN_METRES = 0.12
"""A head unit; the head is 2.0 high, a person's 0.24 m."""
COMMAND = "python -m portrait_rig.core.toon.head weights/toon_head.safetensors"
LICENCE = "Apache-2.0"


def build_tensors() -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Tensors and metadata of the file; the same to the bit on the same machine."""
    head = build_head()
    expressions = build_expressions(head)
    identity = build_identity(head)
    albedo_mean, albedo = build_albedo(head)
    points, corners = marks.surface_points(head, marks.landmarks(head))
    face_region, skin_region = marks.regions(head)
    eyes = np.stack([field.EYE_CENTRE, field.EYE_CENTRE * MIRROR])
    half, single = np.float16, np.float32
    tensors = {
        "mean": head.vertices.astype(single),
        "identity": np.stack([d.move for d in identity.values()]).astype(half),
        "expression": np.stack(list(expressions.values())).astype(half),
        "albedo_mean": albedo_mean.astype(single),
        "albedo": np.stack(list(albedo.values())).astype(half),
        "faces": head.faces.astype(np.int32),
        "uv": head.uv.astype(single),
        "uv_faces": head.uv_faces.astype(np.int32),
        "landmarks68_faces": points.astype(np.int32),
        "landmarks68_barycentrics": corners.astype(single),
        "face_region": face_region.astype(np.uint8),
        "skin_region": skin_region.astype(np.uint8),
        "part": head.face_part.astype(np.uint8),
        "eye_centres": eyes.astype(single),
        "eye_radius": np.full(2, field.EYE_RADIUS, single),
        "eye_vertices": _sides(head, ("eye_left",), ("eye_right",)),
        "lid_vertices": _lid_sides(head),
        "eye_follow": eye_follow(head).astype(single),
        "eye_identity": np.stack([d.eye_shift for d in identity.values()]).astype(single),
        "eye_scale": np.repeat([[d.eye_scale] for d in identity.values()], 2, axis=1).astype(single),
        "mirror": head.mirror.astype(np.int32),
    }
    metadata = {
        "layout": LAYOUT,
        "kind": "morphable head",
        "identity": json.dumps(list(identity)),
        "expression": json.dumps(list(expressions)),
        "albedo": json.dumps(list(albedo)),
        "albedo_lowest": json.dumps(LOWEST),
        "parts": json.dumps(head.parts),
        "unit_in_metres": str(UNIT_IN_METRES),
        "height": str(round(float(np.ptp(head.vertices[head.own["skin"], 1][_above_neck(head)])), 4)),
        "licence": LICENCE,
        "command": COMMAND,
    }
    return {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, metadata


def write_head(path: Path) -> None:
    """Writes the file beside `path` first and renames it, so that a crash leaves the old one whole."""
    tensors, metadata = build_tensors()
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(_in_order(save(tensors, metadata)))
    os.replace(partial, path)


def _in_order(packed: bytes) -> bytes:
    """The same file with its metadata sorted: safetensors writes them in an order that changes from run to run."""
    length = int.from_bytes(packed[:8], "little")
    header = json.loads(packed[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors start at a multiple of eight bytes
    return len(text).to_bytes(8, "little") + text + packed[8 + length :]


def _above_neck(head: Head) -> np.ndarray:
    p = head.vertices[head.own["skin"]]
    return p[:, 1] > p[marks.landmarks(head)[8], 1] - 1e-9


def _sides(head: Head, left: tuple[str, ...], right: tuple[str, ...]) -> np.ndarray:
    return (head.mask(*left) + 2 * head.mask(*right)).astype(np.uint8)


def _lid_sides(head: Head) -> np.ndarray:
    sides = _sides(head, ("lashes_left",), ("lashes_right",))
    sides[head.skin.eye] = 1
    sides[head.skin.eye_right] = 2
    return sides


if __name__ == "__main__":
    write_head(Path(sys.argv[1]))
