"""The embedded files are those of the manifest, and each says what it is and how it was made."""

from __future__ import annotations

import hashlib
import re

import pack
import pytest
from safetensors import safe_open

WEIGHTS = pack.ROOT / "weights"
FILES = sorted(WEIGHTS.glob("*.safetensors"))
MANIFEST = (WEIGHTS / "README.md").read_text(encoding="utf-8")
MOST_BYTES = 60_000_000
"""Of all embedded weights together."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_manifest_lists_it_as_it_is(path):
    (row,) = re.findall(rf"^\| `{path.name}` \| ([\d,]+) \| `([0-9a-f]{{64}})` \|", MANIFEST, re.M)
    found = path.read_bytes()
    assert row == (f"{len(found):,}", hashlib.sha256(found).hexdigest())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_says_what_it_is_and_how_it_was_made(path):
    with safe_open(path, "pt") as file:
        told = file.metadata()
    assert told["licence"] == "Apache-2.0"
    assert told["command"].startswith("python -m portrait_rig")
    assert "/" not in told["command"].replace("weights/", ""), "a path of somebody's machine"


def test_the_manifest_lists_nothing_else():
    assert sorted(re.findall(r"^\| `(\w+\.safetensors)`", MANIFEST, re.M)) == [path.name for path in FILES]


def test_together_they_are_small():
    assert sum(path.stat().st_size for path in FILES) < MOST_BYTES
