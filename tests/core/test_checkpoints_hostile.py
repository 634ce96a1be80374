"""Pickles that attack or lead astray: each gives one sentence, and nothing of them is ever run."""

from __future__ import annotations

import io
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import checkpoint_files as files
import numpy as np
import pytest
import torch
from portrait_rig.core.checkpoints import limits, read
from portrait_rig.core.errors import UserError


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
