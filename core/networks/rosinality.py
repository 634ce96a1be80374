"""rosinality's StyleGAN2 layout: the same network under other names, with another demodulation epsilon.

Source: rosinality/stylegan2-pytorch, `model.py` and `convert_weight.py`. pSp, e4e and most editing tools keep their
generators in this layout. Its kernels are divided by √(fan in) before demodulation, as in the TensorFlow original.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from ..errors import UserError
from .layers import DEFAULT_FILTER
from .resampling import setup_filter
from .stylegan2 import StyleGan2
from .stylegan2 import from_tensors as stylegan2_from_tensors
from .stylegan2_discriminator import Discriminator
from .stylegan2_discriminator import from_tensors as discriminator_from_tensors

UPSAMPLING_GAIN = 4
"""Its filters of upsampling layers are stored times 2²."""

MEAN_SAMPLES = 4096
"""Samples behind a mean w that the file does not hold (generate.py, mean_latent)."""
MEAN_SEED = 0
"""Seed of those samples, ours: the same file gives the same mean."""

INIT = {"mapping_kwargs": {}, "synthesis_kwargs": {}, "fan_in_demodulation": True}
"""The code has no clamps, no half precision, and one activation: nothing is left to guess."""

_LAYER = re.compile(r"(conv1|convs\.\d+|to_rgb1|to_rgbs\.\d+)\.(.+)")
_PARTS = {
    "conv.weight": "weight",
    "conv.modulation.weight": "affine.weight",
    "conv.modulation.bias": "affine.bias",
    "activate.bias": "bias",
    "bias": "bias",
    "noise.weight": "noise_strength",
    "conv.blur.kernel": "resample_filter",
    "upsample.kernel": "resample_filter",
}


def matches(tensors: Mapping[str, Tensor]) -> bool:
    return {"input.input", "conv1.conv.modulation.weight", "style.1.weight"} <= tensors.keys()


def matches_discriminator(tensors: Mapping[str, Tensor]) -> bool:
    return {"convs.0.0.weight", "final_conv.0.weight", "final_linear.0.weight"} <= tensors.keys()


def from_tensors(tensors: Mapping[str, Tensor], latent_avg: Tensor | None = None) -> StyleGan2:
    """The generator of a `g_ema` state dict. latent_avg: [w_dim], or [L, w_dim] as pSp keeps it; None samples it."""
    renamed = renamed_generator(tensors)
    mean = torch.zeros(len(renamed["mapping.fc0.bias"])) if latent_avg is None else latent_avg.float()
    if mean.dim() == 2:  # usually the same row for every layer; averaging equal rows would round
        mean = mean[0] if torch.equal(mean, mean[:1].expand_as(mean)) else mean.mean(0)
    renamed["mapping.w_avg"] = mean
    network = stylegan2_from_tensors(renamed, INIT)
    if latent_avg is None:
        z = torch.randn(MEAN_SAMPLES, network.options.mapping.z_dim, generator=torch.Generator().manual_seed(MEAN_SEED))
        with torch.inference_mode(False), torch.no_grad():
            network.mapping.w_avg.copy_(network.mapping.features(z).mean(0))
        network.guessed = (f"mean w from {MEAN_SAMPLES} samples, since the file holds none",)
    return network


def discriminator_from_tensors_of(tensors: Mapping[str, Tensor]) -> Discriminator:
    """The discriminator of a `d` state dict."""
    return discriminator_from_tensors(renamed_discriminator(tensors), {"architecture": "resnet"})


def renamed_generator(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under StyleGAN2-ADA's names and shapes, all but the mean w; UserError names an unknown key."""
    out: dict[str, Tensor] = {}
    for key, value in tensors.items():
        if found := re.fullmatch(r"style\.(\d+)\.(weight|bias)", key):
            out[f"mapping.fc{int(found[1]) - 1}.{found[2]}"] = value
        elif key == "input.input":
            out["synthesis.b4.const"] = value[0]
        elif found := re.fullmatch(r"noises\.noise_(\d+)", key):
            out[f"synthesis.{_noise_layer(int(found[1]))}.noise_const"] = value[0, 0]
        elif (found := _LAYER.fullmatch(key)) and found[2] in _PARTS:
            block, layer = _place(found[1])
            part = _PARTS[found[2]]
            owner = block if layer == "torgb" and part == "resample_filter" else f"{block}.{layer}"
            out[f"synthesis.{owner}.{part}"] = _reshaped(part, value)
        else:
            raise UserError(
                f"'{key}' has no place in rosinality's StyleGAN2 layout, which the rest of this file follows."
            )
    usual = setup_filter(DEFAULT_FILTER)
    for key in [key for key in out if key.endswith("conv1.weight")]:  # filters that the layout leaves out, being unused
        layer = key.removesuffix(".weight")
        out.setdefault(f"{layer}.resample_filter", usual)
        out.setdefault(f"{layer.removesuffix('.conv1')}.resample_filter", usual)
    return out


def renamed_discriminator(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same for a discriminator."""
    steps = max(int(key.split(".")[1]) for key in tensors if key.startswith("convs."))
    top = 4 << steps
    names = {"convs.0.0.weight": f"b{top}.fromrgb.weight", "convs.0.1.bias": f"b{top}.fromrgb.bias"}
    for ours, theirs in (("b4.conv", "final_conv"), ("b4.fc", "final_linear.0"), ("b4.out", "final_linear.1")):
        split = theirs == "final_conv"
        names |= {
            f"{theirs}.0.weight" if split else f"{theirs}.weight": f"{ours}.weight",
            f"{theirs}.1.bias" if split else f"{theirs}.bias": f"{ours}.bias",
        }
    for i in range(1, steps + 1):
        block = f"b{top >> (i - 1)}"
        names |= {
            f"convs.{i}.conv1.0.weight": f"{block}.conv0.weight",
            f"convs.{i}.conv1.1.bias": f"{block}.conv0.bias",
            f"convs.{i}.conv2.0.kernel": f"{block}.conv1.resample_filter",
            f"convs.{i}.conv2.1.weight": f"{block}.conv1.weight",
            f"convs.{i}.conv2.2.bias": f"{block}.conv1.bias",
            f"convs.{i}.skip.0.kernel": f"{block}.skip.resample_filter",
            f"convs.{i}.skip.1.weight": f"{block}.skip.weight",
        }
    if unknown := sorted(tensors.keys() - names.keys()):
        raise UserError(f"'{unknown[0]}' has no place in rosinality's discriminator layout.")
    out = {names[key]: value for key, value in tensors.items()}
    usual = setup_filter(DEFAULT_FILTER)
    for i in range(1, steps + 1):
        block = f"b{top >> (i - 1)}"
        out |= {f"{block}.resample_filter": usual, f"{block}.conv0.resample_filter": usual}
    return out | {f"b{top}.fromrgb.resample_filter": usual, "b4.conv.resample_filter": usual}


def _place(name: str) -> tuple[str, str]:
    """'convs.3' -> ('b16', 'conv1'), 'to_rgbs.0' -> ('b8', 'torgb')."""
    if name in ("conv1", "to_rgb1"):
        return "b4", "conv1" if name == "conv1" else "torgb"
    kind, number = name.split(".")
    if kind == "to_rgbs":
        return f"b{8 << int(number)}", "torgb"
    return f"b{8 << (int(number) // 2)}", f"conv{int(number) % 2}"


def _noise_layer(number: int) -> str:
    return "b4.conv1" if number == 0 else ".".join(_place(f"convs.{number - 1}"))


def _reshaped(part: str, value: Tensor) -> Tensor:
    if part == "weight":
        return value[0]
    if part == "noise_strength":
        return value.reshape(())
    if part == "resample_filter":
        return value / UPSAMPLING_GAIN
    return value.flatten() if part == "bias" else value
