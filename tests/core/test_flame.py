"""FLAME: its files, its joints, its landmarks by yaw, its texture."""

from __future__ import annotations

import face_files
import numpy as np
import pytest
import torch
from portrait_rig.core.checkpoints import read
from portrait_rig.core.errors import UserError
from portrait_rig.core.face import flame, models
from portrait_rig.core.face.flame_texture import SIZE, STORED_SIZE, FlameTexture
from portrait_rig.core.face.skinning import rotation_matrices


@pytest.fixture(scope="module")
def fields():
    return face_files.params("flame/model.safetensors")


@pytest.fixture(scope="module")
def model(fields):
    return flame.from_tensors(fields, {}, {flame.EMBEDDING: fields})


def zeros(model, frames=1):
    return torch.zeros(frames, len(model.identity)), torch.zeros(frames, len(model.expression))


@pytest.mark.parametrize("chumpy", [True, False])
def test_a_pickle_gives_the_same_model_as_its_arrays(chumpy, tmp_path, fields, model):
    ours = models.load_face_model(face_files.write_flame(tmp_path, chumpy=chumpy))
    generator = torch.Generator().manual_seed(1)
    identity, expression = torch.randn(2, 300, generator=generator), torch.randn(2, 100, generator=generator)
    joints = 0.3 * torch.randn(2, 4, 3, generator=generator)
    vertices = ours.vertices(identity, expression, joints)
    torch.testing.assert_close(vertices, model.vertices(identity, expression, joints), rtol=0, atol=1e-6)
    torch.testing.assert_close(ours.landmarks(vertices), model.landmarks(vertices))
    assert ours.layout == (model.layout if chumpy else model.layout.replace("flame-", "flame-2023-open-"))


def test_another_mean_head_is_another_layout(fields):
    moved = dict(fields, v_template=fields["v_template"] + 1e-4)
    rounded = dict(fields, v_template=fields["v_template"].double() + 1e-10)
    names = [flame.layout_name(f["v_template"], {}) for f in (fields, moved, rounded)]
    assert names[0] != names[1] and names[0] == names[2]


def test_without_an_embedding_a_person_is_told_which_file_to_add(tmp_path):
    ours = models.load_face_model(face_files.write_flame(tmp_path, chumpy=True, embedding=False))
    assert ours.contour is None
    with pytest.raises(UserError, match=r"'landmark_embedding.npy' was not found beside it"):
        ours.landmarks(ours.vertices(*zeros(ours)))


def test_uvs_come_from_the_template_beside_the_model(tmp_path, model):
    path = face_files.write_flame(tmp_path, chumpy=False)
    lines = [f"v {x} {y} {z}" for x, y, z in model.skinning.mean.tolist()]
    lines += ["vt 0.25 0.5", "vt 0.5 0.5", "vt 0.5 0.75"]
    lines += [f"f {a + 1}/1 {b + 1}/2 {c + 1}/3" for a, b, c in model.faces.tolist()]
    (tmp_path / flame.TEMPLATE).write_text("\n".join(lines))
    ours = models.load_face_model(path)
    assert ours.uv.tolist() == [[0.25, 0.5], [0.5, 0.5], [0.5, 0.75]]
    assert ours.uv_faces[7].tolist() == [0, 1, 2]


def test_an_orphaned_template_is_refused(tmp_path):
    path = face_files.write_flame(tmp_path, chumpy=False)
    (tmp_path / flame.TEMPLATE).write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nf 1/1 2/2 3/3\n")
    with pytest.raises(UserError, match=r"head_template.obj.* beside it\) looks like FLAME.*texture triangles"):
        models.load_face_model(path)


def test_a_texture_space_colours_maps_and_vertices(tmp_path):
    pixels = STORED_SIZE * STORED_SIZE * 3
    generator = np.random.default_rng(0)
    mean, directions = generator.uniform(0, 255, (1, pixels)), generator.normal(0, 9, (pixels, 2)).astype(np.float32)
    path = face_files.write_flame(tmp_path, chumpy=False)
    np.savez(tmp_path / "FLAME_texture.npz", mean=mean.reshape(STORED_SIZE, STORED_SIZE, 3), tex_dir=directions)
    ours = models.load_face_model(path)
    assert len(ours.albedo) == 2
    codes = torch.tensor([[1.0, -2.0]])
    texture = ours.texture(codes)
    stored = (mean[0] + directions @ codes[0].numpy()).reshape(STORED_SIZE, STORED_SIZE, 3) / 255
    assert texture.shape == (1, 3, SIZE, SIZE)
    assert texture[0, 0, 5, 9] == pytest.approx(stored[10, 18, 2], abs=1e-5), "red is stored last; every other pixel"
    vertex, corner = int(ours.faces[0, 0]), ours.uv[ours.uv_faces[ours.faces == ours.faces[0, 0]][0]]
    column, row = int(corner[0] * SIZE), int((1 - corner[1]) * SIZE)
    colour = texture[0, :, min(row, SIZE - 1), min(column, SIZE - 1)]
    torch.testing.assert_close(ours.vertex_albedo(codes)[0, vertex], colour)


def test_the_two_files_of_texture_differ_by_their_unit():
    pixels = STORED_SIZE * STORED_SIZE * 3
    mean, directions = torch.rand(1, pixels), torch.rand(pixels, 3)
    ours = FlameTexture.from_tensors({"MU": mean, "PC": directions}, 2)
    theirs = FlameTexture.from_tensors({"mean": mean * 255, "tex_dir": directions * 255}, 2)
    codes = torch.randn(1, 2)
    torch.testing.assert_close(ours(codes), theirs(codes))
    assert len(ours) == 2


def test_turning_about_the_root_is_turning_about_the_origin_and_a_shift(model):
    generator = torch.Generator().manual_seed(2)
    identity, expression = (torch.randn(3, n, generator=generator) for n in (300, 100))
    pose = 0.4 * torch.randn(3, 5, 3, generator=generator)
    rotation = rotation_matrices(pose[:, 0])
    about_origin = model.vertices(identity, expression, pose[:, 1:]) @ rotation.mT
    shift = model.root_offset(identity, expression, rotation)
    posed = model.pose(identity, expression, pose).vertices
    torch.testing.assert_close(about_origin + shift[:, None], posed, rtol=0, atol=1e-6)


def test_fewer_modes_than_the_file_holds_are_the_first_ones(model):
    short, long = torch.randn(1, 10), torch.zeros(1, 300)
    long[:, :10] = short
    rest = torch.zeros(1, 5, 3)
    ours = model.pose(short, torch.zeros(1, 5), rest).vertices
    torch.testing.assert_close(ours, model.pose(long, torch.zeros(1, 100), rest).vertices)


def test_rows_of_the_contour_table():
    """y 0 -> 0, 39.4 -> 39, 75 -> 39, −1 -> 40, −39 -> 78, −75 -> 78; halves go to the even number."""
    degrees = torch.tensor([0.0, 0.4, 12.0, 39.4, 75.0, -1.0, -12.0, -39.0, -75.0, 120.0])
    axis_angle = torch.stack([torch.zeros(10), torch.deg2rad(degrees), torch.zeros(10)], 1)
    rotation = rotation_matrices(axis_angle)
    assert flame.contour_row(rotation).tolist() == [0, 0, 12, 39, 39, 40, 51, 78, 78, 39]
    assert flame.contour_row(rotation, negated=True).tolist() == [0, 0, 51, 78, 78, 1, 12, 39, 39, 78]


@pytest.mark.parametrize("negated", [False, True])
def test_contour_candidates_suit_tables_of_either_sign(negated):
    """On a strip of triangles that leads forwards, point 16 slides in one half of the table, point 0 in the other."""
    steps = 41
    vertices = torch.zeros(2 * (steps + 2), 3)
    vertices[:, 2] = torch.arange(len(vertices)) // 2 * 0.1
    vertices[:, 0] = torch.arange(len(vertices)) % 2
    faces = torch.tensor([[2 * i, 2 * i + 1, 2 * i + 2] for i in range(steps)])
    table = torch.zeros(79, 17, dtype=torch.int64)
    forward, other = torch.arange(1, 40), (0, 16)[::-1] if negated else (0, 16)
    table[1:40, other[1]], table[40:, other[0]] = forward, forward
    bary = torch.zeros(79, 17, 3)
    bary[..., 0] = 1
    embedding = {
        "dynamic_lmk_faces_idx": table, "dynamic_lmk_bary_coords": bary,
        "static_lmk_faces_idx": torch.zeros(51, dtype=torch.int64), "static_lmk_bary_coords": torch.ones(51, 3) / 3,
        "full_lmk_faces_idx": torch.zeros(1, 68, dtype=torch.int64), "full_lmk_bary_coords": torch.ones(1, 68, 3) / 3,
    }  # fmt: skip
    rows = flame.YawLandmarks(embedding).candidates(vertices, faces)
    for number in (0, 16):
        assert (vertices[rows[number], 2].diff() > 0).all()
    assert (rows[8] == rows[8, 0]).all()


def test_rotation_vectors():
    quarter = rotation_matrices(torch.tensor([[0.0, 0.0, torch.pi / 2], [0.0, 0.0, 0.0]]))
    torch.testing.assert_close(quarter[0] @ torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0]))
    assert torch.equal(quarter[1], torch.eye(3))
    still = torch.zeros(1, 3, requires_grad=True)
    rotation_matrices(still)[0, 2, 1].backward()
    assert still.grad[0, 0] == pytest.approx(1.0)


def test_smpl_is_not_taken_for_flame(fields):
    assert flame.matches(fields, {})
    body = dict(fields, kintree_table=torch.zeros(2, 24, dtype=torch.int64))
    assert not flame.matches(body, {})


def test_the_pickle_s_arrays_have_flame_s_names(tmp_path):
    """What `core.checkpoints` makes of both years' files is what `flame` looks for."""
    for chumpy in (True, False):
        assert set(flame.FIELDS) <= read(face_files.write_flame(tmp_path, chumpy=chumpy)).tensors.keys()
