"""ONNX files written by hand: Protocol Buffers' wire format, and ArcFace's network as exporters lay it out."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import torch
from portrait_rig.core.networks.iresnet import IResNet, IResNetOptions
from torch import Tensor, nn

TYPES = {
    torch.float32: 1, torch.uint8: 2, torch.int8: 3, torch.int16: 5, torch.int32: 6, torch.int64: 7,
    torch.float16: 10, torch.float64: 11, torch.bfloat16: 16,
}  # fmt: skip
IR_VERSION, OPSET = 8, 13


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    written = bytearray()
    while True:
        number, low = number >> 7, number & 0x7F
        written.append(low | (0x80 if number else 0))
        if not number:
            return bytes(written)


def field(number: int, value: int | float | bytes | str) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def tensor(name: str, values: Tensor, *, raw: bool = True, dims: Sequence[int] | None = None) -> bytes:
    """TensorProto; raw: as bytes, else as the typed list of its kind, packed."""
    written = b"".join(field(1, size) for size in (values.shape if dims is None else dims))
    written += field(2, TYPES[values.dtype])
    bits = values.contiguous().view(torch.int16) if values.dtype == torch.bfloat16 else values.contiguous()
    if raw:
        written += field(9, bits.numpy().tobytes())
    elif values.dtype in (torch.float32, torch.float64):
        written += field(4 if values.dtype == torch.float32 else 10, bits.numpy().tobytes())
    else:
        bits = bits.view(torch.int16) if values.dtype == torch.float16 else bits
        half = values.dtype in (torch.float16, torch.bfloat16)
        numbers = [n & 0xFFFF if half else n for n in bits.flatten().tolist()]
        written += field(7 if values.dtype == torch.int64 else 5, b"".join(map(varint, numbers)))
    return written + field(8, name)


def attribute(name: str, value: int | float | str | Tensor | list[int]) -> bytes:
    kinds = {int: (3, 2), float: (2, 1), str: (4, 3)}
    if isinstance(value, Tensor):
        return field(1, name) + field(5, tensor("", value)) + field(20, 4)
    if isinstance(value, list):
        return field(1, name) + b"".join(field(8, number) for number in value) + field(20, 7)
    number, kind = kinds[type(value)]
    return field(1, name) + field(number, value) + field(20, kind)


def node(op: str, inputs: Sequence[str], output: str, **attributes: int | float | str | Tensor | list[int]) -> bytes:
    written = b"".join(field(1, name) for name in inputs) + field(2, output) + field(4, op)
    return written + b"".join(field(5, attribute(name, value)) for name, value in attributes.items())


def value_info(name: str, shape: Sequence[int | str]) -> bytes:
    """shape: a name stands for a size that is free."""
    dims = b"".join(field(1, field(1 if isinstance(size, int) else 2, size)) for size in shape)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, dims)))


def model(
    nodes: Sequence[bytes],
    tensors: dict[str, Tensor],
    inputs: dict[str, Sequence[int | str]],
    outputs: dict[str, Sequence[int | str]],
    *,
    raw: bool = True,
) -> bytes:
    graph = b"".join(field(1, one) for one in nodes) + field(2, "graph")
    graph += b"".join(field(5, tensor(name, values, raw=raw)) for name, values in tensors.items())
    graph += b"".join(field(11, value_info(name, shape)) for name, shape in inputs.items())
    graph += b"".join(field(12, value_info(name, shape)) for name, shape in outputs.items())
    opset = field(1, "") + field(2, OPSET)
    return field(1, IR_VERSION) + field(2, "by hand") + field(7, graph) + field(8, opset)


def random_iresnet(
    depths: tuple[int, ...] = (1, 2, 1, 1), widths: tuple[int, ...] = (4, 6, 8, 10), embedding: int = 12, side: int = 32
) -> IResNet:
    """A small network whose norms do something, evaluating."""
    state = torch.random.get_rng_state()
    torch.manual_seed(7)
    network = IResNet(IResNetOptions(depths, widths, embedding, side))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.uniform_(module.bias, -0.2, 0.2)
        elif isinstance(module, nn.PReLU):
            nn.init.uniform_(module.weight, 0.1, 0.4)
    torch.random.set_rng_state(state)
    return network.eval().requires_grad_(False)


class IResNetExport:
    """An iresnet as an ONNX file, `content`.

    fold: norms behind a convolution or the dense layer go into it. scaling: begins with (x − a) · b on pictures, or
    not. biased: convolutions before a norm of their own have a bias that the norm takes off again. product: the dense
    layer is MatMul and Add, after a Dropout. normalised: ends with a division by the length. stages: how many
    are written. Names are numbers, shared ones go through Identity.
    """

    def __init__(
        self,
        network: IResNet,
        *,
        fold: bool = True,
        scaling: tuple[float, float] | None = None,
        biased: bool = False,
        product: bool = False,
        normalised: bool = False,
        stages: int = 4,
    ) -> None:
        self.fold, self.biased, self.nodes, self.tensors, self.count = fold, biased, [], {}, 300
        side = network.options.side
        x = "input.1"
        if scaling is not None:
            x = self.add("Sub", x, torch.tensor([scaling[0]]))
            x = self.add("Mul", x, torch.tensor(scaling[1]))
        x = self.prelu(self.convolution(x, network.conv1, network.bn1), network.prelu)
        for stage in range(1, stages + 1):
            for block in network.get_submodule(f"layer{stage}"):
                y = self.convolution(self.norm(x, block.bn1), block.conv1, block.bn2)
                y = self.convolution(self.prelu(y, block.prelu), block.conv2, block.bn3)
                x = self.node("Add", [y, x if block.downsample is None else self.convolution(x, *block.downsample)])
        x = self.node("Flatten", [self.norm(x, network.bn2)], axis=1)
        x = self.dense(x, network.fc, network.features, product)
        if normalised:
            x = self.node("LpNormalization", [x], axis=1, p=2)
        self.content = model(
            self.nodes, self.tensors, {"input.1": (1, 3, side, side)}, {x: (1, network.options.embedding)}
        )

    def name(self) -> str:
        self.count += 1
        return str(self.count)

    def constant(self, values: Tensor) -> str:
        """A weight by a number; equal ones are stored once and handed on by Identity, as torch's exporter does."""
        same = next((k for k, v in self.tensors.items() if v.shape == values.shape and torch.equal(v, values)), None)
        if same is not None:
            return self.node("Identity", [same])
        name = self.name()
        self.tensors[name] = values.clone()
        return name

    def node(self, op: str, inputs: list[str], **attributes: int | float | list[int]) -> str:
        output = self.name()
        self.nodes.append(node(op, inputs, output, **attributes))
        return output

    def add(self, op: str, x: str, *weights: Tensor, **attributes: int | float | list[int]) -> str:
        return self.node(op, [x, *map(self.constant, weights)], **attributes)

    def norm(self, x: str, norm: nn.BatchNorm2d | nn.BatchNorm1d, off: Tensor | float = 0.0) -> str:
        parts = (norm.weight, norm.bias, norm.running_mean + off, norm.running_var)
        return self.add("BatchNormalization", x, *parts, epsilon=norm.eps)

    def convolution(self, x: str, layer: nn.Conv2d, norm: nn.BatchNorm2d) -> str:
        options = {
            "kernel_shape": list(layer.kernel_size),
            "strides": list(layer.stride),
            "pads": [layer.padding[0]] * 4,
            "group": 1,
        }
        if not self.fold:
            bias = [torch.linspace(-0.5, 0.5, layer.out_channels)] if self.biased else []
            return self.norm(self.add("Conv", x, layer.weight, *bias, **options), norm, *bias)
        gain, bias = _gain_and_bias(norm)
        return self.add("Conv", x, layer.weight * gain[:, None, None, None], bias, **options)

    def prelu(self, x: str, layer: nn.PReLU) -> str:
        return self.add("PRelu", x, layer.weight[:, None, None])

    def dense(self, x: str, layer: nn.Linear, norm: nn.BatchNorm1d, product: bool) -> str:
        weight, bias = layer.weight, layer.bias
        if self.fold:
            gain, shift = _gain_and_bias(norm)
            weight, bias = weight * gain[:, None], bias * gain + shift
        if product:
            x = self.node("Dropout", [x])
            x = self.add("Add", self.add("MatMul", x, weight.mT.contiguous()), bias)
        else:
            x = self.add("Gemm", x, weight, bias, alpha=1.0, beta=1.0, transB=1)
        return x if self.fold else self.norm(x, norm)


def _gain_and_bias(norm: nn.BatchNorm2d | nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    gain = norm.weight / (norm.running_var + norm.eps).sqrt()
    return gain, norm.bias - norm.running_mean * gain
