"""A thousand damaged copies of every kind of file: each is read or refused, soon, and in little memory."""

from __future__ import annotations

import io
import random
import sys
import time
from collections.abc import Callable

import checkpoint_files as files
import numpy as np
import pytest
import scipy.io
import torch
from onnx_bytes import IResNetExport, random_iresnet
from portrait_rig.core.checkpoints import read
from portrait_rig.core.errors import UserError

MUTATIONS = 1000
"""Damaged copies of each kind of file."""

MEMORY = 300 << 20
"""Bytes by which reading small damaged files may let the process grow: FREE_BYTES a few times over."""


def _families() -> dict[str, Callable[[], bytes]]:
    def torch_bytes(zipped: bool) -> bytes:
        buffer = io.BytesIO()
        tensors = dict(list(files.state_dict().items())[1:5])
        torch.save({"net": tensors, "args": [1, "x"]}, buffer, _use_new_zipfile_serialization=zipped)
        return buffer.getvalue()

    def numpy_bytes(save: Callable, *args: object, **kwargs: object) -> bytes:
        buffer = io.BytesIO()
        save(buffer, *args, **kwargs)
        return buffer.getvalue()

    def safetensors_bytes() -> bytes:
        from safetensors.torch import save

        return save({"a": torch.ones(3), "b": torch.zeros(2, 2).half()}, {"note": "x"})

    matrices = {"abc": np.arange(12.0).reshape(3, 4), "tri": np.arange(6, dtype=np.int32), "s": "text"}
    mixed = np.array({"a": np.arange(3), "t": torch.ones(2)}, dtype=object)
    return {
        "torch zip": lambda: torch_bytes(True),
        "torch legacy": lambda: torch_bytes(False),
        "nvidia": lambda: files.nvidia(files.layer(), 4),
        "nvidia zip": lambda: files.nvidia(files.layer(), 2, save="zip"),
        "tensorflow": lambda: files.tensorflow()[0],
        "flame text": lambda: files.flame(0)[0],
        "flame": lambda: files.flame(2)[0],
        "npy": lambda: numpy_bytes(np.save, np.arange(6.0).reshape(2, 3)),
        "npy of objects": lambda: numpy_bytes(np.save, mixed),
        "npz": lambda: numpy_bytes(np.savez_compressed, a=np.arange(6), b=mixed),
        "mat": lambda: numpy_bytes(scipy.io.savemat, matrices),
        "mat packed": lambda: numpy_bytes(scipy.io.savemat, matrices, do_compression=True),
        "safetensors": safetensors_bytes,
        "onnx": lambda: IResNetExport(random_iresnet((1, 1, 1, 1), (1, 1, 1, 2), 2, 16)).content,
        "obj": lambda: b"v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 1\nf 1/1 2/2 3/1 4/2\nf -4/-2 -3/1 -2/2\n",
    }


def _peak_memory() -> int:
    """The most memory this process ever used, bytes; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def mutated(content: bytes, chance: random.Random) -> bytes:
    """One to four of: bits flipped, a byte replaced, cut short, bytes inserted, a piece repeated or moved."""
    damaged = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(damaged) + 1)
        length = min(chance.choice((1, 2, 4, 8, 50)), max(len(damaged) - place, 0))
        how = chance.randrange(6)
        if how == 0 and place < len(damaged):
            damaged[place] ^= 1 << chance.randrange(8)
        elif how == 1 and place < len(damaged):
            damaged[place] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        elif how == 2 and chance.random() < 0.3:
            del damaged[place:]
        elif how == 3:
            damaged[place:place] = chance.randbytes(length)
        elif how == 4:
            damaged[place:place] = damaged[place : place + length]
        else:
            damaged[place : place + length] = b"\xff" * length
    return bytes(damaged)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", list(_families()))
def test_a_thousand_damaged_files_are_read_or_refused(tmp_path, family):
    content = _families()[family]()
    chance = random.Random(family)
    path = tmp_path / "x.bin"
    refused = 0
    before, began = _peak_memory(), time.process_time()
    with path.open("wb") as file:
        for number in range(MUTATIONS):
            file.seek(0)
            file.truncate()
            file.write(mutated(content, chance))
            file.flush()
            try:
                read(path)
            except UserError as error:
                refused += 1
                assert str(error).startswith("'x.bin' "), number
                assert "\n" not in str(error), number
                assert len(str(error)) < 500, number
    assert _peak_memory() - before < MEMORY
    assert time.process_time() - began < 60, "one of them hung"
    assert refused > MUTATIONS * 0.1, "the damage must be felt"
