"""Fit 3DMM: identity, expression, pose, light and texture of a face from pictures and their landmarks."""

from __future__ import annotations

from .fit import FitReport, FitResult, fit, fit_steps
from .ganfit_settings import LIGHTINGS, GanFitSettings, ViewSpread, Weights
from .ganfit_stage import GanFit
from .losses import loss_curves, loss_table
from .settings import TEXTURES, FitSettings

__all__ = [
    "LIGHTINGS",
    "TEXTURES",
    "FitReport",
    "FitResult",
    "FitSettings",
    "GanFit",
    "GanFitSettings",
    "ViewSpread",
    "Weights",
    "fit",
    "fit_steps",
    "loss_curves",
    "loss_table",
]
