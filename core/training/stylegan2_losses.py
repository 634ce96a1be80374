"""The published losses of StyleGAN2, as functions of scores, pictures and codes; StyleGAN3 trains with the first three.

Source: stylegan2-ada-pytorch, `training/loss.py`. Non-saturating loss: Goodfellow et al. 2014; R1: Mescheder et al.
2018; path length: Karras et al. 2020, section 3.2. All return one value a picture; the caller averages, multiplies a
lazy regulariser by its interval and steps. They need gradients, so they do not run in inference mode.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class LossSettings:
    """Weights and schedules; the defaults are stylegan2-ada-pytorch's (`loss.py`, `train.py`).

    r1_gamma: weight of R1, halved in the loss; 0.0002 · resolution² / batch is the authors' rule (`suggested_gamma`).
    path_weight, path_decay, path_batch_shrink: path-length regulariser, decay of its running mean, divisor of its
    batch. style_mixing: probability that a picture's later layers take another w. generator_interval,
    discriminator_interval: steps between the lazy regularisers.
    """

    r1_gamma: float = 10.0
    path_weight: float = 2.0
    path_decay: float = 0.01
    path_batch_shrink: int = 2
    style_mixing: float = 0.9
    generator_interval: int = 4
    discriminator_interval: int = 16


def suggested_gamma(resolution: int, batch: int) -> float:
    """R1's weight for a resolution and a batch size (train.py, 'auto')."""
    return 0.0002 * resolution**2 / batch


def generator_loss(fake_scores: Tensor) -> Tensor:
    """[N, 1] scores of generated pictures -> [N, 1]."""
    return functional.softplus(-fake_scores)


def discriminator_loss(fake_scores: Tensor, real_scores: Tensor) -> Tensor:
    """[N, 1] scores of generated and of real pictures -> [N, 1]."""
    return functional.softplus(fake_scores) + functional.softplus(-real_scores)


def r1_penalty(real: Tensor, real_scores: Tensor) -> Tensor:
    """Squared gradient of the scores of real pictures [N, C, H, W], which must require gradients -> [N].

    The loss is this · gamma / 2.
    """
    (gradient,) = torch.autograd.grad(real_scores.sum(), real, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3))


def path_length_penalty(
    picture: Tensor, ws: Tensor, mean: Tensor, settings: LossSettings, noise: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """How unevenly steps in W change the picture: ([N] penalty, new running mean of the lengths).

    picture: [N, C, H, W] made from ws [N, L, w_dim], with gradients. mean: the running mean, a scalar, 0 at the start.
    noise: N(0, 1) of the picture's shape, drawn here where None. The loss is the penalty · path_weight. The gradient
    also flows through the mean, as in the authors' code; the returned one is detached.
    """
    noise = torch.randn_like(picture) if noise is None else noise
    scale = (picture.shape[2] * picture.shape[3]) ** -0.5
    (gradient,) = torch.autograd.grad((picture * noise).sum() * scale, ws, create_graph=True)
    lengths = gradient.square().sum(dim=2).mean(dim=1).sqrt()
    moved = torch.lerp(mean.to(lengths), lengths.mean(), settings.path_decay)
    return (lengths - moved).square(), moved.detach()


def lazy_adam(learning_rate: float, betas: tuple[float, float], interval: int) -> tuple[float, tuple[float, float]]:
    """Learning rate and betas of Adam for a network whose regulariser runs every `interval` steps (appendix B)."""
    ratio = interval / (interval + 1)
    return learning_rate * ratio, (betas[0] ** ratio, betas[1] ** ratio)


def mix_styles(ws: Tensor, others: Tensor, probability: float, generator: torch.Generator | None = None) -> Tensor:
    """Style mixing: with `probability`, all pictures take the later layers of `others` from one random layer on.

    ws, others: [N, L, w_dim]. generator: a CPU generator.
    """
    layers = ws.shape[1]
    if torch.rand((), generator=generator) >= probability:
        return ws
    cutoff = int(torch.randint(1, layers, (), generator=generator)) if layers > 1 else layers
    return torch.cat([ws[:, :cutoff], others[:, cutoff:]], dim=1)


def average_decay(batch: int, seen: int, half_life: float, ramp_up: float | None) -> float:
    """Decay of the moving average of the generator's weights for one step.

    batch, seen: pictures of this step and before it. half_life: in pictures. ramp_up: the half life's largest share of
    what was seen, or None. The average's first step copies where `ramp_up` is set. Source: training/training_loop.py.
    """
    if ramp_up is not None:
        half_life = min(half_life, seen * ramp_up)
    return 0.5 ** (batch / max(half_life, 1e-8))
