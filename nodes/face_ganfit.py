"""Node GANFit: the method for Fit 3DMM that looks at a face through a recogniser and a texture generator."""

from __future__ import annotations

from ..core.methods.fit import LIGHTINGS, GanFit, GanFitSettings, ViewSpread, Weights
from ..core.methods.fit.ganfit_settings import LARGEST_VIEW, SMALLEST_VIEW
from ..core.methods.identity import IdentityNetwork
from ..core.methods.texture_gan import TextureGan
from . import host
from .host import io
from .inputs import seed_input

MOST_STEPS = 5000
WEIGHTS = {
    "identity": "How much the render must look like the person to the recogniser.",
    "novel_view": "The same for a render from a random side, with a random expression under a random light; keeps "
    "light and pose out of the texture.",
    "content": "How much details must look alike to the recogniser, over its four inner maps; age and features.",
    "pixels": "Of the mean difference of colours; without it colours drift.",
    "landmarks": "Of the distance of the 68 points, in pixels of a 512-pixel square around the face.",
    "shape": "How dear unusual identities and expressions are.",
    "light": "How dear it is to leave the neutral light; its brightness and colour are dearer than its direction.",
    "texture": "How dear unusual maps of the texture generator are; a progressive GAN hardly needs it.",
}
"""What each of GANFit's terms does, by its name in `Weights`."""
SPREADS = {
    "expression": ("Of expressions in random views, in their own units.", 2.0),
    "yaw": ("Degrees to either side in random views.", 90.0),
    "pitch": ("Degrees up and down in random views.", 60.0),
    "roll": ("Degrees of tilt in random views.", 60.0),
    "light": ("Degrees between the random light and straight ahead.", 90.0),
    "ambient": ("Of the even light's strength around 0.5 in random views.", 0.5),
    "strength": ("Of the directed light's strength around 0.5 in random views.", 0.5),
}
"""Standard deviations of the random views: what each means, and the most it may be."""


class GanFitMethod(io.ComfyNode):
    """Everything that GANFit can be told."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigGanFit",
            display_name="GANFit",
            category="Portrait Rig/face",
            description="A method for Fit 3DMM: the face is fitted until a recogniser takes it for the person, from "
            "any side, under a skin that a texture generator can draw (Gecer et al. 2019).",
            inputs=[
                io.Int.Input(
                    "steps",
                    default=GanFitSettings.steps,
                    min=1,
                    max=MOST_STEPS,
                    tooltip="Steps of all terms together, after the landmarks; time grows in proportion. 150 settle "
                    "shape and colour, 300 and more sharpen details.",
                ),
                io.Combo.Input(
                    "light",
                    options=list(LIGHTINGS),
                    default=GanFitSettings.light,
                    tooltip="harmonics: light from all around, as Deep3DFaceRecon describes it. point: GANFit's lamp "
                    "at some place plus an even light; set the field of view of Fit 3DMM to 20° for GANFit's camera.",
                ),
                io.Boolean.Input(
                    "skin_mask",
                    default=GanFitSettings.skin_mask,
                    tooltip="On: only pixels of skin's colour are compared, so hands, glasses and hair count less. For "
                    "photographs; a mask at Fit 3DMM is surer.",
                ),
                seed_input("Of the random views; the same seed gives the same fit.", GanFitSettings.seed, anew=False),
                *(
                    io.Float.Input(
                        f"weight_{name}",
                        default=getattr(Weights, name),
                        min=0.0,
                        max=1000.0,
                        step=0.001,
                        tooltip=f"{told} 0 leaves the term out.",
                        extra_dict=host.ADVANCED,
                    )
                    for name, told in WEIGHTS.items()
                ),
                *(
                    io.Float.Input(
                        f"spread_{name}",
                        default=getattr(ViewSpread, name),
                        min=0.0,
                        max=most,
                        step=0.01,
                        tooltip=f"Standard deviation. {told}",
                        extra_dict=host.ADVANCED,
                    )
                    for name, (told, most) in SPREADS.items()
                ),
                io.Int.Input(
                    "view_size",
                    default=GanFitSettings.view_size,
                    min=SMALLEST_VIEW,
                    max=LARGEST_VIEW,
                    tooltip="Side of the random views in pixels; the recogniser looks at 112.",
                    extra_dict=host.ADVANCED,
                ),
                io.Float.Input(
                    "texture_rate",
                    default=GanFitSettings.rate,
                    min=0.0001,
                    max=1.0,
                    step=0.0001,
                    tooltip="How far the texture's latent moves at a step, about; lower where a generator flickers.",
                    extra_dict=host.ADVANCED,
                ),
                host.IdentityNet.Input(
                    "identity_net",
                    optional=True,
                    tooltip="From Load Identity Network; one that knows such faces. Without it the terms identity, "
                    "novel view and content are left out.",
                ),
                host.TextureGan.Input(
                    "texture_gan",
                    optional=True,
                    tooltip="From Load Texture GAN; one of the face model that is fitted. Without it the model's own "
                    "skin colours, or a free map where it has but one.",
                ),
            ],
            outputs=[host.FitMethod.Output(display_name="method", tooltip="For the input method of Fit 3DMM.")],
        )

    @classmethod
    def execute(
        cls,
        steps: int,
        light: str,
        skin_mask: bool,
        seed: int,
        view_size: int,
        texture_rate: float,
        identity_net: IdentityNetwork | None = None,
        texture_gan: TextureGan | None = None,
        **numbers: float,
    ) -> io.NodeOutput:
        settings = GanFitSettings(
            steps=steps,
            weights=Weights(**{name: numbers[f"weight_{name}"] for name in WEIGHTS}),
            views=ViewSpread(**{name: numbers[f"spread_{name}"] for name in SPREADS}),
            light=light,
            rate=texture_rate,
            skin_mask=skin_mask,
            view_size=view_size,
            seed=seed,
        )
        return io.NodeOutput(GanFit(identity_net, texture_gan, settings))


NODES = [GanFitMethod]
