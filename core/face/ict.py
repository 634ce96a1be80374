"""ICT-FaceKit Light, the free head model of USC's Institute for Creative Technologies (MIT licence).

Source: Li et al. 2020, "Learning formation of physically-based face attributes"; github.com/ICT-VGL/ICT-FaceKit,
FaceXModel. Centimetres, y up, z out of the face. No albedo directions, no joints: jaw and eyes move by blendshapes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .basis import Directions
from .linear import LinearFaceModel
from .model import Group
from .paint import EYEBALL, SKIN, paint_eyeball
from .surface import CHIN, Surface, SurfacePoints, contour_candidates

LAYOUT = "ict-facekit"
UNIT_IN_METRES = 0.01
UNLISTED_EXPRESSIONS = ("PupilDilate_L", "PupilDilate_R", "cheekRaiser_L", "cheekRaiser_R")
"""On disk, but not in `expressions` of vertex_indices.json."""


@dataclass(frozen=True)
class Part:
    """A run of vertices. last: its last vertex (vertex_indices.json). colour: RGB albedo. skin: carries skin colour.

    hidden: a shell that the authors render as glass, shadow or cut-out hair; drawn opaque it would cover the eye.
    """

    name: str
    last: int
    colour: tuple[float, float, float]
    skin: bool = False
    hidden: bool = False


PARTS = (
    Part("narrow face", 6705, SKIN, skin=True),
    Part("face", 9408, SKIN, skin=True),
    Part("head and neck", 11247, SKIN, skin=True),
    Part("mouth socket", 13293, (0.42, 0.16, 0.15)),
    Part("eye sockets", 14061, (0.62, 0.38, 0.33)),
    Part("gums and tongue", 17038, (0.66, 0.33, 0.32)),
    Part("teeth", 21450, (0.88, 0.85, 0.78)),
    Part("left eye, outer", 22220, EYEBALL),
    Part("left eye, inner", 23020, EYEBALL, hidden=True),
    Part("right eye, outer", 23790, EYEBALL),
    Part("right eye, inner", 24590, EYEBALL, hidden=True),
    Part("lacrimal", 24998, (0.75, 0.48, 0.44)),
    Part("eye blend", 25046, SKIN, hidden=True),
    Part("eye occlusion", 25350, SKIN, hidden=True),
    Part("lashes", 26718, (0.13, 0.09, 0.07), hidden=True),
)
"""In the order of the vertices. Colours of what is not skin or eye were chosen by eye, see `paint`."""
FACE = 0
"""Number of the part that a fit compares with the picture: without ears, scalp and neck."""
EYES = ("left eye, outer", "right eye, outer")
"""The balls that are drawn, cornea and white; the inner ones hold iris and lens behind glass."""

ATLAS_CELLS = {0: (0.0, 1 / 3, 2 / 3), 1: (2 / 3, 2 / 3, 1 / 3), 2: (2 / 3, 1 / 3, 1 / 3), 3: (2 / 3, 0.0, 1 / 3),
               4: (1 / 3, 0.0, 1 / 6), 5: (1 / 2, 0.0, 1 / 6), 6: (1 / 3, 1 / 6, 1 / 6)}
"""The file's UVs span seven unit tiles (face, head, gums, teeth, two lacrimals, lashes); ours is one: left, bottom,
size. The face takes four ninths of it."""
EYE_CELL = (0.0, 0.0, 1 / 3)
"""The eyes lie over the face in tile 0; they get a cell of their own, which both share."""

PACKED = ("mean", "identity_basis", "expression_basis", "faces", "uv", "uv_faces", "landmarks68")
"""Arrays of the packed file; its metadata `expressions` is a JSON list of the names."""
NEUTRAL = "vertices.generic_neutral_mesh"
"""In the folder of OBJs, as `core.checkpoints` names the mesh; modes are whole meshes beside it."""
NOTES = "vertex_indices"
"""The folder's JSON: order of the expressions, landmark vertices."""


def matches(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> bool:
    """The packed file, or the folder of meshes."""
    return set(PACKED) <= tensors.keys() or NEUTRAL in tensors


def from_tensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> LinearFaceModel:
    """The model from either form, with the official expressions only."""
    if NEUTRAL in tensors:
        tensors, names = _pack(tensors, metadata[NOTES])
    else:
        names = json.loads(metadata["expressions"])
    listed = [i for i, name in enumerate(names) if name not in UNLISTED_EXPRESSIONS]
    mean, landmarks = tensors["mean"].float(), tensors["landmarks68"].long()
    faces, uv_faces = tensors["faces"].long(), tensors["uv_faces"].long()
    return LinearFaceModel(
        build_surface(mean, faces, tensors["uv"].float(), uv_faces, landmarks),
        mean,
        Directions(tensors["identity_basis"]),
        Directions(tensors["expression_basis"][listed]),
        layout=LAYOUT,
        identity=Group.numbered("identity", len(tensors["identity_basis"])),
        expression=Group(tuple(names[i] for i in listed), low=0.0, high=1.0, gaussian=False),
        albedo=Group(()),
        unit_in_metres=UNIT_IN_METRES,
        height=(mean[:, 1].max() - mean[landmarks[CHIN], 1]).item(),
    )


def build_surface(mean: Tensor, faces: Tensor, uv: Tensor, uv_faces: Tensor, landmarks: Tensor) -> Surface:
    """The mesh without the shells that hide the eyes, its UVs in one atlas, its parts coloured.

    mean: [V, 3]. faces, uv_faces: [F, 3]. uv: [T, 2] in seven tiles. landmarks: [68] vertex numbers.
    """
    ends = torch.tensor([part.last for part in PARTS])
    part_of_vertex = torch.bucketize(torch.arange(len(mean)), ends)
    part_of_face = part_of_vertex[faces.amax(1)]  # on a border the part behind: lips end at the mouth's inside
    drawn = ~_flag("hidden")[part_of_face]
    faces, uv_faces, part_of_face = faces[drawn], uv_faces[drawn], part_of_face[drawn]
    eyes = torch.tensor([part.name in EYES for part in PARTS])[part_of_face]
    return Surface(
        faces=faces,
        uv=_atlas(uv, uv_faces[eyes]),
        uv_faces=uv_faces,
        colours=_colours(mean, part_of_vertex),
        face_region=part_of_face == FACE,
        skin_region=_flag("skin")[part_of_face],
        landmarks68=SurfacePoints.at_vertices(landmarks, faces),
        contour=contour_candidates(mean, faces[_flag("skin")[part_of_face]], mean[landmarks]),
    )


def _pack(tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> tuple[dict[str, Tensor], list[str]]:
    """The folder's meshes as the arrays of the packed file, and the names of its expressions."""
    neutral = tensors[NEUTRAL]
    prefix = NEUTRAL.rpartition(".")[0] + "."
    identities = sorted(name for name in tensors if name.startswith(prefix + "identity"))
    expressions = list(notes["expressions"])
    return {
        "mean": neutral,
        "identity_basis": torch.stack([tensors[name] - neutral for name in identities]).float(),
        "expression_basis": torch.stack([tensors[prefix + name] - neutral for name in expressions]).float(),
        "faces": tensors["faces"],
        "uv": tensors["uv"],
        "uv_faces": tensors["uv_faces"],
        "landmarks68": torch.tensor(notes["idx_to_landmark_verts"]),
    }, expressions


def _flag(name: str) -> Tensor:
    return torch.tensor([getattr(part, name) for part in PARTS])


def _atlas(uv: Tensor, eye_faces: Tensor) -> Tensor:
    """Every tile's cell: [T, 2] in seven tiles -> [T, 2] in 0…1."""
    tile = uv[:, 0].floor().clamp(0, max(ATLAS_CELLS)).long()
    cells = torch.tensor([ATLAS_CELLS[i] for i in sorted(ATLAS_CELLS)])[tile]
    cells[eye_faces.flatten()] = torch.tensor(EYE_CELL)
    inside = torch.stack([uv[:, 0] - tile, uv[:, 1]], 1)
    return cells[:, :2] + cells[:, 2:] * inside


def _colours(mean: Tensor, part_of_vertex: Tensor) -> Tensor:
    """[V, 3]: each part in its colour, an iris and a pupil on the front of each eyeball."""
    colours = torch.tensor([part.colour for part in PARTS])[part_of_vertex]
    for number in (i for i, part in enumerate(PARTS) if part.name in EYES):
        eyeball = (part_of_vertex == number).nonzero().squeeze(1)
        if len(eyeball):
            colours = paint_eyeball(colours, mean, eyeball, UNIT_IN_METRES)
    return colours
