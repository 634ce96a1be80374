"""One view of every StyleGAN generator: what it is, codes in, pictures out; and how one comes out of a checkpoint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..checkpoints import Checkpoint
from ..errors import UserError
from ..types import GeneratorId, Latent
from . import rosinality, stylegan2, stylegan2_discriminator, stylegan3, stylegan_tf
from .layers import truncate
from .stylegan2 import StyleGan2
from .stylegan2_discriminator import Discriminator
from .stylegan3 import StyleGan3

WHICH = ("G_ema", "G")
"""What can be taken from a training checkpoint: the averaged generator, meant for use, or the one being trained."""

_PLACES = {
    "G_ema": ("G_ema", "g_ema", "Gs", "state_dict.decoder", "decoder"),
    "G": ("G", "g"),
    "D": ("D", "d"),
}
"""Where published files keep them: NVIDIA's, rosinality's, TensorFlow's, pSp's and e4e's."""

_INIT_KEY = "init"
"""Metadata key under which a converted file keeps, as JSON, what the weights do not tell."""

_LATENT_SPACE_KEY = "latent_space"
"""Metadata key under which a tuned generator's file keeps, as JSON, the generator whose latents it understands."""

_FINGERPRINT_LENGTH = 16
"""Hexadecimal digits of the hash that are kept: 64 bits, enough to tell files on one machine apart."""


@dataclass(frozen=True, eq=False)
class Generator:
    """A generator with its identity. Copies share the network, whose weights are never modified in place.

    id: whose latents it understands; of a tuned generator that is the original. network: its `mapping` and `synthesis`
    are the halves; `Generator.of` builds one from a network. tuned: weights or noise differ from the original's.
    precision: of `draw`, where it is told none; None is full. compiled: stands in for `network.synthesis`, or None.
    """

    id: GeneratorId
    network: StyleGan2 | StyleGan3
    tuned: bool = False
    precision: torch.dtype | None = None
    compiled: Callable[..., Tensor] | None = None

    @classmethod
    def of(cls, network: StyleGan2 | StyleGan3, name: str) -> Generator:
        """`network` under a display name, with the fingerprint of its present weights."""
        return cls(GeneratorId(name, fingerprint(network.state_dict())), network)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of its pictures."""
        return self.network.size

    @property
    def channels(self) -> int:
        """Of its pictures: 3, or what it was trained for."""
        return self.network.options.img_channels

    @property
    def num_ws(self) -> int:
        return self.network.num_ws

    @property
    def z_dim(self) -> int:
        return self.network.options.mapping.z_dim

    @property
    def w_dim(self) -> int:
        return self.network.options.mapping.w_dim

    @property
    def c_dim(self) -> int:
        """Values of a label; 0 where it takes none."""
        return self.network.options.mapping.c_dim

    @property
    def w_avg(self) -> Tensor:
        """[w_dim], the mean code, towards which truncation moves. UserError where the file kept none."""
        if not hasattr(self.network.mapping, "w_avg"):
            raise UserError(f"The generator '{self.id.name}' has no mean code (w_avg): leave its truncation at 1.")
        return self.network.mapping.w_avg

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.network.parameters()).device

    def latent(self, w: Tensor) -> Latent:
        """Codes [B, num_ws, w_dim], or [B, w_dim] for the same code in every layer, as this generator's."""
        w = w[:, None].expand(-1, self.num_ws, -1) if w.dim() == 2 else w
        if w.dim() != 3 or w.shape[1:] != (self.num_ws, self.w_dim):
            raise UserError(
                f"The generator '{self.id.name}' needs codes of the shape [pictures, {self.num_ws}, {self.w_dim}]; "
                f"got {list(w.shape)}."
            )
        return Latent(w.float(), self.id)

    def map(self, z: Tensor, label: Tensor | None = None, truncation: float = 1.0, cutoff: int | None = None) -> Latent:
        """Codes of z [B, z_dim] and labels [B, c_dim]. truncation: 1 none, 0 the mean, in `cutoff` layers or all."""
        ws = self.network.mapping(z, label)
        return self.latent(ws if truncation == 1 else truncate(ws, self.w_avg, truncation, cutoff))

    def draw(
        self,
        latent: Latent,
        noise_mode: str = "const",
        noise: Sequence[Tensor] | None = None,
        seed: torch.Generator | None = None,
        precision: torch.dtype | None = None,
    ) -> Tensor:
        """Pictures [B, C, H, W], nominally 0…1 and not clamped; the other arguments are those of `Synthesis.forward`.

        UserError for another generator's latent. Gradients flow where they are wanted.
        """
        w = latent.codes_for(self.id).to(self.device)
        synthesis = self.network.synthesis if self.compiled is None else self.compiled
        return synthesis(w, noise_mode, noise, seed, usable_precision(precision or self.precision, w.device)) / 2 + 0.5

    def exact(self) -> Generator:
        """The same in full precision and not compiled, as descents need it."""
        return replace(self, precision=None, compiled=None)

    def describe(self) -> str:
        """A few lines: what was recognised, and what had to be guessed."""
        height, width = self.size
        inputs = f"z {self.z_dim}, w {self.num_ws} × {self.w_dim}"
        labels = f", labels of {self.c_dim} values" if self.c_dim else ""
        lines = [
            f"{self.id.name}: {self.network.family}, {width}×{height}, {inputs}{labels}",
            ", ".join(self.network.facts()),
            f"tuned; latents and directions of '{self.id.name}' stay valid" if self.tuned else "",
            f"guessed, since the file does not say: {', '.join(self.network.guessed)}" if self.network.guessed else "",
            f"fingerprint {self.id.fingerprint}",
        ]
        return "\n".join(line for line in lines if line)


def is_generator(names: Iterable[str]) -> bool:
    """Whether tensors of these names are a generator."""
    tensors = dict.fromkeys(names)
    return any(matches(tensors) for matches, _ in _GENERATORS)


def load_generator(checkpoint: Checkpoint, which: str = "G_ema", name: str | None = None) -> Generator:
    """The generator `which` (see WHICH) of a file; strict. name: to show, else the file's.

    UserError where the file holds none that is known, or an incomplete one.
    """
    if which not in WHICH:
        raise UserError(f"'{which}' is none of {', '.join(WHICH)}.")
    part = _part(checkpoint, which, _GENERATORS)
    network = _recognised(part, _GENERATORS)
    space = _record(checkpoint, _LATENT_SPACE_KEY)
    if not space:
        return Generator.of(network, name or checkpoint.path.stem)
    if not all(isinstance(space.get(key), str) for key in ("name", "fingerprint")):
        raise UserError(f"'{checkpoint.path.name}' does not say whose latents it understands. Save it again.")
    return Generator(GeneratorId(space["name"], space["fingerprint"]), network, tuned=True)


def load_discriminator(checkpoint: Checkpoint) -> Discriminator:
    """The discriminator of a training checkpoint; strict. UserError where it holds none."""
    return _recognised(_part(checkpoint, "D", _DISCRIMINATORS), _DISCRIMINATORS)


def packed(generator: Generator) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata that `save_safetensors` writes and `load_generator` reads back."""
    init = json.dumps(generator.network.options.as_init(), sort_keys=True)
    metadata = {_INIT_KEY: init, "name": generator.id.name}
    if generator.tuned:
        metadata[_LATENT_SPACE_KEY] = json.dumps(asdict(generator.id))
    return dict(generator.network.state_dict()), metadata


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """A hash of names, shapes and float32 values, so that a file and its conversion share it."""
    digest = hashlib.sha256()
    for key in sorted(tensors):
        tensor = tensors[key].detach().float().cpu().contiguous()
        digest.update(f"{key}{list(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()[:_FINGERPRINT_LENGTH]


def usable_precision(wanted: torch.dtype | None, device: torch.device) -> torch.dtype | None:
    """`wanted`, or None (full) where the device gains nothing from float16: CPUs, as upstream forces float32 there."""
    return None if wanted == torch.float16 and device.type == "cpu" else wanted


def init_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """What a file says about a network beside its weights, as constructor arguments; empty where it says nothing.

    A converted file's own record, else the arguments in the pickle, overruled by the attributes of its layers: these
    hold also what the author's repository took for granted.
    """
    if record := _record(checkpoint, _INIT_KEY):
        return record
    if checkpoint.module is None:
        return {}
    init = dict(checkpoint.module.init_kwargs)
    mapping = {
        **_attributes(checkpoint, "mapping.fc0", {"activation": "activation", "bias_gain": "lr_multiplier"}),
        **_attributes(checkpoint, "mapping", {"w_avg_beta": "w_avg_beta"}),
    }
    init["mapping_kwargs"] = {**(init.get("mapping_kwargs") or {}), **mapping}
    if "synthesis.b4" in checkpoint.modules:
        seen = _attributes(checkpoint, "synthesis.b4", {"architecture": "architecture"})
        seen |= _attributes(checkpoint, "synthesis.b4.conv1", {"conv_clamp": "conv_clamp", "activation": "activation"})
        seen |= _half_blocks(checkpoint.subset("synthesis"))
        flat = {} if "synthesis_kwargs" in init else {**stylegan2.STYLEGAN3_REPOSITORY_DEFAULTS, **init}
        init["synthesis_kwargs"] = {**flat, **(init.get("synthesis_kwargs") or {}), **seen}
    elif "synthesis.input" in checkpoint.modules:
        names = ("num_critical", "margin_size", "output_scale", "num_fp16_res")
        init |= _attributes(checkpoint, "synthesis", {name: name for name in names})
        init |= _attributes(checkpoint, "", {"square": "square"})
        first = next(path for path in checkpoint.modules if path.startswith("synthesis.L0_"))
        names = ("conv_clamp", "magnitude_ema_beta")
        init |= _attributes(checkpoint, first, {name: name for name in names})
    elif "b4" in checkpoint.modules:
        init |= _attributes(checkpoint, "b4.conv", {"conv_clamp": "conv_clamp", "activation": "activation"})
        init |= _attributes(checkpoint, "b4.mbstd", {"group_size": "group_size"})
        init |= _half_blocks(checkpoint)
    return init


def _record(checkpoint: Checkpoint, key: str) -> dict[str, Any]:
    """A table that `packed` wrote as JSON; empty where there is none."""
    text = checkpoint.metadata.get(key)
    if not isinstance(text, str):
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UserError(f"'{checkpoint.path.name}' is damaged: its '{key}' is no table. Convert the original again.")
    return found


def _half_blocks(checkpoint: Checkpoint) -> dict[str, int]:
    """How many blocks b{resolution} run in half precision, where they say."""
    blocks = [info for path, info in checkpoint.modules.items() if path.startswith("b") and "." not in path]
    told = [bool(block.attributes["use_fp16"]) for block in blocks if "use_fp16" in block.attributes]
    return {"num_fp16_res": sum(told)} if told else {}


def _attributes(checkpoint: Checkpoint, module: str, names: Mapping[str, str]) -> dict[str, Any]:
    """Attributes of one pickled module under our names, those that are there."""
    found = checkpoint.modules.get(module)
    return {} if found is None else {ours: found.attributes[n] for n, ours in names.items() if n in found.attributes}


def _part(checkpoint: Checkpoint, which: str, known: Sequence[Any]) -> Checkpoint:
    """The first place that holds `which`, or the whole file where it is a network by itself."""
    for place in _PLACES[which]:
        if place in checkpoint:
            part = checkpoint.subset(place)
            if any(matches(part.tensors) for matches, _ in known):
                mean = checkpoint.tensors.get("latent_avg")
                if mean is None or not rosinality.matches(part.tensors):
                    return part
                return replace(part, tensors={**part.tensors, "latent_avg": mean})
    if any(matches(checkpoint.tensors) for matches, _ in known):
        return checkpoint
    kind = "discriminator" if which == "D" else "generator"
    raise UserError(
        f"'{checkpoint.path.name}' holds no StyleGAN2 or StyleGAN3 {kind} under {', '.join(_PLACES[which])}. "
        f"It holds: {', '.join(checkpoint.top_names()) or 'nothing'}."
    )


def _recognised(part: Checkpoint, known: Sequence[Any]) -> Any:
    return next(build for matches, build in known if matches(part.tensors))(part)


def _static(part: Checkpoint) -> dict[str, Any]:
    return part.module.init_kwargs if part.module else {}


def _from_rosinality(part: Checkpoint) -> StyleGan2:
    tensors = dict(part.tensors)
    mean = tensors.pop("latent_avg", None)
    return rosinality.from_tensors(tensors, mean)


_GENERATORS = (
    (stylegan3.matches, lambda part: stylegan3.from_tensors(part.tensors, init_of(part))),
    (stylegan2.matches, lambda part: stylegan2.from_tensors(part.tensors, init_of(part))),
    (rosinality.matches, _from_rosinality),
    (
        stylegan_tf.matches_generator,
        lambda part: stylegan2.from_tensors(*stylegan_tf.generator(part.tensors, _static(part))),
    ),
)
"""(does it match?, build it) for every layout; a file matches at most one."""

_DISCRIMINATORS = (
    (
        stylegan2_discriminator.matches,
        lambda part: stylegan2_discriminator.from_tensors(part.tensors, init_of(part)),
    ),
    (rosinality.matches_discriminator, lambda part: rosinality.discriminator_from_tensors_of(part.tensors)),
    (
        stylegan_tf.matches_discriminator,
        lambda part: stylegan2_discriminator.from_tensors(*stylegan_tf.discriminator(part.tensors, _static(part))),
    ),
)
