"""Crops beside the authors': Deep3DFaceRecon's and EG3D's by POS, DECA's boxes.

The authors count pixel centres as whole numbers and, in the first two, y upwards from the last row; points and matrices
are converted here, at the border.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from goldens import Case, Comparison
from portrait_rig.core.face import alignment
from portrait_rig.core.face import crop as crops
from portrait_rig.core.face.landmarks import convert_points
from portrait_rig.core.face.resampling import warp
from portrait_rig.core.types import Landmarks
from torch import Tensor

ONE_RESIZE, TWO_RESIZES = 1.01, 3.01
"""Levels out of 255. Pillow rounds to bytes after each of its two passes, we do not: half a level times 1.25 (sum of
the cubic kernel's |weights|) is one level at most after rounding, three with Lanczos on top. Measured: 1 and 2."""


def check_deep3d(case: Case) -> Iterable[Comparison]:
    size, scale = int(case.config["target_size"]), float(case.config["rescale_factor"])
    yield Comparison("lm3d_std", torch.tensor(alignment.STANDARD_FIVE), case.given["lm3d_std"])
    for number in sorted(name.removeprefix("image_") for name in case.given if name.startswith("image_")):
        ours = _deep3d(case.given[f"image_{number}"], case.given[f"landmarks68_{number}"], size, scale)
        for name, value in ours.items():
            name = f"{name}_{number}"
            if name.startswith("crop"):
                yield Comparison(name, value, case.expected[name], ONE_RESIZE, absolute=True)
            else:
                yield Comparison(name, value, case.expected[name])


def _deep3d(image: Tensor, points68: Tensor, size: int, scale: float) -> dict[str, Tensor]:
    """Everything that the file holds for one picture, by its name there."""
    marks = _landmarks(points68, image)
    five = Landmarks(convert_points(marks.points, 5), marks.score, marks.size)
    fit = alignment.pos_of(marks)
    points = alignment.deep3d_points(marks, size, scale)
    down = torch.stack([points[..., 0], size - 1 - points[..., 1]], dim=-1) + 0.5
    face = alignment.arcface(Landmarks(down, marks.score, (size, size)))
    return {
        "points5": _upwards(five.points - 0.5, image)[0].float(),
        "pos_t": fit.translation[0],
        "pos_s": fit.scale,
        "trans_params": _params(fit, image, scale),
        "trans_params5": _params(alignment.pos_of(five), image, scale),
        "crop": _bytes(crops.take(_picture(image), alignment.deep3d(marks, size, scale))),
        "landmarks_crop": points[0],
        "norm_matrix": _to_centres(face.matrices)[0, :2],
    }


def check_eg3d(case: Case) -> Iterable[Comparison]:
    config, image = case.config, case.given["image_u8"]
    marks = _landmarks(case.given["landmarks5"], image)
    first, scale, centre = config["target_size"], config["rescale_factor"], config["center_crop_size"]
    yield Comparison("lm3d_std", torch.tensor(alignment.STANDARD_FIVE), case.expected["lm3d_std"])
    yield Comparison("trans_params", _params(alignment.pos_of(marks), image, scale), case.expected["trans_params"])
    yield Comparison(
        "landmarks_aligned", alignment.deep3d_points(marks, first, scale)[0], case.expected["landmarks_aligned"]
    )
    aligned = crops.take(_picture(image), alignment.deep3d(marks, first, scale))
    yield Comparison("aligned_u8", _bytes(aligned), case.expected["aligned_u8"], ONE_RESIZE, absolute=True)
    crop = alignment.eg3d(marks, config["output_size"], first=first, scale=scale, centre=centre)
    cropped = crops.take(_picture(image), crop)
    yield Comparison("cropped_u8", _bytes(cropped), case.expected["cropped_u8"], TWO_RESIZES, absolute=True)


def check_deca(case: Case) -> Iterable[Comparison]:
    image, size = case.given["image_u8"], case.config["crop_size"]
    height, width = image.shape[:2]
    for index, box in enumerate(case.config["boxes"]):
        left, top, right, bottom, kind = box or (0, 0, height - 1, width - 1, "kpt68")
        if kind == "kpt68":
            centre, side = alignment.deca_box(torch.tensor([[[left, top], [right, bottom]]], dtype=torch.float64))
        else:
            centre, side = alignment.deca_detector_box(torch.tensor([[left, top, right, bottom]], dtype=torch.float64))
        matrices = alignment.deca_matrices(centre + 0.5, side, size, case.config["scale"])
        tform, crop = f"tform_{index}", f"crop_{index}"
        yield Comparison(tform, _to_centres(matrices)[0].float(), case.expected[tform], 1e-5, absolute=True)
        ours = warp(_picture(image).double(), matrices, (size, size), "bilinear")[0]
        yield Comparison(crop, ours, case.expected[crop], 1e-4, absolute=True)


def _landmarks(points: Tensor, image: Tensor) -> Landmarks:
    return Landmarks(points[None].double() + 0.5, torch.ones(1), tuple(image.shape[:2]))


def _upwards(points: Tensor, image: Tensor) -> Tensor:
    return torch.stack([points[..., 0], image.shape[0] - 1 - points[..., 1]], dim=-1)


def _params(fit: alignment.PosFit, image: Tensor, scale: float) -> Tensor:
    size = fit.scale.new_tensor([image.shape[1], image.shape[0]])
    return torch.cat([size, scale / fit.scale, fit.translation[0]])


def _picture(image: Tensor) -> Tensor:
    return image.permute(2, 0, 1)[None].float() / 255


def _bytes(pictures: Tensor) -> Tensor:
    return (pictures[0].permute(1, 2, 0) * 255).round()


def _to_centres(matrices: Tensor) -> Tensor:
    shift = matrices.new_tensor([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    return torch.linalg.inv(shift) @ matrices @ shift


CHECKS = {"deep3d/alignment": check_deep3d, "eg3d/face_crop": check_eg3d, "flame/crop": check_deca}
