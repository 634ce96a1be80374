"""Weights by recipe: values that any machine computes alike, so that golden files need not carry large networks.

All arithmetic is on whole numbers modulo 2³², with one rounding from float64 at the end:

mix(x)     x ^= x >> 16; x *= 0x7FEB352D; x ^= x >> 15; x *= 0x846CA68B; x ^= x >> 16
base(key)  mix(FNV-1a of the key's UTF-8 bytes ^ seed · 0x9E3779B9)
u[i]       (mix(i · 0x9E3779B1 + base) + 0.5) / 2³², i the flat index; s = 2 u − 1

Values: 0.1 s for `running_mean` and biases, 0.5 + u for `running_var`, 0 for whole numbers, 0.75 + 0.5 u for tensors
with no axis but the first (0.1 + 0.3 u where the key names a PReLU), else gain · √(3 / fan-in) · s.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

CHUNK = 1 << 22
"""Values computed at once, to bound memory."""


def uniform(key: str, shape: Sequence[int], seed: int) -> Tensor:
    """`u` of the recipe: float64 strictly between 0 and 1."""
    base = _base(key, seed)
    values = np.empty(math.prod(shape))
    for start in range(0, len(values), CHUNK):
        index = np.arange(start, min(start + CHUNK, len(values)), dtype=np.uint64).astype(np.uint32)
        mixed = _mix(index * np.uint32(0x9E3779B1) + base)
        values[start : start + len(index)] = (mixed.astype(np.float64) + 0.5) / 2.0**32
    return torch.from_numpy(values.reshape(tuple(shape)))


def tensor(key: str, like: Tensor, seed: int, gain: float | Mapping[str, float]) -> Tensor:
    """The recipe's value for one entry of a state dict, in the shape and dtype of `like`."""
    if not like.is_floating_point():
        return torch.zeros_like(like)
    u = uniform(key, like.shape, seed)
    s = 2 * u - 1
    leaf = key.rsplit(".", 1)[-1]
    if leaf == "running_var":
        value = 0.5 + u
    elif leaf == "running_mean" or leaf.endswith("bias"):
        value = 0.1 * s
    elif math.prod(like.shape[1:]) == 1:
        value = 0.1 + 0.3 * u if "prelu" in key.lower() else 0.75 + 0.5 * u
    else:
        value = _gain(key, gain) * math.sqrt(3 / math.prod(like.shape[1:])) * s
    return value.to(like.dtype)


def fill(module: nn.Module, seed: int, gain: float | Mapping[str, float] = 1.0) -> nn.Module:
    """`module` with the recipe's weights, in evaluation mode."""
    module.load_state_dict({key: tensor(key, value, seed, gain) for key, value in module.state_dict().items()})
    return module.eval()


def _mix(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        x = x ^ (x >> np.uint32(16))
        x = x * np.uint32(0x7FEB352D)
        x = x ^ (x >> np.uint32(15))
        x = x * np.uint32(0x846CA68B)
        return x ^ (x >> np.uint32(16))


def _base(key: str, seed: int) -> np.ndarray:
    hashed = 2166136261
    for byte in key.encode():
        hashed = ((hashed ^ byte) * 16777619) & 0xFFFFFFFF
    hashed ^= (seed * 0x9E3779B9) & 0xFFFFFFFF
    return _mix(np.array([hashed], dtype=np.uint32))


def _gain(key: str, gain: float | Mapping[str, float]) -> float:
    """A number, or the one of the longest prefix that the key begins with ('' is the default)."""
    if not isinstance(gain, Mapping):
        return float(gain)
    prefixes = [prefix for prefix in gain if key.startswith(prefix)]
    return float(gain[max(prefixes, key=len)]) if prefixes else 1.0
