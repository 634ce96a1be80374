"""Loads the pack from this checkout under the name `portrait_rig`, whatever its folder is called; shared fixtures."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import pack

pack.load()

import toy_rig
from portrait_rig.core.face.models import load_face_model


@pytest.fixture(scope="module")
def head():
    """The embedded face model."""
    return load_face_model()


@pytest.fixture(scope="module")
def rig(head):
    """A rig whose every answer is known."""
    return toy_rig.exact_rig(head)


@pytest.fixture(scope="module")
def people(head):
    """Three faces that differ in everything."""
    return toy_rig.faces(head, 16)[:3]


@pytest.fixture(scope="module")
def others(head):
    """Three more."""
    return toy_rig.faces(head, 16)[7:10]
