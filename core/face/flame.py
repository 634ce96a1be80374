"""FLAME: a head of 5,023 vertices with identity, expression, a neck, a jaw and eyes that turn.

Source: Li et al. 2017, "Learning a model of facial shape and expression from 4D scans". Reads the fields of
generic_model.pkl (2020), flame2023.pkl and flame2023_Open.pkl; metres, y up, z out of the face. Files beside the model
add what it lacks: landmark_embedding.npy (DECA's data folder), head_template.obj (UVs), a texture space.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..types import common_batch
from .flame_texture import FlameTexture
from .model import FaceModel, Group
from .paint import SKIN, paint_eyeball
from .skinning import Posed, Skinning, rotation_matrices
from .surface import JAW_LANDMARKS, Surface, SurfacePoints, cylindrical_uv, frontal_region

FIELDS = ("v_template", "f", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table")
IDENTITY_MODES = 300
"""Columns of `shapedirs` that are identity in every published file (DECA, models/FLAME.py)."""
JOINTS = ("neck", "jaw", "left_eye", "right_eye")
"""After the root, in the order of `kintree_table`. The root does not bend: the head's pose is FaceParams.angles."""
JAW, EYES = 2, (3, 4)
UNIT_IN_METRES = 1.0
ANGLE_LIMIT = 39
"""Degrees; the contour table has rows for 0…39 and −1…−39 (models/lbs.py of DECA)."""

EMBEDDING, TEMPLATE = "landmark_embedding.npy", "head_template.obj"
TEXTURES = ("FLAME_texture.npz", "FLAME_albedo_from_BFM.npz")
COMPANIONS = (EMBEDDING, TEMPLATE, *TEXTURES)
"""Files that are read where they lie beside the model."""


def matches(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> bool:
    """The fields that skinning needs; SMPL and its kin have other numbers of joints."""
    return set(FIELDS) <= tensors.keys() and tensors["kintree_table"].shape[-1] == 1 + len(JOINTS)


def from_tensors(
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, Any],
    companions: Mapping[str, Mapping[str, Tensor]] | None = None,
    identity_modes: int = IDENTITY_MODES,
) -> Flame:
    """The model from its file's arrays.

    companions: the arrays of the COMPANIONS that were found, by file name. identity_modes: columns of `shapedirs` that
    are identity; those after are expression.
    """
    companions = companions or {}
    skinning, faces = skinning_from_tensors(tensors), tensors["f"].long()
    landmarks = YawLandmarks(companions[EMBEDDING]) if EMBEDDING in companions else None
    surface = _surface(skinning, faces, landmarks, companions)
    texture = next((FlameTexture.from_tensors(companions[name]) for name in TEXTURES if name in companions), None)
    albedos = None
    if texture is not None:
        colours, albedos = texture.at_vertices(surface)
        surface = replace(surface, colours=colours)
    modes = len(skinning.directions)
    return Flame(
        surface,
        skinning,
        landmarks,
        texture,
        albedos=albedos,
        layout=layout_name(tensors["v_template"], metadata),
        identity=Group.numbered("identity", min(modes, identity_modes)),
        expression=Group.numbered("expression", max(modes - identity_modes, 0)),
        albedo=Group.numbered("albedo", 0 if texture is None else len(texture)),
        joints=JOINTS,
        unit_in_metres=UNIT_IN_METRES,
        height=(skinning.mean[:, 1].max() - _chin(skinning)).item(),
    )


def skinning_from_tensors(tensors: Mapping[str, Tensor]) -> Skinning:
    """The bending mesh of a FLAME file; dense or sparse regressor, any floating type, computed in float32."""

    def read(name: str) -> Tensor:
        tensor = tensors[name]
        return (tensor.to_dense() if tensor.layout != torch.strided else tensor).float()

    parents = [int(parent) for parent in tensors["kintree_table"][0].tolist()]
    last = len(parents) - 1
    return Skinning.from_regressor(
        read("v_template"),
        read("shapedirs").permute(2, 0, 1),
        read("posedirs").permute(2, 0, 1),
        read("weights"),
        read("J_regressor"),
        tuple(parent if 0 <= parent <= last else -1 for parent in parents),  # the root's parent is 2³²−1 in the file
    )


def layout_name(template: Tensor, metadata: Mapping[str, Any]) -> str:
    """'flame-2023-open-…' or 'flame-…' with a fingerprint of the mean head.

    Files carry no version, and the modes of one release mean something else in another, so codes are bound to the mean
    head that they were made with: six digits of the SHA-256 of its coordinates, rounded to micrometres.
    """
    rounded = (template.double() * 1e6).round().to(torch.int64)
    fingerprint = hashlib.sha256(rounded.cpu().contiguous().numpy().astype("<i8").tobytes()).hexdigest()[:6]
    return f"flame-2023-open-{fingerprint}" if "supr_expression_metadata" in metadata else f"flame-{fingerprint}"


class Flame(FaceModel):
    """FLAME with its joints as FaceParams.joints; FaceParams.angles turn the head about the model's origin.

    DECA's global rotation turns it about the root joint instead: `root_offset` is the difference.
    """

    def __init__(
        self,
        surface: Surface,
        skinning: Skinning,
        yaw_landmarks: YawLandmarks | None,
        texture: FlameTexture | None,
        **groups: Any,
    ) -> None:
        super().__init__(surface, **groups)
        self.skinning, self.yaw_landmarks, self.texture = skinning, yaw_landmarks, texture

    def vertices(self, identity: Tensor, expression: Tensor, joints: Tensor | None = None) -> Tensor:
        if joints is None:
            joints = identity.new_zeros(1, len(JOINTS), 3)
        root = torch.zeros_like(joints[:, :1])
        return self.pose(identity, expression, torch.cat([root, joints], 1)).vertices

    def pose(self, identity: Tensor, expression: Tensor, pose: Tensor) -> Posed:
        """Every stage of skinning. pose: [B, 5, 3] axis-angle: root, neck, jaw, left eye, right eye.

        identity, expression: [B, n] with n up to the model's number; the modes that are left out are at rest.
        """
        frames = common_batch(identities=len(identity), expressions=len(expression))
        coefficients = [
            torch.nn.functional.pad(weights, (0, len(group) - weights.shape[1])).expand(frames, -1)
            for weights, group in ((identity, self.identity), (expression, self.expression))
        ]
        return self.skinning(torch.cat(coefficients, 1), pose)

    def root_offset(self, identity: Tensor, expression: Tensor, rotation: Tensor) -> Tensor:
        """[B, 3] to add to R · v, so that R [B, 3, 3] turns about the root joint as DECA's global pose does."""
        still = identity.new_zeros(1, 1 + len(JOINTS), 3)
        root = self.pose(identity, expression, still).joints_rest[:, 0]
        return root - (rotation @ root[..., None]).squeeze(-1)

    def subset(self, vertex_ids: Tensor) -> Flame:
        return Flame(
            self.surface().subset(vertex_ids), self.skinning.subset(vertex_ids), None, None, **self.groups(vertex_ids)
        )

    def no_landmarks(self) -> str:
        return (
            f"FLAME's model file holds no landmarks, and '{EMBEDDING}' was not found beside it. Put that file from "
            "DECA's data folder, or an embedding of your own with the same fields, into the folder of the model."
        )


class YawLandmarks(nn.Module):
    """The 68 landmarks of an embedding file, the jaw's chosen from a table by the head's yaw.

    Fields of landmark_embedding.npy: static (51 inner landmarks), dynamic (79 rows of 17 jaw landmarks), full (all 68,
    fixed to the surface).
    """

    def __init__(self, embedding: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name in ("static", "dynamic", "full"):
            faces, barycentrics = (f"{name}_lmk_faces_idx", f"{name}_lmk_bary_coords")
            shape = (51,) if name == "static" else (-1, JAW_LANDMARKS if name == "dynamic" else 68)
            self.register_buffer(f"{name}_faces", embedding[faces].long().reshape(shape))
            self.register_buffer(f"{name}_barycentrics", embedding[barycentrics].float().reshape(*shape, 3))

    def full(self) -> SurfacePoints:
        """All 68, fixed to the surface."""
        return SurfacePoints(self.full_faces[0], self.full_barycentrics[0])

    def forward(self, vertices: Tensor, faces: Tensor, rotation: Tensor) -> Tensor:
        """[B, V, 3] posed vertices, [F, 3], [B, 3, 3] root · neck -> [B, 68, 3] as DECA's landmarks2d."""
        row = contour_row(rotation)
        corners = faces[self.dynamic_faces[row]].flatten(1)
        jaw = vertices.gather(1, corners[..., None].expand(-1, -1, 3)).unflatten(1, (JAW_LANDMARKS, 3))
        jaw = (jaw * self.dynamic_barycentrics[row][..., None]).sum(2)
        inner = SurfacePoints(self.static_faces, self.static_barycentrics).on(vertices, faces)
        return torch.cat([jaw, inner], 1)

    def candidates(self, mean: Tensor, faces: Tensor) -> Tensor:
        """[17, 40] vertices that each jaw landmark passes as the head turns away from it, nearest corner of each row.

        Tables exist with either sign of the yaw; the half in which a landmark moves forward (+z) is its own.
        """
        corner = self.dynamic_barycentrics.argmax(-1, keepdim=True)
        nearest = faces[self.dynamic_faces].gather(2, corner).squeeze(2)
        up, down = nearest[: ANGLE_LIMIT + 1], torch.cat([nearest[:1], nearest[ANGLE_LIMIT + 1:]])
        forward = mean[up[-1], 2] >= mean[down[-1], 2]
        return torch.where(forward, up, down).T.contiguous()


def contour_row(rotation: Tensor, negated: bool = False) -> Tensor:
    """[B, 3, 3] root · neck -> [B] int64, the row of the contour table for the head's yaw.

    negated: tables of FLAME_PyTorch and smplx, whose yaw has the other sign; DECA's is taken as it stands.
    """
    yaw = torch.atan2(-rotation[:, 2, 0], (rotation[:, 0, 0] ** 2 + rotation[:, 1, 0] ** 2).sqrt())
    degrees = (yaw * (-180 / math.pi if negated else 180 / math.pi)).clamp(max=ANGLE_LIMIT).round().long()
    return torch.where(degrees >= 0, degrees, ANGLE_LIMIT - degrees.clamp(min=-ANGLE_LIMIT))


def contour_rotation(pose: Tensor) -> Tensor:
    """[B, 5, 3] axis-angle, root and neck first -> [B, 3, 3], what the contour's yaw is read from."""
    root, neck = rotation_matrices(pose[:, :2]).unbind(1)
    return root @ neck


def _surface(
    skinning: Skinning, faces: Tensor, landmarks: YawLandmarks | None, companions: Mapping[str, Mapping[str, Tensor]]
) -> Surface:
    mean, leader = skinning.mean, skinning.weights.argmax(1)
    eyeball = torch.isin(leader, torch.tensor(EYES))
    colours = torch.tensor(SKIN).expand(len(mean), 3)
    for joint in EYES:
        if (leader == joint).any():
            colours = paint_eyeball(colours, mean, (leader == joint).nonzero().squeeze(1), UNIT_IN_METRES)
    if TEMPLATE in companions:
        uv, uv_faces = companions[TEMPLATE]["uv"].float(), companions[TEMPLATE]["uv_faces"].long()
    else:
        uv, uv_faces = cylindrical_uv(mean, faces)
    skin = ~eyeball[faces].any(1)
    return Surface(
        faces=faces,
        uv=uv,
        uv_faces=uv_faces,
        colours=colours,
        face_region=skin & frontal_region(mean, faces, _chin(skinning)),
        skin_region=skin,
        landmarks68=None if landmarks is None else landmarks.full(),
        contour=None if landmarks is None else landmarks.candidates(mean, faces),
    )


def _chin(skinning: Skinning) -> Tensor:
    """Height of the lowest vertex that follows the jaw more than any other joint."""
    on_jaw = skinning.weights.argmax(1) == JAW
    heights = skinning.mean[:, 1]
    return heights[on_jaw].min() if on_jaw.any() else heights.min()
