"""A folder of portraits becomes a folder of UV maps: each is fitted by a face model and unwrapped.

Maps that are there already stay, so a stopped run goes on. Landmarks come from a points file beside a portrait (as
*Find Face* reads them: portrait.json for portrait.jpg), else from a finder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image, ImageOps
from torch import Tensor

from ..errors import UserError
from ..face import points_text
from ..face.landmarks import Face, choose
from ..face.model import FaceModel
from ..files import replacing
from ..methods.fit import FitSettings, fit
from ..optimise import Watch
from .images import files_in, fitted

Finder = Callable[[Tensor], list[list[Face]]]
"""Pictures [B, 3, H, W] RGB 0…1 -> for each its faces with 68 or 478 points."""
MAPS = "maps"
"""Name of the folder of maps in the folder of a run."""
LONGEST_SIDE = 1024
"""Larger portraits are shrunk: a fit looks at 256 pixels of a face, a map of 512 texels needs no more than this."""


@dataclass
class Harvest:
    """maps: files, those that were there before included. skipped: portraits that gave none, with the reason."""

    maps: list[Path] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def unwrap_folder(
    portraits: Path,
    maps: Path,
    model: FaceModel,
    finder: Finder,
    settings: FitSettings | None = None,
    watch: Watch | None = None,
) -> Harvest:
    """Writes a PNG into `maps` for every portrait of the folder (and its subfolders) that shows a face.

    settings: of the fits; `texture_size` is the maps' side. watch: is called after every portrait and raises to cancel.
    Needs gradients: not under inference mode. UserError where not one portrait could be used.
    """
    found = files_in(portraits) if portraits.is_dir() else []
    if not found:
        raise UserError(f"The folder '{portraits}' holds no portraits. Put pictures of faces there.")
    settings = replace(settings or FitSettings(), texture="photograph", share_identity=False)
    harvest = Harvest()
    for number, path in enumerate(found, 1):
        name = path.relative_to(portraits)
        target = maps / name.with_name(f"{name.name}.png")
        try:
            if not target.exists():
                _write(_texture(path, model, settings, finder), target)
            harvest.maps.append(target)
        except (UserError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            harvest.skipped[name.as_posix()] = str(error) if isinstance(error, UserError) else "not a readable picture"
        if watch is not None:
            watch(number, len(found), 0.0, lambda: _read(harvest.maps[-1]) if harvest.maps else None)
    if not harvest.maps:
        name, reason = next(iter(harvest.skipped.items()))
        raise UserError(f"None of the {len(found)} portraits in '{portraits}' could be used. '{name}': {reason}")
    return harvest


def _texture(path: Path, model: FaceModel, settings: FitSettings, finder: Finder) -> Tensor:
    """[3, S, S]."""
    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file)
        size = (image.height, image.width)
        scale = min(1.0, LONGEST_SIDE / max(size))
        picture = fitted(image, (max(1, round(size[0] * scale)), max(1, round(size[1] * scale))))[None].float() / 255
    points = path.with_suffix(".json")
    if points.is_file():
        faces = points_text.parse(points_text.read(points), size)
    else:
        faces, size = finder(picture), (picture.shape[2], picture.shape[3])
    landmarks, _ = choose(faces, size)  # `fit` brings them to the picture's pixels
    return fit(picture.to(model.faces.device), landmarks, model, settings).params.texture[0]


def _write(texture: Tensor, target: Path) -> None:
    pixels = (texture.permute(1, 2, 0) * 255).round().byte().cpu().numpy()
    with replacing(target) as path:
        Image.fromarray(pixels).save(path)


def _read(path: Path) -> Tensor:
    with Image.open(path) as file:
        return fitted(file, (file.height, file.width)).float() / 255
