"""The node that finds the latents of pictures: Invert Image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ..core.methods.inversion import SPACES, STARTS, Inversion, InvertSettings, invert, invert_steps
from ..core.methods.pivotal_tuning import TuneSettings, tune
from ..core.networks.generator import Generator
from ..core.perceptual import BACKBONES, Lpips
from ..core.types import Latent
from . import host
from .host import io
from .inputs import seed_input

OFF = "off"
SIZES = ", ".join(f"{name} {backbone.megabytes} MB" for name, backbone in BACKBONES.items())
MOST_STEPS = 10_000
MOST_WEIGHT = 100.0


def lpips_inputs() -> list[io.Input]:
    """The choice of a backbone and whether it may be fetched."""
    return [
        io.Combo.Input(
            "lpips",
            options=[OFF, *BACKBONES],
            default=OFF,
            tooltip="Learned perceptual distance, by its backbone; needs `pip install lpips torchvision`. vgg is "
            f"usual. Downloads once, into torch's cache: {SIZES}.",
        ),
        io.Boolean.Input(
            "allow_download",
            default=False,
            tooltip="Off: an LPIPS backbone that is missing is refused, naming file and folder. On: it is downloaded "
            "from torchvision's server.",
        ),
    ]


def lpips_of(backbone: str, allow_download: bool) -> Lpips | None:
    """The distance for a choice of `lpips_inputs`; None where it is off."""
    with host.loading():
        return None if backbone == OFF else Lpips(backbone, allow_download)


class InvertImage(io.ComfyNode):
    """Latents of given pictures, and a generator tuned to draw them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigInvertImage",
            display_name="Invert Image",
            category="Portrait Rig/stylegan",
            description="Finds the latents that draw given pictures, all in one descent. Pivotal tuning then changes "
            "the generator a little, so that it draws them exactly and edits keep the likeness.",
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip="B pictures in the generator's proportions, aligned as its training pictures were (Align "
                    "Face); resized to its size.",
                ),
                host.StyleGan.Input("stylegan", tooltip="The generator to search in."),
                io.Combo.Input(
                    "space",
                    options=list(SPACES),
                    default=InvertSettings.space,
                    tooltip="W: one code for all layers, best for edits and for pivotal tuning. W+: a code a layer, "
                    "closer to the picture.",
                ),
                io.Int.Input(
                    "steps",
                    default=InvertSettings.steps,
                    min=1,
                    max=MOST_STEPS,
                    tooltip="Of the search; time grows in proportion. 500 to 1000 is usual.",
                ),
                io.Int.Input(
                    "tune_steps",
                    default=0,
                    min=0,
                    max=MOST_STEPS,
                    tooltip="Of pivotal tuning afterwards; 0 leaves the generator as it is, 350 is usual.",
                ),
                io.Combo.Input(
                    "start",
                    options=list(STARTS),
                    default=InvertSettings.start,
                    tooltip="best of random: tries the mean and the nearest of random latents, which takes up to 64 % "
                    "more time and finds more. mean: the generator's mean. latent: the one that is connected below.",
                ),
                io.Int.Input(
                    "candidates",
                    default=InvertSettings.candidates,
                    min=1,
                    max=4096,
                    tooltip="How many random latents 'best of random' compares with each picture.",
                    extra_dict=host.ADVANCED,
                ),
                *lpips_inputs(),
                _weight("lpips_weight", InvertSettings.perceptual, "Of LPIPS, where it is on."),
                _weight(
                    "pyramid_weight",
                    InvertSettings.pyramid,
                    "Of the differences of edges at every scale; needs no download.",
                ),
                _weight("pixel_weight", InvertSettings.pixel, "Of squared differences of pixels."),
                io.Float.Input(
                    "rate",
                    default=InvertSettings.rate,
                    min=0.0001,
                    max=1.0,
                    step=0.001,
                    tooltip="Highest learning rate of the search; it rises at first and falls over the last quarter.",
                    extra_dict=host.ADVANCED,
                ),
                io.Float.Input(
                    "stay",
                    default=InvertSettings.stay,
                    min=0.0,
                    max=MOST_WEIGHT,
                    step=0.01,
                    tooltip="Pull towards the mean: keeps the latent easy to edit, at the cost of likeness. Try 0.01.",
                    extra_dict=host.ADVANCED,
                ),
                io.Boolean.Input(
                    "fit_noise",
                    default=InvertSettings.fit_noise,
                    tooltip="Also fits the generator's noise pictures (StyleGAN2), as the official projector does; the "
                    "result is in the generator that comes out.",
                    extra_dict=host.ADVANCED,
                ),
                io.Float.Input(
                    "tune_rate",
                    default=TuneSettings.rate,
                    min=0.00001,
                    max=0.1,
                    step=0.00001,
                    round=0.000001,
                    tooltip="Learning rate of tuning, for 512 channels; narrower generators take more by themselves.",
                    extra_dict=host.ADVANCED,
                ),
                io.Float.Input(
                    "locality",
                    default=TuneSettings.locality,
                    min=0.0,
                    max=MOST_WEIGHT,
                    step=0.01,
                    tooltip="While tuning, weight of keeping pictures of other latents as they are; takes more than "
                    "twice the time. Try 0.1.",
                    extra_dict=host.ADVANCED,
                ),
                seed_input("Of random starts and of the noise on the codes.", anew=False),
                host.Latent.Input("start_latent", optional=True, tooltip="1 or B latents, for the start 'latent'."),
                io.Mask.Input(
                    "mask", optional=True, tooltip="1 where the pictures should be alike; 1 or B masks of any size."
                ),
            ],
            outputs=[
                host.Latent.Output(display_name="latent", tooltip="B latents, in the order of the pictures."),
                host.StyleGan.Output(
                    display_name="stylegan",
                    tooltip="The generator to draw them with: tuned, or with fitted noise, or the one that came in. "
                    "Latents and directions fit either.",
                ),
                io.Image.Output(display_name="image", tooltip="The pictures as the generator now draws them."),
                io.String.Output(display_name="report", tooltip="How close each came: PSNR in decibels, 30 is good."),
            ],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        stylegan: Generator,
        steps: int,
        tune_steps: int,
        lpips: str,
        allow_download: bool,
        lpips_weight: float,
        pyramid_weight: float,
        pixel_weight: float,
        tune_rate: float,
        locality: float,
        seed: int,
        start_latent: Latent | None = None,
        mask: Tensor | None = None,
        **search: object,
    ) -> io.NodeOutput:
        weights = {"pyramid": pyramid_weight, "pixel": pixel_weight, "perceptual": lpips_weight}
        settings = InvertSettings(steps=steps, seed=seed, **weights, **search)
        tuning = TuneSettings(steps=tune_steps, rate=tune_rate, locality=locality, seed=seed, **weights)
        pictures, allowed = host.picture_in(image), None
        if mask is not None:
            allowed = host.mask_in(mask, tuple(pictures.shape[-2:]))
        distance = lpips_of(lpips, allow_download)
        home, total = stylegan.device, invert_steps(settings) + tune_steps
        with host.memory(stylegan.network, distance) as device, host.optimising(total) as watch:
            target, allowed, start = host.fresh((pictures.to(device), _on(device, allowed), start_latent))
            generator = host.fresh(stylegan)
            shared = {"perceptual": distance, "mask": allowed}
            searching, tuning_on = _part(watch, 0, total), _part(watch, invert_steps(settings), total)
            found = invert(target, generator, settings, start=start, watch=searching, **shared)
            report = found.report()
            if tune_steps:
                found = tune(target, found.latent, found.generator, tuning, watch=tuning_on, **shared)
                report = f"{report}\ntuned:\n{found.report()}"
            result = _brought_home(found, stylegan, home)
        latent = host.latent_out(Latent(found.latent.w, stylegan.id))
        drawn = host.picture_out(found.picture.expand(-1, 3, -1, -1))  # grey is spread
        return io.NodeOutput(latent, result, drawn, report, ui=host.show_text(report))


def _weight(name: str, default: float, tooltip: str) -> io.Input:
    return io.Float.Input(
        name, default=default, min=0.0, max=MOST_WEIGHT, step=0.05, tooltip=f"{tooltip} 0 leaves it out."
    )


def _on(device: torch.device, value: Tensor | None) -> Tensor | None:
    return None if value is None else value.to(device)


def _part(watch: host.Watch, before: int, total: int) -> Callable[..., None]:
    """Watches a run that is a part of the whole: `before` steps are done, `total` there are."""
    return lambda step, _, loss, preview: watch(before + step, total, loss, preview)


def _brought_home(found: Inversion, original: Generator, home: torch.device) -> Generator:
    """The generator to hand on; the original itself where nothing was changed."""
    if found.generator.tuned and found.generator.network is not original.network:
        return replace(found.generator, network=found.generator.network.to(home))
    return original


NODES = [InvertImage]
