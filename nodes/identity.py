"""Nodes that tell people apart: Load Identity Network, Identity Similarity."""

from __future__ import annotations

import json
import math

import torch
from torch import Tensor

from ..core.methods.identity import DEFAULT, IdentityNetwork, compare, load_identity_network
from ..core.types import Landmarks
from . import folders, host
from .host import io
from .model_files import LoaderNode, ModelFiles

FILES = ModelFiles(
    DEFAULT.name,
    {".safetensors", ".pth", ".pt", ".onnx"},
    also=[folders.INSIGHTFACE_FOLDER],
    origin="insightface (github.com/deepinsight/insightface), its packs buffalo_l and antelopev2 or arcface_torch",
    licence="non-commercial research only",
)
DECIMALS = 4
"""Of a similarity as text; the fifth one already differs between machines."""


class LoadIdentityNetwork(LoaderNode):
    """A face recogniser from a file, or the embedded one."""

    files = FILES
    read_file = staticmethod(load_identity_network)

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigLoadIdentityNetwork",
            display_name="Load Identity Network",
            category="Portrait Rig/face",
            description="Loads a network that knows faces apart: the embedded one of toon heads, or ArcFace for "
            "photographs as insightface publishes it (.pth, or the recogniser .onnx of buffalo_l or antelopev2).",
            inputs=[
                FILES.choice(
                    f"A file of models/{folders.MODEL_FOLDER} or models/{folders.INSIGHTFACE_FOLDER}. "
                    f"{DEFAULT.name} comes with the pack and knows toon heads only. Of insightface's packs take "
                    "w600k_r50.onnx or glintr100.onnx; they are for non-commercial research.",
                )
            ],
            outputs=[
                host.IdentityNet.Output(
                    display_name="identity_net",
                    tooltip="For Identity Similarity, and for Fit 3DMM's method GANFit.",
                ),
                io.String.Output(
                    display_name="about",
                    tooltip="What was recognised: layers, size of its pictures, thresholds of its verdicts.",
                ),
            ],
        )


class IdentitySimilarity(io.ComfyNode):
    """Whether two pictures show the same person."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigIdentitySimilarity",
            display_name="Identity Similarity",
            category="Portrait Rig/face",
            description="How alike two faces are to a recogniser, in a number and in words; batches pair by pair.",
            inputs=[
                io.Image.Input("image_a", tooltip="B pictures, or 1 to compare with all of the other input."),
                io.Image.Input("image_b", tooltip="B pictures, or 1 to compare with all of the other input."),
                host.IdentityNet.Input("identity_net", tooltip="From Load Identity Network; one made for such faces."),
                host.Landmarks.Input(
                    "landmarks_a",
                    optional=True,
                    tooltip="Of image_a, 5, 68 or 478 points; 1 frame goes with N pictures. Without them the pictures "
                    "must be crops of Align Face with the kind ArcFace, of any size.",
                ),
                host.Landmarks.Input("landmarks_b", optional=True, tooltip="Of image_b, in the same way."),
            ],
            outputs=[
                io.Float.Output(
                    display_name="similarity",
                    tooltip="−1…1, the cosine of the two embeddings; of several pairs the mean. 0 where no pair has "
                    "two faces.",
                ),
                io.String.Output(
                    display_name="verdict",
                    tooltip="same, different, uncertain or no face; a line for each pair, where there are several.",
                ),
                io.String.Output(
                    display_name="similarities",
                    tooltip="JSON, a list of one number for each pair; null where a picture shows no face.",
                ),
                io.Image.Output(
                    display_name="crops", tooltip="What the network saw, both faces of a pair side by side."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        image_a: Tensor,
        image_b: Tensor,
        identity_net: IdentityNetwork,
        landmarks_a: Landmarks | None = None,
        landmarks_b: Landmarks | None = None,
    ) -> io.NodeOutput:
        pictures = host.picture_in(image_a, "image_a"), host.picture_in(image_b, "image_b")
        with host.memory(identity_net.network), host.working(sum(map(len, pictures))) as watch:
            found = compare(identity_net, pictures, (landmarks_a, landmarks_b), watch)
        values = [None if math.isnan(value) else round(value, DECIMALS) for value in found.similarities.tolist()]
        known = [value for value in values if value is not None]
        told = [v if n is None else f"{v} ({n:.2f})" for v, n in zip(found.verdicts, values, strict=True)]
        return io.NodeOutput(
            sum(known) / len(known) if known else 0.0,
            _in_lines(found.verdicts),
            json.dumps(values),
            host.picture_out(_side_by_side(*found.crops)),
            ui=host.show_text(_in_lines(told)),
        )


def _in_lines(texts: list[str]) -> str:
    """One text as it is, several as numbered lines."""
    return texts[0] if len(texts) == 1 else "\n".join(f"{number}: {text}" for number, text in enumerate(texts, start=1))


def _side_by_side(a: Tensor, b: Tensor) -> Tensor:
    """[B or 1, 3, S, S] twice -> [B, 3, S, 2 S]."""
    pairs = max(len(a), len(b))
    return torch.cat([crops.expand(pairs, -1, -1, -1) for crops in (a, b)], 3)


NODES = [LoadIdentityNetwork, IdentitySimilarity]
