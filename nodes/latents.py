"""Nodes on style codes: sample, mix, truncate, move along directions, walk."""

from __future__ import annotations

from ..core.methods import directions as found_directions
from ..core.methods.directions import Directions
from ..core.methods.latents import (
    ALL,
    CUSTOM,
    LAYER_RANGES,
    PATHS,
    SPHERICAL,
    joined,
    mixed,
    sample,
    truncated,
    walk,
)
from ..core.networks.generator import Generator
from ..core.types import Latent
from . import host
from .host import io
from .inputs import seed_input

ALL_LAYERS = 0
"""The cutoff that stands for every layer."""
MOST_PICTURES = 4096
NO_CLASS = -1
OF_DIRECTIONS = "as found"
DEFAULT_CUSTOM = "0-3"
RANGES_TEXT = "coarse: pose and shape (layers 0-3). middle: features and hair (4-7). fine: colours and texture (8 on)."
CUSTOM_TOOLTIP = "For custom: layers by number from 0, such as 0-3, 7, 10- (to the last). Ignored otherwise."


def layer_inputs(default: str = ALL, extra: tuple[str, ...] = (), extra_text: str = "") -> list[io.Input]:
    """The choice of layers and the text that goes with its choice 'custom'; `extra` choices come first."""
    return [
        io.Combo.Input(
            "layers",
            options=[*extra, *LAYER_RANGES, CUSTOM],
            default=default,
            tooltip=f"{RANGES_TEXT} custom: those written below.{extra_text}",
        ),
        io.String.Input("custom_layers", default=DEFAULT_CUSTOM, tooltip=CUSTOM_TOOLTIP),
    ]


def truncation_inputs(default: float) -> list[io.Input]:
    return [
        io.Float.Input(
            "truncation",
            default=default,
            min=-2.0,
            max=2.0,
            step=0.05,
            display_mode=io.NumberDisplay.slider,
            tooltip="ψ: 1 leaves the codes as they are; towards 0 pictures become more ordinary, 0 is the mean; "
            "above 1 exaggerates, below 0 turns to the opposite.",
        ),
        io.Int.Input(
            "cutoff",
            default=ALL_LAYERS,
            min=ALL_LAYERS,
            max=64,
            tooltip="Only so many layers, counted from the coarsest, are truncated; 0 is all.",
            extra_dict=host.ADVANCED,
        ),
    ]


class SampleLatent(io.ComfyNode):
    """Random latents by seed."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigSampleLatent",
            display_name="Sample Latent",
            category="Portrait Rig/stylegan",
            description="Random latents of a generator. A seed gives the same picture as in the official scripts.",
            inputs=[
                host.StyleGan.Input("stylegan", tooltip="The generator that the latents are for."),
                seed_input("Of the first latent; number i takes seed + i, so a picture keeps its seed in any batch."),
                io.Int.Input("count", default=1, min=1, max=MOST_PICTURES, tooltip="How many, one picture each."),
                *truncation_inputs(0.7),
                io.Int.Input(
                    "class_index",
                    default=NO_CLASS,
                    min=NO_CLASS,
                    max=100_000,
                    tooltip="For conditional generators: the class, numbered from 0. −1 for all others.",
                ),
            ],
            outputs=[host.Latent.Output(display_name="latent", tooltip="As many latents as counted.")],
        )

    @classmethod
    def execute(
        cls, stylegan: Generator, seed: int, count: int, truncation: float, cutoff: int, class_index: int
    ) -> io.NodeOutput:
        category = None if class_index == NO_CLASS else class_index
        with host.memory(stylegan.network):
            latent = sample(stylegan, seed, count, truncation, cutoff or None, category)
        return io.NodeOutput(host.latent_out(latent))


class MixLatents(io.ComfyNode):
    """Between two latents, in all layers or some."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigMixLatents",
            display_name="Mix Latents",
            category="Portrait Rig/stylegan",
            description="Blends two latents, or takes some layers from the second: the pose of one, the colours of the "
            "other.",
            inputs=[
                host.Latent.Input("latent_a", tooltip="B latents that are changed."),
                host.Latent.Input("latent_b", tooltip="B latents that are taken from, or 1 on either side for all."),
                io.Float.Input(
                    "amount",
                    default=0.5,
                    min=-1.0,
                    max=2.0,
                    step=0.01,
                    display_mode=io.NumberDisplay.slider,
                    tooltip="0 is a, 1 is b in the chosen layers; beyond 0…1 exaggerates the difference.",
                ),
                *layer_inputs(),
            ],
            outputs=[host.Latent.Output(display_name="latent", tooltip="Latent a, its chosen layers moved towards b.")],
        )

    @classmethod
    def execute(
        cls, latent_a: Latent, latent_b: Latent, amount: float, layers: str, custom_layers: str
    ) -> io.NodeOutput:
        return io.NodeOutput(mixed(latent_a, latent_b, amount, _ranges(layers, custom_layers)))


class TruncateLatent(io.ComfyNode):
    """Latents nearer to the mean."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigTruncateLatent",
            display_name="Truncate Latent",
            category="Portrait Rig/stylegan",
            description="Moves latents towards the generator's mean: fewer accidents, less variety.",
            inputs=[
                host.StyleGan.Input("stylegan", tooltip="The generator that the latents belong to: it knows the mean."),
                host.Latent.Input("latent", tooltip="B latents."),
                *truncation_inputs(0.7),
            ],
            outputs=[host.Latent.Output(display_name="latent", tooltip="B truncated latents.")],
        )

    @classmethod
    def execute(cls, stylegan: Generator, latent: Latent, truncation: float, cutoff: int) -> io.NodeOutput:
        return io.NodeOutput(host.latent_out(truncated(latent, stylegan, truncation, cutoff or None)))


class LatentDirections(io.ComfyNode):
    """What a generator's weights say about its strongest changes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigLatentDirections",
            display_name="Latent Directions (SeFa)",
            category="Portrait Rig/stylegan",
            description="Finds the directions along which pictures change most, from the generator's weights alone "
            "(closed-form factorisation, SeFa). Takes a moment; what a direction means is seen by trying.",
            inputs=[
                host.StyleGan.Input("stylegan", tooltip="The generator; its directions fit only its own latents."),
                *layer_inputs(),
                io.Int.Input(
                    "count", default=20, min=1, max=512, tooltip="How many directions at most, the strongest first."
                ),
            ],
            outputs=[
                host.Directions.Output(display_name="directions", tooltip="For Move Latent; numbered from 1."),
                io.String.Output(display_name="about", tooltip="How strongly the styles answer to each."),
            ],
        )

    @classmethod
    def execute(cls, stylegan: Generator, layers: str, custom_layers: str, count: int) -> io.NodeOutput:
        with host.memory(stylegan.network):
            found = found_directions.factorise(stylegan, _ranges(layers, custom_layers), count)
        strengths = ", ".join(f"{number}: {value:.2f}" for number, value in enumerate(found.strengths.tolist(), 1))
        about = f"{len(found)} directions of '{stylegan.id.name}', layers {found.layers}; strengths {strengths}"
        return io.NodeOutput(found, about, ui=host.show_text(about))


class MoveLatent(io.ComfyNode):
    """Latents along a direction."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigMoveLatent",
            display_name="Move Latent",
            category="Portrait Rig/stylegan",
            description="Moves latents along one direction of Latent Directions.",
            inputs=[
                host.Latent.Input("latent", tooltip="B latents, all moved alike."),
                host.Directions.Input("directions", tooltip="Directions of the same generator."),
                io.Int.Input("number", default=1, min=1, max=512, tooltip="Which direction; 1 is the strongest."),
                io.Float.Input(
                    "strength",
                    default=2.0,
                    min=-20.0,
                    max=20.0,
                    step=0.1,
                    display_mode=io.NumberDisplay.slider,
                    tooltip="In standard deviations of random latents along it: ±2 is still ordinary, ±5 is extreme.",
                ),
                *layer_inputs(
                    OF_DIRECTIONS, (OF_DIRECTIONS,), f" {OF_DIRECTIONS}: the layers that the directions were found in."
                ),
            ],
            outputs=[host.Latent.Output(display_name="latent", tooltip="B moved latents.")],
        )

    @classmethod
    def execute(
        cls, latent: Latent, directions: Directions, number: int, strength: float, layers: str, custom_layers: str
    ) -> io.NodeOutput:
        ranges = None if layers == OF_DIRECTIONS else _ranges(layers, custom_layers)
        return io.NodeOutput(found_directions.moved(latent, directions, number, strength, ranges))


class LatentWalk(io.ComfyNode):
    """Frames between latents."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigLatentWalk",
            display_name="Latent Walk",
            category="Portrait Rig/stylegan",
            description="A clip's worth of latents from one to the next.",
            inputs=[
                host.StyleGan.Input("stylegan", tooltip="Of the latents; spherical paths turn around its mean."),
                host.Latent.Input("latent", tooltip="Latents to visit in order; at least two, those of then included."),
                io.Int.Input(
                    "frames",
                    default=24,
                    min=1,
                    max=MOST_PICTURES,
                    tooltip="Steps from one latent to the next: K latents give (K − 1) · frames + 1 pictures, "
                    "a loop K · frames.",
                ),
                io.Combo.Input(
                    "path",
                    options=list(PATHS),
                    default=PATHS[0],
                    tooltip="linear: straight, a little more ordinary half-way. spherical: an arc around the mean, "
                    "equally lively all along.",
                ),
                io.Boolean.Input(
                    "loop", default=False, tooltip="On: goes back to the first latent, for a clip that repeats."
                ),
                host.Latent.Input("then", optional=True, tooltip="More latents of this generator, visited afterwards."),
            ],
            outputs=[host.Latent.Output(display_name="latent", tooltip="A latent for every frame.")],
        )

    @classmethod
    def execute(
        cls, stylegan: Generator, latent: Latent, frames: int, path: str, loop: bool, then: Latent | None = None
    ) -> io.NodeOutput:
        latent.codes_for(stylegan.id)
        keys = latent if then is None else joined(latent, then)
        return io.NodeOutput(host.latent_out(walk(keys, frames, stylegan.w_avg if path == SPHERICAL else None, loop)))


def _ranges(layers: str, custom_layers: str) -> str:
    return custom_layers if layers == CUSTOM else layers


NODES = [SampleLatent, MixLatents, TruncateLatent, LatentDirections, MoveLatent, LatentWalk]
