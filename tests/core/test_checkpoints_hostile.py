"""Files that lie, break or attack: each gives one sentence, and nothing of them is ever run."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import random
import struct
import sys
import tarfile
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import checkpoint_files as files
import numpy as np
import pytest
import scipy.io
import torch
from onnx_bytes import IResNetExport, random_iresnet
from portrait_rig.core.checkpoints import limits, read, save_safetensors
from portrait_rig.core.errors import UserError

MUTATIONS = 1000
"""Damaged copies of each kind of file."""

MEMORY = 300 << 20
"""Bytes by which reading small damaged files may let the process grow: FREE_BYTES a few times over."""


class _Call:
    def __init__(self, function: Callable, *args: object) -> None:
        self.reduced = function, args

    def __reduce__(self):
        return self.reduced


def _payloads(sentinel: Path) -> dict[str, object]:
    """Objects whose unpickling by Python would write the sentinel file; the key is the name to be refused."""
    command = f"open({str(sentinel)!r}, 'w').close()"
    return {
        f"{os.system.__module__}.system": _Call(os.system, f"echo > {sentinel}"),
        "builtins.eval": _Call(eval, command),
        "builtins.exec": _Call(exec, command),
        "builtins.getattr": _Call(getattr, _Call(__import__, "os"), "system"),
        "builtins.__import__": _Call(__import__, "os"),
        f"{io.open.__module__}.open": _Call(io.open, str(sentinel), "w"),
        "subprocess.Popen": _Call(__import__("subprocess").Popen, f"echo > {sentinel}", -1, None),
        "functools.partial": _Call(__import__("functools").partial(eval, command)),
    }


def _written(payload: object, kind: str, path: Path) -> None:
    deep = {"weights": [np.ones(2), {"inner": (payload,)}]}
    if kind == "object array":
        with path.open("wb") as file:
            np.save(file, np.array(deep, dtype=object), allow_pickle=True)
    elif kind == "npz":
        with path.open("wb") as file:
            np.savez(file, x=np.array([1, payload], dtype=object))
    elif kind == "torch zip":
        torch.save(deep, path)
    elif kind == "torch legacy":
        torch.save(deep, path, _use_new_zipfile_serialization=False)
    elif kind == "inside a storage":
        inner = io.BytesIO()
        torch.save(deep, inner, _use_new_zipfile_serialization=False)
        hidden = _Call(
            torch._utils._rebuild_tensor_v2,
            _Call(torch.storage._load_from_bytes, inner.getvalue()),
            0,
            (1,),
            (1,),
            False,
            None,
        )
        path.write_bytes(pickle.dumps({"a": hidden}))
    else:
        path.write_bytes(pickle.dumps(deep, protocol=int(kind[-1])))


KINDS = [
    "protocol 0",
    "protocol 2",
    "protocol 4",
    "object array",
    "npz",
    "torch zip",
    "torch legacy",
    "inside a storage",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", list(_payloads(Path("x"))))
def test_a_payload_is_named_and_not_run(tmp_path, kind, name):
    sentinel = tmp_path / "executed"
    _written(_payloads(sentinel)[name], kind, tmp_path / "x.pkl")
    with pytest.raises(UserError, match=r"'x\.pkl' wants to run '.*nothing was executed") as refused:
        read(tmp_path / "x.pkl")
    python_2 = {"subprocess.Popen": "commands.Popen"}  # how protocols below 3 write it
    assert str(refused.value).split("'")[3] in (name, python_2.get(name))
    assert not sentinel.exists()


def test_the_payloads_would_really_work(tmp_path):
    """Python's own unpickler falls for them, so that the tests above prove something."""
    for name in ("builtins.eval", f"{os.system.__module__}.system"):
        pickle.loads(pickle.dumps(_payloads(tmp_path / "executed")[name]))
        assert (tmp_path / "executed").exists()
        (tmp_path / "executed").unlink()


def test_the_source_inside_a_network_pickle_is_not_run(tmp_path):
    """`module_src` of the fabricated networks raises SystemExit."""
    (tmp_path / "G.pkl").write_bytes(files.nvidia(files.network(), 4))
    assert "G_ema" in read(tmp_path / "G.pkl").modules


P = b"\x80\x04"
NUMPY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR"
F8 = b"cnumpy\ndtype\n(X\x02\x00\x00\x00f8K\x00K\x01tR"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (P + b"\x82\x01.", "extension registry"),
        (P + b"\x83\x01\x00.", "extension registry"),
        (P + b"\x84\x01\x00\x00\x00.", "extension registry"),
        (P + b"h\x07.", "recalls value 7"),
        (P + b"j\xff\xff\xff\xff.", "recalls value 4294967295"),
        (P + b".", "takes more values"),
        (P + b"0.", "ends a list that never began"),
        (P + b"t.", "ends a list that never began"),
        (P + b"NNs.", "takes more values"),
        (P + b"NNNs.", "no table"),
        (P + b"NNa.", "no list"),
        (P + b"N(N\x90.", "no set"),
        (P + b"NNb.", "gives a state"),
        (P + b"NNR.", "not a class or function"),
        (P + b"NNN\x92.", "not a class or function"),
        (P + b"NN\x93.", "not text"),
        (P + b"NQ.", "stored elsewhere"),
        (P + b"Pabc\n.", "stored elsewhere"),
        (P + b"\x97.", "outside the file"),
        (P + b"\xff.", "unknown pickle instruction"),
        (P + b"\x8e" + b"\xff" * 8 + b"x.", "ends in the middle"),
        (P + b"\x96" + b"\x00" * 5 + b"\x01\x00\x00x.", "ends in the middle"),
        (P + b"\x8b" + struct.pack("<I", 1000) + b"\x01" * 1000 + b".", "an integer of 1000 bytes"),
        (P + b"I" + b"9" * 1000 + b"\n.", "a number of absurd length"),
        (P + b"I12a\n.", "a number that is none"),
        (P + b"Sabc\n.", "without its quotes"),
        (P + b"S'\\x1'\n.", "broken escapes"),
        (P + b"X\x01\x00\x00\x00\xff.", "not UTF-8"),
        (P + b"}]Ns.", "uses a list as the key"),
        (P + b"}N\x85\x85Ns.", "uses a tuple as the key"),
        (P + b"}I2305843009213693952\nNs.", "huge integer as the key"),
        (P + b"c__builtin__\nset\n(NtR.", "a list was expected"),
        (P + b"ccollections\nOrderedDict\n((NltR.", "not made of pairs"),
        (P + b"ctorch\nFloatStorage\n)R.", "it calls 'torch.FloatStorage'"),
        (P + b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00))\x89NtR.", "a tensor has no storage"),
        (P + NUMPY + b"(K\x01(K\x05t" + F8 + b"\x89C\x08" + bytes(8) + b"tb.", "wrong number of bytes"),
        (P + NUMPY + b"(K\x01(J\xff\xff\xff\xfft" + F8 + b"\x89C\x08" + bytes(8) + b"tb.", "claims the shape"),
        (P + NUMPY + b"(K\x01(K\x00\x8a\x08" + b"\xff" * 7 + b"\x7ft" + F8 + b"\x89C\x00tb.", "claims the shape"),
        (P + NUMPY + b"(K\x01(" + b"K\x01" * 33 + b"t" + F8 + b"\x89C\x08" + bytes(8) + b"tb.", "not a list of sizes"),
        (P + NUMPY + b"(K\x01(K\x01tN\x89C\x08" + bytes(8) + b"tb.", "has no type"),
        (
            P + NUMPY + b"(K\x01(K\x01tcnumpy\ndtype\n(X\x02\x00\x00\x00M8K\x00K\x01tR\x89C\x08" + bytes(8) + b"tb.",
            "neither numbers",
        ),
        (
            P + NUMPY + b"(K\x01(K\x02tcnumpy\ndtype\n(X\x01\x00\x00\x00OK\x00K\x01tR\x89](Netb.",
            "wrong number of values",
        ),
        (P + NUMPY + b"(K\x01tb.", "no proper state"),
        (P + b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13tR.", "unexpected way"),
        (P + b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n(}tR.", "lacks its class"),
        (b"\x80\x07N.", "unknown kind"),
        (b"\x80\x02\x80\x09N.", "protocol 9"),
    ],
)
def test_malformed_instructions(tmp_path, content, words):
    (tmp_path / "x.pkl").write_bytes(content)
    with pytest.raises(UserError, match=words):
        read(tmp_path / "x.pkl")


def test_a_refused_name_is_shown_on_one_line_and_shortened(tmp_path):
    (tmp_path / "x.pkl").write_bytes(P + b"\x8c\x03a\nbX\xe8\x03\x00\x00" + b"n" * 1000 + b"\x93.")
    with pytest.raises(UserError) as refused:
        read(tmp_path / "x.pkl")
    assert r"'a\nb." in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    "content",
    [
        P + b"(" * 200_000 + b"N" + b"l" * 200_000 + b".",
        P + b"N" + b"\x85" * 200_000 + b".",
        P + b"}K\x01" * 200_000 + b"N" + b"s" * 200_000 + b".",
        P
        + b"".join(b"cargparse\nNamespace\n)\x81}X\x01\x00\x00\x00a" for _ in range(50_000))
        + b"N"
        + b"sb" * 50_000
        + b".",
    ],
    ids=["lists", "tuples", "tables", "objects"],
)
def test_deep_nesting_is_no_recursion_error(tmp_path, content):
    (tmp_path / "x.pkl").write_bytes(content)
    with pytest.raises(UserError, match="nested deeper than 64 levels"):
        read(tmp_path / "x.pkl")


def test_a_value_that_contains_itself(tmp_path):
    endless: list = [1]
    endless.append({"again": endless})
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(endless))
    with pytest.raises(UserError, match="contains itself"):
        read(tmp_path / "x.pkl")


def test_shared_lists_that_unfold_exponentially(tmp_path, monkeypatch):
    """Forty lists, each holding the one before twice: 80 values in the file, 10^12 when followed."""
    monkeypatch.setattr(limits, "MAX_STEPS", 100_000)
    laughs: list = ["ha"]
    for _ in range(40):
        laughs = [laughs, laughs]
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(laughs))
    with pytest.raises(UserError, match="holds more than 100,000 values"):
        read(tmp_path / "x.pkl")


def test_a_huge_memo_index_allocates_nothing(tmp_path):
    """Python's C unpickler takes 64 GiB for these bytes."""
    (tmp_path / "x.pkl").write_bytes(P + b"Nr\xff\xff\xff\xff.")
    assert read(tmp_path / "x.pkl").metadata == {"value": None}


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
    import scipy.sparse

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


def test_a_zip_of_other_files(tmp_path):
    with zipfile.ZipFile(tmp_path / "face.zip", "w") as archive:
        archive.writestr("face/epoch_00190_checkpoint.pt", b"1")
    with pytest.raises(
        UserError, match=r"zip archive of other files \('face/epoch_00190_checkpoint\.pt'\)\. Unpack it"
    ):
        read(tmp_path / "face.zip")


def test_a_torchscript_program(tmp_path):
    torch.jit.script(torch.nn.Linear(1, 1)).save(str(tmp_path / "x.pt"))
    with pytest.raises(UserError, match="is a TorchScript program, not weights"):
        read(tmp_path / "x.pt")


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


def _gzip() -> bytes:
    return gzip.compress(b"weights")


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("weights"))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
            "is a Git LFS pointer, not weights",
        ),
        (b"<!DOCTYPE html><html><head>", "is a web page, not weights"),
        (b"\n\n<html>", "is a web page, not weights"),
        (b"<!-- x --><HTML>", "is a web page, not weights"),
        (b"Access denied. Try again later.", "is a text, not weights; it begins with 'Access denied"),
        (b'{"error": "not found"}', "is a JSON text"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "is an HDF5 file"),
        (b"MATLAB 7.3 MAT-file, Platform" + bytes(600), "is an HDF5 file"),
        (_gzip(), "is a packed archive"),
        (_tar(), "is a packed archive"),
        (bytes(range(255, 0, -1)), "is of an unknown kind"),
        (bytes(100), "is of an unknown kind"),
    ],
)
def test_things_that_are_not_weights(tmp_path, content, words):
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(UserError, match=rf"^'weights\.pth' {words}"):
        read(tmp_path / "weights.pth")


def test_a_missing_file_names_its_folder(tmp_path):
    with pytest.raises(UserError) as refused:
        read(tmp_path / "models" / "ffhq.pkl")
    assert f"There is no file 'ffhq.pkl' in the folder '{tmp_path / 'models'}'" in str(refused.value)


def test_a_folder_without_meshes_and_one_that_has_only_other_files(tmp_path):
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(UserError, match=r"is a folder without \.obj files"):
        read(tmp_path)


def test_an_impossible_path(tmp_path):
    with pytest.raises(UserError):
        read(tmp_path / "a\x00b")


@pytest.mark.skipif(sys.platform == "win32" or not hasattr(os, "geteuid"), reason="needs POSIX permissions")
def test_a_file_without_permission(tmp_path, monkeypatch):
    (tmp_path / "x.pt").write_bytes(b"x")

    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError, match=r"'x\.pt' cannot be read from the folder .*Permission denied"):
        read(tmp_path / "x.pt")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.pt")
    with pytest.raises(UserError, match="neither a file nor a folder"):
        read(tmp_path / "x.pt")


# Mutated files


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


# Saving


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    save_safetensors(path, {"a": torch.ones(2)}, {"which": "old"})

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    for place, name in (
        ("portrait_rig.core.checkpoints.safetensors_file", "save_file"),
        ("os", "fsync"),
        ("os", "replace"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(sys.modules[place], name, full)
            with pytest.raises(UserError, match=r"'x\.safetensors' could not be written .*No space left on device"):
                save_safetensors(path, {"a": torch.zeros(2)}, {"which": "new"})
        assert read(path).metadata == {"which": "old"}
        assert [inner.name for inner in tmp_path.iterdir()] == ["x.safetensors"]


def test_an_interruption_while_saving_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    save_safetensors(path, {"a": torch.ones(2)})

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_safetensors(path, {"a": torch.zeros(2)})
    assert read(path).tensors["a"].tolist() == [1, 1]
    assert [inner.name for inner in tmp_path.iterdir()] == ["x.safetensors"]


def test_saving_takes_views_shared_tensors_and_parameters(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    tensors = {
        "whole": whole,
        "again": whole,
        "row": whole[1],
        "turned": whole.t(),
        "p": torch.nn.Parameter(torch.ones(2)),
        "no": torch.empty(0),
    }
    save_safetensors(tmp_path / "new" / "x.safetensors", tensors)
    found = read(tmp_path / "new" / "x.safetensors").tensors
    assert set(found) == set(tensors)
    assert all(torch.equal(found[name], tensor.detach()) for name, tensor in tensors.items())


def test_saving_replaces_a_file_that_was_read_before(tmp_path):
    """On Windows this fails while the old file is still mapped into memory."""
    path = tmp_path / "x.safetensors"
    save_safetensors(path, {"a": torch.ones(2)})
    old = read(path)
    save_safetensors(path, {"a": torch.zeros(2)})
    assert (old.tensors["a"].tolist(), read(path).tensors["a"].tolist()) == ([1, 1], [0, 0])
