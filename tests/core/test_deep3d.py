"""Deep3D's coefficients, losses and masks, the Basel Face Model's files."""

from __future__ import annotations

import dataclasses

import face_files
import numpy as np
import pytest
import torch
from portrait_rig.core.errors import UserError
from portrait_rig.core.face import bfm, deep3d
from portrait_rig.core.face.skin import skin_mask


@pytest.fixture(scope="module")
def model():
    return bfm.from_tensors(face_files.params("deep3d/face_model.safetensors"), {})


def coefficients(frames=2):
    return torch.randn(frames, deep3d.COEFFICIENTS, generator=torch.Generator().manual_seed(0))


def test_coefficients_survive_the_round_trip():
    values = coefficients()
    torch.testing.assert_close(deep3d.from_params(deep3d.to_params(values)), values, rtol=0, atol=1e-5)
    torch.testing.assert_close(deep3d.from_params(deep3d.to_params(values, 512)), values, rtol=0, atol=1e-5)
    assert torch.equal(deep3d.Coefficients.split(values).join(), values)


def test_no_coefficients_give_the_mean_under_the_initial_light(model):
    params = model.check(deep3d.to_params(torch.zeros(1, 257)))
    assert params.translation.tolist() == [[0.0, 0.0, -10.0]]
    assert params.light[0, 0].tolist() == pytest.approx([0.8] * 3) and params.light[0, 1:].abs().max() == 0
    assert params.camera.focal.item() == pytest.approx(1015.0, rel=1e-6)


def test_another_number_of_coefficients_is_refused():
    with pytest.raises(UserError, match=r"are 257 values a frame; got 258"):
        deep3d.to_params(torch.zeros(1, 258))


def test_parameters_of_another_model_or_camera_are_refused():
    params = deep3d.to_params(coefficients())
    with pytest.raises(UserError, match=r"belong to the face model 'flame-x'"):
        deep3d.from_params(dataclasses.replace(params, layout="flame-x"))
    wide = dataclasses.replace(params.camera, focal=params.camera.focal / 2)
    with pytest.raises(UserError, match=r"This camera has 508\. Fit"):
        deep3d.from_params(dataclasses.replace(params, camera=wide))
    flat = dataclasses.replace(params.camera, perspective=False)
    with pytest.raises(UserError, match=r"and no perspective"):
        deep3d.from_params(dataclasses.replace(params, camera=flat))


def test_the_mean_is_centred_and_the_mask_is_the_inner_face(model):
    params = face_files.params("deep3d/face_model.safetensors")
    assert model.mean.mean(0).abs().max() < 1e-5
    assert model.face_region.sum() == len(params["tri_mask2"])
    inside = set((params["frontmask2_idx"].flatten() - 1).tolist())
    assert set(model.faces[model.face_region].flatten().tolist()) <= inside


def test_without_masks_all_is_face_and_skin():
    params = face_files.params("deep3d/face_model.safetensors")
    bare = bfm.from_tensors({name: params[name] for name in bfm.FIELDS}, {})
    assert bare.face_region.all() and bare.skin_region.all()


def test_skin_vertices_are_the_file_s(model):
    marked = face_files.params("deep3d/face_model.safetensors")["skinmask"].flatten() > 0
    ours = deep3d.skin_vertices(model)
    assert ours.any() and not ours[~marked].any()


def expression_file(components=3, vertices=4):
    values = np.arange((components + 1) * vertices * 3, dtype="<f4")
    return np.int32(components).astype("<i4").tobytes() + values.tobytes(), values.reshape(components + 1, -1)


def test_expressions_are_read_without_their_mean():
    content, values = expression_file()
    assert np.array_equal(bfm.read_expressions(content).numpy(), values[1:].T)


@pytest.mark.parametrize("damage", [lambda c: c[:-4], lambda c: b"", lambda c: b"\xff" * 4 + c[4:], lambda c: c[:4],
                                    lambda c: bytes(4) + c[4:]])  # fmt: skip
def test_a_damaged_expression_file_is_refused(damage):
    with pytest.raises(UserError, match=r"Exp_Pca.bin should hold"):
        bfm.read_expressions(damage(expression_file()[0]))


def test_a_conversion_names_what_it_lacks():
    with pytest.raises(UserError, match=r"needs expPC, idx as well"):
        bfm.crop_bfm2009({name: torch.zeros(1) for name in bfm.TRANSFER_INPUTS if name not in ("expPC", "idx")})


def test_the_colour_loss_counts_masked_pixels_only():
    ours, theirs, mask = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4), torch.zeros(1, 1, 4, 4)
    theirs[..., 0], mask[..., 1:] = 1.0, 1.0
    assert deep3d.colour_loss(ours, theirs, mask) == pytest.approx(1e-3)
    assert deep3d.colour_loss(ours, theirs, torch.ones_like(mask)) > 0.4
    assert deep3d.colour_loss(ours, theirs, torch.zeros_like(mask)) == 0


def test_inner_lips_weigh_twenty_times():
    still, lip, jaw = (torch.zeros(1, 68, 2) for _ in range(3))
    lip[0, 62, 0], jaw[0, 3, 0] = 1.0, 1.0
    assert deep3d.landmark_loss(still, lip) == pytest.approx(20 * deep3d.landmark_loss(still, jaw).item())


def test_grey_light_is_free():
    light = torch.randn(2, 9, 1).expand(-1, -1, 3)
    assert deep3d.light_loss(light) < 1e-12
    assert deep3d.light_loss(light * torch.tensor([1.0, 1.2, 1.0])) > 1e-3


def test_even_skin_is_free_and_the_rest_does_not_count():
    albedo = torch.full((1, 4, 3), 0.5)
    albedo[0, 3] = 1.0
    assert deep3d.albedo_loss(albedo, torch.tensor([1, 1, 1, 0])) == 0
    assert deep3d.albedo_loss(albedo, torch.ones(4)) > 0


def test_skin_is_told_from_sky():
    colours = torch.tensor([[0.80, 0.60, 0.50], [0.55, 0.36, 0.28], [0.3, 0.5, 0.9], [0.1, 0.6, 0.1]])
    mask = skin_mask(colours.T.reshape(1, 3, 2, 2)).flatten()
    assert (mask[:2] > 0.9).all() and (mask[2:] < 0.1).all()
    assert skin_mask(torch.zeros(0, 3, 5, 6)).shape == (0, 1, 5, 6)
