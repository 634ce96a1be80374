"""Mixed latents of a generator with what they show: made once, kept on disk, and all that the training of a rig sees.

A latent is a mixture of up to five random codes, each for a run of layers, so that layers become independent of one
another (Tewari et al. 2020, "StyleRig", section 4.1; the cut points are not published: uniform here). Its picture, the
face parameters that a regressor sees in it, and its landmarks are kept with it, so neither stage of the training runs
the generator. Shards are files of their own: a stopped work goes on, and a corpus can be made longer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from ..checkpoints import save_safetensors
from ..errors import UserError
from ..face.camera import default_camera
from ..face.crop import take
from ..face.landmarks import convert, move_points
from ..face.model import FaceModel
from ..face.reframe import on_crop, seen_by
from ..files import replacing
from ..methods.fit.frames import MOVING, join
from ..methods.fit.landmarks_stage import project_landmarks
from ..methods.latents import untruncated
from ..methods.regress import FaceRegressor, middle_square
from ..networks.generator import Generator, fingerprint
from ..types import Camera, FaceParams, GeneratorId, Landmarks
from .supervised import generator as chance

SETTINGS = "corpus.json"
VALIDATION = 50
"""Every so-manieth latent is kept from the training: 2 %."""
AT_ONCE = 16
"""Pictures drawn together, to bound memory."""
MARKS = 68
"""Landmarks of the losses."""

Finder = Callable[[Tensor], Landmarks]
"""Pictures [B, 3, H, W] 0…1 -> a face in each, NaN points where there is none."""


@dataclass(frozen=True)
class LatentCorpusSettings:
    """What is drawn.

    count: latents. side: pixels of the pictures that are kept; those of smaller generators are not enlarged. segments:
    most codes in one latent. truncation: of every code. seed: of all chance. shard: latents of a file.
    """

    count: int = 10_000
    side: int = 64
    segments: int = 5
    truncation: float = 1.0
    seed: int = 0
    shard: int = 256

    def __post_init__(self) -> None:
        if min(self.count, self.side, self.segments, self.shard) < 1 or self.seed < 0:
            raise UserError("A corpus of latents needs a count, a side, segments and shards from 1 and a seed from 0.")

    @property
    def shards(self) -> int:
        """Files."""
        return -(-self.count // self.shard)


@dataclass(frozen=True, eq=False)
class Sight:
    """What B latents show.

    pictures: [B, 3, S, S] RGB 0…1, the middle squares. points: [B, 68, 2] pixels of them. params: the regressor's, on
    these pictures. found: [B] bool, False where the finder saw no face.
    """

    pictures: Tensor
    points: Tensor
    params: FaceParams
    found: Tensor


@dataclass(frozen=True, eq=False)
class Eye:
    """A generator, and what looks at its pictures.

    regressor: gives parameters of `model`. find: landmarks for regressors that need them, and for the losses where it
    marks 68 points; without it the losses take the model's own at the parameters. side: pixels of what is kept.
    """

    generator: Generator
    regressor: FaceRegressor
    model: FaceModel
    find: Finder | None = None
    side: int = LatentCorpusSettings.side

    def __post_init__(self) -> None:
        if self.generator.channels != 3:
            raise UserError(
                f"A rig needs a generator of colour pictures; '{self.generator.id.name}' draws "
                f"{self.generator.channels} channels."
            )
        self.regressor.check_model(self.model)

    @property
    def kept_side(self) -> int:
        """Pixels of the pictures in a `Sight`."""
        return min(self.side, *self.generator.size)

    @torch.no_grad()
    def see(self, w: Tensor) -> Sight:
        """Codes [B, L, C] drawn and looked at. UserError where no picture of a batch shows a face."""
        parts = [self._see(part) for part in w.split(AT_ONCE)]
        columns = {name: torch.cat([getattr(part, name) for part in parts]) for name in ("pictures", "points", "found")}
        return Sight(params=join([part.params for part in parts]), **columns)

    def _see(self, w: Tensor) -> Sight:
        pictures = self.generator.draw(self.generator.latent(w)).float().clamp(0, 1)
        if not torch.isfinite(pictures).all():
            raise UserError(f"The generator '{self.generator.id.name}' drew pictures that are no numbers.")
        marks = None if self.find is None else self.find(pictures)
        params = self.regressor.regress(pictures, marks, self.model)
        crop = middle_square(self.generator.size, self.kept_side)
        params = on_crop(params, crop)
        if not params.camera.perspective:
            params = seen_by(params, default_camera(crop.size))
        found = torch.ones(len(w), dtype=torch.bool, device=w.device) if marks is None else marks.found
        points = drawn_points(self.model, params)
        if marks is not None and marks.markup >= MARKS:
            points = move_points(convert(marks, MARKS).points.to(points), crop.matrices)
        return Sight(take(pictures, crop).clamp(0, 1), points.nan_to_num(), params, found)


def drawn_points(model: FaceModel, params: FaceParams) -> Tensor:
    """[B, 68, 2] pixels: the model's landmarks at these parameters."""
    basis = model.landmark_basis()
    vertices = basis.vertices(params.identity, params.expression, params.joints)
    return project_landmarks(basis, vertices, params.angles, params.translation, params.camera)


def mixed_codes(generator: Generator, settings: LatentCorpusSettings, shard: int, count: int) -> Tensor:
    """[count, L, C]: the latents of a shard, each a mixture of 1…`segments` random codes, the numbers alike often."""
    random, layers = chance(settings.seed, shard), generator.num_ws
    most = min(settings.segments, layers)
    z = torch.randn(count * most, generator.z_dim, generator=random)
    codes = torch.cat([untruncated(generator, part.to(generator.device)) for part in z.split(1000)])
    if settings.truncation != 1:
        codes = torch.lerp(generator.w_avg.to(codes), codes, settings.truncation)
    codes = codes.unflatten(0, (count, most))
    pieces = torch.randint(1, most + 1, (count, 1), generator=random)
    cuts = 1 + torch.rand(count, max(layers - 1, 1), generator=random).argsort(1)  # distinct, within 1…layers − 1
    used = torch.arange(cuts.shape[1]) < pieces - 1
    owner = ((torch.arange(layers) >= cuts[:, :, None]) & used[:, :, None]).sum(1)  # [count, layers], cuts passed
    return codes[torch.arange(count, device=codes.device)[:, None], owner.to(codes.device)]


def make_latent_corpus(folder: Path, settings: LatentCorpusSettings, eye: Eye) -> Iterator[int]:
    """Draws what is missing and yields how many shards there are, after each one.

    UserError where the folder holds the corpus of something else. Closing it stops the work between two shards.
    """
    wanted = _told(settings, eye)
    kept = folder / SETTINGS
    if kept.exists():
        found = _read(folder)
        if changed := [name for name in wanted if name != "count" and found.get(name) != wanted[name]]:
            listed = ", ".join(f"{name} {found.get(name)} (now {wanted[name]})" for name in changed)
            raise UserError(f"'{folder}' holds a corpus of other latents: {listed}. Choose another folder.")
    with replacing(kept) as path:
        path.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")
    for shard in range(settings.shards):
        count = min(settings.shard, settings.count - shard * settings.shard)
        path = _shard_path(folder, shard)
        if not (path.exists() and _length(path) >= count):
            _make_shard(path, settings, eye, shard, count)
        yield shard + 1


class LatentCorpus:
    """A corpus on disk; pictures and codes are read when they are asked for."""

    def __init__(self, folder: Path, model: FaceModel) -> None:
        """model: whose parameters it holds. UserError where there is no whole corpus, or one of another model."""
        self.folder, told = Path(folder), _read(Path(folder))
        self.settings = LatentCorpusSettings(**{name: told[name] for name in asdict(LatentCorpusSettings())})
        self.generator = GeneratorId(told["generator"], told["generator_fingerprint"])
        self.generator_size = tuple(told["size"])
        self._told = told
        paths = [_shard_path(self.folder, shard) for shard in range(self.settings.shards)]
        if missing := [path.name for path in paths if not path.exists()]:
            raise UserError(f"The corpus '{folder}' is not finished: there is no {missing[0]}. Let its making go on.")
        self._files = [safe_open(path, framework="pt") for path in paths]
        self.points = self._column("points")
        self.side = int(told["pixels"])
        camera = Camera(self._column("focal"), self._column("principal"), (self.side, self.side))
        parts = {name: self._column(name) for name in MOVING}
        self.params = model.check(FaceParams(layout=told["layout"], camera=camera, **parts))
        usable = self._column("found").bool().nonzero().squeeze(1)
        held = usable % VALIDATION == VALIDATION - 1
        self.rows, self.held_out = usable[~held], usable[held]
        if not len(self.rows) or not len(self.held_out):
            raise UserError(
                f"The corpus '{folder}' has {len(usable)} latents with a face, too few to train and to measure with. "
                f"Make at least {2 * VALIDATION}."
            )

    @property
    def fingerprint(self) -> str:
        """Equal for equal corpora, however many latents they hold."""
        said = json.dumps({**self._told, "count": 0}, sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    @property
    def about(self) -> str:
        """One line."""
        return f"{len(self.rows)} mixed latents of '{self.generator.name}' in pictures of {self.side}²"

    def codes(self, rows: Tensor) -> Tensor:
        """[N, L, C] float32."""
        return self._rows("w", rows)

    def pictures(self, rows: Tensor) -> Tensor:
        """[N, 3, S, S] RGB 0…1."""
        return self._rows("pictures", rows).float() / 255

    def _rows(self, name: str, rows: Tensor) -> Tensor:
        chosen = [divmod(int(row), self.settings.shard) for row in rows]
        return torch.stack([self._files[shard].get_slice(name)[row] for shard, row in chosen])

    def _column(self, name: str) -> Tensor:
        return torch.cat([file.get_tensor(name) for file in self._files])[: self.settings.count]


def _make_shard(path: Path, settings: LatentCorpusSettings, eye: Eye, shard: int, count: int) -> None:
    w = mixed_codes(eye.generator, settings, shard, count)
    seen = eye.see(w)
    params = seen.params.map(lambda value: value.expand(count, *value.shape[1:]))
    tensors = {name: getattr(params, name) for name in MOVING}
    tensors |= {"focal": params.camera.focal, "principal": params.camera.principal, "w": w, "points": seen.points}
    tensors |= {"pictures": (seen.pictures * 255).round().byte(), "found": seen.found.byte()}
    save_safetensors(path, {name: value.cpu().contiguous() for name, value in tensors.items()},
                     {"format": "portrait_rig.latent_corpus"})  # fmt: skip


def _told(settings: LatentCorpusSettings, eye: Eye) -> dict[str, object]:
    """What makes a corpus the same as another."""
    return asdict(settings) | {
        "generator": eye.generator.id.name,
        "generator_fingerprint": fingerprint(eye.generator.network.state_dict()),
        "layout": eye.model.layout,
        "regressor": fingerprint(eye.regressor.state_dict()),
        "finder": eye.find is not None,
        "pixels": eye.kept_side,
        "size": list(eye.generator.size),
    }


def _read(folder: Path) -> dict[str, object]:
    try:
        found = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError) as error:
        raise UserError(f"'{folder}' holds no corpus of latents. Train Rig and `train rig` make one.") from error


def _shard_path(folder: Path, shard: int) -> Path:
    return folder / f"{shard:05d}.safetensors"


def _length(path: Path) -> int:
    with safe_open(path, framework="pt") as file:
        return file.get_slice("w").get_shape()[0]
