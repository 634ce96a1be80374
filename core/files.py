"""Writing files so that a cancel, a full disk or a crash leaves the old file whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a path beside `path`, with its suffix, to write to; it takes the place of `path` when the block succeeds.

    On any exception, KeyboardInterrupt included, the new file is removed and the old one stays. Makes missing folders.
    Close what you opened before the block ends: Windows renames no open file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    written = Path(name)
    try:
        yield written
        os.chmod(written, 0o666 & ~_umask())  # mkstemp makes it private
        os.replace(written, path)
    except BaseException:
        with suppress(OSError):
            written.unlink()
        raise


def _umask() -> int:
    """The bits that new files of this process lack; there is no way to ask without setting."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
