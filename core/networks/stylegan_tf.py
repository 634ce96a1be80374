"""TensorFlow's StyleGAN2 under the names of its PyTorch version.

Source: NVlabs stylegan2 and stylegan2-ada (`training/networks.py`, `training/networks_stylegan2.py`), as their networks
are pickled: variables by name, and the static arguments. Convolutions are [k, k, I, O], dense layers [I, O];
TensorFlow's upsampling convolution holds its kernel turned by half a circle.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..errors import UserError
from .layers import DEFAULT_FILTER
from .resampling import setup_filter

_LAYER = re.compile(r"(?:synthesis/)?(\d+)x\d+/(\w+)/(\w+)")
_LOD = re.compile(r"(?:synthesis/)?(ToRGB|FromRGB)_lod(\d+)/(\w+)")
_NOISE = re.compile(r"synthesis/noise(\d+)")
_DENSE = re.compile(r"(?:mapping/Dense|Mapping)(\d+)/(weight|bias)")
_LABEL = re.compile(r"(?:mapping/)?LabelEmbed/(weight|bias)")

_SYNTHESIS_LAYERS = {"Conv": "conv1", "Conv0_up": "conv0", "Conv1": "conv1", "ToRGB": "torgb", "Skip": "skip"}
_DISCRIMINATOR_LAYERS = {
    "Conv": "conv", "Conv0": "conv0", "Conv1_down": "conv1", "FromRGB": "fromrgb", "Skip": "skip", "Dense0": "fc",
}  # fmt: skip
_TURNED = ("Conv0_up", "Skip")
"""Generator layers whose kernel PyTorch holds turned by half a circle."""


def matches_generator(tensors: Mapping[str, Tensor]) -> bool:
    return "synthesis/4x4/Const/const" in tensors


def matches_discriminator(tensors: Mapping[str, Tensor]) -> bool:
    return "4x4/Conv/weight" in tensors and "Output/weight" in tensors


def generator(variables: Mapping[str, Tensor], static: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(state dict under PyTorch's names, init for `stylegan2.from_tensors`) of the variables of `G` or `Gs`.

    UserError for StyleGAN1, for configurations A to D and for the label-conditional original, whose layers differ.
    """
    out: dict[str, Tensor] = {}
    top = max(int(found[1]) for key in variables if (found := _LAYER.fullmatch(key)))
    for key, value in variables.items():
        if key == "dlatent_avg":
            out["mapping.w_avg"] = value
        elif key == "synthesis/4x4/Const/const":
            out["synthesis.b4.const"] = value[0]
        elif found := _DENSE.fullmatch(key):
            out[f"mapping.fc{found[1]}.{found[2]}"] = _dense(value)
        elif found := _LABEL.fullmatch(key):
            out[f"mapping.embed.{found[1]}"] = _dense(value)
        elif found := _NOISE.fullmatch(key):
            out[f"synthesis.{_noise_layer(int(found[1]))}.noise_const"] = value[0, 0]
        elif (found := _LAYER.fullmatch(key)) and found[2] in _SYNTHESIS_LAYERS:
            layer = f"synthesis.b{found[1]}.{_SYNTHESIS_LAYERS[found[2]]}"
            out |= _modulated(layer, found[3], value, turned=found[2] in _TURNED)
        elif found := _LOD.fullmatch(key):
            out |= _modulated(f"synthesis.b{top >> int(found[2])}.torgb", found[3], value, turned=False)
        else:
            raise _foreign(key)
    usual, chosen = setup_filter(DEFAULT_FILTER), setup_filter(static.get("resample_kernel") or DEFAULT_FILTER)
    for layer in [key.removesuffix(".weight") for key in out if re.search(r"\.(conv[01]|skip)\.weight$", key)]:
        out[f"{layer}.resample_filter"] = usual if layer.endswith("conv1") else chosen
        out[f"{layer.rpartition('.')[0]}.resample_filter"] = chosen
    init = {
        "mapping_kwargs": _named(static, {"mapping_nonlinearity": "activation", "mapping_lrmul": "lr_multiplier",
                                          "w_avg_beta": "w_avg_beta"}),
        "synthesis_kwargs": _named(static, {"architecture": "architecture", "conv_clamp": "conv_clamp",
                                            "num_fp16_res": "num_fp16_res", "nonlinearity": "activation"}),
        "fan_in_demodulation": True,
    }  # fmt: skip
    return out, init


def discriminator(
    variables: Mapping[str, Tensor], static: Mapping[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The same for the variables of `D`, for `stylegan2_discriminator.from_tensors`."""
    out: dict[str, Tensor] = {}
    top = max(int(found[1]) for key in variables if (found := _LAYER.fullmatch(key)))
    for key, value in variables.items():
        if found := _DENSE.fullmatch(key):
            out[f"mapping.fc{found[1]}.{found[2]}"] = _dense(value)
        elif found := _LABEL.fullmatch(key):
            out[f"mapping.embed.{found[1]}"] = _dense(value)
        elif found := re.fullmatch(r"Output/(weight|bias)", key):
            out[f"b4.out.{found[1]}"] = _dense(value)
        elif (found := _LAYER.fullmatch(key)) and found[2] in _DISCRIMINATOR_LAYERS:
            layer = f"b{found[1]}.{_DISCRIMINATOR_LAYERS[found[2]]}"
            out[f"{layer}.{found[3]}"] = _kernel(value)
        elif found := _LOD.fullmatch(key):
            out[f"b{top >> int(found[2])}.fromrgb.{found[3]}"] = _kernel(value)
        else:
            raise _foreign(key)
    usual, chosen = setup_filter(DEFAULT_FILTER), setup_filter(static.get("resample_kernel") or DEFAULT_FILTER)
    for layer in [key.removesuffix(".weight") for key, value in out.items() if value.dim() == 4]:
        block, _, name = layer.rpartition(".")
        out[f"{layer}.resample_filter"] = chosen if name in ("conv1", "skip") else usual
        if block != "b4":
            out[f"{block}.resample_filter"] = chosen
    init = _named(static, {"architecture": "architecture", "conv_clamp": "conv_clamp", "num_fp16_res": "num_fp16_res",
                           "nonlinearity": "activation"})  # fmt: skip
    init["epilogue_kwargs"] = {"mbstd_group_size": static.get("mbstd_group_size")}
    init["mapping_kwargs"] = {"lr_multiplier": 0.1} | _named(
        static, {"mapping_nonlinearity": "activation", "mapping_lrmul": "lr_multiplier"}
    )
    return out, init


def _modulated(layer: str, part: str, value: Tensor, turned: bool) -> dict[str, Tensor]:
    if part == "mod_weight":
        return {f"{layer}.affine.weight": value.t()}
    if part == "mod_bias":
        return {f"{layer}.affine.bias": value + 1}  # TensorFlow adds the 1 when it uses the style
    if part == "weight":
        return {f"{layer}.weight": _kernel(value.flip([0, 1]) if turned else value)}
    return {f"{layer}.{part}": value}


def _kernel(value: Tensor) -> Tensor:
    """[k, k, I, O] -> [O, I, k, k], [I, O] -> [O, I]; biases as they are."""
    return value.permute(3, 2, 0, 1) if value.dim() == 4 else _dense(value)


def _dense(value: Tensor) -> Tensor:
    return value.t() if value.dim() == 2 else value


def _noise_layer(number: int) -> str:
    """Noise 0 belongs to b4, then two to every resolution."""
    if number == 0:
        return "b4.conv1"
    return f"b{8 << ((number - 1) // 2)}.conv{(number - 1) % 2}"


def _named(static: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {ours: static[theirs] for theirs, ours in names.items() if static.get(theirs) is not None}


def _foreign(key: str) -> UserError:
    return UserError(
        f"This TensorFlow network has the variable '{key}', which StyleGAN2 of the configurations E and F lacks. "
        "StyleGAN1, the configurations A to D and the first label-conditional StyleGAN2 are other networks."
    )
