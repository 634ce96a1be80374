"""A rig at a glance: a person in a grid of poses and expressions, or of lights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..errors import UserError
from ..face.edit import MOODS
from ..face.model import FaceModel
from ..types import Latent
from .fit.frames import join
from .latents import joined
from .rig import PASSES, SLIDER_REACH, Rig, edit, read_params
from .rig_wishes import Lamp, Sliders, wished


@dataclass(frozen=True)
class Row:
    """One row of a sheet: a caption, and what is asked for in each of its pictures."""

    caption: str
    cells: tuple[Sliders, ...]


def pose_rows(columns: int, rows: int, yaw: float, mood: str, weakest: float, strongest: float) -> list[Row]:
    """From row to row a mood of `MOODS` from `weakest` to `strongest`, from left to right the head from −yaw to yaw.

    yaw: degrees, the head's own angle; its pitch and roll stay. The mood is added to the person's own expression.
    """
    if mood not in MOODS:
        raise UserError(f"'{mood}' is no mood; there are {', '.join(MOODS)}.")
    across = evenly(-yaw, yaw, columns)
    return [
        Row(
            f"{mood.replace('_', ' ')} {value:+.2f}, yaw {_span(across)}",
            tuple(Sliders(yaw=angle, posed=True, moods={mood: value}) for angle in across),
        )
        for value in evenly(weakest, strongest, rows)
    ]


def light_rows(
    columns: int, rows: int, azimuth: float, elevations: tuple[float, float], strength: float, ambient: float
) -> list[Row]:
    """In each row light from the left, −azimuth, to the right, azimuth; from row to row from first to last elevation.

    Degrees and strengths as in `core.face.edit.lit`; no other light is left.
    """
    across = evenly(-azimuth, azimuth, columns)
    return [
        Row(
            f"light from {height:.0f}° above, {_span(across)} across",
            tuple(Sliders(lamp=Lamp(angle, height, strength, ambient)) for angle in across),
        )
        for height in evenly(*elevations, rows)
    ]


def edited(
    rig: Rig,
    latent: Latent,
    rows: Sequence[Row],
    model: FaceModel | None,
    strength: float = 1.0,
    passes: int = PASSES,
) -> Latent:
    """Every latent in every cell: B · cells codes, person by person, row by row. strength, passes: as in `edit`.

    model: that of the rig; needed for rows of moods. UserError for no latent and for another generator's.
    """
    if not len(latent):
        raise UserError("There is no latent to edit. Connect at least one.")
    cells = [cell for row in rows for cell in row.cells]
    components = set().union(*(cell.components for cell in cells))
    people = []
    for number in range(len(latent)):
        person = latent[number : number + 1]
        own = read_params(rig, person)
        wanted = join([wished(rig, own, cell, model=model)[0] for cell in cells])
        many = replace(person, w=person.w.expand(len(cells), -1, -1))
        people.append(edit(rig, many, wanted, components, strength, passes, SLIDER_REACH))
    return joined(*people)


def evenly(first: float, last: float, count: int) -> list[float]:
    """`count` numbers from first to last at equal distances; one alone is the middle."""
    if count == 1:
        return [(first + last) / 2]
    return [first + (last - first) * i / (count - 1) for i in range(count)]


def _span(values: Iterable[float]) -> str:
    """'-25° … 25°', or the one angle."""
    ends = [f"{value:.0f}°" for value in values]
    return ends[0] if len(ends) == 1 else f"{ends[0]} … {ends[-1]}"
