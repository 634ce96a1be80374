"""A texture generator from one's own UV maps: StyleGAN2, as FFHQ-UV (Bai et al. 2023) trains its own.

GANFit's progressive GAN needs a schedule of sizes, fades and batches and a week on ten thousand scans. StyleGAN2 with
adaptive augmentation (Karras et al. 2020) gives sharper maps, has no schedule to choose and is made for the few hundred
maps that people have, so that is what is trained; a progressive GAN that somebody else trained still loads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..errors import UserError
from ..methods import texture_gan
from ..methods.texture_gan import FACE_MODEL, TextureGan
from ..networks.textures import StyleGanTextures
from .images import PictureSource
from .stylegan2 import StyleGan2Trainer
from .stylegan2_settings import StyleGan2Settings
from .team import Team

RESOLUTION = 256
"""Side of a map where nobody says; GANFit's has 512, which takes four times as long."""


class TextureGanTrainer(StyleGan2Trainer):
    """`StyleGan2Trainer` of UV maps, whose product says to which face model they belong."""

    product = "texture_gan"

    def __init__(
        self,
        settings: StyleGan2Settings,
        source: PictureSource,
        layout: str,
        name: str = "textures",
        team: Team | None = None,
    ) -> None:
        """layout: name of the face model whose UV layout the maps have. Others: as `StyleGan2Trainer`."""
        if settings.portrait:
            raise UserError("UV maps are square. Switch the portrait shape off.")
        super().__init__(settings, source, name, team)
        self.layout = layout

    def describe(self) -> str:
        return f"{super().describe()}; UV layout of '{self.layout}'"

    def textures(self) -> TextureGan:
        """The averaged generator as it is now, a copy."""
        return texture_gan.of(StyleGanTextures(self.result()), self.name, self.layout)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, plain = super().state()
        return tensors, {**plain, FACE_MODEL: self.layout}

    def load_state(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        if plain[FACE_MODEL] != self.layout:
            raise UserError(
                f"This run was begun with maps of '{plain[FACE_MODEL]}', not of '{self.layout}'. Connect that face "
                "model, or begin another run."
            )
        super().load_state(tensors, plain)

    def packed(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        tensors, metadata = super().packed()
        return tensors, {**metadata, **texture_gan.label(self.name, self.layout)}
