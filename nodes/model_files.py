"""The files that a loader offers: those of its kind that come with the pack, then those of the user."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import folders
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
