"""Loads the pack from this checkout under the name `portrait_rig`, whatever its folder is called."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import pack

pack.load()
