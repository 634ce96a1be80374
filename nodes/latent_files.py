"""Nodes that keep style codes in files: Save Latent, Load Latent."""

from __future__ import annotations

from ..core.methods.latent_io import EXTENSIONS, load_latent, save_latent
from ..core.networks.generator import Generator
from ..core.types import Latent
from . import folders, host
from .host import io


class SaveLatent(io.ComfyNode):
    """Latents to a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigSaveLatent",
            display_name="Save Latent (StyleGAN)",
            category="Portrait Rig/stylegan",
            description="Writes latents, with the generator they belong to, as .safetensors into the output folder.",
            inputs=[
                host.Latent.Input("latent", tooltip="All B latents go into one file."),
                io.String.Input(
                    "filename_prefix",
                    default="latent/latent",
                    tooltip="Folder and name below the output folder; a number and .safetensors are added.",
                ),
            ],
            outputs=[io.String.Output(display_name="file", tooltip="Name with ' [output]', as Load Latent takes it.")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, latent: Latent, filename_prefix: str) -> io.NodeOutput:
        file = folders.output_path(filename_prefix, ".safetensors")
        save_latent(latent, file.path)
        return io.NodeOutput(file.name, ui=host.show_text(file.name))


class LoadLatent(io.ComfyNode):
    """Latents from a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigLoadLatent",
            display_name="Load Latent (StyleGAN)",
            category="Portrait Rig/stylegan",
            description="Reads latents that Save Latent wrote, or codes of the official projectors (projected_w.npz).",
            inputs=[
                io.String.Input(
                    "file",
                    default="latent/latent_00001_.safetensors [output]",
                    tooltip="Name in the input folder, or, with ' [output]' behind it, in the output folder: "
                    f"{', '.join(EXTENSIONS)}.",
                ),
                host.StyleGan.Input(
                    "stylegan",
                    optional=True,
                    tooltip="The latents must be this generator's. Needed for files of other tools, which do not say "
                    "whose they are.",
                ),
            ],
            outputs=[
                host.Latent.Output(display_name="latent", tooltip="All latents of the file, bound to their generator."),
                io.String.Output(display_name="about", tooltip="Number of latents, their layers, and whose they are."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, file: str | None = None) -> object:
        """A file that was written anew is read anew."""
        return folders.input_state(file)

    @classmethod
    def execute(cls, file: str, stylegan: Generator | None = None) -> io.NodeOutput:
        latent = load_latent(folders.input_path(file), stylegan)
        count, layers, width = latent.w.shape
        about = f"{count} latents of '{latent.generator.name}', {layers} layers of {width} values"
        return io.NodeOutput(host.latent_out(latent), about, ui=host.show_text(about))


NODES = [SaveLatent, LoadLatent]
