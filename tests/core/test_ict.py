"""ICT-FaceKit: its folder of meshes and its packed file as one model; eyes, atlas, official expressions."""

from __future__ import annotations

import json

import face_files
import pack
import pytest
import torch
from portrait_rig.core.checkpoints import read
from portrait_rig.core.face import ict, models

PACKED = pack.SHARED / "data" / "ict_facekit" / "ict_facekit_light.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return face_files.write_ict(tmp_path_factory.mktemp("ict"))


@pytest.fixture(scope="module")
def packed():
    if not PACKED.exists():
        pytest.skip("ict_facekit_light.safetensors is not beside this checkout")
    return models.load_face_model(PACKED)


def test_modes_are_differences_from_the_neutral_mesh(folder):
    model = models.load_face_model(folder)
    assert len(model.identity) == face_files.ICT_MODES
    meshes = read(folder).tensors
    weights = torch.zeros(1, face_files.ICT_MODES)
    weights[0, 1] = 1
    wide = model.vertices(weights, torch.zeros(1, len(model.expression)))[0]
    torch.testing.assert_close(wide, meshes["vertices.identity001"].float(), rtol=0, atol=1e-5)


def test_expressions_are_the_listed_ones_in_their_order(folder):
    assert models.load_face_model(folder).expression.names == face_files.ICT_EXPRESSIONS


def test_a_folder_and_its_packed_form_are_one_model(folder):
    checkpoint = read(folder)
    tensors, names = ict._pack(checkpoint.tensors, checkpoint.metadata[ict.NOTES])
    again = ict.from_tensors(tensors, {"expressions": json.dumps([*names])})
    model = models.load_face_model(folder)
    identity, expression = torch.randn(2, 3), torch.rand(2, 3)
    torch.testing.assert_close(again.vertices(identity, expression), model.vertices(identity, expression))
    assert torch.equal(again.faces, model.faces) and torch.equal(again.contour, model.contour)


def test_the_packed_file_has_the_official_groups(packed):
    assert len(packed.identity) == 100 and len(packed.expression) == 53
    assert not set(packed.expression.names) & set(ict.UNLISTED_EXPRESSIONS)
    assert (packed.expression.low, packed.expression.high, packed.expression.gaussian) == (0.0, 1.0, False)


def test_no_shell_hides_the_eyes(packed):
    """Along the eye's axis the first surface seen from the front is the ball with the pupil."""
    vertices = packed.mean
    for part in (p for p in ict.PARTS if p.name in ict.EYES):
        number = ict.PARTS.index(part)
        ball = vertices[ict.PARTS[number - 1].last + 1 : part.last + 1]
        axis = (ball.amin(0) + ball.amax(0)) / 2
        corners = vertices[packed.faces][..., :2] - axis[:2]
        (ax, ay), (bx, by), (cx, cy) = (corners[:, i].unbind(1) for i in range(3))
        around = torch.stack([ax * by - ay * bx, bx * cy - by * cx, cx * ay - cy * ax])
        crossed = (around >= 0).all(0) | (around <= 0).all(0)
        front = vertices[packed.faces[crossed]].mean(1)[:, 2].argmax()
        seen = packed.faces[crossed][front]
        assert (packed.colours[seen].max() < 0.1).all(), f"{part.name}: the pupil is dark"


def test_the_atlas_keeps_parts_apart(packed):
    """Eyes, teeth and face lay over each other in the file's tiles; here no face shares a place with another part."""
    centre = packed.uv[packed.uv_faces].mean(1)
    left, bottom, size = ict.ATLAS_CELLS[0]
    in_face_cell = (centre[:, 0] < left + size) & (centre[:, 1] > bottom)
    assert packed.skin_region[in_face_cell].float().mean() > 0.99
    assert in_face_cell[packed.face_region].all()


def test_it_loads_quickly(packed):
    """One evaluation needs no more than the bases: half precision is widened once, at loading."""
    assert packed.identities.directions.dtype == torch.float32
    assert all(buffer.is_contiguous() for buffer in packed.buffers())
