"""Fit 3DMM: identity, expression, pose, light and texture of a face from pictures and their landmarks."""

from __future__ import annotations

from .fit import FitReport, FitResult, fit, fit_steps
from .settings import TEXTURES, FitSettings

__all__ = ["TEXTURES", "FitReport", "FitResult", "FitSettings", "fit", "fit_steps"]
