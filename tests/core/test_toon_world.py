"""The toon world: complete scenes from seeds, pictures in which everything is known, and the same bits every time."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from portrait_rig.core.errors import UserError
from portrait_rig.core.face.camera import place, project, rotation_matrix
from portrait_rig.core.face.light import direction_from_angles, shade
from portrait_rig.core.face.render import RenderSettings, render
from portrait_rig.core.toon.world import MASKS, ToonWorld, attributes, joined_params, scene
from portrait_rig.core.toon.world.accessories import BEARDS, GLASSES, HATS
from portrait_rig.core.toon.world.attributes import UNITS
from portrait_rig.core.toon.world.backdrop import BACKDROPS
from portrait_rig.core.toon.world.clothes import COLLARS, PATTERNS
from portrait_rig.core.toon.world.figure import ARMS, LEGS, OUTFITS
from portrait_rig.core.toon.world.hair import STYLES
from portrait_rig.core.toon.world.render import FIGURE, PIVOT, SAMPLES, light_of
from portrait_rig.core.toon.world.sampling import IDENTITY, MOODS
from portrait_rig.core.toon.world.scene import NONE, Figure, Glasses, Hair, Hat, Lamp, View

SIZE = 48
BARE = {"glasses": Glasses(), "hat": Hat(), "beard": NONE}


@pytest.fixture(scope="module")
def world():
    return ToonWorld.load()


def draw(world, drawn, size=SIZE, **options):
    with torch.inference_mode():
        return world.render(drawn, size, **options)


# Scenes --------------------------------------------------------------------------------------------------------------


def test_a_seed_always_gives_the_same_scene():
    assert scene(12) == scene(12) and scene(12) != scene(13)


def test_replacing_one_thing_leaves_the_others():
    plain, hatted = scene(5), scene(5, hat=Hat("beanie"))
    assert replace(hatted, hat=plain.hat) == plain


def test_unknown_parts_and_seeds_are_refused():
    with pytest.raises(UserError, match=r"no shoes\. It has: age"):
        scene(1, shoes="red")
    with pytest.raises(UserError, match="0 or more; got -1"):
        scene(-1)


@pytest.mark.parametrize(
    ("part", "what"),
    [
        (lambda: Hair("mullet"), "hair style called 'mullet'"),
        (lambda: Glasses("monocle"), "shape of glasses called 'monocle'"),
        (lambda: Hat("crown"), "hat called 'crown'"),
        (lambda: Figure(legs="lotus"), "pose of the legs called 'lotus'"),
        (lambda: scene(1, beard="braided"), "beard called 'braided'"),
        (lambda: replace(scene(1).clothes, collar="ruff"), "collar called 'ruff'"),
        (lambda: replace(scene(1).backdrop, kind="beach"), "backdrop called 'beach'"),
    ],
)
def test_unknown_names_are_refused(part, what):
    with pytest.raises(UserError, match=f"{what}. It has: "):
        part()


def test_another_moment_keeps_the_person():
    someone = scene(3)
    moment = someone.varied(99)
    assert (moment.identity, moment.albedo, moment.hair, moment.clothes) == (
        someone.identity, someone.albedo, someone.hair, someone.clothes,
    )  # fmt: skip
    assert moment.view != someone.view and moment.expression != someone.expression and moment.lamp != someone.lamp
    assert someone.varied(99, view=False).view == someone.view


def test_every_name_belongs_to_the_head(world):
    assert set(IDENTITY) == set(world.head.identity.names)
    known = set(world.head.expression.names) | {name[:-2] for name in world.head.expression.names}
    assert all(set(mood) <= known for _, mood in MOODS.values())
    with pytest.raises(UserError, match="no direction nose_rings"):
        world.params(scene(1, identity={"nose_rings": 1.0}), SIZE)


def test_seeds_differ_in_everything():
    drawn = [scene(seed) for seed in range(300)]
    assert {each.hair.style for each in drawn} == STYLES.keys()
    assert {each.clothes.collar for each in drawn} == set(COLLARS)
    assert {each.clothes.pattern for each in drawn} == set(PATTERNS)
    assert {each.backdrop.kind for each in drawn} == set(BACKDROPS)
    assert {each.beard for each in drawn} == {NONE, *BEARDS}
    assert {each.glasses.shape for each in drawn} == {NONE, *GLASSES}
    assert {each.figure.outfit for each in drawn} == set(OUTFITS)
    assert {each.hat.kind for each in drawn} == {NONE, *HATS}
    assert all(0 <= strength <= 1 for each in drawn for strength in each.expression.values())
    assert not any(each.beard != NONE for each in drawn if each.presentation > 0)


# Pictures ------------------------------------------------------------------------------------------------------------


def test_the_same_scene_gives_the_same_bits_in_another_world(world):
    one, other = draw(world, scene(8)), draw(ToonWorld.load(), scene(8))
    assert torch.equal(one.picture, other.picture) and torch.equal(one.landmarks68, other.landmarks68)
    assert all(torch.equal(one.masks[name], other.masks[name]) for name in one.masks)


WARDROBE = (
    [("hair", name) for name in STYLES] + [("glasses", name) for name in GLASSES] + [("hat", name) for name in HATS]
    + [("beard", name) for name in BEARDS] + [("collar", name) for name in COLLARS]
    + [("pattern", name) for name in PATTERNS] + [("backdrop", name) for name in BACKDROPS]
)  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), WARDROBE)
def test_everything_can_be_worn_and_shows(world, kind, name):
    """Against a bald person in a plain sweater, or against the kind's first."""
    base = scene(21, hair=Hair("bald"), view=View(yaw=0.3), **BARE)
    clothes, behind = base.clothes, base.backdrop
    clothes, behind = replace(clothes, collar="crew", pattern="plain"), replace(behind, kind="glow")
    base = replace(base, clothes=clothes, backdrop=behind)
    worn = {
        "hair": lambda: {"hair": Hair(name)},
        "glasses": lambda: {"glasses": Glasses(name)},
        "hat": lambda: {"hat": Hat(name)},
        "beard": lambda: {"beard": name},
        "collar": lambda: {"clothes": replace(base.clothes, collar=name)},
        "pattern": lambda: {"clothes": replace(base.clothes, pattern=name)},
        "backdrop": lambda: {"backdrop": replace(base.backdrop, kind=name)},
    }[kind]
    drawn = draw(world, replace(base, **worn()))
    assert drawn.picture.isfinite().all() and drawn.picture.min() >= 0 and drawn.picture.max() <= 1
    change = (drawn.picture - draw(world, base).picture).abs().max()
    same = name in ("bald", "crew", "plain", "glow") or (kind, name) == ("beard", "stubble")  # stubble is in the albedo
    assert (change == 0) if same else (change > 0.05)


def test_masks_share_the_picture_out(world):
    drawn = draw(world, scene(31, hat=Hat("cap"), glasses=Glasses("round")))
    parts = torch.stack([drawn.masks[name] for name in MASKS])
    assert drawn.masks.keys() == {*MASKS, "face"}
    torch.testing.assert_close(parts.sum(0), torch.ones(SIZE, SIZE))
    assert parts.min() >= 0 and (parts.amax((1, 2)) > 0.5).all()
    inside = drawn.masks["skin"] + drawn.masks["eyes"] + drawn.masks["mouth"]
    assert (drawn.masks["face"] <= inside + 1e-6).all() and drawn.masks["face"].sum() < 0.9 * inside.sum()


def test_masks_are_where_the_landmarks_are(world):
    drawn = draw(world, scene(4, hair=Hair("short"), expression={}, view=View(), **BARE), 96)
    at = {name: drawn.landmarks68[points].mean(0).long() for name, points in
          {"eyes": slice(36, 42), "mouth": slice(48, 60), "face": slice(27, 36)}.items()}  # fmt: skip
    for name, (x, y) in at.items():
        assert drawn.masks[name][y, x] == 1, name
    top = drawn.masks["hair"].amax(1).nonzero()[0]
    assert top < drawn.landmarks68[17:27, 1].min() and drawn.masks["body"][-1, 48] == 1


@pytest.mark.parametrize("seed", [2, 14])
def test_the_parameters_are_exact(world, seed):
    """`core.face.render` draws the same head at the same place: inside the face, the plain picture to rounding.

    Measured: no difference in colours on one machine.
    """
    drawn = draw(world, scene(seed, hair=Hair("short"), **BARE), 64, plain=True)
    with torch.inference_mode():
        alone = render(world.head, drawn.params, RenderSettings(supersample=SAMPLES, antialias=False))
    inside = drawn.masks["face"] == 1
    assert inside.sum() > 200
    there = alone.colour[0].clamp(0, 1)
    torch.testing.assert_close(drawn.picture[:, inside], there[:, inside], atol=1e-5, rtol=0)
    off = (drawn.depth - alone.depth[0, 0])[inside].abs()
    assert off.median() < 0.02  # the nearest of four samples against the pixel's centre: 0.009 measured


def test_landmarks_are_those_of_the_parameters(world):
    drawn = draw(world, scene(6))
    params, head = drawn.params, world.head
    vertices = head.vertices(params.identity, params.expression, params.joints)
    points = place(head.landmarks(vertices, rotation_matrix(params.angles)), params.angles, params.translation)
    torch.testing.assert_close(drawn.landmarks68, project(params.camera, points)[0, :, :2])


def test_the_view_is_the_scene_s(world):
    """Yaw turns the nose to the picture's right, pitch lowers it, zoom enlarges, shifts move."""
    still = scene(9, expression={}, identity={}, view=View())
    middle = draw(world, still).landmarks68

    def moved(**view):
        points = draw(world, replace(still, view=View(**view))).landmarks68
        return (points[30] - points[36:48].mean(0)) - (middle[30] - middle[36:48].mean(0)), points

    assert moved(yaw=0.4)[0][0] > 1 and moved(pitch=0.3)[0][1] > 0.5 and moved(roll=0.3)[0][0] > 0.5
    zoomed, shifted = moved(zoom=1.1)[1], moved(shift_x=0.1)[1]
    assert (zoomed[45, 0] - zoomed[36, 0]) / (middle[45, 0] - middle[36, 0]) == pytest.approx(1.1, abs=0.01)
    assert (shifted[:, 0] - middle[:, 0]).min() > 1


@pytest.mark.parametrize("yaw", [-0.9, 0.0, 0.9])
def test_the_face_stays_in_the_frame(world, yaw):
    for pitch in (-0.4, 0.4):
        points = draw(world, scene(10, view=View(pitch=pitch, yaw=yaw))).landmarks68 / SIZE
        assert points.min() > 0.05 and points.max() < 0.95


def test_catchlights_stay_when_the_gaze_moves(world):
    """They mirror a window: the brightest place of an eye is fixed for the viewer, the pupil is not."""
    base = scene(17, expression={}, hair=Hair("short"), view=View(), lamp=Lamp(azimuth=0.6), **BARE)

    def places(gaze):
        drawn = draw(world, replace(base, gaze=(0.0, gaze)), 160)
        eye = drawn.masks["eyes"] * (torch.arange(160) < 80)
        light = drawn.picture.mean(0)
        spots = []
        for chosen in ((light > 0.97) & (eye == 1), (light < 0.12) & (eye == 1)):
            spots.append(chosen.nonzero().float().mean(0)[1])
        return spots

    (gleam, pupil), (gleam_after, pupil_after) = places(-0.2), places(0.2)
    assert (gleam_after - gleam).abs() < 1.5 and pupil_after - pupil > 3


def test_light_comes_from_its_side(world):
    lit = {side: draw(world, scene(11, view=View(), lamp=Lamp(azimuth=side), **BARE)) for side in (-0.9, 0.9)}
    halves = {}
    for side, drawn in lit.items():
        face = drawn.picture.mean(0) * drawn.masks["face"]
        left, right = (part.sum() / mask.sum() for part, mask in
                       zip(face.chunk(2, 1), drawn.masks["face"].chunk(2, 1), strict=True))  # fmt: skip
        halves[side] = right - left
    assert halves[0.9] > 0.02 and halves[-0.9] < -0.02


def test_raised_brows_do_not_pierce_a_fringe(world):
    surprised = {"browInnerUp_L": 1.0, "browInnerUp_R": 1.0, "browOuterUp_L": 1.0, "browOuterUp_R": 1.0}
    calm = scene(5, hair=Hair("crop"), view=View(), expression={}, **BARE)
    calm = replace(calm, identity={**calm.identity, "brow_high": 1.5, "brow_ridge": 1.5})
    before, after = (draw(world, replace(calm, expression=e), 96).masks["hair"] for e in ({}, surprised))
    assert (before - after).clamp(min=0).sum() < 0.005 * before.sum()  # 0 measured; 0.036 where hair is not lifted


def test_the_head_turns_about_the_neck(world):
    """So that it stays on its shoulders, which a figure does not move."""
    pivot = torch.tensor([[PIVOT]])
    at = []
    for view in (View(), View(pitch=0.4), View(yaw=-0.9, roll=0.2)):
        params = world.params(scene(1, view=view), SIZE, FIGURE)
        at.append(place(pivot, params.angles, params.translation))
    torch.testing.assert_close(at[1], at[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(at[2], at[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("azimuth", [-0.8, 0.8])
def test_the_fill_comes_from_the_other_side(azimuth):
    sides = direction_from_angles(torch.tensor([azimuth, -azimuth]), torch.zeros(2))
    none, filled = (shade(light_of(Lamp(azimuth=azimuth, fill=f, warmth=0.0)), sides[None])[0] for f in (0.0, 0.2))
    here, opposite = (filled - none)[:, 1]
    assert opposite > 0.15 and here < 0.1


def test_sizes(world):
    assert draw(world, scene(1), 1).picture.shape == (3, 1, 1)
    with pytest.raises(UserError, match="at least 1 pixel wide; got a height of 0"):
        draw(world, scene(1), 0)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("outfit", n) for n in OUTFITS] + [("left_arm", n) for n in ARMS] + [("legs", n) for n in LEGS],
)
def test_figures_show_what_they_wear_and_do(world, kind, name):
    """From the head to the shoes, within the picture; against the same figure in jeans, arms down, legs straight."""
    base = scene(13, figure=Figure(), view=View(), hair=Hair("short"), **BARE)
    with torch.inference_mode():
        drawn, plain = (world.render_figure(replace(base, figure=f), 96) for f in (Figure(**{kind: name}), Figure()))
    assert drawn.picture.shape == (3, 96, 48) and drawn.picture.isfinite().all()
    assert ((drawn.picture - plain.picture).abs().max() > 0.1) == (name not in ("jeans", "down", "straight"))
    person = 1 - drawn.masks["background"]
    rows = person.amax(1).nonzero()[:, 0]
    assert 1 < rows[0] < 15 and 85 < rows[-1] < 95 and person[:, [0, -1]].max() < 0.5
    assert drawn.masks["body"][40:].sum() > 150 and drawn.masks["skin"][48:].sum() > 5


def test_a_figure_s_head_is_exact_too(world):
    with torch.inference_mode():
        drawn = world.render_figure(scene(2, hair=Hair("short"), **BARE), 256, plain=True)
        alone = render(world.head, drawn.params, RenderSettings(supersample=SAMPLES, antialias=False))
    inside = drawn.masks["face"] == 1
    assert inside.sum() > 200
    torch.testing.assert_close(drawn.picture[:, inside], alone.colour[0].clamp(0, 1)[:, inside], atol=1e-5, rtol=0)


def test_depth_and_normals_end_with_the_person(world):
    drawn = draw(world, scene(2))
    empty = drawn.masks["background"] == 1
    assert (drawn.depth[empty] == 0).all() and (drawn.normals[:, empty] == 0).all()
    assert drawn.depth[~empty].min() > 6 and drawn.depth.max() < 10
    torch.testing.assert_close(drawn.normals[:, ~empty].norm(dim=0), torch.ones(int((~empty).sum())))


def test_attributes_are_the_scene_s():
    old = scene(1, age=0.9, expression={"mouthSmile_L": 1.0, "mouthSmile_R": 0.5}, beard="full", hair=Hair("bald"),
                glasses=Glasses("round"), view=View(yaw=0.5), lamp=Lamp(azimuth=-0.5))  # fmt: skip
    found = attributes(old)
    assert list(found) == list(UNITS)
    assert (found["age"], found["smile"], found["beard"], found["baldness"], found["glasses"]) == (0.9, 0.75, 1, 1, 1)
    assert (found["yaw"], found["light_azimuth"]) == pytest.approx((28.648, -28.648), abs=1e-3)
    assert attributes(replace(old, beard=NONE, hair=Hair("long"), glasses=Glasses()))["beard"] == 0


def test_parameters_join_in_order(world):
    frames = [world.params(scene(seed), SIZE) for seed in (1, 2, 3)]
    joined = joined_params(frames)
    assert len(joined) == 3 and joined.camera.focal.shape == (3,)
    assert torch.equal(joined[1:2].identity, frames[1].identity) and torch.equal(joined[2:].light, frames[2].light)
