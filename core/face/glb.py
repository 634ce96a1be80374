"""Meshes out: one binary glTF 2.0 file (.glb) with normals, UVs, an embedded texture or vertex colours.

Source: Khronos, glTF 2.0 specification, sections 3.6 to 3.9 (buffers, geometry, textures, materials) and 4.4 (GLB).
"""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import UserError
from ..files import replacing
from ..types import Mesh

MAGIC, VERSION = b"glTF", 2
JSON_CHUNK, BINARY_CHUNK = 0x4E4F534A, 0x004E4942
FLOAT, UNSIGNED_INT = 5126, 5125
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
LINEAR, LINEAR_MIPMAP_LINEAR, CLAMP_TO_EDGE = 9729, 9987, 33071
"""Names and numbers of the specification."""

SKIN_ROUGHNESS = 0.7
"""Between plastic and chalk; chosen by eye in a glTF viewer under its default light."""


def save_glb(mesh: Mesh, path: Path) -> None:
    """Writes `mesh` to `path`, replacing an old file only once the new one is whole. UserError as `glb_bytes`."""
    data = glb_bytes(mesh)
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def glb_bytes(mesh: Mesh) -> bytes:
    """The file's contents.

    Vertices keep their axes, which are glTF's own (y up, z towards the viewer). Normals are computed where the mesh has
    none. A texture needs UVs; vertex colours are written where there is no texture. `mesh.extras` becomes the mesh's
    extras. UserError for a mesh without triangles, triangles or UVs that do not fit the vertices, or NaN.
    """
    _check(mesh)
    blob = _Blob()
    attributes = {"POSITION": blob.add_array(_floats(mesh.vertices), ARRAY_BUFFER, bounds=True)}
    normals = vertex_normals(mesh.vertices, mesh.faces) if mesh.normals is None else mesh.normals
    attributes["NORMAL"] = blob.add_array(_floats(normals), ARRAY_BUFFER)
    material: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": SKIN_ROUGHNESS}
    document: dict[str, Any] = {}
    if mesh.uv is not None:
        # glTF counts v from the top
        attributes["TEXCOORD_0"] = blob.add_array(_floats(mesh.uv) * [1, -1] + [0, 1], ARRAY_BUFFER)
    if mesh.texture is not None:
        document["images"] = [{"bufferView": blob.add(_png(mesh.texture)), "mimeType": "image/png"}]
        document["samplers"] = [
            {"magFilter": LINEAR, "minFilter": LINEAR_MIPMAP_LINEAR, "wrapS": CLAMP_TO_EDGE, "wrapT": CLAMP_TO_EDGE}
        ]
        document["textures"] = [{"source": 0, "sampler": 0}]
        material["baseColorTexture"] = {"index": 0}
    elif mesh.colours is not None:
        attributes["COLOR_0"] = blob.add_array(_linear(_floats(mesh.colours)), ARRAY_BUFFER)
    faces = mesh.faces.detach().cpu().numpy().astype(np.uint32).reshape(-1)
    indices = blob.add_array(faces, ELEMENT_ARRAY_BUFFER)
    shape: dict[str, Any] = {"primitives": [{"attributes": attributes, "indices": indices, "material": 0}]}
    if mesh.extras:
        shape["extras"] = mesh.extras
    document |= {
        "asset": {"version": "2.0", "generator": "Portrait Rig"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "face"}],
        "meshes": [shape],
        "materials": [{"pbrMetallicRoughness": material, "doubleSided": True}],
        "accessors": blob.accessors,
        "bufferViews": blob.views,
        "buffers": [{"byteLength": len(blob.data)}],
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    chunks = _chunk(JSON_CHUNK, text, b" ") + _chunk(BINARY_CHUNK, bytes(blob.data), b"\0")
    return struct.pack("<4sII", MAGIC, VERSION, 12 + len(chunks)) + chunks


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """[V, 3], [F, 3] -> [V, 3] unit normals, weighted by the triangles' areas.

    Vertices at the same place share theirs, so that UV seams stay invisible. Where no triangle has an area: (0, 0, 1).
    """
    _, place = torch.unique(vertices, dim=0, return_inverse=True)
    corners = vertices[faces]
    twice_area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    sums = torch.zeros_like(vertices)
    sums.index_add_(0, place[faces].reshape(-1), twice_area.repeat_interleave(3, 0))
    length = sums.norm(dim=1, keepdim=True)
    unit = torch.where(length > 0, sums / length.clamp_min(1e-30), sums.new_tensor([0.0, 0.0, 1.0]))
    return unit[place]


class _Blob:
    """The binary chunk, its views and accessors."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, int]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(self, content: bytes, target: int | None = None) -> int:
        """Index of the new view; every view starts at a multiple of four bytes."""
        self.data += bytes(-len(self.data) % 4)
        view = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(content)}
        self.views.append(view if target is None else {**view, "target": target})
        self.data += content
        return len(self.views) - 1

    def add_array(self, values: np.ndarray, target: int, bounds: bool = False) -> int:
        """Index of the new accessor. values: [N, 2 or 3] float or [N] uint32."""
        whole = values.dtype == np.uint32
        values = values if whole else values.astype(np.float32)
        accessor = {
            "bufferView": self.add(values.tobytes(), target),
            "componentType": UNSIGNED_INT if whole else FLOAT,
            "count": len(values),
            "type": "SCALAR" if whole else f"VEC{values.shape[1]}",
        }
        if bounds:
            accessor |= {"min": values.min(0).tolist(), "max": values.max(0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1


def _check(mesh: Mesh) -> None:
    count = len(mesh.vertices)
    if not count or not len(mesh.faces):
        raise UserError(f"A mesh file needs triangles; this mesh has {count} vertices and {len(mesh.faces)} triangles.")
    low, high = mesh.faces.min().item(), mesh.faces.max().item()
    if low < 0 or high >= count:
        raise UserError(f"The mesh's triangles name the vertices {low} to {high}, but it has {count}, counted from 0.")
    for name in ("vertices", "uv", "normals", "colours"):
        values = getattr(mesh, name)
        if values is None:
            continue
        if len(values) != count:
            raise UserError(f"The mesh has {count} vertices but {len(values)} {name}; a mesh file needs one for each.")
        if not torch.isfinite(values).all():
            raise UserError(f"The mesh's {name} hold values that are no numbers (NaN or infinite).")
    if mesh.texture is not None and mesh.uv is None:
        raise UserError("The mesh has a texture but no UV coordinates, which say where the texture belongs.")


def _floats(values: Tensor) -> np.ndarray:
    return values.detach().cpu().double().numpy()


def _png(texture: Tensor) -> bytes:
    """[3, H, W] RGB 0…1 -> the bytes of a PNG file."""
    pixels = (texture.detach().cpu().float().nan_to_num().clamp(0, 1) * 255).round().byte()
    buffer = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(buffer, "PNG")
    return buffer.getvalue()


def _linear(colours: np.ndarray) -> np.ndarray:
    """Colours in sRGB 0…1 -> linear light, which glTF's vertex colours are in (IEC 61966-2-1)."""
    colours = colours.clip(0, 1)
    return np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)


def _chunk(kind: int, content: bytes, filler: bytes) -> bytes:
    content += filler * (-len(content) % 4)
    return struct.pack("<II", len(content), kind) + content
