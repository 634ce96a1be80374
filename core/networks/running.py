"""How a generator runs: in which precision, compiled or not. What the device cannot do is tried, said and left out."""

from __future__ import annotations

from dataclasses import replace

import torch

from .generator import Generator, usable_precision

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
"""By the names that users know."""


def prepared(generator: Generator, precision: str = "fp32", compiled: bool = False) -> tuple[Generator, list[str]]:
    """The generator as wished (precision: a key of PRECISIONS), as far as its device allows; and what it did not allow.

    Draws one picture for every wish to find out; that is also when it is compiled, which may take minutes.
    """
    told = []
    wanted, device = PRECISIONS[precision], generator.device
    result = generator.exact()
    if wanted is not None:
        trouble = None if usable_precision(wanted, device) else "it gains nothing here"
        trouble = trouble or _trouble(half := replace(result, precision=wanted))
        if trouble is None:
            result = half
        else:
            told.append(f"runs in fp32, since on {device.type} {precision} is not usable: {trouble}")
    if compiled:
        trouble = _trouble(fast := replace(result, compiled=torch.compile(generator.network.synthesis)))
        if trouble is None:
            result = fast
        else:
            told.append(f"runs uncompiled: {trouble}")
    return result, told


def _trouble(generator: Generator) -> str | None:
    """What goes wrong when it draws a picture, in one line, or None."""
    try:
        with torch.no_grad():
            picture = generator.draw(generator.latent(torch.zeros(1, generator.w_dim)))
    except (RuntimeError, ImportError, OSError, NotImplementedError) as error:  # what compilers and backends raise
        lines = str(error).strip().splitlines()
        return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"
    return None if picture.isfinite().all() else "the picture is not finite"
