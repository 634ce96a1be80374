"""Basel Face Model 2009 as Deep3DFaceRecon crops it: BFM_model_front.mat, and how that file is made.

Source: Paysan et al. 2009, "A 3D face model for pose and illumination invariant face recognition"; Deng et al. 2019,
"Accurate 3D face reconstruction with weakly-supervised learning"; Deep3DFaceRecon_pytorch, models/bfm.py and
util/load_mats.py. 35,709 vertices in decimetres, x to the picture's right, y up, z towards the viewer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from .basis import Directions
from .linear import LinearFaceModel
from .model import Group
from .surface import CHIN, Surface, SurfacePoints, contour_candidates, cylindrical_uv

LAYOUT = "bfm-2009-deep3d"
FIELDS = ("meanshape", "meantex", "idBase", "exBase", "texBase", "tri", "keypoints")
UNIT_IN_METRES = 0.1
COLOUR_RANGE = 255.0
"""Of meantex and texBase."""
IDENTITIES, EXPRESSIONS, ALBEDOS = 80, 64, 80
"""Directions that Deep3D keeps of 199, 79 and 199 (util/load_mats.py)."""
MICROMETRES_PER_DECIMETRE = 1e5
TRANSFER_INPUTS = ("shapePC", "shapeEV", "shapeMU", "texPC", "texEV", "texMU", "expPC", "expEV", "idx", "trimIndex")
"""What `crop_bfm2009` needs: 01_MorphableModel.mat, Exp_Pca.bin (`read_expressions`), std_exp.txt, BFM_front_idx.mat,
BFM_exp_idx.mat."""
INFO_FIELDS = ("tri", "point_buf", "keypoints", "frontmask2_idx", "tri_mask2", "skinmask")
"""What BFM_model_front.mat takes over from facemodel_info.mat."""


def matches(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> bool:
    """The fields of BFM_model_front.mat."""
    return set(FIELDS) <= tensors.keys()


def from_tensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any], recentre: bool = True) -> LinearFaceModel:
    """The model from the fields of BFM_model_front.mat, whose indices count from 1.

    recentre: the mean face's centre becomes the origin, as Deep3D's coefficients expect.
    """
    mean = tensors["meanshape"].float().reshape(-1, 3)
    mean = mean - mean.mean(0) if recentre else mean
    faces = tensors["tri"].long() - 1
    landmarks = tensors["keypoints"].long().flatten() - 1
    uv, uv_faces = cylindrical_uv(mean, faces)
    surface = Surface(
        faces=faces,
        uv=uv,
        uv_faces=uv_faces,
        colours=tensors["meantex"].float().reshape(-1, 3) / COLOUR_RANGE,
        face_region=_inner_face(tensors, faces),
        skin_region=_plain_skin(tensors, faces),
        landmarks68=SurfacePoints.at_vertices(landmarks, faces),
        contour=contour_candidates(mean, faces, mean[landmarks]),
    )
    identities, expressions, albedos = (_directions(tensors[name]) for name in ("idBase", "exBase", "texBase"))
    return LinearFaceModel(
        surface,
        mean,
        Directions(identities),
        Directions(expressions),
        albedos=Directions(albedos / COLOUR_RANGE),
        layout=LAYOUT,
        identity=Group.numbered("identity", len(identities)),
        expression=Group.numbered("expression", len(expressions)),
        albedo=Group.numbered("albedo", len(albedos)),
        unit_in_metres=UNIT_IN_METRES,
        height=(mean[:, 1].max() - mean[landmarks[CHIN], 1]).item(),
    )


def crop_bfm2009(raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The bases and means of BFM_model_front.mat from the full model; `raw` holds TRANSFER_INPUTS.

    expPC: [3 · 53215, 79], one column a component. trimIndex: places of the 53,215 vertices of the expression model in
    the full model's 53,490; idx: places of the crop's 35,709 in those. Both count from 1. Deviations multiply their
    columns; the mean expression is left out, as upstream does. Kept in the precision of `raw`. Add INFO_FIELDS of
    facemodel_info.mat to make the file complete.
    """
    missing = [name for name in TRANSFER_INPUTS if name not in raw]
    if missing:
        raise UserError(
            f"Converting the Basel Face Model needs {', '.join(missing)} as well. Give 01_MorphableModel.mat, "
            "Exp_Pca.bin, std_exp.txt, BFM_front_idx.mat and BFM_exp_idx.mat together."
        )
    in_expression = raw["idx"].long().flatten() - 1
    in_full = raw["trimIndex"].long().flatten()[in_expression] - 1

    def basis(components: str, deviations: str, count: int, rows: Tensor) -> Tensor:
        scaled = raw[components][:, :count] * raw[deviations].flatten()[:count]
        return scaled.unflatten(0, (-1, 3))[rows].flatten(0, 1)

    def mean(name: str) -> Tensor:
        return raw[name].reshape(-1, 3)[in_full].reshape(1, -1)

    return {
        "meanshape": mean("shapeMU") / MICROMETRES_PER_DECIMETRE,
        "meantex": mean("texMU"),
        "idBase": basis("shapePC", "shapeEV", IDENTITIES, in_full) / MICROMETRES_PER_DECIMETRE,
        "exBase": basis("expPC", "expEV", EXPRESSIONS, in_expression) / MICROMETRES_PER_DECIMETRE,
        "texBase": basis("texPC", "texEV", ALBEDOS, in_full),
    }


def read_expressions(content: bytes) -> Tensor:
    """The bytes of Exp_Pca.bin -> expPC [3 V, K] float32.

    Little-endian: int32 K, float32 mean expression [3 V], float32 components [K, 3 V].
    """
    count = int(np.frombuffer(content[:4], "<i4")[0]) if len(content) >= 4 else 0
    values, spare = divmod(len(content) - 4, 4 * (count + 1)) if count > 0 else (0, 1)
    if spare or values == 0 or values % 3:
        raise UserError(
            f"Exp_Pca.bin should hold the number of its components, a mean and the components, in whole vertices; "
            f"{len(content):,} bytes with {count} components do not come out even. Download the file again."
        )
    numbers = np.frombuffer(content, "<f4", offset=4).reshape(count + 1, values)
    return torch.from_numpy(numbers[1:].T.astype(np.float32))


def _directions(columns: Tensor) -> Tensor:
    """[3 V, K] -> [K, V, 3]."""
    return columns.float().mT.reshape(columns.shape[1], -1, 3)


def _inner_face(tensors: Mapping[str, Tensor], faces: Tensor) -> Tensor:
    """[F] bool: triangles of `tri_mask2`, whose corners count within frontmask2_idx; all where the file has no mask."""
    if not {"tri_mask2", "frontmask2_idx"} <= tensors.keys():
        return torch.ones(len(faces), dtype=torch.bool)
    front = tensors["frontmask2_idx"].long().flatten() - 1
    inner = front[tensors["tri_mask2"].long() - 1]
    return torch.isin(_triangle_keys(faces), _triangle_keys(inner))


def _plain_skin(tensors: Mapping[str, Tensor], faces: Tensor) -> Tensor:
    """[F] bool: triangles inside `skinmask`, which leaves out eyes, brows, lips and the neck; all without it."""
    if "skinmask" not in tensors:
        return torch.ones(len(faces), dtype=torch.bool)
    return (tensors["skinmask"].flatten() > 0)[faces].all(1)


def _triangle_keys(faces: Tensor) -> Tensor:
    """[F, 3] -> [F] int64, one number for each set of three corners; exact below 2²¹ vertices."""
    a, b, c = faces.sort(1).values.unbind(1)
    return (a << 42) | (b << 21) | c
