"""Files as the authors' programs write them, from stand-ins of their packages that exist only while pickling."""

from __future__ import annotations

import contextlib
import io
import pickle
import sys
import types
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn


@contextlib.contextmanager
def packages(**members: dict[str, object]) -> Iterator[None]:
    """Modules to import inside the `with`; `torch_utils__persistence={...}` makes `torch_utils.persistence`."""
    made = []
    try:
        for dotted, contents in members.items():
            name = dotted.replace("__", ".")
            for depth in range(1, name.count(".") + 2):
                part = ".".join(name.split(".")[:depth])
                if part not in sys.modules:
                    sys.modules[part] = types.ModuleType(part)
                    made.append(part)
            for key, value in contents.items():
                setattr(sys.modules[name], key, value)
                if isinstance(value, type) or callable(value):
                    value.__module__ = name
                    value.__qualname__ = value.__name__ = key
        yield
    finally:
        for name in made:
            del sys.modules[name]


class Layer(nn.Module):
    """Something of all that NVIDIA's layers hold: parameters, both kinds of buffers, NumPy numbers, arguments."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__()
        self._init_args, self._init_kwargs = args, kwargs
        self.weight = nn.Parameter(torch.randn(2, 3, 3, 3).to(memory_format=torch.channels_last))
        self.bias = nn.Parameter(torch.randn(2).half())
        self.register_parameter("absent", None)
        self.register_buffer("noise_const", torch.randn(4, 4))
        self.register_buffer("passing", torch.zeros(7), persistent=False)
        self.register_buffer("none", None)
        self.weight_gain = np.float32(0.25)
        self.use_fp16 = np.bool_(True)
        self.size = np.array([16, 32])
        self.activation = "lrelu"

    def __reduce__(self):  # as torch_utils/persistence.py reduces, in effect
        meta = {
            "type": "class",
            "version": 6,
            "module_src": "raise SystemExit('module_src was executed')",
            "class_name": type(self).__name__,
            "state": self.__dict__,
        }
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (meta,)


def layer() -> nn.Module:
    torch.manual_seed(3)
    return Layer(z_dim=8, mapping_kwargs=None)


def network() -> nn.Module:
    net = layer()
    net.synthesis = Layer(w_dim=8)
    net.synthesis.b4 = Layer(3, 5, up=2)
    net.synthesis.b4.again = net.synthesis.b4.weight  # shared by two names
    net.synthesis.lists = [1, (2.5, None), {"a": "b"}]
    return net


def nvidia(net: nn.Module, protocol: int, *, save: str = "pickle") -> bytes:
    """The dict that the training snapshot holds; save: `pickle`, `zip` or `legacy`."""

    def _reconstruct_persistent_obj(meta):
        raise AssertionError("not called while writing")

    class EasyDict(dict):
        pass

    buffer = io.BytesIO()
    with packages(
        torch_utils__persistence={"_reconstruct_persistent_obj": _reconstruct_persistent_obj},
        dnnlib__util={"EasyDict": EasyDict},
        training__triplane={"OSGDecoder": type("OSGDecoder", (nn.Module,), {})},
    ):
        net._init_kwargs["mapping_kwargs"] = EasyDict(num_layers=2)
        net.decoder = sys.modules["training.triplane"].OSGDecoder()
        net.decoder.net = nn.Sequential(nn.Linear(2, 3), nn.Softplus())
        held = {"training_set_kwargs": {"class_name": "x", "resolution": 16}, "G_ema": net, "augment_pipe": None}
        if save == "pickle":
            pickle.dump(held, buffer, protocol=protocol)
        else:
            torch.save(held, buffer, _use_new_zipfile_serialization=save == "zip")
    return buffer.getvalue()


def tensorflow() -> tuple[bytes, dict[str, np.ndarray]]:
    """A StyleGAN2 pickle of TensorFlow days, and the variables of Gs by the names they should have."""

    class Network:
        def __init__(self, **state):
            self.__dict__.update(state)

    def make(name: str, variables: list, **components: object) -> Network:
        return Network(
            version=4,
            name=name,
            static_kwargs={"resolution": 16, "fmap_base": 1024},
            components=components,
            build_module_src="raise SystemExit",
            build_func_name=f"{name}_func",
            variables=variables,
        )

    const = np.random.default_rng(0).standard_normal((1, 4, 4, 4)).astype(np.float32)
    average = np.arange(4, dtype=np.float32)
    strength = np.float32(0.5)
    with packages(dnnlib__tflib__network={"Network": Network}):
        synthesis = make("G_synthesis", [("4x4/Const/const", const), ("4x4/Conv/noise_strength", strength)])
        gs = make("G_main", [("dlatent_avg", average)], synthesis=synthesis)
        content = pickle.dumps((make("G", []), make("D", []), gs), protocol=3)
    named = {
        "dlatent_avg": average,
        "synthesis/4x4/Const/const": const,
        "synthesis/4x4/Conv/noise_strength": np.asarray(strength),
    }
    return content, named


def flame(protocol: int, *, derived: bool = False) -> tuple[bytes, dict[str, np.ndarray]]:
    """generic_model.pkl in small: chumpy arrays, a sparse regressor, uint32 tables."""
    import scipy.sparse

    class Ch:
        def __init__(self, **state):
            self.__dict__.update(state)

    class Select(Ch):
        pass

    rng = np.random.default_rng(1)
    arrays = {
        "v_template": rng.standard_normal((5, 3)),
        "shapedirs": np.asfortranarray(rng.standard_normal((5, 3, 4))),
        "J_regressor": np.where(rng.random((2, 5)) < 0.5, rng.random((2, 5)), 0.0),
        "kintree_table": np.array([[4294967295, 0], [0, 1]], dtype=np.uint32),
        "f": np.array([[0, 1, 2], [2, 3, 4]], dtype=np.uint32),
    }
    with packages(chumpy__ch={"Ch": Ch}, chumpy__reordering={"Select": Select}):
        held: dict[str, object] = dict(arrays)
        held["v_template"] = Ch(x=arrays["v_template"], _dirty_vars=set(), _itr=None, _cache={"drs": {}})
        held["shapedirs"] = Ch(x=arrays["shapedirs"])
        held["J_regressor"] = scipy.sparse.csc_matrix(arrays["J_regressor"])
        held["bs_type"] = "lrotmin"
        if derived:
            held["J"] = Select(a=held["v_template"], idxs=np.arange(3))
        content = pickle.dumps(held, protocol=protocol)
    if protocol == 2:
        content = content.replace(b"cscipy.sparse._csc\n", b"cscipy.sparse.csc\n").replace(
            b"numpy._core", b"numpy.core"
        )
    return content, arrays


def state_dict() -> dict[str, Tensor]:
    torch.manual_seed(5)
    whole = torch.randn(4, 6)
    return {
        "layer.weight": whole,
        "layer.part": whole[1:, ::2],
        "layer.turned": whole.t(),
        "half": torch.randn(3).half(),
        "brain": torch.randn(3, 2).bfloat16(),
        "long": torch.arange(5),
        "mask": torch.tensor([True, False]),
        "short": torch.arange(3).to(torch.uint16),
        "complex": torch.randn(2, dtype=torch.complex64),
        "nothing": torch.empty(0, 3),
        "number": torch.tensor(7.5),
        "number_again": torch.tensor(2, dtype=torch.int8),
    }
