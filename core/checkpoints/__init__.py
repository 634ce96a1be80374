"""Foreign files in, safely: named tensors and plain metadata out of every format that published weights come in."""

from __future__ import annotations

from .checkpoint import BARE, Checkpoint, ModuleInfo
from .reading import read
from .safetensors_file import save_safetensors, tensor_names

__all__ = ["BARE", "Checkpoint", "ModuleInfo", "read", "save_safetensors", "tensor_names"]
