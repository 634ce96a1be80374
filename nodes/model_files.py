"""What loaders share: the files that they offer, those of the pack before the user's, and a node that loads one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from . import folders, host
from .host import io


@dataclass(frozen=True)
class ModelFiles:
    """Which files a loader takes, and where they lie.

    default: name of the embedded file. extensions: of its kind, in lower case and with their dots. folder_with: folders
    that hold a file of this name count as files. also: names of other packs' model folders to look into. origin,
    licence: of published files, for the sentence about a missing one.
    """

    default: str
    extensions: Collection[str]
    folder_with: str | None = None
    also: Sequence[str] = ()
    origin: str = ""
    licence: str = ""

    def choice(self, tooltip: str, more: Sequence[str] = ()) -> io.Input:
        """The input `file`. more: choices between the default and the user's files.

        The default and those are offered even where there is no such file; what the pack embeds of other kinds is not.
        """
        embedded = [self.default, *more]
        own = {path.name for path in folders.WEIGHTS.glob("*")}.union(embedded)
        found = folders.model_names(self.extensions, self.folder_with, self.also)
        options = [*embedded, *(name for name in found if name not in own)]
        return io.Combo.Input("file", options=options, default=self.default, tooltip=tooltip)

    def path(self, name: str) -> Path:
        """Where the chosen file lies; UserError says where to put a missing one."""
        return folders.model_path(name, self.origin, self.licence, self.also)

    def state(self, name: str | None) -> object:
        """For `fingerprint_inputs`: changes when the chosen file is replaced; None where none is chosen yet."""
        return None if name is None else folders.file_state(self.path(name))


class LoaderNode(io.ComfyNode):
    """A node whose one input is a file, and whose outputs are what it holds and a text about that.

    A subclass has a schema beside these. files: that it offers. read_file: gives what a file holds, which tells of
    itself by `describe()`; UserError where it is damaged or something else.
    """

    files: ClassVar[ModelFiles]
    read_file: ClassVar[Callable[[Path], Any]]

    @classmethod
    def about(cls, held: Any) -> str:
        """What was recognised, for people."""
        return held.describe()

    @classmethod
    def fingerprint_inputs(cls, file: str | None = None) -> object:
        """A file that was replaced is loaded anew."""
        return cls.files.state(file)

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        with host.loading():
            held = cls.read_file(cls.files.path(file))
        about = cls.about(held)
        return io.NodeOutput(held, about, ui=host.show_text(about))
