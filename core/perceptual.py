"""How far apart two pictures look: by pixel, over a pyramid of scales, and by LPIPS where its backbone is present.

Every distance takes pictures `a`, `b` [B, 3, H, W] RGB 0…1 and `mask` [B or 1, 1, H, W] 0…1 or None (everything
counts), and gives [B]: the mean over what counts. A mask that is empty gives 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from .errors import UserError

Distance = Callable[..., Tensor]
"""distance(a, b, mask=None) -> [B]."""

PYRAMID_LEVELS = 6
"""Most levels of the pyramid; from 256 pixels the coarsest is then 8 wide."""
SMALLEST_LEVEL = 8
"""No level is smaller than this, in pixels."""
BINOMIAL = (1.0, 4.0, 6.0, 4.0, 1.0)
"""Low pass of the pyramid. Burt & Adelson 1983, with a = 0.375."""

LPIPS_SIDE = 256
"""LPIPS sees pictures no larger than this, reduced by area. stylegan2-ada-pytorch, projector.py."""


@dataclass(frozen=True)
class Backbone:
    """A feature network of LPIPS: torchvision's file and its size in megabytes."""

    file: str
    megabytes: int


BACKBONES = {
    "vgg": Backbone("vgg16-397923af.pth", 528),
    "alex": Backbone("alexnet-owt-7be5be79.pth", 233),
    "squeeze": Backbone("squeezenet1_1-b8a52dc0.pth", 5),
}
"""What the `lpips` package can stand on; it brings its own linear weights. Source of names and sizes: torchvision."""


def pixel_distance(a: Tensor, b: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared difference."""
    return _mean((a - b).square().mean(1, keepdim=True), mask)


def psnr(a: Tensor, b: Tensor, mask: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio of pictures clamped to 0…1, in decibels; infinite for equal ones."""
    return -10 * torch.log10(pixel_distance(a.clamp(0, 1), b.clamp(0, 1), mask))


def pyramid_distance(a: Tensor, b: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean absolute difference summed over the levels of a Laplacian pyramid: edges count at every scale.

    Source: Bojanowski et al. 2018, "Optimizing the latent space of generative networks", the Lap1 loss. Their weight
    2^(2j) on a sum over level j is the weight 1 on a mean, which is taken here.
    """
    total = a.new_zeros(a.shape[0])
    rest = a - b  # the pyramid is linear
    for _ in range(PYRAMID_LEVELS - 1):
        if min(rest.shape[-2:]) < 2 * SMALLEST_LEVEL:
            break
        smaller = _reduced(rest)
        detail = rest - functional.interpolate(smaller, rest.shape[-2:], mode="bilinear", align_corners=False)
        total = total + _mean(detail.abs().mean(1, keepdim=True), mask)
        rest = smaller
        mask = None if mask is None else functional.interpolate(mask, rest.shape[-2:], mode="area")
    return total + _mean(rest.abs().mean(1, keepdim=True), mask)


class Lpips(nn.Module):
    """Learned perceptual distance (Zhang et al. 2018), by the `lpips` package."""

    def __init__(self, network: str = "vgg", download: bool = False) -> None:
        """network: a key of BACKBONES. download: let torchvision fetch the backbone where it is missing.

        UserError where the package cannot be used, or the backbone is missing and may not be fetched.
        """
        super().__init__()
        if network not in BACKBONES:
            raise UserError(f"LPIPS knows the backbones {', '.join(BACKBONES)}; got '{network}'.")
        if not download and not backbone_path(network).exists():
            raise UserError(missing_backbone(network))
        try:
            import lpips
        except Exception as error:  # torchvision raises RuntimeError where it does not match torch
            raise UserError(
                f"LPIPS cannot be used: {error}. Install it by `pip install lpips torchvision` (torchvision must match "
                "the installed torch), or take the pyramid distance, which needs nothing."
            ) from error
        with torch.inference_mode(False):
            self.network = lpips.LPIPS(net=network, spatial=True, verbose=False).requires_grad_(False).eval()

    def forward(self, a: Tensor, b: Tensor, mask: Tensor | None = None) -> Tensor:
        side = max(a.shape[-2:])
        if side > LPIPS_SIDE:
            size = [max(1, round(length * LPIPS_SIDE / side)) for length in a.shape[-2:]]
            a, b = (functional.interpolate(picture, size, mode="area") for picture in (a, b))
            mask = None if mask is None else functional.interpolate(mask, size, mode="area")
        return _mean(self.network(a, b, normalize=True), mask)


def backbone_path(network: str) -> Path:
    """Where torchvision keeps the backbone of LPIPS, whether or not it is there yet."""
    return Path(torch.hub.get_dir()) / "checkpoints" / BACKBONES[network].file


def missing_backbone(network: str) -> str:
    """The sentence about a backbone that is not there."""
    path, backbone = backbone_path(network), BACKBONES[network]
    return (
        f"LPIPS needs the file {backbone.file} ({backbone.megabytes} MB, ImageNet weights of torchvision), which is "
        f"not in {path.parent}. Allow the download in the node's option, put the file there, or take the "
        "pyramid distance."
    )


def _mean(distance: Tensor, mask: Tensor | None) -> Tensor:
    """[B, 1, H, W] -> [B], weighted by the mask."""
    if mask is None:
        return distance.mean(dim=(1, 2, 3))
    mask = mask.to(distance).expand_as(distance)
    return (distance * mask).sum(dim=(1, 2, 3)) / mask.sum(dim=(1, 2, 3)).clamp_min(1e-8)


def _reduced(picture: Tensor) -> Tensor:
    """Low-passed and halved, borders mirrored."""
    channels = picture.shape[1]
    taps = picture.new_tensor(BINOMIAL) / sum(BINOMIAL)
    padded = functional.pad(picture, (2, 2, 2, 2), mode="reflect")
    rows = functional.conv2d(padded, taps.view(1, 1, 1, 5).expand(channels, 1, 1, 5), groups=channels)
    both = functional.conv2d(rows, taps.view(1, 1, 5, 1).expand(channels, 1, 5, 1), groups=channels)
    return functional.avg_pool2d(both, 2, ceil_mode=True)
