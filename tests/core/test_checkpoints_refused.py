"""Things that are not weights and paths that lead nowhere: what is there is named, and what to do."""

from __future__ import annotations

import gzip
import io
import os
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from portrait_rig.core.checkpoints import read
from portrait_rig.core.errors import UserError


def _gzip() -> bytes:
    return gzip.compress(b"weights")


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("weights"))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
            "is a Git LFS pointer, not weights",
        ),
        (b"<!DOCTYPE html><html><head>", "is a web page, not weights"),
        (b"\n\n<html>", "is a web page, not weights"),
        (b"<!-- x --><HTML>", "is a web page, not weights"),
        (b"Access denied. Try again later.", "is a text, not weights; it begins with 'Access denied"),
        (b'{"error": "not found"}', "is a JSON text"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "is an HDF5 file"),
        (b"MATLAB 7.3 MAT-file, Platform" + bytes(600), "is an HDF5 file"),
        (_gzip(), "is a packed archive"),
        (_tar(), "is a packed archive"),
        (bytes(range(255, 0, -1)), "is of an unknown kind"),
        (bytes(100), "is of an unknown kind"),
    ],
)
def test_things_that_are_not_weights(tmp_path, content, words):
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(UserError, match=rf"^'weights\.pth' {words}"):
        read(tmp_path / "weights.pth")


def test_a_zip_of_other_files(tmp_path):
    with zipfile.ZipFile(tmp_path / "face.zip", "w") as archive:
        archive.writestr("face/epoch_00190_checkpoint.pt", b"1")
    with pytest.raises(
        UserError, match=r"zip archive of other files \('face/epoch_00190_checkpoint\.pt'\)\. Unpack it"
    ):
        read(tmp_path / "face.zip")


def test_a_torchscript_program(tmp_path):
    torch.jit.script(torch.nn.Linear(1, 1)).save(str(tmp_path / "x.pt"))
    with pytest.raises(UserError, match="is a TorchScript program, not weights"):
        read(tmp_path / "x.pt")


def test_a_missing_file_names_its_folder(tmp_path):
    with pytest.raises(UserError) as refused:
        read(tmp_path / "models" / "ffhq.pkl")
    assert f"There is no file 'ffhq.pkl' in the folder '{tmp_path / 'models'}'" in str(refused.value)


def test_a_folder_without_meshes_and_one_that_has_only_other_files(tmp_path):
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(UserError, match=r"is a folder without \.obj files"):
        read(tmp_path)


def test_an_impossible_path(tmp_path):
    with pytest.raises(UserError):
        read(tmp_path / "a\x00b")


@pytest.mark.skipif(sys.platform == "win32" or not hasattr(os, "geteuid"), reason="needs POSIX permissions")
def test_a_file_without_permission(tmp_path, monkeypatch):
    (tmp_path / "x.pt").write_bytes(b"x")

    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError, match=r"'x\.pt' cannot be read from the folder .*Permission denied"):
        read(tmp_path / "x.pt")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.pt")
    with pytest.raises(UserError, match="neither a file nor a folder"):
        read(tmp_path / "x.pt")
