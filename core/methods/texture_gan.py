"""A loaded generator of UV albedo maps: what it is, whose UV layout it draws, latents in, maps out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoints import Checkpoint, read
from ..errors import UserError
from ..face.flame_texture import FlameTexture
from ..face.model import FaceModel
from ..face.uv import albedo_maps
from ..networks import progan
from ..networks.generator import fingerprint, load_generator
from ..networks.generator import packed as packed_generator
from ..networks.textures import FreeTextures, LinearTextures, ProGanTextures, StyleGanTextures, Textures
from ..types import GeneratorId, Latent
from .latents import noise_of_seed

DEFAULT = Path(__file__).resolve().parents[2] / "weights" / "toon_texture_gan.safetensors"
"""The embedded generator: albedo of the toon head."""
FORMAT, VERSION = "portrait_rig.texture_gan", 1
"""Of our own files; the version is raised when a reader of this one would misunderstand them."""
FACE_MODEL, INIT, START = "face_model", "init", "start"
"""Metadata keys: whose UV layout the maps have, what weights cannot tell; and the tensor that a search starts at."""
FLAME = "flame"
"""Layouts of FLAME models begin so; they all share one UV layout."""
FLAME_KEYS = ({"MU", "PC"}, {"mean", "tex_dir"})
PROGAN_PLACES = ("", "avgG", "netG", "Gs")
"""Where published files keep a generator: by itself, pytorch_GAN_zoo's average and its original, TensorFlow's."""
KNOWN = (
    "a progressive GAN (pytorch_GAN_zoo, the author's TensorFlow, or one of ours)",
    "a StyleGAN2 or 3 of UV maps such as FFHQ-UV's",
    "FLAME's texture space",
    "a linear basis with `mean` [3, H, W] and `directions` [K, 3, H, W]",
)
"""What is understood, for a message."""
FREE_SIZE, BASIS_SIZE = 256, 256
"""Side of a free map and of a face model's own basis where nobody says."""


@dataclass(frozen=True, eq=False)
class TextureGan:
    """Any generator latent -> UV albedo, with its identity. Copies share the module, which is never modified in place.

    id: name and fingerprint of its weights; whose latents it understands. source: the module. layout: name of the face
    model whose UV layout the maps have, None where nobody said.
    """

    id: GeneratorId
    source: Textures
    layout: str | None = None

    @property
    def latent_size(self) -> int:
        """Values D of a latent."""
        return self.source.latent_size

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the maps."""
        return self.source.size

    @property
    def device(self) -> torch.device:
        return self.source.start().device

    def albedo(self, latent: Tensor) -> Tensor:
        """Latents [B, D] -> maps [B, 3, H, W] RGB, nominally 0…1 and not clamped, row 0 at v = 1; differentiable.

        UserError for another shape.
        """
        if latent.dim() != 2 or latent.shape[1] != self.latent_size:
            raise UserError(
                f"The texture generator '{self.id.name}' takes latents of the shape [maps, {self.latent_size}]; "
                f"got {list(latent.shape)}."
            )
        return self.source(latent.to(self.device))

    def start(self, count: int = 1) -> Tensor:
        """[count, D] where a fit begins: the mean map, or the most usual one."""
        return self.source.start().expand(count, -1).clone()

    @torch.no_grad()
    def sample(self, seed: int, count: int = 1, truncation: float = 1.0) -> Tensor:
        """[count, D] random latents; number i is that of the seed `seed` + i.

        truncation: 1 leaves them, 0 is `start`, above 1 exaggerates.
        """
        noise = torch.cat([noise_of_seed(seed + i, 1, self.source.noise_size) for i in range(count)])
        return torch.lerp(self.start(count), self.source.drawn(noise.to(self.device)), truncation)

    def prior(self, latent: Tensor) -> Tensor:
        """[B, D] -> [B], how unusual each latent is, for a fit to keep low; about 1 for a random one.

        A progressive GAN knows only directions: its prior watches over the length alone and is 0 for a random latent.
        """
        return self.source.prior(latent)

    def latent(self, values: Tensor) -> Latent:
        """[B, D] as a value that travels between nodes, bound to this generator."""
        return Latent(values.detach()[:, None].float(), self.id)

    def values(self, latent: Latent) -> Tensor:
        """[B, D] of a latent of this generator; UserError for another's."""
        codes = latent.codes_for(self.id)
        if codes.shape[1:] != (1, self.latent_size):
            raise UserError(
                f"The texture generator '{self.id.name}' takes latents of {self.latent_size} values; "
                f"got {list(codes.shape[1:])}."
            )
        return codes[:, 0].to(self.device)

    def require(self, model: FaceModel) -> TextureGan:
        """Itself; UserError where its maps have another face model's UV layout."""
        same = self.layout in (None, model.layout) or (self.layout == FLAME and model.layout.startswith(f"{FLAME}-"))
        if not same:
            raise UserError(
                f"The texture generator '{self.id.name}' draws the UV layout of '{self.layout}', which means nothing "
                f"on '{model.layout}'. Choose another generator, or train one for '{model.layout}'."
            )
        return self

    def describe(self) -> str:
        """A few lines: what was recognised."""
        height, width = self.size
        lines = [
            f"{self.id.name}: {self.source.family}, UV maps {width}×{height}, latents of {self.latent_size:,} values",
            ", ".join(self.source.facts()),
            f"for the UV layout of '{self.layout}'" if self.layout else "for an unknown UV layout",
            f"fingerprint {self.id.fingerprint}",
        ]
        return "\n".join(line for line in lines if line)


def load_texture_gan(path: str | Path = DEFAULT, layout: str | None = None) -> TextureGan:
    """The texture generator of a file, see KNOWN; on the CPU, in float32.

    layout: name of the face model whose UV layout its maps have, for files that do not say. UserError where the file is
    missing, damaged, or nothing of the kind.
    """
    checkpoint = read(path)
    metadata = checkpoint.metadata
    if metadata.get("format") == FORMAT and metadata.get("version") != str(VERSION):
        raise UserError(
            f"'{checkpoint.path.name}' is a texture generator of version {metadata.get('version')}, this pack reads "
            f"{VERSION}. Update the pack."
        )
    with torch.inference_mode(False), torch.no_grad():
        source, told = _recognised(checkpoint)
    return of(source, metadata.get("name") or checkpoint.path.stem, metadata.get(FACE_MODEL) or told or layout)


def own_textures(model: FaceModel, size: int = BASIS_SIZE) -> TextureGan:
    """The face model's own albedo directions as a linear basis of maps; UserError where it has none."""
    count = len(model.albedo)
    if not count:
        raise UserError(f"The face model '{model.layout}' has no albedo directions, so there is no basis to draw from.")
    with torch.inference_mode(False), torch.no_grad():
        steps = torch.cat([torch.zeros(1, count), torch.eye(count)]).to(model.colours)
        mean, *moved = albedo_maps(model, steps, (size, size))
        source = LinearTextures(mean, torch.stack(moved) - mean)
    return of(source, f"albedo of {model.layout}", model.layout)


def free_textures(model: FaceModel, size: int = FREE_SIZE) -> TextureGan:
    """Any map on the face model, starting from its mean albedo, held together by a prior of smoothness."""
    with torch.inference_mode(False), torch.no_grad():
        source = FreeTextures(albedo_maps(model, model.colours.new_zeros(1, len(model.albedo)), (size, size))[0])
    return of(source, f"free map of {model.layout}", model.layout)


def of(source: Textures, name: str, layout: str | None) -> TextureGan:
    """`source` under a display name, with the fingerprint of its present weights."""
    if isinstance(source, StyleGanTextures):
        return TextureGan(GeneratorId(name, source.generator.id.fingerprint), source, layout)
    return TextureGan(GeneratorId(name, fingerprint(_weights(source))), source, layout)


def packed(gan: TextureGan) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata that `save_safetensors` writes and `load_texture_gan` reads back."""
    metadata = label(gan.id.name, gan.layout)
    if isinstance(gan.source, StyleGanTextures):
        tensors, told = packed_generator(gan.source.generator)
        return tensors, {**told, **metadata}
    if isinstance(gan.source, FreeTextures):
        raise UserError("A free map has learnt nothing that could be saved. Save the map itself as a picture.")
    tensors = dict(_weights(gan.source))
    if isinstance(gan.source, ProGanTextures):
        tensors[START] = gan.source.start()[0]
        metadata[INIT] = json.dumps({"lod": gan.source.network.options.lod})
    return tensors, metadata


def label(name: str, layout: str | None) -> dict[str, str]:
    """What the metadata of a file says beside its weights."""
    told = {"format": FORMAT, "version": str(VERSION), "name": name}
    return {**told, FACE_MODEL: layout} if layout else told


def _weights(source: Textures) -> dict[str, Tensor]:
    """What a file keeps of a source: a network under its authors' names, without what is derived from it."""
    network = getattr(source, "network", None)
    return dict((source if network is None else network).state_dict())


def _recognised(checkpoint: Checkpoint) -> tuple[Textures, str | None]:
    """The module of a file, and the layout that its kind implies."""
    tensors = checkpoint.tensors
    if any(keys <= tensors.keys() for keys in FLAME_KEYS):
        space = FlameTexture.from_tensors(tensors)
        return LinearTextures(space.mean, space.directions), FLAME
    if tensors.keys() == {"mean", "directions"}:
        return _linear(checkpoint), None
    for place in PROGAN_PLACES:
        part = checkpoint.subset(place) if place and place in checkpoint else checkpoint
        own = {key: value for key, value in part.tensors.items() if key != START}
        if progan.matches(own):
            init = _init(checkpoint)
            return ProGanTextures(progan.from_tensors(own, init), part.tensors.get(START)), None
    try:
        generator = load_generator(checkpoint)
    except UserError as error:
        raise UserError(f"{error} A texture generator is one of: {'; '.join(KNOWN)}.") from error
    if generator.channels != 3 or generator.c_dim:
        raise UserError(
            f"'{checkpoint.path.name}' draws {generator.channels} channels from labels of {generator.c_dim} values. A "
            "texture generator draws RGB and takes no label."
        )
    return StyleGanTextures(generator), None


def _linear(checkpoint: Checkpoint) -> LinearTextures:
    mean, directions = checkpoint.tensors["mean"], checkpoint.tensors["directions"]
    if mean.dim() != 3 or mean.shape[0] != 3 or directions.dim() != 4 or directions.shape[1:] != mean.shape:
        raise UserError(
            f"'{checkpoint.path.name}' should hold `mean` [3, H, W] and `directions` [K, 3, H, W]; got "
            f"{list(mean.shape)} and {list(directions.shape)}."
        )
    return LinearTextures(mean, directions)


def _init(checkpoint: Checkpoint) -> dict[str, float]:
    """What the weights of a progressive GAN cannot tell, by our own record."""
    text = checkpoint.metadata.get(INIT)
    try:
        found = json.loads(text) if isinstance(text, str) else {}
        return {name: float(value) for name, value in found.items()}
    except (ValueError, TypeError, AttributeError):
        raise UserError(f"'{checkpoint.path.name}' is damaged: its '{INIT}' is no table of numbers.") from None
