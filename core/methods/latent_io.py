"""Latents on disk: one .safetensors file with codes and the generator they belong to; and other tools' code files.

Tensor `w` [B, L, C]. Metadata: format, version, generator (its display name), fingerprint (of its weights). The
official projectors write `w` [1, L, C] into an .npz, which names no generator.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ..checkpoints import BARE, read, save_safetensors
from ..errors import UserError
from ..networks.generator import Generator
from ..types import GeneratorId, Latent

FORMAT = "portrait_rig.latent"
VERSION = 1
"""Raised when a reader of this version would misunderstand a file."""
CODE_NAMES = ("w", "latent", "latents", BARE)
"""Names under which code files keep them: ours and the projectors', others', and a file with a single array."""
EXTENSIONS = (".safetensors", ".npz", ".npy", ".pt", ".pth")


def save_latent(latent: Latent, path: Path) -> None:
    """Writes the file in one piece: a failure leaves what was there before."""
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "generator": latent.generator.name,
        "fingerprint": latent.generator.fingerprint,
    }
    save_safetensors(path, {"w": latent.w.float()}, metadata)


def load_latent(path: Path, generator: Generator | None = None) -> Latent:
    """Codes of our files, or of other tools' files (see CODE_NAMES), which then belong to `generator`.

    UserError where a file holds no codes, is for another generator than the one given, or names none and none is given.
    """
    if path.suffix.lower() not in EXTENSIONS:
        raise UserError(f"'{path.name}' is no file of latents; these are {', '.join(EXTENSIONS)}.")
    checkpoint = read(path)
    metadata = checkpoint.metadata
    codes = next((checkpoint.tensors[name] for name in CODE_NAMES if name in checkpoint.tensors), None)
    if codes is None:
        raise UserError(
            f"'{path.name}' holds no latents, neither as {', '.join(CODE_NAMES[:-1])} nor as a single array. "
            f"It holds: {', '.join(checkpoint.top_names()) or 'nothing'}."
        )
    if not codes.is_floating_point() or not codes.isfinite().all():
        raise UserError(f"'{path.name}' holds codes that are no (finite) numbers. The file is damaged.")
    if metadata.get("format") != FORMAT:
        return _foreign(path, codes.float(), generator)
    if metadata.get("version") != str(VERSION):
        raise UserError(
            f"'{path.name}' holds latents of version {metadata.get('version')}, this pack reads {VERSION}. "
            "Update the pack."
        )
    if "generator" not in metadata or "fingerprint" not in metadata:
        raise UserError(f"'{path.name}' does not say which generator it belongs to. Save the latents again.")
    latent = Latent(codes.float(), GeneratorId(metadata["generator"], metadata["fingerprint"]))
    if generator is not None:
        latent.codes_for(generator.id)
    return latent


def _foreign(path: Path, codes: Tensor, generator: Generator | None) -> Latent:
    if generator is None:
        raise UserError(
            f"'{path.name}' does not say which generator it belongs to, as files of other tools do not. Connect the "
            "generator that it was made with."
        )
    alone = codes.dim() == 1 or tuple(codes.shape) == (generator.num_ws, generator.w_dim)
    return generator.latent(codes[None] if alone else codes)
