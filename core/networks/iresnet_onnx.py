"""ArcFace's network out of an ONNX graph, whose tensors have numbers for names and whose norms may be gone.

The graph is followed from its input; what stands where tells which weight is which. Whatever exporters did on the way
is undone exactly: norms folded into the layer before them come back as norms that only shift, other epsilons go into
the variances, and a graph's own scaling of pictures into the first convolution.

Source of the layouts: torch.onnx on arcface_torch's networks, with norms folded (as in insightface's packs buffalo_l
and antelopev2) and without; insightface's web-demos/src_recognition/arcface_onnx.py for the older files from MXNet,
which take pictures 0…255 and begin with (x − 127.5) / 128.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..checkpoints import Checkpoint
from ..checkpoints.limits import quoted
from ..errors import UserError
from .iresnet import EPSILON, STAGES

TRANSPARENT = ("Identity", "Dropout", "Cast", "CastLike", "Squeeze", "Unsqueeze", "Flatten", "Reshape", "Expand")
"""Nodes that hand on the values of their first input, in their order."""
UNSEEING = ("Shape", "ConstantOfShape")
"""Nodes that do not look at the values of what they take."""
NORM = "BatchNormalization"
SCALING = ("Sub", "Add", "Mul", "Div")
BRIGHTEST = (255.0, 1.0)
"""Ranges of pictures, from 0 up, that a graph with its own scaling may take."""
CENTRED = 1e-3
"""How far from zero such a graph may bring the middle of the range, as a share of half of it."""
LENGTH_ONLY = ("ReduceL2", "LpNormalization", "Div", "Mul", "ReduceSumSquare", "Pow", "Abs")
"""Beginnings of a normalisation after the embedding, which leaves its direction as it is."""


class _ForeignError(Exception):
    """Where the graph is no iresnet: the rest of a sentence."""


@dataclass(frozen=True)
class _Node:
    op: str
    inputs: list[str]
    output: str
    attributes: dict[str, Any]


def tensors_of(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """What `iresnet.from_tensors` takes, float32, from an ONNX file whose pictures are RGB.

    UserError where the graph is not that of one of ArcFace's residual networks.
    """
    name = checkpoint.path.name
    try:
        return _Reading(checkpoint).tensors()
    except _ForeignError as error:
        raise UserError(
            f"'{name}' is an ONNX network, but none of ArcFace's residual networks: {error}. Of insightface's packs "
            "take the recogniser, w600k_r50.onnx (buffalo_l) or glintr100.onnx (antelopev2)."
        ) from error
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"'{name}' holds weights or options that contradict each other. Download it again.") from error


class _Reading:
    """One walk along the graph, from the picture to the embedding; transparent nodes are taken out of it first.

    The methods named after layers go past one layer: from the name of its input to that of its output.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        graph = checkpoint.metadata["graph"]
        self.known = checkpoint.tensors
        self.pictures: list[str] = graph["inputs"]
        self.users: dict[str, list[_Node]] = {}
        plain: dict[str, str] = {}
        made = {*self.pictures, *self.known}
        for found in graph["nodes"]:
            inputs = [plain.get(name, name) for name in found["inputs"]]
            output = next(iter(found["outputs"]), "")
            if output in made or output in self.users:  # so that no walk can go in a circle
                raise _ForeignError(f"its nodes are not in the order of computation ({quoted(output)})")
            made.add(output)
            if found["op"] in TRANSPARENT and inputs:
                plain[output] = inputs[0]
            elif found["op"] not in UNSEEING:
                node = _Node(found["op"], inputs, output, found["attributes"])
                for name in dict.fromkeys(inputs):
                    self.users.setdefault(name, []).append(node)

    def tensors(self) -> dict[str, Tensor]:
        if len(self.pictures) != 1:
            raise _ForeignError(f"it takes {len(self.pictures)} inputs in place of one picture")
        x, scale = self._scaling(self.pictures[0])
        found: dict[str, Tensor] = {}
        x = self._prelu(self._convolution(x, 1, found, "conv1", "bn1"), found, "prelu")
        found["conv1.weight"] = found["conv1.weight"] * scale
        stage = block = 0
        while len(self.users.get(x, [])) > 1:
            x, own, stride = self._block(x)
            stage, block = (stage + 1, 0) if stride > 1 else (stage, block + 1)
            found |= {f"layer{stage}.{block}.{name}": tensor for name, tensor in own.items()}
        if stage != STAGES:
            raise _ForeignError(f"it has {stage} stages in place of {STAGES}")
        x = self._dense(self._norm(x, found, "bn2"), found)
        if self._is_next(x, NORM):
            x = self._norm(x, found, "features")
        else:
            found |= _shift("features", torch.zeros_like(found["fc.bias"]))
        for node in self.users.get(x, []):
            if node.op not in LENGTH_ONLY:
                raise _ForeignError(f"a node {quoted(node.op)} follows the embedding")
        return found

    def _scaling(self, x: str) -> tuple[str, float]:
        """Past what a graph does to pictures first, and what it multiplies pictures −1…1 by in effect."""
        factor, shift, first = 1.0, 0.0, x
        while (node := self._next(x)).op in SCALING:
            value = self._number(node)
            if node.op in ("Mul", "Div"):
                value = value if node.op == "Mul" else 1 / value
                factor, shift = factor * value, shift * value
            else:
                shift += value if node.op == "Add" else -value
            x = node.output
        if x == first:
            return x, 1.0
        for brightest in BRIGHTEST:
            half = factor * brightest / 2
            if half > 0 and abs(half + shift) <= CENTRED * half:
                return x, half
        raise _ForeignError(f"it makes {factor:.4g} x {shift:+.4g} of pictures x, which centres neither 0…255 nor 0…1")

    def _block(self, x: str) -> tuple[str, dict[str, Tensor], int]:
        """A residual block: its sum, its weights by their names inside it, and its stride."""
        own: dict[str, Tensor] = {}
        y = self._convolution(self._norm(x, own, "bn1"), 1, own, "conv1", "bn2")
        y = self._prelu(y, own, "prelu")
        stride = _stride(self._next(y, "Conv"))
        y = self._convolution(y, stride, own, "conv2", "bn3")
        total = self._next(y, "Add")
        shortcut = x
        if x not in total.inputs:
            shortcut = self._convolution(x, stride, own, "downsample.0", "downsample.1")
        if set(total.inputs) != {y, shortcut}:
            raise _ForeignError("the sum of a block does not take its input")
        return total.output, own, stride

    def _convolution(self, x: str, stride: int, found: dict[str, Tensor], name: str, norm: str) -> str:
        """A convolution of the wanted stride and its norm, which may have been folded into it."""
        node = self._next(x, "Conv")
        weight = self._constant(node, 1)
        margins = set(node.attributes.get("pads") or [0])
        if weight.dim() != 4 or _stride(node) != stride or margins != {(weight.shape[-1] - 1) // 2}:
            raise _ForeignError(f"a convolution of the shape {list(weight.shape)} has a stride or margins of its own")
        bias = self._constant(node, 2).flatten() if len(node.inputs) > 2 else weight.new_zeros(1)
        bias = bias.expand(weight.shape[0])
        found[f"{name}.weight"] = weight
        if not self._is_next(node.output, NORM):
            found |= _shift(norm, bias)
            return node.output
        y = self._norm(node.output, found, norm)
        found[f"{norm}.running_mean"] = found[f"{norm}.running_mean"] - bias
        return y

    def _norm(self, x: str, found: dict[str, Tensor], name: str) -> str:
        node = self._next(x, NORM)
        parts = ("weight", "bias", "running_mean", "running_var")
        found |= {f"{name}.{part}": self._constant(node, index) for index, part in enumerate(parts, start=1)}
        epsilon = float(node.attributes.get("epsilon", EPSILON))
        found[f"{name}.running_var"] = found[f"{name}.running_var"] + (epsilon - EPSILON)
        return node.output

    def _prelu(self, x: str, found: dict[str, Tensor], name: str) -> str:
        node = self._next(x, "PRelu")
        found[f"{name}.weight"] = self._constant(node, 1).flatten()
        return node.output

    def _dense(self, x: str, found: dict[str, Tensor]) -> str:
        """One node, or a product and a sum; with or without a bias."""
        node = self._next(x, "Gemm", "MatMul")
        weight = self._constant(node, 1)
        options = node.attributes
        if not options.get("transB"):
            weight = weight.mT
        found["fc.weight"] = weight * float(options.get("alpha", 1.0))
        found["fc.bias"] = weight.new_zeros(weight.shape[0])
        if len(node.inputs) > 2:
            found["fc.bias"] = found["fc.bias"] + self._constant(node, 2).flatten() * float(options.get("beta", 1.0))
        elif self._is_next(node.output, "Add"):
            product, node = node.output, self._next(node.output)
            found["fc.bias"] = found["fc.bias"] + self._constant(node, 1 - node.inputs.index(product)).flatten()
        return node.output

    def _next(self, x: str, *ops: str) -> _Node:
        """The one node that takes `x`, of those that are any of `ops`."""
        users = self.users.get(x, [])
        fitting = [node for node in users if not ops or node.op in ops]
        if len(fitting) != 1:
            there = ", ".join(quoted(op) for op in sorted({node.op for node in users})[:3]) or "nothing"
            raise _ForeignError(f"there is {there} where {' or '.join(ops) or 'one node'} was expected")
        return fitting[0]

    def _is_next(self, x: str, op: str) -> bool:
        return [node.op for node in self.users.get(x, [])] == [op]

    def _constant(self, node: _Node, index: int) -> Tensor:
        tensor = self.known.get(node.inputs[index])
        if tensor is None or not tensor.is_floating_point():
            raise _ForeignError(f"input {index} of a node {quoted(node.op)} is no weight")
        return tensor.float()

    def _number(self, node: _Node) -> float:
        """The one value that a node adds, subtracts, multiplies or divides by."""
        values = [self.known[name].double().flatten() for name in node.inputs if name in self.known]
        if len(values) != 1 or (node.op in ("Sub", "Div") and node.inputs[0] in self.known):
            raise _ForeignError(f"a node {quoted(node.op)} before the first convolution is no scaling")
        if not len(values[0]) or (values[0] != values[0][0]).any():
            raise _ForeignError("it scales the colours of pictures differently")
        return values[0][0].item()


def _stride(node: _Node) -> int:
    strides = node.attributes.get("strides") or [1]
    if len(set(strides)) != 1:
        raise _ForeignError(f"a convolution has the strides {strides}")
    return strides[0]


def _shift(name: str, by: Tensor) -> dict[str, Tensor]:
    """The batch norm that adds `by` [C] and does nothing else: its variance makes up for the epsilon."""
    one = torch.ones_like(by)
    return {
        f"{name}.weight": one,
        f"{name}.bias": by,
        f"{name}.running_mean": torch.zeros_like(by),
        f"{name}.running_var": one - EPSILON,
    }
