"""Progress in the terminal: a bar for the node at work, a line for each that is done."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from tqdm import tqdm

from ..nodes import host
from .graph import Node

FORMAT = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]"


class Terminal:
    """Reports to `stream`; moving bars only where it is a screen."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = sys.stderr if stream is None else stream
        self._screen = self.stream.isatty()
        self._bar: tqdm | None = None
        self._head = ""

    def __enter__(self) -> Terminal:
        host.on_progress(self.progress)
        return self

    def __exit__(self, *_: object) -> None:
        host.on_progress(None)
        self._close()

    def started(self, node: Node, number: int, total: int) -> None:
        self._head = f"[{number}/{total}] {node.title}"
        if self._screen:
            self._bar = tqdm(desc=self._head, total=1, file=self.stream, leave=False, bar_format=FORMAT)

    def progress(self, value: float, total: float, preview: Any = None, node_id: str | None = None) -> None:
        """ComfyUI's progress hook."""
        if self._bar is not None:
            self._bar.total = total
            self._bar.n = value
            self._bar.refresh()

    def finished(self, node: Node, seconds: float, cached: bool) -> None:
        self._close()
        print(f"{self._head}: {'unchanged' if cached else f'{seconds:.1f} s'}", file=self.stream)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
