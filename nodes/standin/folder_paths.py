"""Stands in for ComfyUI's `folder_paths`: where inputs, outputs and models lie.

Inputs and outputs are the folders `input` and `output` of the current directory, models the folder that the environment
variable PORTRAIT_RIG_MODELS names, else the user's data folder.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

MODELS_VARIABLE = "PORTRAIT_RIG_MODELS"

folder_names_and_paths: dict[str, tuple[list[str], set[str]]] = {}
_chosen: dict[str, str] = {}


def _data_folder() -> Path:
    """Where this system keeps a user's application data."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")


models_dir = os.environ.get(MODELS_VARIABLE) or str(_data_folder() / "portrait_rig" / "models")


def set_input_directory(input_dir: str) -> None:
    _chosen["input"] = input_dir


def set_output_directory(output_dir: str) -> None:
    _chosen["output"] = output_dir


def set_temp_directory(temp_dir: str) -> None:
    _chosen["temp"] = temp_dir


def get_input_directory() -> str:
    return _chosen.get("input", os.path.abspath("input"))


def get_output_directory() -> str:
    return _chosen.get("output", os.path.abspath("output"))


def get_temp_directory() -> str:
    return _chosen.get("temp", os.path.join(get_output_directory(), "previews"))


def get_filename_list(folder_name: str) -> list[str]:
    """Files below the folders of that name, relative to them, sorted."""
    paths, extensions = folder_names_and_paths[folder_name]
    found: set[str] = set()
    for folder in map(Path, paths):
        if folder.is_dir():
            found.update(
                str(path.relative_to(folder))
                for path in folder.rglob("*")
                if path.is_file() and (not extensions or path.suffix.lower() in extensions)
            )
    return sorted(found)


def get_full_path(folder_name: str, filename: str) -> str | None:
    """The first file of that name in the folders, or None."""
    for folder in folder_names_and_paths[folder_name][0]:
        path = os.path.join(folder, filename)
        if os.path.isfile(path):
            return path
    return None


def annotated_filepath(name: str) -> tuple[str, str | None]:
    """'a.png [output]' -> ('a.png', the output folder); the folder is None without a mark."""
    for mark, folder in (
        ("[output]", get_output_directory),
        ("[input]", get_input_directory),
        ("[temp]", get_temp_directory),
    ):
        if name.endswith(mark):
            return name[: -len(mark)].rstrip(), folder()
    return name, None


def get_save_image_path(
    filename_prefix: str, output_dir: str, image_width: int = 0, image_height: int = 0
) -> tuple[str, str, int, str, str]:
    """(folder, file name without its number, next free number, folder below `output_dir`, prefix); makes the folder."""
    now = time.localtime()
    values = {"width": str(image_width), "height": str(image_height), "year": str(now.tm_year)}
    parts = {"month": now.tm_mon, "day": now.tm_mday, "hour": now.tm_hour, "minute": now.tm_min, "second": now.tm_sec}
    for name, value in {**values, **{name: f"{number:02d}" for name, number in parts.items()}}.items():
        filename_prefix = filename_prefix.replace(f"%{name}%", value)

    output_dir = os.path.abspath(output_dir)
    subfolder, filename = os.path.split(os.path.normpath(filename_prefix))
    folder = os.path.abspath(os.path.join(output_dir, subfolder))
    try:
        inside = os.path.commonpath((output_dir, folder)) == output_dir
    except ValueError:  # another drive
        inside = False
    if not inside:
        raise ValueError(f"Saving outside the output folder is not allowed: {folder} is not in {output_dir}.")
    os.makedirs(folder, exist_ok=True)
    return folder, filename, _next_number(folder, filename), subfolder, filename_prefix


def _next_number(folder: str, filename: str) -> int:
    """One more than the highest number among '<filename>_<number>_….*'."""
    start = os.path.normcase(filename) + "_"
    numbers = [
        rest.split("_")[0]
        for entry in os.listdir(folder)
        if (name := os.path.normcase(entry)).startswith(start) and (rest := name[len(start) :])
    ]
    return max((int(number) for number in numbers if number.isdecimal()), default=0) + 1
