"""Who a face is: the crop that a recogniser wants, its embedding, and what the cosine of two embeddings says.

Source: Deng et al. 2019, "ArcFace"; the crop and its use as a loss as in Deep3DFaceRecon (util/preprocess.py,
models/losses.py) and GANFit (Gecer et al. 2019, sections 3.3.1 and 3.3.2).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from ..checkpoints import Checkpoint, read, save_safetensors
from ..errors import UserError
from ..face import alignment
from ..face.crop import take
from ..networks import iresnet, iresnet_onnx
from ..networks.generator import fingerprint
from ..networks.iresnet import IResNet
from ..types import Landmarks, common_batch

DEFAULT = Path(__file__).resolve().parents[2] / "weights" / "toon_identity.safetensors"
"""The embedded recogniser of toon heads, free to use; no good for photographs."""
FORMAT, VERSION = "portrait_rig.identity_network", "1"
DIFFERENT, SAME = "different_below", "same_from"
"""Metadata keys of `Thresholds`, as decimal text."""
VERDICTS = ("different", "uncertain", "same")
"""What a similarity below, between and from the thresholds means."""
LANDMARK = "features.running_mean"
"""A key that every iresnet has once: what stands before it is the prefix of the network in its file."""
UNDERSTOOD = (
    "insightface's arcface_torch networks (backbone.pth, model.pt or checkpoint_gpu_0.pt; 18 to 200 layers), the "
    "recognisers of its packs (w600k_r50.onnx of buffalo_l, glintr100.onnx of antelopev2), and this pack's own"
)
AT_ONCE = 32
"""Crops in work at once, so that a clip's activations need not fit into memory together."""


@dataclass(frozen=True)
class Thresholds:
    """Cosines. Below `different` two faces are of different persons, from `same` on of one; between, nobody knows."""

    different: float
    same: float

    def verdict(self, similarity: float) -> str:
        """One of VERDICTS."""
        return VERDICTS[(similarity >= self.different) + (similarity >= max(self.same, self.different))]


PUBLISHED = Thresholds(0.2, 0.28)
"""For insightface's networks. Source: deepinsight/insightface, web-demos/src_recognition/main.py, which tests
w600k_r50 with them and calls the middle 'likely'."""


@dataclass(frozen=True, eq=False)
class IdentityNetwork:
    """A face recogniser. Copies share the network, which is frozen and whose weights are never modified in place.

    name: to show. fingerprint: of its weights.
    thresholds: for similarities of its embeddings. measured: they were measured with this network, not taken over.
    """

    name: str
    fingerprint: str
    network: IResNet
    thresholds: Thresholds = PUBLISHED
    measured: bool = False

    @property
    def side(self) -> int:
        """Of its crops, pixels."""
        return self.network.options.side

    def crops(self, pictures: Tensor, landmarks: Landmarks) -> Tensor:
        """Pictures [B or 1, 3, H, W] RGB 0…1 -> [B, 3, side, side], black outside; differentiable in the pictures.

        The similarity that brings the five points to ArcFace's places, without a gradient; 68 or 478 points are
        reduced to five. A frame without a face takes the nearest frame's points. UserError where no frame has a face
        or where the landmarks belong to pictures of another size.
        """
        return take(pictures, alignment.arcface(landmarks, self.side))

    def embed(self, crops: Tensor) -> Tensor:
        """[B, 3, side, side] RGB 0…1 -> [B, D] of length 1, differentiable."""
        return functional.normalize(torch.cat([self.network(part) for part in self._parts(crops)]))

    def maps(self, crops: Tensor) -> tuple[Tensor, ...]:
        """[B, 3, side, side] RGB 0…1 -> the four maps [B, C, h, w] of `IResNet.maps`, differentiable."""
        return tuple(map(torch.cat, zip(*(self.network.maps(part) for part in self._parts(crops)), strict=True)))

    def look(self, crops: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """`embed` and `maps` for the price of one."""
        maps = self.maps(crops)
        return functional.normalize(self.network.head(maps[-1])), maps

    def to(self, device: torch.device | str) -> IdentityNetwork:
        """The same on another device; itself where it is there already."""
        if self._like.device == torch.empty(0, device=device).device:  # which knows the number that "cuda" stands for
            return self
        with torch.inference_mode(False), torch.no_grad():
            return replace(self, network=copy.deepcopy(self.network).to(device))

    def describe(self) -> str:
        """A few lines: what was recognised, and where the thresholds come from."""
        origin = "measured with it" if self.measured else "insightface's for its own networks"
        return (
            f"{self.name}: {self.network.describe()}\n"
            f"{sum(p.numel() for p in self.network.parameters()):,} weights, fingerprint {self.fingerprint}\n"
            f"different below {self.thresholds.different:.2f}, same from {self.thresholds.same:.2f} ({origin})"
        )

    @property
    def _like(self) -> Tensor:
        return self.network.fc.weight

    def _parts(self, crops: Tensor) -> list[Tensor]:
        """The network's inputs, a few at a time."""
        if crops.dim() != 4 or crops.shape[1:] != (3, self.side, self.side):
            raise UserError(
                f"The recogniser '{self.name}' looks at crops [B, 3, {self.side}, {self.side}]; got "
                f"{list(crops.shape)}. Cut the face with the ArcFace alignment at that size."
            )
        return list((crops.to(self._like.dtype) * 2 - 1).split(AT_ONCE))


def similarity(a: Tensor, b: Tensor) -> Tensor:
    """Embeddings [B or 1, D] of length 1 -> [B] cosines −1…1, differentiable."""
    common_batch(first_faces=len(a), second_faces=len(b))
    return (a * b).sum(1)


def load_identity_network(path: str | Path = DEFAULT) -> IdentityNetwork:
    """The recogniser in a file, on the CPU in float32, frozen.

    UserError where the file is missing, damaged or holds no iresnet.
    """
    path = Path(path)
    checkpoint = read(path)
    metadata = checkpoint.metadata if checkpoint.metadata.get("format") == FORMAT else {}
    if metadata and metadata.get("version") != VERSION:
        raise UserError(
            f"'{path.name}' holds a recogniser of version {metadata.get('version')}, this pack reads {VERSION}. "
            "Update the pack."
        )
    tensors = iresnet_onnx.tensors_of(checkpoint) if checkpoint.format == "onnx" else _tensors(checkpoint)
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise UserError(f"'{path.name}' holds weights that are no (finite) numbers. Download it again.")
    try:
        network = iresnet.from_tensors(tensors)
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"'{path.name}' looks like ArcFace's network, but its weights contradict each other. Download it again."
        ) from error
    thresholds = _thresholds(metadata, path.name)
    found = fingerprint(network.state_dict())
    return IdentityNetwork(path.stem, found, network, thresholds or PUBLISHED, measured=thresholds is not None)


def save_identity_network(
    path: Path, network: IResNet, thresholds: Thresholds, about: Mapping[str, str] | None = None
) -> None:
    """Writes a recogniser as a .safetensors file with thresholds measured for it; about: more metadata, as text."""
    metadata = {DIFFERENT: str(thresholds.different), SAME: str(thresholds.same)}
    save_safetensors(path, network.state_dict(), {**(about or {}), "format": FORMAT, "version": VERSION, **metadata})


def _tensors(checkpoint: Checkpoint) -> Mapping[str, Tensor]:
    """Those of the iresnet, by its own names: files keep it under `state_dict_backbone.`, `module.` and the like."""
    for prefix in (key.removesuffix(LANDMARK) for key in checkpoint.tensors if key.endswith(LANDMARK)):
        own = {key.removeprefix(prefix): t for key, t in checkpoint.tensors.items() if key.startswith(prefix)}
        if iresnet.matches(own):
            return own
    raise UserError(
        f"'{checkpoint.path.name}' in '{checkpoint.path.parent}' holds no recogniser that is understood here. "
        f"Understood are {UNDERSTOOD}. It holds: {', '.join(checkpoint.top_names()) or 'nothing'}. Choose another file."
    )


def _thresholds(metadata: Mapping[str, str], name: str) -> Thresholds | None:
    """Those that our own files carry."""
    if not metadata:
        return None
    try:
        return Thresholds(float(metadata[DIFFERENT]), float(metadata[SAME]))
    except (KeyError, ValueError) as error:
        raise UserError(f"'{name}' lacks the thresholds of its similarities. Download it again.") from error
