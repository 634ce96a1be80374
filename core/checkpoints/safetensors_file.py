"""Safetensors: the format of everything this pack writes, and the only one that needs no care to read."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import UserError
from .limits import Budget, damaged, quoted


def read_safetensors(path: Path, budget: Budget) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors in memory of their own (the file is closed again, so that it can be replaced) and the file's metadata."""
    tensors = {}
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (not a dict)
                mapped = file.get_tensor(name)
                budget.spend_bytes(mapped.numel() * mapped.itemsize)
                tensors[name] = mapped.clone()
            return tensors, dict(file.metadata() or {})
    except SafetensorError as error:
        raise damaged(f"it is no valid safetensors file ({quoted(error, 200)})") from error


def tensor_names(path: Path) -> frozenset[str]:
    """What a safetensors file holds, by its header alone; nothing where the file is none."""
    try:
        with safe_open(path, framework="pt") as file:
            return frozenset(file.keys())
    except SafetensorError:
        return frozenset()


def save_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Writes tensors and metadata so that `path` is at every moment either the old file or the whole new one.

    Missing folders are made. UserError where the disk refuses; the old file is then untouched and nothing else remains.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(_separate(tensors), temporary, metadata=dict(metadata or {}))
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"'{path.name}' could not be written into the folder '{path.parent}': {reason}. Free some space or choose "
            "another folder; a file of that name that was there before is unchanged."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous CPU tensors of which no two share memory, as the format wants them."""
    separate: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        storage = plain.untyped_storage()
        if storage.data_ptr() in taken or storage.nbytes() != plain.numel() * plain.itemsize:
            plain = plain.clone()
        taken.add(plain.untyped_storage().data_ptr())
        separate[name] = plain
    return separate
