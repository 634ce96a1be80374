"""The network that finds places: its file, sub-pixel precision, what is refused."""

from __future__ import annotations

import pytest
import torch
from portrait_rig.core.errors import UserError
from portrait_rig.core.networks import keypoint_net
from portrait_rig.core.networks.keypoint_net import KeypointNet, KeypointNetOptions, soft_argmax
from portrait_rig.core.networks.resnet import ResNetOptions

TINY = ResNetOptions.basic((1, 1), 4)
OPTIONS = {
    "small": KeypointNetOptions(TINY, 5, keypoints=3, narrow=2, hidden=4),
    "three stages": KeypointNetOptions(ResNetOptions.basic((1, 2, 1), 6), 9, keypoints=7),
    "bottlenecks": KeypointNetOptions(ResNetOptions((1, 1), stem=4, inner=4, outputs=8), 2, hidden=16),
}


def network(options=OPTIONS["small"], seed=0):
    """With random answers, so that it says something."""
    torch.manual_seed(seed)
    net = KeypointNet(options).eval()
    torch.nn.init.normal_(net.answers.weight)
    return net


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_options_and_outputs_come_back_from_the_weights(options):
    net = network(options)
    loaded = keypoint_net.from_tensors(net.state_dict())
    assert loaded.options == options
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    pictures = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded(pictures), net(pictures))
        assert loaded(pictures).shape == (3, options.outputs) and loaded(pictures).std(0).min() > 0


def test_before_training_every_value_is_zero():
    assert KeypointNet(OPTIONS["small"])(torch.rand(2, 3, 40, 40)).abs().max() == 0


def test_a_blob_is_found_to_a_fraction_of_a_cell():
    """A parabola's softmax is a normal distribution, whose mean is known; also where maps are not square."""
    x, y = (torch.arange(size) * 2 + 1 for size in (48, 32))
    for where in ((0.1, -0.2), (0.113, 0.307), (-0.4, 0.0)):
        squares = (x / 48 - 1 - where[0]).square()[None, :] + (y / 32 - 1 - where[1]).square()[:, None]
        found = soft_argmax(-squares[None, None] / (2 * 0.05**2))
        assert found[0].tolist() == pytest.approx(where, abs=1e-4)


def test_places_mean_the_same_at_every_resolution():
    score = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    larger = score.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(soft_argmax(larger), soft_argmax(score), rtol=0, atol=1e-6)


def test_places_are_exact_in_half_precision():
    score = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(0)).half()
    found = soft_argmax(score)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), soft_argmax(score.double()), rtol=0, atol=1e-5)


def test_what_is_moved_is_seen_elsewhere():
    """Even by a small part of a pixel of the coarsest maps."""
    net = network()
    picture = torch.zeros(1, 3, 64, 64)
    picture[..., 24:32, 24:32] = 1
    with torch.no_grad():
        assert (net(picture) - net(picture.roll(1, 3))).abs().max() > 1e-3


def test_gradients_reach_the_picture_and_every_weight():
    net = network().double()
    picture = torch.rand(1, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: net(x), picture, atol=1e-6)
    net.train()(picture.detach().repeat(4, 1, 1, 1) + torch.rand(4, 3, 16, 16)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())


def test_no_picture_and_other_shapes():
    net = network()
    assert net(torch.rand(0, 3, 32, 32)).shape == (0, 5)
    for shape in ((1, 4, 32, 32), (3, 32, 32)):
        with pytest.raises(UserError, match=r"takes pictures \[B, 3, H, W\]; got"):
            net(torch.rand(shape))


PARTS = ["answers", "keypoints.1", "backbone.layer2.0.bn1.bias", "backbone", "places", "hidden"]


@pytest.mark.parametrize("gone", PARTS)
def test_an_incomplete_file_is_refused(gone):
    whole = network().state_dict()
    with pytest.raises(UserError, match="does not hold a complete face regressor"):
        keypoint_net.from_tensors({name: tensor for name, tensor in whole.items() if not name.startswith(gone)})


def test_odd_names_are_refused():
    whole = network().state_dict()
    for odd in ("keypoints.7.weight", "backbone.layer9.0.conv1.weight", "extra"):
        with pytest.raises(UserError, match="does not hold a complete face regressor"):
            keypoint_net.from_tensors({**whole, odd: torch.zeros(1)})
