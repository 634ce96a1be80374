"""Saving weights: what goes wrong leaves the old file whole, and what tensors share is no obstacle."""

from __future__ import annotations

import os
import sys

import pytest
import torch
from portrait_rig.core.checkpoints import read, save_safetensors
from portrait_rig.core.errors import UserError


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    save_safetensors(path, {"a": torch.ones(2)}, {"which": "old"})

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    for place, name in (
        ("portrait_rig.core.checkpoints.safetensors_file", "save_file"),
        ("os", "fsync"),
        ("os", "replace"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(sys.modules[place], name, full)
            with pytest.raises(UserError, match=r"'x\.safetensors' could not be written .*No space left on device"):
                save_safetensors(path, {"a": torch.zeros(2)}, {"which": "new"})
        assert read(path).metadata == {"which": "old"}
        assert [inner.name for inner in tmp_path.iterdir()] == ["x.safetensors"]


def test_an_interruption_while_saving_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    save_safetensors(path, {"a": torch.ones(2)})

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_safetensors(path, {"a": torch.zeros(2)})
    assert read(path).tensors["a"].tolist() == [1, 1]
    assert [inner.name for inner in tmp_path.iterdir()] == ["x.safetensors"]


def test_saving_takes_views_shared_tensors_and_parameters(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    tensors = {
        "whole": whole,
        "again": whole,
        "row": whole[1],
        "turned": whole.t(),
        "p": torch.nn.Parameter(torch.ones(2)),
        "no": torch.empty(0),
    }
    save_safetensors(tmp_path / "new" / "x.safetensors", tensors)
    found = read(tmp_path / "new" / "x.safetensors").tensors
    assert set(found) == set(tensors)
    assert all(torch.equal(found[name], tensor.detach()) for name, tensor in tensors.items())


def test_saving_replaces_a_file_that_was_read_before(tmp_path):
    """On Windows this fails while the old file is still mapped into memory."""
    path = tmp_path / "x.safetensors"
    save_safetensors(path, {"a": torch.ones(2)})
    old = read(path)
    save_safetensors(path, {"a": torch.zeros(2)})
    assert (old.tensors["a"].tolist(), read(path).tensors["a"].tolist()) == ([1, 1], [0, 0])
