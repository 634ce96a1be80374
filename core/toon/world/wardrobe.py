"""Everything a scene wears, as meshes ready to be drawn; each is laid out once and kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from . import accessories, clothes, figure, hair
from .scene import NONE, Scene
from .shapes import Piece, Worn

VOLUMES = (0.90, 1.0, 1.12)
"""Hair is built in these volumes only, so that few are kept; a scene takes the nearest."""


@dataclass(frozen=True, eq=False)
class Garment:
    """material: what it is made of. worn: its mesh. turns: it turns with the head; the body's pieces do not."""

    material: str
    worn: Worn
    turns: bool = True


class Wardrobe:
    """Pieces by what they are called, built when first asked for."""

    def __init__(self, skin: Tensor, skin_rows: Tensor) -> None:
        """skin: [S, 3] skin of the mean head. skin_rows: [S] its vertex numbers."""
        self._skin, self._rows = skin, skin_rows
        self._kept: dict[tuple, Worn | None] = {}

    def of(self, scene: Scene, whole: bool = False) -> list[Garment]:
        """What `scene` wears, beards excepted (they grow from the head's own triangles). whole: down to the shoes."""
        if whole:
            chosen = scene.figure
            pieces = figure.pieces(figure.OUTFITS[chosen.outfit], (chosen.left_arm, chosen.right_arm), chosen.legs)
            found = [Garment(name, Worn(piece, self._skin, self._rows), turns=False) for name, piece in pieces]
        else:
            found = [Garment("body", self._piece(("body",), clothes.body), turns=False)]
        collar = self._piece(("collar", scene.clothes.collar), lambda: clothes.collar(scene.clothes.collar))
        if collar is not None:
            found.append(Garment("collar", collar, turns=False))
        style = hair.STYLES[scene.hair.style]
        if style is not None:
            found.append(Garment("hair", self._hair(scene, style)))
        if scene.hat.kind != NONE:
            for material, part in (("hat", 0), ("hat_trim", 1)):
                key = ("hat", scene.hat.kind, scene.hair.style, part)
                worn = self._piece(key, lambda p=part: accessories.hat(scene.hat.kind, style)[p])
                found.append(Garment(material, worn))
        if scene.glasses.shape != NONE:
            for material, part in (("frame", 0), ("lens", 1)):
                key = ("glasses", scene.glasses.shape, part)
                worn = self._piece(key, lambda p=part: accessories.glasses(scene.glasses.shape)[p])
                if worn is not None:
                    found.append(Garment(material, worn))
        return found

    def _hair(self, scene: Scene, style: hair.HairStyle) -> Worn:
        volume = min(VOLUMES, key=lambda step: abs(step - scene.hair.volume))
        if scene.hat.kind != NONE:
            volume *= accessories.PRESSED[scene.hat.kind]
        mirrored = scene.hair.mirrored

        def build() -> Piece:
            piece = hair.build(style, volume)
            return piece.mirrored() if mirrored else piece

        return self._piece(("hair", scene.hair.style, volume, mirrored), build)

    def _piece(self, key: tuple, build: Callable[[], Piece | None]) -> Worn | None:
        if key not in self._kept:
            piece = build()
            self._kept[key] = None if piece is None else Worn(piece, self._skin, self._rows)
        return self._kept[key]


@dataclass(frozen=True, eq=False)
class Beard:
    """Skin triangles from which a beard grows. faces: [F] of the head. rows: [N] their vertices. local: [F, 3] over
    `rows`. lift: [N] how far each stands off the skin, negative where it hides in it.
    """

    rows: Tensor
    local: Tensor
    lift: Tensor


def grow_beard(kind: str, mean: Tensor, faces: Tensor) -> Beard:
    """kind: a key of `accessories.BEARD_DEPTH`. mean: [V, 3]. faces: [F, 3] of the skin."""
    full = accessories.beard_mask(kind, mean.cpu().numpy().astype(np.float64))
    mask = torch.as_tensor(full, dtype=mean.dtype, device=mean.device)
    grown = faces[(mask[faces] > 0.02).any(1)]
    rows, local = grown.unique(return_inverse=True)
    lift = accessories.BEARD_DEPTH[kind] * mask[rows] - accessories.BEARD_SINK
    return Beard(rows, local.reshape(-1, 3), lift)
