"""Stands in for `comfy.model_management` and `comfy.utils.ProgressBar`: device, memory, progress and cancel."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch

ProgressHook = Callable[..., None]
"""Called as (value, total, preview, node_id=…), ComfyUI's `PROGRESS_BAR_HOOK`."""

_hook: list[ProgressHook] = []
_interrupt = threading.Event()


class InterruptProcessingException(Exception):  # noqa: N818 - ComfyUI's name
    """Somebody asked for the work to stop."""


def get_torch_device() -> torch.device:
    """The device to compute on: CUDA, then Apple's GPU, then the processor."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def intermediate_device() -> torch.device:
    """Where values wait between nodes."""
    return torch.device("cpu")


def free_memory(memory_required: float, device: torch.device) -> list[Any]:
    """Nothing else holds models here; frees the allocator's cache."""
    soft_empty_cache()
    return []


def soft_empty_cache() -> None:
    """Gives cached memory of the computing device back to the system."""
    kind = get_torch_device().type
    if kind != "cpu":
        getattr(torch, kind).empty_cache()


def interrupt_current_processing(value: bool = True) -> None:
    """Asks running work to stop at its next check (or takes that back)."""
    if value:
        _interrupt.set()
    else:
        _interrupt.clear()


def throw_exception_if_processing_interrupted() -> None:
    """Raises once after somebody asked for a stop."""
    if _interrupt.is_set():
        _interrupt.clear()
        raise InterruptProcessingException


def set_progress_bar_global_hook(function: ProgressHook | None) -> None:
    """Who is told about progress; None for nobody."""
    _hook[:] = [] if function is None else [function]


class ProgressBar:
    """Progress of one node."""

    def __init__(self, total: float, node_id: str | None = None) -> None:
        self.total, self.current, self.node_id = total, 0.0, node_id

    def update_absolute(self, value: float, total: float | None = None, preview: Any = None) -> None:
        self.total = self.total if total is None else total
        self.current = min(value, self.total)
        for hook in _hook:
            hook(self.current, self.total, preview, node_id=self.node_id)

    def update(self, value: float) -> None:
        self.update_absolute(self.current + value)
