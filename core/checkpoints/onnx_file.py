"""ONNX: the weights of a network by name, and its graph as plain data.

Source: the ONNX specification, onnx/onnx.proto (field numbers and types of tensors). Nothing is computed here: whoever
knows a network reads its layout out of the graph. Subgraphs, functions and training information are passed over.
"""

from __future__ import annotations

import math
import re
import struct
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .limits import MAX_NAME, MAX_TENSORS, Budget, UnreadableError, checked_shape, damaged, quoted
from .onnx_wire import Value, bytes_of, fields, integer_of, text_of, unsigned_of
from .tensors import from_numpy

BEGINNING = re.compile(rb"\x08[\x01-\x7f][\x12\x1a\x22\x28\x32\x3a\x42\x72]", re.DOTALL)
"""ONNX has no magic: every writer begins with ModelProto's first field, a small version, and the next by number."""
EXTENSION = ".onnx"
MAX_BYTES = 2 << 30
"""Of a message, as Protocol Buffers have it; larger networks keep their weights in other files."""

# Field numbers of onnx.proto.
MODEL_IR_VERSION, MODEL_PRODUCER, MODEL_GRAPH = 1, 2, 7
GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT, GRAPH_SPARSE = 1, 5, 11, 12, 15
VALUE_NAME = 1
NODE_INPUT, NODE_OUTPUT, NODE_OP, NODE_ATTRIBUTE, NODE_DOMAIN = 1, 2, 4, 5, 7
ATTRIBUTE_NAME, ATTRIBUTE_FLOAT, ATTRIBUTE_INT, ATTRIBUTE_TEXT, ATTRIBUTE_TENSOR = 1, 2, 3, 4, 5
ATTRIBUTE_FLOATS, ATTRIBUTE_INTS = 7, 8
TENSOR_DIMS, TENSOR_TYPE, TENSOR_NAME, TENSOR_RAW, TENSOR_EXTERNAL, TENSOR_LOCATION = 1, 2, 8, 9, 13, 14
ENTRY_VALUE = 2
_TYPED_BYTES = (4, 10)
"""float_data and double_data: numbers of the tensor's own size."""
_TYPED_VARINTS = (5, 7, 11)
"""int32_data, int64_data and uint64_data: varints, of which the tensor's own size is kept."""

_TYPES = {
    1: "f4", 2: "u1", 3: "i1", 4: "u2", 5: "i2", 6: "i4", 7: "i8", 9: "u1", 10: "f2", 11: "f8", 12: "u4", 13: "u8",
    16: "bf",
}  # fmt: skip
"""TensorProto.DataType by numpy's codes, little-endian on disk; truth values come as bytes, `bf` is bfloat16. The
others (text, complex, 8 and 4 bit floats) are left out and named in the metadata."""


def read_onnx(content: bytes, budget: Budget) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Initialisers and constants by name, and the metadata.

    metadata: `producer`; `ir_version`; `left_out`, names of tensors of other types; `graph`: {`inputs`, `outputs`:
    names; `nodes`: [{`op`, `domain`, `inputs`, `outputs`: names, `attributes`: {name: number, text or list}}, …]} in
    the file's order, which is one of computation. Constants are tensors, not nodes.
    """
    metadata: dict[str, Any] = {"producer": "", "ir_version": 0}
    graph: memoryview | None = None
    for number, value in fields(memoryview(content), budget):
        if number == MODEL_IR_VERSION:
            metadata["ir_version"] = integer_of(value)
        elif number == MODEL_PRODUCER:
            metadata["producer"] = text_of(value)
        elif number == MODEL_GRAPH:
            if graph is not None:
                raise damaged("it holds two graphs")
            graph = bytes_of(value)
    if graph is None:
        raise damaged("it holds no ONNX graph")
    reading = _Graph(budget)
    reading.read(graph)
    return reading.tensors, metadata | {
        "graph": {"inputs": reading.inputs, "outputs": reading.outputs, "nodes": reading.nodes},
        **({"left_out": reading.left_out} if reading.left_out else {}),
    }


class _Graph:
    """What a GraphProto holds, as far as it is wanted."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.tensors: dict[str, Tensor] = {}
        self.left_out: list[str] = []
        self.nodes: list[dict[str, Any]] = []
        self.inputs: list[str] = []
        self.outputs: list[str] = []

    def read(self, graph: memoryview) -> None:
        for number, value in fields(graph, self.budget):
            if number == GRAPH_NODE:
                self._node(bytes_of(value))
            elif number == GRAPH_INITIALIZER:
                self._keep(*_tensor(bytes_of(value), self.budget))
            elif number in (GRAPH_INPUT, GRAPH_OUTPUT):
                names = self.inputs if number == GRAPH_INPUT else self.outputs
                names.extend(text_of(v) for n, v in fields(bytes_of(value), self.budget) if n == VALUE_NAME)
            elif number == GRAPH_SPARSE:
                self.left_out.append("sparse initialiser")
        self.inputs = [name for name in self.inputs if name not in self.tensors]  # old writers list weights as inputs

    def _keep(self, name: str, tensor: Tensor | None) -> None:
        if name in self.tensors:
            raise damaged(f"two tensors are named {quoted(name)}")
        if len(name) > MAX_NAME or len(self.tensors) >= MAX_TENSORS:
            raise damaged("it holds more or longer names than weights need")
        if tensor is None:
            self.left_out.append(name)
        else:
            self.tensors[name] = tensor

    def _node(self, message: memoryview) -> None:
        node: dict[str, Any] = {"op": "", "domain": "", "inputs": [], "outputs": [], "attributes": {}}
        constants: list[Tensor | None] = []
        for number, value in fields(message, self.budget):
            if number == NODE_INPUT:
                node["inputs"].append(text_of(value))
            elif number == NODE_OUTPUT:
                node["outputs"].append(text_of(value))
            elif number == NODE_OP:
                node["op"] = text_of(value)
            elif number == NODE_DOMAIN:
                node["domain"] = text_of(value)
            elif number == NODE_ATTRIBUTE:
                name, found = _attribute(bytes_of(value), self.budget)
                if isinstance(found, _TensorValue):
                    constants.append(found.tensor)
                else:
                    node["attributes"][name] = found
        if node["op"] != "Constant" or len(node["outputs"]) != 1:
            self.nodes.append(node)
            return
        values = constants or [_plain_tensor(value) for value in node["attributes"].values()]
        self._keep(node["outputs"][0], values[0] if values else None)


class _TensorValue:
    """An attribute that is a tensor, or one of a type that is left out."""

    def __init__(self, tensor: Tensor | None) -> None:
        self.tensor = tensor


def _attribute(message: memoryview, budget: Budget) -> tuple[str, Any]:
    """Name and value: a number, a text, a list of numbers, a `_TensorValue`, or None for graphs and the like."""
    name, found, floats, ints = "", None, [], []
    for number, value in fields(message, budget):
        if number == ATTRIBUTE_NAME:
            name = text_of(value)
        elif number == ATTRIBUTE_FLOAT:
            found = _floats(value)[0]
        elif number == ATTRIBUTE_INT:
            found = integer_of(value)
        elif number == ATTRIBUTE_TEXT:
            found = text_of(value)
        elif number == ATTRIBUTE_TENSOR:
            found = _TensorValue(_tensor(bytes_of(value), budget)[1])
        elif number == ATTRIBUTE_FLOATS:
            floats += _floats(value)
        elif number == ATTRIBUTE_INTS:
            ints += map(integer_of, unsigned_of(value, budget))
    return name, found if found is not None else floats or ints or None


def _floats(value: Value) -> list[float]:
    content = bytes_of(value)
    if not len(content) or len(content) % 4:
        raise damaged("it holds half a number")
    return list(struct.unpack(f"<{len(content) // 4}f", content))


def _plain_tensor(value: Any) -> Tensor | None:
    """A constant that is written as a number or a list of them."""
    numbers = value if isinstance(value, list) else [value]
    return torch.tensor(value) if numbers and all(isinstance(n, int | float) for n in numbers) else None


def _tensor(message: memoryview, budget: Budget) -> tuple[str, Tensor | None]:
    """Name and tensor; None for a type that is left out. UnreadableError where its weights lie in another file."""
    name, kind, dims = "", 0, []
    chunks: list[memoryview] = []
    varints: list[int] = []
    for number, value in fields(message, budget):
        if number == TENSOR_DIMS:
            dims += map(integer_of, unsigned_of(value, budget))
        elif number == TENSOR_TYPE:
            kind = integer_of(value)
        elif number == TENSOR_NAME:
            name = text_of(value)
        elif number == TENSOR_RAW or number in _TYPED_BYTES:
            chunks.append(bytes_of(value))
        elif number in _TYPED_VARINTS:
            varints += unsigned_of(value, budget)
        elif number == TENSOR_EXTERNAL or (number == TENSOR_LOCATION and integer_of(value)):
            raise UnreadableError(
                "keeps its weights in other files (ONNX external data), which are not read here. Make one file of it "
                "where onnx is installed: onnx.save(onnx.load('it.onnx'), 'whole.onnx')."
            )
    if kind not in _TYPES:
        return name, None
    shape, code = checked_shape(dims), _TYPES[kind]
    dtype = np.dtype("u2" if code == "bf" else code).newbyteorder("<")
    if varints and not chunks:
        content = np.array(varints, dtype=np.uint64).astype(f"<u{dtype.itemsize}").tobytes()
    else:
        content = b"".join(chunks)
    if len(content) != math.prod(shape) * dtype.itemsize:
        raise damaged(f"the tensor {quoted(name)} of shape {list(shape)} has {len(content)} bytes")
    budget.spend_bytes(len(content))
    array = np.frombuffer(content, dtype).astype(dtype.newbyteorder("=")).reshape(shape)
    return name, from_numpy(array.view(np.int16)).view(torch.bfloat16) if code == "bf" else from_numpy(array)
