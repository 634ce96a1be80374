"""What is known of a face before it is seen: how far each group of coefficients strays, and within which limits.

Identity and albedo are normal distributions in standard deviations. Blendshapes are strengths that are mostly 0: an
exponential distribution, whose cost grows in proportion, so that few of them explain a face rather than all a little.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...face.model import FaceModel, Group
from .gauss_newton import Prior

IDENTITY_RIDGE = 0.25
"""Cost of one squared standard deviation in squared landmark noises. 1 would be the plain posterior; chosen below it on
seven portraits, since landmark finders and models disagree on where a landmark lies, and identity rather than
expression should take that up (see benchmarks/fit.md)."""
EXPRESSION_SLOPE, EXPRESSION_RIDGE = 4.0, 0.5
"""Cost of a blendshape at full strength, and of its square. Chosen as above."""
JOINT_RIDGE = 4.0
"""Of one squared radian; a jaw opens by 0.3."""
FITTED_JOINTS = ("jaw",)
"""A neck turns like the whole head and eyes move no landmark, so neither can be told from 68 points."""
UNSEEN_EXPRESSIONS = ("eyeLook", "cheekPuff")
"""Beginnings of ARKit's names for what 68 landmarks do not show. A gaze drags the lids along, full cheeks the corners
of the mouth, by up to 7 and 4 % of the eye distance (ICT-FaceKit); a fit that may looks aside to move a lid."""


def landmark_priors(model: FaceModel) -> dict[str, Prior]:
    """Priors of everything that landmarks determine, by the names of `FaceParams`."""
    return {
        "identity": _of(model.identity, Prior(ridge=IDENTITY_RIDGE)),
        "expression": _of(model.expression, Prior(ridge=EXPRESSION_RIDGE, slope=EXPRESSION_SLOPE)),
        "joints": Prior(ridge=JOINT_RIDGE),
    }


def fitted_expressions(model: FaceModel) -> Tensor:
    """[K_exp] bool: expressions that landmarks show."""
    return torch.tensor([not name.startswith(UNSEEN_EXPRESSIONS) for name in model.expression.names], dtype=torch.bool)


def fitted_joints(model: FaceModel) -> Tensor:
    """[J] bool: joints that landmarks show."""
    return torch.tensor([name in FITTED_JOINTS for name in model.joints], dtype=torch.bool)


def _of(group: Group, prior: Prior) -> Prior:
    """Within the group's limits; a slope only for blendshapes, whose rest is at the end of their range."""
    blendshapes = not group.gaussian
    return Prior(
        ridge=prior.ridge if blendshapes or not prior.slope else 1.0,
        slope=prior.slope if blendshapes else 0.0,
        low=group.low,
        high=group.high,
    )
