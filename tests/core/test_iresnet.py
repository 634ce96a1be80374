"""ArcFace's network: sizes read back from weights, the published layouts, training and evaluation."""

from __future__ import annotations

import onnx_bytes
import pytest
import torch
from portrait_rig.core.errors import UserError
from portrait_rig.core.networks import iresnet
from portrait_rig.core.networks.iresnet import IResNet, IResNetOptions
from torch import nn

SIZES = {
    "r18": (187, 24_025_600),
    "r34": (331, 34_139_328),
    "r50": (475, 43_590_848),
    "r100": (925, 65_156_160),
    "r200": (1807, 118_833_920),
}
"""Tensors and parameters of the authors' networks, counted on them."""


def small(**changes: object) -> IResNet:
    options = {"depths": (1, 2, 1, 1), "widths": (4, 6, 8, 10), "embedding": 12, "side": 32} | changes
    torch.manual_seed(3)
    return IResNet(IResNetOptions(**options))


@pytest.mark.parametrize("name", list(SIZES))
def test_the_published_networks_have_the_authors_sizes(name):
    with torch.device("meta"):
        network = IResNet(IResNetOptions(iresnet.DEPTHS[name]))
    assert (len(network.state_dict()), sum(p.numel() for p in network.parameters())) == SIZES[name]
    assert network.options.name == name


@pytest.mark.parametrize(
    "options",
    [
        IResNetOptions((2, 2, 2, 2), (3, 5, 4, 6), 7, 112),
        IResNetOptions((1, 1, 1, 1), (2, 2, 2, 2), 1, 16),
        IResNetOptions((3, 1, 2, 12), (4, 4, 8, 8), 16, 48),
    ],
    ids=str,
)
def test_every_size_comes_back_from_the_weights(options):
    network = IResNet(options).eval()
    again = iresnet.from_tensors(network.state_dict())
    assert again.options == options
    assert not again.training
    assert not any(p.requires_grad for p in again.parameters())
    pictures = torch.rand(2, 3, options.side, options.side)
    assert torch.equal(again(pictures), network(pictures))


def test_files_without_torchs_counters_are_read():
    tensors = {key: t for key, t in small().state_dict().items() if not key.endswith(iresnet.COUNTER)}
    assert iresnet.from_tensors(tensors).bn1.num_batches_tracked == 0


def test_inside_inference_mode_the_network_stays_usable_for_gradients():
    tensors = small().state_dict()
    with torch.inference_mode():
        network = iresnet.from_tensors(tensors)
    pictures = torch.rand(1, 3, 32, 32, requires_grad=True)
    network(pictures).sum().backward()
    assert pictures.grad.abs().sum() > 0


def test_missing_and_unexpected_weights_are_named():
    tensors = small().state_dict()
    del tensors["layer2.1.prelu.weight"]
    tensors["layer2.1.se.weight"] = torch.ones(1)
    with pytest.raises(UserError, match=r"missing: layer2\.1\.prelu\.weight; unexpected: layer2\.1\.se\.weight"):
        iresnet.from_tensors(tensors)


def test_only_arcfaces_networks_match():
    tensors = small().state_dict()
    assert iresnet.matches(tensors)
    assert not iresnet.matches({key: t for key, t in tensors.items() if "prelu" not in key})  # as torchvision's ResNet
    assert not iresnet.matches({})


def test_an_odd_side_is_halved_upwards():
    network = small(side=33).eval()
    assert network.options.last_side == 3
    assert [m.shape[-1] for m in network.maps(torch.rand(1, 3, 33, 33))] == [17, 9, 5, 3]


def test_maps_are_those_of_the_named_norms_and_lead_to_the_embedding():
    network = onnx_bytes.random_iresnet()
    seen = []
    for name in ("layer2.0.bn1", "layer3.0.bn1", "layer4.0.bn1", "bn2"):
        network.get_submodule(name).register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    pictures = torch.rand(2, 3, 32, 32)
    maps = network.maps(pictures)
    assert len(seen) == len(maps) == 4  # each norm is asked once
    for ours, expected in zip(maps, seen, strict=True):
        assert ours is expected
    assert torch.equal(network.head(maps[-1]), network(pictures))


def test_training_learns_everything_but_the_lengths_of_features():
    network = small(dropout=0.5)
    assert network.training
    network(torch.rand(4, 3, 32, 32)).square().sum().backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == ["features.weight"]
    assert (network.features.weight == 1).all()


def test_training_uses_the_batch_and_evaluation_what_was_kept():
    network, pictures = small(), torch.rand(4, 3, 32, 32)
    before = network.bn1.running_mean.clone()
    first = network(pictures)
    assert torch.allclose(first.mean(0), torch.zeros(12), atol=1e-5)  # normed over the batch
    mean = network.conv1(pictures).mean((0, 2, 3))
    assert torch.allclose(network.bn1.running_mean, before + 0.1 * (mean - before), atol=1e-6)
    network.eval()
    assert torch.allclose(network(pictures)[:1], network(pictures[:1]), atol=1e-5)
    assert not torch.allclose(network(pictures), first, atol=1e-2)


def test_dropout_only_while_training():
    network = small(dropout=0.5)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.eval()
    pictures = torch.rand(2, 3, 32, 32)
    assert not torch.equal(network(pictures), network(pictures))
    network.eval()
    assert torch.equal(network(pictures), network(pictures))


def test_gradients_agree_with_finite_differences():
    network = onnx_bytes.random_iresnet((1, 1, 1, 1), (2, 2, 2, 2), 3, 16).double()
    pictures = torch.rand(1, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(network, pictures.requires_grad_(), fast_mode=True)
