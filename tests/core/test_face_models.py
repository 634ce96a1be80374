"""The same questions to every face model, each loaded from a file of its kind."""

from __future__ import annotations

import dataclasses
import random

import face_files
import pack
import pytest
import torch
from portrait_rig.core.checkpoints import Checkpoint, read
from portrait_rig.core.errors import UserError
from portrait_rig.core.face import models
from portrait_rig.core.face.camera import default_camera, rotation_matrix
from portrait_rig.core.face.model import mirrored_name
from safetensors.torch import save_file

ICT = pack.SHARED / "data" / "ict_facekit" / "ict_facekit_light.safetensors"
MAKERS = {
    "toon": lambda folder: models.DEFAULT,
    "ict": lambda folder: ICT,
    "ict folder": face_files.write_ict,
    "flame 2020": lambda folder: face_files.write_flame(folder, chumpy=True),
    "flame 2023": lambda folder: face_files.write_flame(folder, chumpy=False),
    "bfm": face_files.write_bfm,
}
HEADS = ("toon", "ict")
"""Those that look like a person; the others are made-up numbers in the right format."""


MIRRORED_68 = (
    *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, *range(35, 30, -1), 45, 44, 43, 42, 47, 46, 39, 38, 37, 36,
    41, 40, *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65,
)  # fmt: skip
"""iBUG's numbers after the picture is mirrored."""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Paths by name, made once; a name whose file is absent here is missing."""
    made = {}
    for name, maker in MAKERS.items():
        path = maker(tmp_path_factory.mktemp("model"))
        if path.exists():
            made[name] = path
    return made


@pytest.fixture(scope="module")
def loaded(files):
    return {name: models.load_face_model(path) for name, path in files.items()}


@pytest.fixture(params=MAKERS)
def model(request, loaded):
    return pick(loaded, request.param)


@pytest.fixture(params=HEADS)
def head(request, loaded):
    return pick(loaded, request.param)


def pick(table, name):
    if name not in table:
        pytest.skip(f"the file of '{name}' is not beside this checkout")
    return table[name]


def mean(model, frames=1):
    return model.vertices(torch.zeros(frames, len(model.identity)), torch.zeros(frames, len(model.expression)))


def some(group, frames, seed):
    """Coefficients that are usual for a group."""
    noise = torch.randn(frames, len(group), generator=torch.Generator().manual_seed(seed))
    return noise if group.gaussian else noise.sigmoid()


def test_the_mean_is_finite_and_coloured(model):
    vertices, colours = mean(model), model.vertex_albedo(torch.zeros(1, len(model.albedo)))
    assert vertices.shape == colours.shape == (1, len(model.colours), 3)
    assert vertices.isfinite().all()
    assert colours.min() >= -0.01 and colours.max() <= 1.05


def test_a_head_has_the_size_of_a_head(head):
    assert 0.18 < head.height * head.unit_in_metres < 0.30


def test_triangles_face_outwards(model):
    a, b, c = mean(model)[0][model.faces].unbind(1)
    inside = mean(model)[0].mean(0)
    assert ((a - inside) * torch.linalg.cross(b - inside, c - inside)).sum() > 0


def test_texture_coordinates_fill_the_unit_square(model):
    assert model.uv.min() >= 0 and model.uv.max() <= 1
    assert model.uv_faces.shape == model.faces.shape
    assert (model.uv.amax(0) - model.uv.amin(0)).min() > 0.6


def test_regions_are_parts_of_the_mesh(model):
    for region in (model.face_region, model.skin_region):
        assert region.dtype == torch.bool and region.shape == (len(model.faces),)
        assert 0 < region.sum() <= len(model.faces)


def test_the_face_is_skin(head):
    assert (head.skin_region | ~head.face_region).float().mean() > 0.99


def test_landmarks_are_where_a_face_has_them(head):
    points = head.landmarks(mean(head))[0] / head.height
    across, up, ahead = points.unbind(1)
    assert ahead[27:68].argmax() == 30 - 27, "the nose's tip is the foremost"
    assert up.argmin() == 8, "the chin is the lowest"
    assert across[0] < across[36] < across[30] < across[45] < across[16], "right ear to left ear"
    assert up[36:48].min() > up[30] > up[48:60].max(), "eyes over nose over mouth"


def test_landmarks_are_symmetric(head):
    points = head.landmarks(mean(head))[0]
    mirrored = points[list(MIRRORED_68)] * points.new_tensor([-1.0, 1.0, 1.0])
    assert (points - mirrored).norm(dim=1).max() < 0.002 * head.height  # 3e-5 measured on ICT


def test_jaw_landmarks_stay_at_rest(model):
    vertices = mean(model)
    still = torch.eye(3)[None]
    torch.testing.assert_close(model.landmarks(vertices, still), model.landmarks(vertices), rtol=0, atol=0)


@pytest.mark.parametrize("degrees", [35.0, -35.0])
def test_the_far_jaw_slides_outwards_and_the_near_jaw_stays(head, degrees):
    vertices, rotation = mean(head), rotation_matrix(torch.deg2rad(torch.tensor([[0.0, degrees, 0.0]])))
    fixed, slid = ((head.landmarks(vertices, r) @ rotation.mT)[0] for r in (None, rotation))
    side = 1 if degrees > 0 else -1
    far, near = (range(11, 16), range(1, 6)) if degrees > 0 else (range(1, 6), range(11, 16))
    assert all((slid[i, 0] - fixed[i, 0]) * side > 0 for i in far)
    torch.testing.assert_close(slid[list(near)], fixed[list(near)])
    torch.testing.assert_close(slid[17:], fixed[17:])


def test_names_are_unique_and_mirroring_is_its_own_inverse(model):
    for group in (model.identity, model.expression, model.albedo):
        assert len(set(group.names)) == len(group.names)
        assert [group.mirrored[i] for i in group.mirrored] == list(range(len(group)))


@pytest.mark.parametrize(("name", "other"), [
    ("jawLeft", "jawRight"), ("mouthSmile_R", "mouthSmile_L"), ("left_eye", "right_eye"), ("jawOpen", "jawOpen"),
    ("Left", "Right"), ("", ""),
])  # fmt: skip
def test_mirrored_names(name, other):
    assert mirrored_name(name) == other and mirrored_name(other) == name


def test_left_is_the_picture_s_right(head):
    """A name in _L moves vertices at x > 0, and its mirrored name those at x < 0."""
    vertices = mean(head)[0]
    for i, name in enumerate(head.expression.names):
        if not name.endswith("_L"):
            continue
        other = head.expression.mirrored[i]
        assert head.expression.names[other] == name[:-2] + "_R"
        for number, sign in ((i, 1), (other, -1)):
            weights = torch.zeros(1, len(head.expression))
            weights[0, number] = 1
            moved = (head.vertices(torch.zeros(1, len(head.identity)), weights)[0] - vertices).norm(dim=1)
            assert sign * (moved * vertices[:, 0]).sum() > 0, head.expression.names[number]


def test_every_coefficient_moves_the_face_and_has_a_gradient(model):
    groups = [torch.zeros(1, len(g), requires_grad=True) for g in (model.identity, model.expression)]
    joints = torch.zeros(1, len(model.joints), 3, requires_grad=True)
    random_pull = torch.randn(1, len(model.colours), 3, generator=torch.Generator().manual_seed(0))
    (model.vertices(*groups, joints) * random_pull).sum().backward()
    assert all((weights.grad != 0).all() for weights in groups)
    assert not model.joints or (joints.grad.isfinite().all() and (joints.grad.abs().sum((0, 2)) > 0).all())


def test_gradients_agree_with_finite_differences(model):
    small = model.subset(model.surface().landmark_vertices()[::40]).double()
    identity, expression = (some(g, 1, seed).double().requires_grad_() for g, seed in
                            ((model.identity, 1), (model.expression, 2)))  # fmt: skip
    joints = torch.full((1, len(model.joints), 3), 0.1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(small.vertices, (identity, expression, joints), fast_mode=True)


def test_one_identity_goes_with_many_expressions(model):
    identity, expression = some(model.identity, 1, 1), some(model.expression, 3, 2)
    joints = 0.2 * torch.randn(3, len(model.joints), 3, generator=torch.Generator().manual_seed(3))
    together = model.vertices(identity, expression, joints)
    one_by_one = [model.vertices(identity, expression[i : i + 1], joints[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(one_by_one))
    many = model.vertices(identity.expand(3, -1), expression[:1], joints[:1])
    torch.testing.assert_close(many[2:], one_by_one[0])


def test_no_frames_give_no_vertices(model):
    vertices = mean(model, 0)
    assert vertices.shape == (0, len(model.colours), 3)
    assert model.landmarks(vertices, torch.eye(3)[None]).shape == (0, 68, 3)


def test_joints_at_rest_are_no_joints(model):
    identity, expression = some(model.identity, 2, 4), some(model.expression, 2, 5)
    rest = torch.zeros(2, len(model.joints), 3)
    still, plain = model.vertices(identity, expression, rest), model.vertices(identity, expression)
    torch.testing.assert_close(still, plain, rtol=0, atol=1e-6 * model.height)


def test_joints_turn_the_eyes_only(loaded):
    toon = pick(loaded, "toon")
    turned = toon.vertices(torch.zeros(1, len(toon.identity)), torch.zeros(1, len(toon.expression)),
                           torch.tensor([[[0.0, 0.3, 0.0], [0.0, 0.0, 0.0]]]))  # fmt: skip
    moved = (turned - mean(toon))[0].norm(dim=1) > 1e-6
    assert moved.any() and not moved[toon.eyes.ball != 1].any()


def test_lids_never_cut_the_eye(loaded):
    """All lid vertices keep their distance from a ball of any size, however the lids are moved."""
    toon = pick(loaded, "toon")
    identity, expression = 2 * some(toon.identity, 8, 6), some(toon.expression, 8, 7)
    vertices, eyes = toon.vertices(identity, expression), toon.eyes
    centres, radius = eyes.centres + eyes.shifts(identity), eyes.radius * (1 + eyes.growth(identity).squeeze(-1))
    side = eyes.lid_side
    distance = (vertices[:, eyes.lid_vertices] - centres[:, side]).norm(dim=-1) / radius[:, side]
    assert distance.min() > 1.035 - 1e-4


def test_a_subset_computes_the_same_vertices(model):
    ids = torch.randperm(len(model.colours), generator=torch.Generator().manual_seed(1))[:50]
    small = model.subset(ids)
    identity, expression, albedo = (some(g, 2, 9) for g in (model.identity, model.expression, model.albedo))
    joints = 0.2 * torch.ones(2, len(model.joints), 3)
    torch.testing.assert_close(
        small.vertices(identity, expression, joints), model.vertices(identity, expression, joints)[:, ids]
    )
    torch.testing.assert_close(small.vertex_albedo(albedo), model.vertex_albedo(albedo)[:, ids])
    assert small.contour is None and small.layout == model.layout
    with pytest.raises(UserError, match="landmark"):
        small.landmarks68  # noqa: B018


def test_the_landmark_basis_has_the_same_landmarks(model):
    small = model.landmark_basis()
    identity, expression = some(model.identity, 2, 10), some(model.expression, 2, 11)
    rotation = rotation_matrix(torch.tensor([[0.1, 0.5, 0.0], [-0.2, -0.7, 0.1]]))
    full, quick = (m.landmarks(m.vertices(identity, expression), rotation) for m in (model, small))
    torch.testing.assert_close(quick, full)
    assert len(small.colours) <= len(model.colours)


def test_it_works_in_inference_mode_and_leaves_it(files):
    path = pick(files, "flame 2020")
    with torch.inference_mode():
        model = models.load_face_model(path)
        mean(model)
    assert not any(buffer.is_inference() for buffer in model.buffers())


def test_neutral_parameters_are_its_own(model):
    params = model.neutral(default_camera((256, 256)), frames=2)
    assert model.check(params) is params and len(params) == 2
    with pytest.raises(UserError, match=r"belong to the face model 'other'"):
        model.check(dataclasses.replace(params, layout="other"))
    with pytest.raises(UserError, match=rf"hold 7 expression values, '{model.layout}' has {len(model.expression)}"):
        model.check(dataclasses.replace(params, expression=torch.zeros(2, 7)))


def test_it_says_what_it_is(model):
    assert model.layout in model.describe() and f"{len(model.identity)} identity" in model.describe()


def test_every_file_matches_exactly_one_family(files):
    for name, path in files.items():
        checkpoint = read(path)
        matching = [f.name for f in models.MODELS if f.matches(checkpoint.tensors, checkpoint.metadata)]
        assert len(matching) == 1, (name, matching)


def test_layouts_differ(loaded):
    layouts = {name: model.layout for name, model in loaded.items() if name != "ict folder"}
    assert len(set(layouts.values())) == len(layouts)


def test_a_file_that_is_no_face_model_is_named(tmp_path):
    save_file({"w": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match=r"'other.safetensors' in .* holds no face model.*ICT-FaceKit.*FLAME.*holds: w"):
        models.load_face_model(tmp_path / "other.safetensors")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no file 'absent.pkl'"):
        models.load_face_model(tmp_path / "absent.pkl")


@pytest.mark.parametrize("name", ["toon", "ict folder", "flame 2023", "bfm"])
def test_broken_arrays_give_a_sentence_or_a_sound_model(name, files):
    """Every array lost, cut, blown up, made NaN, moved out of range: never another error than UserError."""
    checkpoint = read(pick(files, name))
    chance = random.Random(0)
    refused = 0
    for key in checkpoint.tensors:
        for damage in (None, shifted) if name == "toon" else (None, cut, widened, poisoned, flattened, shifted):
            tensors = dict(checkpoint.tensors)
            whole = tensors.pop(key)
            tensors |= {key: damage(whole, chance)} if damage else {}
            try:
                model = models.face_model_of(dataclasses.replace(checkpoint, tensors=tensors))
            except UserError as error:
                refused += 1
                assert checkpoint.path.name in str(error) and len(str(error)) < 600
            else:
                assert mean(model).isfinite().all()
    assert refused > len(checkpoint.tensors) / 2


def cut(tensor, chance):
    return tensor[: tensor.shape[0] // 2]


def widened(tensor, chance):
    return torch.cat([tensor, tensor], -1)


def poisoned(tensor, chance):
    if not tensor.is_floating_point():
        return tensor.long() - 10**6
    tensor = tensor.clone()
    tensor.view(-1)[chance.randrange(tensor.numel())] = float("nan")
    return tensor


def flattened(tensor, chance):
    return tensor.flatten()


def shifted(tensor, chance):
    return tensor.double() + 10**7


def test_a_checkpoint_without_metadata_is_refused_plainly(files):
    checkpoint = read(pick(files, "ict folder"))
    with pytest.raises(UserError, match=r"looks like ICT-FaceKit.*there is no 'vertex_indices'"):
        models.face_model_of(Checkpoint(checkpoint.path, "obj folder", checkpoint.tensors))
