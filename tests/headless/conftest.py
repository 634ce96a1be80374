"""Fixtures of the tests that run workflows in a terminal."""

from __future__ import annotations

import pytest
from portrait_rig.nodes import host


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current directory, and no other folder chosen for inputs or outputs."""
    monkeypatch.setattr(host.folder_paths, "_chosen", {})
    monkeypatch.chdir(tmp_path)
    return tmp_path
