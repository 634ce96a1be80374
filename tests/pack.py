"""The checkout as the package `portrait_rig`, and where its neighbours lie."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ALIAS = "portrait_rig"
ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
"""Goldens and real inputs that lie beside a developer's checkout; tests that need them skip where they are absent."""


def load() -> ModuleType:
    """Imports the pack as ComfyUI does: by the path of its folder, relative imports inside."""
    if ALIAS not in sys.modules:
        door, inside = ROOT / "__init__.py", [str(ROOT)]
        spec = importlib.util.spec_from_file_location(ALIAS, door, submodule_search_locations=inside)
        module = importlib.util.module_from_spec(spec)
        sys.modules[ALIAS] = module
        spec.loader.exec_module(module)
    return sys.modules[ALIAS]
