"""Progressive GANs: against the paper's definition written out plainly, and out of both published layouts."""

from __future__ import annotations

import math

import pytest
import torch
from portrait_rig.core.errors import UserError
from portrait_rig.core.networks import progan
from portrait_rig.core.networks.progan import START, ProGan, ProGanOptions, channel_table
from torch.nn import functional

ROOT2 = math.sqrt(2)
OPTIONS = ProGanOptions(latent=6, channels=(8, 6, 4, 4))


def network(options=OPTIONS, seed=0):
    torch.manual_seed(seed)
    made = ProGan(options)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter)  # biases too, or nothing would tell them apart
    dense = made.formatLayer.bias
    dense.data = dense.data[:: START**2].repeat_interleave(START**2)  # as the author has it, one a feature map
    return made.requires_grad_(False)


def latents(count=2, size=6):
    return torch.randn(count, size, generator=torch.Generator().manual_seed(1))


def tensorflow(made, fused=True, lod=0.0):
    """The variables of the author's network that draws the same pictures, and a function that draws as it does."""
    out, last = {"lod": torch.tensor(lod)}, len(made.options.channels) - 1
    state = made.state_dict()

    def put(theirs, ours, gain):
        weight, bias = state[f"{ours}.weight"], state[f"{ours}.bias"]
        fan_in = weight[0].numel()
        scale = math.sqrt(2 / fan_in)
        weight, bias = weight * (scale / (gain / math.sqrt(fan_in))), bias * scale
        if weight.dim() == 2:
            weight = weight.t()
        elif theirs.endswith("Conv0_up"):
            weight = weight.permute(2, 3, 0, 1).flip([0, 1])
        else:
            weight = weight.permute(2, 3, 1, 0)
        bias = bias[:: START**2] if theirs == "4x4/Dense" else bias
        out[f"{theirs}/weight"], out[f"{theirs}/bias"] = weight.contiguous(), bias

    put("4x4/Dense", "formatLayer", math.sqrt(2) / 4)
    put("4x4/Conv", "groupScale0.0", math.sqrt(2))
    for i in range(last):
        side = 8 << i
        put(f"{side}x{side}/Conv0{'_up' if fused else ''}", f"scaleLayers.{i}.0", math.sqrt(2))
        put(f"{side}x{side}/Conv1", f"scaleLayers.{i}.1", math.sqrt(2))
    for i in range(last + 1):
        put(f"ToRGB_lod{last - i}", f"toRGBLayers.{i}", 1.0)
    return out


def drawn_as_in_tensorflow(variables, z, top):
    """The author's graph, step by step: gains, fused doubling as a transposed convolution, no fade."""

    def norm(x):
        return x / torch.sqrt(x.square().mean(1, keepdim=True) + 1e-8)

    def act(x, name):
        bias = variables[f"{name}/bias"].reshape(1, -1, *[1] * (x.dim() - 2))
        return norm(functional.leaky_relu(x + bias, 0.2))

    dense = variables["4x4/Dense/weight"]
    x = norm(z) @ dense * (math.sqrt(2) / 4 / math.sqrt(len(dense)))
    x = act(x.reshape(len(z), -1, 4, 4), "4x4/Dense")

    def conv(x, name, gain=ROOT2):
        w = variables[f"{name}/weight"]
        return functional.conv2d(x, w.permute(3, 2, 0, 1) * gain / math.sqrt(w[..., 0].numel()), padding=len(w) // 2)

    x = act(conv(x, "4x4/Conv"), "4x4/Conv")
    for side in [8 << i for i in range(top)]:
        name = f"{side}x{side}/Conv0_up"
        w = variables[f"{name}/weight"]
        w = w.permute(3, 2, 0, 1) * math.sqrt(2) / math.sqrt(9 * w.shape[3])  # [in, out, k, k], as torch wants it
        w = functional.pad(w, (1, 1, 1, 1))
        w = w[..., 1:, 1:] + w[..., :-1, 1:] + w[..., 1:, :-1] + w[..., :-1, :-1]
        x = act(functional.conv_transpose2d(x, w, stride=2, padding=1), name)
        x = act(conv(x, f"{side}x{side}/Conv1"), f"{side}x{side}/Conv1")
    return conv(x, "ToRGB_lod0", 1.0) + variables["ToRGB_lod0/bias"][:, None, None]


def test_pictures_are_those_of_the_author_s_graph():
    made, z = network().double(), latents().double()
    expected = drawn_as_in_tensorflow(tensorflow(made), z, 3)
    assert expected.shape == (2, 3, 32, 32)
    torch.testing.assert_close(made(z), expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("fused", [True, False])
def test_tensorflow_variables_give_the_same_network(fused):
    made = network()
    found = progan.from_tensors(tensorflow(made, fused))
    torch.testing.assert_close(found(latents()), made(latents()), atol=2e-4, rtol=1e-4)  # measured 5e-5
    assert found.options == made.options and not found.training
    assert not any(parameter.requires_grad for parameter in found.parameters())


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_zoo_s_names_with_and_without_the_wrapped_layer(wrapped):
    made = network(ProGanOptions(5, (6, 4), colours=1))
    state = made.state_dict()
    if wrapped:
        state = {key.replace(".weight", ".module.weight").replace(".bias", ".module.bias"): value
                 for key, value in state.items()}  # fmt: skip
    assert progan.matches(state)
    found = progan.from_tensors(state, {"lod": 0.25})
    assert found.options == ProGanOptions(5, (6, 4), 1, 0.25)
    assert torch.equal(found(latents(1, 5), lod=0), made(latents(1, 5)))


def test_half_precision_is_widened():
    made = network()
    half = {name: tensor.half() for name, tensor in made.state_dict().items()}
    found = progan.from_tensors(half)
    assert {tensor.dtype for tensor in found.state_dict().values()} == {torch.float32}
    for name, tensor in found.state_dict().items():
        assert torch.equal(tensor, made.state_dict()[name].half().float())


def test_only_the_direction_of_a_latent_counts():
    made, z = network().double(), latents().double()
    torch.testing.assert_close(made(z * 7), made(z), atol=1e-6, rtol=1e-6)  # but for the norm's epsilon


def test_levels_of_detail_fade_from_one_to_the_next():
    made, z = network(), latents()
    finer, coarser = made(z, 0.0), made(z, 1.0)
    assert torch.equal(coarser[:, :, ::2, ::2], coarser[:, :, 1::2, 1::2])  # sixteen pixels wide, doubled
    torch.testing.assert_close(made(z, 0.25), torch.lerp(finer, coarser, 0.25))
    assert made(z, 3.0).shape == finer.shape
    assert torch.equal(ProGan.forward(made, z, None), finer)


def test_gradients_reach_the_latent():
    made = network().double()
    z = latents(1).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: made(z, 2.0)[:, :, ::4, ::4], z)


def test_no_pictures_of_no_latents():
    assert network()(torch.zeros(0, 6)).shape == (0, 3, 32, 32)


def test_the_paper_s_table():
    assert channel_table(1024) == (512, 512, 512, 512, 256, 128, 64, 32, 16)
    assert channel_table(4) == (512,)
    assert ProGanOptions(512, channel_table(512)).resolution == 512


def test_refusals():
    made = network()
    with pytest.raises(UserError, match=r"latents of the shape \[pictures, 6\]; got \[2, 5\]"):
        made(torch.zeros(2, 5))
    with pytest.raises(UserError, match="levels of detail from 0 to 3; got 4"):
        ProGanOptions(6, OPTIONS.channels, lod=4.0)
    incomplete = {k: v for k, v in made.state_dict().items() if k != "scaleLayers.1.0.bias"}
    with pytest.raises(UserError, match=r"missing: scaleLayers\.1\.0\.bias"):
        progan.from_tensors(incomplete)
    with pytest.raises(UserError, match=r"unexpected: scaleLayers\.2\.0"):
        progan.from_tensors({k: v for k, v in made.state_dict().items() if k != "scaleLayers.2.1.weight"})
    variables = tensorflow(made)
    with pytest.raises(UserError, match="'labels/weight', which the paper's generator lacks"):
        progan.from_tensors({**variables, "labels/weight": torch.zeros(1)})
    del variables["8x8/Conv1/bias"]
    with pytest.raises(UserError, match="no '8x8/Conv1/bias'"):
        progan.from_tensors(variables)


def test_other_files_are_not_taken_for_one():
    assert not progan.matches({})
    assert not progan.matches({"formatLayer.weight": torch.zeros(1)})
    assert not progan.matches({"4x4/Conv/weight": torch.zeros(1), "Output/weight": torch.zeros(1)})
