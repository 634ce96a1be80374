"""Identity networks: files of every kind, crops, embeddings, verdicts."""

from __future__ import annotations

from dataclasses import replace

import onnx_bytes
import pytest
import torch
from portrait_rig.core.checkpoints import save_safetensors
from portrait_rig.core.errors import UserError
from portrait_rig.core.face import alignment
from portrait_rig.core.face.crop import take
from portrait_rig.core.methods import identity
from portrait_rig.core.methods.identity import IdentityNetwork, Thresholds, load_identity_network
from portrait_rig.core.toon.world import ToonWorld, scene
from portrait_rig.core.types import Landmarks
from torch import Tensor

SIDE = 32
FIVE = torch.tensor([[[60.0, 60.0], [95.0, 62.0], [76.0, 82.0], [62.0, 100.0], [92.0, 101.0]]])


@pytest.fixture
def network() -> IdentityNetwork:
    return IdentityNetwork("test", "f1", onnx_bytes.random_iresnet(side=SIDE))


def pictures(count: int = 1) -> Tensor:
    return torch.rand(count, 3, 150, 140, generator=torch.Generator().manual_seed(2))


def marks(points: Tensor = FIVE) -> Landmarks:
    return Landmarks(points, torch.ones(len(points)), (150, 140))


# Files


@pytest.mark.parametrize("prefix", ["", "module.", "net.", "state_dict_backbone.", "net_recog.net."])
def test_networks_of_arcface_torch_under_every_prefix(tmp_path, prefix):
    network = onnx_bytes.random_iresnet()
    held = {prefix + key: tensor for key, tensor in network.state_dict().items()}
    held |= {"state_dict_softmax_fc.weight": torch.ones(3, 12), "epoch": torch.tensor(19)} if prefix else {}
    torch.save(held, tmp_path / "backbone.pth")
    found = load_identity_network(tmp_path / "backbone.pth")
    assert (found.name, found.thresholds, found.measured) == ("backbone", identity.PUBLISHED, False)
    assert torch.equal(found.network(_crops()), network(_crops()))


def test_a_training_checkpoint_with_nested_state(tmp_path):
    network = onnx_bytes.random_iresnet()
    torch.save({"epoch": 3, "state_dict_backbone": network.state_dict(), "lr": 0.1}, tmp_path / "checkpoint_gpu_0.pt")
    found = load_identity_network(tmp_path / "checkpoint_gpu_0.pt")
    assert torch.equal(found.network(_crops()), network(_crops()))


def test_weights_in_half_precision_become_float32(tmp_path):
    torch.save({key: t.half() for key, t in onnx_bytes.random_iresnet().state_dict().items()}, tmp_path / "half.pth")
    assert load_identity_network(tmp_path / "half.pth").network.fc.weight.dtype == torch.float32


def test_an_onnx_file(tmp_path):
    network = onnx_bytes.random_iresnet()
    (tmp_path / "w600k_r50.onnx").write_bytes(onnx_bytes.IResNetExport(network).content)
    found = load_identity_network(tmp_path / "w600k_r50.onnx")
    assert found.name == "w600k_r50"
    assert (found.network(_crops()) - network(_crops())).abs().max() < 2e-6  # measured: 6e-7


def test_a_file_of_ours_keeps_its_thresholds(tmp_path):
    network = onnx_bytes.random_iresnet()
    path = tmp_path / "toon_identity.safetensors"
    notes = {"format": identity.FORMAT, "version": identity.VERSION, "people": "4000"}
    save_safetensors(path, network.state_dict(), {**notes, identity.DIFFERENT: "0.31", identity.SAME: "0.52"})
    found = load_identity_network(path)
    assert (found.thresholds, found.measured) == (Thresholds(0.31, 0.52), True)
    assert "different below 0.31, same from 0.52 (measured with it)" in found.describe()
    assert torch.equal(found.network(_crops()), network(_crops()))


def test_fingerprints_tell_networks_apart(tmp_path):
    for name, embedding in (("a", 12), ("b", 12), ("c", 13)):
        torch.save(onnx_bytes.random_iresnet(embedding=embedding).state_dict(), tmp_path / name)
    a, b, c = (load_identity_network(tmp_path / name).fingerprint for name in "abc")
    assert a == b != c


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t, m: ({"conv1": t["conv1.weight"]}, {}), r"holds no recogniser .*w600k_r50\.onnx.*It holds: conv1"),
        (lambda t, m: (t | {"fc.weight": torch.full((12, 40), torch.nan)}, m), "no \\(finite\\) numbers"),
        (lambda t, m: (t | {"fc.weight": torch.ones(5)}, m), "contradict each other"),
        (lambda t, m: (t | {"layer4.0.bn3.weight": torch.ones(0)}, m), "contradict each other"),
        (lambda t, m: (t, m | {"version": "2"}), "version 2, this pack reads 1"),
        (lambda t, m: (t, m | {identity.SAME: "high"}), "lacks the thresholds"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_says_why(tmp_path, change, words):
    metadata = {"format": identity.FORMAT, "version": identity.VERSION, identity.DIFFERENT: "0.2", identity.SAME: "0.3"}
    tensors, notes = change(onnx_bytes.random_iresnet().state_dict(), metadata)
    save_safetensors(tmp_path / "x.safetensors", tensors, notes)
    with pytest.raises(UserError, match=rf"^'x\.safetensors' .*{words}"):
        load_identity_network(tmp_path / "x.safetensors")


# Crops and embeddings


def test_crops_are_arcfaces_at_the_networks_side(network):
    crops = network.crops(pictures(), marks())
    assert torch.equal(crops, take(pictures(), alignment.arcface(marks(), SIDE)))
    assert crops.shape == (1, 3, SIDE, SIDE)


def test_the_five_points_land_on_their_places(network):
    """White discs on a black picture: their middles in the crop are ArcFace's, within half a pixel of 112."""
    places = torch.tensor(alignment.ARCFACE_POINTS) + 0.5
    wide = replace(network, network=onnx_bytes.random_iresnet((1, 1, 1, 1), (1, 1, 1, 1), 2, 112))
    y, x = torch.meshgrid(torch.arange(300) + 0.5, torch.arange(300) + 0.5, indexing="ij")
    for index in range(5):
        turned = places @ torch.tensor([[1.6, 0.9], [-0.9, 1.6]]) + torch.tensor([140.0, 20.0])
        disc = ((x - turned[index, 0]).square() + (y - turned[index, 1]).square() < 25).float()
        crop = wide.crops(disc.expand(1, 3, -1, -1), Landmarks(turned[None], torch.ones(1), (300, 300)))[0, 0]
        grid = torch.arange(112) + 0.5
        middle = torch.stack([(crop.sum(0) * grid).sum(), (crop.sum(1) * grid).sum()]) / crop.sum()
        assert (middle - places[index]).abs().max() < 0.5  # measured: 0.1


@pytest.mark.parametrize("markup", [68, 478])
def test_richer_markups_are_reduced_to_five_points(network, markup):
    points = torch.rand(1, markup, 2, generator=torch.Generator().manual_seed(4)) * 100 + 20
    five = alignment.convert_points(points, 5)
    rich, plain = (network.crops(pictures(), marks(p)) for p in (points, five))
    assert torch.allclose(rich, plain, atol=1e-6)


def test_one_picture_goes_with_many_landmarks_and_frames_without_a_face_take_a_neighbours(network):
    points = torch.cat([FIVE, torch.full_like(FIVE, torch.nan), FIVE + 9])
    crops = network.crops(pictures(), marks(points))
    assert len(crops) == 3
    assert torch.equal(crops[1], crops[0])
    with pytest.raises(UserError, match="None of these frames holds a face"):
        network.crops(pictures(), marks(points[1:2]))


def test_pictures_of_0_to_1_reach_the_network_as_minus_1_to_1(network):
    direct = torch.nn.functional.normalize(network.network(_crops(2) * 2 - 1))
    assert torch.allclose(network.embed(_crops(2)), direct, atol=1e-6)
    assert torch.equal(network.maps(_crops(2))[0], network.network.maps(_crops(2) * 2 - 1)[0])


def test_embeddings_have_length_one_and_no_frames_give_none(network):
    assert torch.allclose(network.embed(_crops(3)).norm(dim=1), torch.ones(3))
    assert network.embed(_crops(0)).shape == (0, 12)


def test_large_batches_are_the_same_in_parts(network, monkeypatch):
    whole = network.embed(_crops(5)), *network.maps(_crops(5))
    monkeypatch.setattr(identity, "AT_ONCE", 2)
    parts = network.embed(_crops(5)), *network.maps(_crops(5))
    for a, b in zip(whole, parts, strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_a_look_is_embedding_and_maps(network):
    embedding, maps = network.look(_crops(2))
    assert torch.equal(embedding, network.embed(_crops(2)))
    assert all(map(torch.equal, maps, network.maps(_crops(2))))
    assert [tuple(m.shape) for m in maps] == [(2, 4, 16, 16), (2, 6, 8, 8), (2, 8, 4, 4), (2, 10, 2, 2)]


def test_gradients_reach_the_picture_through_crop_and_network(network):
    picture = pictures().requires_grad_()
    other = network.embed(_crops())
    (1 - identity.similarity(network.embed(network.crops(picture, marks())), other)).sum().backward()
    assert picture.grad.isfinite().all()
    inside = picture.grad[..., 60:100, 60:95].abs().mean()
    assert inside > 0
    assert picture.grad[..., :5, :5].abs().max() == 0


@pytest.mark.parametrize("shape", [(1, 3, 31, 32), (3, 32, 32), (1, 1, 32, 32)])
def test_crops_of_another_shape_are_refused(network, shape):
    with pytest.raises(UserError, match=r"'test' looks at crops \[B, 3, 32, 32\]; got"):
        network.embed(torch.zeros(shape))


def test_moving_makes_a_copy_and_staying_does_not(network):
    assert network.to("cpu") is network
    moved = network.to("meta")
    assert moved.network.fc.weight.device.type == "meta"
    assert network.network.fc.weight.device.type == "cpu"


# Similarity


def test_similarity_is_the_cosine_and_one_goes_with_many():
    a = torch.tensor([[1.0, 0.0]])
    b = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-0.6, 0.8]])
    assert torch.allclose(identity.similarity(a, b), torch.tensor([1.0, 0.0, -0.6]))
    with pytest.raises(UserError, match="first faces: 2, second faces: 3"):
        identity.similarity(a.expand(2, -1), b)


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(-1, "different"), (0.1999, "different"), (0.2, "uncertain"), (0.2799, "uncertain"), (0.28, "same"), (1, "same")],
)  # fmt: skip
def test_verdicts_at_and_around_the_thresholds(value, verdict):
    assert identity.PUBLISHED.verdict(value) == verdict


def test_a_single_threshold_leaves_nothing_uncertain():
    both = Thresholds(0.4, 0.4)
    assert [both.verdict(value) for value in (0.39, 0.4)] == ["different", "same"]


# Comparing


@pytest.mark.skipif(not identity.DEFAULT.is_file(), reason="the embedded recogniser is not there")
def test_the_embedded_network_knows_toon_people_apart():
    """Three people it was not trained with, each in two moments; after 200 steps of training 0.61 and 0.54."""
    network, world = load_identity_network(), ToonWorld.load()
    assert network.measured and network.side == 112
    people = [scene(1_000_000 + number) for number in (12, 27, 31)]
    drawn = [world.render(person.varied(moment), 112) for moment in (1, 2) for person in people]
    points = torch.stack([each.landmarks68 for each in drawn])
    seen = torch.stack([each.picture for each in drawn])
    embeddings = network.embed(network.crops(seen, Landmarks(points, torch.ones(6), (112, 112))))
    alike = embeddings[:3] @ embeddings[3:].mT
    strangers = alike[~torch.eye(3, dtype=torch.bool)]
    assert alike.diagonal().min() > strangers.max()


def test_the_same_picture_is_the_same_person_and_another_is_less_so(network):
    twice = pictures(2)
    found = identity.compare(network, (twice, twice[:1]), (marks(), marks()))
    assert found.similarities[0] == pytest.approx(1.0, abs=1e-6)
    assert found.similarities[1] < 1
    assert found.verdicts[0] == "same"
    assert [len(crops) for crops in found.crops] == [2, 1]


def test_pairs_without_a_face_have_no_similarity(network):
    points = torch.cat([FIVE, torch.full_like(FIVE, torch.nan)])
    found = identity.compare(network, (pictures(), pictures()), (marks(points), marks()))
    assert found.similarities.isnan().tolist() == [False, True]
    assert found.verdicts == ["same", identity.NO_FACE]


def test_crops_without_landmarks_are_taken_whole(network):
    crops = network.crops(pictures(), marks())
    found = identity.compare(network, (crops, pictures()), (None, marks()))
    assert torch.equal(found.crops[0], crops)
    assert found.similarities[0] == pytest.approx(1.0, abs=1e-6)
    with pytest.raises(UserError, match="Pictures of 140 × 150 pixels are no face crops"):
        identity.compare(network, (pictures(), pictures()), (None, marks()))


@pytest.mark.parametrize("side", [96, 16])
def test_crops_of_another_size_are_resized_about_their_middle(network, side):
    def ramp(side: int) -> Tensor:
        return ((torch.arange(side) + 0.5) / side).expand(1, 3, side, side)

    difference = network.resized(ramp(side)) - ramp(SIDE)
    assert difference[..., 2:-2].abs().max() < 1e-5  # measured: 1e-7; at the edge the ramp ends


def test_comparing_tells_how_far_it_is_and_can_be_stopped(network, monkeypatch):
    monkeypatch.setattr(identity, "AT_ONCE", 2)
    told = []
    identity.compare(network, (pictures(3), pictures()), (marks(), marks()), lambda *state: told.append(state))
    assert told == [(2, 4), (3, 4), (4, 4)]


def test_numbers_of_faces_that_do_not_go_together_are_refused(network):
    with pytest.raises(UserError, match="first faces: 2, second faces: 3"):
        identity.compare(network, (pictures(2), pictures(3)), (marks(), marks()))


def _crops(count: int = 1) -> Tensor:
    return torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(5))
