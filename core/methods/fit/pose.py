"""Pose in closed form: where a known shape must stand so that its points are seen where they were found.

Source: POS of DeMenthon & Davis 1995 ("Model-based object pose in 25 lines of code"), as in Deep3DFaceRecon
(util/preprocess.py), with reweighting against single wild points.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import UserError
from ...face.camera import angles_from_matrix
from ...types import Camera

ROUNDS = 6
"""Of reweighting; changes below a thousandth from the fourth on."""
OUTLIER = 2.0
"""Medians of the residual at which a point counts half."""
LEAST_SPREAD = 1e-4
"""Of points across their larger extent, below which they lie on a line or in a point."""


def closed_form_pose(shape: Tensor, points: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
    """Angles and translation, [B, 3] each, for `shape` [N, 3] in model space and `points` [B, N, 2] in pixels.

    The projection is taken as parallel; over the depth of a face the difference is a few hundredths. UserError where a
    frame's points span no area.
    """
    seen = (points - camera.principal[:, None]) * points.new_tensor([1, -1])
    spread = torch.linalg.svdvals(seen - seen.mean(1, keepdim=True))
    if bool((spread[:, 1] <= LEAST_SPREAD * spread[:, 0]).any()):
        raise UserError("The landmarks of a frame lie on one line or in one point, so no pose follows; check them.")
    design = torch.cat([shape, torch.ones_like(shape[:, :1])], 1).expand(len(points), -1, -1)
    weight = torch.ones_like(seen[..., :1])
    rows = seen.new_zeros(len(points), 4, 2)
    for _ in range(ROUNDS):
        rows = torch.linalg.solve((design * weight).mT @ design, (design * weight).mT @ seen)
        off = (design @ rows - seen).norm(dim=-1, keepdim=True)
        scatter = off.median(1, keepdim=True).values.clamp_min(torch.finfo(off.dtype).tiny ** 0.5)
        weight = 1 / (1 + (off / (OUTLIER * scatter)).square())
    across, up = rows[:, :3, 0], rows[:, :3, 1]
    scale = (across.norm(dim=1) + up.norm(dim=1)) / 2
    rough = torch.stack([across, up, torch.linalg.cross(across, up) / scale[:, None]], 1)
    left, _, right = torch.linalg.svd(rough)
    translation = torch.cat([rows[:, 3] / scale[:, None], (-camera.focal / scale)[:, None]], 1)
    return angles_from_matrix(left @ right), translation
