from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from portrait_rig.core.errors import UserError
from portrait_rig.core.face import mesh
from portrait_rig.core.face.camera import default_camera, rotation_matrix
from portrait_rig.core.face.glb import glb_bytes


@pytest.fixture
def params(head):
    return head.neutral(default_camera((64, 64)))


def test_seams_are_split_and_only_they():
    faces = torch.tensor([[0, 1, 2], [2, 1, 3]])
    uv_faces = torch.tensor([[0, 1, 2], [4, 1, 3]])  # vertex 2 lies in two places of the map
    vertex, uv, split = mesh.split_seams(faces, uv_faces)
    assert len(vertex) == 5
    assert torch.equal(vertex[split], faces)
    assert torch.equal(uv[split], uv_faces)


def test_a_mesh_is_in_metres_and_upright(head, params):
    turned = replace(params, angles=torch.tensor([[0.1, 0.5, 0.0]]))
    upright, posed = mesh.to_mesh(head, turned, 16), mesh.to_mesh(head, turned, 16, posed=True)
    height = (upright.vertices[:, 1].max() - upright.vertices[:, 1].min()).item()
    assert 0.15 < height < 0.6
    there = upright.vertices @ rotation_matrix(turned.angles)[0].T
    assert torch.allclose(there, posed.vertices, atol=1e-5)


def test_the_mesh_keeps_every_triangle(head, params):
    made = mesh.to_mesh(head, params, 16)
    before = head.vertices(params.identity, params.expression, params.joints)[0, head.faces] * head.unit_in_metres
    assert torch.allclose(made.vertices[made.faces], before)
    assert torch.equal(made.uv[made.faces], head.uv[head.uv_faces])
    assert glb_bytes(made)[:4] == b"glTF"


def test_the_painted_texture_shows_the_vertices_colours(head, params):
    size = 512
    painted = mesh.paint_texture(head, params.albedo, size)
    corner = head.uv[head.uv_faces].mean(1)  # triangles' centres
    texels = (corner * torch.tensor([1.0, -1.0]) + torch.tensor([0.0, 1.0])) * 2 - 1
    seen = torch.nn.functional.grid_sample(painted, texels[None, None], align_corners=False)[0, :, 0].T
    wanted = head.vertex_albedo(params.albedo)[0, head.faces].mean(1)
    assert (seen - wanted).abs().mean() < 0.01  # measured 0.002
    assert torch.isfinite(painted).all()


def test_colours_bleed_beyond_the_triangles():
    covered = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    covered[..., 16, 16] = True
    painted = torch.where(covered, 1.0, 0.0).expand(1, 3, -1, -1)
    grown = mesh._bleed(painted, covered, torch.full((1, 4, 3), 0.25))
    assert (grown[0, 0, 16 - mesh.BLEED : 17 + mesh.BLEED, 16] > 0.99).all()
    assert grown[0, 0, 0, 0] == 0.25


def test_a_texture_of_the_fit_is_kept(head, params):
    own = torch.rand(1, 3, 8, 8)
    assert torch.equal(mesh.to_mesh(head, replace(params, texture=own)).texture, own[0])


def test_several_frames_are_refused(head):
    with pytest.raises(UserError, match="one frame, these face parameters hold 2"):
        mesh.to_mesh(head, head.neutral(default_camera((64, 64), frames=2), 2))


def test_parameters_of_another_model_are_refused(head, params):
    with pytest.raises(UserError, match="'other'"):
        mesh.to_mesh(head, replace(params, layout="other"))
