"""The node that finds latents of photographs that a rig can edit: Embed Portrait (PIE)."""

from __future__ import annotations

from torch import Tensor

from ..core.face.model import FaceModel
from ..core.methods.embed_portrait import EmbedSettings, EmbedWeights, embed_portrait
from ..core.methods.fit.losses import loss_curves
from ..core.methods.identity import IdentityNetwork
from ..core.methods.rig import Rig
from ..core.networks.generator import Generator
from ..core.types import FaceParams, Latent
from . import host
from .host import io
from .inputs import seed_input
from .invert import MOST_STEPS, MOST_WEIGHT, lpips_inputs, lpips_of

SIDES = (16, 512)
"""Fewest and most pixels in which faces are compared."""
WEIGHTS = {
    "pyramid": "Of the differences of edges at every scale.",
    "pixel": "Of squared differences of pixels.",
    "perceptual": "Of LPIPS, where it is on.",
    "identity": "That an edit to what is there already changes nothing; per squared spread of W.",
    "edit": "That pose, expression and light of random faces arrive, seen in their pictures. More makes the result "
    "easier to edit.",
    "invariance": "That all else stays the portrait's meanwhile, seen in the portrait.",
    "recognition": "That the recogniser takes the result for the person.",
    "edited_recognition": "The same after a random edit.",
}
"""What each of PIE's energies asks for, by its name in `EmbedWeights`."""


class EmbedPortrait(io.ComfyNode):
    """Latents of portraits that a rig can edit."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigEmbedPortrait",
            display_name="Embed Portrait (PIE)",
            category="Portrait Rig/rig",
            description="Finds latents of real portraits that RigNet Edit can turn, animate and light, where those of "
            "Invert Image fall apart: while the portrait is fitted, random edits of it must succeed (Tewari et al. "
            "2020, PIE).",
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip="B portraits, framed as the generator's training pictures were (Align Face); resized to "
                    "its size.",
                ),
                host.StyleGan.Input("stylegan", tooltip="The generator to search in; the rig's."),
                host.RigNet.Input("rig", tooltip="From Load Rig or Train Rig; of this generator. It is not changed."),
                host.FaceModel.Input("face_model", tooltip="The rig's face model, which draws the faces to compare."),
                host.FaceParams.Input(
                    "face_params",
                    tooltip="What these very portraits show, B frames or 1: of Regress Face Params or Fit 3DMM.",
                ),
                io.Int.Input(
                    "approach_steps",
                    default=EmbedSettings.approach_steps,
                    min=1,
                    max=MOST_STEPS,
                    tooltip="Of a plain inversion before, from the best of several random starts.",
                ),
                io.Int.Input(
                    "w_steps",
                    default=EmbedSettings.w_steps,
                    min=0,
                    max=MOST_STEPS,
                    tooltip="With all energies over one code for all layers. The paper takes 2000.",
                ),
                io.Int.Input(
                    "plus_steps",
                    default=EmbedSettings.plus_steps,
                    min=0,
                    max=MOST_STEPS,
                    tooltip="Then over a code a layer, which comes closer to the portrait; 0 stays in W. The paper "
                    "takes 1000.",
                ),
                *lpips_inputs(),
                io.Int.Input(
                    "every",
                    default=EmbedSettings.every,
                    min=1,
                    max=100,
                    tooltip="Random edits and the recogniser have their turn at every so-manieth step, and weigh as "
                    "much more: they take most of the time. 1 is the paper's.",
                    extra_dict=host.ADVANCED,
                ),
                io.Int.Input(
                    "compare_size",
                    default=EmbedSettings.side,
                    min=SIDES[0],
                    max=SIDES[1],
                    tooltip="Pixels of the shorter side in which drawn faces are compared with pictures; more shows "
                    "finer expressions and takes longer.",
                    extra_dict=host.ADVANCED,
                ),
                io.Float.Input(
                    "rate",
                    default=EmbedSettings.rate,
                    min=0.0001,
                    max=1.0,
                    step=0.001,
                    tooltip="Highest learning rate; it rises at first and falls over the last quarter of each part.",
                    extra_dict=host.ADVANCED,
                ),
                *(
                    io.Float.Input(
                        f"weight_{name}",
                        default=getattr(EmbedWeights, name),
                        min=0.0,
                        max=MOST_WEIGHT,
                        step=0.0001 if "recognition" in name else 0.01,
                        tooltip=f"{told} 0 leaves it out.",
                        extra_dict=host.ADVANCED,
                    )
                    for name, told in WEIGHTS.items()
                ),
                seed_input(
                    "Of random starts and random edits; the same seed gives the same latent.",
                    EmbedSettings.seed,
                    anew=False,
                ),
                host.IdentityNet.Input(
                    "identity_net",
                    optional=True,
                    tooltip="From Load Identity Network; one that knows such faces. Without it both recognition terms "
                    "are left out.",
                ),
            ],
            outputs=[
                host.Latent.Output(display_name="latent", tooltip="B latents, in the order of the portraits."),
                io.Image.Output(display_name="image", tooltip="The portraits as the generator draws them."),
                io.String.Output(
                    display_name="report",
                    tooltip="For each portrait: PSNR in decibels, cosine of the recogniser, and how much an edit to "
                    "what is there changes, of the spread of W.",
                ),
                io.Image.Output(display_name="curves", tooltip="How every weighted term fell over the steps."),
            ],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        stylegan: Generator,
        rig: Rig,
        face_model: FaceModel,
        face_params: FaceParams,
        lpips: str,
        allow_download: bool,
        compare_size: int,
        identity_net: IdentityNetwork | None = None,
        **search: float,
    ) -> io.NodeOutput:
        weights = EmbedWeights(**{name: search.pop(f"weight_{name}") for name in WEIGHTS})
        settings = EmbedSettings(side=compare_size, weights=weights, **search)
        pictures = host.picture_in(image)
        distance = lpips_of(lpips, allow_download)
        recogniser = None if identity_net is None else identity_net.network
        modules = (stylegan.network, face_model, *rig.modules, recogniser, distance)
        with host.memory(*modules) as device, host.optimising(sum(settings.runs)) as watch:
            given = pictures.to(device), stylegan, rig, face_model, face_params.to(device)
            found = embed_portrait(
                *host.fresh(given), settings, recogniser=host.fresh(identity_net), perceptual=distance, watch=watch
            )
        report = found.report()
        return io.NodeOutput(
            host.latent_out(Latent(found.latent.w, stylegan.id)),
            host.picture_out(found.inversion.picture),
            report,
            host.picture_out(loss_curves(found.history)),
            ui=host.show_text(report),
        )


NODES = [EmbedPortrait]
