"""Regressors that look several times, and in the mirror."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from portrait_rig.core.face.coding import FaceCoding
from portrait_rig.core.face.mirror import mirror_of, mirrored_params, mirrored_rows
from portrait_rig.core.face.reframe import on_crop
from portrait_rig.core.methods.regress import (
    CodedRegressor,
    middle_square,
)
from toy_regressors import GROUPS, SIZE, TWICE, face, looking_in_the_mirror, pictures, pixels, seeing, toon


def test_a_mirror_image_shows_the_mirrored_face(head):
    regressor = looking_in_the_mirror(head)
    seen, mirrored = regressor.regress(pictures(2)), regressor.regress(pictures(2).flip(3))
    back = mirrored_params(mirrored, head)
    for name in ("identity", "expression", "albedo", "joints", "angles", "light", "translation"):
        torch.testing.assert_close(getattr(back, name), getattr(seen, name), rtol=0, atol=1e-4)
    assert (seen.angles[:, 1] + seeing(head).regress(pictures(2).flip(3)).angles[:, 1]).abs().max() > 1e-3


@pytest.mark.parametrize("look", TWICE)
def test_a_look_elsewhere_is_put_back_onto_the_picture(head, look):
    params = face(head)
    crop = middle_square(SIZE, 64)
    plain = toon(head, params, crop.moved(look.matrix(64)))
    plain.coding.scale.fill_(1.0)
    regressor = CodedRegressor(plain.network, plain.coding, plain.framing, looks=[look])
    seen = regressor.regress(pictures(), None, head)
    # 0.15 pixels measured: the camera's focal length differs
    torch.testing.assert_close(pixels(head, seen), pixels(head, params), rtol=0, atol=0.3)


def test_several_looks_are_averaged(head):
    both = looking_in_the_mirror(head, TWICE).regress(pictures(2))
    alone = [looking_in_the_mirror(head, [look]).regress(pictures(2)) for look in TWICE]
    torch.testing.assert_close(both.identity, (alone[0].identity + alone[1].identity) / 2, rtol=0, atol=1e-6)
    assert (alone[0].identity - alone[1].identity).abs().max() > 5e-4


@pytest.mark.parametrize("gaze", ["gaze", "joints"])
def test_the_mirror_of_rows_is_that_of_their_parameters(head, gaze):
    params = face(head, 3)
    generator = torch.Generator().manual_seed(0)
    params = dataclasses.replace(
        params,
        **{name: getattr(params, name) + 0.1 * torch.rand(getattr(params, name).shape, generator=generator)
           for name in ("identity", "expression", "albedo", "joints", "light")},
    )  # fmt: skip
    cut = on_crop(params, middle_square(SIZE, 64))
    coding = FaceCoding.measured(cut, head, [gaze if name == "gaze" else name for name in GROUPS])
    mirrored = mirrored_rows(coding, coding.encode(cut), mirror_of(coding, head))
    torch.testing.assert_close(mirrored, coding.encode(mirrored_params(cut, head)), rtol=0, atol=1e-3)
