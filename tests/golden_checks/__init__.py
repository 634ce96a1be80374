"""One module a system; each offers `CHECKS`, a table from a file's `kind` to the function that recomputes it."""

from importlib import import_module
from pathlib import Path

CHECKS = {}
for _file in sorted(Path(__file__).parent.glob("[!_]*.py")):
    CHECKS.update(import_module(f"{__name__}.{_file.stem}").CHECKS)
