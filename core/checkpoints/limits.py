"""How far a foreign file may go: the limits of every reader, and the error that names what went wrong.

Readers see bytes that anybody may have written. Whatever they allocate or repeat is paid for here first, so a small
file cannot ask for much memory or time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

MAX_TENSOR_BYTES = 16 << 30
"""All tensors of one file together, bytes. The largest published files of these families are below 2 GB."""

AMPLIFICATION = 8
"""Bytes in memory for each byte the file declares: a pickled array is held as text, as bytes and as the tensor."""

FREE_BYTES = 64 << 20
"""Bytes that even a tiny file may take, e.g. for a sparse matrix spread out."""

MAX_STEPS = 10_000_000
"""Pickle instructions and values visited in one file. 10,000 records of 80 attributes, the most talkative genuine file,
take 3 million."""

MAX_DEPTH = 64
"""Containers inside containers. Networks nest below 20; Python gives up near 1,000."""

MAX_NAME = 512
"""Characters of one dotted tensor name."""

MAX_TENSORS = 200_000
"""Tensors in one file. StyleGAN3 with optimisers holds below 2,000; 10,000 latents may each be one."""

MAX_DIMENSIONS = 32
"""NumPy's own limit before version 2."""

MAX_EXTENT = 1 << 48
"""Elements along one dimension, so that no product overflows in the libraries below."""


class UnreadableError(Exception):
    """What is wrong with a file, as the rest of a sentence that begins with its name; `read` makes it a UserError."""


def damaged(detail: str) -> UnreadableError:
    return UnreadableError(f"is damaged: {detail}. Download or export it again.")


def quoted(text: object, longest: int = 80) -> str:
    """`text` in quotes, one line, shortened: names inside a hostile file may be anything."""
    shown = str(text)[: longest + 1].encode("unicode_escape").decode("ascii")
    return f"'{shown}'" if len(shown) <= longest else f"'{shown[:longest]}…'"


class Budget:
    """What reading one file may still cost."""

    def __init__(self, declared: int) -> None:
        """declared: bytes the file holds, unpacked."""
        self.bytes_left = min(MAX_TENSOR_BYTES, AMPLIFICATION * declared + FREE_BYTES)
        self.steps_left = MAX_STEPS

    def spend_bytes(self, count: int) -> None:
        self.bytes_left -= count
        if self.bytes_left < 0:
            raise UnreadableError(
                f"asks for more memory than its size can explain (limit {MAX_TENSOR_BYTES >> 30} GiB in all). "
                "It is damaged or made to fill the memory; use the authors' own file."
            )

    def spend_steps(self, count: int = 1) -> None:
        self.steps_left -= count
        if self.steps_left < 0:
            raise UnreadableError(
                f"holds more than {MAX_STEPS:,} values, more than weights need. Use the authors' own file."
            )


def checked_shape(shape: object) -> tuple[int, ...]:
    """`shape` as a tuple of sizes; UnreadableError where it is not one or absurd."""
    sizes = tuple(shape) if isinstance(shape, Sequence) and not isinstance(shape, str | bytes | bytearray) else None
    if sizes is None or len(sizes) > MAX_DIMENSIONS or not all(type(size) is int for size in sizes):
        raise damaged("the shape of an array is not a list of sizes")
    if any(not 0 <= size <= MAX_EXTENT for size in sizes) or math.prod(size or 1 for size in sizes) > MAX_EXTENT:
        raise damaged(f"an array claims the shape {quoted(list(sizes))}")
    return sizes
