"""A rig: latents of one generator read and edited through the parameters of a face model.

`read_params` says which face a latent shows, without drawing it (DFR). `edit` changes pose, expression or light and
leaves the rest (RigNet), one network after the other; the parameters are read again before each. What is amiss then can
be read and taken back (Corrector).

A rig is a .safetensors file. Tensors: `dfr.…`; `rignets.<component>.…`; `corrector.gain`, which may be missing;
`coding.mean`, `.scale`, `.low`, `.high`, what the rows of the networks mean (`core.face.coding`). Metadata: format,
version; those of the coding; the generator's name and fingerprint; height and width of its pictures, pixels; num_ws;
modes: JSON {component: mode}.

Source: Tewari et al. 2020, "StyleRig: Rigging StyleGAN for 3D Control over Portrait Images".
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ..checkpoints import Checkpoint, read, save_safetensors
from ..errors import UserError
from ..face.coding import TENSORS, FaceCoding
from ..face.reframe import on_crop, on_picture, seen_by
from ..networks.rig import (
    COMPONENTS,
    Corrector,
    Dfr,
    RigNet,
    columns,
    dfr_from_tensors,
    given,
    inputs_of,
    rignet_from_tensors,
    with_columns,
)
from ..types import FaceParams, GeneratorId, Latent, common_batch
from .regress import middle_square

DEFAULT = Path(__file__).resolve().parents[2] / "weights" / "toon_rig.safetensors"
"""The embedded one, for the embedded generator and the toon head."""
FORMAT = "portrait_rig.rig"
VERSION = 1
"""Raised when a reader of this version would misunderstand a file."""
REACH = 3.0
"""Standard deviations of the training faces: no parameter is brought further from their mean, since the networks never
saw it there and pictures fall apart. A fit of a photograph asks for 25 of them where training faces hardly differ."""
SLIDER_REACH = {"expression": 5.0}
"""By component, for what sliders ask: a mood is a wish for few numbers, and goes further. On the toon rig a mouth that
is asked to open all the way opens by 0.36 within this one; by 0.46 within 8, but turns blue inside. Lights beyond the
usual turn backgrounds green."""
PASSES = 2
"""Of an edit: RigNet and a correction, which on the toon rig takes a third off the error and off what else changes, as
DFR reads it; further ones move latents for what DFR alone believes in."""
DFR, RIGNETS, CORRECTOR, CODING = "dfr.", "rignets.", "corrector.", "coding."
"""Prefixes of the parts' tensors in a file."""


@dataclass(frozen=True, eq=False)
class Rig:
    """Networks that read and edit latents of `generator`. Copies share them; weights are never modified in place.

    name: to show. size: (H, W) of the generator's pictures. coding: what the networks' rows [B, P] mean, on the middle
    square of these pictures. rignets: by component, those that were trained. corrector: for edits in several passes.
    """

    name: str
    generator: GeneratorId
    size: tuple[int, int]
    coding: FaceCoding
    dfr: Dfr
    rignets: Mapping[str, RigNet]
    corrector: Corrector | None = None

    def __post_init__(self) -> None:
        if min(self.size) < 1:
            raise ValueError(f"its pictures of {self.size[1]} × {self.size[0]} pixels cannot be")
        if self.dfr.outputs != len(self.coding):
            raise ValueError(f"DFR gives {self.dfr.outputs} numbers where the parameters are {len(self.coding)}")
        for component, network in self.rignets.items():
            inputs = inputs_of(network.mode, self.coding.groups, component)
            if (network.num_ws, network.w_dim) != (self.dfr.num_ws, self.dfr.w_dim) or network.inputs != inputs:
                raise ValueError(f"the network for {component} does not go with DFR or with the parameters")
        wanted = (len(self.coding), self.dfr.num_ws, self.dfr.w_dim)
        if self.corrector is not None and tuple(self.corrector.gain.shape) != wanted:
            raise ValueError("the corrector does not go with DFR or with the parameters")

    @property
    def layout(self) -> str:
        """Name of the face model."""
        return self.coding.layout

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """All that has weights."""
        return self.dfr, self.coding, *self.rignets.values(), *filter(None, [self.corrector])

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.coding.mean.device

    def codes(self, latent: Latent) -> Tensor:
        """The latent's codes where the weights are. UserError for another generator's, or where they are no numbers."""
        if latent.generator.fingerprint != self.generator.fingerprint:
            raise UserError(
                f"This latent belongs to generator '{latent.generator.name}', and the rig '{self.name}' was trained "
                f"for '{self.generator.name}'. Load the rig of that generator, or train one with Train Rig."
            )
        if not torch.isfinite(latent.w).all():
            raise UserError("The latent holds values that are no numbers (NaN or infinite). Make it again.")
        return latent.w.to(self.coding.mean)

    def rows(self, ws: Tensor) -> Tensor:
        """Codes [B, L, C] -> the rows [B, P] that DFR reads in them, within the face model's limits; differentiable."""
        return self.coding.within(self.dfr(ws))

    def rows_of(self, params: FaceParams) -> Tensor:
        """Parameters on pictures of any size -> rows [B, P]. UserError for those of another face model."""
        return self.coding.encode(self.framed(params))

    def framed(self, params: FaceParams) -> FaceParams:
        """The same faces as the rig's own: on the middle square of their pictures, through the rig's camera."""
        side = self.coding.side
        params = params.require_layout(self.layout).to(self.coding.mean)
        if tuple(params.camera.size) != (side, side):
            params = on_crop(params, middle_square(params.camera.size, side))
        return seen_by(params, self.coding.camera())

    def placed(self, rows: Tensor) -> FaceParams:
        """Rows [B, P] -> parameters on the generator's pictures; differentiable."""
        return self.unframed(self.coding.decode(rows))

    def unframed(self, params: FaceParams) -> FaceParams:
        """The inverse of `framed` for the generator's own pictures."""
        side = self.coding.side
        return params if self.size == (side, side) else on_picture(params, middle_square(self.size, side))

    def moved(self, ws: Tensor, wanted: Tensor, component: str, present: Tensor | None = None) -> Tensor:
        """Codes [B, L, C] that show `component` as the rows `wanted` [B, P] have it; differentiable.

        present: the rows that `ws` show, where they were read already. UserError without such a network.
        """
        places = columns(self.coding.groups, component)
        if component not in self.rignets:
            raise UserError(
                f"The rig '{self.name}' has no network for {component}; it has {', '.join(self.rignets) or 'none'}. "
                "Choose among these, or train it with Train Rig."
            )
        network = self.rignets[component]
        present = self.rows(ws) if present is None else present
        return network(ws, given(network.mode, present, wanted, places))

    def corrected(self, ws: Tensor, wanted: Tensor) -> Tensor:
        """Codes [B, L, C] that show all of the rows `wanted` [B, P] better; differentiable. Needs a corrector."""
        return ws + self.corrector(wanted - self.rows(ws))

    def describe(self) -> str:
        """A few lines: whose latents, which face model, which networks."""
        height, width = self.size
        groups = ", ".join(f"{count} {name}" for name, count in self.coding.groups)
        lines = [
            f"{self.name}: for '{self.generator.name}' ({width}×{height}, fingerprint {self.generator.fingerprint})",
            f"{self.layout}: {len(self.coding)} parameters ({groups})",
            f"DFR: {self.dfr.num_ws} × {self.dfr.w_dim} codes, width {self.dfr.width}",
            *(f"RigNet for {name}: {net.mode}, {len(net.layers)} layers" for name, net in self.rignets.items()),
            "edits are corrected" if self.corrector else "edits are not corrected: one pass only",
        ]
        return "\n".join(lines)


def read_params(rig: Rig, latent: Latent) -> FaceParams:
    """The faces that the latents show, B frames on the generator's pictures, read by DFR; differentiable."""
    return rig.placed(rig.rows(rig.codes(latent)))


def edit(
    rig: Rig,
    latent: Latent,
    target: FaceParams,
    components: Collection[str],
    strength: float = 1.0,
    passes: int = PASSES,
    reach: Mapping[str, float] | None = None,
) -> Latent:
    """Latents that show the `components` (of COMPONENTS) of `target`, and else what they showed; differentiable.

    target: on pictures of any size, of the rig's face model; frames of 1 go with N latents and the reverse. strength: 0
    leaves everything, 1 goes all the way, beyond exaggerates. reach: by component, in deviations of the training faces,
    REACH where it says nothing; what is wanted beyond, and beyond what the latent shows already, is brought back there.

    passes: 1 is RigNet alone, as in the paper. Every further one reads what came out and corrects it: brings what is
    missing and takes back what else has changed. A rig without a corrector has one.
    """
    ws, wanted = rig.codes(latent), rig.rows_of(target)
    if not torch.isfinite(wanted).all():
        raise UserError("The wanted face parameters hold values that are no numbers (NaN or infinite).")
    frames = common_batch(latents=len(ws), face_parameters=len(wanted))
    ws, chosen = ws.expand(frames, -1, -1), in_order(components)
    if strength and chosen:
        present, groups = rig.rows(ws), rig.coding.groups
        most = torch.full_like(present[:1], REACH)
        for component, far in (reach or {}).items():
            most[:, columns(groups, component)] = far
        wanted = torch.minimum(torch.maximum(wanted, torch.minimum(present, -most)), torch.maximum(present, most))
        wanted = torch.lerp(present, wanted, strength)
        known: Tensor | None = present
        for component in chosen:
            ws, known = rig.moved(ws, wanted, component, known), None
        wanted = with_columns(present, wanted, [place for component in chosen for place in columns(groups, component)])
        for _ in range(passes - 1 if rig.corrector else 0):
            ws = rig.corrected(ws, wanted)
    return replace(latent, w=ws)


def in_order(components: Collection[str]) -> list[str]:
    """The components in the order in which they are edited. UserError for one that is unknown."""
    if unknown := sorted(set(components) - COMPONENTS.keys()):
        raise UserError(f"'{unknown[0]}' is nothing that a rig edits; it edits {', '.join(COMPONENTS)}.")
    return [component for component in COMPONENTS if component in components]


def load_rig(path: str | Path = DEFAULT) -> Rig:
    """The rig in a file, on the CPU in float32, frozen. UserError where the file is missing, damaged or no rig."""
    checkpoint = read(path)
    name, metadata = checkpoint.path.name, checkpoint.metadata
    if metadata.get("format") != FORMAT:
        raise UserError(
            f"'{name}' holds no rig, which is a .safetensors file that Train Rig wrote. It holds: "
            f"{', '.join(checkpoint.top_names()) or 'nothing'}. Choose another file."
        )
    if metadata.get("version") != str(VERSION):
        raise UserError(
            f"'{name}' holds a rig of version {metadata.get('version')}, this pack reads {VERSION}. Update the pack."
        )
    try:
        with torch.inference_mode(False), torch.no_grad():
            return _unpacked(checkpoint)
    except (UserError, LookupError, TypeError, ValueError) as error:
        reason = f"there is no {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
        raise UserError(f"'{name}' looks like a rig, but is damaged: {reason}. Get it again, or train anew.") from error


def packed(rig: Rig, notes: Mapping[str, str] | None = None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a file that `load_rig` reads; floats may be stored in half precision.

    notes: further metadata, such as how it was trained.
    """
    parts: dict[str, nn.Module] = {DFR: rig.dfr, CODING: rig.coding}
    parts |= {f"{RIGNETS}{component}.": network for component, network in rig.rignets.items()}
    if rig.corrector is not None:
        parts[CORRECTOR] = rig.corrector
    tensors = {prefix + key: tensor for prefix, part in parts.items() for key, tensor in part.state_dict().items()}
    metadata = {
        **(notes or {}),
        **rig.coding.metadata(),
        "format": FORMAT,
        "version": str(VERSION),
        "generator": rig.generator.name,
        "fingerprint": rig.generator.fingerprint,
        "height": str(rig.size[0]),
        "width": str(rig.size[1]),
        "num_ws": str(rig.dfr.num_ws),
        "modes": json.dumps({component: network.mode for component, network in rig.rignets.items()}),
    }
    return tensors, metadata


def save_rig(path: Path, rig: Rig, notes: Mapping[str, str] | None = None) -> None:
    """Writes what `load_rig` reads, in one piece. notes: as in `packed`."""
    save_safetensors(path, *packed(rig, notes))


def _unpacked(checkpoint: Checkpoint) -> Rig:
    metadata, tensors = checkpoint.metadata, checkpoint.tensors
    for name, tensor in tensors.items():
        weight = not name.startswith(CODING)  # whose limits may be infinite, and which checks itself
        if weight and not torch.isfinite(tensor).all():
            raise ValueError(f"{name} holds values that are no numbers (NaN or infinite)")
    coding = FaceCoding.from_metadata(metadata, {name: tensors[CODING + name] for name in TENSORS})
    num_ws, modes = int(metadata["num_ws"]), json.loads(metadata["modes"])
    if not isinstance(modes, dict):
        raise ValueError("its modes are no table")
    dfr = dfr_from_tensors(_part(tensors, DFR), num_ws)
    rignets = {
        component: rignet_from_tensors(_part(tensors, f"{RIGNETS}{component}."), num_ws, modes[component])
        for component in in_order(modes)
    }
    return Rig(
        checkpoint.path.stem,
        GeneratorId(metadata["generator"], metadata["fingerprint"]),
        (int(metadata["height"]), int(metadata["width"])),
        coding,
        dfr,
        rignets,
        Corrector(tensors[gain].float()) if (gain := f"{CORRECTOR}gain") in tensors else None,
    )


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key[len(prefix) :]: tensor for key, tensor in tensors.items() if key.startswith(prefix)}
