"""Coverage of outlines and its gradients, against shapes whose area is known."""

from __future__ import annotations

import math

import pytest
import torch
from portrait_rig.core.face.raster import interpolate, rasterise
from portrait_rig.core.face.silhouettes import antialias, mesh_edges
from torch import Tensor

SIZE = (40, 44)


def ellipse(corners=200, radii=(14.3, 11.2), turn=0.4, centre=(21.3, 19.8), depth=2.0):
    """A fan of triangles around `centre`, pixels."""
    angle = torch.arange(corners, dtype=torch.float64) * 2 * math.pi / corners
    x, y = radii[0] * angle.cos(), radii[1] * angle.sin()
    rim = torch.stack([x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)], dim=1)
    flat = torch.cat([torch.zeros(1, 2, dtype=torch.float64), rim]) + torch.tensor(centre, dtype=torch.float64)
    ring = torch.arange(1, corners + 1)
    faces = torch.stack([torch.zeros_like(ring), ring, ring.roll(-1)], dim=1)
    return torch.cat([flat, torch.full((corners + 1, 1), depth)], dim=1)[None], faces


def coverage(screen: Tensor, faces: Tensor, size=SIZE) -> Tensor:
    fragments = rasterise(screen, faces, size)
    return antialias(fragments.covered[..., None].to(screen), fragments, screen, faces)[..., 0]


def area(screen: Tensor) -> Tensor:
    x, y, _ = screen[0, 1:].unbind(1)
    return (x * y.roll(-1) - y * x.roll(-1)).sum() / 2


@pytest.mark.parametrize(
    ("shape", "worst", "mean"),  # measured 0.11 0.016, 0.07 0.014, 0.23 0.011 (a corner); unblended means are 0.2…0.25
    [(ellipse(), 0.13, 0.02), (ellipse(40, (16, 7)), 0.1, 0.02), (ellipse(4, turn=0.7), 0.25, 0.02)],
    ids=["ellipse", "narrow", "square"],
)
def test_coverage_is_the_share_of_the_pixel(shape, worst, mean):
    screen, faces = shape
    fine = 16
    samples = rasterise(screen * torch.tensor([fine, fine, 1.0]), faces, (SIZE[0] * fine, SIZE[1] * fine)).covered
    exact = torch.nn.functional.avg_pool2d(samples.double(), fine)
    error = (coverage(screen, faces) - exact).abs()
    assert error.max() < worst
    assert error[(exact > 0) & (exact < 1)].mean() < mean


def test_growing_the_outline_grows_the_coverage_by_its_area():
    screen, faces = ellipse()
    screen.requires_grad_()
    growth = torch.zeros_like(screen)
    growth[0, 1:, :2] = (screen[0, 1:, :2] - screen[0, 0, :2]).detach()
    felt, = torch.autograd.grad(coverage(screen, faces).sum(), screen)
    true, = torch.autograd.grad(area(screen), screen)
    ratio = (felt * growth).sum() / (true * growth).sum()
    assert abs(ratio - 1) < 0.02  # measured 0.004


def test_gradients_are_those_of_finite_differences():
    screen, faces = ellipse(5)
    weights = torch.rand(1, *SIZE, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    colours = torch.rand(1, 6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

    def total(screen, colours):
        fragments = rasterise(screen, faces, SIZE)
        return (weights * antialias(interpolate(fragments, colours, faces), fragments, screen, faces)).sum()

    assert torch.autograd.gradcheck(total, (screen.requires_grad_(), colours.requires_grad_()), atol=1e-4)


def test_a_shape_finds_its_target_by_coverage_alone():
    screen, faces = ellipse(60)
    target = coverage(screen + torch.tensor([3.4, -2.3, 0]), faces)
    shift = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([shift], lr=0.3)
    for step in range(80):
        optimiser.param_groups[0]["lr"] = 0.3 if step < 40 else 0.03
        optimiser.zero_grad()
        moved = screen + torch.cat([shift, shift.new_zeros(1)])
        (coverage(moved, faces) - target).square().sum().backward()
        optimiser.step()
    assert (shift.detach() - torch.tensor([3.4, -2.3])).abs().max() < 0.05  # pixels; measured 0.01


def test_nothing_changes_away_from_the_outline():
    screen, faces = ellipse()
    fragments = rasterise(screen, faces, SIZE)
    colours = torch.rand(1, 201, 3, dtype=torch.float64)
    plain = interpolate(fragments, colours, faces)
    blended = antialias(plain, fragments, screen, faces)
    share = coverage(screen, faces)[0]
    full = share == fragments.covered[0]
    assert full.float().mean() > 0.9
    assert torch.equal(blended[0][full], plain[0][full])


@pytest.mark.parametrize("hidden", [True, False])
def test_only_the_front_outline_shows(hidden):
    """A small disc behind a large slanted one leaves no trace; in front of it, it is blended with what is behind."""
    large, faces = ellipse()
    large[..., 2] += 0.02 * (large[..., 0] - 20)
    small, _ = ellipse(radii=(5.2, 4.1), depth=3.0 if hidden else 1.0)
    screen, both = torch.cat([large, small], dim=1), torch.cat([faces, faces + 201])
    colour = torch.cat([large[..., :1], 0 * small[..., :1]], dim=1)

    def drawn(screen, faces):
        fragments = rasterise(screen, faces, SIZE)
        return antialias(interpolate(fragments, colour[:, : screen.shape[1]], faces), fragments, screen, faces)[0]

    alone, together = drawn(large, faces), drawn(screen, both)
    if hidden:
        assert torch.equal(together, alone)
    else:
        assert ((together > 0.02 * alone) & (together < 0.98 * alone)).sum() > 10


def test_an_outline_that_runs_into_the_depth_is_met_where_perspective_puts_it():
    """From depth 9 to 1 through a wall at 3: the edge passes the wall after a quarter of its way on the screen."""
    wall = torch.tensor([[0, 0, 3], [88, 0, 3], [0, 80, 3.0]])
    slanted = torch.tensor([[10.3, 4, 9], [10.7, 32, 1], [3.0, 32, 1]])
    screen, faces = torch.cat([wall, slanted])[None].double(), torch.arange(6).reshape(2, 3)
    fragments = rasterise(screen, faces, SIZE)
    front = (fragments.face == 1).double()[..., None]
    edge = antialias(front, fragments, screen, faces)[0, :, 10, 0]
    blended = ((edge > 0.1) & (edge < 0.9)).nonzero().squeeze(1)
    assert blended.tolist() == list(range(11, 32))  # rows whose centre lies below 4 + 28 / 4


def test_coincident_outlines_count_once():
    screen, faces = ellipse()
    doubled = coverage(torch.cat([screen, screen], dim=1), torch.cat([faces, faces + screen.shape[1]]))
    torch.testing.assert_close(doubled, coverage(screen, faces), rtol=0, atol=0)


def test_what_slips_between_pixel_centres_smears_nothing():
    """A needle in front of a surface, seen by no pixel centre."""
    large, faces = ellipse()
    needle = torch.tensor([[[20.6, 12.0, 1], [20.6, 27, 1], [21.4, 27, 1.0]]], dtype=torch.float64)
    both = torch.cat([faces, torch.tensor([[201, 202, 203]])])
    screen = torch.cat([large, needle], dim=1)
    fragments = rasterise(screen, both, SIZE)
    image = interpolate(fragments, screen[..., :1], both)
    inside = antialias(image, fragments, screen, both)[0, 12:27, 17:25]
    assert (fragments.face < len(faces)).all()
    assert torch.equal(inside, image[0, 12:27, 17:25])


def test_an_edge_between_two_triangles_of_a_surface_is_no_outline():
    screen = torch.tensor([[[2.2, 3.1, 1], [30.4, 2.7, 2], [29.1, 33.3, 4], [3.3, 31.2, 3.0]]], dtype=torch.float64)
    square, other_half = torch.tensor([[0, 1, 2], [0, 2, 3]]), torch.tensor([[0, 1, 3], [1, 2, 3]])
    torch.testing.assert_close(coverage(screen, square), coverage(screen, other_half))


def test_a_batch_equals_its_frames():
    frames = [ellipse(centre=(20.3 + shift, 19.1))[0] for shift in range(3)]
    faces = ellipse()[1]
    together = coverage(torch.cat(frames), faces)
    for number, frame in enumerate(frames):
        torch.testing.assert_close(together[number], coverage(frame, faces)[0], rtol=0, atol=0)


def test_triangles_that_are_not_drawn_leave_no_outline():
    screen, faces = ellipse()
    screen[0, 0, 2] = -1  # the hub, so every triangle is dropped
    assert coverage(screen.requires_grad_(), faces).sum() == 0
    screen = screen.detach().clone()
    screen[0, 0, 0] = torch.nan
    assert coverage(screen, faces).sum() == 0


@pytest.mark.parametrize("frames", [0, 2])
def test_nothing_to_blend(frames):
    screen, faces = torch.rand(frames, 3, 3), torch.zeros(0, 3, dtype=torch.long)
    assert coverage(screen, faces).shape == (frames, *SIZE)
    assert coverage(screen, faces).sum() == 0


def test_edges_of_a_tetrahedron():
    edges = mesh_edges(torch.tensor([[0, 1, 2], [0, 3, 1], [1, 3, 2], [2, 3, 0]]))
    assert {tuple(e) for e in edges.ends.tolist()} == {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)}
    for ends, opposite in zip(edges.ends.tolist(), edges.opposite.tolist(), strict=True):
        assert sorted(ends + opposite) == [0, 1, 2, 3]


def test_edges_with_one_and_with_three_triangles():
    edges = mesh_edges(torch.tensor([[0, 1, 2], [1, 0, 3], [0, 1, 4]]))
    table = {tuple(e): sorted(o) for e, o in zip(edges.ends.tolist(), edges.opposite.tolist(), strict=True)}
    assert table[0, 1] == [2, 3, 4]
    assert table[1, 2] == [0, 0, 0]


def test_it_runs_in_inference_mode():
    screen, faces = ellipse(12)
    with torch.inference_mode():
        assert coverage(screen, faces).sum() > 0


def test_a_triangle_seen_edge_on_does_not_break_the_outline():
    """A box seen straight on: its sides have no area in the picture."""
    corners = torch.tensor([[x, y, z] for z in (2, 4) for y in (8.3, 30.6) for x in (9.2, 33.7)], dtype=torch.float64)
    quads = [(0, 2, 3, 1), (4, 5, 7, 6), (0, 1, 5, 4), (2, 6, 7, 3), (0, 4, 6, 2), (1, 3, 7, 5)]
    faces = torch.tensor([corner for a, b, c, d in quads for corner in ((a, b, c), (a, c, d))])
    share = coverage(corners[None], faces)
    assert share.sum().item() == pytest.approx(22.3 * 24.5, abs=1)  # measured 0.65, its corners; 575 without
