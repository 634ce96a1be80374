"""Small nodes for the tests of host and runner."""

from __future__ import annotations

import torch
from portrait_rig.core.errors import UserError
from portrait_rig.headless.core_nodes import CORE_NODES
from portrait_rig.headless.registry import Registry
from portrait_rig.nodes import host
from portrait_rig.nodes.host import io

CALLS: list[str] = []
"""Which nodes ran, in order."""


class Grey(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ToyGrey",
            display_name="Grey Picture",
            category="toys",
            inputs=[
                io.Float.Input("level", default=0.5, min=0.0, max=1.0, tooltip="How bright."),
                io.Int.Input("seed", default=0, min=0, max=99),
                io.Combo.Input("size", options=["small", "large"], default="small"),
                io.Boolean.Input("red", default=False),
                io.String.Input("note", default="", optional=True),
            ],
            outputs=[io.Image.Output(display_name="image"), io.Float.Output(display_name="level")],
        )

    @classmethod
    def execute(cls, level, seed, size, red, note=""):
        CALLS.append("grey")
        side = {"small": 4, "large": 8}[size]
        image = torch.full((1, side, side, 3), level)
        if red:
            image[..., 1:] = 0
        return io.NodeOutput(image, level)


class Brighten(io.ComfyNode):
    """Optimises, to prove that gradients work where nodes run."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ToyBrighten",
            display_name="Brighten",
            category="toys",
            inputs=[io.Image.Input("image"), io.Int.Input("steps", default=3, min=1, max=1000)],
            outputs=[io.Image.Output(display_name="image")],
        )

    @classmethod
    def execute(cls, image, steps):
        CALLS.append("brighten")
        with host.optimising(steps) as watch:
            picture = host.fresh(host.picture_in(image)).requires_grad_()
            for step in range(1, steps + 1):
                loss = ((1 - picture) ** 2).mean()
                (gradient,) = torch.autograd.grad(loss, picture)
                picture = (picture - 10 * gradient).detach().requires_grad_()
                watch(step, steps, loss.item(), lambda: picture)  # noqa: B023 - called at once or never
        return io.NodeOutput(host.picture_out(picture))


class Fail(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ToyFail",
            display_name="Fail",
            category="toys",
            inputs=[io.String.Input("how", default="person")],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, how):
        if how == "person":
            raise UserError("Nobody is in the picture. Choose another.")
        if how == "bug":
            raise IndexError("index 3 is out of bounds")
        if how == "cancel":
            raise host.Cancelled
        raise KeyboardInterrupt


class Show(io.ComfyNode):
    """An output node that shows a value."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ToyShow",
            display_name="Show",
            category="toys",
            inputs=[io.MultiType.Input("value", types=[io.Float, io.Image])],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, value):
        CALLS.append("show")
        shown = f"{value:g}" if isinstance(value, float) else f"mean {value.mean().item():.3f}"
        return io.NodeOutput(ui={"text": (shown,)})


class Clock(io.ComfyNode):
    """Never the same twice."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="ToyClock", category="toys", outputs=[io.Float.Output()])

    @classmethod
    def fingerprint_inputs(cls):
        return float("nan")

    @classmethod
    def execute(cls):
        CALLS.append("clock")
        return io.NodeOutput(float(len(CALLS)))


TOYS = [Grey, Brighten, Fail, Show, Clock]
REGISTRY = Registry.of([*CORE_NODES, *TOYS])
