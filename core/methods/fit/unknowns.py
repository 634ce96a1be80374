"""Which numbers of a face a gradient fit changes, how far at a step, within which limits, and what it pays for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace

import torch
from torch import Tensor

from ...face.model import FaceModel
from ...optimise import Schedule
from ...types import FaceParams
from .priors import fitted_expressions, fitted_joints, landmark_priors

RATES = {"identity": 0.02, "expression": 0.01, "joints": 0.005, "angles": 0.002, "albedo": 0.05}
"""Adam's first steps: about a hundredth of what each group spans; GANFit's 0.01 lies in their middle."""
TRANSLATION_RATE = 0.002
"""As RATES, in head heights."""
SCHEDULE = Schedule(cool_down=0.4)
"""FFHQ-UV's joint stage: half a cosine over the last 40 %."""
OF_A_FRAME = ("angles", "translation", "expression", "joints")
FIELDS = {field.name for field in fields(FaceParams)}


class FaceUnknowns:
    """The unknowns of B frames by the names of `FaceParams`; whatever is not among them stays as in `start`.

    values: [B, ...], or [1, ...] where all frames share it. rates, limits: as `core.optimise.AdamSettings` takes them.
    """

    def __init__(self, model: FaceModel, start: FaceParams, shared: bool, person: tuple[str, ...]) -> None:
        """start: B frames. shared: they show one person. person: groups of that to find, none if known."""
        self._model, self._start = model, start
        device = start.angles.device
        self._columns = {
            "expression": fitted_expressions(model).to(device),
            "joints": fitted_joints(model).to(device)[:, None],
        }
        self._priors = landmark_priors(model)
        rows = 1 if shared else len(start)
        values = {name: getattr(start, name) for name in OF_A_FRAME}
        values |= {name: getattr(start, name)[:rows] for name in person}
        self.values = {name: value for name, value in values.items() if value[0].numel()}
        rates = {**RATES, "translation": TRANSLATION_RATE * model.height}
        limits = {name: (self._priors[name].low, self._priors[name].high) for name in ("identity", "expression")}
        limits["albedo"] = model.albedo.limits(model.colours)
        self.rates = {name: rates[name] for name in self.values}
        self.limits = {name: limit for name, limit in limits.items() if name in self.values}

    def face(self, parameters: Mapping[str, Tensor]) -> FaceParams:
        """All of B frames: `parameters` as far as they are a face's, the start everywhere else."""
        frames = len(self._start)
        changed = {
            name: value.expand(frames, *value.shape[1:]) for name, value in parameters.items() if name in FIELDS
        }
        for name, columns in self._columns.items():
            if name in changed:
                changed[name] = torch.where(columns, changed[name], getattr(self._start, name))
        return replace(self._start, **changed)

    def vertices(self, face: FaceParams) -> Tensor:
        """[B, V, 3] in model space."""
        return self._model.vertices(face.identity, face.expression, face.joints)

    def prior(self, parameters: Mapping[str, Tensor], name: str) -> Tensor:
        """Cost of every value of one group, in the scale of stage 1."""
        return self._priors[name].cost(parameters[name])

    def priors(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """Their sum over all groups that have one."""
        return torch.stack([self.prior(parameters, name).sum() for name in parameters if name in self._priors]).sum()
