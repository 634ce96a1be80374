"""`raster/mesh`: one mesh through PyTorch3D's rasteriser; winners, barycentrics, depth, picture and gradients."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from goldens import Case, Comparison
from portrait_rig.core.face.raster import Fragments, interpolate, rasterise
from torch import Tensor

OUTLIERS = 1e-3
"""Share of pixels whose winner may differ: centres that lie on an edge up to rounding."""
BARYCENTRICS = 1e-4
GRADIENTS = 1e-3
EPSILON = 1e-8
"""PyTorch3D adds this to a triangle's doubled area in NDC before it divides (kEpsilon in rasterize_meshes), so that its
barycentrics sum to less than 1, by 0.2 % on small triangles; where they are made right in perspective it cancels."""


def to_pixels(ndc: Tensor, size: tuple[int, int]) -> Tensor:
    """PyTorch3D's NDC (+x left, +y up, the shorter side spans -1…1, depth in z) -> screen of `core.face.raster`."""
    height, width = size
    half = min(size) / 2
    return torch.stack([width / 2 - half * ndc[:, 0], height / 2 - half * ndc[:, 1], ndc[:, 2]], dim=-1)


def shrunk(fragments: Fragments, ndc: Tensor, faces: Tensor) -> Fragments:
    """The same fragments with PyTorch3D's barycentrics."""
    (xa, ya, _), (xb, yb, _), (xc, yc, _) = (corner.unbind(-1) for corner in ndc[faces].unbind(1))
    area = ((xb - xa) * (yc - ya) - (yb - ya) * (xc - xa)).abs()
    share = (area / (area + EPSILON))[fragments.face.clamp(min=0)]
    return replace(fragments, barycentrics=fragments.barycentrics * share[..., None])


def check(case: Case) -> Iterable[Comparison]:
    size = tuple(case.config["image_size"])
    faces = case.given["faces"].long()
    ndc, attributes = case.given["verts"].clone().requires_grad_(), case.given["attr"].clone().requires_grad_()
    fragments = rasterise(to_pixels(ndc, size)[None], faces, size, perspective=case.config["perspective_correct"])
    if not case.config["perspective_correct"]:
        fragments = shrunk(fragments, ndc, faces)
    image = interpolate(fragments, attributes[None], faces)[0]
    depth = interpolate(fragments, ndc[None, :, 2:], faces)[0, ..., 0]

    theirs = case.expected["pix_to_face"].long()
    same = fragments.face[0] == theirs
    both = same & (theirs >= 0)
    yield Comparison("pix_to_face", fragments.face[0].double(), theirs.double(), 0.5, True, OUTLIERS)
    for name, ours in (("bary", fragments.barycentrics[0]), ("zbuf", depth), ("image", image)):
        yield Comparison(name, ours[both], case.expected[name][both], BARYCENTRICS, outliers=OUTLIERS)

    (image * case.given["cotangent"]).sum().backward()
    seen = torch.cat([fragments.face[0][~same], theirs[~same]])
    differs = torch.zeros(len(ndc), dtype=torch.bool).index_fill_(0, faces[seen[seen >= 0]].flatten(), True)
    for name, ours in (("grad_verts", ndc.grad), ("grad_attr", attributes.grad)):
        yield Comparison(name, ours[~differs], case.expected[name][~differs], GRADIENTS)


CHECKS = {"raster/mesh": check}
