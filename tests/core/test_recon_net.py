"""Deep3DFaceRecon's network at every size: its file, what is read off it, how it begins, what is refused."""

from __future__ import annotations

import pytest
import torch
from portrait_rig.core.checkpoints import read
from portrait_rig.core.errors import UserError
from portrait_rig.core.networks import recon_net
from portrait_rig.core.networks.recon_net import ReconNet, ReconNetOptions
from portrait_rig.core.networks.resnet import RESNET18, RESNET34, ResNet, ResNetOptions, recover_options

TINY = ResNetOptions.basic((1, 1), 4)
OPTIONS = {
    "ResNet-18": ReconNetOptions(ResNetOptions.basic(RESNET18, 4)),
    "ResNet-34": ReconNetOptions(ResNetOptions.basic(RESNET34, 4), (40, 43, 25, 2)),
    "ResNet-50": ReconNetOptions(ResNetOptions(stem=4, inner=4, outputs=16)),
    "grouped": ReconNetOptions(ResNetOptions((1, 2, 1), stem=6, inner=8, outputs=12, groups=4), (3,)),
    "one last layer": ReconNetOptions(TINY, (257,), one_layer=True),
}


def network(options, seed=0):
    """With random heads, so that it says something."""
    torch.manual_seed(seed)
    net = ReconNet(options).eval()
    for name, tensor in net.named_parameters():
        if "final_layers" in name or "fc" in name:
            torch.nn.init.normal_(tensor)
    return net


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_options_and_outputs_come_back_from_the_weights(options):
    net = network(options)
    loaded = recon_net.from_tensors(net.state_dict())
    assert loaded.options == options
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    pictures = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded(pictures), net(pictures))
        assert loaded(pictures).shape == (3, sum(options.heads)) and loaded(pictures).std(0).min() > 0


def test_the_published_network_has_its_published_size():
    with torch.device("meta"):
        net = ReconNet()
    assert len(net.state_dict()) == 332
    assert sum(p.numel() for p in net.parameters()) == 24_034_625
    assert net.describe() == "ResNet-50, 7 heads, 257 values a face"


def test_the_authors_file_with_its_optimiser_loads(tmp_path):
    """epoch_20.pth: {'net_recon': …, 'opt_00': …, 'sched_00': …}."""
    net = network(ReconNetOptions(TINY))
    adam = torch.optim.Adam(net.parameters())
    net(torch.rand(1, 3, 32, 32)).sum().backward()
    adam.step()
    contents = {"net_recon": net.state_dict(), "opt_00": adam.state_dict(), "sched_00": {"last_epoch": 20}}
    torch.save(contents, tmp_path / "epoch_20.pth")
    tensors = read(tmp_path / "epoch_20.pth").tensors
    assert recon_net.matches(tensors)
    loaded = recon_net.from_tensors(tensors)
    assert torch.equal(loaded.final_layers[0].weight, net.final_layers[0].weight)


def test_before_training_every_value_is_zero():
    """Upstream's heads start at zero, so that training begins at the mean face."""
    assert ReconNet(ReconNetOptions(TINY, (4, 2)))(torch.rand(2, 3, 40, 40)).abs().max() == 0


def test_a_trunk_begins_as_relus_need_it():
    """He's initialisation for ReLUs, as torchvision's trunks begin."""
    torch.manual_seed(0)
    weight = ReconNet(ReconNetOptions(ResNetOptions.basic((1, 1), 32))).backbone.layer2[0].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (64 * 3 * 3)) ** 0.5, rel=0.03)


def test_gradients_reach_the_picture_and_every_weight():
    net = network(ReconNetOptions(TINY, (5,))).double()
    picture = torch.rand(1, 3, 12, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: net(x), picture, atol=1e-6)
    net(picture).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())


def test_no_picture_and_other_shapes():
    net = network(ReconNetOptions(TINY, (5,)))
    assert net(torch.rand(0, 3, 32, 32)).shape == (0, 5)
    for shape in ((1, 4, 32, 32), (3, 32, 32)):
        with pytest.raises(UserError, match=r"takes pictures \[B, 3, H, W\]; got"):
            net(torch.rand(shape))


@pytest.mark.parametrize(
    "gone", ["final_layers.1.weight", "final_layers.0", "backbone.layer2.0.bn1.bias", "backbone.conv1.weight", "final"]
)
def test_an_incomplete_file_is_refused(gone):
    whole = network(ReconNetOptions(TINY, (3, 2))).state_dict()
    with pytest.raises(UserError, match="does not hold a complete Deep3DFaceRecon regressor"):
        recon_net.from_tensors({name: tensor for name, tensor in whole.items() if not name.startswith(gone)})


def test_odd_names_are_refused():
    whole = network(ReconNetOptions(TINY, (3, 2))).state_dict()
    for odd in ("final_layers.x.weight", "backbone.layer9.0.conv1.weight", "backbone.layer1.77.conv1.weight"):
        with pytest.raises(UserError, match="does not hold a complete Deep3DFaceRecon regressor"):
            recon_net.from_tensors({**whole, odd: torch.zeros(1)})


def test_heads_are_told_apart_from_other_networks():
    assert not recon_net.matches({"backbone.conv1.weight": torch.zeros(1)})
    assert not recon_net.matches({"conv1.weight": torch.zeros(1), "fc.weight": torch.zeros(1)})


def test_names_of_depths():
    assert [ResNetOptions.basic(RESNET18).depth, ResNetOptions().depth] == [18, 50]
    assert recover_options(ResNet(ResNetOptions()).state_dict()) == ResNetOptions()
