"""Pictures to train on: a folder, a batch or an endless source; in an order that the seed and the step decide alone.

Nothing here remembers how far a run has come, so a run that goes on sees what it would have seen without the stop.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..errors import UserError

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
CACHE_BYTES = 1 << 30
"""Decoded pictures of a folder that are kept, together; above it, files are read again whenever their turn comes."""
WORKERS = 4
"""Threads that decode pictures; decoding leaves Python's lock, and more than four wait for the disk."""
AHEAD = 2
"""Steps whose pictures are prepared in advance."""
NAMED = 5
"""At most so many unreadable files are named in a message."""
DEEP_MODES = ("I", "F")
"""First letters of Pillow's modes with more than 8 bits a channel, which it cannot bring to 8 without loss of range."""


class PictureSource(Protocol):
    """Pictures by number, all of one size.

    about: one line for people. fingerprint: equal for equal pictures. count: how many, None where they never end and
    number n is simply the n-th. in_order: numbers must be asked for in ascending order to be fast.
    """

    about: str
    fingerprint: str
    count: int | None
    in_order: bool

    def picture(self, number: int) -> Tensor:
        """[3, H, W] uint8 RGB; called from several threads unless `in_order`."""


class FolderPictures:
    """All pictures of a folder and its subfolders, cut to the middle and resized.

    skipped: files that cannot be read, with the reason; they are left out. UserError where nothing is left.
    """

    in_order = False

    def __init__(self, folder: Path, size: tuple[int, int]) -> None:
        """size: (H, W) in pixels."""
        if not folder.is_dir():
            raise UserError(f"There is no folder '{folder}'. Give the folder that holds the pictures to train on.")
        found = files_in(folder)
        if not found:
            raise UserError(
                f"The folder '{folder}' holds no pictures. Put some there, as {', '.join(sorted(EXTENSIONS))}."
            )
        self._size, self._kept_bytes, self._kept = size, 0, {}
        self.skipped: dict[str, str] = {}
        self._paths = [path for path in found if self._is_picture(path, folder)]
        if not self._paths:
            raise UserError(f"None of the {len(found)} pictures in '{folder}' can be read: {named(self.skipped)}.")
        digest = hashlib.sha256(repr(size).encode())
        for path in self._paths:
            digest.update(f"{path.relative_to(folder).as_posix()}\n{path.stat().st_size}\n".encode())
        self.fingerprint = digest.hexdigest()[:16]
        self.count = len(self._paths)
        self.about = f"{self.count} pictures of the folder '{folder.name}'"

    def picture(self, number: int) -> Tensor:
        """Also the next file's, where one was damaged after the folder had been looked through."""
        kept = self._kept.get(number)
        if kept is not None:
            return kept
        for offset in range(self.count):
            path = self._paths[(number + offset) % self.count]
            try:
                with Image.open(path) as file:
                    found = fitted(file, self._size)
                break
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # what Pillow raises
                self.skipped[path.name] = _reason(error)
        else:
            raise UserError(f"No picture of the folder can be read any more: {named(self.skipped)}.")
        if self._kept_bytes + found.numel() <= CACHE_BYTES:
            self._kept_bytes += found.numel()
            self._kept[number] = found
        return found

    def _is_picture(self, path: Path, folder: Path) -> bool:
        """Reads the header only: decoding a large folder takes minutes."""
        try:
            with Image.open(path) as file:
                _refuse_deep(file)
                return True
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            self.skipped[path.relative_to(folder).as_posix()] = _reason(error)
            return False


class BatchPictures:
    """Pictures [N, 3, H, W] RGB 0…1 that are there already, cut to the middle and resized to `size` (H, W)."""

    in_order = False

    def __init__(self, pictures: Tensor, size: tuple[int, int]) -> None:
        if not len(pictures):
            raise UserError("There are no pictures to train on. Connect at least one.")
        bytes_ = (pictures.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        self._pictures = torch.stack([fitted(Image.fromarray(one), size) for one in bytes_])
        self.count = len(self._pictures)
        self.fingerprint = hashlib.sha256(self._pictures.numpy().tobytes()).hexdigest()[:16]
        self.about = f"{self.count} pictures of the graph" if self.count > 1 else "one picture of the graph"

    def picture(self, number: int) -> Tensor:
        return self._pictures[number]


class MadePictures:
    """Pictures made on the spot, without end: `make(n)` gives [3, H, W] RGB 0…1, always the same for the same n."""

    count, in_order = None, False

    def __init__(self, make: Callable[[int], Tensor], about: str) -> None:
        """about: says what is made, with every setting of the maker, since it is also the fingerprint."""
        self._make, self.about = make, about
        self.fingerprint = hashlib.sha256(about.encode()).hexdigest()[:16]

    def picture(self, number: int) -> Tensor:
        return (self._make(number).clamp(0, 1) * 255).round().byte().cpu()


class StreamedPictures:
    """Pictures [3, H, W] RGB 0…1 of an iterable in its own order, from its start again when it ends.

    An earlier number starts it anew, so it must give the same pictures every time; a generator function does when it is
    passed as `lambda: generator()`.
    """

    count, in_order = None, True

    def __init__(self, start: Callable[[], Iterable[Tensor]], about: str) -> None:
        """about: as for `MadePictures`."""
        self._start, self.about = start, about
        self.fingerprint = hashlib.sha256(about.encode()).hexdigest()[:16]
        self._next, self._pictures = 0, iter(())
        self._lock = threading.Lock()

    def picture(self, number: int) -> Tensor:
        with self._lock:
            if number < self._next or self._next == 0:
                self._next, self._pictures = 0, iter(self._start())
            while self._next <= number:
                found = next(self._pictures, None)
                if found is None:
                    self._pictures = iter(self._start())
                    found = next(self._pictures, None)
                if found is None:
                    raise UserError(f"The source of pictures ({self.about}) is empty.")
                self._next += 1
            return (found.clamp(0, 1) * 255).round().byte().cpu()


class Feed:
    """The pictures of every step, prepared ahead by threads.

    Sources that end are gone through in a new random order every time, with `mirror` every picture also mirrored.
    Several processes (`rank` of `processes`) share each step's pictures between them.
    """

    def __init__(
        self,
        source: PictureSource,
        batch: int,
        seed: int = 0,
        mirror: bool = False,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        """batch: pictures of all processes together; they must be able to share it evenly."""
        self._source, self._batch, self._seed, self._mirror = source, batch, seed, mirror
        self._rank, self._processes = rank, processes
        self._orders: dict[int, Tensor] = {}
        self._pending: dict[int, list[Future[Tensor]]] = {}
        self._pool = ThreadPoolExecutor(1 if source.in_order else WORKERS, thread_name_prefix="pictures")

    def at(self, step: int) -> Tensor:
        """[batch / processes, 3, H, W] uint8, this process's pictures of a step, counted from 0."""
        for ahead in range(step, step + AHEAD + 1):
            if ahead not in self._pending:
                self._pending[ahead] = [self._pool.submit(self._one, place) for place in self._places(ahead)]
        for other in [key for key in self._pending if not step <= key <= step + AHEAD]:
            for future in self._pending.pop(other):
                future.cancel()
        return torch.stack([future.result() for future in self._pending.pop(step)])

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def order(self, places: Sequence[int]) -> list[tuple[int, bool]]:
        """(picture's number, mirrored?) at places of the endless sequence; a function of the seed alone."""
        count = self._source.count
        if count is None:
            flips = (np.random.SeedSequence((self._seed, place)).generate_state(1)[0] & 1 for place in places)
            return [(place, self._mirror and bool(flip)) for place, flip in zip(places, flips, strict=True)]
        total = count * 2 if self._mirror else count
        chosen = [int(self._shuffled(place // total, total)[place % total]) for place in places]
        return [(index % count, index >= count) for index in chosen]

    def _places(self, step: int) -> Iterator[tuple[int, bool]]:
        share = self._batch // self._processes
        first = step * self._batch + self._rank * share
        return iter(self.order(range(first, first + share)))

    def _one(self, chosen: tuple[int, bool]) -> Tensor:
        number, mirrored = chosen
        picture = self._source.picture(number)
        return picture.flip(2) if mirrored else picture

    def _shuffled(self, epoch: int, total: int) -> Tensor:
        """[total], the order in which the pictures come the `epoch`-th time; the two newest are kept."""
        if epoch not in self._orders:
            self._orders = {key: order for key, order in self._orders.items() if abs(key - epoch) <= 1}
            random = torch.Generator().manual_seed(mixed_seed(self._seed, epoch))
            self._orders[epoch] = torch.randperm(total, generator=random)
        return self._orders[epoch]


def files_in(folder: Path) -> list[Path]:
    """The pictures of a folder and its subfolders, by their names, in an order that is the same on every system."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS and path.is_file())
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def mixed_seed(*numbers: int) -> int:
    """One seed for PyTorch out of several non-negative numbers; close numbers give unrelated seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def fitted(image: Image.Image, size: tuple[int, int]) -> Tensor:
    """The largest part of the middle with the shape of `size` (H, W), resized: [3, H, W] uint8 RGB.

    Turned as the camera's note (EXIF) says; what is transparent becomes white. Lanczos, which averages when it shrinks.
    """
    _refuse_deep(image)
    image = ImageOps.exif_transpose(image)
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
    height, width = size
    scale = min(image.width / width, image.height / height)
    left, top = (image.width - width * scale) / 2, (image.height - height * scale) / 2
    box = (left, top, left + width * scale, top + height * scale)
    image = image.resize((width, height), Image.Resampling.LANCZOS, box=box)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def named(skipped: dict[str, str]) -> str:
    """'a.png (why), b.png (why) and 3 more'."""
    shown = [f"{name} ({reason})" for name, reason in list(skipped.items())[:NAMED]]
    return ", ".join(shown) + (f" and {len(skipped) - NAMED} more" if len(skipped) > NAMED else "")


def _refuse_deep(image: Image.Image) -> None:
    if image.mode[0] in DEEP_MODES:
        raise ValueError("more than 8 bits a channel")


def _reason(error: Exception) -> str:
    """A few words in place of Pillow's message, which may hold the whole path."""
    return str(error) if type(error) is ValueError else "not a readable picture"
