"""How long StyleGAN2 config F takes to draw: ours, the formulas as the papers have them, and upstream, side by side.

`python benchmarks/stylegan.py` prints the tables, `--write` also puts them into `stylegan.md` beside this file.
`--upstream PATH` adds a checkout of stylegan2-ada-pytorch. Within a case all contenders draw the same codes with the
same weights, in turn and again and again, so that whatever else the machine does meets them alike; a ratio is the
median of the rounds' ratios, between its quartiles. Memory is the peak above what weights and codes take, each
contender in a process of its own. The last table holds StyleGAN3's filtered leaky ReLU at 1024 x 1024, in the three
largest layers.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

import pack  # noqa: E402

CASES = ((256, 1), (256, 8), (1024, 1), (1024, 8))
"""Resolution and batch."""
COLUMNS = ("picture", "batch", "precision", "", "median", "least", "to ours", "quartiles", "rounds", "memory")
CHANNELS_T, CHANNELS_R = (32768, 512), (65536, 1024)
"""channel_base and channel_max of StyleGAN3's two configurations (its train.py)."""
PRECISIONS = {"float32": None, "float16": torch.float16, "bfloat16": torch.bfloat16}

Draw = Callable[[Tensor], Tensor]


def ours(network: Any, precision: torch.dtype | None, upstream: str | None) -> Draw:
    return lambda ws: network.synthesis(ws, noise_mode="const", precision=precision)


def upstream(network: Any, precision: torch.dtype | None, checkout: str | None) -> Draw:
    """The authors' module with our weights; its own kernels where it can compile them."""
    sys.path.insert(0, str(checkout))
    from training.networks import Generator

    options = network.options
    theirs = Generator(
        z_dim=options.mapping.z_dim,
        c_dim=0,
        w_dim=options.mapping.w_dim,
        img_resolution=options.resolution,
        img_channels=3,
        synthesis_kwargs={"num_fp16_res": options.num_fp16_res, "conv_clamp": options.conv_clamp},
    )
    theirs.load_state_dict(network.state_dict())
    theirs = theirs.eval().requires_grad_(False).to(network.mapping.w_avg.device)
    return lambda ws: theirs.synthesis(ws, noise_mode="const", force_fp32=precision is None)


def formulas(network: Any, precision: torch.dtype | None, checkout: str | None) -> Draw:
    """Zeros inserted, one kernel a picture, one operation at a time."""

    def resampled(x: Tensor, taps: Tensor, up: int, padding: tuple[int, int, int, int], gain: float) -> Tensor:
        n, c, h, w = x.shape
        x = functional.pad(x.reshape(n, c, h, 1, w, 1), (0, up - 1, 0, 0, 0, up - 1)).reshape(n, c, h * up, w * up)
        kernel = (taps * gain).flip([0, 1])[None, None].repeat(c, 1, 1, 1)
        return functional.conv2d(functional.pad(x, padding), kernel, groups=c)

    def modulated(layer: Any, x: Tensor, w: Tensor, demodulate: bool, style_gain: float = 1.0) -> Tensor:
        n, (o, i, k, _) = len(x), layer.weight.shape
        kernels = layer.weight[None] * (layer.affine(w) * style_gain)[:, None, :, None, None]
        if demodulate:
            kernels = kernels * (kernels.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).rsqrt()
        x = x.reshape(1, n * i, *x.shape[2:])
        if getattr(layer, "up", 1) == 1:
            x = functional.conv2d(x, kernels.reshape(n * o, i, k, k), padding=k // 2, groups=n)
            return x.reshape(n, o, *x.shape[2:])
        turned = kernels.transpose(1, 2).reshape(n * i, o, k, k)
        x = functional.conv_transpose2d(x, turned, stride=2, groups=n)
        return resampled(x.reshape(n, o, *x.shape[2:]), layer.resample_filter, 1, (1, 1, 1, 1), 4)

    def layer(module: Any, x: Tensor, w: Tensor) -> Tensor:
        x = modulated(module, x, w, demodulate=True) + module.noise_const * module.noise_strength
        return functional.leaky_relu(x + module.bias[:, None, None], 0.2) * 2**0.5

    def draw(ws: Tensor) -> Tensor:
        x = picture = None
        first = 0
        for resolution in network.options.channels:
            block = getattr(network.synthesis, f"b{resolution}")
            if x is None:
                x = block.const[None].repeat(len(ws), 1, 1, 1)
            else:
                x, first = layer(block.conv0, x, ws[:, first]), first + 1
                picture = resampled(picture, block.resample_filter, 2, (2, 1, 2, 1), 4)
            x, first = layer(block.conv1, x, ws[:, first]), first + 1
            rgb = modulated(block.torgb, x, ws[:, first], False, block.torgb.weight.shape[1] ** -0.5)
            rgb = rgb + block.torgb.bias[:, None, None]
            picture = rgb if picture is None else picture + rgb
        return picture

    return draw


CONTENDERS = {"ours": ours, "formulas": formulas, "upstream": upstream}


def config_f(resolution: int, device: str) -> Any:
    """A random generator of config F's size."""
    pack.load()
    from portrait_rig.core.networks.stylegan2 import StyleGan2, StyleGan2Options, channel_table

    torch.manual_seed(0)
    options = StyleGan2Options(channel_table(resolution), num_fp16_res=4, conv_clamp=256)
    return StyleGan2(options).eval().requires_grad_(False).to(device)


def race(
    names: list[str], case: tuple[int, int], settings: argparse.Namespace, precision: str
) -> dict[str, list[float]]:
    """Seconds of every round, by contender. Run in a process of its own."""
    resolution, batch = case
    torch.set_num_threads(settings.threads)
    network = config_f(resolution, settings.device)
    ws = torch.randn(batch, network.num_ws, 512).to(settings.device)
    draws = {name: CONTENDERS[name](network, PRECISIONS[precision], settings.upstream) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    with torch.inference_mode():
        reference = draws["ours"](ws)
        for name, draw in draws.items():
            error = (draw(ws) - reference).abs().max() / reference.abs().max()
            if error > (1e-4 if precision == "float32" else 3e-2):
                raise SystemExit(f"{name} draws something else than ours: relative difference {error:.1e}")
        start = time.perf_counter()
        while not times["ours"] or (time.perf_counter() - start < settings.seconds and len(times["ours"]) < 200):
            for name, draw in draws.items():
                times[name].append(timed(lambda draw=draw: draw(ws), settings.device))
    return times


def peak(name: str, case: tuple[int, int], settings: argparse.Namespace, precision: str) -> float:
    """MB on top of weights and codes. Run in a process of its own."""
    resolution, batch = case
    torch.set_num_threads(settings.threads)
    network = config_f(resolution, settings.device)
    ws = torch.randn(batch, network.num_ws, 512).to(settings.device)
    draw = CONTENDERS[name](network, PRECISIONS[precision], settings.upstream)
    return memory_of(lambda: draw(ws), settings.device)


def stylegan3_layers(channels: tuple[int, int], radial: bool) -> tuple[Any, list[Any]]:
    """Options and bands of a StyleGAN3 of 1024 x 1024 with the authors' numbers of channels."""
    pack.load()
    from portrait_rig.core.networks.stylegan3 import StyleGan3Options, bands

    options = StyleGan3Options(1024, (1,) * 15, use_radial_filters=radial, conv_kernel=1 if radial else 3)
    base, limit = channels
    widths = [round(min(base / 2 / band.cutoff, limit)) for band in bands(options)]
    options = replace(options, channels=(*widths[:-1], 3))
    return options, bands(options)


def result_megabytes(band: Any) -> float:
    return band.channels * band.size[0] * band.size[1] * 4 / 2**20


def filtered_lrelu_memory(channels: tuple[int, int], radial: bool, index: int, settings: argparse.Namespace) -> float:
    """MB at the peak of one layer's non-linearity, on top of its input. Run in a process of its own."""
    options, pyramid = stylegan3_layers(channels, radial)
    from portrait_rig.core.networks.operators import filtered_lrelu
    from portrait_rig.core.networks.stylegan3 import SynthesisLayer

    torch.set_num_threads(settings.threads)
    before, band = pyramid[max(index - 1, 0)], pyramid[index]
    layer = SynthesisLayer(before, band, options, to_rgb=False).requires_grad_(False).to(settings.device)
    side = before.size[0] + layer.weight.shape[-1] - 1
    x = torch.zeros(1, band.channels, side, side, device=settings.device)

    def run() -> Tensor:
        return filtered_lrelu(
            x, layer.up_filter, layer.down_filter, layer.bias, layer.up, layer.down, layer.padding, clamp=256
        )

    return memory_of(run, settings.device)


def timed(run: Callable[[], Tensor], device: str) -> float:
    synchronise(device)
    start = time.perf_counter()
    run()
    synchronise(device)
    return time.perf_counter() - start


def synchronise(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def memory_of(run: Callable[[], Tensor], device: str) -> float:
    """MB that a first run adds to the most this process ever held (on a GPU: to what is allocated)."""
    with torch.inference_mode():
        if device != "cpu":
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            run()
            return (torch.cuda.max_memory_allocated() - before) / 2**20
        before = resident()
        run()
        return max(0.0, resident() - before)


def resident() -> float:
    """Most MB this process ever held; NaN where the system does not tell."""
    try:
        import resource
    except ImportError:
        return float("nan")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """What `function` returns in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def synthesis_table(settings: argparse.Namespace) -> list[str]:
    names = [name for name in CONTENDERS if name != "upstream" or settings.upstream]
    precisions = ["float32"] if settings.device == "cpu" else ["float32", "float16"]
    table = [f"| {' | '.join(COLUMNS)} |", "|" + " --- |" * len(COLUMNS)]
    for case in settings.cases:
        for precision in precisions:
            running = [name for name in names if precision == "float32" or name != "formulas"]
            times = apart(race, running, case, settings, precision)
            for name in running:
                ratios = [theirs / own for theirs, own in zip(times[name], times["ours"], strict=True)]
                quartiles = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else [ratios[0]] * 3
                cells = (
                    f"{case[0]} x {case[0]}",
                    str(case[1]),
                    precision,
                    name,
                    f"{statistics.median(times[name]) * 1e3:,.0f} ms",
                    f"{min(times[name]) * 1e3:,.0f} ms",
                    f"{statistics.median(ratios):.2f} x",
                    f"{quartiles[0]:.2f} to {quartiles[2]:.2f}",
                    str(len(ratios)),
                    f"{apart(peak, name, case, settings, precision):,.0f} MB",
                )
                table.append(f"| {' | '.join(cells)} |")
                print(table[-1], flush=True)
    return table


def memory_table(settings: argparse.Namespace) -> list[str]:
    table = ["| StyleGAN3 at 1024 x 1024 | layer | result | peak on top of the input |", "| --- | --- | --- | --- |"]
    for name, channels, radial in (("T", CHANNELS_T, False), ("R", CHANNELS_R, True)):
        _, pyramid = stylegan3_layers(channels, radial)
        largest = sorted(range(len(pyramid) - 1), key=lambda index: -result_megabytes(pyramid[index]))[:3]
        for index in largest:
            most = apart(filtered_lrelu_memory, channels, radial, index, settings)
            result = result_megabytes(pyramid[index])
            table.append(f"| {name} | {pyramid[index].name(index)} | {result:,.0f} MB | {most:,.0f} MB |")
            print(table[-1], flush=True)
    return table


def circumstances(settings: argparse.Namespace) -> str:
    device = platform.machine() if settings.device == "cpu" else torch.cuda.get_device_name()
    parts = [f"torch {torch.__version__}", device, f"{settings.threads} threads of {os.cpu_count()}"]
    if hasattr(os, "getloadavg"):
        parts.append(f"load before the first run {os.getloadavg()[0]:.1f}")
    return ", ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upstream", help="folder of a checkout of NVlabs/stylegan2-ada-pytorch")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="CPU threads, 2 unless told")
    parser.add_argument("--seconds", type=float, default=60.0, help="after which a case starts no further round")
    parser.add_argument("--cases", nargs="+", default=[f"{r}x{n}" for r, n in CASES], help="resolution x batch")
    parser.add_argument("--skip-memory", action="store_true", help="leave StyleGAN3's layers out")
    parser.add_argument("--write", action="store_true", help="write benchmarks/stylegan.md")
    settings = parser.parse_args()
    settings.cases = [tuple(int(part) for part in case.split("x")) for case in settings.cases]
    note = circumstances(settings)
    print(note)
    parts = ["# StyleGAN", "", (__doc__ or "").strip(), "", f"Measured with {note}.", ""]
    parts += synthesis_table(settings)
    if not settings.skip_memory:
        parts += ["", *memory_table(settings)]
    if settings.write:
        (HERE / "stylegan.md").write_text("\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
