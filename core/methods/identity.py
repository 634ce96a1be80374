"""Who a face is: the crop that a recogniser wants, its embedding, and what the cosine of two embeddings says.

Source: Deng et al. 2019, "ArcFace"; the crop and its use as a loss as in Deep3DFaceRecon (util/preprocess.py,
models/losses.py) and GANFit (Gecer et al. 2019, sections 3.3.1 and 3.3.2).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from ..checkpoints import Checkpoint, read
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
"""Metadata of our own files, under `format` and `version`."""
DIFFERENT, SAME = "different_below", "same_from"
"""Their metadata keys of `Thresholds`, as decimal text."""
VERDICTS = ("different", "uncertain", "same")
"""What a similarity below, between and from the thresholds means."""
NO_FACE = "no face"
"""The verdict on a pair in which one picture shows none."""
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

    def resized(self, crops: Tensor) -> Tensor:
        """ArcFace crops [B, 3, S, S] of any side -> [B, 3, side, side]. UserError where they are not square."""
        if crops.shape[2] != crops.shape[3]:
            raise UserError(
                f"Pictures of {crops.shape[3]} × {crops.shape[2]} pixels are no face crops, which are square. Connect "
                "their landmarks, or cut the faces with Align Face (ArcFace)."
            )
        size = (self.side, self.side)
        return functional.interpolate(crops, size, mode="bilinear", antialias=True).clamp(0, 1)

    def embed(self, crops: Tensor) -> Tensor:
        """[B, 3, side, side] RGB 0…1 -> [B, D] of length 1, on the network's device; differentiable."""
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
        """The network's inputs where it is, a few at a time."""
        if crops.dim() != 4 or crops.shape[1:] != (3, self.side, self.side):
            raise UserError(
                f"The recogniser '{self.name}' looks at crops [B, 3, {self.side}, {self.side}]; got "
                f"{list(crops.shape)}. Cut the face with the ArcFace alignment at that size."
            )
        return list((crops.to(self._like) * 2 - 1).split(AT_ONCE))


@dataclass(frozen=True, eq=False)
class Comparison:
    """B pairs of faces. similarities: [B] cosines −1…1, NaN where a picture shows no face. verdicts: one a pair.

    crops: two times [B or 1, 3, side, side], what the recogniser saw of the first and of the second pictures.
    """

    similarities: Tensor
    verdicts: list[str]
    crops: tuple[Tensor, Tensor]


def compare(
    network: IdentityNetwork,
    pictures: tuple[Tensor, Tensor],
    landmarks: tuple[Landmarks | None, Landmarks | None],
    watch: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Two batches of pictures [B or 1, 3, H, W] RGB 0…1, pair by pair.

    landmarks: of each batch, B or 1 frames; None where its pictures are ArcFace crops already, of any size. watch: is
    told how many of all faces are done. No gradient flows.
    """
    batches = [len(p) if marks is None else common_batch(pictures=len(p), landmarks=len(marks))
               for p, marks in zip(pictures, landmarks, strict=True)]  # fmt: skip
    pairs = common_batch(first_faces=batches[0], second_faces=batches[1])
    crops, embeddings, done = [], [], 0
    with torch.no_grad():
        for batch, marks in zip(pictures, landmarks, strict=True):
            crops.append(network.resized(batch) if marks is None else network.crops(batch, marks))
            parts = []
            for part in crops[-1].split(AT_ONCE):
                parts.append(network.embed(part))
                done += len(part)
                if watch is not None:
                    watch(done, sum(batches))
            embeddings.append(torch.cat(parts).cpu())
    found = torch.stack([torch.ones(pairs, dtype=torch.bool) if m is None else m.found.cpu().expand(pairs)
                         for m in landmarks]).all(0)  # fmt: skip
    similarities = similarity(*embeddings).where(found, torch.nan)
    verdicts = [network.thresholds.verdict(v) if v == v else NO_FACE for v in similarities.tolist()]
    return Comparison(similarities, verdicts, (crops[0], crops[1]))


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
