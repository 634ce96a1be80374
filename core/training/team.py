"""The processes that train the same networks together: one as a rule, several where Accelerate started them.

Each process sees its share of every step's pictures; gradients and statistics are averaged, so that the networks stay
equal everywhere without being sent around. `DistributedDataParallel` is no help here: a generator is called by halves,
several times a step and with gradients of gradients.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError

ENVIRONMENT = "WORLD_SIZE"
"""Set by `accelerate launch` and `torchrun` to the number of processes."""


class Team:
    """One process of `size`, number `rank`, on its `device`; process 0 is the one that writes."""

    def __init__(self, device: torch.device | None = None, accelerator: Any = None) -> None:
        """accelerator: an `accelerate.Accelerator`, or None for a process on its own on `device` (CPU)."""
        self._accelerator = accelerator
        self.rank = 0 if accelerator is None else accelerator.process_index
        self.size = 1 if accelerator is None else accelerator.num_processes
        self.device = accelerator.device if accelerator is not None else device or torch.device("cpu")

    def averaged(self, values: Tensor) -> Tensor:
        """The mean of every process's `values` of one shape; a NaN anywhere is a NaN everywhere."""
        return values if self.size == 1 else self._accelerator.reduce(values, reduction="mean")

    def close(self) -> None:
        """Leaves the group of processes, where there is one."""
        if self._accelerator is not None:
            self._accelerator.end_training()


def team() -> Team:
    """The processes that a launcher started, seen from this one; where none did, a single one on the best device.

    UserError where a launcher started several and Accelerate is not installed.
    """
    if int(os.environ.get(ENVIRONMENT, "1")) == 1:
        return Team(_best_device())
    try:
        from accelerate import Accelerator
    except ImportError as missing:
        raise UserError(
            "Several processes were started to train together, which needs the package 'accelerate'. Install it with "
            "`pip install accelerate`, or start a single process."
        ) from missing
    return Team(accelerator=Accelerator(cpu=_best_device().type == "cpu"))


def _best_device() -> torch.device:
    if hasattr(torch, "accelerator"):  # from PyTorch 2.6 on; knows CUDA, MPS and others
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
