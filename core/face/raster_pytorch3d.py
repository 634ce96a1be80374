"""The second backend of `core.face.raster`: PyTorch3D's rasteriser, where it is installed, for comparison.

Only the winning triangles come from PyTorch3D. Barycentrics, depth and gradients are those of the first backend, so the
two differ by nothing but the pixels whose centre lies on an edge up to rounding.

Source: PyTorch3D 0.7.9, `renderer/mesh/rasterize_meshes.py` and its notes on cameras: NDC has +x to the left, +y up,
and the picture's shorter side spans -1…1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import UserError
from .raster_torch import drawn


def winners(
    screen: Tensor, faces: Tensor, size: tuple[int, int], perspective: bool, cull: str | None, max_candidates: int
) -> Tensor:
    """[B, H, W] int64 numbers of the nearest triangles, -1 where there is none. PyTorch3D bounds its memory itself."""
    try:
        from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
        from pytorch3d.structures import Meshes
    except ImportError as error:
        raise UserError(
            "The rasteriser 'pytorch3d' was asked for, but PyTorch3D is not installed. Install it with "
            "`pip install 'portrait-rig[pytorch3d]'`, or choose the rasteriser 'torch', which needs nothing."
        ) from error

    kept = [row.nonzero().squeeze(1) for row in drawn(screen, faces, perspective, cull)]
    numbers = torch.cat([*kept, faces.new_zeros(0, dtype=torch.int64)])
    if not len(numbers):
        return faces.new_full((screen.shape[0], *size), -1, dtype=torch.int64)
    height, width = size
    half = min(size) / 2
    x, y, depth = screen.unbind(-1)
    ndc = torch.stack([(width / 2 - x) / half, (height / 2 - y) / half, depth], dim=-1).nan_to_num()
    meshes = Meshes(list(ndc.float()), [faces.long()[numbers] for numbers in kept])
    packed = rasterize_meshes(meshes, size, faces_per_pixel=1, perspective_correct=perspective)[0][..., 0]
    return torch.where(packed < 0, -1, numbers[packed.clamp(min=0)])
