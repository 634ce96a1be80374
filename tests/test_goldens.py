"""Every golden file copied into `tests/goldens`, and every one of `../shared/goldens` whose kind has a check."""

from __future__ import annotations

from pathlib import Path

import goldens
import pack
import pytest

OWN = sorted((Path(__file__).parent / "goldens").glob("**/*.safetensors"))
SHARED = sorted((pack.SHARED / "goldens").glob("**/*.safetensors"))
NAMES = {path.name for path in OWN}


@pytest.mark.parametrize("path", OWN, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_golden(path):
    for comparison in goldens.compare(path):
        assert comparison.passes(), f"{comparison.name}: {comparison.error():.2e} > {comparison.tolerance:.0e}"


def test_a_wrong_output_fails(tmp_path, capsys):
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(str(OWN[0]), framework="pt") as file:
        tensors, metadata = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118
    name = next(k for k, t in tensors.items() if k.startswith("out/") and t.is_floating_point())
    tensors[name] = tensors[name] + 0.1 * tensors[name].abs().max() + 0.1
    broken = tmp_path / "broken.safetensors"
    save_file(tensors, broken, metadata)
    assert goldens.main([str(broken)]) == 1
    assert "FAIL" in capsys.readouterr().out


def test_an_unknown_kind_is_named(tmp_path, capsys):
    import torch
    from safetensors.torch import save_file

    save_file({"out/x": torch.zeros(1)}, tmp_path / "odd.safetensors", {"kind": "nobody/knows"})
    assert goldens.main([str(tmp_path / "odd.safetensors")]) == 1
    assert "nobody/knows" in capsys.readouterr().out
