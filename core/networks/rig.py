"""StyleRig's two networks: DFR, from a latent to face parameters, and RigNet, from a latent and parameters to a latent;
and a third of our own, Corrector, from what DFR finds amiss to a change of the latent.

All work on rows of a parameter vector, whose order is that of a table of groups (name, count) such as
`core.face.coding.FaceCoding.groups`; nothing is said about their number or about the number and width of the codes.

Source: Tewari et al. 2020, "StyleRig: Rigging StyleGAN for 3D Control over Portrait Images"; Tewari et al. 2020, "PIE:
Portrait Image Embedding for Semantic Control", for the decoder that sees only the edited part; cassiePython/cddfm3d for
the one that sees a difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn

from ..errors import UserError
from .recover import load_strictly

COMPONENTS: dict[str, tuple[str, ...]] = {
    "pose": ("angles",),
    "expression": ("expression", "joints", "gaze"),
    "light": ("light",),
}
"""What can be edited, in the order in which edits are chained, and the groups that each consists of. Translation
belongs to none: pose control is rotation only (StyleRig)."""

FULL, SUBSET, DIFFERENCE = "absolute_full", "absolute_subset", "difference_subset"
MODES = (FULL, SUBSET, DIFFERENCE)
"""What a RigNet's decoder sees beside the code: all wanted parameters (StyleRig), the wanted component (PIE), or how
much the wanted component differs from the present one (cddfm3d)."""
DEFAULT_MODE = DIFFERENCE
"""A layer sees only its own code, so from an absolute wish it cannot know how far there is to go."""

WIDTH = 512
"""Features of DFR's inner layers; jacobwjs/photometric_optimization. The paper does not say."""
HIDDEN = 32
"""Features that a RigNet's encoder makes of a code (StyleRig)."""
FIRST_SCALE = 0.01
"""DFR's last weights are so much smaller at first that it says the mean parameters of everyone."""


class Dfr(nn.Module):
    """Differentiable face reconstruction: codes [B, L, C] -> rows of parameters [B, P]; three layers, ELU between.

    mean: [P], what it says before training; None is zeros.
    """

    def __init__(self, num_ws: int, w_dim: int, outputs: int, width: int = WIDTH, mean: Tensor | None = None) -> None:
        super().__init__()
        self.num_ws, self.w_dim = num_ws, w_dim
        self.layers = nn.Sequential(
            nn.Linear(num_ws * w_dim, width), nn.ELU(), nn.Linear(width, width), nn.ELU(), nn.Linear(width, outputs)
        )
        last = self.layers[-1]
        with torch.no_grad():
            last.weight.mul_(FIRST_SCALE)
            last.bias.copy_(torch.zeros(outputs) if mean is None else mean)

    @property
    def outputs(self) -> int:
        return self.layers[-1].out_features

    @property
    def width(self) -> int:
        return self.layers[0].out_features

    def forward(self, ws: Tensor) -> Tensor:
        return self.layers(_checked(ws, self.num_ws, self.w_dim).flatten(1))


class RigNet(nn.Module):
    """Codes [B, L, C] and wanted parameters [B, inputs] -> codes that show them; the same codes before training.

    Layer by layer and without any non-linearity: w + decoder([encoder(w), wanted]). mode: of MODES, what the wanted
    parameters are (see `given`). layers: those that are changed, all by default; the others pass.
    """

    def __init__(
        self,
        num_ws: int,
        w_dim: int,
        inputs: int,
        mode: str = DEFAULT_MODE,
        layers: Sequence[int] | None = None,
        hidden: int = HIDDEN,
    ) -> None:
        super().__init__()
        self.layers = tuple(range(num_ws) if layers is None else layers)
        if mode not in MODES:
            raise UserError(f"'{mode}' is no input of a RigNet's decoder; there are {', '.join(MODES)}.")
        if sorted(set(self.layers)) != list(self.layers) or not set(self.layers) <= set(range(num_ws)):
            raise UserError(f"Layers {list(self.layers)} are no rising choice of the {num_ws} that a latent has.")
        self.num_ws, self.w_dim, self.inputs, self.mode, self.hidden = num_ws, w_dim, inputs, mode, hidden
        self.encoders = nn.ModuleDict({str(i): nn.Linear(w_dim, hidden) for i in self.layers})
        self.decoders = nn.ModuleDict({str(i): nn.Linear(hidden + inputs, w_dim) for i in self.layers})
        for decoder in self.decoders.values():
            nn.init.zeros_(decoder.weight)
            nn.init.zeros_(decoder.bias)

    def forward(self, ws: Tensor, wanted: Tensor) -> Tensor:
        changed = list(_checked(ws, self.num_ws, self.w_dim).unbind(1))
        for i in self.layers:
            code = changed[i]
            seen = torch.cat([self.encoders[str(i)](code), wanted], 1)
            changed[i] = code + self.decoders[str(i)](seen)
        return torch.stack(changed, 1)


class Corrector(nn.Module):
    """Differences of rows [B, P] -> differences of codes [B, L, C] that DFR reads as these, nearly; linear.

    RigNet never sees what became of an edit. DFR does, and says what is missing and what else has moved; this brings
    it back.
    """

    def __init__(self, gain: Tensor) -> None:
        """gain: [P, L, C]."""
        super().__init__()
        self.register_buffer("gain", gain)

    def forward(self, off: Tensor) -> Tensor:
        return torch.tensordot(off, self.gain, 1)


def parts(groups: Sequence[tuple[str, int]]) -> dict[str, slice]:
    """By group, its place in a row whose groups are `groups`."""
    ends = accumulate(count for _, count in groups)
    return {name: slice(end - count, end) for (name, count), end in zip(groups, ends, strict=True)}


def columns(groups: Sequence[tuple[str, int]], component: str) -> list[int]:
    """Places of a component's numbers in a row whose groups are `groups`."""
    if component not in COMPONENTS:
        raise UserError(f"'{component}' is nothing that a rig edits; it edits {', '.join(COMPONENTS)}.")
    places = parts(groups)
    chosen = [places[name] for name, _ in groups if name in COMPONENTS[component]]
    return [number for part in chosen for number in range(part.start, part.stop)]


def inputs_of(mode: str, groups: Sequence[tuple[str, int]], component: str) -> int:
    """How many numbers `given` gives a RigNet."""
    return sum(count for _, count in groups) if mode == FULL else len(columns(groups, component))


def given(mode: str, present: Tensor, wanted: Tensor, places: Sequence[int]) -> Tensor:
    """What a RigNet's decoder is told: [B, inputs], of the rows that a code has and that it shall have, [B, P] each.

    places: `columns` of the component.
    """
    if mode == FULL:
        return wanted
    return wanted[:, places] - present[:, places] if mode == DIFFERENCE else wanted[:, places]


def with_columns(rows: Tensor, donor: Tensor, places: Sequence[int]) -> Tensor:
    """`rows` [B, P] with the numbers at `places` from `donor`; gradients flow to both."""
    chosen = torch.zeros(rows.shape[1], dtype=torch.bool, device=rows.device)
    chosen[list(places)] = True
    return torch.where(chosen, donor, rows)


def swapped(own: Tensor, other: Tensor, edited: Tensor, places: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The rows that RigNet's two losses render, [B, P] each, for the component at `places`.

    own: those of w. other: those of v, whose component w shall take. edited: those of the edited code.
    First: all of v's, but the edited code's component; to be compared with the picture of **v**, it shows whether the
    component arrived. Second: all of the edited code's, but w's component; to be compared with the picture of **w**, it
    shows whether anything else changed. StyleRig names the losses editing and consistency.
    """
    return with_columns(other, edited, places), with_columns(edited, own, places)


def dfr_from_tensors(tensors: Mapping[str, Tensor], num_ws: int) -> Dfr:
    """Sizes are read off the shapes; strict. UserError, ValueError or LookupError where they contradict each other."""
    first, last = tensors["layers.0.weight"], tensors["layers.4.weight"]
    if num_ws < 1 or first.shape[1] % num_ws:
        raise ValueError(f"{first.shape[1]} inputs do not come from {num_ws} codes")
    sizes = first.shape[1] // num_ws, last.shape[0], first.shape[0]
    return load_strictly(lambda: Dfr(num_ws, *sizes), tensors, "DFR")


def rignet_from_tensors(tensors: Mapping[str, Tensor], num_ws: int, mode: str) -> RigNet:
    """As `dfr_from_tensors`. The layers that are changed are those that have weights."""
    layers = sorted({int(key.split(".")[1]) for key in tensors})
    encoder, decoder = (tensors[f"{part}.{layers[0]}.weight"] for part in ("encoders", "decoders"))
    hidden, w_dim = encoder.shape
    sizes = w_dim, decoder.shape[1] - hidden
    return load_strictly(lambda: RigNet(num_ws, *sizes, mode, layers, hidden), tensors, "RigNet")


def _checked(ws: Tensor, num_ws: int, w_dim: int) -> Tensor:
    if ws.dim() != 3 or ws.shape[1:] != (num_ws, w_dim):
        raise UserError(f"This rig takes codes [pictures, {num_ws}, {w_dim}]; got {list(ws.shape)}.")
    return ws
