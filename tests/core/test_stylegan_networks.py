"""Networks: forget the options and recover them from the weights; noise, truncation, precision, refusals."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from portrait_rig.core.errors import UserError
from portrait_rig.core.networks import stylegan2, stylegan2_discriminator, stylegan3
from portrait_rig.core.networks.layers import MappingOptions, truncate
from portrait_rig.core.networks.stylegan2 import StyleGan2, StyleGan2Options
from portrait_rig.core.networks.stylegan2_discriminator import Discriminator, DiscriminatorOptions, minibatch_deviation
from portrait_rig.core.networks.stylegan3 import StyleGan3, StyleGan3Options

SMALL = MappingOptions(z_dim=12, w_dim=16, num_layers=2, layer_features=16)
PLAIN = StyleGan2Options({4: 16, 8: 12, 16: 8}, SMALL)
ALIAS_FREE = StyleGan3Options(32, (8,) * 6 + (3,), replace(SMALL, w_avg_beta=0.998))

STYLEGAN2 = {
    "skip": PLAIN,
    "resnet": replace(PLAIN, architecture="resnet", conv_clamp=3.5),
    "orig": replace(PLAIN, architecture="orig", activation="swish", kernel_size=5),
    "portrait": replace(PLAIN, start=(4, 2), num_fp16_res=2),
    "no noise": replace(PLAIN, use_noise=False, img_channels=4),
    "conditional": replace(PLAIN, mapping=replace(SMALL, c_dim=5, embed_features=7, layer_features=9, num_layers=3)),
    "one mapping layer": replace(PLAIN, mapping=replace(SMALL, num_layers=1, layer_features=None)),
    "four pixels": replace(PLAIN, channels={4: 8}),
    "fan in": replace(PLAIN, fan_in_demodulation=True, mapping=replace(SMALL, lr_multiplier=0.1, activation="relu")),
}
STYLEGAN3 = {
    "T": ALIAS_FREE,
    "R": replace(ALIAS_FREE, conv_kernel=1, use_radial_filters=True),
    "portrait": replace(ALIAS_FREE, portrait=True),
    "own bands": replace(
        ALIAS_FREE, num_critical=1, first_cutoff=1.5, first_stopband=3.4, margin_size=6, filter_size=4
    ),
    "conditional": replace(ALIAS_FREE, mapping=replace(ALIAS_FREE.mapping, c_dim=3, embed_features=16)),
}
DISCRIMINATORS = {
    "resnet": DiscriminatorOptions({4: 12, 8: 10, 16: 8}),
    "skip": DiscriminatorOptions({4: 12, 8: 10, 16: 8}, architecture="skip", conv_clamp=2.0),
    "orig": DiscriminatorOptions({4: 12, 8: 10, 16: 8}, architecture="orig", deviation_channels=0),
    "portrait": DiscriminatorOptions({4: 12, 8: 10, 16: 8}, end=(4, 2), deviation_channels=2),
    "conditional": DiscriminatorOptions(
        {4: 12, 8: 8}, MappingOptions(0, 5, 12, 2, embed_features=12, layer_features=12, w_avg_beta=None)
    ),
}


def shaken(network, seed=0):
    """Biases, noise strengths and means away from their special initial values; frozen, as a loaded network is."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if name.endswith(("bias", "noise_strength", "w_avg")):
            tensor += 0.3 * torch.randn(tensor.shape, generator=generator)
    return network.eval().requires_grad_(False)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("name", STYLEGAN2)
def test_stylegan2_is_recovered_from_its_weights(name):
    network = shaken(StyleGan2(STYLEGAN2[name]))
    again = stylegan2.from_tensors(network.state_dict(), network.options.as_init())
    assert again.options == network.options and again.guessed == ()
    z, c = torch.randn(2, 12), torch.eye(5)[:2]
    assert torch.equal(again(z, c, truncation_psi=0.5), network(z, c, truncation_psi=0.5))
    assert again(z, c).shape == (2, network.options.img_channels, *network.size)


@pytest.mark.parametrize("name", STYLEGAN3)
def test_stylegan3_is_recovered_from_its_weights(name):
    network = shaken(StyleGan3(STYLEGAN3[name]))
    again = stylegan3.from_tensors(network.state_dict(), network.options.as_init())
    assert replace(again.options, mapping=network.options.mapping) == network.options
    z, c = torch.randn(2, 12), torch.eye(3)[:2]
    assert torch.equal(again(z, c), network(z, c))
    assert again(z, c).shape == (2, 3, *network.size)


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_a_discriminator_is_recovered_from_its_weights(name):
    network = shaken(Discriminator(DISCRIMINATORS[name]))
    told = {"conv_clamp": network.options.conv_clamp, "end": network.options.end}
    again = stylegan2_discriminator.from_tensors(network.state_dict(), told)
    assert again.options == network.options
    pictures, c = torch.randn(4, 3, *network.size), torch.eye(5)[:4]
    assert torch.equal(again(pictures, c), network(pictures, c)) and again(pictures, c).shape == (4, 1)


def test_options_taken_on_no_evidence_are_called_guesses():
    told = stylegan2.from_tensors(StyleGan2(PLAIN).state_dict(), {"synthesis_kwargs": {}})
    assert told.guessed == ()
    bare = stylegan2.from_tensors(StyleGan2(PLAIN).state_dict())
    assert "conv_clamp = None" in bare.guessed and "mapping lr_multiplier = 0.01" in bare.guessed


def test_flat_arguments_mean_the_stylegan3_repository():
    options = stylegan2.from_tensors(StyleGan2(PLAIN).state_dict(), {"z_dim": 12, "mapping_kwargs": {}}).options
    assert (options.conv_clamp, options.num_fp16_res, options.mapping.w_avg_beta) == (256, 4, 0.998)


def test_missing_unexpected_and_reshaped_weights_are_listed():
    tensors = dict(StyleGan2(PLAIN).state_dict())
    del tensors["synthesis.b8.conv0.affine.bias"]
    tensors["synthesis.b8.conv9.weight"] = torch.zeros(1)
    tensors["synthesis.b16.conv1.bias"] = torch.zeros(3)
    with pytest.raises(UserError) as raised:
        stylegan2.from_tensors(tensors)
    assert re.search(
        r"missing: synthesis.b8.conv0.affine.bias;.*unexpected: synthesis.b8.conv9.weight;", str(raised.value)
    )
    assert "synthesis.b16.conv1.bias [3] instead of [8]" in str(raised.value)


def test_a_stylegan2_without_a_resolution_is_refused():
    tensors = {k: v for k, v in StyleGan2(PLAIN).state_dict().items() if ".b8." not in k}
    with pytest.raises(UserError, match=r"holds the resolutions \[4, 16\]"):
        stylegan2.from_tensors(tensors)


def test_a_stylegan3_whose_bands_do_not_fit_says_what_it_found():
    network = StyleGan3(replace(ALIAS_FREE, margin_size=6))
    with pytest.raises(UserError, match=r"L0_28_8.*its options give L0_36_8"):
        stylegan3.from_tensors(network.state_dict())


def test_filters_take_the_files_shape_and_values():
    network = StyleGan2(replace(PLAIN, resample_filter=(1.0, 2.0, 4.0, 2.0, 1.0, 3.0)))
    again = stylegan2.from_tensors(network.state_dict())
    assert again.synthesis.b8.conv0.resample_filter.shape == (6, 6)
    ws = torch.randn(1, 6, 16)
    assert torch.equal(again.synthesis(ws), network.synthesis(ws))


def test_loading_inside_inference_mode_leaves_a_trainable_network():
    tensors, before = StyleGan2(PLAIN).state_dict(), torch.get_rng_state()
    with torch.inference_mode():
        network = stylegan2.from_tensors(tensors)
    assert torch.equal(torch.get_rng_state(), before)
    network.requires_grad_(True)
    network(torch.randn(1, 12)).square().mean().backward()
    assert network.synthesis.b4.const.grad.abs().sum() > 0
    assert network.synthesis.b4.const.data_ptr() != tensors["synthesis.b4.const"].data_ptr()


@pytest.mark.parametrize(
    "options", [PLAIN, STYLEGAN2["resnet"], STYLEGAN2["orig"], ALIAS_FREE], ids=["skip", "resnet", "orig", "StyleGAN3"]
)
def test_a_picture_does_not_depend_on_its_neighbours(options):
    network = shaken((StyleGan2 if isinstance(options, StyleGan2Options) else StyleGan3)(options))
    ws = torch.randn(3, network.num_ws, 16)
    together, alone = network.synthesis(ws), network.synthesis(ws[1:2])
    assert (together[1:2] - alone).abs().max() < 2e-6 * together.abs().max()  # measured 2.4e-7


@pytest.mark.parametrize("options", [PLAIN, ALIAS_FREE], ids=["StyleGAN2", "StyleGAN3"])
def test_an_empty_batch_gives_no_picture(options):
    network = (StyleGan2 if isinstance(options, StyleGan2Options) else StyleGan3)(options)
    assert network.synthesis(torch.randn(0, network.num_ws, 16)).shape == (0, 3, *network.size)


def test_noise_modes():
    network = shaken(StyleGan2(PLAIN))
    ws = torch.randn(1, 6, 16)

    def draw(mode, seed=0, **more):
        return network.synthesis(ws, noise_mode=mode, seed=torch.Generator().manual_seed(seed), **more)

    assert torch.equal(draw("const"), draw("const", seed=1)) and not torch.equal(draw("const"), draw("none"))
    assert torch.equal(draw("random"), draw("random")) and not torch.equal(draw("random"), draw("random", seed=1))
    stored = [layer.noise_const[None, None] for layer in network.synthesis.noise_layers()]
    assert torch.equal(draw("none", noise=stored), draw("const"))
    with pytest.raises(UserError, match="'often' is unknown; known are const, none, random"):
        draw("often")
    with pytest.raises(UserError, match="4 noise pictures were given, which is too few"):
        draw("const", noise=stored[:-1])
    with pytest.raises(UserError, match=r"Noise picture 1 is \[1, 1, 2, 2\]; this layer needs \[4, 4\]"):
        draw("const", noise=[torch.zeros(1, 1, 2, 2)] * 5)


def test_truncation():
    ws, mean = torch.randn(2, 6, 16), torch.randn(16)
    assert torch.allclose(truncate(ws, mean, 0.0), mean.expand(2, 6, 16))
    half = truncate(ws, mean, 0.5, cutoff=2)
    assert torch.allclose(half[:, :2], (ws[:, :2] + mean) / 2) and torch.equal(half[:, 2:], ws[:, 2:])


def test_wrong_shapes_are_named():
    network, conditional = StyleGan2(PLAIN), StyleGan2(STYLEGAN2["conditional"])
    with pytest.raises(UserError, match=r"z must have the shape \[N, 12\]; got \[2, 13\]"):
        network.mapping(torch.randn(2, 13))
    with pytest.raises(UserError, match="conditional: it needs a label of 5 values"):
        conditional.mapping(torch.randn(2, 12))
    for each in (network, StyleGan3(ALIAS_FREE)):
        with pytest.raises(UserError, match=r"needs ws of the shape \[N, \d, 16\]; got \[1, 3, 16\]"):
            each.synthesis(torch.randn(1, 3, 16))
    with pytest.raises(UserError, match=r"judges pictures of the shape \[3, 16, 16\]; got \[3, 8, 8\]"):
        Discriminator(DISCRIMINATORS["resnet"])(torch.zeros(1, 3, 8, 8))
    with pytest.raises(UserError, match="6 pictures do not divide into groups of 4"):
        minibatch_deviation(torch.zeros(6, 2, 4, 4), 4, 1)


@pytest.mark.parametrize("options", [replace(PLAIN, num_fp16_res=2, conv_clamp=256), ALIAS_FREE], ids=["2", "3"])
@pytest.mark.parametrize(
    ("dtype", "allowed"), [(torch.float16, 0.005), (torch.bfloat16, 0.03)]
)  # measured 0.002, 0.011
def test_half_precision_stays_close(options, dtype, allowed):
    network = shaken((StyleGan2 if isinstance(options, StyleGan2Options) else StyleGan3)(options))
    ws = torch.randn(2, network.num_ws, 16)
    full, half = network.synthesis(ws), network.synthesis(ws, precision=dtype)
    assert half.dtype == torch.float32 and not torch.equal(half, full)
    assert (half - full).abs().max() < allowed * full.abs().max()


def test_half_precision_survives_huge_weights():
    network = shaken(StyleGan2(PLAIN))
    network.synthesis.b16.conv0.weight *= 1e6
    network.synthesis.b16.conv0.affine.weight *= 1e4
    assert torch.isfinite(network.synthesis(torch.randn(1, 6, 16), precision=torch.float16)).all()


def test_float64_networks_compute_in_float64():
    network = shaken(StyleGan2(PLAIN)).double()
    ws = torch.randn(1, 6, 16)
    assert network.synthesis(ws).dtype == torch.float64
    assert (network.float().synthesis(ws) - network.double().synthesis(ws)).abs().max() < 1e-5  # measured 1.2e-6


def test_turning_stylegan3s_transform_turns_its_input():
    network = shaken(StyleGan3(ALIAS_FREE))
    w = torch.randn(1, 16)
    upright = network.synthesis.input(w)
    network.synthesis.input.transform.copy_(torch.tensor([[-1.0, 0, 0], [0, -1.0, 0], [0, 0, 1.0]]))
    assert torch.allclose(network.synthesis.input(w), upright.flip([2, 3]), atol=1e-6)  # measured 0
    assert not torch.allclose(upright, upright.flip([2, 3]), atol=0.1)


def test_demodulation_by_fan_in_shows_where_styles_are_tiny():
    network = shaken(StyleGan2(PLAIN))
    other = stylegan2.from_tensors(network.state_dict(), {"synthesis_kwargs": {}, "fan_in_demodulation": True})
    ws = torch.randn(1, 6, 16)
    assert (network.synthesis(ws) - other.synthesis(ws)).abs().max() < 1e-4
    for each in (network, other):
        each.synthesis.b16.conv1.affine.weight *= 1e-4
        each.synthesis.b16.conv1.affine.bias *= 1e-4
    assert (network.synthesis(ws) - other.synthesis(ws)).abs().max() > 1e-2
