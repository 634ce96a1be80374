"""Inputs that many nodes have alike: seeds and angles."""

from __future__ import annotations

from ..core.methods.latents import SEEDS
from .host import io


def seed_input(tooltip: str, default: int = 0, anew: bool = True, name: str = "seed") -> io.Int.Input:
    """anew: the editor offers another seed after each run; not where a node would search or train anew each time."""
    return io.Int.Input(name, default=default, min=0, max=SEEDS - 1, control_after_generate=anew, tooltip=tooltip)


def degrees_input(
    name: str, limit: float, tooltip: str, default: float = 0.0, low: float | None = None
) -> io.Float.Input:
    """An angle of at most `limit` to either side, or from `low` to `limit`, in steps of a degree."""
    return io.Float.Input(
        name, default=default, min=-limit if low is None else low, max=limit, step=1.0, tooltip=tooltip
    )
