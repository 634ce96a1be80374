"""StyleGAN2, StyleGAN2-ADA, StyleGAN3, StyleGAN-Human and rosinality's StyleGAN2 against their authors' outputs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import torch
from goldens import Case, Comparison
from portrait_rig.core.networks import operators, resampling, rosinality, stylegan2, stylegan2_discriminator, stylegan3
from portrait_rig.core.training import stylegan2_losses
from torch import Tensor


def options(case: Case) -> dict[str, Any]:
    """The drawing script's options, which its notes end with: psi, cutoff, group …"""
    found = re.search(r"Options of this file: (\{.*\})\.?\s*$", case.metadata.get("notes", ""))
    return json.loads(found.group(1)) if found else {}


def init(case: Case) -> dict[str, Any]:
    """The constructor's arguments, with what the repository takes for granted made explicit."""
    config = dict(case.config)
    if (
        case.kind in ("stylegan/sg2_generator", "stylegan/sgh2_generator")
        and "stylegan3" not in case.metadata["upstream"]
    ):
        config.setdefault("synthesis_kwargs", {})
    return config


def generator(case: Case) -> Iterator[Comparison]:
    told = options(case)
    module = stylegan3 if stylegan3.matches(case.param) else stylegan2
    network = module.from_tensors(case.param, init(case))
    z, c = case.given["z"], case.given.get("c")
    yield Comparison("w", network.mapping(z, c)[:, 0], case.expected["w"])
    ws = network.mapping(z, c, told.get("psi", 1.0), told.get("cutoff"))
    yield Comparison("ws_psi", ws, case.expected["ws_psi"])
    pictures = {
        "img_const": lambda: network.synthesis(ws, noise_mode="const"),
        "img_const_u8": lambda: as_bytes(network.synthesis(ws, noise_mode="const")),
        "img_none": lambda: network.synthesis(ws[:1], noise_mode="none"),
        "img_plus_const": lambda: network.synthesis(case.given["ws_plus"], noise_mode="const"),
        "img": lambda: network.synthesis(ws),
        "img_plus": lambda: network.synthesis(case.given["ws_plus"]),
        "fourier": lambda: network.synthesis.input(ws[:1, 0]),
    }
    for name, draw in pictures.items():
        if name == "img_const_u8" and name in case.expected:  # values on a boundary of two bytes may fall either way
            yield Comparison(name, draw().float(), case.expected[name].float(), tolerance=1.0, absolute=True)
        elif name in case.expected:
            yield Comparison(name, draw(), case.expected[name])
    if "img_transform" in case.expected:
        network.synthesis.input.transform.copy_(case.given["transform"])
        yield Comparison("img_transform", network.synthesis(ws[:1]), case.expected["img_transform"])
    if "w_avg_after_train_step" in case.expected:
        network = module.from_tensors(case.param, init(case))
        network.mapping(z, c, update_w_avg=True)
        yield Comparison("w_avg_after_train_step", network.mapping.w_avg, case.expected["w_avg_after_train_step"])
    if averages := {name: t for name, t in case.expected.items() if name.startswith("ema/")}:
        network = module.from_tensors(case.param, init(case))
        network.synthesis(network.mapping(z, c, update_w_avg=True), update_magnitudes=True)
        for name, expected in averages.items():
            yield Comparison(name, network.state_dict()[name.removeprefix("ema/")], expected)


def as_bytes(picture: Tensor) -> Tensor:
    """[N, 3, H, W] in −1…1 -> [N, H, W, 3] uint8 by the official formula."""
    return (picture.permute(0, 2, 3, 1) * 127.5 + 128).clamp(0, 255).to(torch.uint8)


def discriminator(case: Case) -> Iterator[Comparison]:
    config = dict(case.config)
    if "stylegan3" in case.metadata["upstream"]:
        config = {**stylegan2_discriminator.STYLEGAN3_REPOSITORY_DEFAULTS, **config}
    network = stylegan2_discriminator.from_tensors(case.param, config)
    picture, c = case.given["img"], case.given.get("c")
    group = options(case).get("group") or network.options.group_size
    yield Comparison("logits", network(picture, c), case.expected["logits"])
    first = None if c is None else c[:group]
    yield Comparison("logits_first_group", network(picture[:group], first), case.expected["logits_first_group"])
    same = None if c is None else c[:1].repeat(group, 1)
    yield Comparison("logits_same", network(picture[:1].repeat(group, 1, 1, 1), same), case.expected["logits_same"])


def rosinality_generator(case: Case) -> Iterator[Comparison]:
    told, given, expected = options(case), case.given, case.expected
    network = rosinality.from_tensors(case.param, given.get("latent_avg"))
    mapping, synthesis = network.mapping, network.synthesis
    w = mapping.features(given["z"])
    yield Comparison("w", w, expected["w"])
    yield Comparison("img", synthesis(mapping(given["z"])), expected["img"])
    if "img_psi" in expected:
        yield Comparison("img_psi", synthesis(mapping(given["z"], truncation_psi=told["psi"])), expected["img_psi"])
    if "img_mix" in expected:
        ws, cut = mapping(given["z"][:1]), told["inject"]
        ws = torch.cat([ws[:, :cut], mapping(given["z2"][:1])[:, cut:]], dim=1)
        yield Comparison("img_mix", synthesis(ws), expected["img_mix"])
    if "img_plus" in expected:
        yield Comparison("img_plus", synthesis(given["w_plus"]), expected["img_plus"])
    if "img_plus_noise" in expected:
        noise = [given[f"noise_{i}"] for i in range(len(synthesis.noise_layers()))]
        yield Comparison("img_plus_noise", synthesis(given["w_plus"], noise=noise), expected["img_plus_noise"])


def losses(case: Case) -> Iterator[Comparison]:
    """The four phases of StyleGAN2's training, each on fresh copies of the two networks."""
    told = case.config["loss"]
    settings = stylegan2_losses.LossSettings(
        r1_gamma=told["r1_gamma"],
        path_weight=told["pl_weight"],
        path_decay=told["pl_decay"],
        path_batch_shrink=told["pl_batch_shrink"],
    )
    z, real = case.given["gen_z"], case.given["real_img"]
    noise = case.given["pl_noise_unit"]

    def generate(network, z):
        ws = network.mapping(z)
        return network.synthesis(ws, noise_mode="const"), ws

    def phase(name: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        split = {net: {k[2:]: t for k, t in case.param.items() if k.startswith(net)} for net in ("G.", "D.")}
        g = stylegan2.from_tensors(split["G."], {"synthesis_kwargs": {}, **case.config["G"]})
        d = stylegan2_discriminator.from_tensors(split["D."], case.config["D"])
        trained = (g if name[0] == "G" else d).requires_grad_(True)
        if name == "Gmain":
            scores = d(generate(g, z)[0])
            loss = stylegan2_losses.generator_loss(scores)
            stats = {"scores/fake": scores, "signs/fake": scores.sign(), "G/loss": loss}
            total = loss.mean()
        elif name == "Greg":
            picture, ws = generate(g, z[: len(z) // settings.path_batch_shrink])
            penalty, mean = stylegan2_losses.path_length_penalty(picture, ws, case.given["pl_mean"], settings, noise)
            stats = {"pl_penalty": penalty, "G/reg": penalty * settings.path_weight, "pl_mean_after": mean}
            total = stats["G/reg"].mean() * told["G_reg_interval"]
        elif name == "Dmain":
            fake, genuine = d(generate(g, z)[0].detach()), d(real)
            loss = stylegan2_losses.discriminator_loss(fake, genuine)
            stats = {
                "scores/fake": fake,
                "signs/fake": fake.sign(),
                "scores/real": genuine,
                "signs/real": genuine.sign(),
                "D/loss": loss,
            }
            total = loss.mean()
        else:
            watched = real.clone().requires_grad_(True)
            scores = d(watched)
            penalty = stylegan2_losses.r1_penalty(watched, scores)
            stats = {
                "scores/real": scores,
                "signs/real": scores.sign(),
                "r1_penalty": penalty,
                "D/reg": penalty * (settings.r1_gamma / 2),
            }
            total = stats["D/reg"].mean() * told["D_reg_interval"]
        total.backward()
        return stats, {key: p.grad for key, p in trained.named_parameters() if p.grad is not None}

    for name in ("Gmain", "Greg", "Dmain", "Dreg"):
        stats, gradients = phase(name)
        for key, expected in case.expected.items():
            if key.startswith(f"{name}/grad/"):
                ours = gradients.get(key.removeprefix(f"{name}/grad/"), torch.zeros_like(expected))
                yield Comparison(key, ours, expected)
            elif key.startswith(f"{name}/"):
                yield Comparison(key, stats[key.removeprefix(f"{name}/")].detach(), expected)


def operator_calls(case: Case) -> Iterator[Comparison]:
    """config.calls: [output, function, arguments]; an argument that names an input stands for it."""
    for name, function, arguments in case.config["calls"]:
        filled = {
            key: case.given.get(value, value) if isinstance(value, str) else value for key, value in arguments.items()
        }
        yield Comparison(name, OPERATORS[function](**filled), case.expected[name])


def _resampled_convolution(x, w, f=None, up=1, down=1, padding=0, flip_weight=True):
    """Theirs convolves unless told to flip, also when it spreads; ours takes the weight as it is stored."""
    if flip_weight == (up > 1):
        w = w.flip([2, 3])
    return operators.conv2d_resample(x, w, f, up, down, padding)


OPERATORS = {
    "setup_filter": lambda f, normalize=True, flip_filter=False, gain=1: resampling.setup_filter(
        f, normalize, flip_filter, gain
    ),
    "upfirdn2d": lambda x, f, up=1, down=1, padding=0, flip_filter=False, gain=1: resampling.upfirdn2d(
        x, f, up, down, padding, flip_filter, gain
    ),
    "upsample2d": lambda x, f, up=2, flip_filter=False, gain=1: resampling.upsample2d(x, f, up, flip_filter, gain),
    "downsample2d": lambda x, f, down=2, flip_filter=False, gain=1: resampling.downsample2d(
        x, f, down, flip_filter, gain
    ),
    "filter2d": lambda x, f, flip_filter=False, gain=1: resampling.filter2d(x, f, flip_filter, gain),
    "conv2d_resample": _resampled_convolution,
    "bias_act": lambda x, b=None, dim=1, **rest: operators.bias_act(x, b, **rest),
    "filtered_lrelu": lambda x, fu=None, fd=None, b=None, **rest: operators.filtered_lrelu(x, fu, fd, b, **rest),
    "design_lowpass_filter": lambda numtaps, cutoff, width, fs, radial=False: resampling.low_pass(
        numtaps, cutoff, width, fs, radial
    ),
}

CHECKS = {
    "stylegan/sg2_generator": generator,
    "stylegan/sgh2_generator": generator,
    "stylegan/sg3_generator": generator,
    "stylegan/sgh3_generator": generator,
    "stylegan/sg2_discriminator": discriminator,
    "stylegan/sgh2_discriminator": discriminator,
    "stylegan/rosinality_generator": rosinality_generator,
    "stylegan/sg2_losses": losses,
    "stylegan/ops": operator_calls,
}
