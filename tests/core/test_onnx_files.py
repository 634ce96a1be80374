"""ONNX files: what is read out of them, what is refused, and ArcFace's network found in its exports."""

from __future__ import annotations

import io
import re
from pathlib import Path

import onnx_bytes as written
import pytest
import torch
from portrait_rig.core.checkpoints import limits, read
from portrait_rig.core.errors import UserError
from portrait_rig.core.networks import iresnet, iresnet_onnx
from torch import Tensor, nn

EXACT = 2e-6
"""Of embeddings whose largest value is about 1; measured: 6e-7 with folded norms, 0 without."""
RUNTIME = 1e-4
"""Against onnxruntime; measured: 1e-6."""
SIDE = 32


def saved(tmp_path: Path, content: bytes, name: str = "x.onnx") -> Path:
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


def pictures(count: int = 2, side: int = SIDE) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


def found(path: Path) -> iresnet.IResNet:
    return iresnet.from_tensors(iresnet_onnx.tensors_of(read(path)))


def error(ours: Tensor, expected: Tensor) -> float:
    assert ours.shape == expected.shape
    return (ours - expected).abs().max().item()


# The file


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
@pytest.mark.parametrize("dtype", list(written.TYPES), ids=str)
def test_tensors_of_every_type_and_spelling(tmp_path, dtype, raw):
    expected = torch.tensor([[0, 1, 100], [3, 7, 2]]).to(dtype)
    if dtype.is_signed:
        expected[0, 0] = -5
    named = {"w": expected, "scalar": expected[0, 0].clone(), "none": expected[:0].clone()}
    checkpoint = read(saved(tmp_path, written.model([], named, {}, {}, raw=raw)))
    assert checkpoint.format == "onnx"
    assert list(checkpoint.tensors) == list(named)
    for name, tensor in named.items():
        assert checkpoint.tensors[name].dtype == dtype
        assert torch.equal(checkpoint.tensors[name], tensor), name


def test_the_graph_as_plain_data_and_constants_as_tensors(tmp_path):
    nodes = [
        written.node("Constant", [], "c", value=torch.tensor([2.5])),
        written.node("Constant", [], "n", value_float=1.5),
        written.node("Clip", ["x", "c"], "y", low=-1, high=0.5, mode="soft", pads=[1, -2, 3]),
    ]
    content = written.model(nodes, {"w": torch.ones(2)}, {"x": (1, 3), "w": (2,)}, {"y": (1, 3)})
    checkpoint = read(saved(tmp_path, content, "no_suffix"))
    assert {name: tensor.tolist() for name, tensor in checkpoint.tensors.items()} == {
        "c": [2.5], "n": 1.5, "w": [1.0, 1.0],
    }  # fmt: skip
    assert checkpoint.metadata["producer"] == "by hand"
    assert checkpoint.metadata["graph"] == {
        "inputs": ["x"],  # not the weight, which old writers list as one
        "outputs": ["y"],
        "nodes": [
            {
                "op": "Clip",
                "domain": "",
                "inputs": ["x", "c"],
                "outputs": ["y"],
                "attributes": {"low": -1, "high": 0.5, "mode": "soft", "pads": [1, -2, 3]},
            }
        ],
    }


def test_tensors_of_text_are_left_out_and_named(tmp_path):
    text = written.field(1, 1) + written.field(2, 8) + written.field(6, "hello") + written.field(8, "words")
    graph = written.field(5, text) + written.field(5, written.tensor("w", torch.ones(1)))
    checkpoint = read(saved(tmp_path, written.field(1, 8) + written.field(7, graph)))
    assert list(checkpoint.tensors) == ["w"]
    assert checkpoint.metadata["left_out"] == ["words"]


def test_reading_inside_inference_mode_gives_ordinary_tensors(tmp_path):
    path = saved(tmp_path, written.model([], {"w": torch.ones(2)}, {}, {}))
    with torch.inference_mode():
        assert not read(path).tensors["w"].is_inference()


def _initialiser(content: bytes) -> bytes:
    return written.field(1, 8) + written.field(7, written.field(5, content))


HOSTILE = {
    "cut short": (written.model([], {"w": torch.ones(9)}, {}, {})[:-12], "ends in the middle"),
    "a length beyond the end": (b"\x08\x08\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "ends in the middle"),
    "an endless number": (b"\x08" + b"\xff" * 20, "ends in the middle of a number"),
    "no graph": (written.field(1, 8) + written.field(2, "x"), "holds no ONNX graph"),
    "two graphs": (written.field(1, 8) + written.field(7, b"") * 2, "two graphs"),
    "a group": (b"\x08\x08\x3b\x3c", "unknown kind"),
    "a number for a graph": (written.field(1, 8) + written.field(7, 5), "number where bytes"),
    "too few bytes": (_initialiser(written.tensor("w", torch.ones(2), dims=[3])), r"'w' of shape \[3\] has 8 bytes"),
    "an absurd shape": (_initialiser(written.tensor("w", torch.ones(2), dims=[1 << 40, 1 << 40])), "claims the shape"),
    "a negative shape": (_initialiser(written.tensor("w", torch.ones(2), dims=[-1])), "claims the shape"),
    "the same name twice": (
        written.field(1, 8) + written.field(7, written.field(5, written.tensor("w", torch.ones(1))) * 2),
        "two tensors are named 'w'",
    ),
    "a name of a kilometre": (_initialiser(written.tensor("n" * 1000, torch.ones(1))), "longer names"),
    "half a float": (
        written.field(1, 8)
        + written.field(7, written.field(1, written.field(5, written.field(1, "a") + written.field(7, b"123")))),
        "half a number",
    ),
    "weights elsewhere": (
        _initialiser(
            written.field(2, 1)
            + written.field(13, written.field(1, "location") + written.field(2, "../../etc/passwd"))
            + written.field(14, 1)
        ),
        "keeps its weights in other files",
    ),
    "a flag for elsewhere": (_initialiser(written.field(2, 1) + written.field(14, 1)), "in other files"),
    "no ONNX at all": (b"hello, this is a text that someone renamed", "is damaged"),
}


@pytest.mark.parametrize("name", list(HOSTILE))
def test_a_file_that_lies_is_refused_by_name(tmp_path, name):
    content, words = HOSTILE[name]
    with pytest.raises(UserError, match=rf"^'x\.onnx' .*{words}") as refused:
        read(saved(tmp_path, content))
    assert "\n" not in str(refused.value)


def test_numbers_without_end_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "MAX_STEPS", 1000)
    tensor = written.field(1, 1) + written.field(2, 7) + written.field(7, bytes(2000)) + written.field(8, "w")
    with pytest.raises(UserError, match="more than 1,000 values"):
        read(saved(tmp_path, _initialiser(tensor)))


# ArcFace's network in it


@pytest.mark.parametrize("product", [False, True], ids=["gemm", "product and sum"])
@pytest.mark.parametrize("fold", [True, False], ids=["folded", "unfolded"])
def test_an_export_gives_the_networks_own_embedding_and_maps(tmp_path, fold, product):
    network = written.random_iresnet()
    export = written.IResNetExport(network, fold=fold, product=product, normalised=product)
    ours = found(saved(tmp_path, export.content))
    assert ours.options == network.options
    assert error(ours(pictures()), network(pictures())) < EXACT
    for mine, expected in zip(ours.maps(pictures()), network.maps(pictures()), strict=True):
        assert error(mine, expected) < EXACT


def test_a_bias_before_a_norm_goes_into_the_norm(tmp_path):
    network = written.random_iresnet()
    ours = found(saved(tmp_path, written.IResNetExport(network, fold=False, biased=True).content))
    assert error(ours(pictures()), network(pictures())) < EXACT


@pytest.mark.parametrize(
    ("scaling", "effect"), [((127.5, 1 / 128), 127.5 / 128), ((127.5, 1 / 127.5), 1.0), ((0.5, 2.0), 1.0)]
)
def test_a_graphs_own_scaling_and_epsilon_go_into_the_weights(tmp_path, scaling, effect):
    network = written.random_iresnet()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.eps = 2e-3  # MXNet's networks have 2e-5; this one is large enough to see
    ours = found(saved(tmp_path, written.IResNetExport(network, fold=False, scaling=scaling).content))
    assert ours.bn1.eps == iresnet.EPSILON
    assert error(ours(pictures()), network(pictures() * effect)) < EXACT


def test_scaling_that_centres_no_known_range_is_refused(tmp_path):
    export = written.IResNetExport(written.random_iresnet(), scaling=(100.0, 1 / 128))
    with pytest.raises(UserError, match="centres neither 0…255 nor 0…1"):
        found(saved(tmp_path, export.content))


FOREIGN = {
    "another activation": (b"PRelu", b"GRelu", "there is 'GRelu' where PRelu was expected"),
    "a head of another kind": (b"Gemm", b"Geme", "'Geme' where Gemm or MatMul"),
    "sums of something else": (b"Add", b"Sum", "'Sum' where Add was expected"),
    "something else before the head": (b"Flatten", b"Softmax", "there is 'Softmax' where Gemm or MatMul was expected"),
}


@pytest.mark.parametrize("name", list(FOREIGN))
def test_another_network_is_refused_with_what_to_take(tmp_path, name):
    old, new, words = FOREIGN[name]
    content = written.IResNetExport(written.random_iresnet()).content
    assert old in content
    with pytest.raises(UserError, match=re.escape(words)) as refused:
        found(saved(tmp_path, content.replace(old, new)))
    assert "w600k_r50.onnx" in str(refused.value)


def test_a_network_of_two_pictures_is_refused(tmp_path):
    with pytest.raises(UserError, match="takes 2 inputs in place of one picture"):
        found(saved(tmp_path, written.model([], {}, {"a": (1,), "b": (1,)}, {})))


def test_a_network_of_fewer_stages_is_refused(tmp_path):
    export = written.IResNetExport(written.random_iresnet(), stages=3)
    with pytest.raises(UserError, match="has 3 stages in place of 4"):
        found(saved(tmp_path, export.content))


def test_a_sum_that_does_not_take_the_blocks_input_is_refused(tmp_path):
    checkpoint = read(saved(tmp_path, written.IResNetExport(written.random_iresnet()).content))
    total = next(node for node in checkpoint.metadata["graph"]["nodes"] if node["op"] == "Add")
    total["inputs"][1] = next(iter(checkpoint.tensors))
    with pytest.raises(UserError, match="the sum of a block does not take its input"):
        iresnet_onnx.tensors_of(checkpoint)


def test_a_layer_after_the_embedding_is_refused(tmp_path):
    content = written.IResNetExport(written.random_iresnet(), normalised=True).content
    with pytest.raises(UserError, match="a node 'LpNormalisation' follows the embedding"):
        found(saved(tmp_path, content.replace(b"LpNormalization", b"LpNormalisation")))


def test_nodes_in_a_circle_end(tmp_path):
    nodes = [written.node("Mul", ["x", "c"], "y"), written.node("Mul", ["y", "c"], "x")]
    with pytest.raises(UserError, match="not in the order of computation"):
        found(saved(tmp_path, written.model(nodes, {"c": torch.ones(1)}, {"x": (1,)}, {})))


def test_options_of_a_wrong_kind_are_an_error_for_people(tmp_path):
    nodes = [written.node("Conv", ["x", "w"], "y", strides="abc")]
    with pytest.raises(UserError, match=r"'x\.onnx'"):
        found(saved(tmp_path, written.model(nodes, {"w": torch.ones(2, 3, 3, 3)}, {"x": (1,)}, {})))


# Beside onnxruntime


def _runtime(path: Path, given: Tensor) -> Tensor:
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    runtime.set_default_logger_severity(3)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return torch.cat([torch.from_numpy(session.run(None, {name: one[None].numpy()})[0]) for one in given])


@pytest.mark.parametrize("fold", [True, False], ids=["folded", "unfolded"])
def test_what_is_written_by_hand_means_the_same_to_onnxruntime(tmp_path, fold):
    path = saved(tmp_path, written.IResNetExport(written.random_iresnet(), fold=fold).content)
    assert error(found(path)(pictures()), _runtime(path, pictures())) < RUNTIME


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("fold", [True, False], ids=["folded", "unfolded"])
def test_torchs_own_export_gives_onnxruntimes_embedding(tmp_path, fold):
    pytest.importorskip("onnx", reason="torch's exporter needs onnx")
    network, buffer = written.random_iresnet(widths=(8, 8, 16, 16), embedding=32, side=112), io.BytesIO()
    how = torch.onnx.TrainingMode.EVAL if fold else torch.onnx.TrainingMode.PRESERVE
    torch.onnx.export(
        network, (pictures(1, 112),), buffer, dynamo=False, training=how, do_constant_folding=fold,
        input_names=["input.1"],
    )  # fmt: skip
    path = saved(tmp_path, buffer.getvalue())
    kinds = [node["op"] for node in read(path).metadata["graph"]["nodes"]]
    assert (kinds.count("BatchNormalization") < kinds.count("Conv")) == fold, "the exporter folds otherwise than it did"
    assert error(found(path)(pictures(2, 112)), _runtime(path, pictures(2, 112))) < RUNTIME
