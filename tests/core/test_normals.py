"""Normals of shapes whose normals are known."""

from __future__ import annotations

import torch
import trimesh
from portrait_rig.core.face.normals import face_normals, vertex_normals

SQUARE = torch.tensor([[[0, 0, 0], [2, 0, 0], [2, 1, 0], [0, 1, 0.0]]], dtype=torch.float64)
FACES = torch.tensor([[0, 1, 2], [0, 2, 3]])


def test_counter_clockwise_faces_look_at_the_viewer():
    towards = torch.tensor([0, 0, 1.0], dtype=torch.float64)
    assert torch.equal(face_normals(SQUARE, FACES)[0], towards.expand(2, 3))
    assert torch.equal(vertex_normals(SQUARE, FACES)[0], towards.expand(4, 3))
    assert torch.equal(face_normals(SQUARE, FACES.flip(1))[0], -towards.expand(2, 3))


def test_length_is_twice_the_area():
    assert face_normals(SQUARE, FACES, unit=False).norm(dim=-1).tolist() == [[2.0, 2.0]]


def test_large_triangles_weigh_more_unless_told_otherwise():
    """Vertex 0 lies between a triangle of area 2 facing z and one of area 0.5 facing x."""
    vertices = torch.tensor([[[0, 0, 0], [4, 0, 0], [0, 1, 0], [0, 1, 1.0]]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    by_area, alike = (vertex_normals(vertices, faces, by_area=way)[0, 0] for way in (True, False))
    torch.testing.assert_close(by_area, torch.tensor([1, 0, 4.0]) / 17**0.5)
    torch.testing.assert_close(alike, torch.tensor([1, 0, 1.0]) / 2**0.5)


def test_a_sphere_points_outwards_in_any_unit():
    sphere = trimesh.creation.icosphere(subdivisions=3)
    vertices, faces = torch.from_numpy(sphere.vertices).float(), torch.from_numpy(sphere.faces).long()
    for scale in (1e-5, 1.0, 1e3):
        normals = vertex_normals(scale * vertices[None], faces)[0]
        assert (normals * vertices).sum(1).min() > 0.999  # measured


def test_vertices_without_area_get_zero_and_finite_gradients():
    vertices = torch.zeros(1, 4, 3, requires_grad=True)
    normals = vertex_normals(vertices, FACES)
    normals.sum().backward()
    assert (normals == 0).all() and torch.isfinite(vertices.grad).all()


def test_gradients_are_those_of_finite_differences():
    vertices = (SQUARE + torch.rand(2, 4, 3, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: vertex_normals(v, FACES), vertices)
    assert torch.autograd.gradcheck(lambda v: vertex_normals(v, FACES, by_area=False), vertices)


def test_no_faces():
    assert vertex_normals(SQUARE, FACES[:0]).eq(0).all()
    assert face_normals(SQUARE, FACES[:0]).shape == (1, 0, 3)
