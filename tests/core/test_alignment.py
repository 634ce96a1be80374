from __future__ import annotations

import math

import goldens
import numpy
import pack
import pytest
import torch
from PIL import Image
from portrait_rig.core.errors import UserError
from portrait_rig.core.face import alignment
from portrait_rig.core.face import crop as crops
from portrait_rig.core.face.landmarks import convert, move
from portrait_rig.core.face.resampling import warp
from portrait_rig.core.types import Landmarks

KINDS = list(alignment.ALIGNMENTS)
SIZE = (180, 240)


def face68(frames: int = 1, turn: float = 0.0, scale: float = 40.0, centre=(120.0, 90.0)) -> Landmarks:
    """A plain frontal face in iBUG's order, turned clockwise in the picture by `turn` radians."""
    points = torch.zeros(68, 2)
    angle = torch.linspace(math.pi, 0, 17)
    points[:17] = torch.stack([angle.cos(), 0.2 + angle.sin()], 1)
    points[17:27] = torch.stack([torch.linspace(-0.8, 0.8, 10), torch.full((10,), -0.6)], 1)
    points[27:36] = torch.stack([torch.zeros(9), torch.linspace(-0.4, 0.3, 9)], 1)
    points[30] = torch.tensor([0.0, 0.25])
    circle = torch.tensor([math.pi, 1 - math.pi, -1.0, 0.0, 1.0, math.pi - 1])
    for start, x in ((36, -0.4), (42, 0.4)):
        points[start : start + 6] = torch.stack([x + 0.15 * circle.cos(), -0.35 + 0.06 * circle.sin()], 1)
    ring = torch.linspace(math.pi, -math.pi, 13)[:12]
    points[48:60] = torch.stack([0.3 * ring.cos(), 0.6 - 0.12 * ring.sin()], 1)
    points[60:68] = points[[48, 50, 51, 52, 54, 56, 57, 58]] * 0.9 + torch.tensor([0.0, 0.06])
    rotation = torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    points = points @ rotation.T * scale + torch.tensor(centre)
    return Landmarks(points.expand(frames, -1, -1).clone(), torch.ones(frames), SIZE)


def smooth(frames: int = 1, size=SIZE) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(size[0]) / 30, torch.arange(size[1]) / 30, indexing="ij")
    picture = torch.stack([x.sin() * 0.4 + 0.5, (x + y).cos() * 0.4 + 0.5, (y * 1.3).sin() * 0.4 + 0.5])
    return picture.expand(frames, -1, -1, -1).clone()


# Geometry


@pytest.mark.parametrize("kind", KINDS)
def test_moved_landmarks_lie_on_the_same_picture_content(kind):
    crop = alignment.align(face68(turn=0.2), kind, 256)
    taken = crops.take(smooth(), crop)
    inner = slice(17, 68)  # the jaw may lie outside of the tight crops
    there = move(face68(turn=0.2), crop.matrices, crop.size)

    def look(picture, marks):
        size = torch.tensor([marks.size[1], marks.size[0]])
        grid = (marks.points[:, None, inner] / size * 2 - 1).to(picture)
        return torch.nn.functional.grid_sample(picture, grid, align_corners=False)[:, :, 0]

    inside = ((there.points[:, inner] > 1) & (there.points[:, inner] < 255)).all(-1)[:, None].expand(-1, 3, -1)
    difference = (look(taken, there) - look(smooth(), face68(turn=0.2))).abs()[inside]
    assert inside.sum() >= 3 * 40
    assert difference.max() < 0.01  # measured 0.0035: half a pixel off would give 0.008 and more at this scale


def test_half_a_pixel_off_would_be_noticed():
    crop = alignment.align(face68(), "FFHQ", 64)
    shift = torch.eye(3, dtype=torch.float64)[None]
    shift[:, :2, 2] = 0.5
    ours = crops.take(smooth(), crop)
    off = warp(smooth(), shift @ crop.matrices, crop.size, "antialiased mirror")
    assert (ours - off).abs().max() > 0.01


def test_ffhq_turns_the_eyes_level():
    crop = alignment.ffhq(face68(turn=0.35))
    points = move(face68(turn=0.35), crop.matrices, crop.size).points[0]
    left, right = points[36:42].mean(0), points[42:48].mean(0)
    assert (left - right)[1].abs() < 1e-2
    assert ((left + right) / 2)[0] == pytest.approx(512, abs=0.01)
    # half the side is max(2 · 0.8, 1.8 · 0.95) model units of eye distance, the eyes lie 0.1 · 0.95 above the centre
    assert ((left + right) / 2)[1].item() == pytest.approx(512 - 1024 * 0.095 / (2 * 1.8 * 0.95), abs=0.5)


def insetgan_crops() -> goldens.Case:
    path = pack.SHARED / "goldens/insetgan/sgh_crop_a.safetensors"
    if not path.exists():
        pytest.skip("the authors' crops are not beside this checkout")
    return goldens.read(path)


def test_ffhq_quad_has_the_hull_of_the_authors():
    case = insetgan_crops()
    for index in range(len(case.config["faces"])):
        quad = alignment.ffhq_quad(case.given[f"landmarks_{index}"][None])[0]
        hull = torch.cat([quad.amin(0).floor(), quad.amax(0).ceil()]).long()
        assert hull.tolist() == case.expected[f"insetgan_crop_{index}"].tolist()


def test_ffhq_crop_looks_like_the_authors():
    case = insetgan_crops()
    picture = case.expected["body_uint8"].permute(2, 0, 1)[None].float() / 255
    marks = Landmarks(case.given["landmarks_0"][None].float() + 0.5, torch.ones(1), tuple(picture.shape[-2:]))
    ours = crops.take(picture, alignment.ffhq(marks, case.config["out"]))
    theirs = case.expected["projector_aligned_0"].permute(2, 0, 1)[None].float() / 255
    assert (ours - theirs).abs().mean() < 0.02  # measured 0.0133: they shrink by Lanczos, we average bilinear samples


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_its_frames(kind):
    both = Landmarks(torch.cat([face68(turn=0.1).points, face68(scale=30).points]), torch.ones(2), SIZE)
    pictures = torch.cat([smooth(), 1 - smooth()])
    together = crops.take(pictures, alignment.align(both, kind))
    for index in range(2):
        one = Landmarks(both.points[index : index + 1], torch.ones(1), SIZE)
        alone = crops.take(pictures[index : index + 1], alignment.align(one, kind))
        assert torch.allclose(together[index : index + 1], alone, atol=2e-3)  # a batch shares its number of samples


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_without_a_face_takes_the_nearest(kind):
    marks = face68(3)
    marks.points[1] = torch.nan
    marks.points[2] += 5
    matrices = alignment.align(marks, kind).matrices
    assert torch.isfinite(matrices).all()
    assert torch.equal(matrices[1], matrices[0]) and not torch.equal(matrices[2], matrices[0])


@pytest.mark.parametrize("kind", KINDS)
def test_no_frame_with_a_face_is_refused(kind):
    nobody = Landmarks(torch.full((2, 68, 2), torch.nan), torch.zeros(2), SIZE)
    with pytest.raises(UserError, match="None of these frames holds a face"):
        alignment.align(nobody, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_coinciding_points_are_refused(kind):
    with pytest.raises(UserError, match="points of the face"):
        alignment.align(Landmarks(torch.full((1, 68, 2), 50.0), torch.ones(1), SIZE), kind)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "DECA"])
def test_five_points_suffice(kind):
    five = alignment.align(convert(face68(), 5), kind).matrices
    assert torch.allclose(five, alignment.align(face68(), kind).matrices, atol=0.5, rtol=1e-2)


def test_deca_needs_the_outline():
    five = Landmarks(torch.rand(1, 5, 2) * 50, torch.ones(1), SIZE)
    with pytest.raises(UserError, match="68 or 478 points, these landmarks hold 5"):
        alignment.deca(five)


def test_an_unknown_alignment_is_refused_with_the_list():
    with pytest.raises(UserError, match="FFHQ, Deep3D, EG3D, ArcFace, DECA"):
        alignment.align(face68(), "dlib")


def test_arcface_brings_the_points_to_their_places():
    turn, scale = torch.tensor(0.3), 2.5
    rotation = torch.tensor([[turn.cos(), -turn.sin()], [turn.sin(), turn.cos()]])
    points = torch.tensor(alignment.ARCFACE_POINTS) @ rotation.T * scale + torch.tensor([100.0, 20.0])
    crop = alignment.arcface(Landmarks(points[None], torch.ones(1), (500, 500)))
    there = move(Landmarks(points[None], torch.ones(1), (500, 500)), crop.matrices, crop.size).points[0]
    assert torch.allclose(there, torch.tensor(alignment.ARCFACE_POINTS) + 0.5, atol=1e-4)


def test_a_mirrored_face_is_turned_not_mirrored():
    points = face68().points.clone()
    points[..., 0] = 240 - points[..., 0]
    crop = alignment.arcface(Landmarks(points, torch.ones(1), SIZE))
    assert torch.linalg.det(crop.matrices[0, :2, :2]) > 0


# Resampling


@pytest.mark.parametrize(("filter", "pillow"), [("bicubic", Image.BICUBIC), ("lanczos", Image.LANCZOS)])
@pytest.mark.parametrize("new", [(40, 30), (90, 77), (200, 300), (1, 1)])
def test_separable_filters_are_pillows(filter, pillow, new):
    image = torch.randint(0, 256, (60, 50, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    theirs = torch.tensor(numpy.array(Image.fromarray(image.numpy()).resize(new[::-1], pillow)))
    matrix = torch.diag(torch.tensor([new[1] / 50, new[0] / 60, 1.0], dtype=torch.float64))[None]
    ours = warp(image.permute(2, 0, 1)[None].float() / 255, matrix, new, filter)[0].permute(1, 2, 0) * 255
    assert (ours - theirs).abs().max() < 2.0  # measured 1.4 (Lanczos): half a level a pass, and the intermediate one


def test_shrinking_averages():
    stripes = (torch.arange(256) % 2).float().expand(1, 3, 256, 256)
    matrix = torch.diag(torch.tensor([0.125, 0.125, 1.0], dtype=torch.float64))[None]
    assert (warp(stripes, matrix, (32, 32), "antialiased edge") - 0.5).abs().max() < 0.07
    assert (warp(stripes, matrix, (32, 32), "bilinear") - 0.5).abs().max() < 0.5 + 1e-6


def test_outside_is_black_mirrored_or_edge():
    ramp = torch.linspace(0.2, 1, 16).expand(1, 3, 16, 16)
    matrix = torch.eye(3, dtype=torch.float64)[None].clone()
    matrix[:, 0, 2] = 4
    black, mirror, edge = (
        warp(ramp, matrix, (16, 16), f)[0, 0, 8, :4] for f in ("bilinear", "antialiased mirror", "antialiased edge")
    )
    assert black.abs().max() == 0
    assert torch.allclose(mirror, ramp[0, 0, 8, :4].flip(0), atol=1e-6)
    assert torch.allclose(edge, torch.full((4,), 0.2))
    assert warp(ramp, matrix, (16, 16), "bicubic")[0, 0, 8, :4].abs().max() == 0


def test_a_crop_wholly_outside_is_black():
    matrix = torch.eye(3, dtype=torch.float64)[None].clone()
    matrix[:, 0, 2] = 1e4
    assert warp(smooth(), matrix, (8, 8), "bicubic").abs().max() == 0


@pytest.mark.parametrize("filter", ["bilinear", "antialiased mirror", "antialiased edge", "bicubic", "lanczos"])
def test_gradients_by_finite_differences(filter):
    picture = torch.rand(1, 1, 7, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) * 0.4 + 0.3
    matrix = torch.tensor([[[0.6, 0.0, 0.3], [0.0, 0.7, -0.4], [0.0, 0.0, 1.0]]], dtype=torch.float64)
    picture.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda p: warp(p, matrix, (4, 5), filter), picture)


@pytest.mark.parametrize("filter", ["bilinear", "bicubic"])
def test_empty_batches(filter):
    assert warp(torch.zeros(0, 3, 8, 8), torch.eye(3)[None].double(), (4, 4), filter).shape == (0, 3, 4, 4)


def test_long_clips_are_worked_on_in_chunks(monkeypatch):
    points = face68(11).points + torch.arange(11.0)[:, None, None]
    crop = alignment.align(Landmarks(points, torch.ones(11), SIZE), "EG3D", 32)
    pictures, patches, mask = smooth(11) * torch.linspace(0.5, 1, 11)[:, None, None, None], smooth(11, (9, 9)), smooth()
    at_once = crops.take(pictures, crop), *crops.paste(pictures, patches, crop, 0.1, mask[:, :1])
    monkeypatch.setattr(crops, "FRAMES_AT_ONCE", 4)
    in_turn = crops.take(pictures, crop), *crops.paste(pictures, patches, crop, 0.1, mask[:, :1])
    assert all(torch.equal(a, b) and len(a) == 11 for a, b in zip(at_once, in_turn, strict=True))


def test_one_picture_with_many_crops():
    crop = alignment.align(face68(3), "FFHQ", 32)
    assert crops.take(smooth(), crop).shape == (3, 3, 32, 32)


def test_a_crop_of_other_pictures_is_refused():
    with pytest.raises(UserError, match="240 × 180 pixels, these have 64 × 32 pixels"):
        crops.take(torch.zeros(1, 3, 32, 64), alignment.align(face68(), "FFHQ"))


# Paste


@pytest.mark.parametrize("kind", KINDS)
def test_paste_restores_the_picture(kind):
    crop = alignment.align(face68(2, turn=0.15), kind, 256)
    pictures = smooth(2)
    restored, mask = crops.paste(pictures, crops.take(pictures, crop), crop, feather=0.1)
    assert (restored - pictures).abs().max() < 0.03  # measured 0.011: a smooth picture, resampled twice
    assert 0.02 < mask.mean() < 1
    assert mask.max() == 1 or kind in ("FFHQ", "EG3D")


def test_paste_changes_only_the_crop():
    crop = alignment.align(face68(), "ArcFace", 64)
    changed, mask = crops.paste(smooth(), torch.ones(1, 3, 64, 64), crop, feather=0.05)
    outside = (mask == 0).expand(-1, 3, -1, -1)
    assert outside.any()
    assert torch.equal(changed[outside], smooth()[outside])
    assert (changed[(mask == 1).expand(-1, 3, -1, -1)] > 1 - 1e-6).all()


def test_paste_takes_crops_of_another_size_and_a_mask():
    crop = alignment.align(face68(), "FFHQ", 64)
    patch = torch.nn.functional.interpolate(crops.take(smooth(), crop), scale_factor=2, mode="bilinear")
    half = torch.zeros(1, 1, 16, 16)
    half[..., :8] = 1
    _, mask = crops.paste(smooth(), patch, crop, 0.0, half)
    whole = crops.paste(smooth(), patch, crop, 0.0)[1]
    assert 0.4 < mask.sum() / whole.sum() < 0.65


def test_a_hard_edge_is_hard():
    crop = alignment.align(face68(), "ArcFace", 64)
    assert set(crops.paste(smooth(), torch.zeros(1, 3, 64, 64), crop, 0.0)[1].unique().tolist()) == {0.0, 1.0}


def test_the_soft_edge_rises_smoothly_over_its_width():
    same = crops.Stage(torch.eye(3, dtype=torch.float64)[None], (100, 100), "bilinear")
    whole = crops.Crop("all", (same,), (100, 100))
    mask = crops.paste(torch.zeros(1, 3, 100, 100), torch.ones(1, 3, 100, 100), whole, 0.2)[1][0, 0, 50]
    step = (torch.arange(100) + 0.5).minimum(99.5 - torch.arange(100)).div(20).clamp(max=1)
    assert torch.allclose(mask, step * step * (3 - 2 * step), atol=1e-5)
    assert mask[9] < 0.5 < mask[10] and mask[20] == 1


@pytest.mark.parametrize("feather", [-0.1, 0.6, math.nan])
def test_a_soft_edge_out_of_range_is_refused(feather):
    crop = alignment.align(face68(), "ArcFace", 64)
    with pytest.raises(UserError, match=r"between 0 and 0\.5"):
        crops.paste(smooth(), torch.zeros(1, 3, 64, 64), crop, feather)


def test_paste_refuses_other_numbers_of_frames():
    crop = alignment.align(face68(2), "ArcFace", 64)
    with pytest.raises(UserError, match="pictures: 3, crops: 2"):
        crops.paste(smooth(3), torch.zeros(2, 3, 64, 64), crop)


def test_inputs_stay_as_they_were():
    picture, marks = smooth(), face68()
    before = picture.clone(), marks.points.clone()
    crop = alignment.align(marks, "FFHQ", 32)
    crops.paste(picture, torch.ones(1, 3, 32, 32), crop)
    assert torch.equal(picture, before[0]) and torch.equal(marks.points, before[1])


def test_everything_runs_in_inference_mode():
    with torch.inference_mode():
        for kind in KINDS:
            crop = alignment.align(face68(), kind, 32)
            crops.paste(smooth(), crops.take(smooth(), crop), crop)
