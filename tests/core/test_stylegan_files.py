"""Generators out of checkpoints: every layout, what pickles say beside the weights, fingerprints, conversion."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from portrait_rig.core.checkpoints import Checkpoint, ModuleInfo, read, save_safetensors
from portrait_rig.core.errors import UserError
from portrait_rig.core.networks import generator, rosinality, stylegan_tf
from portrait_rig.core.networks.generator import Generator, fingerprint, load_discriminator, load_generator, packed
from portrait_rig.core.networks.layers import MappingOptions
from portrait_rig.core.networks.stylegan2 import StyleGan2, StyleGan2Options
from portrait_rig.core.networks.stylegan2_discriminator import Discriminator, DiscriminatorOptions
from portrait_rig.core.networks.stylegan3 import StyleGan3, StyleGan3Options
from portrait_rig.core.types import GeneratorId, Latent

MAPPING = MappingOptions(z_dim=12, w_dim=12, num_layers=2, layer_features=12)
OPTIONS = StyleGan2Options({4: 16, 8: 12, 16: 8}, MAPPING, conv_clamp=256.0)
ALIAS_FREE = StyleGan3Options(32, (8,) * 6 + (3,), replace(MAPPING, w_avg_beta=0.998), output_scale=0.5)
JUDGE = DiscriminatorOptions({4: 12, 8: 10, 16: 8}, group_size=2)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return shaken(StyleGan2(OPTIONS))


def shaken(network):
    for name, tensor in network.state_dict().items():
        if name.endswith(("bias", "noise_strength", "w_avg")):
            tensor += 0.3 * torch.randn(tensor.shape)
    return network.eval().requires_grad_(False)


def checkpoint(tensors, modules=None, metadata=None, name="faces.pkl"):
    return Checkpoint(Path(name), "pickle", dict(tensors), metadata or {}, modules or {})


def under(prefix, tensors):
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def picture(owner):
    """One truncated picture of a network or a handle, in −1…1."""
    network = owner.network if isinstance(owner, Generator) else owner
    return network(torch.randn(1, 12, generator=torch.Generator().manual_seed(5)), truncation_psi=0.7)


def as_rosinality(network):
    """The inverse of `renamed_generator`, written out by hand from the fact sheet."""
    own, out = network.state_dict(), {}
    for i in range(2):
        out |= {f"style.{i + 1}.{p}": own[f"mapping.fc{i}.{p}"] for p in ("weight", "bias")}
    out["input.input"] = own["synthesis.b4.const"][None]
    layers = {
        "b4.conv1": "conv1",
        "b8.conv0": "convs.0",
        "b8.conv1": "convs.1",
        "b16.conv0": "convs.2",
        "b16.conv1": "convs.3",
    }
    for number, (ours, theirs) in enumerate(layers.items()):
        take = {
            part: own[f"synthesis.{ours}.{part}"]
            for part in (
                "weight",
                "bias",
                "affine.weight",
                "affine.bias",
                "noise_strength",
                "noise_const",
                "resample_filter",
            )
        }
        out |= {
            f"{theirs}.conv.weight": take["weight"][None],
            f"{theirs}.activate.bias": take["bias"],
            f"{theirs}.conv.modulation.weight": take["affine.weight"],
            f"{theirs}.noise.weight": take["noise_strength"][None],
            f"{theirs}.conv.modulation.bias": take["affine.bias"],
            f"noises.noise_{number}": take["noise_const"][None, None],
        }
        if ours.endswith("conv0"):
            out[f"{theirs}.conv.blur.kernel"] = take["resample_filter"] * 4
    for ours, theirs in {"b4": "to_rgb1", "b8": "to_rgbs.0", "b16": "to_rgbs.1"}.items():
        take = {
            part: own[f"synthesis.{ours}.torgb.{part}"] for part in ("weight", "bias", "affine.weight", "affine.bias")
        }
        out |= {
            f"{theirs}.conv.weight": take["weight"][None],
            f"{theirs}.bias": take["bias"].reshape(1, 3, 1, 1),
            f"{theirs}.conv.modulation.weight": take["affine.weight"],
            f"{theirs}.conv.modulation.bias": take["affine.bias"],
        }
        if theirs != "to_rgb1":
            out[f"{theirs}.upsample.kernel"] = own[f"synthesis.{ours}.resample_filter"] * 4
    return out


def as_tensorflow(network):
    """The network's weights as TensorFlow's variables, written out by hand from the fact sheet."""
    own, out = network.state_dict(), {"dlatent_avg": network.mapping.w_avg}
    for i in range(2):
        out |= {
            f"mapping/Dense{i}/weight": own[f"mapping.fc{i}.weight"].t(),
            f"mapping/Dense{i}/bias": own[f"mapping.fc{i}.bias"],
        }
    out["synthesis/4x4/Const/const"] = own["synthesis.b4.const"][None]
    noise = 0
    for resolution, names in ((4, ("Conv",)), (8, ("Conv0_up", "Conv1")), (16, ("Conv0_up", "Conv1"))):
        for theirs in (*names, "ToRGB"):
            ours = {"Conv": "conv1", "Conv0_up": "conv0", "Conv1": "conv1", "ToRGB": "torgb"}[theirs]
            take = {
                key.split(f"b{resolution}.{ours}.")[1]: t for key, t in own.items() if f".b{resolution}.{ours}." in key
            }
            kernel = take["weight"].flip([2, 3]) if theirs == "Conv0_up" else take["weight"]
            path = f"synthesis/{resolution}x{resolution}/{theirs}"
            out |= {
                f"{path}/weight": kernel.permute(2, 3, 1, 0),
                f"{path}/bias": take["bias"],
                f"{path}/mod_weight": take["affine.weight"].t(),
                f"{path}/mod_bias": take["affine.bias"] - 1,
            }
            if theirs != "ToRGB":
                out |= {
                    f"{path}/noise_strength": take["noise_strength"],
                    f"synthesis/noise{noise}": take["noise_const"][None, None],
                }
                noise += 1
    return out


def test_the_chosen_network_is_taken(network):
    torch.manual_seed(1)
    other = shaken(StyleGan2(OPTIONS))
    file = checkpoint({**under("G", other.state_dict()), **under("G_ema", network.state_dict())})
    assert torch.allclose(picture(load_generator(file)), picture(network), atol=1e-5)
    assert torch.allclose(picture(load_generator(file, "G")), picture(other), atol=1e-5)
    with pytest.raises(UserError, match="'D' is none of G_ema, G"):
        load_generator(file, "D")


def test_a_bare_state_dict_loads_and_its_guesses_are_shown(network):
    loaded = load_generator(checkpoint(network.state_dict()), name="mine")
    assert loaded.describe().startswith("mine: StyleGAN2, 16×16, z 12, w 6 × 12\nskip architecture, 16 to 8 channels")
    assert "guessed, since the file does not say: conv_clamp = None" in loaded.describe()


def test_attributes_of_pickled_layers_overrule_the_arguments(network):
    modules = {
        "G_ema": ModuleInfo(
            "Generator", init_kwargs={"z_dim": 12, "mapping_kwargs": {}, "synthesis_kwargs": {"conv_clamp": 1}}
        ),
        "G_ema.mapping": ModuleInfo("MappingNetwork", attributes={"w_avg_beta": 0.9}),
        "G_ema.mapping.fc0": ModuleInfo("FullyConnectedLayer", attributes={"activation": "relu", "bias_gain": 0.02}),
        "G_ema.synthesis": ModuleInfo("SynthesisNetwork"),
        "G_ema.synthesis.b4": ModuleInfo("SynthesisBlock", attributes={"use_fp16": False}),
        "G_ema.synthesis.b8": ModuleInfo("SynthesisBlock", attributes={"use_fp16": False}),
        "G_ema.synthesis.b16": ModuleInfo("SynthesisBlock", attributes={"use_fp16": True}),
        "G_ema.synthesis.b4.conv1": ModuleInfo("SynthesisLayer", attributes={"conv_clamp": 128, "activation": "swish"}),
    }
    options = load_generator(checkpoint(under("G_ema", network.state_dict()), modules)).network.options
    assert (options.conv_clamp, options.activation, options.num_fp16_res) == (128, "swish", 1)
    assert (options.mapping.activation, options.mapping.lr_multiplier, options.mapping.w_avg_beta) == (
        "relu",
        0.02,
        0.9,
    )


def test_a_stylegan3_pickle_is_read_by_its_attributes():
    network = shaken(StyleGan3(ALIAS_FREE))
    modules = {
        "": ModuleInfo("Generator", init_kwargs={"z_dim": 12, "mapping_kwargs": {}, "output_scale": 0.25}),
        "synthesis": ModuleInfo("SynthesisNetwork", attributes={"output_scale": 0.5, "num_critical": 2}),
        "synthesis.input": ModuleInfo("SynthesisInput"),
        "synthesis.L0_36_8": ModuleInfo("SynthesisLayer", attributes={"conv_clamp": None}),
    }
    loaded = load_generator(checkpoint(network.state_dict(), modules))
    assert loaded.network.options.output_scale == 0.5 and loaded.network.options.conv_clamp is None
    assert loaded.network.guessed == ()


def test_rosinalitys_layout_is_the_same_network(network):
    fan_in = StyleGan2(replace(OPTIONS, conv_clamp=None, fan_in_demodulation=True))
    fan_in.load_state_dict(network.state_dict())
    file = checkpoint({**under("g_ema", as_rosinality(network)), "latent_avg": network.mapping.w_avg}, name="ros.pt")
    loaded = load_generator(file)
    assert torch.allclose(picture(loaded), picture(fan_in), atol=1e-5)
    assert loaded.network.guessed == ()
    psp = under("state_dict.decoder", as_rosinality(network)) | {"latent_avg": network.mapping.w_avg.expand(6, -1)}
    assert load_generator(checkpoint(psp)).id.fingerprint == loaded.id.fingerprint


def test_a_rosinality_file_without_mean_gets_one_and_says_so(network):
    file = checkpoint(under("g_ema", as_rosinality(network)))
    first, second = load_generator(file), load_generator(file)
    assert torch.equal(first.w_avg, second.w_avg)
    codes = first.map(torch.randn(2000, 12)).w[:, 0]
    assert (first.w_avg - codes.mean(0)).abs().max() < 0.2 * codes.std()  # measured 0.05
    assert "mean w from 4096 samples" in first.describe()


def test_an_unknown_rosinality_key_is_named(network):
    with pytest.raises(UserError, match=r"'convs.0.extra' has no place"):
        rosinality.renamed_generator({**as_rosinality(network), "convs.0.extra": torch.zeros(1)})


def test_tensorflows_variables_are_the_same_network(network):
    fan_in = StyleGan2(replace(OPTIONS, fan_in_demodulation=True))
    fan_in.load_state_dict(network.state_dict())
    modules = {"Gs": ModuleInfo("G_main", "tensorflow", init_kwargs={"conv_clamp": 256, "mapping_lrmul": 0.01})}
    file = checkpoint(under("Gs", as_tensorflow(network)), modules)
    loaded = load_generator(file)
    assert loaded.network.options.fan_in_demodulation and loaded.network.options.conv_clamp == 256
    assert torch.allclose(picture(loaded), picture(fan_in), atol=1e-5)
    assert loaded.id.fingerprint == fingerprint(network.state_dict())


def test_stylegan1_is_refused_by_its_variables(network):
    variables = {**as_tensorflow(network), "synthesis/4x4/Const/StyleMod/weight": torch.zeros(1)}
    with pytest.raises(UserError, match="StyleMod/weight', which StyleGAN2 of the configurations E and F lacks"):
        stylegan_tf.generator(variables, {})


def test_a_discriminator_is_found():
    network = shaken(Discriminator(JUDGE))
    modules = {
        "D": ModuleInfo("Discriminator"),
        "D.b4": ModuleInfo("DiscriminatorEpilogue"),
        "D.b4.mbstd": ModuleInfo("MinibatchStdLayer", attributes={"group_size": 2}),
    }
    loaded = load_discriminator(checkpoint(under("D", network.state_dict()), modules))
    pictures = torch.randn(4, 3, 16, 16)
    assert torch.equal(loaded(pictures), network(pictures))


def test_a_file_without_a_generator_says_what_it_holds():
    with pytest.raises(
        UserError, match=r"'faces.pkl' holds no StyleGAN2 or StyleGAN3 generator under G_ema.*holds: encoder"
    ):
        load_generator(checkpoint({"encoder.weight": torch.zeros(1)}))


@pytest.mark.parametrize("options", [OPTIONS, ALIAS_FREE], ids=["StyleGAN2", "StyleGAN3"])
def test_a_converted_file_is_the_same_generator(options, tmp_path):
    kind = StyleGan2 if isinstance(options, StyleGan2Options) else StyleGan3
    original = Generator.of(shaken(kind(options)), "original")
    save_safetensors(tmp_path / "converted.safetensors", *packed(original))
    again = load_generator(read(tmp_path / "converted.safetensors"))
    assert again.id.fingerprint == original.id.fingerprint and again.network.options == original.network.options
    assert torch.equal(picture(again), picture(original)) and again.network.guessed == ()


def test_a_fingerprint_follows_every_weight(network):
    tensors = network.state_dict()
    assert fingerprint(tensors) == fingerprint(dict(reversed(tensors.items())))
    changed = {**tensors, "synthesis.b4.const": tensors["synthesis.b4.const"] + 1e-3}
    assert fingerprint(changed) != fingerprint(tensors)


def test_a_generator_refuses_another_generators_latent_with_both_names(network):
    ours = Generator.of(network, "ours")
    theirs = Latent(torch.zeros(1, 6, 12), GeneratorId("theirs", "0"))
    with pytest.raises(UserError, match=r"'theirs'.*'ours'"):
        ours.draw(theirs)
    with pytest.raises(UserError, match=r"'ours' needs codes of the shape \[pictures, 6, 12\]; got \[1, 7, 12\]"):
        ours.latent(torch.zeros(1, 7, 12))


def test_codes_and_pictures(network):
    ours = Generator.of(network, "ours")
    assert torch.equal(ours.latent(ours.w_avg[None]).w, ours.w_avg.expand(1, 6, 12))
    latent = ours.map(torch.randn(3, 12), truncation=0.5)
    assert len(latent) == 3 and len(latent[1:]) == 2
    with torch.inference_mode():
        drawn = ours.draw(latent)
    assert torch.allclose(drawn, network.synthesis(latent.w) / 2 + 0.5)
    assert ours.size == (16, 16) and (ours.z_dim, ours.w_dim, ours.c_dim, ours.num_ws) == (12, 12, 0, 6)


def test_half_precision_is_left_out_on_a_cpu():
    cpu = torch.device("cpu")
    assert generator.usable_precision(torch.float16, cpu) is None
    assert generator.usable_precision(torch.bfloat16, cpu) == torch.bfloat16
    assert generator.usable_precision(torch.float16, torch.device("cuda")) == torch.float16
