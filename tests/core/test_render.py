"""Faces to pictures: modes, light, texture, gradients, batches, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pack
import pytest
import torch
import trimesh
from portrait_rig.core.errors import UserError
from portrait_rig.core.face.basis import Directions
from portrait_rig.core.face.camera import default_camera, project
from portrait_rig.core.face.light import PhongLight, ambient_light, light_from_direction
from portrait_rig.core.face.linear import LinearFaceModel
from portrait_rig.core.face.model import FaceModel, Group
from portrait_rig.core.face.render import (
    CLAY,
    MODES,
    PosedMesh,
    RenderSettings,
    overlay,
    render,
    render_mesh,
    sample_texture,
)
from portrait_rig.core.face.surface import Surface
from portrait_rig.core.types import Camera, FaceParams

SIZE = (48, 40)
ICT = pack.SHARED / "data" / "ict_facekit" / "ict_facekit_light.safetensors"


def ball(dtype=torch.float32) -> FaceModel:
    """A sphere of radius 1 with one identity (wider), one expression (taller) and one albedo (redder)."""
    sphere = trimesh.creation.icosphere(subdivisions=3)
    mean, faces = torch.from_numpy(sphere.vertices).to(dtype), torch.from_numpy(sphere.faces).long()
    every, one = torch.ones(len(faces), dtype=torch.bool), Group(("one",))
    surface = Surface(faces, mean[:, :2] * 0.5 + 0.5, faces, torch.full_like(mean, 0.5), every, every)
    return LinearFaceModel(
        surface,
        mean,
        Directions((mean * mean.new_tensor([1, 0, 0]))[None]),
        Directions((mean * mean.new_tensor([0, 1, 0]))[None]),
        layout="ball",
        identity=one,
        expression=one,
        albedo=one,
        albedos=Directions(mean.new_tensor([0.2, 0, 0]).expand(1, len(mean), 3)),
        unit_in_metres=1.0,
        height=2.0,
    )


def params(frames=1, dtype=torch.float32, **changes) -> FaceParams:
    """A ball in the middle, as high as half the picture, lit evenly by 1."""
    one = torch.ones(frames, 3, dtype=dtype)
    camera = default_camera(SIZE, 20.0, frames)
    camera = replace(camera, focal=camera.focal.to(dtype), principal=camera.principal.to(dtype))
    plain = FaceParams(
        layout="ball",
        identity=0 * one[:, :1],
        expression=0 * one[:, :1],
        albedo=0 * one[:, :1],
        joints=torch.zeros(frames, 0, 3, dtype=dtype),
        angles=0 * one,
        translation=one * one.new_tensor([0, 0, -12]),
        light=ambient_light(one),
        camera=camera,
    )
    return replace(plain, **changes)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("supersample", [1, 2])
def test_every_mode_fills_the_ball_and_nothing_else(mode, supersample):
    drawn = render(ball(), params(2), RenderSettings(mode=mode, supersample=supersample))
    assert drawn.colour.shape == (2, 3, *SIZE) and drawn.alpha.shape == (2, 1, *SIZE)
    assert drawn.normals.shape == (2, 3, *SIZE)
    assert drawn.depth.shape == (2, 1, *SIZE) and drawn.uv.shape == (2, 2, *SIZE)
    assert drawn.colour[:, :, 24, 20].sum(1).min() > 0.5
    assert (drawn.colour * (drawn.alpha == 0)).abs().max() == 0
    assert drawn.alpha.min() >= 0 and drawn.alpha.max() == 1


def test_the_ball_has_the_size_and_place_that_the_camera_gives_it():
    drawn = render(ball(), params())
    radius = params().camera.focal.item() / (12**2 - 1) ** 0.5  # pixels, of the outline of a sphere
    assert drawn.alpha.sum().item() == pytest.approx(torch.pi * radius**2, rel=0.02)  # measured 0.009, it has corners
    weights = drawn.alpha[0, 0] / drawn.alpha.sum()
    rows, columns = torch.arange(SIZE[0]) + 0.5, torch.arange(SIZE[1]) + 0.5
    assert (weights.sum(1) @ rows).item() == pytest.approx(24, abs=0.02)
    assert (weights.sum(0) @ columns).item() == pytest.approx(20, abs=0.02)


def test_maps_hold_what_they_say():
    drawn = render(ball(), params())
    centre = (0, slice(None), 23, 19)  # half a pixel off the middle
    torch.testing.assert_close(drawn.depth[centre], torch.tensor([11.0]), rtol=0, atol=0.02)
    torch.testing.assert_close(drawn.normals[centre], torch.tensor([0.0, 0, 1]), rtol=0, atol=0.1)
    torch.testing.assert_close(drawn.uv[centre], torch.tensor([0.5, 0.5]), rtol=0, atol=0.03)
    assert drawn.normals[0, 0, 24, 28] > 0.5 and drawn.normals[0, 1, 16, 20] > 0.3  # x to the right, y up
    assert torch.equal(drawn.depth[:, 0] > 0, drawn.fragments.covered)


def test_colour_is_albedo_times_light():
    model, lit = ball(), params(albedo=torch.ones(1, 1))
    expected = torch.tensor([0.7, 0.5, 0.5])
    torch.testing.assert_close(render(model, lit).colour[0, :, 24, 20], expected)
    torch.testing.assert_close(render(model, replace(lit, light=lit.light * 2)).colour[0, :, 24, 20], expected * 2)
    albedo = render(model, replace(lit, light=lit.light * 2), RenderSettings(mode="albedo"))
    torch.testing.assert_close(albedo.colour[0, :, 24, 20], expected)
    clay = render(model, replace(lit, light=lit.light * 2), RenderSettings(mode="shaded"))
    torch.testing.assert_close(clay.colour[0, :, 24, 20], torch.full((3,), 2 * CLAY))


def test_light_falls_from_its_side():
    azimuth = torch.tensor([0.9])
    lit = params(light=light_from_direction(azimuth, 0 * azimuth, azimuth, 0 * azimuth))
    picture = render(ball(), lit).colour[0, 0]
    assert picture[24, 28] > 2 * picture[24, 12]


def test_a_texture_lies_the_right_way_up():
    """Row 0 of a texture is v = 1, the top of the ball; column 0 is u = 0, its left."""
    texture = torch.zeros(1, 3, 16, 16)
    texture[0, 0, :8] = 1
    texture[0, 1, :, :8] = 1
    picture = render(ball(), params(texture=texture)).colour[0]
    assert picture[:, 18, 14].tolist() == pytest.approx([1, 1, 0], abs=1e-5)
    assert picture[:, 18, 26].tolist() == pytest.approx([1, 0, 0], abs=1e-5)
    assert picture[:, 30, 14].tolist() == pytest.approx([0, 1, 0], abs=1e-5)


def test_texels_are_met_at_their_centres_and_held_at_the_edges():
    texture = torch.arange(1.0, 13).reshape(1, 1, 3, 4)
    column = torch.tensor([0.5, 1.5, 2.5, 3.5, -3, 9]) / 4
    row = torch.tensor([0.5, 0.5, 1.5, 2.5, 0.5, 2.5]) / 3
    values = sample_texture(texture, torch.stack([column, 1 - row], dim=-1)[None, None])
    torch.testing.assert_close(values.flatten(), torch.tensor([1.0, 2, 7, 12, 1, 12]))


def test_supersampling_and_antialiasing_agree_on_coverage():
    rough, smooth, fine = (
        render(ball(), params(), RenderSettings(antialias=aa, supersample=s)).alpha
        for aa, s in ((False, 1), (True, 1), (False, 8))
    )
    assert (rough - fine).abs().sum() > 3 * (smooth - fine).abs().sum()
    assert ((rough == 0) | (rough == 1)).all()


def test_culling_takes_the_far_side_away():
    both, front, back = (
        render(ball(), params(), RenderSettings(cull=cull)).depth[0, 0, 24, 20] for cull in (None, "back", "front")
    )
    assert both == front < back - 1.5


def test_gradients_reach_every_parameter():
    settings = RenderSettings(mode="textured")
    given = params(light=light_from_direction(*(torch.tensor([v]) for v in (0.5, 0.3, 0.6, 0.4))))
    leaves = {
        name: getattr(given, name).clone().requires_grad_()
        for name in ("identity", "expression", "albedo", "angles", "translation", "light")
    }
    focal = given.camera.focal.clone().requires_grad_()
    drawn = render(ball(), replace(given, **leaves, camera=replace(given.camera, focal=focal)), settings)
    weight = torch.rand(drawn.colour.shape, generator=torch.Generator().manual_seed(0))
    (drawn.colour * weight).sum().backward()
    for name, leaf in {**leaves, "focal": focal}.items():
        assert torch.isfinite(leaf.grad).all() and leaf.grad.abs().max() > 0, name


def test_gradients_are_those_of_finite_differences():
    model = ball(torch.float64)
    given = params(dtype=torch.float64, light=light_from_direction(
        *(torch.tensor([v], dtype=torch.float64) for v in (0.5, 0.3, 0.6, 0.4))
    ))
    weight = torch.rand(1, 3, *SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def total(expression, translation):
        return (render(model, replace(given, expression=expression, translation=translation)).colour * weight).sum()

    at = (torch.tensor([[0.013]], dtype=torch.float64), given.translation + 0.0071)
    leaves = [t.clone().requires_grad_() for t in at]
    total(*leaves).backward()
    step = 1e-6
    rise = (total(at[0] + step, at[1]) - total(at[0] - step, at[1])) / (2 * step)
    assert rise.item() == pytest.approx(leaves[0].grad.item(), rel=1e-4)  # measured 1e-6
    for axis in range(3):
        nudge = torch.eye(3, dtype=torch.float64)[axis] * step
        rise = (total(at[0], at[1] + nudge) - total(at[0], at[1] - nudge)) / (2 * step)
        assert rise.item() == pytest.approx(leaves[1].grad[0, axis].item(), rel=1e-4)


def test_few_frames_at_once_change_nothing():
    many = params(5, angles=torch.rand(5, 3), expression=torch.rand(5, 1))
    whole, pieces = (render(ball(), many, RenderSettings(frames_at_once=n)) for n in (8, 2))
    for name in ("colour", "alpha", "normals", "depth", "uv"):
        torch.testing.assert_close(getattr(whole, name), getattr(pieces, name))
    assert torch.equal(whole.fragments.face, pieces.fragments.face)


def test_one_identity_goes_with_many_expressions():
    one, many = params(1), params(3, expression=torch.rand(3, 1))
    mixed = replace(one, expression=many.expression)
    torch.testing.assert_close(render(ball(), mixed).colour, render(ball(), many).colour)
    assert len(render(ball(), mixed, RenderSettings(frames_at_once=2))) == 3


def test_another_size_shows_the_same_view():
    large = render(ball(), params(), size=(96, 80)).alpha
    small = render(ball(), params()).alpha
    assert large.shape == (1, 1, 96, 80)
    assert (torch.nn.functional.avg_pool2d(large, 2) - small).abs().mean() < 0.01  # measured 0.002


def test_weak_perspective():
    camera = replace(params().camera, perspective=False)
    drawn = render(ball(), params(camera=camera))
    radius = camera.focal.item() / 12
    assert drawn.alpha.sum().item() == pytest.approx(torch.pi * radius**2, rel=0.02)


def test_phong_light_on_a_posed_mesh():
    model, given = ball(), params()
    vertices = model.vertices(given.identity, given.expression) + given.translation[:, None]
    light = PhongLight(torch.zeros(1, 3), torch.ones(1, 3), torch.full((1, 3), 0.25))
    mesh = PosedMesh(vertices, model.faces)
    picture = render_mesh(mesh, given.camera, light).colour[0, 0]
    assert picture[24, 20].item() == pytest.approx(CLAY * 1.25, abs=0.01)
    assert picture[24, 20] > picture[24, 26] > CLAY * 0.25


def test_a_part_of_a_mesh_keeps_the_normals_of_the_whole():
    model, given = ball(), params()
    whole = render(model, given)
    vertices = model.vertices(given.identity, given.expression) + given.translation[:, None]
    from portrait_rig.core.face.normals import vertex_normals

    front = vertices[0, model.faces].mean(1)[:, 2] > -11.5
    part = PosedMesh(vertices, model.faces[front], normals=vertex_normals(vertices, model.faces))
    drawn = render_mesh(part, given.camera, given.light)
    shown = drawn.fragments.covered[:, None]
    assert 0.3 < shown.sum() / whole.fragments.covered.sum() < 0.95
    torch.testing.assert_close((drawn.normals * shown), (whole.normals * shown))
    assert drawn.uv is None


def test_overlay_is_the_picture_where_there_is_no_face():
    drawn = render(ball(), params(2))
    picture = torch.rand(1, 3, *SIZE)
    result = overlay(picture, drawn)
    assert result.shape == (2, 3, *SIZE)
    empty = (drawn.alpha == 0).expand_as(result)
    assert torch.equal(result[empty], picture.expand_as(result)[empty])
    torch.testing.assert_close(result[:, :, 24, 20], torch.full((2, 3), 0.5))
    half = overlay(picture, drawn, opacity=0.5)
    torch.testing.assert_close(half, (result + picture) / 2)
    assert torch.equal(overlay(picture, drawn, 0.0), picture.expand_as(result))


def test_overlay_has_no_dark_fringe():
    """White on white stays white where the outline cuts pixels."""
    drawn = render(ball(), params(light=params().light * 2))
    assert overlay(torch.ones(1, 3, *SIZE), drawn).min() > 1 - 1e-5


def test_no_frames():
    drawn = render(ball(), params(0))
    assert drawn.colour.shape == (0, 3, *SIZE) and len(drawn) == 0


def test_behind_the_camera_nothing_shows():
    drawn = render(ball(), params(translation=torch.tensor([[0, 0, 12.0]])))
    assert drawn.alpha.sum() == 0 and torch.isfinite(drawn.colour).all()


def test_it_runs_in_inference_mode_and_changes_nothing_given():
    given = params(2)
    before = given.map(torch.clone)
    with torch.inference_mode():
        render(ball(), given, RenderSettings(supersample=2))
    for name in ("identity", "expression", "angles", "translation", "light"):
        assert torch.equal(getattr(given, name), getattr(before, name))


def test_refusals_name_what_came():
    with pytest.raises(UserError, match=r"textured, albedo, shaded.*'toon'"):
        RenderSettings(mode="toon")
    with pytest.raises(UserError, match="0 and 8"):
        RenderSettings(supersample=0)
    with pytest.raises(UserError, match="'other'"):
        render(ball(), params(layout="other"))
    with pytest.raises(UserError, match=r"40 x 48 pixels.*30 x 20"):
        overlay(torch.zeros(1, 3, 20, 30), render(ball(), params()))
    bare = PosedMesh(torch.rand(1, 3, 3) - torch.tensor([0.5, 0.5, 5]), torch.tensor([[0, 1, 2]]))
    for mesh, mode in ((bare, "uv"), (replace(bare, texture=torch.zeros(1, 3, 4, 4)), "textured")):
        with pytest.raises(UserError, match="no texture coordinates"):
            render_mesh(mesh, default_camera((8, 8)), params().light, settings=RenderSettings(mode=mode))
    with pytest.raises(UserError, match="frames differ"):
        render(ball(), params(2, light=torch.zeros(3, 9, 3)))


@pytest.mark.skipif(not ICT.exists(), reason="../shared/data/ict_facekit is absent")
def test_a_real_head_from_the_front():
    """Eyes, nose and mouth lie where their landmarks are projected, the nose nearest; pupils are darker than skin."""
    from portrait_rig.core.face import ict
    from safetensors import safe_open

    with safe_open(str(ICT), framework="pt") as file:
        model = ict.from_tensors({key: file.get_tensor(key) for key in file.keys()}, file.metadata())  # noqa: SIM118
    given = model.neutral(default_camera((160, 160)))
    drawn = render(model, given)
    vertices = model.vertices(given.identity, given.expression) + given.translation[:, None]
    points = project(given.camera, model.landmarks68.on(vertices, model.faces))[0]
    depth = drawn.depth[0, 0]
    for number in (27, 30, 33, 48, 54, 8):  # bridge, tip and base of the nose, mouth corners, chin
        x, y, expected = points[number].tolist()
        assert depth[int(y), int(x)].item() == pytest.approx(expected, abs=0.02 * model.height)
    assert depth[depth > 0].min() == pytest.approx(points[30, 2].item(), abs=0.02 * model.height)
    pupil, nose = points[36:42, :2].mean(0).long(), points[30, :2].long()
    bright = drawn.colour[0].mean(0)
    assert bright[pupil[1], pupil[0]] < 0.5 * bright[nose[1], nose[0]]


def test_a_camera_made_by_hand_needs_no_batch_of_its_own():
    camera = Camera(torch.tensor([100.0]), torch.tensor([[20.0, 24.0]]), SIZE)
    assert len(render(ball(), params(3, camera=camera))) == 3
