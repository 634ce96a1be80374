"""The pack's own stylised head: linear in identity and expression, with round eyes that turn under lids that never cut
them.

Reads `weights/toon_head.safetensors`, which `core.toon` writes. One unit is half a head's height; x to the picture's
right, y up, z out of the face.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .basis import Directions
from .linear import LinearFaceModel
from .model import Group
from .skinning import rotation_matrices
from .surface import Surface, SurfacePoints, contour_candidates

LAYOUT = "toon-head"
JOINTS = ("left_eye", "right_eye")
LID_CLEARANCE = 1.035
"""Distance that a lid keeps from the eyeball's centre, in its radii; on its straight way from open to closed it would
cut the ball. Chosen by looking at closing eyes."""


def matches(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> bool:
    """The file says so itself."""
    return metadata.get("layout") == LAYOUT


def from_tensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> ToonHead:
    """The model from its packed file. Names of the groups are JSON lists in the metadata, numbers JSON numbers."""
    identity, expression, albedo = (json.loads(metadata[name]) for name in ("identity", "expression", "albedo"))
    mean, faces, face_region = tensors["mean"].float(), tensors["faces"].long(), tensors["face_region"].bool()
    points = SurfacePoints(tensors["landmarks68_faces"].long(), tensors["landmarks68_barycentrics"].float())
    surface = Surface(
        faces=faces,
        uv=tensors["uv"].float(),
        uv_faces=tensors["uv_faces"].long(),
        colours=tensors["albedo_mean"].float(),
        face_region=face_region,
        skin_region=tensors["skin_region"].bool(),
        landmarks68=points,
        contour=contour_candidates(mean, faces[face_region], points.on(mean[None], faces)[0]),
    )
    return ToonHead(
        surface,
        mean,
        Directions(tensors["identity"]),
        Directions(tensors["expression"]),
        Eyes.from_tensors(tensors),
        albedos=Directions(tensors["albedo"]),
        layout=LAYOUT,
        identity=Group(tuple(identity)),
        expression=Group(tuple(expression), low=0.0, high=1.0, gaussian=False),
        albedo=Group(tuple(albedo), lowest=tuple(json.loads(metadata["albedo_lowest"]).items())),
        joints=JOINTS,
        unit_in_metres=float(metadata["unit_in_metres"]),
        height=float(metadata["height"]),
    )


class ToonHead(LinearFaceModel):
    """The linear head, then its eyes: lids are pushed out of the balls, the joints turn the balls."""

    def __init__(
        self, surface: Surface, mean: Tensor, identities: Directions, expressions: Directions, eyes: Eyes, **groups: Any
    ) -> None:
        super().__init__(surface, mean, identities, expressions, **groups)
        self.eyes = eyes

    def vertices(self, identity: Tensor, expression: Tensor, joints: Tensor | None = None) -> Tensor:
        moved = self.expressions(expression) * self.eyes.stretch(identity)
        return self.eyes(self.mean + self.identities(identity) + moved, identity, joints)

    def subset(self, vertex_ids: Tensor) -> ToonHead:
        linear = super().subset(vertex_ids)
        return ToonHead(
            linear.surface(), linear.mean, linear.identities, linear.expressions, self.eyes.subset(vertex_ids),
            **self.groups(vertex_ids),
        )


class Eyes(nn.Module):
    """Two balls, left first: where they are for an identity, which vertices are theirs, which are lids around them."""

    def __init__(
        self,
        centres: Tensor,
        radius: Tensor,
        shifts: Directions,
        growth: Directions,
        ball: Tensor,
        lid: Tensor,
        follow: Tensor,
    ) -> None:
        """centres: [2, 3]. radius: [2]. shifts: K over 2 of 3. growth: K over 2 of 1, share of the radius.

        ball, lid: [V] int64, 0 for vertices that are none, 1 for the left eye's, 2 for the right eye's. follow: [V, 2]
        0…1, how far expressions grow with either eye, so that lids close over large eyes as over small ones.
        """
        super().__init__()
        self.shifts, self.growth = shifts, growth
        for name, value in (
            ("centres", centres), ("radius", radius), ("ball", ball), ("lid", lid), ("follow", follow)
        ):  # fmt: skip
            self.register_buffer(name, value)
        for name, side in (("ball", ball), ("lid", lid)):
            self.register_buffer(f"{name}_vertices", side.nonzero().squeeze(1))
            self.register_buffer(f"{name}_side", side[side > 0] - 1)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Eyes:
        """From the packed file; `eye_follow` belongs to the eye on a vertex's own side of the middle."""
        left = tensors["mean"][:, 0] >= 0
        return cls(
            tensors["eye_centres"].float(),
            tensors["eye_radius"].float(),
            Directions(tensors["eye_identity"]),
            Directions(tensors["eye_scale"][..., None]),
            tensors["eye_vertices"].long(),
            tensors["lid_vertices"].long(),
            tensors["eye_follow"].float()[:, None] * torch.stack([left, ~left], 1),
        )

    def stretch(self, identity: Tensor) -> Tensor:
        """[B, K] -> [B, V, 1], what an expression's displacements are multiplied by."""
        return 1 + torch.einsum("ve,bec->bvc", self.follow, self.growth(identity))

    def forward(self, vertices: Tensor, identity: Tensor, joints: Tensor | None) -> Tensor:
        """[B, V, 3] linear head, [B, K], [B, 2, 3] axis-angle or None -> [B, V, 3]."""
        centres = self.centres + self.shifts(identity)
        radius = self.radius[None, :, None] * (1 + self.growth(identity))
        around = centres[:, self.lid_side]
        off = vertices[:, self.lid_vertices] - around
        distance = off.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(off.dtype).tiny)
        kept = distance.maximum(LID_CLEARANCE * radius[:, self.lid_side])
        vertices = vertices.index_copy(1, self.lid_vertices, around + off * (kept / distance))
        if joints is None:
            return vertices
        turn = rotation_matrices(joints)[:, self.ball_side]
        around = centres[:, self.ball_side]
        turned = around + (turn @ (vertices[:, self.ball_vertices] - around)[..., None]).squeeze(-1)
        return vertices.expand(len(turned), -1, -1).index_copy(1, self.ball_vertices, turned)

    def subset(self, vertex_ids: Tensor) -> Eyes:
        """The same eyes, only `vertex_ids` [n] of the head."""
        ball, lid = self.ball[vertex_ids], self.lid[vertex_ids]
        shifts, growth = self.shifts.copy(), self.growth.copy()
        return Eyes(self.centres, self.radius, shifts, growth, ball, lid, self.follow[vertex_ids])
