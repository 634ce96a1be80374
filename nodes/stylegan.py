"""Nodes around the generator itself: Load StyleGAN, Generate Image, Save StyleGAN."""

from __future__ import annotations

import torch

from ..core.checkpoints import read, save_safetensors, tensor_names
from ..core.errors import UserError
from ..core.methods.generate import DEFAULT, generate
from ..core.networks.generator import WHICH, Generator, is_generator, load_generator, packed
from ..core.networks.running import PRECISIONS, prepared
from ..core.networks.stylegan2 import NOISE_MODES
from ..core.types import Latent
from . import folders, host
from .host import io
from .inputs import seed_input
from .model_files import ModelFiles

OTHER_FOLDERS = ("stylegan", "stylegan2", "stylegan3", "gan")
"""Model folders that other packs may have registered; files there are offered, too."""
FILES = ModelFiles(DEFAULT.name, {".safetensors", ".pkl", ".pt", ".pth", ".tar"}, also=OTHER_FOLDERS)
IN_MODELS, IN_OUTPUT = f"models/{folders.MODEL_FOLDER}", "output"
MOST_AT_ONCE = 256


class LoadStyleGan(io.ComfyNode):
    """A generator from any published file, or an embedded one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigLoadStyleGan",
            display_name="Load StyleGAN",
            category="Portrait Rig/stylegan",
            description="Loads a StyleGAN2 or StyleGAN3 generator as its authors published it: NVIDIA's .pkl, "
            "rosinality's .pt, StyleGAN-Human, TensorFlow pickles, or .safetensors; or the embedded one of toon "
            "people. Nothing in a file is executed.",
            inputs=[
                FILES.choice(
                    f"A file of models/{folders.MODEL_FOLDER} (or models/stylegan, where another pack has one)."
                    f" {DEFAULT.name} comes with the pack and draws portraits of toon people.",
                    _others_embedded(),
                ),
                io.Combo.Input(
                    "which",
                    options=list(WHICH),
                    default=WHICH[0],
                    tooltip="Of a training checkpoint: G_ema, the averaged generator, is the one to use; G is the one "
                    "in training.",
                ),
                io.Combo.Input(
                    "precision",
                    options=list(PRECISIONS),
                    default=next(iter(PRECISIONS)),
                    tooltip="Of drawing: fp16 and bf16 are about twice as fast on GPUs and differ by about 1 %. Where "
                    "the device cannot, fp32 is used and the output about says so. Inversion is always in fp32.",
                ),
                io.Boolean.Input(
                    "compile",
                    default=False,
                    tooltip="torch.compile: the first picture takes minutes (so does the first of another noise mode "
                    "or number at once), the others are faster. Where it fails it runs as usual, and about says so.",
                    extra_dict=host.ADVANCED,
                ),
            ],
            outputs=[
                host.StyleGan.Output(display_name="stylegan", tooltip="The generator; latents belong to its weights."),
                io.String.Output(
                    display_name="about",
                    tooltip="What was recognised: family, size in pixels, number and width of codes, what was guessed.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, file: str | None = None) -> object:
        """A file that was replaced is loaded anew."""
        return FILES.state(file)

    @classmethod
    def execute(cls, file: str, which: str, precision: str, compile: bool) -> io.NodeOutput:
        with host.loading():
            generator = load_generator(read(FILES.path(file)), which)
        told = []
        if compile or PRECISIONS[precision] is not None:
            with host.memory(generator.network):
                generator, told = prepared(generator, precision, compile)
        about = "\n".join([generator.describe(), *told])
        return io.NodeOutput(generator, about, ui=host.show_text(about))


class GenerateImage(io.ComfyNode):
    """Pictures of latents."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigGenerateImage",
            display_name="Generate Image (StyleGAN)",
            category="Portrait Rig/stylegan",
            description="Draws the picture of every latent, a few at a time.",
            inputs=[
                host.StyleGan.Input("stylegan", tooltip="The generator that the latents belong to."),
                host.Latent.Input("latent", tooltip="B latents; each becomes a picture."),
                io.Combo.Input(
                    "noise",
                    options=list(NOISE_MODES),
                    default=NOISE_MODES[0],
                    tooltip="Fine random detail such as single hairs. const: what the file holds, the same every time. "
                    "none: smooth. random: from the seed. StyleGAN3 takes no noise.",
                ),
                seed_input(
                    "Of random noise; picture number i takes seed + i. Ignored in the other modes.", name="noise_seed"
                ),
                io.Int.Input(
                    "at_once",
                    default=4,
                    min=1,
                    max=MOST_AT_ONCE,
                    tooltip="Pictures drawn together: more is faster on a GPU and needs memory in proportion; the "
                    "pictures are the same.",
                    extra_dict=host.ADVANCED,
                ),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="B pictures in the generator's size.")],
        )

    @classmethod
    def execute(cls, stylegan: Generator, latent: Latent, noise: str, noise_seed: int, at_once: int) -> io.NodeOutput:
        if len(latent) == 0:
            raise UserError("There is no latent to draw. Connect at least one.")
        if stylegan.channels not in (1, 3, 4):
            raise UserError(
                f"The generator '{stylegan.id.name}' draws {stylegan.channels} channels, which is no picture of grey, "
                "RGB or RGBA. Use another one."
            )
        with host.memory(stylegan.network), host.working(len(latent)) as watch:
            drawn = generate(stylegan, latent, noise, noise_seed, at_once, watch)
        return io.NodeOutput(host.picture_out(drawn.expand(-1, 3, -1, -1) if stylegan.channels == 1 else drawn))


class SaveStyleGan(io.ComfyNode):
    """A generator to a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigSaveStyleGan",
            display_name="Save StyleGAN",
            category="Portrait Rig/stylegan",
            description="Writes a generator, such as one that Invert Image tuned, as .safetensors. A tuned one "
            "remembers whose latents it understands.",
            inputs=[
                host.StyleGan.Input("stylegan", tooltip="The generator, tuned or as it was loaded."),
                io.Combo.Input(
                    "folder",
                    options=[IN_MODELS, IN_OUTPUT],
                    default=IN_MODELS,
                    tooltip="The model folder, where Load StyleGAN finds it after a refresh, or the output folder.",
                ),
                io.String.Input(
                    "filename_prefix",
                    default="stylegan/tuned",
                    tooltip="Folder and name below it; a number and .safetensors are added.",
                ),
            ],
            outputs=[io.String.Output(display_name="file", tooltip="The file's full path.")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, stylegan: Generator, folder: str, filename_prefix: str) -> io.NodeOutput:
        if folder == IN_MODELS:
            path = folders.model_output_path(filename_prefix, ".safetensors")
        else:
            path = folders.output_path(filename_prefix, ".safetensors").path
        with torch.no_grad():
            save_safetensors(path, *packed(stylegan))
        return io.NodeOutput(str(path), ui=host.show_text(str(path)))


def _others_embedded() -> list[str]:
    """Names of the pack's own generators beside the default."""
    found = [path.name for path in sorted(folders.WEIGHTS.glob("*.safetensors")) if is_generator(tensor_names(path))]
    return [name for name in found if name != DEFAULT.name]


NODES = [LoadStyleGan, GenerateImage, SaveStyleGan]
