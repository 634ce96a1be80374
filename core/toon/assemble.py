"""All parts as one mesh, with the numbers by which later steps find them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import ears, eyes, mouth
from .brows import build_brow
from .mesh import Skin, build_neck_cap, build_skin
from .part import MIRROR, Array, Index, Part
from .unwrap import unwrap


@dataclass(frozen=True, eq=False)
class Head:
    """The mean head.

    vertices: [V, 3]. faces: [F, 3]. parts: names; face_part: [F] number in `parts`. own: the vertices of each part
    (those it is sewn to belong to the skin). mirror: [V]. uv: [T, 2], uv_faces: [F, 3]. skin: the loops of the skin,
    whose vertices come first. bag: [rows, segments] of the mouth's inside.
    """

    vertices: Array
    faces: Index
    parts: tuple[str, ...]
    face_part: Index
    own: dict[str, Index]
    mirror: Index
    uv: Array
    uv_faces: Index
    skin: Skin
    bag: Index

    def mask(self, *names: str) -> Array:
        """[V] 1.0 at the own vertices of the named parts."""
        chosen = np.zeros(len(self.vertices))
        for name in names:
            chosen[self.own[name]] = 1.0
        return chosen


def build_head() -> Head:
    """Sculpts, casts and joins everything; deterministic, some seconds."""
    skin = build_skin()
    vertices = skin.part.vertices + mouth.lip_relief(skin)
    lips = vertices[skin.mouth[0]]
    front = float(lips[:, 2].max())
    right_loops = skin.eye_right
    lid_edge = eyes.build_lid_edge(skin.eye, vertices)
    left = [lid_edge, eyes.build_lashes(skin.eye, vertices), eyes.build_eye(), ears.build_ear(), build_brow()]
    middle = [mouth.build_bag(skin, vertices), mouth.build_teeth(True, front), mouth.build_teeth(False, front),
              mouth.build_tongue(front), build_neck_cap(skin)]
    parts: list[Part] = [Part("skin", vertices, skin.part.faces, skin.part.mirror, skin.part.uv, skin.part.uv_faces)]
    for part in left:
        parts += [part, part.twin(part.name.replace("left", "right"), right_loops[0] if len(part.sewn) else part.sewn)]
    parts += middle
    return _join(skin, parts)


def _join(skin: Skin, parts: list[Part]) -> Head:
    start = np.cumsum([0] + [len(part) for part in parts])
    own = {part.name: np.arange(start[i], start[i + 1]) for i, part in enumerate(parts)}
    faces, mirror = [], []
    for i, part in enumerate(parts):
        numbers = np.concatenate([part.sewn, own[part.name]])
        faces.append(numbers[part.faces])
        if part.mirror is not None:
            mirror.append(start[i] + part.mirror)
        else:
            other = part.name.replace("left", "right") if "left" in part.name else part.name.replace("right", "left")
            mirror.append(own[other])
    uv, uv_faces = unwrap(parts)
    return Head(
        vertices=np.concatenate([part.vertices for part in parts]),
        faces=np.concatenate(faces),
        parts=tuple(part.name for part in parts),
        face_part=np.repeat(np.arange(len(parts)), [len(part.faces) for part in parts]),
        own=own,
        mirror=np.concatenate(mirror),
        uv=uv,
        uv_faces=uv_faces,
        skin=skin,
        bag=own["mouth_bag"].reshape(len(mouth.BAG), -1),
    )


def mirrored(head: Head, field_left: Array) -> Array:
    """[V, 3] displacement on the left -> the same on the right."""
    return field_left[head.mirror] * MIRROR

