"""Files that claim more than they hold: sizes, shapes and places are checked before memory is taken."""

from __future__ import annotations

import io
import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import scipy.sparse
import torch
from portrait_rig.core.checkpoints import read
from portrait_rig.core.errors import UserError


def test_many_views_of_one_storage_are_not_multiplied(tmp_path):
    """2,000 shifted windows on 8 MB would be 16 GB."""
    whole = torch.zeros(2_002_000)
    torch.save([whole[i : i + 2_000_000] for i in range(2000)], tmp_path / "x.pt")
    with pytest.raises(UserError, match="asks for more memory than its size can explain"):
        read(tmp_path / "x.pt")


def test_an_expanded_tensor_is_not_spread_out(tmp_path):
    torch.save(torch.zeros(1).expand(1 << 40), tmp_path / "x.pt")
    with pytest.raises(UserError, match="asks for more memory than its size can explain"):
        read(tmp_path / "x.pt")


def test_a_sparse_matrix_is_not_spread_out(tmp_path):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(scipy.sparse.coo_matrix(([1.0], ([0], [0])), shape=(10**6, 10**6))))
    with pytest.raises(UserError, match="asks for more memory than its size can explain"):
        read(tmp_path / "x.pkl")


def _torch_zip(path: Path, old: bytes, new: bytes, *, storage: bytes | None = None) -> None:
    """A torch file with a patched description, and its storages replaced."""
    source = io.BytesIO()
    torch.save({"a": torch.arange(6.0).reshape(2, 3)}, source)
    with zipfile.ZipFile(source) as good, zipfile.ZipFile(path, "w") as bad:
        for entry in good.infolist():
            content = good.read(entry)
            if entry.filename.endswith("data.pkl"):
                assert content.count(old) >= 1
                content = content.replace(old, new)
            if entry.filename.endswith("/data/0") and storage is not None:
                content = storage
            bad.writestr(entry.filename, content)


@pytest.mark.parametrize(
    ("old", "new", "storage", "words"),
    [
        (b"K\x02K\x03\x86", b"K\x02K\x04\x86", None, r"shape \[2, 4\] reaches beyond its storage of 6"),
        (b"K\x03K\x01\x86", b"K\x04K\x01\x86", None, "reaches beyond its storage"),
        (b"K\x03K\x01\x86", b"J\xff\xff\xff\xffK\x01\x86", None, "claims the shape"),
        (b"K\x03K\x01\x86", b"K\x01\x85", None, "no proper place"),
        (b"QK\x00K\x02", b"QK\x01K\x02", None, "reaches beyond its storage"),
        (b"QK\x00K\x02", b"QJ\xff\xff\xff\xffK\x02", None, "no proper place"),
        (b"K\x02K\x03\x86", b"K\x02NK\x03\x87", None, "not a list of sizes"),
        (b"FloatStorage", b"LongStorage", None, "another length than its tensors say"),
        (b"FloatStorage", b"EvilStorage", None, "wants to run 'torch.EvilStorage'"),
        (b"K\x06tq", b"K\x05tq", None, "another length than its tensors say"),
        (b"X\x01\x00\x00\x000", b"X\x01\x00\x00\x009", None, "the storage '9' is missing"),
        (b"K\x06tq", b"K\x06tq", b"", "another length than its tensors say"),
    ],
)
def test_a_torch_zip_that_lies_about_its_tensors(tmp_path, old, new, storage, words):
    _torch_zip(tmp_path / "x.pt", old, new, storage=storage)
    with pytest.raises(UserError, match=words):
        read(tmp_path / "x.pt")


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    with (
        zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as bomb,
        bomb.open("a.npy", "w", force_zip64=True) as entry,
    ):
        for _ in range(64):
            entry.write(bytes(1 << 20))
    tracemalloc.start()
    with pytest.raises(UserError, match="looks like a zip bomb; it was not unpacked"):
        read(tmp_path / "x.npz")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_zip_entry_that_understates_its_size(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("a.npy", bytes(1 << 20))
    content = (tmp_path / "x.npz").read_bytes().replace(struct.pack("<I", 1 << 20), struct.pack("<I", 1 << 10))
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        read(tmp_path / "x.npz")


def test_two_zip_entries_of_one_name(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(tmp_path / "x.npz", "w") as twice:
        twice.writestr("a.npy", b"1")
        twice.writestr("a.npy", b"2")
    with pytest.raises(UserError, match="two entries of its zip container have the same name"):
        read(tmp_path / "x.npz")


def test_an_npy_header_is_not_evaluated(tmp_path):
    for header in (
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (9**9**9,), }",
        b"(" * 5000,
        b"{'descr': [('a', '<f8')], ",
    ):
        (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
        with pytest.raises(UserError, match=r"header is not one that NumPy writes|array of records"):
            read(tmp_path / "x.npy")


@pytest.mark.parametrize("shape", [b"(1099511627776,)", b"(9999999999999999999999,)", b"(0, 9999999999999999999999)"])
def test_an_npy_of_absurd_shape(tmp_path, shape):
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': " + shape + b", }"
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    with pytest.raises(UserError, match=r"wrong number of bytes|claims the shape"):
        read(tmp_path / "x.npy")


def test_a_matlab_variable_of_absurd_shape(tmp_path):
    scipy.io.savemat(tmp_path / "x.mat", {"abc": np.ones((3, 5))})
    content = (tmp_path / "x.mat").read_bytes().replace(struct.pack("<II", 3, 5), struct.pack("<II", 1 << 30, 1 << 30))
    (tmp_path / "x.mat").write_bytes(content)
    with pytest.raises(UserError, match=r"is damaged: .*(claims the shape|'abc')"):
        read(tmp_path / "x.mat")
