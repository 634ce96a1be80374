"""`convert`: what comes out is the same generator, and every refusal is a sentence."""

from __future__ import annotations

import pytest
import torch
from portrait_rig.__main__ import main
from portrait_rig.core.checkpoints import read
from portrait_rig.core.networks.generator import WHICH, load_generator
from portrait_rig.core.networks.layers import MappingOptions
from portrait_rig.core.networks.stylegan2 import StyleGan2, StyleGan2Options
from portrait_rig.headless.run import DONE, FAILED

OPTIONS = StyleGan2Options({4: 8, 8: 6}, MappingOptions(z_dim=5, w_dim=7, num_layers=2, layer_features=7))


@pytest.fixture
def source(tmp_path):
    """A training checkpoint with a generator in training and an averaged one."""
    torch.manual_seed(0)
    tensors = {f"{which}.{k}": v for which in WHICH for k, v in StyleGan2(OPTIONS).state_dict().items()}
    torch.save(tensors, tmp_path / "faces.pt")
    return tmp_path / "faces.pt"


@pytest.mark.parametrize("which", WHICH)
def test_a_converted_generator_keeps_its_fingerprint(source, capsys, which):
    target = source.with_name("out.safetensors")
    assert main(["convert", str(source), str(target), "--which", which]) == DONE
    original, converted = load_generator(read(source), which), load_generator(read(target))
    assert converted.id.fingerprint == original.id.fingerprint and not converted.tuned
    z = torch.randn(2, 5)
    assert torch.equal(converted.draw(converted.map(z)), original.draw(original.map(z)))
    told = capsys.readouterr()
    assert told.out.startswith("faces: StyleGAN2, 8×8") and str(target) in told.out and told.err == ""
    assert "guessed" in original.describe() and "guessed" not in converted.describe()


def test_the_two_generators_differ(source):
    prints = {load_generator(read(source), which).id.fingerprint for which in WHICH}
    assert len(prints) == 2


def test_what_convert_refuses(source, capsys, tmp_path):
    target = tmp_path / "out.safetensors"
    bad = tmp_path / "bad.pkl"
    bad.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    for arguments, words in (
        ([source, tmp_path / "out.pt"], "'out.pt' should end in .safetensors"),
        ([tmp_path / "none.pkl", target], "There is no file"),
        ([bad, target], "os.system"),
        ([tmp_path, target], "There is no file"),
    ):
        assert main(["convert", *map(str, arguments)]) == FAILED
        told = capsys.readouterr()
        assert words in told.err and "Traceback" not in told.err and told.out == ""
        assert not target.exists()


def test_an_existing_file_is_replaced_only_on_demand(source, capsys, tmp_path):
    target = tmp_path / "out.safetensors"
    target.write_bytes(b"precious")
    assert main(["convert", str(source), str(target)]) == FAILED
    assert "exists already" in capsys.readouterr().err and target.read_bytes() == b"precious"
    assert main(["convert", str(source), str(target), "--overwrite"]) == DONE
    assert load_generator(read(target)).size == (8, 8)


def test_the_help_names_the_command(capsys):
    with pytest.raises(SystemExit):
        main(["convert", "--help"])
    assert "--which" in capsys.readouterr().out
