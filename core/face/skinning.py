"""Linear blend skinning with pose correctives, as FLAME uses it.

Source: Loper et al. 2015, "SMPL: a skinned multi-person linear model", section 3; Li et al. 2017, "Learning a model of
facial shape and expression from 4D scans" (FLAME). The order of operations follows DECA's models/lbs.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..types import common_batch
from .basis import Directions

ANGLE_GUARD = 1e-8
"""Added to each component before the length of a rotation vector is taken (models/lbs.py of DECA)."""


def rotation_matrices(axis_angle: Tensor) -> Tensor:
    """[..., 3] radians -> [..., 3, 3] by Rodrigues' formula; exactly the identity at 0, differentiable there."""
    angle = (axis_angle + ANGLE_GUARD).norm(dim=-1, keepdim=True)
    x, y, z = (axis_angle / angle).unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    sine, cosine = angle.sin()[..., None], angle.cos()[..., None]
    return torch.eye(3, dtype=cross.dtype, device=cross.device) + sine * cross + (1 - cosine) * (cross @ cross)


@dataclass(frozen=True, eq=False)
class Posed:
    """Every stage of skinning B poses of V vertices with J joints.

    rotations [B, J, 3, 3]; shaped [B, V, 3], after identity and expression; joints_rest [B, J, 3]; pose_feature
    [B, 9 (J − 1)]; corrected [B, V, 3], with pose correctives; joints [B, J, 3], posed; transforms [B, J, 4, 4], rest
    to posed; vertices [B, V, 3].
    """

    rotations: Tensor
    shaped: Tensor
    joints_rest: Tensor
    pose_feature: Tensor
    corrected: Tensor
    joints: Tensor
    transforms: Tensor
    vertices: Tensor


class Skinning(nn.Module):
    """A mesh that bends at joints: V = Σ_j weight_j · A_j · (shaped + correctives).

    The joints' rest places are linear in the vertices, hence in the coefficients: regressor · mean and regressor ·
    directions are taken once, so a subset of the vertices knows its joints without the others.
    """

    def __init__(
        self,
        mean: Tensor,
        directions: Directions,
        correctives: Directions,
        weights: Tensor,
        joint_mean: Tensor,
        joint_directions: Directions,
        parents: tuple[int, ...],
    ) -> None:
        """mean: [V, 3]. directions: K over V. correctives: 9 (J − 1) over V. weights: [V, J]. joint_mean: [J, 3].

        joint_directions: K over J. parents: one a joint, −1 for the root; a parent comes before its children.
        """
        super().__init__()
        self.directions, self.correctives, self.joint_directions = directions, correctives, joint_directions
        self.parents = parents
        self.register_buffer("mean", mean)
        self.register_buffer("weights", weights)
        self.register_buffer("joint_mean", joint_mean)

    @classmethod
    def from_regressor(
        cls, mean: Tensor, directions: Tensor, correctives: Tensor, weights: Tensor, regressor: Tensor,
        parents: tuple[int, ...],
    ) -> Skinning:
        """directions: [K, V, 3]. correctives: [9 (J − 1), V, 3]. regressor: [J, V], joints from vertices."""
        return cls(
            mean, Directions(directions), Directions(correctives), weights, regressor @ mean,
            Directions(torch.einsum("jv,kvc->kjc", regressor, directions)), parents,
        )

    def forward(self, coefficients: Tensor, pose: Tensor) -> Posed:
        """coefficients: [B, K]. pose: [B, J, 3] axis-angle radians, the root first. B = 1 goes with N."""
        frames = common_batch(coefficients=len(coefficients), poses=len(pose))
        rotations = rotation_matrices(pose).expand(frames, -1, -1, -1)
        shaped = self.mean + self.directions(coefficients)
        joints_rest = self.joint_mean + self.joint_directions(coefficients)
        unbent = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
        feature = (rotations[:, 1:] - unbent).flatten(1)
        corrected = shaped + self.correctives(feature)
        transforms, joints = self._chain(rotations, joints_rest)
        blended = torch.einsum("vj,bjrc->bvrc", self.weights, transforms[:, :, :3])
        vertices = (blended[..., :3] @ corrected[..., None]).squeeze(-1) + blended[..., 3]
        return Posed(rotations, shaped, joints_rest, feature, corrected, joints, transforms, vertices)

    def subset(self, vertex_ids: Tensor) -> Skinning:
        """The same joints, only `vertex_ids` [n]."""
        return Skinning(
            self.mean[vertex_ids], self.directions.subset(vertex_ids), self.correctives.subset(vertex_ids),
            self.weights[vertex_ids], self.joint_mean, self.joint_directions.copy(), self.parents,
        )

    def _chain(self, rotations: Tensor, joints_rest: Tensor) -> tuple[Tensor, Tensor]:
        """Walks from the root outwards -> transforms rest to posed [B, J, 4, 4], posed joints [B, J, 3]."""
        turned, places = [], []
        for joint, parent in enumerate(self.parents):
            if parent < 0:
                turned.append(rotations[:, joint])
                places.append(joints_rest[:, joint].expand(len(rotations), 3))
            else:
                bone = (joints_rest[:, joint] - joints_rest[:, parent])[..., None]
                turned.append(turned[parent] @ rotations[:, joint])
                places.append(places[parent] + (turned[parent] @ bone).squeeze(-1))
        turn, joints = torch.stack(turned, 1), torch.stack(places, 1)
        shift = joints[..., None] - turn @ joints_rest[..., None]
        last_row = turn.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*turn.shape[:2], 1, 4)
        return torch.cat([torch.cat([turn, shift.expand(*turn.shape[:3], 1)], -1), last_row], 2), joints
