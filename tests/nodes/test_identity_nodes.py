"""Load Identity Network and Identity Similarity as ComfyUI calls them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import untrained
from portrait_rig.core.errors import UserError
from portrait_rig.core.methods import identity
from portrait_rig.core.types import Landmarks
from portrait_rig.nodes import host
from portrait_rig.nodes.identity import IdentitySimilarity, LoadIdentityNetwork

FIVE = torch.tensor([[20.0, 25.0], [42.0, 26.0], [31.0, 38.0], [22.0, 48.0], [41.0, 49.0]])


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A host whose model folders are below tmp_path."""
    monkeypatch.setattr(host.folder_paths, "models_dir", str(tmp_path))
    monkeypatch.setattr(host.folder_paths, "folder_names_and_paths", {})
    return tmp_path


@pytest.fixture
def network():
    return replace(untrained.recogniser(seed=1), thresholds=identity.Thresholds(0.9999, 0.9999))


def pictures(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 70, 64, 3, generator=torch.Generator().manual_seed(seed))


def marks(*points: torch.Tensor) -> Landmarks:
    return Landmarks(torch.stack(points), torch.ones(len(points)), (70, 64))


def call(node, **inputs):
    with torch.inference_mode():
        return dict(zip(node.RETURN_NAMES, node.EXECUTE_NORMALIZED(**inputs).args, strict=True))


def saved(network: identity.IdentityNetwork, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(network.network.state_dict(), path)


def test_files_of_both_folders_are_offered_with_the_embedded_one_first(home, network):
    saved(network, home / "portrait_rig" / "backbone.pth")
    pack = home / "insightface" / "models" / "buffalo_l"
    pack.mkdir(parents=True)
    (pack / "w600k_r50.onnx").touch()
    (pack / "readme.txt").touch()
    options = LoadIdentityNetwork.GET_SCHEMA().inputs[0].options["options"]
    assert options[0] == identity.DEFAULT.name
    assert {"backbone.pth", str(Path("models/buffalo_l/w600k_r50.onnx"))} <= set(options)
    assert not any(name.endswith("readme.txt") for name in options)


def test_a_network_is_loaded_described_and_fit_for_gradients(home, network):
    saved(network, home / "portrait_rig" / "backbone.pth")
    out = call(LoadIdentityNetwork, file="backbone.pth")
    assert out["about"].startswith("backbone: iresnet r(1-1-1-1)")
    assert not out["identity_net"].network.fc.weight.is_inference()


def test_a_replaced_file_is_another(home, network):
    path = home / "portrait_rig" / "backbone.pth"
    saved(network, path)
    before = LoadIdentityNetwork.fingerprint_inputs(file="backbone.pth")
    path.write_bytes(path.read_bytes() + b"x")
    assert LoadIdentityNetwork.fingerprint_inputs(file="backbone.pth") != before


def test_a_missing_file_says_whose_it_is(home):
    with pytest.raises(UserError, match=r"'w600k_r50\.onnx' is missing.*insightface.*non-commercial research only"):
        call(LoadIdentityNetwork, file="w600k_r50.onnx")


def test_the_same_face_in_one_pair(network):
    out = call(
        IdentitySimilarity, image_a=pictures(1), image_b=pictures(1), identity_net=network,
        landmarks_a=marks(FIVE), landmarks_b=marks(FIVE),
    )  # fmt: skip
    assert out["similarity"] == pytest.approx(1.0, abs=1e-4)
    assert out["verdict"] == "same"
    assert json.loads(out["similarities"]) == [pytest.approx(1.0, abs=1e-4)]
    assert out["crops"].shape == (1, 112, 224, 3)
    assert torch.equal(out["crops"][:, :, :112], out["crops"][:, :, 112:])


def test_one_picture_against_a_batch_with_a_frame_that_shows_nobody(network):
    batch = torch.cat([pictures(1), pictures(2, seed=5)])
    nobody = torch.full_like(FIVE, torch.nan)
    out = call(
        IdentitySimilarity, image_a=pictures(1), image_b=batch, identity_net=network, landmarks_a=marks(FIVE),
        landmarks_b=marks(FIVE, FIVE, nobody),
    )  # fmt: skip
    values = json.loads(out["similarities"])
    assert values[0] == 1.0 and -1 <= values[1] < 0.9999 and values[2] is None
    assert out["verdict"].splitlines() == ["1: same", "2: different", "3: no face"]
    assert out["similarity"] == pytest.approx((values[0] + values[1]) / 2)
    assert out["crops"].shape == (3, 112, 224, 3)


def test_only_strangers_to_the_finder_give_zero(network):
    nobody = torch.full_like(FIVE, torch.nan)
    out = call(
        IdentitySimilarity, image_a=pictures(2), image_b=pictures(2), identity_net=network,
        landmarks_a=marks(FIVE, nobody), landmarks_b=marks(nobody, FIVE),
    )  # fmt: skip
    assert out["similarity"] == 0.0 and out["similarities"] == "[null, null]"


def test_crops_of_align_face_need_no_landmarks(network):
    crop = torch.rand(1, 96, 96, 3)
    assert call(IdentitySimilarity, image_a=crop, image_b=crop, identity_net=network)["verdict"] == "same"
    with pytest.raises(UserError, match="64 × 70 pixels are no face crops"):
        call(IdentitySimilarity, image_a=crop, image_b=pictures(1), identity_net=network)


def test_landmarks_of_other_pictures_are_refused(network):
    other = Landmarks(FIVE[None], torch.ones(1), (128, 128))
    with pytest.raises(UserError, match="belongs to pictures of 128 × 128"):
        call(IdentitySimilarity, image_a=pictures(1), image_b=pictures(1), identity_net=network, landmarks_a=other)


def test_batches_that_do_not_go_together_are_refused(network):
    with pytest.raises(UserError, match="first faces: 2, second faces: 3"):
        call(
            IdentitySimilarity, image_a=pictures(2), image_b=pictures(3), identity_net=network,
            landmarks_a=marks(FIVE), landmarks_b=marks(FIVE),
        )  # fmt: skip


def test_cancelling_is_heard(network, monkeypatch):
    def stop(self, step, total=None, **kwargs):
        raise host.Cancelled

    monkeypatch.setattr(host.Watch, "__call__", stop)
    with pytest.raises(host.Cancelled):
        call(
            IdentitySimilarity, image_a=pictures(1), image_b=pictures(1), identity_net=network,
            landmarks_a=marks(FIVE), landmarks_b=marks(FIVE),
        )  # fmt: skip
