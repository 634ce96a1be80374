"""What a StyleGAN2 training is told: settings, and the published presets for them.

Source: stylegan2-ada-pytorch, `train.py`. The regularisers' weights are in `stylegan2_losses.LossSettings`, those of
the augmentation in `augment.AugmentSettings`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..errors import UserError
from ..networks.running import PRECISIONS
from .augment import AugmentSettings
from .stylegan2_losses import LossSettings, suggested_gamma

AUTO = "auto"
PRESETS: dict[str, dict[str, Any]] = {
    "stylegan2": {"r1_gamma": 10.0},
    "paper256": {
        "batch": 64, "group": 8, "channel_base": 16384, "rate": 0.0025, "r1_gamma": 1.0, "half_life": 20_000.0,
    },
    "paper512": {"batch": 64, "group": 8, "rate": 0.0025, "r1_gamma": 0.5, "half_life": 20_000.0},
    "paper1024": {"r1_gamma": 2.0},
    "cifar": {
        "batch": 64, "group": 32, "rate": 0.0025, "r1_gamma": 0.01, "half_life": 500_000.0, "ramp_up": 0.05,
        "mapping_layers": 2, "path_weight": 0.0, "style_mixing": 0.0, "discriminator": "orig",
    },
}  # fmt: skip
"""What each published configuration changes in `StyleGan2Settings` and its losses; beside them there is AUTO."""


@dataclass(frozen=True)
class StyleGan2Settings:
    """Everything that decides what a training gives, beside the pictures; defaults are StyleGAN2's configuration F.

    resolution: the pictures' height, a power of two from 8 on; portrait makes them half as wide (StyleGAN-Human).
    batch: pictures a step, of all processes. chunk: of these at once, to save memory; 0 is all. channel_base,
    channel_max: resolution r has min(base / r, max) channels. latent: values of z and of w. mapping_layers: between
    them. discriminator: its architecture. group: pictures whose deviation it sees. rate: Adam's learning rate.
    half_life: of the averaged generator, in pictures; ramp_up: its largest share of the pictures seen, or None.
    mirror: every picture also mirrored. precision: of the four highest resolutions, a key of `running.PRECISIONS`.
    seed: of weights, order and all chance.
    """

    resolution: int
    portrait: bool = False
    batch: int = 32
    chunk: int = 0
    channel_base: int = 32768
    channel_max: int = 512
    latent: int = 512
    mapping_layers: int = 8
    discriminator: str = "resnet"
    group: int = 4
    rate: float = 0.002
    half_life: float = 10_000.0
    ramp_up: float | None = None
    losses: LossSettings = field(default_factory=LossSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    mirror: bool = False
    precision: str = "fp32"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.resolution < 8 or self.resolution & (self.resolution - 1):
            raise UserError(f"The resolution must be a power of two from 8 on, such as 256; got {self.resolution}.")
        if self.precision not in PRECISIONS:
            raise UserError(f"The precision '{self.precision}' is unknown; known are {', '.join(PRECISIONS)}.")
        if min(self.batch, self.group, self.channel_base, self.channel_max, self.latent, self.mapping_layers) < 1:
            raise UserError("Batch, group, channels, latent size and mapping layers must be 1 or more.")

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the pictures."""
        return self.resolution, self.resolution // 2 if self.portrait else self.resolution


def settings_for(preset: str, resolution: int, processes: int = 1, **changes: Any) -> StyleGan2Settings:
    """The settings of a preset: AUTO or one of PRESETS. processes: that share the work; AUTO's batch grows with them.

    changes: fields of `StyleGan2Settings` or of `LossSettings` by name; None keeps the preset's value.
    """
    changes = {name: value for name, value in changes.items() if value is not None}
    if preset == AUTO:
        batch = changes.get("batch") or max(min(processes * min(4096 // resolution, 32), 64), processes)
        chosen = {
            "batch": batch,
            "group": min(max(batch // processes, 1), 4),
            "channel_base": 32768 if resolution >= 512 else 16384,
            "rate": 0.002 if resolution >= 1024 else 0.0025,
            "r1_gamma": suggested_gamma(resolution, batch),
            "half_life": batch * 10_000 / 32,
            "ramp_up": 0.05,
            "mapping_layers": 2,
        }
    elif preset in PRESETS:
        chosen = dict(PRESETS[preset])
    else:
        raise UserError(f"The preset '{preset}' is unknown; known are {', '.join([AUTO, *PRESETS])}.")
    chosen |= changes
    known = LossSettings.__dataclass_fields__
    weights = LossSettings(**{name: value for name, value in chosen.items() if name in known})
    rest = {name: value for name, value in chosen.items() if name not in known}
    return StyleGan2Settings(resolution=resolution, losses=weights, **rest)
