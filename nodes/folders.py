"""The host's folders: models by name, inputs, and the next free file of an output; no path leads out of them."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import UserError
from .host import folder_paths

PACK = Path(__file__).resolve().parent.parent
WEIGHTS = PACK / "weights"
"""What the pack embeds."""
MODEL_FOLDER = "portrait_rig"
"""Name of the pack's folder among the host's model folders."""
INSIGHTFACE_FOLDER = "insightface"
"""The model folder where many packs expect insightface's files (buffalo_l, antelopev2), though few register it."""
MODEL_EXTENSIONS = {".safetensors", ".pt", ".pth", ".tar", ".pkl", ".mat", ".npz", ".npy", ".onnx", ".obj"}


def use_folders(inputs: Path, outputs: Path) -> None:
    """Where inputs are looked for and outputs written, previews below them; for running without a server."""
    folder_paths.set_input_directory(os.path.abspath(inputs))
    folder_paths.set_output_directory(os.path.abspath(outputs))
    folder_paths.set_temp_directory(os.path.join(os.path.abspath(outputs), "previews"))


def register_model_folder() -> None:
    """Makes `models/portrait_rig`, the pack's weights and `models/insightface` known; keeps what is configured."""
    paths = list(folder_paths.folder_names_and_paths.get(MODEL_FOLDER, ([], set()))[0])
    for path in (os.path.join(folder_paths.models_dir, MODEL_FOLDER), str(WEIGHTS)):
        if path not in paths:
            paths.append(path)
    folder_paths.folder_names_and_paths[MODEL_FOLDER] = (paths, set(MODEL_EXTENSIONS))
    if INSIGHTFACE_FOLDER not in folder_paths.folder_names_and_paths:
        home = os.path.join(folder_paths.models_dir, INSIGHTFACE_FOLDER)
        folder_paths.folder_names_and_paths[INSIGHTFACE_FOLDER] = ([home], {".onnx"})


def model_names(
    extensions: Collection[str] = MODEL_EXTENSIONS, folder_with: str | None = None, also: Collection[str] = ()
) -> list[str]:
    """Files in the model folders with one of the extensions; with `folder_with`, also folders that hold such a file.

    also: names of other packs' model folders to look into, those that the host knows.
    """
    files = [name for folder in _model_folders(also) for name in folder_paths.get_filename_list(folder)]
    names = {name for name in files if Path(name).suffix.lower() in extensions}
    if folder_with is not None:
        names |= {str(Path(name).parent) for name in files if Path(name).name == folder_with} - {"."}
    return sorted(names)


def model_path(name: str, origin: str = "", licence: str = "", also: Collection[str] = ()) -> Path:
    """The file (or folder) `name` in the model folders, the pack's own first. also: as in `model_names`.

    UserError says where to put it and, where given, who publishes it and under which licence.
    """
    folders = [Path(path) for key in _model_folders(also) for path in folder_paths.folder_names_and_paths[key][0]]
    for folder in folders:
        path = folder / name
        if path.exists() and _inside(path, folder):
            return path
    where = f" Its origin: {origin}." if origin else ""
    terms = f" Its licence: {licence}." if licence else ""
    raise UserError(f"The model file '{name}' is missing. Put it into {folders[0]}.{where}{terms}")


def model_output_path(prefix: str, extension: str) -> Path:
    """The next free file '<prefix>_<number>_<extension>' in the pack's own model folder; makes the folder.

    UserError where the prefix leads out of it.
    """
    register_model_folder()
    return _next_file(Path(folder_paths.folder_names_and_paths[MODEL_FOLDER][0][0]), "model", prefix, extension).path


def _model_folders(also: Collection[str]) -> list[str]:
    """The host's names of our model folder and of those others that it knows."""
    register_model_folder()
    return [MODEL_FOLDER, *(name for name in also if name in folder_paths.folder_names_and_paths)]


def input_names(extensions: Collection[str]) -> list[str]:
    """Files of the host's input folder with one of the extensions, sorted."""
    folder = Path(folder_paths.get_input_directory())
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(path.name for path in found if path.is_file() and path.suffix.lower() in extensions)


def marked_folder(name: str) -> tuple[str, Path | None]:
    """'a.png [output]' -> ('a.png', the output folder); None as the folder of a name without a mark."""
    bare, folder = folder_paths.annotated_filepath(name)
    return bare, None if folder is None else Path(folder)


def input_path(name: str) -> Path:
    """The file that the user named in the input folder ('name [output]' in the output folder).

    UserError where it is absent or lies outside those folders.
    """
    bare, folder = marked_folder(name)
    folder = folder or Path(folder_paths.get_input_directory())
    path = folder / bare
    if not _inside(path, folder):
        raise UserError(f"The file '{name}' lies outside {folder}. Only files in that folder may be read.")
    if not path.is_file():
        raise UserError(f"There is no file '{name}' in {folder}. Put it there, or choose another.")
    return path


def input_folder(name: str) -> Path:
    """The folder `name` inside the input folder; links in it may lead elsewhere.

    UserError where none is named, where it is absent or where it lies outside.
    """
    root = Path(folder_paths.get_input_directory())
    path = root / name
    if not name.strip() or not _inside(path, root):
        raise UserError(f"'{name}' is no folder inside {root}. Give the name of one, or make a link to yours there.")
    if not path.is_dir():
        raise UserError(f"There is no folder '{name}' in {root}. Put it there, or make a link to yours.")
    return path


@dataclass(frozen=True)
class OutputFile:
    """A file to be written: where, and what the browser is told about it (`result`)."""

    path: Path
    subfolder: str

    @property
    def result(self) -> dict[str, str]:
        return {"filename": self.path.name, "subfolder": self.subfolder, "type": "output"}

    @property
    def name(self) -> str:
        """As `input_path` takes it: the path in the output folder and ' [output]'."""
        return "/".join(filter(None, (self.subfolder.replace("\\", "/"), self.path.name))) + " [output]"


def file_state(path: Path) -> tuple[str, int, float]:
    """What a node's `fingerprint_inputs` returns for a file it reads, so that one written anew is read anew."""
    state = path.stat()
    return str(path), state.st_size, state.st_mtime


def input_state(name: str | None) -> object:
    """`file_state` of a file that `input_path` finds; None where none is named."""
    return file_state(input_path(name)) if name else None


def output_path(prefix: str, extension: str, size: tuple[int, int] = (0, 0)) -> OutputFile:
    """The next free file '<prefix>_<number>_<extension>' in the output folder; makes the folder.

    prefix: may hold folders and the host's marks such as %year%. extension: with its dot. size: (H, W) for %height% and
    %width%. UserError where the prefix leads out of the output folder.
    """
    return _next_file(Path(folder_paths.get_output_directory()), "output", prefix, extension, size)


def _next_file(root: Path, what: str, prefix: str, extension: str, size: tuple[int, int] = (0, 0)) -> OutputFile:
    root = Path(os.path.abspath(root))
    if not _inside(root / prefix, root):
        raise UserError(f"The file name '{prefix}' leads out of the {what} folder {root}. Choose one inside it.")
    folder, name, number, subfolder, _ = folder_paths.get_save_image_path(prefix, str(root), size[1], size[0])
    return OutputFile(Path(folder) / f"{name}_{number:05d}_{extension}", subfolder)


def output_folder(name: str) -> Path:
    """The folder `name` inside the output folder, which may not exist yet; for work that is gone on with.

    UserError where it leads out of the output folder, or is that folder itself.
    """
    root = Path(os.path.abspath(folder_paths.get_output_directory()))
    path = Path(os.path.abspath(root / name))
    if path == root or not _inside(path, root):
        raise UserError(f"The name '{name}' leads out of the output folder {root}. Choose one inside it.")
    return path


def result_path(result: Mapping[str, str]) -> Path:
    """Where the file lies that the browser was told about as `result`."""
    temporary = result.get("type") == "temp"
    root = folder_paths.get_temp_directory() if temporary else folder_paths.get_output_directory()
    return Path(root) / result.get("subfolder", "") / result["filename"]


def _inside(path: Path, folder: Path) -> bool:
    """Whether `path` stays in `folder`, once '..' and links are resolved the same way for both."""
    path, folder = os.path.abspath(path), os.path.abspath(folder)
    try:
        return os.path.commonpath((path, folder)) == folder
    except ValueError:  # another drive
        return False
