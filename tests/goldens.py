"""Checks files that hold the outputs of the authors' code: `python tests/goldens.py FILE…`.

Dispatches on the metadata key `kind`; a check recomputes the outputs from the file's own inputs, weights and config, so
files of other sizes, options and seeds work as well. Prints a line a file: name, largest error relative to the largest
output, pass or fail. Exit status 1 when any fails.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

if __name__ == "__main__":
    import pack

    pack.load()

TOLERANCE = 2e-5
"""Largest allowed error relative to the largest output, in fp32, where a check knows nothing better."""


@dataclass(frozen=True)
class Case:
    """One file: tensors by name without their prefix, and the metadata."""

    path: Path
    kind: str
    config: dict[str, Any]
    metadata: dict[str, str]
    param: dict[str, Tensor]
    given: dict[str, Tensor]
    expected: dict[str, Tensor]


@dataclass(frozen=True)
class Comparison:
    """One output of ours beside the authors'.

    tolerance: allowed error relative to the largest |expected| (`absolute`: as it stands). outliers: share of elements
    that may lie beyond it (rasterisers differ on edges).
    """

    name: str
    ours: Tensor
    expected: Tensor
    tolerance: float = TOLERANCE
    absolute: bool = False
    outliers: float = 0.0

    def error(self) -> float:
        """Largest error after dropping the allowed share of outliers; infinite for other shapes or NaN."""
        if self.ours.shape != self.expected.shape:
            return float("inf")
        if self.ours.numel() == 0:
            return 0.0
        difference = (self.ours.detach().double() - self.expected.double()).abs().flatten()
        if torch.isnan(difference).any():
            return float("inf")
        scale = 1.0 if self.absolute else max(self.expected.double().abs().max().item(), 1e-30)
        keep = difference.numel() - int(self.outliers * difference.numel())
        return difference.kthvalue(max(keep, 1)).values.item() / scale

    def passes(self) -> bool:
        return self.error() <= self.tolerance


Check = Callable[[Case], Iterable[Comparison]]


def read(path: Path) -> Case:
    """A golden file as a Case."""
    groups: dict[str, dict[str, Tensor]] = {"param": {}, "in": {}, "out": {}}
    with safe_open(str(path), framework="pt") as file:
        metadata = file.metadata() or {}
        for key in file.keys():  # noqa: SIM118 - safe_open is no mapping
            group, _, name = key.partition("/")
            groups.setdefault(group, {})[name] = file.get_tensor(key)
    kind = metadata.get("kind", metadata.get("system", ""))
    config = json.loads(metadata.get("config", "{}"))
    return Case(path, kind, config, metadata, groups["param"], groups["in"], groups["out"])


def checks() -> dict[str, Check]:
    """Every kind that can be checked."""
    from golden_checks import CHECKS

    return CHECKS


def compare(path: Path) -> list[Comparison]:
    """Recomputes one file's outputs; LookupError where nothing checks its kind."""
    case = read(path)
    check = checks().get(case.kind)
    if check is None:
        raise LookupError(f"nothing here checks the kind '{case.kind}'")
    comparisons = list(check(case))
    if not comparisons:
        raise LookupError(f"the check of '{case.kind}' compared nothing")
    return comparisons


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help="golden .safetensors files")
    parser.add_argument("-v", "--verbose", action="store_true", help="a line for every output")
    options = parser.parse_args(arguments)
    failed = 0
    for path in options.files:
        try:
            comparisons = compare(path)
        except Exception as error:  # noqa: BLE001 - a broken file must not hide the others
            failed += 1
            print(f"{path.name}: FAIL {type(error).__name__}: {error}")
            continue
        bad = [c for c in comparisons if not c.passes()]
        failed += bool(bad)
        worst = max(comparisons, key=lambda c: c.error() / c.tolerance)
        verdict = "FAIL" if bad else "pass"
        print(f"{path.name}: {verdict} {worst.error():.2e} ({worst.name}, {len(comparisons)} outputs)")
        for c in comparisons if options.verbose else bad:
            print(f"    {c.name}: {c.error():.2e}, allowed {c.tolerance:.0e}{'' if c.passes() else '  <- FAIL'}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
