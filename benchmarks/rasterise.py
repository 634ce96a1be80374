"""How long a picture takes to rasterise: ours, PyTorch3D where it is installed, and two plain loops, side by side.

`python benchmarks/rasterise.py` prints a table, `--write` also puts it into `rasterise.md` beside this file. Every line
is measured in a process of its own, so that its peak memory is its own. Times are the least of several runs, because
whatever else the machine does can only add to them; "CPU" adds up all threads, feels other load least, and is what the
contenders are compared by. What is timed finds winners, barycentrics and depth of one frame.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

import pack  # noqa: E402
from plain_raster import plain_rasterise  # noqa: E402

CASES = ((8_000, 224), (8_000, 512), (72_000, 224), (72_000, 512))
"""Triangles and the picture's side in pixels."""
SMALL = (440, 48)
"""The case for the loop over pixels, which takes time in proportion to triangles times pixels."""
COLUMNS = ("triangles", "picture", "", "time", "CPU", "CPU to ours", "runs", "memory", "same winners")
PATIENCE = 6.0
"""Seconds of runs after which no further one is started."""
MOST_RUNS = 100


@dataclass(frozen=True)
class Measured:
    """One line: seconds of the fastest run and of its processors, runs, MB on top of the inputs, winners [H, W]."""

    seconds: float
    cpu_seconds: float
    runs: int
    megabytes: float
    winners: Tensor


def head(triangles: int, side: int) -> tuple[Tensor, Tensor]:
    """A dented ball of about `triangles` that fills most of a picture: screen [1, V, 3] and faces [F, 3], float32."""
    rings = round((triangles / 2 / 1.2) ** 0.5)
    spokes = round(triangles / 2 / rings)
    latitude = torch.linspace(1e-3, torch.pi - 1e-3, rings + 1)[:, None]
    longitude = torch.arange(spokes) * (2 * torch.pi / spokes)
    radius = 1 + 0.08 * torch.sin(5 * longitude) * torch.sin(3 * latitude)
    x, y = radius * latitude.sin() * longitude.cos(), radius * latitude.cos()
    z = radius * latitude.sin() * longitude.sin()
    depth = 10 - z
    focal = 3.9 * side
    screen = torch.stack([side / 2 + focal * x / depth, side / 2 - focal * y / depth, depth], dim=-1)
    row, column = torch.arange(rings)[:, None] * spokes, torch.arange(spokes)
    a, b = row + column, row + (column + 1) % spokes
    quads = torch.stack([a, a + spokes, b, b, a + spokes, b + spokes], dim=-1)
    return screen.reshape(1, -1, 3), quads.reshape(-1, 3)


def ours(screen: Tensor, faces: Tensor, side: int) -> Tensor:
    from portrait_rig.core.face.raster import rasterise

    return rasterise(screen, faces, (side, side)).face[0]


def ours_with_gradients(screen: Tensor, faces: Tensor, side: int) -> Tensor:
    from portrait_rig.core.face.raster import rasterise

    fragments = rasterise(screen.clone().requires_grad_(), faces, (side, side))
    (fragments.barycentrics.sum() + fragments.depth[fragments.covered].sum()).backward()
    return fragments.face[0]


def pytorch3d(screen: Tensor, faces: Tensor, side: int) -> Tensor:
    """PyTorch3D's own call on its own coordinates; its Meshes are made here too, as ours has to gather corners."""
    from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
    from pytorch3d.structures import Meshes

    x, y, depth = screen.unbind(-1)
    meshes = Meshes(torch.stack([1 - 2 * x / side, 1 - 2 * y / side, depth], dim=-1), faces[None])
    return rasterize_meshes(meshes, side, faces_per_pixel=1, perspective_correct=True)[0][0, ..., 0]


def loop_over_triangles(screen: Tensor, faces: Tensor, side: int) -> Tensor:
    """Each triangle in turn tests all pixels of its box at once."""
    face = torch.full((side, side), -1)
    nearest = torch.full((side, side), torch.inf)
    for number, corners in enumerate(screen[0][faces]):
        low, high = corners.amin(0).floor().clamp(min=0).int().tolist(), corners.amax(0).ceil().int().tolist()
        columns, rows = slice(low[0], min(high[0], side)), slice(low[1], min(high[1], side))
        x, y = torch.arange(side)[columns] + 0.5, torch.arange(side)[rows, None] + 0.5
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = corners
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        first = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area
        second = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area
        third = 1 - first - second
        depth = 1 / (first / az + second / bz + third / cz)
        wins = (first >= 0) & (second >= 0) & (third >= 0) & (depth < nearest[rows, columns])
        nearest[rows, columns] = torch.where(wins, depth, nearest[rows, columns])
        face[rows, columns] = torch.where(wins, number, face[rows, columns])
    return face


def loop_over_pixels(screen: Tensor, faces: Tensor, side: int) -> Tensor:
    return plain_rasterise(screen[0], faces, (side, side))[0]


CONTENDERS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "ours": ours,
    "ours, and back to the vertices": ours_with_gradients,
    "PyTorch3D": pytorch3d,
    "loop over triangles": loop_over_triangles,
    "loop over pixels": loop_over_pixels,
}


def measure(name: str, triangles: int, side: int, threads: int, answer: multiprocessing.Queue) -> None:
    torch.set_num_threads(threads)
    pack.load()
    screen, faces = head(triangles, side)
    CONTENDERS[name](*head(20, 8), 8)  # imports and first-call costs
    before = peak_megabytes()
    best, best_cpu, runs, start = float("inf"), float("inf"), 0, time.perf_counter()
    while runs < MOST_RUNS and (runs == 0 or time.perf_counter() - start < PATIENCE):
        began, began_cpu = time.perf_counter(), time.process_time()
        winners = CONTENDERS[name](screen, faces, side)
        best, best_cpu = min(best, time.perf_counter() - began), min(best_cpu, time.process_time() - began_cpu)
        runs += 1
    answer.put((best, best_cpu, runs, peak_megabytes() - before, winners.tolist()))


def peak_megabytes() -> float:
    """Most memory this process ever held; NaN where the system does not tell."""
    try:
        import resource
    except ImportError:
        return float("nan")
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def measured(name: str, triangles: int, side: int, threads: int) -> Measured:
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    child = context.Process(target=measure, args=(name, triangles, side, threads, answer))
    child.start()
    *figures, winners = answer.get()
    child.join()
    return Measured(*figures, torch.tensor(winners))


def lines(threads: int) -> list[str]:
    """The table in Markdown."""
    plan = [(case, name) for case in CASES for name in list(CONTENDERS)[:4]]
    plan += [(SMALL, name) for name in ("ours", "loop over pixels")]
    if importlib.util.find_spec("pytorch3d") is None:
        plan = [(case, name) for case, name in plan if name != "PyTorch3D"]
    table = [f"| {' | '.join(COLUMNS)} |", "|" + " --- |" * len(COLUMNS)]
    reference: dict[tuple[int, int], Measured] = {}
    for case, name in plan:
        triangles, side = case
        result = measured(name, triangles, side, threads)
        ours = reference.setdefault(case, result)
        same = (result.winners == ours.winners).float().mean().item()
        cells = (
            f"{len(head(*case)[1]):,}",
            f"{side} x {side}",
            name,
            f"{result.seconds * 1e3:,.1f} ms",
            f"{result.cpu_seconds * 1e3:,.1f} ms",
            f"{result.cpu_seconds / ours.cpu_seconds:,.1f} x",
            str(result.runs),
            f"{result.megabytes:,.0f} MB",
            f"{same:.3%}",
        )
        table.append(f"| {' | '.join(cells)} |")
        print(table[-1], flush=True)
    return table


def circumstances(threads: int) -> str:
    parts = [f"torch {torch.__version__}", f"{threads} threads of {os.cpu_count()}", platform.machine(), "float32, CPU"]
    if importlib.util.find_spec("pytorch3d") is not None:
        import pytorch3d as installed

        parts.insert(1, f"PyTorch3D {installed.__version__}")
    if hasattr(os, "getloadavg"):
        parts.append(f"load before the first run {os.getloadavg()[0]:.1f}")
    return ", ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--write", action="store_true", help="also write rasterise.md")
    options = parser.parse_args()
    conditions = circumstances(options.threads)
    print(conditions)
    table = lines(options.threads)
    if options.write:
        title = "# Rasterising one frame\n\nMade by `python benchmarks/rasterise.py --write`; the module says how."
        (HERE / "rasterise.md").write_text(f"{title}\n\n{conditions}.\n\n" + "\n".join(table) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
