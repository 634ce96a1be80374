"""`read`: one door for every foreign file, whose kind is told by its first bytes, not by its name."""

from __future__ import annotations

import pickle
import re
import string
from pathlib import Path
from typing import Any, BinaryIO

import torch

from ..errors import UserError
from .archives import Archive, is_npz, is_torch, read_npz, read_torch_zip
from .checkpoint import Checkpoint
from .legacy import MAGIC_BYTES, read_legacy
from .limits import Budget, UnreadableError, quoted
from .machine import unpickle
from .matlab import MAGIC as MATLAB_MAGIC
from .matlab import read_matlab
from .npy import MAGIC as NPY_MAGIC
from .npy import read_npy
from .obj import read_obj, read_obj_folder
from .onnx_file import BEGINNING as ONNX_BEGINNING
from .onnx_file import EXTENSION as ONNX_EXTENSION
from .onnx_file import MAX_BYTES as ONNX_MAX_BYTES
from .onnx_file import read_onnx
from .safetensors_file import read_safetensors
from .stream import Stream
from .tree import Tree

_HEAD = 1024
"""Bytes looked at to tell the kind."""

_NOT_WEIGHTS: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), text)
    for pattern, text in (
        (
            rb"version https://git-lfs",
            "is a Git LFS pointer, not weights: the download stopped at a note that says where the file is. "
            "Download it with `git lfs pull` or from the project's page.",
        ),
        (
            rb"\s*(<!--.*)?<(!doctype|html|head|\?xml|body)",
            "is a web page, not weights: the server answered with a page (a login, a quota or a warning). "
            "Open the address in a browser and download the file itself.",
        ),
        (
            rb"\x89HDF\r\n|MATLAB 7\.3",
            "is an HDF5 file (MATLAB -v7.3 or .h5), which is not read here. Save it in MATLAB with -v7, or as .npz.",
        ),
        (
            rb"\x1f\x8b|BZh[1-9]|\xfd7zXZ|7z\xbc\xaf|Rar!|.{257}ustar",
            "is a packed archive, not weights. Unpack it and choose the file inside.",
        ),
        (
            rb"\{\s*\"",
            "is a JSON text, not weights. Choose the weights file beside it.",
        ),
    )
)
"""What people find in place of their weights, and what to do about it."""

_OBJ_LINES = re.compile(rb"\s*(#[^\n]*\n\s*)*(v|vt|vn|f|o|g|s|mtllib|usemtl)[ \t]")

_PRINTABLE = frozenset(string.printable.encode())


def read(path: str | Path) -> Checkpoint:
    """The contents of a weights file or a folder of OBJs, without executing anything of it.

    Reads .safetensors, torch files (.pt, .pth, .tar, .ckpt, both containers), pickles of all protocols (.pkl, including
    NVIDIA's networks and FLAME), .mat, .npz, .npy, .onnx and .obj. Tensors are ordinary CPU tensors, also inside
    `torch.inference_mode()`.
    Raises UserError, one sentence with the file's name, for whatever cannot be read: missing, damaged, hostile, absurd.
    """
    path = Path(path)
    try:
        with torch.inference_mode(False):
            return _read_folder(path) if path.is_dir() else _read_file(path)
    except UnreadableError as error:
        raise UserError(f"'{path.name}' {error}") from error
    except FileNotFoundError as error:
        raise UserError(
            f"There is no file '{path.name}' in the folder '{path.parent}'. Put it there, or choose another file."
        ) from error
    except MemoryError as error:
        raise UserError(f"'{path.name}' does not fit into this machine's memory. Use a smaller model.") from error
    except (OSError, ValueError) as error:
        raise UserError(f"'{path.name}' cannot be read from the folder '{path.parent}': {error}.") from error


def _read_folder(path: Path) -> Checkpoint:
    sizes = sum(inner.stat().st_size for inner in path.iterdir() if inner.suffix.lower() in (".obj", ".json"))
    tensors, notes = read_obj_folder(path, Budget(sizes))
    return Checkpoint(path, "obj folder", tensors, notes)


def _read_file(path: Path) -> Checkpoint:
    size = path.stat().st_size
    if not path.is_file():
        raise UnreadableError("is neither a file nor a folder. Choose a weights file.")
    with path.open("rb") as file:
        head = file.read(_HEAD)
        file.seek(0)
        return _read_open_file(path, file, head, size)


def _read_open_file(path: Path, file: BinaryIO, head: bytes, size: int) -> Checkpoint:
    if not head:
        raise UnreadableError("is empty. Download it again.")
    budget = Budget(size)
    if _is_safetensors(head, size):
        named, notes = read_safetensors(path, budget)
        return Checkpoint(path, "safetensors", named, dict(notes))
    for pattern, text in _NOT_WEIGHTS:
        if pattern.match(head):
            raise UnreadableError(text)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _read_zip(path, file, size)
    if head.startswith(MAGIC_BYTES):
        return _from_tree(path, "torch legacy", read_legacy(file, size, budget), budget)
    if head.startswith(NPY_MAGIC):
        return _from_tree(path, "npy", read_npy(file, size, budget), budget)
    if head.startswith(MATLAB_MAGIC):
        return Checkpoint(path, "mat", *read_matlab(file, size, budget))
    if _OBJ_LINES.match(head):
        return Checkpoint(path, "obj", read_obj(path, budget))
    if head[0] == pickle.PROTO[0] and head[1:2] <= bytes([pickle.HIGHEST_PROTOCOL]):
        return _from_tree(path, "pickle", unpickle(Stream(file, size), budget), budget)
    if ONNX_BEGINNING.match(head) or path.suffix.lower() == ONNX_EXTENSION:
        return _read_onnx(path, file, size, budget)
    return _read_old_pickle(path, file, head, size)


def _is_safetensors(head: bytes, size: int) -> bool:
    """Asked first: a header of 640 bytes begins like a pickle, one of 35,615 like gzip, but they lack the brace."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8


def _read_onnx(path: Path, file: BinaryIO, size: int, budget: Budget) -> Checkpoint:
    if size > ONNX_MAX_BYTES:
        raise UnreadableError(f"is larger than an ONNX file can be ({ONNX_MAX_BYTES >> 30} GiB). Use the authors' own.")
    return Checkpoint(path, "onnx", *read_onnx(file.read(), budget))


def _read_zip(path: Path, file: BinaryIO, size: int) -> Checkpoint:
    archive = Archive(file, size)
    budget = Budget(archive.declared)
    if is_torch(archive):
        return _from_tree(path, "torch zip", read_torch_zip(archive, budget), budget)
    if is_npz(archive):
        return _from_tree(path, "npz", read_npz(archive, budget), budget)
    inside = ", ".join(quoted(name, 40) for name in list(archive.entries)[:5]) or "nothing"
    raise UnreadableError(f"is a zip archive of other files ({inside}). Unpack it and choose the weights inside.")


def _read_old_pickle(path: Path, file: BinaryIO, head: bytes, size: int) -> Checkpoint:
    """Protocols 0 and 1 have no mark at their beginning: what they are is seen by trying."""
    budget = Budget(size)
    try:
        return _from_tree(path, "pickle", unpickle(Stream(file, size), budget), budget)
    except UnreadableError as error:
        if "executed" in str(error):
            raise
        if set(head) <= _PRINTABLE:
            raise UnreadableError(
                f"is a text, not weights; it begins with {quoted(head.decode('ascii').strip(), 40)}. "
                "Download the file itself."
            ) from error
        raise UnreadableError(
            "is of an unknown kind, or damaged at its beginning. Known are .safetensors, torch files, pickles, .mat, "
            ".npz, .npy, .onnx and .obj; download it again or choose another file."
        ) from error


def _from_tree(path: Path, kind: str, value: Any, budget: Budget) -> Checkpoint:
    tree = Tree(value, budget)
    return Checkpoint(path, kind, tree.tensors, tree.metadata, tree.modules)
