"""Surfaces: contours that slide on known shapes, unwrapping, subsets."""

from __future__ import annotations

import math

import pytest
import torch
from portrait_rig.core.face.camera import rotation_matrix
from portrait_rig.core.face.surface import (
    CONTOUR_CANDIDATES,
    Surface,
    SurfacePoints,
    contour_candidates,
    cylindrical_uv,
    frontal_region,
    slide_contour,
)


def cylinder(around=64, levels=21, radius=1.0, height=3.0):
    """A tube round the vertical axis, triangles outwards; vertex (level, turn) has the number level · around + turn."""
    turn = torch.arange(around) / around * 2 * math.pi
    up = torch.linspace(-height / 2, height / 2, levels)
    ring = torch.stack([radius * turn.sin(), torch.zeros(around), radius * turn.cos()], 1)
    vertices = (ring + up[:, None, None] * torch.tensor([0.0, 1.0, 0.0])).reshape(-1, 3)
    level, place = (g.flatten() for g in torch.meshgrid(torch.arange(levels - 1), torch.arange(around), indexing="ij"))
    a, b = level * around + place, level * around + (place + 1) % around
    faces = torch.cat([torch.stack([a, b, b + around], 1), torch.stack([a, b + around, a + around], 1)])
    return vertices, faces


def face_on_cylinder():
    """68 landmarks of a face drawn on the tube: ears at the sides, chin in front, eyes, mouth corners and lip."""
    points = torch.zeros(68, 3)
    turn = torch.linspace(-math.pi / 2, math.pi / 2, 17)
    points[:17] = torch.stack([turn.sin(), 0.5 - 1.5 * turn.cos(), turn.cos()], 1)
    features = {36: (-0.7, 0.5), 45: (0.7, 0.5), 48: (-0.4, -0.4), 54: (0.4, -0.4), 57: (0.0, -0.6)}
    for number, (angle, up) in features.items():
        points[number] = torch.tensor([math.sin(angle), up, math.cos(angle)])
    return points


def turned(degrees):
    return rotation_matrix(torch.deg2rad(torch.tensor([[0.0, degrees, 0.0]])))


def test_on_a_cylinder_the_far_landmark_slides_to_the_silhouette():
    vertices, faces = cylinder()
    points = face_on_cylinder()
    rows = vertices[contour_candidates(vertices, faces, points)][None]
    slid = slide_contour(points[None, :17], rows, turned(30)) @ turned(30).mT
    assert slid[0, 16, 0] > 0.995, "the cylinder's edge is at x = 1; a step between candidates is 0.1 radians at most"
    fixed = points[None, :17] @ turned(30).mT
    assert fixed[0, 16, 0] < 0.87


def test_a_contour_starts_near_its_landmark_and_leads_inwards():
    vertices, faces = cylinder()
    points = face_on_cylinder()
    rows = vertices[contour_candidates(vertices, faces, points)]
    assert rows.shape == (17, CONTOUR_CANDIDATES, 3)
    assert ((rows[:, 0] - points[:17]).norm(dim=1) < 0.12).all()  # half a cell's diagonal: 0.09
    azimuth = torch.atan2(rows[..., 0], rows[..., 2])
    assert (azimuth[0].diff() >= 0).all() and (azimuth[16].diff() <= 0).all()
    assert (rows[8, :, 1].diff() >= 0).all(), "from the chin upwards"


def test_candidates_leave_out_surfaces_that_face_inwards():
    vertices, faces = cylinder()
    inner = vertices * torch.tensor([0.9, 1.0, 0.9])
    both = torch.cat([vertices, inner])
    faces = torch.cat([faces, faces.flip(1) + len(vertices)])
    assert contour_candidates(both, faces, face_on_cylinder()).max() < len(vertices)


def test_sliding_has_a_gradient_and_takes_one_rotation_for_all_frames():
    jaw, rows = torch.randn(3, 17, 3, requires_grad=True), torch.randn(3, 17, 5, 3, requires_grad=True)
    slid = slide_contour(jaw, rows, turned(20))
    slid.sum().backward()
    assert slid.shape == (3, 17, 3)
    assert jaw.grad.sum() + rows.grad.sum() == 3 * 17 * 3


def test_unwrapping_a_tube_has_one_seam_at_the_back():
    vertices, faces = cylinder(around=12, levels=4)
    uv, uv_faces = cylindrical_uv(vertices, faces)
    assert uv.min() == 0 and uv.max() == 1
    assert len(uv) == len(vertices) + 4, "one vertex a level is doubled"
    corners = uv[uv_faces]
    assert (corners[..., 0].amax(1) - corners[..., 0].amin(1)).max() < 1.5 / 12, "no triangle runs across the map"
    area = torch.linalg.det(torch.cat([corners, torch.ones(len(faces), 3, 1)], 2)) / 2
    assert (area > 0).all(), "seen from outside, a triangle keeps its orientation in the map"
    assert area.sum() == pytest.approx(1.0, abs=1e-5)


def test_unwrapping_puts_the_subject_s_left_to_the_right_and_up_upwards():
    vertices, faces = cylinder(around=12, levels=4)
    uv, _ = cylindrical_uv(vertices, faces)
    left, top = vertices[:, 0].argmax(), vertices[:, 1].argmax()
    assert uv[left, 0] > 0.7 and uv[top, 1] == 1


def test_the_frontal_region_of_a_tube():
    vertices, faces = cylinder()
    region = frontal_region(vertices, faces, chin=-1.0)
    centre = vertices[faces[region]].mean(1)
    assert centre[:, 2].min() > 0.1 and centre[:, 1].min() >= -1 and centre[:, 1].max() < 1.0
    assert not frontal_region(vertices, faces.flip(1), chin=-1.0).any(), "what faces inwards is no face"


def small_surface():
    faces = torch.tensor([[0, 1, 2], [2, 1, 3], [2, 3, 4]])
    marks = SurfacePoints(torch.tensor([1, 1]), torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]))
    flags = torch.tensor([True, False, True])
    uv = torch.rand(5, 2, generator=torch.Generator().manual_seed(0))
    return Surface(faces, uv, faces, torch.rand(5, 3), flags, ~flags, marks, torch.tensor([[1, 3]]))


def test_a_subset_renumbers_triangles_landmarks_and_contour():
    surface = small_surface()
    part = surface.subset(torch.tensor([3, 2, 1]))
    assert part.faces.tolist() == [[1, 2, 0]] and part.uv_faces.tolist() == [[2, 1, 3]]
    assert part.landmarks68.faces.tolist() == [0, 0] and part.contour.tolist() == [[2, 0]]
    assert part.face_region.tolist() == [False] and part.skin_region.tolist() == [True]
    assert torch.equal(part.colours, surface.colours[[3, 2, 1]])


def test_a_subset_that_loses_a_landmark_has_none():
    part = small_surface().subset(torch.tensor([0, 1, 2]))
    assert part.landmarks68 is None and part.contour is None and part.faces.tolist() == [[0, 1, 2]]


def test_an_empty_subset_has_nothing():
    part = small_surface().subset(torch.zeros(0, dtype=torch.int64))
    assert part.faces.shape == (0, 3) and len(part.colours) == 0


def test_points_on_a_surface_are_weighted_corners():
    surface = small_surface()
    vertices = torch.randn(2, 5, 3)
    points = surface.landmarks68.on(vertices, surface.faces)
    torch.testing.assert_close(points, torch.stack([(vertices[:, 2] + vertices[:, 1]) / 2, vertices[:, 3]], 1))


def test_points_at_vertices_are_those_vertices():
    surface = small_surface()
    vertices = torch.randn(1, 5, 3)
    at = SurfacePoints.at_vertices(torch.tensor([4, 0, 2]), surface.faces)
    assert torch.equal(at.on(vertices, surface.faces)[0], vertices[0, [4, 0, 2]])
