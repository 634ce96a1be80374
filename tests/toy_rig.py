"""Two rigs that nobody trained: one whose every answer is known, and one of random networks.

In the first DFR is linear, each RigNet brings its component exactly where it shall be, and so does the corrector.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from portrait_rig.core.face.camera import default_camera
from portrait_rig.core.face.coding import FaceCoding
from portrait_rig.core.face.model import FaceModel
from portrait_rig.core.methods.rig import Rig
from portrait_rig.core.networks.generator import Generator
from portrait_rig.core.networks.rig import COMPONENTS, DIFFERENCE, Corrector, Dfr, RigNet, columns, inputs_of
from portrait_rig.core.types import FaceParams, GeneratorId, Latent

GROUPS = ("identity", "expression", "albedo", "gaze", "angles", "light", "translation")
SIZE = (64, 64)
NUM_WS, W_DIM = 4, 48
LIFT = 64.0
"""Added before every ELU and taken off behind it: above 0 it is a straight line."""


def faces(model: FaceModel, frames: int = 16, seed: int = 0) -> FaceParams:
    """Faces that vary a little round the neutral one, well inside the model's limits."""
    random = torch.Generator().manual_seed(seed)
    params = model.neutral(default_camera(SIZE, frames=frames), frames)

    def varied(value: torch.Tensor, spread: float) -> torch.Tensor:
        return value + spread * torch.randn(value.shape, generator=random)

    gaze = varied(params.joints[:, :1, :2], 0.1).expand(-1, len(model.joints), -1)
    return replace(
        params,
        identity=varied(params.identity, 0.3),
        expression=varied(params.expression, 0.1).add(0.4).clamp(0, 1),
        albedo=varied(params.albedo, 0.3).abs(),
        joints=torch.nn.functional.pad(gaze, (0, 1)),
        angles=varied(params.angles, 0.2),
        light=varied(params.light, 0.2),
        translation=varied(params.translation, 0.05),
    )


def exact_rig(model: FaceModel, generator: GeneratorId | None = None, size: tuple[int, int] = SIZE) -> Rig:
    """Rows are linear in the codes, along orthogonal directions, and a RigNet adds exactly what is missing."""
    coding = FaceCoding.measured(faces(model), model, GROUPS)
    width, random = len(coding), torch.Generator().manual_seed(1)
    orthogonal = torch.linalg.qr(torch.randn(NUM_WS * W_DIM, width, generator=random))[0]
    dfr = Dfr(NUM_WS, W_DIM, width, width)
    with torch.no_grad():
        for layer, weight, bias in (
            (dfr.layers[0], orthogonal.T, LIFT),
            (dfr.layers[2], torch.eye(width), 0.0),
            (dfr.layers[4], torch.eye(width), -LIFT),
        ):
            layer.weight.copy_(weight)
            layer.bias.fill_(bias)
    rignets = {}
    for component in COMPONENTS:
        places = columns(coding.groups, component)
        network = RigNet(NUM_WS, W_DIM, inputs_of(DIFFERENCE, coding.groups, component))
        with torch.no_grad():
            for i, decoder in enumerate(network.decoders.values()):
                decoder.weight[:, network.hidden :] = orthogonal[i * W_DIM : (i + 1) * W_DIM, places]
        rignets[component] = network
    for network in (dfr, *rignets.values()):
        network.eval().requires_grad_(False)
    corrector = Corrector(orthogonal.T.unflatten(1, (NUM_WS, W_DIM)))
    return Rig("exact", generator or GeneratorId("toy", "f1"), size, coding, dfr, rignets, corrector)


def showing(rig: Rig, params: FaceParams) -> Latent:
    """Latents of the exact rig's generator that show these faces."""
    orthogonal = rig.dfr.layers[0].weight.T
    return Latent((rig.rows_of(params) @ orthogonal.T).unflatten(1, (NUM_WS, W_DIM)), rig.generator)


def random_rig(model: FaceModel, generator: Generator) -> Rig:
    """Random networks over faces that vary a little round the neutral one, so that whatever DFR says is a face."""
    neutral = model.neutral(default_camera(generator.size), 16)
    sizes = generator.num_ws, generator.w_dim
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        faces = replace(
            neutral,
            identity=0.3 * torch.randn_like(neutral.identity),
            expression=0.3 * torch.rand_like(neutral.expression),
            albedo=0.3 * torch.rand_like(neutral.albedo),
            joints=0.1 * torch.randn(16, 1, 3).mul(torch.tensor([1.0, 1.0, 0.0])).expand(16, 2, 3),
            angles=0.15 * torch.randn_like(neutral.angles),
            light=neutral.light + 0.05 * torch.randn_like(neutral.light),
            translation=neutral.translation + 0.02 * torch.randn_like(neutral.translation),
        )
        coding = FaceCoding.measured(faces, model, GROUPS)
        dfr = Dfr(*sizes, len(coding), 16)
        torch.nn.init.normal_(dfr.layers[-1].weight, std=0.3)
        rignets = {}
        for component in COMPONENTS:
            rignets[component] = RigNet(*sizes, inputs_of(DIFFERENCE, coding.groups, component))
            for decoder in rignets[component].decoders.values():
                torch.nn.init.normal_(decoder.weight, std=0.05)
        corrector = Corrector(0.01 * torch.randn(len(coding), *sizes))
    for network in (dfr, *rignets.values()):
        network.eval().requires_grad_(False)
    return Rig("random", generator.id, generator.size, coding, dfr, rignets, corrector)
