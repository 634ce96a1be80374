"""Face parameters in one pass of a network: Deep3DFaceRecon's regressor, DECA's encoders, or one trained here.

A regressor looks at a crop in which the face stands where it was trained to expect it; what it finds there is put back
onto the whole picture.

A regressor of ours is a .safetensors file. Tensors: `network.…`, a `KeypointNet`; `coding.mean`, `.scale`, `.low`,
`.high`, how its outputs become parameters (`core.face.coding`). Metadata: format, version; those of the coding (layout,
groups, joints, side, focal); those of its `Framing`. A training takes pictures framed so, `coding.encode(truth)` for
its targets, and writes what `packed` gives.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..checkpoints import Checkpoint, read, save_safetensors
from ..errors import UserError
from ..face import deca as deca_codes
from ..face import deep3d
from ..face.alignment import ALIGNMENTS
from ..face.coding import TENSORS, FaceCoding
from ..face.crop import Crop, Stage, take
from ..face.flame import Flame
from ..face.mirror import mirrored_rows
from ..face.model import FaceModel
from ..face.reframe import on_picture, reframed, seen_by
from ..networks import deca, keypoint_net, recon_net
from ..networks.deca import Deca
from ..networks.keypoint_net import KeypointNet
from ..networks.recon_net import ReconNet
from ..types import FaceParams, Landmarks, common_batch
from .fit.frames import fill, join

DEFAULT = Path(__file__).resolve().parents[2] / "weights" / "toon_regressor.safetensors"
"""The embedded one, for the toon head."""
FORMAT = "portrait_rig.face_regressor"
VERSION = 1
"""Raised when a reader of this version would misunderstand a file."""
NETWORK, CODING, MIRROR = "network.", "coding.", "mirror"
"""Prefixes of the two parts' tensors in a file of ours, and the name of a third."""
MOST_LOOKS = 16
"""At one face; the product's are two."""
FRAMES_AT_ONCE = 8
"""Pictures in work at once; a ResNet-50 takes about 100 MB for them."""
OPEN_FLAME = "flame-2023-open"
"""How the layouts of FLAME 2023 Open begin, whose directions differ from those that DECA was trained with."""

ONE_LOOK = "[[1, 0]]"
"""What files say that say nothing of looks."""

Progress = Callable[[int, int], None]
"""Called with the frames that are done and all frames."""


class FaceRegressor(nn.Module, ABC):
    """Pictures in, parameters out. layout: name of the face model that they belong to; None where `model` tells."""

    layout: str | None

    @abstractmethod
    def crop(self, size: tuple[int, int], landmarks: Landmarks | None) -> Crop:
        """Where to look in pictures of `size` (H, W); UserError where it needs landmarks and there are none."""

    @abstractmethod
    def on_crops(self, crops: Tensor, model: FaceModel | None) -> FaceParams:
        """[B, 3, side, side] RGB 0…1 -> parameters on these crops, differentiable."""

    @abstractmethod
    def describe(self) -> str:
        """One line: what was recognised."""

    def regress(
        self,
        pictures: Tensor,
        landmarks: Landmarks | None = None,
        model: FaceModel | None = None,
        progress: Progress | None = None,
    ) -> FaceParams:
        """The parameters that show the face of every picture, B frames, differentiable in the pictures.

        pictures: [B or 1, 3, H, W] RGB 0…1. landmarks: B or 1 frames, NaN where there is no face; such frames are
        filled in from their neighbours. model: the face model that the result is for, which DECA needs; another one's
        regressor refuses it. Whatever `progress` raises passes through.
        """
        self.check_model(model)
        if pictures.dim() != 4 or pictures.shape[1] != 3:
            raise UserError(f"A regressor takes pictures [frames, 3, height, width]; got {list(pictures.shape)}.")
        if not torch.isfinite(pictures).all():
            raise UserError("The pictures hold values that are no numbers (NaN or infinite).")
        frames = common_batch(pictures=len(pictures), landmarks=1 if landmarks is None else len(landmarks))
        if not frames:
            raise UserError("There is nothing to regress: there are no pictures. Connect at least one.")
        known = torch.ones(frames, dtype=torch.bool)
        if landmarks is not None:
            known = landmarks.found.cpu().expand(frames)
            if not known.any():
                raise UserError(f"None of the {frames} frames holds a face. Use pictures that show one.")
        crop = self.crop((pictures.shape[2], pictures.shape[3]), landmarks)
        places, parts = known.nonzero().squeeze(1), []
        for some in places.split(FRAMES_AT_ONCE):
            if progress is not None:
                progress(FRAMES_AT_ONCE * len(parts), len(places))
            parts.append(self.seen(pictures if len(pictures) == 1 else pictures[some], _frames(crop, some), model))
        if progress is not None:
            progress(len(places), len(places))
        return fill(join(parts), known)

    def seen(self, pictures: Tensor, crop: Crop, model: FaceModel | None) -> FaceParams:
        """Parameters on pictures [B or 1, 3, H, W] that their crops show."""
        return self.placed(self.on_crops(self.taken(pictures, crop), model), crop)

    def taken(self, pictures: Tensor, crop: Crop) -> Tensor:
        """The crops of pictures, for the network."""
        return take(pictures, crop).to(next(self.parameters()))

    def placed(self, params: FaceParams, crop: Crop) -> FaceParams:
        """Parameters on the crops, on the pictures; pixel by pixel the same face, so the axis keeps to the crop."""
        return on_picture(params, crop)

    def check_model(self, model: FaceModel | None) -> None:
        """UserError where this regressor's numbers mean nothing to `model`."""
        if model is not None and self.layout is not None and model.layout != self.layout:
            raise UserError(
                f"This regressor gives parameters of the face model '{self.layout}', which mean nothing to "
                f"'{model.layout}'. Connect '{self.layout}', or another regressor."
            )


@dataclass(frozen=True)
class Framing:
    """How faces stand in a regressor's pictures: where to cut a picture whose landmarks are known.

    alignment: name of ALIGNMENTS. wider: side of the picture by that of the alignment's crop. raised: how far above the
    crop's middle the picture's middle lies, in sides of the picture. The defaults give toon portraits: the medians of
    300, whose size they miss by 5 % and whose place by 1 % across and 3 % down (standard deviations).

    part, lowered: the same place in a portrait without landmarks: side of the square by the picture's shorter side, and
    how far its middle lies below the picture's, in the same unit. The defaults are the whole of it.
    """

    alignment: str = "DECA"
    wider: float = 1.48
    raised: float = 0.087
    part: float = 1.0
    lowered: float = 0.0

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> Framing:
        numbers = {name: float(metadata[name]) for name in ("wider", "raised", "part", "lowered")}
        return cls(str(metadata["alignment"]), **numbers)

    def __post_init__(self) -> None:
        sides, places = (self.wider, self.part), (self.raised, self.lowered)
        proper = 0 < min(sides) <= max(sides) < math.inf and all(map(math.isfinite, places))
        if self.alignment not in ALIGNMENTS or not proper:
            raise ValueError(f"a framing of '{self.alignment}', sides {sides} and places {places} gives no crop")

    def in_portrait(self, size: tuple[int, int], side: int) -> Crop:
        """The crop of `side` squared of portraits of `size` (H, W) without landmarks; one for all pictures."""
        return middle_square(size, side, self.part, self.lowered)

    def crop(self, landmarks: Landmarks, side: int) -> Crop:
        """Crops of `side` squared; beyond the picture's border it is mirrored, as in training."""
        cut = ALIGNMENTS[self.alignment](landmarks, side)
        last = cut.stages[-1]
        shrink = 1 / self.wider
        down = last.matrices.new_tensor([0.0, self.raised * side])
        matrix = torch.eye(3).to(last.matrices)
        matrix[0, 0] = matrix[1, 1] = shrink
        matrix[:2, 2] = side / 2 * (1 - shrink) + down
        framed = Stage(matrix @ last.matrices, last.size, "antialiased mirror")
        return replace(cut, stages=(*cut.stages[:-1], framed))


@dataclass(frozen=True)
class Look:
    """A look at a crop. zoom: by which the face is enlarged. lower: how far below the crop's middle it looks, in sides
    of the crop.
    """

    zoom: float = 1.0
    lower: float = 0.0

    def __post_init__(self) -> None:
        if not (0.5 <= self.zoom <= 2 and abs(self.lower) <= 0.5):
            raise ValueError(f"a look that enlarges {self.zoom} times, {self.lower} sides lower, sees no face")

    def matrix(self, side: int) -> Tensor:
        """[1, 3, 3] float64: pixels of a crop of `side` squared -> pixels of the look."""
        matrix = torch.diag(torch.tensor([self.zoom, self.zoom, 1.0], dtype=torch.float64))
        matrix[:2, 2] = side / 2 * (1 - self.zoom)
        matrix[1, 2] -= self.lower * self.zoom * side
        return matrix[None]


class CodedRegressor(FaceRegressor):
    """A `KeypointNet` that gives the rows of a `FaceCoding`: what is trained here, for any face model.

    Without landmarks it looks where `framing` says that the face of a portrait is. What it sees is the mean over all
    `looks`, and with `mirror` (`mirror_of`) over their mirror images as well: their errors differ.
    """

    mirror: Tensor | None

    def __init__(
        self, network: KeypointNet, coding: FaceCoding, framing: Framing | None = None, mirror: Tensor | None = None,
        looks: Sequence[Look] = (Look(),),
    ) -> None:  # fmt: skip
        super().__init__()
        if network.outputs != len(coding):
            raise ValueError(f"{network.outputs} outputs do not make {len(coding)} values")
        if mirror is not None and sorted(mirror.abs().tolist()) != list(range(1, len(coding) + 1)):
            raise ValueError("its mirror does not name every value once")
        if not 0 < len(looks) <= MOST_LOOKS:
            raise ValueError(f"{len(looks)} looks at a face instead of 1 to {MOST_LOOKS}")
        self.network, self.coding, self.framing = network, coding, framing or Framing()
        self.layout, self.looks = coding.layout, tuple(looks)
        self.register_buffer("mirror", mirror)

    def crop(self, size: tuple[int, int], landmarks: Landmarks | None) -> Crop:
        if landmarks is None:
            return self.framing.in_portrait(size, self.coding.side)
        return self.framing.crop(landmarks, self.coding.side)

    def on_crops(self, crops: Tensor, model: FaceModel | None = None) -> FaceParams:
        if self.mirror is None:
            return self.coding.decode(self.network(crops))
        rows, other = self.network(torch.cat([crops, crops.flip(3)])).chunk(2)
        return self.coding.decode((rows + mirrored_rows(self.coding, other, self.mirror)) / 2)

    def seen(self, pictures: Tensor, crop: Crop, model: FaceModel | None = None) -> FaceParams:
        rows = torch.zeros(1, len(self.coding)).to(self.coding.mean)
        for look in self.looks:
            there = look.matrix(self.coding.side)
            found = self.on_crops(self.taken(pictures, crop.moved(there)))
            rows = rows + self.coding.encode(reframed(found, torch.linalg.inv(there), crop.size)) / len(self.looks)
        return self.placed(self.coding.decode(rows), crop)

    def placed(self, params: FaceParams, crop: Crop) -> FaceParams:
        """As a camera sees the face whose axis meets the middle of the picture, which its rows were made from."""
        params = on_picture(params, crop)
        (height, width), focal = crop.picture_size, params.camera.focal
        centre = focal.new_tensor([width / 2, height / 2]).expand(len(focal), 2)
        return seen_by(params, replace(params.camera, principal=centre))

    def describe(self) -> str:
        side = self.coding.side
        return f"{self.layout} from pictures of {side} × {side}: {self.network.describe()}; works without landmarks"


class Deep3DRegressor(FaceRegressor):
    """Deep3DFaceRecon's published network: 257 coefficients of BFM 2009 from the Deep3D crop."""

    layout = deep3d.LAYOUT

    def __init__(self, network: ReconNet) -> None:
        super().__init__()
        if network.outputs != deep3d.COEFFICIENTS:
            raise ValueError(f"{network.outputs} outputs instead of {deep3d.COEFFICIENTS}")
        self.network = network

    def crop(self, size: tuple[int, int], landmarks: Landmarks | None) -> Crop:
        return ALIGNMENTS["Deep3D"](_needed(landmarks, "Deep3DFaceRecon"), recon_net.PICTURE)

    def on_crops(self, crops: Tensor, model: FaceModel | None = None) -> FaceParams:
        return deep3d.to_params(self.network(crops), recon_net.PICTURE)

    def describe(self) -> str:
        side = recon_net.PICTURE
        return f"Deep3DFaceRecon ({self.layout}) from crops of {side} × {side}: {self.network.describe()}"


class DecaRegressor(FaceRegressor):
    """DECA's encoders: FLAME's coefficients from the DECA crop, and the code of its wrinkles."""

    layout = None

    def __init__(self, network: Deca) -> None:
        super().__init__()
        outputs = network.E_flame.layers[2].out_features
        if outputs != deca_codes.COEFFICIENTS:
            raise ValueError(f"{outputs} outputs instead of {deca_codes.COEFFICIENTS}")
        self.network = network

    def check_model(self, model: FaceModel | None) -> None:
        found = "none is connected" if model is None else f"this one is '{model.layout}'"
        if not isinstance(model, Flame) or model.layout.startswith(OPEN_FLAME):
            raise UserError(
                f"DECA's parameters belong to the FLAME of 2020 (generic_model.pkl); {found}. Connect that face model."
            )

    def crop(self, size: tuple[int, int], landmarks: Landmarks | None) -> Crop:
        return ALIGNMENTS["DECA"](_needed(landmarks, "DECA"), deca.PICTURE)

    def codes(self, crops: Tensor) -> deca_codes.DecaCodes:
        """[B, 3, 224, 224] RGB 0…1, DECA's crops -> all of its codes, those of the details included."""
        return deca_codes.DecaCodes.split(*self.network(crops))

    def on_crops(self, crops: Tensor, model: FaceModel | None) -> FaceParams:
        self.check_model(model)
        coarse = self.network.E_flame(crops)
        return deca_codes.to_params(deca_codes.DecaCodes.split(coarse, coarse[:, :0]), model, deca.PICTURE)

    def describe(self) -> str:
        return f"{self.network.describe()}; for FLAME 2020"


def load_face_regressor(path: str | Path = DEFAULT) -> FaceRegressor:
    """The regressor in a file, on the CPU, frozen; what it is, is seen from its contents.

    UserError where the file is missing, damaged, or no regressor that is known here.
    """
    checkpoint = read(path)
    name, tensors = checkpoint.path.name, checkpoint.tensors
    with torch.inference_mode(False), torch.no_grad():
        try:
            if checkpoint.metadata.get("format") == FORMAT:
                return _finite(_ours(checkpoint))
            if deca.matches(tensors):
                return _finite(DecaRegressor(deca.from_tensors(tensors)))
            if recon_net.matches(tensors):
                return _finite(Deep3DRegressor(recon_net.from_tensors(tensors)))
        except (LookupError, TypeError, ValueError) as error:
            reason = f"there is no {error}" if isinstance(error, KeyError) else str(error)
            raise UserError(
                f"'{name}' looks like a face regressor, but is damaged or of another kind: {reason}. Download it "
                "again, or choose another file."
            ) from error
    raise UserError(
        f"'{name}' in '{checkpoint.path.parent}' holds no face regressor that is understood here. Understood are: "
        "Deep3DFaceRecon's epoch_20.pth, DECA's deca_model.tar, and .safetensors files that were trained here. It "
        f"holds: {', '.join(checkpoint.top_names()) or 'nothing'}. Choose another file."
    )


def as_one_person(params: FaceParams) -> FaceParams:
    """Frames of one person: identity and albedo become their means over all frames, which one look misses less."""
    shared = {name: getattr(params, name).mean(0, keepdim=True) for name in ("identity", "albedo")}
    return replace(params, **{name: value.expand(len(params), -1) for name, value in shared.items()})


def packed(
    regressor: CodedRegressor, notes: Mapping[str, str] | None = None
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a file that `load_face_regressor` reads; floats may be stored in half precision.

    notes: further metadata, such as how it was trained.
    """
    parts = {NETWORK: regressor.network.state_dict(), CODING: regressor.coding.state_dict()}
    tensors = {prefix + key: tensor for prefix, part in parts.items() for key, tensor in part.items()}
    tensors |= {} if regressor.mirror is None else {MIRROR: regressor.mirror}
    metadata = {
        **(notes or {}),
        **regressor.coding.metadata(),
        "format": FORMAT,
        "version": str(VERSION),
        "looks": json.dumps([[look.zoom, look.lower] for look in regressor.looks]),
        **{name: str(value) for name, value in vars(regressor.framing).items()},
    }
    return tensors, metadata


def save_face_regressor(path: Path, regressor: CodedRegressor, notes: Mapping[str, str] | None = None) -> None:
    """Writes what `load_face_regressor` reads, in one piece. notes: as in `packed`."""
    save_safetensors(path, *packed(regressor, notes))


def middle_square(size: tuple[int, int], side: int, part: float = 1.0, lowered: float = 0.0) -> Crop:
    """A square in the middle of pictures of `size` (H, W), brought to `side` pixels; one for all pictures.

    part: its side by the picture's shorter side. lowered: how far below the middle it lies, in that unit.
    """
    height, width = size
    shorter = min(height, width)
    scale = side / (part * shorter)
    x, y = width / 2, height / 2 + lowered * shorter
    matrix = torch.tensor(
        [[scale, 0, side / 2 - x * scale], [0, scale, side / 2 - y * scale], [0, 0, 1]], dtype=torch.float64
    )
    return Crop("middle", (Stage(matrix[None], (side, side), "antialiased edge"),), size)


def _ours(checkpoint: Checkpoint) -> CodedRegressor:
    metadata, tensors = checkpoint.metadata, checkpoint.tensors
    if metadata.get("version") != str(VERSION):
        raise UserError(
            f"'{checkpoint.path.name}' holds a face regressor of version {metadata.get('version')}, this pack reads "
            f"{VERSION}. Update the pack."
        )
    network = {key[len(NETWORK) :]: tensor for key, tensor in tensors.items() if key.startswith(NETWORK)}
    coding = FaceCoding.from_metadata(metadata, {name: tensors[CODING + name] for name in TENSORS})
    framing = Framing.from_metadata(metadata)
    looks = [Look(*map(float, pair)) for pair in json.loads(metadata.get("looks", ONE_LOOK))]
    return CodedRegressor(keypoint_net.from_tensors(network), coding, framing, tensors.get(MIRROR), looks)


def _finite(regressor: FaceRegressor) -> FaceRegressor:
    """Itself, for use; ValueError where its weights are no numbers."""
    for name, weight in regressor.named_parameters():
        if not torch.isfinite(weight).all():
            raise ValueError(f"{name} holds values that are no numbers (NaN or infinite)")
    return regressor.eval().requires_grad_(False)


def _frames(crop: Crop, frames: Tensor) -> Crop:
    """The crops of some frames [n] of its pictures; one that goes with all stays."""

    def chosen(stage: Stage) -> Stage:
        return stage if len(stage.matrices) == 1 else replace(stage, matrices=stage.matrices[frames])

    return replace(crop, stages=tuple(map(chosen, crop.stages)))


def _needed(landmarks: Landmarks | None, who: str) -> Landmarks:
    if landmarks is None:
        raise UserError(
            f"{who} looks at a crop that the face's landmarks give, and none are connected. Connect Find Face, or "
            "points from elsewhere."
        )
    return landmarks
