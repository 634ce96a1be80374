"""DECA: networks from its checkpoint, codes as face parameters, its fixed maps, expressions moved."""

from __future__ import annotations

import dataclasses

import face_files
import numpy as np
import pytest
import torch
from PIL import Image
from portrait_rig.core.checkpoints import read
from portrait_rig.core.errors import UserError
from portrait_rig.core.face import deca, flame
from portrait_rig.core.face.camera import place, project
from portrait_rig.core.networks import deca as networks


@pytest.fixture(scope="module")
def model():
    fields = face_files.params("flame/decode.safetensors")
    return flame.from_tensors(fields, {}, {flame.EMBEDDING: fields})


def codes(frames=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    coefficients = 0.3 * torch.randn(frames, deca.COEFFICIENTS, generator=generator)
    coefficients[:, 206] = 8.0  # scale, after shape 100, tex 50, exp 50, pose 6
    return deca.DecaCodes.split(coefficients, torch.randn(frames, 128, generator=generator))


def flat(jaw, expression, detail):
    return torch.zeros(len(jaw), 1, 256, 256)


def maps():
    return deca.DetailMaps(torch.ones(256, 256), torch.zeros(256, 256))


@pytest.fixture(scope="module")
def small():
    """DECA with few coefficients; its backbone has one size only."""
    return networks.Deca(coefficients=20, detail=8, latent=12).eval()


def test_sizes_come_back_from_the_weights(small):
    loaded = networks.from_tensors(small.state_dict() | {"opt.state.0.step": torch.zeros(1)})
    with torch.no_grad():
        for ours, theirs in zip(loaded(torch.ones(1, 3, 224, 224)), small(torch.ones(1, 3, 224, 224)), strict=True):
            torch.testing.assert_close(ours, theirs)
        assert loaded.displacement(torch.zeros(1, 3), torch.zeros(1, 1), torch.zeros(1, 8)).shape == (1, 1, 256, 256)
    assert "20 coefficients and 8 of detail" in loaded.describe()


def test_the_file_s_dicts_become_the_networks_names(tmp_path):
    """deca_model.tar is a dict of state dicts, some with an optimiser's."""
    tail = {"E_flame": "layers.2.bias", "E_detail": "layers.2.bias", "D_detail": "l1.0.weight"}
    parts = {part: {key: torch.zeros(2)} for part, key in tail.items()}
    torch.save(parts | {"opt": {"lr": 1e-4}}, tmp_path / "deca_model.tar")
    assert networks.matches(read(tmp_path / "deca_model.tar").tensors)


def test_an_incomplete_checkpoint_is_refused_and_not_skipped(small):
    made = small.state_dict()
    del made["E_flame.encoder.layer3.1.conv2.weight"]
    with pytest.raises(UserError, match=r"DECA model; missing: E_flame.encoder.layer3.1.conv2.weight"):
        networks.from_tensors(made)


def test_other_checkpoints_do_not_match():
    assert not networks.matches({"E_flame.layers.2.bias": torch.zeros(1)})


def test_pictures_of_another_size_are_refused():
    with pytest.raises(UserError, match=r"224 × 224 .* got 3 × 256 × 224"):
        networks.Encoder(4).features(torch.zeros(1, 3, 256, 224))


def test_a_code_of_another_length_is_refused():
    with pytest.raises(UserError, match=r"are 236 values a face; got 235"):
        deca.DecaCodes.split(torch.zeros(1, 235), torch.zeros(1, 128))


def test_codes_as_parameters_show_the_same_face_at_the_same_place(model):
    given = codes()
    decoded = deca.decode(given, torch.zeros(2, 3, 64, 64), model, maps(), flat)
    params = model.check(deca.to_params(given, model, 64))
    vertices = model.vertices(params.identity, params.expression, params.joints)
    placed = place(vertices, params.angles, params.translation)
    pixels = project(params.camera, placed, params.translation)[..., :2]
    theirs = (decoded.image_vertices[..., :2] + 1) * 32
    torch.testing.assert_close(pixels, theirs, rtol=0, atol=1e-3)  # 1e-5 measured


def test_an_expression_moves_without_pose_shape_or_place(model):
    source, driver = codes(2, 1), codes(1, 2)
    moved = source.with_expression_of(driver)
    assert torch.equal(moved.exp, driver.exp.expand(2, -1))
    assert torch.equal(moved.pose[:, 3:], driver.pose[:, 3:].expand(2, -1))
    assert torch.equal(moved.pose[:, :3], source.pose[:, :3])
    for name in ("shape", "tex", "cam", "light", "detail"):
        assert getattr(moved, name) is getattr(source, name) or torch.equal(getattr(moved, name), getattr(source, name))
    assert len(source.expanded(2).pose) == 2 and len(driver.with_expression_of(source).shape) == 2


def test_a_moved_face_keeps_the_texture_of_the_picture_it_was_taken_in(model):
    given, pictures = codes(), torch.rand(2, 3, 64, 64)
    open_jaw = dataclasses.replace(given, pose=given.pose + torch.tensor([0, 0, 0, 0.5, 0, 0]))
    as_photographed = deca.decode(given, pictures, model, maps(), flat).uv_picture_texture
    kept = deca.decode(open_jaw, pictures, model, maps(), flat, texture_codes=given).uv_picture_texture
    read_anew = deca.decode(open_jaw, pictures, model, maps(), flat).uv_picture_texture
    assert torch.equal(kept, as_photographed) and not torch.equal(read_anew, as_photographed)


def test_without_a_texture_space_the_map_is_grey_outside_the_mask(model):
    blind = deca.DetailMaps(torch.zeros(256, 256), torch.zeros(256, 256))
    decoded = deca.decode(codes(1), torch.rand(1, 3, 64, 64), model, blind, flat)
    assert (decoded.uv_picture_texture == deca.OUTSIDE_TEXTURE).all() and (decoded.albedo == 0).all()


def test_a_displacement_bends_the_normals(model):
    bumps = torch.sin(torch.arange(256) * 0.5) * 0.005
    both = (deca.DetailMaps(torch.ones(256, 256), fixed) for fixed in (torch.zeros(256, 256), bumps.expand(256, 256)))
    decoded = [deca.decode(codes(1), torch.zeros(1, 3, 64, 64), model, fixed, flat) for fixed in both]
    assert (decoded[0].uv_detail_normals - decoded[1].uv_detail_normals).abs().max() > 0.1
    assert torch.equal(decoded[0].vertices, decoded[1].vertices)


def test_the_displaced_surface_lies_on_the_coarse_one_where_nothing_is_displaced(model):
    """A flat displacement of 1 mm moves every covered pixel of the UV map by 1 mm."""
    flat_map, raised = (deca.DetailMaps(torch.ones(256, 256), torch.full((256, 256), height)) for height in (0.0, 1e-3))
    below, above = (deca.decode(codes(1), torch.zeros(1, 3, 64, 64), model, fixed, flat).uv_detail_vertices
                    for fixed in (flat_map, raised))  # fmt: skip
    moved = (above - below).norm(dim=1)
    assert moved.max() < 1.001e-3
    assert moved[moved > 0].quantile(0.1) > 0.9e-3  # interpolated normals are a little shorter than 1


def test_dense_triangles_leave_out_the_border():
    triangles = deca.dense_triangles(20, 12)
    assert len(triangles) == 2 * (20 - 1 - 2 * deca.MARGIN_Y) * (12 - 1 - 2 * deca.MARGIN_X)
    assert triangles[0].tolist() == [5 * 12 + 2, 6 * 12 + 2, 5 * 12 + 3]
    assert len(deca.dense_triangles(11, 5)) == 0


def test_a_model_without_landmarks_is_refused(model):
    bare = flame.from_tensors(face_files.params("flame/decode.safetensors"), {})
    with pytest.raises(UserError, match=r"landmark_embedding.npy"):
        deca.decode(codes(1), torch.zeros(1, 3, 64, 64), bare, maps(), flat)


def write_maps(folder, side=256):
    mask = np.zeros((side, side, 4), np.uint8)
    mask[: side // 2] = 255
    Image.fromarray(mask).save(folder / deca.MASK)
    np.save(folder / deca.FIXED_DISPLACEMENT, np.full((256, 256), 0.001))


def test_fixed_maps_are_read_from_their_folder(tmp_path):
    write_maps(tmp_path)
    loaded = deca.load_detail_maps(tmp_path)
    assert loaded.face_and_eyes[0, 0] == 1 and loaded.face_and_eyes[-1, 0] == 0
    assert loaded.displacement.dtype == torch.float32 and loaded.displacement[3, 4] == pytest.approx(0.001)


def test_missing_and_odd_maps_are_named(tmp_path):
    with pytest.raises(UserError, match=r"no file 'uv_face_eye_mask.png'"):
        deca.load_detail_maps(tmp_path)
    write_maps(tmp_path, side=128)
    with pytest.raises(UserError, match=r"'fixed_displacement_256.npy' should hold \[128, 128\]"):
        deca.load_detail_maps(tmp_path)
    (tmp_path / deca.MASK).write_bytes(b"not a picture")
    with pytest.raises(UserError, match=r"'uv_face_eye_mask.png' .* is no picture"):
        deca.load_detail_maps(tmp_path)
