"""A StyleGAN2 synthesis taught by regression: from what a toon scene says to the picture that it gives.

The first of the toon generator's trainings. A small network turns a scene's row of numbers (`core.toon.world.vector`)
into w, the synthesis network draws from it, and the drawing is compared with the rendering: this fixes layout, colours
and the meaning of w long before an adversarial loss could. Growing: a run of twice the resolution starts from the
product of the smaller one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..checkpoints import read
from ..errors import UserError
from ..networks.generator import usable_precision
from ..networks.layers import FullyConnected, MappingOptions
from ..networks.running import PRECISIONS
from ..networks.stylegan2 import StyleGan2Options, Synthesis
from ..toon.corpus import BARE, Corpus
from .images import mixed_seed
from .supervised import Rows, SupervisedSettings

FORMAT, VERSION = "portrait_rig.toon_regression", 1
WEIGHTS = 0
"""What chance is for: the second number of its seed."""
PYRAMID_LEVELS, PYRAMID_WEIGHT = 4, 1.5
"""Of the Laplacian pyramid's distance beside the pixels' (the toon world's recipe, section 10)."""
FACIAL_WEIGHT = 4.0
"""How much more a pixel of eyes, brows or mouth counts than another: they are small, and everybody looks at them."""
EYES, MOUTH = (slice(17, 27), slice(36, 48)), (slice(48, 68),)
"""Rows of 68 landmarks: brows with eyes, and lips."""
MARGIN = 0.03
"""Of the picture's height, round those landmarks."""
SHEET_COLUMNS, SHEET_ROWS = 8, 4


@dataclass(frozen=True)
class SceneOptions:
    """channels: features at 4, 8, … up to the pictures' height. latent: values of w. hidden: width of the network from
    scenes to w. scenes: numbers of a scene's row. figures: pictures are half as wide as high.
    """

    channels: tuple[int, ...]
    scenes: int
    latent: int = 256
    hidden: int = 512
    figures: bool = False

    @property
    def resolution(self) -> int:
        """Pixels of a picture's height."""
        return 4 << (len(self.channels) - 1)


class SceneGenerator(nn.Module):
    """A scene's row [B, S] -> w -> picture [B, 3, H, W] in −1…1. centre: [w_dim], a mean of w, for trainings that
    follow it.
    """

    def __init__(self, options: SceneOptions) -> None:
        super().__init__()
        self.options = options
        self.fc0 = FullyConnected(options.scenes, options.hidden, "lrelu")
        self.fc1 = FullyConnected(options.hidden, options.hidden, "lrelu")
        self.fc2 = FullyConnected(options.hidden, options.latent)
        self.synthesis = Synthesis(synthesis_options(options.channels, options.latent, options.figures))
        self.register_buffer("centre", torch.zeros(options.latent))

    def encode(self, rows: Tensor) -> Tensor:
        """[B, w_dim]."""
        return self.fc2(self.fc1(self.fc0(rows)))

    def forward(self, rows: Tensor, precision: torch.dtype | None = None) -> Tensor:
        return self.drawn(self.encode(rows), precision)

    def drawn(self, w: Tensor, precision: torch.dtype | None = None) -> Tensor:
        """The pictures of codes [B, w_dim], the same in all layers, or [B, num_ws, w_dim]."""
        ws = w if w.dim() == 3 else w[:, None].expand(-1, self.synthesis.options.num_ws, -1)
        return self.synthesis(ws, "none", precision=precision)


class SceneLesson:
    """The `Lesson` of a scene generator."""

    product = "scene_generator"

    def __init__(
        self, options: SceneOptions, corpus: Corpus, settings: SupervisedSettings, start: Path | None = None
    ) -> None:
        """corpus: pictures with a height of `options.resolution` or a multiple. start: the product of another run, of
        this resolution or less. UserError where they do not fit.
        """
        self.options, self.corpus, self.settings = options, corpus, settings
        if corpus.settings.size % options.resolution:
            raise UserError(
                f"The corpus has pictures of {corpus.settings.size} pixels, which cannot be reduced to "
                f"{options.resolution}. Use a corpus of that size or a multiple."
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mixed_seed(settings.seed, WEIGHTS))
            self.network = SceneGenerator(options)
        if start is not None:
            _take(self.network, start)
        self.fingerprint = corpus.fingerprint
        self._precision = PRECISIONS[settings.precision]
        self._order = Rows(self._reload, settings.batch, settings.seed)
        self._reload()
        self.about = f"{len(self._rows)} pictures of the corpus '{corpus.folder.name}'"

    def losses(self, network: nn.Module, step: int, run: Callable[..., Any]) -> dict[str, Tensor]:
        device = next(network.parameters()).device
        scenes, target, weight = (part.to(device) for part in self.batch_of(step))
        drawn = network(scenes, usable_precision(self._precision, device))
        return reconstruction(drawn, target, weight)

    def batch_of(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """What `batch` gives for the rows of a step."""
        chosen = self._order.at(step)  # which may find a grown corpus
        return self.batch(self._rows[chosen])

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scenes [B, S], pictures [B, 3, H, W] −1…1 and weights of their pixels [B, 1, H, W], on the CPU."""
        pictures = self.corpus.pictures(rows).float() / 127.5 - 1
        times = pictures.shape[2] // self.options.resolution
        pictures = functional.avg_pool2d(pictures, times) if times > 1 else pictures
        weight = 1 + (FACIAL_WEIGHT - 1) * facial_mask(self._landmarks[rows] / times, pictures.shape[2:])
        return self._scenes[rows], pictures, weight

    def progress(self) -> dict[str, Any]:
        return self._order.progress()

    def go_on(self, progress: Mapping[str, Any]) -> None:
        self._reload()
        self._order.go_on(progress)

    def sheet(self, network: nn.Module) -> Tensor:
        """Renderings, and below each row what the network makes of their scenes."""
        device = next(network.parameters()).device
        rows = self._rows[torch.arange(SHEET_COLUMNS * SHEET_ROWS) % len(self._rows)]
        scenes, pictures, _ = self.batch(rows)
        drawn = torch.cat([network(part.to(device)).cpu() for part in scenes.split(8)])
        pairs = torch.stack([both.unflatten(0, (SHEET_ROWS, -1)) for both in (pictures, drawn)], 1)
        grid = pairs.flatten(0, 1).permute(2, 0, 3, 1, 4)  # [3, rows, H, columns, W]
        return (grid.reshape(3, grid.shape[1] * grid.shape[2], -1) / 2 + 0.5).clamp(0, 1)

    def packed(self, network: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
        return packed_scenes(network)

    def _reload(self) -> int:
        """Counts the dressed pictures that there are by now."""
        self.corpus.refresh()
        self._scenes, self._landmarks = self.corpus.truth("scene"), self.corpus.truth("landmarks68")
        self._rows = (self.corpus.truth("kind") != BARE).nonzero().squeeze(1)
        return len(self._rows)


def packed_scenes(network: SceneGenerator) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a scene generator's file."""
    head = {"format": FORMAT, "version": str(VERSION), "options": json.dumps(asdict(network.options))}
    return dict(network.state_dict()), head


def load_scene_generator(path: Path) -> SceneGenerator:
    """The product of a run; UserError where the file is something else."""
    checkpoint = read(path)
    found = checkpoint.metadata
    if (found.get("format"), found.get("version")) != (FORMAT, str(VERSION)):
        raise UserError(f"'{Path(path).name}' holds no scene generator of this version of the pack.")
    options = json.loads(found["options"])
    network = SceneGenerator(SceneOptions(**{**options, "channels": tuple(options["channels"])}))
    network.load_state_dict(checkpoint.tensors)
    return network.requires_grad_(False).eval()


def synthesis_options(channels: tuple[int, ...], latent: int, figures: bool) -> StyleGan2Options:
    """Of toon generators: no noise, since a scene's row says everything; everything from 8² on in half precision."""
    table = {4 << level: width for level, width in enumerate(channels)}
    return StyleGan2Options(
        table,
        MappingOptions(z_dim=latent, w_dim=latent, num_layers=2),
        start=(4, 2) if figures else (4, 4),
        num_fp16_res=len(channels),
        use_noise=False,
    )


def reconstruction(drawn: Tensor, target: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """L1 of pixels and of a Laplacian pyramid, pixels weighted by [B, 1, H, W]; pictures in −1…1."""
    difference = drawn - target
    terms = {"pixels": (difference.abs() * weight).mean()}
    pyramid = 0.0
    for _ in range(PYRAMID_LEVELS):
        smaller = functional.avg_pool2d(difference, 2)
        wider = functional.interpolate(smaller, scale_factor=2, mode="bilinear", align_corners=False)
        pyramid = pyramid + ((difference - wider).abs() * weight).mean()
        difference, weight = smaller, functional.avg_pool2d(weight, 2)
    terms["pyramid"] = PYRAMID_WEIGHT * (pyramid + difference.abs().mean())
    return terms


def facial_mask(landmarks: Tensor, size: tuple[int, int]) -> Tensor:
    """[B, 1, H, W]: 1 in the boxes round eyes with brows and round the mouth of landmarks [B, 68, 2] in pixels."""
    height, width = size
    rows = torch.arange(height, device=landmarks.device) + 0.5
    columns = torch.arange(width, device=landmarks.device) + 0.5
    found = landmarks.new_zeros(len(landmarks), height, width)
    for part in (EYES, MOUTH):
        points = torch.cat([landmarks[:, rows_] for rows_ in part], 1)
        low, high = points.amin(1) - MARGIN * height, points.amax(1) + MARGIN * height
        across = (columns >= low[:, :1]) & (columns <= high[:, :1])
        down = (rows >= low[:, 1:]) & (rows <= high[:, 1:])
        found = torch.maximum(found, (down[:, :, None] & across[:, None, :]).to(found))
    return found[:, None]


def _take(network: SceneGenerator, start: Path) -> None:
    """What the smaller generator has; blocks that it lacks stay as they are, but draw nothing at first."""
    before = load_scene_generator(start)
    smaller = before.options.resolution
    own = network.state_dict()
    for name, value in before.state_dict().items():
        if name not in own or own[name].shape != value.shape:
            raise UserError(f"'{Path(start).name}' does not fit this run: {name} is {list(value.shape)} there.")
    network.load_state_dict({**own, **before.state_dict()})
    for resolution in network.synthesis.options.channels:
        if resolution > smaller:
            block = getattr(network.synthesis, f"b{resolution}")
            nn.init.zeros_(block.torgb.weight)
