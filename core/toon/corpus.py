"""A corpus: very many pictures of the toon world with their truth, rendered once and kept on disk for training.

Picture n shows person n // moments at moment n % moments. A moment is another view, mood and light, and, from the
second on, another outfit and sometimes other hair; the last moment of a corpus with `bare` is the head alone, as face
models draw it. Shards are files of their own, so a stopped rendering goes on, and a corpus that is still being
rendered can be used already.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from ..checkpoints import save_safetensors
from ..errors import UserError
from ..files import replacing
from .world.render import Snapshot, ToonWorld
from .world.sampling import scene
from .world.scene import Scene
from .world.vector import scene_vector

SETTINGS = "corpus.json"
HELD_OUT = 1_000_000
"""People of seeds from here on are never trained on; everything is measured with them."""
MOMENT_SEEDS = 1 << 32
"""Seeds of moments begin here, so that they are no one's own."""
PORTRAIT, BARE, FIGURE = range(3)
"""Kinds of pictures."""
RESTYLED = 3
"""Every so-manieth further moment also shows another hair style."""
PARAMETERS = ("identity", "expression", "albedo", "joints", "angles", "translation", "light")
"""Of `FaceParams`, kept of every picture; its camera as 'focal' and 'principal'."""


@dataclass(frozen=True)
class CorpusSettings:
    """What is rendered.

    people, moments: how many, and pictures of each. size: pixels of a picture's height. figures: whole people, half as
    wide as high. bare: the last moment is the bare head. first: seed of the first person. shard: pictures of a file.
    """

    people: int
    moments: int = 4
    size: int = 128
    figures: bool = False
    bare: bool = True
    first: int = 0
    shard: int = 256

    def __post_init__(self) -> None:
        if min(self.people, self.moments, self.size, self.shard) < 1 or self.first < 0:
            raise UserError("A corpus needs people, moments, a size and shards of 1 or more, and a first seed from 0.")

    @property
    def count(self) -> int:
        """Pictures."""
        return self.people * self.moments

    @property
    def shards(self) -> int:
        """Files."""
        return -(-self.count // self.shard)

    def scene_of(self, number: int) -> tuple[Scene, int]:
        """The scene of picture `number`, and its kind."""
        person, moment = divmod(number, self.moments)
        drawn = scene(self.first + person)
        if moment == 0:
            return drawn, FIGURE if self.figures else PORTRAIT
        seed = MOMENT_SEEDS + (self.first + person) * 64 + moment
        drawn = drawn.varied(seed, outfit=True, hair=seed % RESTYLED == 0)
        if self.bare and not self.figures and moment == self.moments - 1:
            return drawn.bare(), BARE
        return drawn, FIGURE if self.figures else PORTRAIT


def render_corpus(folder: Path, settings: CorpusSettings, workers: int = 1) -> Iterator[int]:
    """Renders what is missing, with so many processes, and yields how many shards there are, after each one.

    UserError where the folder holds another corpus. Closing the generator stops the work between two shards.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / SETTINGS
    wanted = asdict(settings)
    if kept.exists():
        found = read_settings(folder)
        if asdict(found) | {"people": settings.people} != wanted:
            raise UserError(f"'{folder}' holds another corpus: {asdict(found)}. Choose another folder.")
    with replacing(kept) as path:
        path.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")
    missing = [shard for shard in range(settings.shards) if not shard_path(folder, shard).exists()]
    done = settings.shards - len(missing)
    yield done
    if workers <= 1:
        world = ToonWorld.load()
        for shard in missing:
            _render_shard(world, folder, settings, shard)
            done += 1
            yield done
        return
    work = [(folder, settings, shard) for shard in missing]
    with multiprocessing.get_context("spawn").Pool(workers, _begin_worker) as pool:
        for _ in pool.imap_unordered(_work, work):
            done += 1
            yield done


def read_settings(folder: Path) -> CorpusSettings:
    """Of the corpus in a folder; UserError where there is none."""
    try:
        return CorpusSettings(**json.loads((folder / SETTINGS).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"'{folder}' holds no corpus of the toon world. Render one with: "
            f"python -m portrait_rig toon-corpus --out {folder}"
        ) from error


def shard_path(folder: Path, shard: int) -> Path:
    """Where the pictures `shard * settings.shard …` are."""
    return folder / f"{shard:05d}.safetensors"


class Corpus:
    """A corpus on disk, as far as it is rendered without a gap; nothing is read before it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.settings = Path(folder), read_settings(Path(folder))
        self._files: dict[int, safe_open] = {}
        self.count = 0
        self.refresh()
        if not self.count:
            raise UserError(f"The corpus '{folder}' has no pictures yet. Let its rendering go on.")

    def refresh(self) -> int:
        """Looks whether more has been rendered; the count of pictures."""
        while shard_path(self.folder, len(self._files)).exists():
            shard = len(self._files)
            self._files[shard] = safe_open(shard_path(self.folder, shard), framework="pt")
        self.count = min(len(self._files) * self.settings.shard, self.settings.count)
        return self.count

    @property
    def fingerprint(self) -> str:
        """Equal for equal corpora, however far they are rendered."""
        said = {**asdict(self.settings), "people": 0}
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]

    def pictures(self, rows: Sequence[int] | Tensor) -> Tensor:
        """[N, 3, H, W] uint8 RGB."""
        chosen = [divmod(int(row), self.settings.shard) for row in rows]
        return torch.stack([self._files[shard].get_slice("pictures")[row] for shard, row in chosen])

    def truth(self, name: str) -> Tensor:
        """[count, …] of every picture: one of PARAMETERS, 'focal', 'principal', 'landmarks68' [68, 2] pixels, 'scene'
        (`world.vector`), 'person' (seed), 'moment', 'kind' (PORTRAIT, BARE, FIGURE).
        """
        return torch.cat([file.get_tensor(name) for file in self._files.values()])[: self.count]


def _render_shard(world: ToonWorld, folder: Path, settings: CorpusSettings, shard: int) -> None:
    numbers = range(shard * settings.shard, min((shard + 1) * settings.shard, settings.count))
    columns: dict[str, list[Tensor]] = {}
    with torch.inference_mode():
        for number in numbers:
            drawn, kind = settings.scene_of(number)
            shot = world.snapshot(drawn, settings.size, figure=settings.figures, plain=kind == BARE)
            person, moment = divmod(number, settings.moments)
            row = _truth(shot, scene_vector(drawn, figure=settings.figures))
            row |= {"person": torch.tensor(settings.first + person), "moment": torch.tensor(moment)}
            row["kind"] = torch.tensor(kind)
            for name, value in row.items():
                columns.setdefault(name, []).append(value)
    tensors = {name: torch.stack(values) for name, values in columns.items()}
    save_safetensors(shard_path(folder, shard), tensors, {"format": "portrait_rig.toon_corpus"})


def _truth(shot: Snapshot, vector: list[float]) -> dict[str, Tensor]:
    params = shot.params
    row = {name: getattr(params, name)[0] for name in PARAMETERS}
    row |= {"focal": params.camera.focal[0], "principal": params.camera.principal[0]}
    pixels = (shot.picture.clamp(0, 1) * 255).round().byte()
    return row | {"pictures": pixels, "landmarks68": shot.landmarks68, "scene": torch.tensor(vector)}


_world: ToonWorld | None = None
"""Of a worker process."""


def _begin_worker() -> None:
    global _world
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    _world = ToonWorld.load()


def _work(job: tuple[Path, CorpusSettings, int]) -> int:
    assert _world is not None
    _render_shard(_world, *job)
    return job[2]
