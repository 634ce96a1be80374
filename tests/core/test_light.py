"""Spherical harmonics, point lights and directional lights against sums over the sphere and numbers by hand."""

from __future__ import annotations

import math

import pytest
import torch
from portrait_rig.core.face.light import (
    DECA_FACTORS,
    DEEP3D_BANDS,
    PhongLight,
    ambient_light,
    direction_from_angles,
    direction_shading,
    distant_light,
    dominant_light,
    light_from_deca,
    light_from_deep3d,
    light_from_direction,
    light_to_deca,
    light_to_deep3d,
    one_tint,
    phong,
    point_shading,
    sh_basis,
    shade,
)
from torch.nn.functional import normalize

DOUBLE = torch.float64


def directions(count=4000, seed=0):
    """[1, count, 3] unit vectors."""
    return normalize(torch.randn(1, count, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed)), dim=-1)


def white(value=1.0):
    return torch.full((1, 3), value, dtype=DOUBLE)


def test_deep3d_bands_are_the_published_numbers():
    assert pytest.approx((0.88622693, 1.77245385, 2.42703239), abs=1e-8) == DEEP3D_BANDS


def test_deca_factors_are_the_published_numbers():
    assert pytest.approx((0.282095, *[1.023327] * 3, *[0.858086] * 3, 0.429043, 0.247708), abs=1e-6) == DECA_FACTORS


def test_the_basis_by_hand():
    k0, k1, k2 = DEEP3D_BANDS
    x, y, z = 2 / 7, 3 / 7, 6 / 7
    expected = [
        k0, -k1 * y, k1 * z, -k1 * x, k2 * x * y, -k2 * y * z,
        k2 / (2 * 3**0.5) * (3 * z * z - 1), -k2 * x * z, k2 / 2 * (x * x - y * y),
    ]  # fmt: skip
    torch.testing.assert_close(sh_basis(torch.tensor([x, y, z], dtype=DOUBLE)), torch.tensor(expected, dtype=DOUBLE))


def test_deep3d_light_of_zeros_is_its_initial_one():
    shading = shade(light_from_deep3d(torch.zeros(1, 27, dtype=DOUBLE)), directions(10))
    torch.testing.assert_close(shading, torch.full_like(shading, 0.8 * DEEP3D_BANDS[0]))


def test_deep3d_counts_nine_values_a_colour():
    gamma = torch.arange(27, dtype=DOUBLE)[None]
    light = light_from_deep3d(gamma)
    assert light[0, 1].tolist() == [1, 10, 19]
    torch.testing.assert_close(light_to_deep3d(light), gamma)


def test_deca_light_shades_as_deca_says():
    light = torch.randn(1, 9, 3, dtype=DOUBLE)
    normals = directions(50)
    x, y, z = normals[0].unbind(1)
    theirs = torch.stack([torch.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1], dim=1)
    expected = theirs * torch.tensor(DECA_FACTORS, dtype=DOUBLE) @ light[0]
    torch.testing.assert_close(shade(light_from_deca(light), normals)[0], expected)
    torch.testing.assert_close(light_to_deca(light_from_deca(light)), light)


def test_a_distant_light_is_the_best_fit_of_a_clamped_cosine():
    """The residual is orthogonal to all nine harmonics, up to the noise of the sum over the sphere."""
    towards = normalize(torch.tensor([[0.3, -0.5, 0.8]], dtype=DOUBLE), dim=1)
    normals = directions(200_000)
    exact = (normals @ towards[0]).clamp(min=0)[0]
    shading = shade(distant_light(towards, white()), normals)[0, :, 0]
    assert ((shading - exact) @ sh_basis(normals[0]) / len(exact)).abs().max() < 1e-3  # measured 3e-4
    assert (shading - exact).abs().max() < 3 / 32 + 1e-9  # at the terminator


def test_dominant_light_recovers_a_distant_one_under_any_even_light():
    azimuth, elevation = torch.tensor([0.7, -1.2], dtype=DOUBLE), torch.tensor([0.4, -0.3], dtype=DOUBLE)
    strength = torch.tensor([0.8, 2.5], dtype=DOUBLE)
    light = light_from_direction(azimuth, elevation, strength, torch.tensor([0.3, 0.0], dtype=DOUBLE))
    direction, found = dominant_light(light)
    torch.testing.assert_close(direction, direction_from_angles(azimuth, elevation))
    torch.testing.assert_close(found, strength)


def test_even_light_has_no_direction():
    direction, strength = dominant_light(ambient_light(white(0.7)))
    assert direction.abs().max() == 0 and strength.item() == 0


@pytest.mark.parametrize(
    ("azimuth", "elevation", "towards"),
    [(0, 0, (0, 0, 1)), (math.pi / 2, 0, (1, 0, 0)), (0, math.pi / 2, (0, 1, 0))],
)
def test_light_comes_from_where_it_is_said_to(azimuth, elevation, towards):
    light = light_from_direction(*(torch.tensor([v], dtype=DOUBLE) for v in (azimuth, elevation, 0.5, 0.2)))
    towards = torch.tensor([[towards]], dtype=DOUBLE)
    torch.testing.assert_close(shade(light, towards), torch.full((1, 1, 3), 0.2 + 0.5 * 17 / 16, dtype=DOUBLE))
    torch.testing.assert_close(shade(light, -towards), torch.full((1, 1, 3), 0.2 + 0.5 / 16, dtype=DOUBLE))


def test_one_light_goes_with_many_frames():
    light = torch.randn(1, 9, 3)
    normals = normalize(torch.randn(3, 4, 5, 3), dim=-1)
    shading = shade(light, normals)
    assert shading.shape == (3, 4, 5, 3)
    torch.testing.assert_close(shading[2], shade(light, normals[2:])[0])


def test_light_has_the_gradients_of_finite_differences():
    light, normals = torch.randn(2, 9, 3, dtype=DOUBLE, requires_grad=True), directions(4).detach().requires_grad_()
    assert torch.autograd.gradcheck(shade, (light, normals))


def phong_at(position, specular=0.0):
    """Diffuse and highlight at (0, 0, -2), which faces the viewer."""
    light = PhongLight(torch.tensor([position], dtype=DOUBLE), white(2.0), white(0.5), specular, shininess=4.0)
    diffuse, highlight = phong(
        light, torch.tensor([[[0, 0, 1.0]]], dtype=DOUBLE), torch.tensor([[[0, 0, -2.0]]], dtype=DOUBLE)
    )
    return diffuse[0, 0, 0].item(), highlight[0, 0, 0].item()


def test_phong_by_hand():
    assert phong_at((0.0, 0, 0)) == pytest.approx((2.5, 0))
    assert phong_at((0.0, 2, 0)) == pytest.approx((0.5 + 2 * math.cos(math.pi / 4), 0))
    assert phong_at((0.0, 0, 5), specular=0.3) == pytest.approx((2.5, 0.6))
    assert phong_at((0.0, 2, 0), specular=0.3)[1] == pytest.approx(0.6 * math.cos(math.pi / 4) ** 4)


def test_phong_behind_the_surface_leaves_the_ambient_light():
    assert phong_at((0.0, 0.1, -4), specular=1.0) == pytest.approx((0.5, 0))
    aside = torch.tensor([[[8.0, 0, -6]]])  # the mirrored ray would reach the viewer from there
    light = PhongLight(torch.tensor([[10.0, 0, -7]]), torch.ones(1, 3), torch.zeros(1, 3), specular=1.0)
    assert phong(light, torch.tensor([[[0, 0, 1.0]]]), aside)[1].abs().max() == 0


def test_deca_lights_by_hand():
    normals, positions = torch.tensor([[[0, 0, 1.0]]]), torch.tensor([[[0, 0, -1.0]]])
    lights = torch.tensor([[[0, 0, 4.0, 1, 2, 3], [0, 0, -4.0, 1, 1, 1]]])
    assert point_shading(lights, normals, positions).tolist() == [[[0, 0.5, 1]]]  # the light behind counts negative
    assert direction_shading(lights, normals).tolist() == [[[0.5, 1, 1.5]]]  # here it does not


def test_one_tint_keeps_brightness_and_colour_of_the_mean():
    light = torch.rand(2, 9, 3, generator=torch.Generator().manual_seed(0))
    single = one_tint(light)
    torch.testing.assert_close(single.mean(2), light.mean(2))
    torch.testing.assert_close(single[:, 0], light[:, 0])
    ratio = single / single.mean(2, keepdim=True)
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio))
    assert torch.isfinite(one_tint(torch.zeros(1, 9, 3))).all()
