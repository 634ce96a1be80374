"""Regressors: what they see lies where the face is in the whole picture; their files; all that they refuse."""

from __future__ import annotations

import dataclasses
import math

import face_files
import pytest
import torch
from portrait_rig.core.errors import UserError
from portrait_rig.core.face import bfm, deca, deep3d, flame
from portrait_rig.core.face.alignment import ALIGNMENTS
from portrait_rig.core.face.camera import default_camera, place, project
from portrait_rig.core.methods.regress import (
    DecaRegressor,
    Deep3DRegressor,
    Framing,
    load_face_regressor,
    middle_square,
    save_face_regressor,
)
from portrait_rig.core.networks.deca import Deca
from portrait_rig.core.networks.recon_net import HEADS, ReconNet, ReconNetOptions
from portrait_rig.core.toon.corpus import HELD_OUT
from portrait_rig.core.toon.world import ToonWorld, joined_params, scene
from portrait_rig.core.types import Landmarks
from toy_regressors import SIZE, TINY, TWICE, face, looking_in_the_mirror, marks, pictures, pixels, seeing, toon


def sure(network, rows):
    """The network saying `rows` [K] whatever it sees, through its last biases."""
    parts = rows.split([layer.out_channels for layer in network.final_layers])
    for layer, part in zip(network.final_layers, parts, strict=True):
        layer.bias.data.copy_(part)
    return network.eval()


# Where the face is


@pytest.mark.parametrize(
    "framing",
    [Framing(), Framing("FFHQ", 1.1, 0.0), Framing("Deep3D", 1.3, -0.1), Framing("ArcFace", 2.0, 0.0)],
    ids=lambda framing: framing.alignment,
)
def test_what_is_known_on_the_crop_comes_back_on_the_picture(head, framing):
    params = face(head)
    landmarks = marks(head, params)
    regressor = toon(head, params, framing.crop(landmarks, 64), framing)
    seen = regressor.regress(pictures(), landmarks, head)
    # 0.06 pixels measured with Deep3D, whose crop rounds the picture's sides
    torch.testing.assert_close(pixels(head, seen), pixels(head, params), rtol=0, atol=0.1)
    torch.testing.assert_close(seen.angles, params.angles, rtol=0, atol=1e-3)
    torch.testing.assert_close(seen.camera.principal, params.camera.principal)
    assert seen.camera.size == SIZE and seen.layout == "toon-head" and head.check(seen) is seen


@pytest.mark.parametrize("size", [(180, 240), (300, 200), (64, 64)], ids=str)
def test_without_landmarks_it_is_the_middle_square(head, size):
    params = head.neutral(default_camera(size, 25.0))
    regressor = toon(head, params, middle_square(size, 64))
    seen = regressor.regress(pictures(2, size))
    assert len(seen) == 2
    torch.testing.assert_close(pixels(head, seen), pixels(head, params).repeat(2, 1, 1), rtol=0, atol=1e-3)


def test_the_middle_square_is_where_it_should_be():
    matrix = middle_square((100, 300), 50).matrices[0]
    corners = torch.tensor([[100.0, 0.0, 1.0], [200.0, 100.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close((corners @ matrix.T)[:, :2], torch.tensor([[0.0, 0.0], [50.0, 50.0]]).double())


def test_a_framing_is_wider_and_higher_than_its_alignment(head):
    landmarks = marks(head, face(head))
    plain = ALIGNMENTS["DECA"](landmarks, 100).matrices[0]
    framed = Framing("DECA", 2.0, 0.25).crop(landmarks, 100).matrices[0]
    middle = torch.linalg.inv(framed) @ torch.tensor([50.0, 50.0, 1.0]).double()
    torch.testing.assert_close((plain @ middle)[:2], torch.tensor([50.0, 0.0]).double())
    torch.testing.assert_close(torch.linalg.det(plain), 4 * torch.linalg.det(framed))


def test_deep3d_lies_over_the_picture():
    model = bfm.from_tensors(face_files.params("deep3d/face_model.safetensors"), {})
    coefficients = torch.zeros(257)
    coefficients[224:227], coefficients[254:257] = torch.tensor([0.1, 0.3, -0.2]), torch.tensor([0.2, 0.1, -0.5])
    regressor = Deep3DRegressor(sure(ReconNet(ReconNetOptions(TINY)), coefficients))
    landmarks = Landmarks(FIVE[None] * 1.5 + 30, torch.ones(1), SIZE)
    seen = model.check(regressor.regress(pictures(), landmarks))
    crop = ALIGNMENTS["Deep3D"](landmarks, 224)
    on_crop_pixels = torch.cat([pixels(model, deep3d.to_params(coefficients[None])), torch.ones(1, 68, 1)], 2).double()
    wanted = (on_crop_pixels @ torch.linalg.inv(crop.matrices).mT)[..., :2].float()
    # the crop's sides are whole pixels, so one axis is stretched by up to 0.4 %; 0.09 pixels measured
    torch.testing.assert_close(pixels(model, seen), wanted, rtol=0, atol=0.2)


def test_deca_lies_over_the_picture():
    fields = face_files.params("flame/decode.safetensors")
    model = flame.from_tensors(fields, {}, {flame.EMBEDDING: fields})
    regressor, code = deca_regressor()
    box = torch.rand(68, 2, generator=torch.Generator().manual_seed(1)) * 80 + 50
    landmarks = Landmarks(box[None], torch.ones(1), SIZE)
    seen = model.check(regressor.regress(pictures(), landmarks, model))
    codes = deca.DecaCodes.split(code[None], torch.zeros(1, 128))
    vertices = model.pose(codes.shape, codes.exp, codes.full_pose()).vertices
    projected = (deca.orthographic(vertices, codes.cam)[..., :2] * torch.tensor([1.0, -1.0]) + 1) * 112
    back = torch.linalg.inv(ALIGNMENTS["DECA"](landmarks, 224).matrices)
    wanted = (torch.cat([projected, torch.ones_like(projected[..., :1])], 2).double() @ back.mT)[..., :2].float()
    ours = place(model.vertices(seen.identity, seen.expression, seen.joints), seen.angles, seen.translation)
    torch.testing.assert_close(project(seen.camera, ours, seen.translation)[..., :2], wanted, rtol=0, atol=1e-2)
    assert regressor.codes(torch.rand(1, 3, 224, 224)).detail.shape == (1, 8)


FIVE = torch.tensor([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]])


@torch.no_grad()
def deca_regressor():
    """DECA that sees one code in everything."""
    random = torch.Generator().manual_seed(0)
    code = 0.3 * torch.randn(236, generator=random)
    code[206] = 8.0  # scale, after shape 100, tex 50, exp 50, pose 6
    network = Deca(coefficients=236, detail=8, latent=61).eval()
    network.E_flame.layers[2].weight.zero_()
    network.E_flame.layers[2].bias.copy_(code)
    return DecaRegressor(network).requires_grad_(False), code


# Batches


def test_chunks_do_not_change_anything_and_progress_is_told(head):
    regressor, many = seeing(head), pictures(11)
    landmarks = marks(head, face(head, 11))
    told = []
    together = regressor.regress(many, landmarks, head, lambda done, of: told.append((done, of)))
    assert told == [(0, 11), (8, 11), (11, 11)]
    for number in (0, 8, 10):
        some = slice(number, number + 1)
        alone = regressor.regress(many[some], Landmarks(landmarks.points[some], landmarks.score[some], SIZE))
        torch.testing.assert_close(alone.translation, together.translation[some], rtol=0, atol=1e-4)
        torch.testing.assert_close(alone.identity, together.identity[some], rtol=0, atol=1e-4)
    assert together.identity.std(0).max() > 1e-4


def test_frames_without_a_face_lie_between_their_neighbours(head):
    regressor, many = seeing(head), pictures(3)
    landmarks = marks(head, face(head, 3))
    points = landmarks.points.clone()
    points[1] = math.nan
    seen = regressor.regress(many, Landmarks(points, torch.tensor([1.0, 0.0, 1.0]), SIZE))
    assert len(seen) == 3
    torch.testing.assert_close(seen.translation[1], seen.translation[[0, 2]].mean(0))
    whole = regressor.regress(many, landmarks)
    torch.testing.assert_close(seen.identity[2], whole.identity[2], rtol=0, atol=1e-4)


def test_one_picture_goes_with_many_landmarks_and_many_with_one(head):
    regressor = seeing(head)
    landmarks = marks(head, face(head, 3))
    assert len(regressor.regress(pictures(1), landmarks)) == 3
    one = Landmarks(landmarks.points[:1], landmarks.score[:1], SIZE)
    assert len(regressor.regress(pictures(10), one)) == 10


def test_gradients_reach_the_picture(head):
    regressor = seeing(head).double()
    picture = pictures(1, (40, 50)).double().requires_grad_()
    way = pictures(1, (40, 50), seed=1).double() - 0.5
    regressor.regress(picture).translation.sum().backward()
    step = 1e-6
    ahead, behind = (regressor.regress(picture.detach() + sign * step * way).translation.sum() for sign in (1, -1))
    slope = (ahead - behind) / (2 * step)
    assert (picture.grad * way).sum().item() == pytest.approx(slope.item(), rel=1e-4)  # 1e-5 measured
    assert all(p.grad is None for p in regressor.parameters())


def test_a_cancel_passes_through(head):
    class Cancelled(Exception):
        pass

    def cancel(done, of):
        raise Cancelled

    with pytest.raises(Cancelled):
        seeing(head).regress(pictures(), progress=cancel)


def test_it_works_in_inference_mode_with_a_file_that_was_loaded_there(head, tmp_path):
    save_face_regressor(tmp_path / "r.safetensors", seeing(head))
    with torch.inference_mode():
        loaded = load_face_regressor(tmp_path / "r.safetensors")
        assert len(loaded.regress(pictures(2))) == 2
    assert not any(t.is_inference() for t in (*loaded.parameters(), *loaded.buffers()))


# What is refused


def test_inputs_that_do_not_go_together(head):
    regressor, landmarks = seeing(head), marks(head, face(head, 3))
    nobody = Landmarks(torch.full((2, 68, 2), math.nan), torch.zeros(2), SIZE)
    for given, words in [
        ((pictures(2), landmarks), r"pictures: 2, landmarks: 3"),
        ((pictures(2), nobody), r"None of the 2 frames holds a face"),
        ((pictures(3, (60, 60)), landmarks), r"belongs to pictures of 240 × 180 pixels"),
        ((pictures(1)[:, :1],), r"\[frames, 3, height, width\]; got \[1, 1, 180, 240\]"),
        ((pictures(0),), r"there are no pictures"),
        ((pictures(1) * math.nan,), r"no numbers"),
        ((pictures(1), dataclasses.replace(landmarks, points=landmarks.points[:1] * 0)), r"nearly\) coincide"),
    ]:
        with pytest.raises(UserError, match=words):
            regressor.regress(*given)


def test_another_models_regressor_is_refused(head):
    regressor = Deep3DRegressor(ReconNet(ReconNetOptions(TINY)))
    with pytest.raises(UserError, match=r"'bfm-2009-deep3d', which mean nothing to 'toon-head'"):
        regressor.regress(pictures(), marks(head, face(head)), head)


def test_deca_wants_the_flame_of_2020(head):
    regressor, _ = deca_regressor()
    landmarks = marks(head, face(head))
    with pytest.raises(UserError, match=r"FLAME of 2020 \(generic_model\.pkl\); none is connected"):
        regressor.regress(pictures(), landmarks)
    with pytest.raises(UserError, match="this one is 'toon-head'"):
        regressor.regress(pictures(), landmarks, head)
    fields = face_files.params("flame/decode.safetensors")
    model = flame.from_tensors(fields, {"supr_expression_metadata": {}}, {flame.EMBEDDING: fields})
    with pytest.raises(UserError, match="this one is 'flame-2023-open-"):
        regressor.regress(pictures(), landmarks, model)
    model.layout = "flame-0"
    with pytest.raises(UserError, match="68 or 478 points, these landmarks hold 5"):
        regressor.regress(pictures(), Landmarks(FIVE[None], torch.ones(1), SIZE), model)
    with pytest.raises(UserError, match=r"DECA looks at a crop.*none are connected"):
        regressor.regress(pictures(), None, model)


def test_deep3d_wants_landmarks():
    with pytest.raises(UserError, match=r"Deep3DFaceRecon looks at a crop.*none are connected"):
        Deep3DRegressor(ReconNet(ReconNetOptions(TINY))).regress(pictures())


# Files


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_saved_regressor_comes_back(head, tmp_path, mirrored):
    regressor = looking_in_the_mirror(head, TWICE) if mirrored else seeing(head)
    regressor.framing = Framing("FFHQ", 1.25, -0.5)
    save_face_regressor(tmp_path / "mine.safetensors", regressor, {"training": "none"})
    loaded = load_face_regressor(tmp_path / "mine.safetensors")
    landmarks = marks(head, face(head, 2))
    ours, theirs = regressor.regress(pictures(2), landmarks), loaded.regress(pictures(2), landmarks)
    assert torch.equal(ours.translation, theirs.translation) and torch.equal(ours.light, theirs.light)
    assert loaded.framing == regressor.framing and loaded.looks == regressor.looks
    assert "toon-head from pictures of 64 × 64: ResNet-6, 4 channels wide, 3 keypoints" in loaded.describe()


def test_published_files_are_recognised(tmp_path):
    net = ReconNet(ReconNetOptions(TINY))
    torch.save({"net_recon": net.state_dict(), "opt_00": {}}, tmp_path / "epoch_20.pth")
    loaded = load_face_regressor(tmp_path / "epoch_20.pth")
    assert isinstance(loaded, Deep3DRegressor) and loaded.layout == "bfm-2009-deep3d"
    assert "Deep3DFaceRecon (bfm-2009-deep3d) from crops of 224 × 224" in loaded.describe()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t, m: m.update(version="2"), r"version 2, this pack reads 1\. Update the pack"),
        (lambda t, m: m.pop("groups"), r"there is no 'groups'"),
        (lambda t, m: m.update(groups="[["), "damaged or of another kind"),
        (lambda t, m: m.update(groups='[["identity", 1e12]]'), "damaged or of another kind"),
        (lambda t, m: m.update(side="9999999"), "crops of 9999999 pixels"),
        (lambda t, m: m.update(alignment="Escher"), "framing of 'Escher'"),
        (lambda t, m: m.update(wider="-1"), "gives no crop"),
        (lambda t, m: t.pop("coding.scale"), r"there is no 'coding\.scale'"),
        (lambda t, m: t.pop("network.backbone.layer1.0.conv1.weight"), "does not hold a complete"),
        (lambda t, m: t.pop("network.backbone.conv1.weight"), "does not hold a complete"),
        (lambda t, m: t.update({"network.answers.bias": torch.zeros(7)}), r"answers\.bias \[7\]"),
        (lambda t, m: t["network.answers.weight"].fill_(math.nan), "no numbers"),
        (lambda t, m: t.update({"coding.mean": torch.full((143,), math.nan)}), "no proper numbers"),
        (lambda t, m: m.update(looks="[]"), "0 looks at a face"),
        (lambda t, m: m.update(looks="[[9, 0]]"), "sees no face"),
        (lambda t, m: m.update(looks="[1"), "damaged or of another kind"),
        (lambda t, m: t.update(mirror=torch.ones(143)), "mirror does not name every value once"),
        (
            lambda t, m: t.update({f"network.answers.{k}": t[f"network.answers.{k}"][3:] for k in ("weight", "bias")}),
            "140 outputs do not make 143 values",
        ),
    ],
)
def test_damaged_files_are_named(head, tmp_path, change, words):
    from portrait_rig.core.checkpoints import save_safetensors
    from portrait_rig.core.methods.regress import packed

    tensors, metadata = packed(seeing(head))
    change(tensors, metadata)
    save_safetensors(tmp_path / "bad.safetensors", tensors, metadata)
    with pytest.raises(UserError, match=words):
        load_face_regressor(tmp_path / "bad.safetensors")


def test_foreign_truncated_and_missing_files(head, tmp_path):
    torch.save({"net_recon": ReconNet(ReconNetOptions(TINY, (3, 4))).state_dict()}, tmp_path / "odd.pth")
    with pytest.raises(UserError, match=r"'odd\.pth'.*7 outputs instead of 257"):
        load_face_regressor(tmp_path / "odd.pth")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "foreign.pth")
    with pytest.raises(UserError, match=r"'foreign\.pth'.*no face regressor.*It holds: weight"):
        load_face_regressor(tmp_path / "foreign.pth")
    save_face_regressor(tmp_path / "whole.safetensors", seeing(head))
    content = (tmp_path / "whole.safetensors").read_bytes()
    (tmp_path / "half.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"half\.safetensors"):
        load_face_regressor(tmp_path / "half.safetensors")
    with pytest.raises(UserError, match=r"nobody\.safetensors"):
        load_face_regressor(tmp_path / "nobody.safetensors")
    assert sum(HEADS) == deep3d.COEFFICIENTS


# The embedded regressor


def test_the_embedded_regressor_sees_people_that_it_was_never_shown():
    """Ten of the held-out seeds; the whole of them is measured by the training, see weights/README.md."""
    world = ToonWorld.load()
    shots = [world.snapshot(scene(HELD_OUT + number), 128) for number in range(10)]
    truth, image = joined_params([shot.params for shot in shots]), torch.stack([shot.picture for shot in shots])
    landmarks = Landmarks(torch.stack([shot.landmarks68 for shot in shots]), torch.ones(10), (128, 128))
    regressor = load_face_regressor()
    for marked in (None, landmarks):
        seen = world.head.check(regressor.regress(image, marked))
        angles = (seen.angles - truth.angles).abs().rad2deg().median(0).values
        assert angles.max() < 2.0  # degrees; 1.14 measured
        off = (pixels(world.head, seen) - pixels(world.head, truth)).norm(dim=-1).mean(1)
        assert off.median() < 1.3  # pixels of 128; 0.75 measured
        measured = {"identity": 0.46, "expression": 0.84, "albedo": 0.76, "light": 0.87}
        for name, least in measured.items():
            assert correlation(getattr(seen, name), getattr(truth, name)) > least - 0.1, name


def correlation(a, b):
    """Of all values, each group's columns about their own means."""
    a, b = a - b.mean(0), b - b.mean(0)
    return (a * b).sum() / (a.norm() * b.norm())
