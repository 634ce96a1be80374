"""Every container round trip: what the authors' programs write comes out as named tensors and plain data."""

from __future__ import annotations

import io
import json
import os
import pickle
import sys
import zipfile
from argparse import Namespace
from collections import OrderedDict, defaultdict
from pathlib import Path

import checkpoint_files as files
import numpy as np
import pytest
import scipy.io
import scipy.sparse
import torch
from portrait_rig.core.checkpoints import read, save_safetensors
from portrait_rig.core.errors import UserError


@pytest.fixture(autouse=True)
def _no_foreign_modules():
    """No file brings a package of its authors into the process."""
    before = set(sys.modules)
    yield
    new = {name.split(".")[0] for name in set(sys.modules) - before}
    assert not new & {"chumpy", "torch_utils", "dnnlib", "training", "models"}


def check(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name
        assert found[name].is_contiguous(), name


@pytest.mark.parametrize("name", ["weights.pt", "deca_model.tar", "no_suffix"])
@pytest.mark.parametrize(("zipped", "kind"), [(True, "torch zip"), (False, "torch legacy")])
def test_torch_files_of_both_containers_under_any_name(tmp_path, name, zipped, kind):
    expected = files.state_dict()
    torch.save(OrderedDict(expected), tmp_path / name, _use_new_zipfile_serialization=zipped)
    checkpoint = read(tmp_path / name)
    assert checkpoint.format == kind
    check(checkpoint.tensors, expected)


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_all_protocols(tmp_path, protocol):
    expected = files.state_dict()
    arrays = {
        "rows": np.arange(6).reshape(2, 3),
        "columns": np.asfortranarray(np.eye(3, 2)),
        "big": np.arange(3, dtype=">i4"),
    }
    held = {"net": OrderedDict(expected), "arrays": arrays}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(held, protocol=protocol))
    checkpoint = read(tmp_path / "x.pkl")
    assert checkpoint.format == "pickle"
    check(checkpoint.subset("net").tensors, expected)
    native = {name: torch.from_numpy(array.astype(array.dtype.newbyteorder("="))) for name, array in arrays.items()}
    check(checkpoint.subset("arrays").tensors, native)


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_becomes_metadata(tmp_path, protocol):
    held = {
        "numbers": [1, -2, 300, 70000, -(2**40), 2**70, 0.1, -1e300, True, False, None],
        "texts": ("", "plain", "ünïcode\n\\ 'quoted'", "x" * 300),
        "bytes": b"\x00\xff",
        "set": {3, 1, 2},
        "options": Namespace(lr=0.5, path=Path("a") / "b", nested={"k": [1, {"deep": ()}]}),
        "counts": defaultdict(list, a=[1]),
        "scalar": np.float64(2.5),
        "flag": np.bool_(True),
        "words": np.array([["ab", "c"]]),
        "objects": np.array([1, None, "x"], dtype=object),
        "size": torch.Size([1, 2]),
        "dtype": torch.float16,
        7: "integer key",
    }
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(held, protocol=protocol))
    checkpoint = read(tmp_path / "x.pkl")
    assert checkpoint.tensors == {}
    assert checkpoint.metadata == {
        "numbers": held["numbers"],
        "texts": list(held["texts"]),
        "bytes": "\x00\xff",
        "set": [1, 2, 3],
        "options": {"lr": 0.5, "path": "a/b", "nested": {"k": [1, {"deep": []}]}},
        "counts": {"a": [1]},
        "scalar": 2.5,
        "flag": True,
        "words": [["ab", "c"]],
        "objects": [1, None, "x"],
        "size": [1, 2],
        "dtype": "torch.float16",
        "7": "integer key",
    }
    json.dumps(checkpoint.metadata)


def test_lists_of_tensors_are_numbered_and_leave_no_trace_in_the_metadata(tmp_path):
    torch.save({"all": [torch.ones(1), torch.zeros(2)], "mixed": [torch.ones(3), 5]}, tmp_path / "x.pt")
    checkpoint = read(tmp_path / "x.pt")
    assert list(checkpoint.tensors) == ["all.0", "all.1", "mixed.0"]
    assert checkpoint.metadata == {"mixed": [None, 5]}


def test_a_bare_tensor_and_a_bare_list(tmp_path):
    torch.save(torch.arange(3), tmp_path / "x.pt")
    assert torch.equal(read(tmp_path / "x.pt").tensors["array"], torch.arange(3))
    (tmp_path / "x.pkl").write_bytes(pickle.dumps([1, "a"]))
    assert read(tmp_path / "x.pkl").metadata == {"value": [1, "a"]}


@pytest.mark.parametrize(("save", "protocol"), [("pickle", 2), ("pickle", 3), ("pickle", 4), ("zip", 2), ("legacy", 2)])
def test_a_persistence_pickle_gives_the_official_state_dict_and_its_modules(tmp_path, save, protocol):
    net = files.network()
    (tmp_path / "G.pkl").write_bytes(files.nvidia(net, protocol, save=save))
    checkpoint = read(tmp_path / "G.pkl")
    generator = checkpoint.subset("G_ema")
    check(generator.tensors, {name: tensor.detach() for name, tensor in net.state_dict().items()})
    assert checkpoint.metadata == {"training_set_kwargs": {"class_name": "x", "resolution": 16}, "augment_pipe": None}
    assert generator.module == checkpoint.modules["G_ema"]
    assert generator.module.class_name == "Layer"
    assert generator.module.init_kwargs == {"z_dim": 8, "mapping_kwargs": {"num_layers": 2}}
    b4 = generator.modules["synthesis.b4"]
    assert (b4.init_args, b4.init_kwargs) == ([3, 5], {"up": 2})
    assert b4.attributes["weight_gain"] == 0.25
    assert b4.attributes["use_fp16"] is True
    assert b4.attributes["size"] == [16, 32]
    assert b4.attributes["activation"] == "lrelu"
    assert generator.modules["synthesis"].attributes["lists"] == [1, [2.5, None], {"a": "b"}]
    assert generator.modules["decoder"].class_name == "OSGDecoder"
    assert generator.modules["decoder.net.1"].class_name == "Softplus"
    json.dumps({name: vars(module) for name, module in checkpoint.modules.items()})


def test_a_bare_persistent_module_is_the_root(tmp_path):
    net = torch.nn.Sequential(torch.nn.Linear(2, 3))
    torch.save(net, tmp_path / "net.pt")
    checkpoint = read(tmp_path / "net.pt")
    assert checkpoint.module.class_name == "Sequential"
    check(checkpoint.tensors, {name: tensor.detach() for name, tensor in net.state_dict().items()})


def test_a_tensorflow_pickle_keeps_its_variable_names(tmp_path):
    content, expected = files.tensorflow()
    (tmp_path / "stylegan2.pkl").write_bytes(content)
    checkpoint = read(tmp_path / "stylegan2.pkl")
    gs = checkpoint.subset("Gs")
    check(gs.tensors, {name: torch.from_numpy(array) for name, array in expected.items()})
    assert (gs.module.framework, gs.module.class_name) == ("tensorflow", "G_main_func")
    assert gs.module.init_kwargs == {"resolution": 16, "fmap_base": 1024}
    assert set(checkpoint.modules) == {"G", "D", "Gs", "Gs.synthesis"}


@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
def test_flame_comes_out_without_chumpy(tmp_path, protocol):
    content, expected = files.flame(protocol)
    (tmp_path / "generic_model.pkl").write_bytes(content)
    checkpoint = read(tmp_path / "generic_model.pkl")
    check(checkpoint.tensors, {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in expected.items()})
    assert checkpoint.metadata == {"bs_type": "lrotmin"}


def test_python_2_strings_hold_bytes_and_text_alike(tmp_path):
    """As Python 2.7 writes numpy.array([1.0, -2.0]) with protocol 2: strings where Python 3 has bytes."""
    content = (
        b"\x80\x02}U\x01ac" + b"numpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"U\x10" + np.array([1.0, -2.0]).tobytes() + b"tbs."
    )
    (tmp_path / "two.pkl").write_bytes(content)
    check(read(tmp_path / "two.pkl").tensors, {"a": torch.tensor([1.0, -2.0], dtype=torch.float64)})


def test_a_derived_chumpy_value_is_refused_in_words(tmp_path):
    (tmp_path / "x.pkl").write_bytes(files.flame(2, derived=True)[0])
    with pytest.raises(
        UserError, match=r"'x\.pkl' holds a value that only chumpy can compute \('chumpy\.reordering\.Select'\)"
    ):
        read(tmp_path / "x.pkl")


@pytest.mark.parametrize("form", ["csc", "csr", "coo"])
@pytest.mark.parametrize("container", ["matrix", "array"])
def test_sparse_matrices_come_out_dense(tmp_path, form, container):
    dense = np.array([[0, 2.0, 0], [3.0, 0, 0]])
    sparse = getattr(scipy.sparse, f"{form}_{container}")(dense)
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"m": sparse}))
    check(read(tmp_path / "x.pkl").tensors, {"m": torch.from_numpy(dense)})


@pytest.mark.parametrize("compress", [False, True])
def test_npz_and_npy(tmp_path, compress):
    arrays = {
        "w": np.ones((1, 4, 2), np.float32),
        "f": np.asfortranarray(np.eye(2, 3)),
        "zero": np.array(3),
        "none": np.ones((0, 2)),
    }
    (np.savez_compressed if compress else np.savez)(tmp_path / "x.npz", **arrays)
    check(
        read(tmp_path / "x.npz").tensors,
        {name: torch.from_numpy(np.ascontiguousarray(a).reshape(a.shape)) for name, a in arrays.items()},
    )
    np.save(tmp_path / "x.npy", arrays["f"])
    check(read(tmp_path / "x.npy").tensors, {"array": torch.from_numpy(np.ascontiguousarray(arrays["f"]))})


@pytest.mark.parametrize("container", ["npy", "npz"])
def test_a_landmark_embedding_with_torch_tensors_inside_an_object_array(tmp_path, container):
    embedding = {"static": np.arange(3), "dynamic": torch.arange(4.0).reshape(2, 2)}
    if container == "npy":
        np.save(tmp_path / "e.npy", np.array(embedding, dtype=object), allow_pickle=True)
        found = read(tmp_path / "e.npy").tensors
    else:
        np.savez(tmp_path / "e.npz", all=np.array(embedding, dtype=object))
        found = read(tmp_path / "e.npz").subset("all").tensors
    check(found, {"static": torch.arange(3), "dynamic": embedding["dynamic"]})


@pytest.mark.parametrize("compress", [False, True])
def test_matlab(tmp_path, compress):
    held = {
        "meanshape": np.arange(6.0).reshape(1, 6),
        "single": np.ones((2, 3), np.float32),
        "tri": np.arange(6, dtype=np.int32).reshape(2, 3),
        "flags": np.array([[True, False]]),
        "sparse": scipy.sparse.csc_matrix(np.eye(3)),
        "words": "hello",
        "struct": {"a": 1},
        "a_name_of_exactly_thirty_one_ch": np.zeros((0, 3)),
    }
    scipy.io.savemat(tmp_path / "BFM.mat", held, do_compression=compress)
    checkpoint = read(tmp_path / "BFM.mat")
    expected = {
        name: torch.from_numpy(np.asarray(value)) for name, value in held.items() if isinstance(value, np.ndarray)
    }
    expected = {**expected, "sparse": torch.eye(3, dtype=torch.float64)}
    check(dict(sorted(checkpoint.tensors.items())), dict(sorted(expected.items())))
    assert checkpoint.metadata == {"words": ["hello"], "left_out": ["struct"]}


CUBE_FACE = (
    "# a quad and a triangle\nmtllib x.mtl\nv 0 0 0\nv 1 0 0 0.5 0.5 0.5\nv 1 1 0\nv 0 1 0\n"
    "vt 0 0\nvt 1 0.5 0\nvn 0 0 1\n"
)


def test_an_obj_with_quads_negative_indices_and_texture(tmp_path):
    (tmp_path / "x.obj").write_text(CUBE_FACE + "usemtl skin\nf 1/1/1 2/2/1 3/1/1 4/2/1\nf -4/-2 -3/1 -2/2\n")
    checkpoint = read(tmp_path / "x.obj")
    assert checkpoint.format == "obj"
    expected = {
        "vertices": torch.tensor([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], dtype=torch.float64),
        "faces": torch.tensor([[0, 1, 2], [0, 2, 3], [0, 1, 2]]),
        "polygons": torch.tensor([0, 0, 1]),
        "uv": torch.tensor([[0, 0], [1, 0.5]], dtype=torch.float64),
        "uv_faces": torch.tensor([[0, 1, 0], [0, 0, 1], [0, 0, 1]]),
    }
    check(checkpoint.tensors, expected)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("f 1 2\n", "face 1 of 'x.obj' has fewer than three corners"),
        ("f 1 2 5\n", "corner '5'"),
        ("f 1 2 0\n", "corner '0'"),
        ("f 1 2 a\n", "corner 'a'"),
        ("v 1 2\nf 1 2 3\n", "a vertex that is not 3 numbers"),
        ("v 1 2\nv 1 2 3 4\n", "a vertex that is not 3 numbers"),
        ("v 1 2 x\n", "a vertex that is not 3 numbers"),
    ],
)
def test_a_broken_obj_says_where(tmp_path, lines, words):
    (tmp_path / "x.obj").write_text(CUBE_FACE + lines)
    with pytest.raises(UserError, match=words):
        read(tmp_path / "x.obj")


def test_a_folder_of_objs_shares_its_faces(tmp_path):
    faces = "f 1 2 3 4\n"
    (tmp_path / "neutral.obj").write_text(CUBE_FACE + faces)
    (tmp_path / "identity000.obj").write_text(CUBE_FACE.replace("v 0 0 0", "v 9 9 9") + faces)
    (tmp_path / "vertex_indices.json").write_text('{"expressions": ["jawOpen"]}')
    checkpoint = read(tmp_path)
    assert checkpoint.format == "obj folder"
    assert list(checkpoint.subset("vertices").tensors) == ["identity000", "neutral"]
    assert checkpoint.tensors["vertices.identity000"][0].tolist() == [9, 9, 9]
    assert checkpoint.tensors["faces"].tolist() == [[0, 1, 2], [0, 2, 3]]
    assert checkpoint.subset("vertex_indices").metadata == {"expressions": ["jawOpen"]}
    (tmp_path / "other.obj").write_text(CUBE_FACE + "f 1 2 3\n")
    with pytest.raises(UserError, match=r"different topology: 'other\.obj' differs from 'identity000\.obj'"):
        read(tmp_path)


@pytest.mark.parametrize("header_bytes", [None, 640, 35616])
def test_safetensors_even_where_the_header_length_looks_like_another_format(tmp_path, header_bytes):
    """640 is 80 02 as pickles of protocol 2 begin; lengths are multiples of 8, 35,616 is as near as gzip comes."""
    expected = {"a.b": torch.arange(4.0), "c": torch.ones(2, dtype=torch.bfloat16)}
    save_safetensors(tmp_path / "x.safetensors", expected, {"note": ""})
    if header_bytes:
        bare = int.from_bytes((tmp_path / "x.safetensors").read_bytes()[:8], "little")
        save_safetensors(tmp_path / "x.safetensors", expected, {"note": "n" * (header_bytes - bare)})
        assert int.from_bytes((tmp_path / "x.safetensors").read_bytes()[:8], "little") == header_bytes
    checkpoint = read(tmp_path / "x.safetensors")
    assert checkpoint.format == "safetensors"
    check(checkpoint.tensors, expected)
    assert set(checkpoint.metadata) == {"note"}


def test_tensors_own_their_memory_and_shared_ones_stay_shared(tmp_path):
    whole = torch.arange(1000.0)
    torch.save({"part": whole[10:12], "twice": [whole, whole]}, tmp_path / "x.pt")
    found = read(tmp_path / "x.pt").tensors
    assert found["part"].untyped_storage().nbytes() == 8
    assert found["twice.0"].data_ptr() == found["twice.1"].data_ptr()
    os.remove(tmp_path / "x.pt")
    assert found["part"].tolist() == [10, 11]


def test_tensors_can_be_trained_though_read_in_inference_mode(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "x.pt")
    np.savez(tmp_path / "x.npz", a=np.ones(2))
    save_safetensors(tmp_path / "x.safetensors", {"a": torch.ones(2)})
    with torch.inference_mode():
        found = [read(tmp_path / name).tensors["a"] for name in ("x.pt", "x.npz", "x.safetensors")]
    assert not any(tensor.is_inference() for tensor in found)


def test_a_big_endian_torch_file(tmp_path):
    torch.save({"a": torch.tensor([1.0, 2.0]), "c": torch.tensor([1 + 2j])}, tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.pt") as little, zipfile.ZipFile(tmp_path / "big.pt", "w") as big:
        for entry in little.infolist():
            content = little.read(entry)
            if "/data/" in entry.filename:
                content = np.frombuffer(content, "<f4").astype(">f4").tobytes()
            big.writestr(entry.filename, b"big" if entry.filename.endswith("byteorder") else content)
    check(read(tmp_path / "big.pt").tensors, {"a": torch.tensor([1.0, 2.0]), "c": torch.tensor([1 + 2j])})


def test_a_symbolic_link_is_followed(tmp_path):
    save_safetensors(tmp_path / "x.safetensors", {"a": torch.ones(1)})
    try:
        (tmp_path / "link").symlink_to(tmp_path / "x.safetensors")
    except OSError:
        pytest.skip("this system makes no symbolic links without special rights")
    assert list(read(tmp_path / "link").tensors) == ["a"]


def test_a_subset_that_is_not_there_names_what_is(tmp_path):
    torch.save({"g": {"w": torch.ones(1)}, "args": {"lr": 1}}, tmp_path / "x.pt")
    checkpoint = read(tmp_path / "x.pt")
    assert "g" in checkpoint
    assert "G_ema" not in checkpoint
    with pytest.raises(UserError, match=r"'x\.pt' holds no 'G_ema'\. It holds: g, args\."):
        checkpoint.subset("G_ema")
    assert checkpoint.subset("args.lr").metadata == {"value": 1}


def test_all_pickle_instructions_agree_with_python():
    """Plain values through our machine and through Python's, for every protocol and optimised streams."""
    import pickletools

    from portrait_rig.core.checkpoints.limits import Budget
    from portrait_rig.core.checkpoints.machine import unpickle
    from portrait_rig.core.checkpoints.stream import Stream

    shared = ["shared"]
    value = {
        "ints": [*range(-300, 300, 7), 2**16, 2**31, -(2**31), 2**63, 10**100],
        "floats": [0.0, -0.0, float("inf"), 1e-300],
        "texts": ["", "ä", "\ud800", "a'b\"c\\d\ne\x00", "y" * 70000],
        "bytes": [b"", bytes(range(256)), b"z" * 70000, bytearray(b"abc")],
        "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
        "sets": [set(), {1, 2}, frozenset({"a"})],
        "shared": [shared, shared],
        (1, "key"): None,
        None: {True: False},
    }
    for protocol in range(6):
        for content in (pickle.dumps(value, protocol), pickletools.optimize(pickle.dumps(value, protocol))):
            found = unpickle(Stream(io.BytesIO(content), len(content)), Budget(len(content)))
            assert found == value
            assert found["shared"][0] is found["shared"][1]


@pytest.mark.parametrize("module", ["pathlib", "pathlib._local"])
def test_paths_of_every_python_are_text(tmp_path, module):
    (tmp_path / "x.pkl").write_bytes(f"(dS'folder'\nc{module}\nPosixPath\n(S'a'\nS'b'\ntRs.".encode())
    assert read(tmp_path / "x.pkl").metadata == {"folder": "a/b"}
