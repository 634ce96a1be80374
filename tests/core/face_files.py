"""Face model files as their authors publish them, small and made up, from the goldens' fields and from formulas."""

from __future__ import annotations

import contextlib
import json
import pickle
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scipy.io
import scipy.sparse
import torch
from safetensors.torch import load_file

GOLDENS = Path(__file__).resolve().parent.parent / "goldens"
EMBEDDING_FIELDS = tuple(
    f"{kind}_lmk_{part}" for kind in ("static", "dynamic", "full") for part in ("faces_idx", "bary_coords")
)
ICT_MODES, ICT_EXPRESSIONS = 3, ("jawOpen", "mouthSmile_L", "mouthSmile_R")


def params(golden: str) -> dict[str, torch.Tensor]:
    """The weights in a golden file, without their prefix."""
    tensors = load_file(GOLDENS / golden)
    return {name.removeprefix("param/"): tensor for name, tensor in tensors.items() if name.startswith("param/")}


def write_flame(folder: Path, *, chumpy: bool, embedding: bool = True) -> Path:
    """generic_model.pkl as of 2020 (chumpy arrays) or of 2023 Open (plain arrays); the embedding beside it."""
    fields = {name: tensor.numpy() for name, tensor in params("flame/model.safetensors").items()}
    model = {name: fields[name] for name in ("v_template", "shapedirs", "posedirs", "weights", "J")}
    model = {name: array.astype(np.float64) for name, array in model.items()}
    model |= {"f": fields["f"].astype(np.uint32), "bs_style": "lbs", "bs_type": "lrotmin"}
    parents = fields["kintree_table"].astype(np.int64)
    model["kintree_table"] = (parents % 2**32).astype(np.uint32)
    model["J_regressor"] = scipy.sparse.csc_matrix(fields["J_regressor"].astype(np.float64))
    if not chumpy:
        model["supr_expression_metadata"] = {"n_expr": 100}
    with _chumpy() as wrap:
        if chumpy:
            model |= {name: wrap(model[name]) for name in ("v_template", "shapedirs", "posedirs", "weights", "J")}
        path = folder / "generic_model.pkl"
        path.write_bytes(pickle.dumps(model, protocol=2))
    if embedding:
        table = {name: fields[name] for name in EMBEDDING_FIELDS}
        table |= {name: torch.from_numpy(table[name]) for name in EMBEDDING_FIELDS if name.startswith("dynamic")}
        np.save(folder / "landmark_embedding.npy", np.array(table, dtype=object))
    return path


def write_bfm(folder: Path) -> Path:
    """BFM_model_front.mat from the golden's fields."""
    path = folder / "BFM_model_front.mat"
    scipy.io.savemat(path, {name: tensor.numpy() for name, tensor in params("deep3d/face_model.safetensors").items()})
    return path


def write_ict(folder: Path) -> Path:
    """A folder like FaceXModel: a grid of quads bulged to half a head, with three modes and four expressions."""
    folder = folder / "FaceXModel"
    folder.mkdir()
    side = 21
    across, up = np.meshgrid(np.linspace(-1.4, 1.4, side), np.linspace(-9, 13, side))
    neutral = np.stack([8 * np.sin(across), up, 9 * np.cos(across) - 0.02 * up**2], -1).reshape(-1, 3)
    number = np.arange(side * side).reshape(side, side) + 1
    quads = np.stack([number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1]], -1).reshape(-1, 4)
    uv = np.stack([(across + 1.5) / 3, (up + 10) / 24], -1).reshape(-1, 2)
    meshes = {"generic_neutral_mesh": neutral}
    for mode in range(ICT_MODES):
        meshes[f"identity{mode:03d}"] = neutral * (1 + 0.02 * np.eye(3)[mode])
    for name in (*ICT_EXPRESSIONS, "PupilDilate_L"):
        side_of = {"L": 1.0, "R": -1.0}.get(name[-1])
        weight = 1.0 if side_of is None else (neutral[:, :1] * side_of > 0).astype(float)
        meshes[name] = neutral + weight * np.array([0.0, -1.0, 0.0])
    for name, vertices in meshes.items():
        lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices]
        lines += [f"vt {u:.6f} {v:.6f}" for u, v in uv]
        lines += ["f " + " ".join(f"{corner}/{corner}" for corner in quad) for quad in quads]
        (folder / f"{name}.obj").write_text("\n".join(lines) + "\n")
    notes = {"expressions": list(ICT_EXPRESSIONS), "idx_to_landmark_verts": ict_landmarks(neutral)}
    (folder / "vertex_indices.json").write_text(json.dumps(notes))
    return folder


def ict_landmarks(neutral: np.ndarray) -> list[int]:
    """68 vertices of the half head nearest to where a face has its landmarks, in its frontal plane."""
    angle = np.linspace(np.pi, 2 * np.pi, 17)
    jaw = np.stack([7.2 * np.cos(angle), 3.5 + 11 * np.sin(angle)], -1)
    brows = [(x, 5.5) for x in (-6, -5, -4, -3, -1.5, 1.5, 3, 4, 5, 6)]
    nose = [(0, y) for y in (3.7, 2.5, 1.5, 0.4)] + [(x, -1) for x in (-1.2, -0.6, 0, 0.6, 1.2)]
    eye = [(-1.4, 0), (-0.6, 0.5), (0.6, 0.5), (1.4, 0), (0.6, -0.4), (-0.6, -0.4)]
    eyes = [(centre + x, 3.4 + y) for centre in (-3.1, 3.1) for x, y in eye]
    turn = np.linspace(np.pi, -np.pi, 13)[:-1]
    lips = np.stack([2.5 * np.cos(turn), -3.5 + np.sin(turn)], -1)
    inner = np.stack([2.2 * np.cos(turn[:8] * 1.2), -3.4 + 0.2 * np.sin(turn[:8])], -1)
    wanted = np.concatenate([jaw, brows, nose, eyes, lips, inner])
    return [int(np.argmin(((neutral[:, :2] - point) ** 2).sum(1))) for point in wanted]


@contextlib.contextmanager
def _chumpy() -> Iterator[type]:
    """A stand-in for chumpy's array, which keeps its values in the attribute `x`; it exists only while pickling."""

    class Ch:
        def __init__(self, x: np.ndarray) -> None:
            self.x = x

    Ch.__module__, Ch.__qualname__ = "chumpy.ch", "Ch"
    package, module = types.ModuleType("chumpy"), types.ModuleType("chumpy.ch")
    module.Ch = Ch
    sys.modules |= {"chumpy": package, "chumpy.ch": module}
    try:
        yield Ch
    finally:
        del sys.modules["chumpy"], sys.modules["chumpy.ch"]
