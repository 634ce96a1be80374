"""Meshes as .glb files, read back by trimesh."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
import trimesh
from portrait_rig.core.errors import UserError
from portrait_rig.core.face.glb import glb_bytes, save_glb, vertex_normals
from portrait_rig.core.types import Mesh


def square(**more):
    """Two triangles facing the viewer."""
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    return Mesh(vertices=vertices, faces=torch.tensor([[0, 1, 2], [0, 2, 3]]), **more)


def opened(mesh):
    scene = trimesh.load(io.BytesIO(glb_bytes(mesh)), file_type="glb", process=False)
    (found,) = scene.geometry.values()
    return found


UV = torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]])


def test_triangles_and_computed_normals_come_back():
    found = opened(square())
    assert np.array_equal(found.vertices, square().vertices) and np.array_equal(found.faces, square().faces)
    assert np.allclose(found.vertex_normals, [0, 0, 1])


def test_given_normals_are_kept():
    normals = torch.nn.functional.normalize(torch.rand(4, 3), dim=1)
    assert np.allclose(opened(square(normals=normals)).vertex_normals, normals, atol=1e-6)


def test_the_textures_top_row_lies_at_v_one():
    texture = torch.zeros(3, 4, 8)
    texture[0, 0] = 1.0  # the top row is red
    found = opened(square(uv=UV, texture=texture))
    assert np.allclose(found.visual.uv, UV)
    picture = np.array(found.visual.material.baseColorTexture)
    assert picture.shape == (4, 8, 3) and (picture[0] == [255, 0, 0]).all() and not picture[1:].any()
    top = trimesh.visual.color.uv_to_color(np.array([[0.5, 0.99]]), found.visual.material.baseColorTexture)
    assert top[0].tolist() == [255, 0, 0, 255]


def test_vertex_colours_are_written_as_linear_light():
    found = opened(square(colours=torch.tensor([[1.0, 0, 0.5]]).expand(4, 3)))
    # sRGB 0.5 is 0.2140 in linear light (IEC 61966-2-1)
    assert np.allclose(found.visual.vertex_attributes["color"], [1, 0, 0.2140], atol=1e-4)


def test_what_the_mesh_says_about_itself_travels():
    assert b'"extras":{"model":"toon"}' in glb_bytes(square(extras={"model": "toon"}))


def test_seams_share_their_normals():
    """A roof whose ridge is stored twice, as at a UV seam."""
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 1], [0, 1, 1], [1, 0, 0], [0, 2, 0]])
    normals = vertex_normals(vertices, torch.tensor([[0, 1, 2], [3, 4, 5]]))
    assert torch.equal(normals[2], normals[3]) and torch.equal(normals[1], normals[4])
    assert not torch.allclose(normals[0], normals[5])


def test_large_triangles_weigh_more():
    vertices = torch.tensor([[0.0, 0, 0], [9, 0, 0], [0, 9, 0], [0, 0, 1]])
    normals = vertex_normals(vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]))
    expected = torch.nn.functional.normalize(torch.tensor([9.0, 0, 81]), dim=0)
    assert torch.allclose(normals[0], expected)


def test_zero_area_has_a_normal_all_the_same():
    assert vertex_normals(torch.zeros(3, 3), torch.tensor([[0, 1, 2]])).tolist() == [[0, 0, 1]] * 3


def test_every_view_starts_at_a_multiple_of_four():
    """Three texels make a PNG of an odd length; the chunk's length must still be a multiple of four."""
    data = glb_bytes(square(uv=UV, texture=torch.rand(3, 1, 3)))
    assert len(data) % 4 == 0 and len(data) == int.from_bytes(data[8:12], "little")


@pytest.mark.parametrize(
    ("mesh", "sentence"),
    [
        (Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.long)), "needs triangles"),
        (Mesh(torch.zeros(3, 3), torch.zeros(0, 3, dtype=torch.long)), "3 vertices and 0 triangles"),
        (Mesh(torch.zeros(3, 3), torch.tensor([[0, 1, 3]])), "name the vertices 0 to 3, but it has 3"),
        (Mesh(torch.zeros(3, 3), torch.tensor([[0, 1, -1]])), "vertices -1 to 1"),
        (square(uv=torch.zeros(3, 2)), "4 vertices but 3 uv"),
        (square(uv=UV * torch.nan), "uv hold values that are no numbers"),
        (square(texture=torch.zeros(3, 2, 2)), "no UV coordinates"),
    ],
)
def test_meshes_that_make_no_file_are_a_sentence(mesh, sentence):
    with pytest.raises(UserError, match=sentence):
        glb_bytes(mesh)


def test_a_refused_mesh_leaves_the_old_file(tmp_path):
    file = tmp_path / "face.glb"
    file.write_bytes(b"old")
    with pytest.raises(UserError):
        save_glb(Mesh(torch.full((3, 3), torch.nan), torch.tensor([[0, 1, 2]])), file)
    assert file.read_bytes() == b"old" and list(tmp_path.iterdir()) == [file]
    save_glb(square(), file)
    assert file.read_bytes()[:4] == b"glTF" and list(tmp_path.iterdir()) == [file]
