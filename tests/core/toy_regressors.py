"""Small regressors for tests, and the faces that they see."""

from __future__ import annotations

import dataclasses

import torch
from portrait_rig.core.face.camera import default_camera, place, project
from portrait_rig.core.face.coding import FaceCoding
from portrait_rig.core.face.mirror import mirror_of
from portrait_rig.core.face.reframe import on_crop
from portrait_rig.core.methods.regress import (
    CodedRegressor,
    Look,
    middle_square,
)
from portrait_rig.core.networks.keypoint_net import KeypointNet, KeypointNetOptions
from portrait_rig.core.networks.resnet import ResNetOptions
from portrait_rig.core.types import Landmarks

SIZE = (180, 240)
GROUPS = ("identity", "expression", "albedo", "gaze", "angles", "light", "translation")
TINY = ResNetOptions.basic((1, 1), 4)


def face(head, frames=1):
    """Turned heads off the middle of a picture, each a little further to the right."""
    params = head.neutral(default_camera(SIZE, 25.0, frames), frames)
    translation = params.translation * 1.4 + torch.tensor([[0.5, 0.2, 0.0]])
    translation[:, 0] += 0.05 * torch.arange(frames)
    angles = torch.tensor([[0.1, -0.3, 0.15]]).repeat(frames, 1)
    return dataclasses.replace(params, translation=translation, angles=angles)


def pixels(model, params):
    vertices = model.vertices(params.identity, params.expression, params.joints)
    points = place(model.landmarks68.on(vertices, model.faces), params.angles, params.translation)
    return project(params.camera, points, params.translation)[..., :2]


def marks(model, params):
    return Landmarks(pixels(model, params), torch.ones(len(params)), tuple(params.camera.size))


def toon(head, params, crop, framing=None):
    """A regressor of 64² crops that sees `params` [1], on the picture, wherever it looks."""
    cut = on_crop(params, crop)
    coding = FaceCoding.measured(cut, head, GROUPS)
    network = KeypointNet(KeypointNetOptions(TINY, len(coding), keypoints=3, narrow=2, hidden=4)).eval()
    network.answers.bias.data.copy_(coding.encode(cut)[0])
    return CodedRegressor(network, coding, framing)


def seeing(head, seed=0):
    """A regressor with random weights, which sees something else in every picture."""
    torch.manual_seed(seed)
    params = face(head)
    regressor = toon(head, params, middle_square(SIZE, 64))
    regressor.coding.scale.fill_(0.01)
    torch.nn.init.normal_(regressor.network.answers.weight)
    return regressor.requires_grad_(False)


def pictures(frames=1, size=SIZE, seed=0):
    return torch.rand(frames, 3, *size, generator=torch.Generator().manual_seed(seed))


ONCE, TWICE = (Look(),), (Look(1.1, 0.02), Look(0.9, -0.03))


def looking_in_the_mirror(head, looks=ONCE):
    plain = seeing(head)
    return CodedRegressor(plain.network, plain.coding, plain.framing, mirror_of(plain.coding, head), looks)
