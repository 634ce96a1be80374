"""The rasteriser against a plain loop, and every way a mesh can be odd."""

from __future__ import annotations

import importlib.util
import sys

import pytest
import torch
from plain_raster import plain_rasterise
from portrait_rig.core.errors import UserError
from portrait_rig.core.face.raster import BACKENDS, Fragments, interpolate, rasterise

NEEDS_PYTORCH3D = pytest.mark.skipif(importlib.util.find_spec("pytorch3d") is None, reason="PyTorch3D is not installed")
BACKEND_CASES = [pytest.param(name, marks=[NEEDS_PYTORCH3D] if name == "pytorch3d" else []) for name in BACKENDS]


def soup(triangles=30, size=(13, 19), seed=0, dtype=torch.float64):
    """Random triangles that overlap each other and the picture's border."""
    random = torch.Generator().manual_seed(seed)
    scale = torch.tensor([size[1] * 1.4, size[0] * 1.4, 4.0], dtype=torch.float64)
    offset = torch.tensor([-size[1] * 0.2, -size[0] * 0.2, 1.0], dtype=torch.float64)
    screen = torch.rand(triangles * 3, 3, generator=random, dtype=torch.float64) * scale + offset
    return screen.to(dtype)[None], torch.arange(triangles * 3).reshape(-1, 3)


def one_triangle(*corners, dtype=torch.float64):
    return torch.tensor([corners], dtype=dtype), torch.tensor([[0, 1, 2]])


FULL = ((-9.0, -9.0, 2.0), (40.0, -9.0, 2.0), (-9.0, 40.0, 2.0))
"""Covers a picture of 10 x 10."""


@pytest.mark.parametrize("backend", BACKEND_CASES)
@pytest.mark.parametrize("perspective", [True, False])
@pytest.mark.parametrize("size", [(13, 19), (19, 13), (16, 16)])
def test_it_agrees_with_the_plain_loop(size, perspective, backend):
    screen, faces = soup(size=size)
    ours = rasterise(screen, faces, size, perspective=perspective, backend=backend)
    face, weights, depth = plain_rasterise(screen[0], faces, size, perspective)
    assert (face >= 0).float().mean() > 0.8
    assert torch.equal(ours.face[0], face)
    torch.testing.assert_close(ours.barycentrics[0], weights, rtol=0, atol=1e-11)  # measured 4e-14
    torch.testing.assert_close(ours.depth[0], depth, rtol=0, atol=1e-11)  # measured 3e-14


def test_float32_finds_the_same_winners():
    screen, faces = soup(triangles=60, dtype=torch.float32)
    single, double = (rasterise(s, faces, (13, 19)) for s in (screen, screen.double()))
    assert single.depth.dtype == torch.float32
    assert torch.equal(single.face, double.face)
    torch.testing.assert_close(single.barycentrics.double(), double.barycentrics, rtol=0, atol=2e-5)  # measured 1e-6


@pytest.mark.parametrize("perspective", [True, False])
def test_gradients_are_those_of_finite_differences(perspective):
    screen, faces = soup(triangles=6, size=(6, 7))
    screen.requires_grad_()
    attributes = torch.rand(1, 18, 2, dtype=torch.float64, requires_grad=True)

    def drawn(screen, attributes):
        fragments = rasterise(screen, faces, (6, 7), perspective=perspective)
        depth = fragments.depth[fragments.covered]
        return fragments.barycentrics, depth, interpolate(fragments, attributes, faces)

    assert torch.autograd.gradcheck(drawn, (screen, attributes))


def test_a_batch_equals_its_frames():
    frames = [soup(seed=seed)[0] for seed in range(3)]
    faces = soup()[1]
    together = rasterise(torch.cat(frames), faces, (13, 19))
    for number, frame in enumerate(frames):
        alone = rasterise(frame, faces, (13, 19))
        for name in ("face", "barycentrics", "depth"):
            assert torch.equal(getattr(together, name)[number], getattr(alone, name)[0])


@pytest.mark.parametrize("limit", [1, 7, 100])
def test_bounded_memory_changes_nothing(limit):
    screen = torch.cat([soup(seed=seed)[0] for seed in range(2)])
    screen[..., 2] = screen[..., 2].round()  # many ties between pieces
    faces = soup()[1]
    whole, pieces = rasterise(screen, faces, (13, 19)), rasterise(screen, faces, (13, 19), max_candidates=limit)
    assert torch.equal(whole.face, pieces.face)
    assert torch.equal(whole.depth, pieces.depth)


@pytest.mark.parametrize("backend", BACKEND_CASES)
def test_culling_takes_the_side_that_it_names(backend):
    screen, faces = one_triangle((1, 9, 2), (9, 9, 2), (5, 1, 2))  # counter-clockwise for the eye, y being down
    def seen(faces, cull):
        return rasterise(screen, faces, (10, 10), cull=cull, backend=backend).covered.any().item()
    assert seen(faces, None) and seen(faces, "back") and not seen(faces, "front")
    assert seen(faces.flip(1), None) and not seen(faces.flip(1), "back") and seen(faces.flip(1), "front")


def test_the_lowest_number_wins_among_equals():
    screen, faces = one_triangle(*FULL)
    fragments = rasterise(screen, faces.repeat(5, 1), (10, 10))
    assert (fragments.face == 0).all()
    mixed = torch.cat([faces.flip(1), faces])
    assert (rasterise(screen, mixed, (10, 10)).face == 0).all()


@pytest.mark.parametrize("jitter", [0.0, 0.8])
def test_shared_edges_have_neither_holes_nor_double_cover(jitter):
    """Jitter 0 puts every vertex on a pixel centre, so all edges are ties."""
    random = torch.Generator().manual_seed(3)
    cells, side = 12, 24
    steps = torch.arange(cells + 1) * 2.0 + 0.5
    grid = torch.stack([*torch.meshgrid(steps, steps, indexing="xy"), torch.full((cells + 1, cells + 1), 2.0)], dim=-1)
    grid[1:-1, 1:-1, :2] += jitter * (torch.rand(cells - 1, cells - 1, 2, generator=random) - 0.5)
    corner = (torch.arange(cells)[:, None] * (cells + 1) + torch.arange(cells)).flatten()
    faces = torch.cat([
        torch.stack([corner, corner + cells + 1, corner + 1], dim=1),
        torch.stack([corner + 1, corner + cells + 1, corner + cells + 2], dim=1),
    ])
    alone = grid.reshape(1, -1, 3)[:, faces.flatten()].reshape(len(faces), 3, 3)
    times = rasterise(alone, torch.tensor([[0, 1, 2]]), (side + 2, side + 2)).covered.sum(0)
    assert (times[:side, :side] == 1).all()
    assert times.sum() == side * side


def test_a_fan_of_slivers_covers_like_its_outline():
    random = torch.Generator().manual_seed(5)
    angles = torch.rand(1000, generator=random).sort().values * 6.283
    rim = torch.stack([32 + 30 * angles.cos(), 32 + 30 * angles.sin(), torch.ones(1000)], dim=1)
    screen = torch.cat([torch.tensor([[31.7, 32.4, 1.0]]), rim])[None]
    ring = torch.arange(1, 1001)
    faces = torch.stack([torch.zeros_like(ring), ring, ring.roll(-1)], dim=1)
    alone = screen[0][faces]
    assert rasterise(alone, torch.tensor([[0, 1, 2]]), (64, 64)).covered.sum(0).max() == 1
    inside = (torch.arange(64) + 0.5 - 32).square()
    disc = (inside[:, None] + inside) < 29.5**2
    assert rasterise(screen, faces, (64, 64)).covered[0][disc].all()


def test_what_has_no_area_is_skipped():
    screen, faces = one_triangle((1, 1, 2), (5, 5, 2), (9, 9, 2))
    assert not rasterise(screen, faces, (10, 10)).covered.any()
    assert not rasterise(screen, torch.tensor([[0, 0, 1], [2, 2, 2]]), (10, 10)).covered.any()


def test_slivers_that_rounding_made_give_no_wild_barycentrics():
    """Three points on a line up to float32: what covers a pixel centre by accident must not explode."""
    random = torch.Generator().manual_seed(0)
    ends = torch.rand(2, 60_000, 2, generator=random) * 3000 - 1000
    between = ends[0] + torch.rand(60_000, 1, generator=random) * (ends[1] - ends[0])
    screen = torch.nn.functional.pad(torch.stack([*ends, between], dim=1).reshape(1, -1, 2), (0, 1), value=2.0)
    fragments = rasterise(screen, torch.arange(180_000).reshape(-1, 3), (1000, 1000))
    assert fragments.covered.any()
    weights = fragments.barycentrics[fragments.covered]
    assert weights.min() >= -1e-6 and weights.max() <= 1 + 1e-6  # unbounded they reach 7, with no least area NaN
    torch.testing.assert_close(weights.sum(-1), torch.ones(len(weights)))


@pytest.mark.parametrize("depth", [0.0, -1.0, 1e-7, torch.nan, torch.inf])
@pytest.mark.parametrize("backend", BACKEND_CASES)
def test_a_corner_that_is_not_in_front_drops_its_triangle_alone(depth, backend):
    screen, faces = one_triangle(*FULL, (-9.0, -9.0, depth))
    faces = torch.tensor([[3, 1, 2], [0, 1, 2]])
    fragments = rasterise(screen.requires_grad_(), faces, (10, 10), backend=backend)
    assert (fragments.face == 1).all()
    (fragments.depth.sum() + fragments.barycentrics.square().sum()).backward()
    assert torch.isfinite(screen.grad).all()


@pytest.mark.parametrize("broken", [torch.nan, torch.inf, -torch.inf])
def test_a_corner_without_place_drops_its_triangle(broken):
    screen, faces = one_triangle(*FULL)
    screen[0, 1, 0] = broken
    assert not rasterise(screen, faces, (10, 10)).covered.any()


def test_a_huge_triangle_is_drawn_exactly():
    screen, faces = one_triangle((-1e6, -1e6, 3), (3e6, -1e6, 5), (-1e6, 3e6, 9))
    fragments = rasterise(screen, faces, (10, 10), perspective=False, max_candidates=16)
    assert fragments.covered.all()
    centre = torch.tensor([5.5, 5.5], dtype=torch.float64)
    place = (fragments.barycentrics[0, 5, 5, :, None] * screen[0, :, :2]).sum(0)
    torch.testing.assert_close(place, centre, rtol=0, atol=1e-6)  # measured 2e-9


@pytest.mark.parametrize(("frames", "faces"), [(0, 1), (1, 0), (0, 0)])
def test_nothing_to_draw_gives_empty_pictures(frames, faces):
    screen = torch.rand(frames, 3, 3)
    fragments = rasterise(screen, torch.tensor([[0, 1, 2]])[:faces], (4, 5))
    assert fragments.face.shape == (frames, 4, 5) and not fragments.covered.any()
    assert torch.isinf(fragments.depth).all()
    assert interpolate(fragments, torch.rand(1, 3, 2), torch.tensor([[0, 1, 2]])[:faces]).shape == (frames, 4, 5, 2)


def test_no_vertices_at_all():
    fragments = rasterise(torch.zeros(2, 0, 3), torch.zeros(0, 3, dtype=torch.long), (1, 1))
    assert fragments.face.tolist() == [[[-1]], [[-1]]]


def test_a_picture_of_one_pixel():
    screen, faces = one_triangle(*FULL)
    assert rasterise(screen, faces, (1, 1)).face.tolist() == [[[0]]]


def test_it_runs_in_inference_mode_and_leaves_its_input_alone():
    screen, faces = soup(triangles=5)
    before = screen.clone()
    with torch.inference_mode():
        fragments = rasterise(screen, faces, (13, 19))
        assert interpolate(fragments, screen, faces).shape == (1, 13, 19, 3)
    assert torch.equal(screen, before)


def test_interpolated_places_are_the_pixel_centres():
    screen, faces = one_triangle((-9.0, -9.0, 2.0), (40.0, -9.0, 3.0), (-9.0, 40.0, 5.0))
    places = interpolate(rasterise(screen, faces, (10, 10), perspective=False), screen, faces)[0]
    centres = torch.arange(10, dtype=torch.float64) + 0.5
    torch.testing.assert_close(places[..., 0], centres.expand(10, 10))
    torch.testing.assert_close(places[..., 1], centres[:, None].expand(10, 10))


def test_corners_can_have_their_own_faces():
    screen, faces = soup(triangles=4)
    uv = torch.rand(5, 2, dtype=torch.float64)
    uv_faces = torch.tensor([[0, 1, 2], [2, 1, 3], [4, 0, 1], [3, 4, 2]])
    fragments = rasterise(screen, faces, (13, 19))
    drawn = interpolate(fragments, uv[None], uv_faces)
    row, column = fragments.covered[0].nonzero()[17].tolist()
    expected = fragments.barycentrics[0, row, column] @ uv[uv_faces[fragments.face[0, row, column]]]
    torch.testing.assert_close(drawn[0, row, column], expected)
    assert (drawn[~fragments.covered] == 0).all()


def test_attributes_of_one_frame_go_with_many():
    screen = torch.cat([soup(seed=seed)[0] for seed in range(2)])
    faces, attributes = soup()[1], torch.rand(1, 90, 4, dtype=torch.float64)
    fragments = rasterise(screen, faces, (13, 19))
    repeated = interpolate(fragments, attributes.repeat(2, 1, 1), faces)
    assert torch.equal(interpolate(fragments, attributes, faces), repeated)


def test_attributes_of_other_frames_are_refused():
    fragments = Fragments(torch.full((2, 1, 1), -1), torch.zeros(2, 1, 1, 3), torch.zeros(2, 1, 1))
    with pytest.raises(UserError, match=r"2 frames.*\[3, 1, 1\]"):
        interpolate(fragments, torch.zeros(3, 1, 1), torch.tensor([[0, 0, 0]]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"screen": torch.zeros(3, 3)}, r"got \[3, 3\]"),
        ({"screen": torch.zeros(1, 3, 3, dtype=torch.float16)}, "float16"),
        ({"faces": torch.zeros(1, 4, dtype=torch.long)}, r"\[F, 3\].*\[1, 4\]"),
        ({"faces": torch.zeros(1, 3)}, "integers"),
        ({"faces": torch.tensor([[0, 1, 3]])}, "vertices 0 to 3, but there are 3"),
        ({"faces": torch.tensor([[-1, 1, 2]])}, "vertices -1 to 2"),
        ({"size": (0, 4)}, "4 x 0"),
        ({"cull": "both"}, "cull must be one of None, back, front; got 'both'"),
        ({"backend": "metal"}, "backend must be one of torch, pytorch3d; got 'metal'"),
    ],
)
def test_refusals_name_what_came(change, words):
    given = {"screen": torch.rand(1, 3, 3), "faces": torch.tensor([[0, 1, 2]]), "size": (4, 4), **change}
    with pytest.raises(UserError, match=words):
        rasterise(**given)


def test_a_missing_pytorch3d_is_a_sentence(monkeypatch):
    for name in ("pytorch3d", "pytorch3d.renderer", "pytorch3d.structures"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=r"pip install 'portrait-rig\[pytorch3d\]'"):
        rasterise(*one_triangle(*FULL), (4, 4), backend="pytorch3d")
