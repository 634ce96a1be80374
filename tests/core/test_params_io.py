from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from portrait_rig.core.errors import UserError
from portrait_rig.core.face.params_io import load_face_params, save_face_params
from portrait_rig.core.types import Camera, FaceParams
from safetensors.torch import load_file, save_file


def params(frames: int = 3, texture: bool = True, joints: int = 2) -> FaceParams:
    draw = torch.Generator().manual_seed(frames)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw)

    camera = Camera(random(frames), random(frames, 2), (120, 90), perspective=False)
    return FaceParams(
        layout="toon-head",
        identity=random(1, 5),
        expression=random(frames, 4),
        albedo=random(frames, 0),
        joints=random(frames, joints, 3),
        angles=random(frames, 3),
        translation=random(frames, 3),
        light=random(frames, 9, 3),
        camera=camera,
        texture=random(1, 3, 8, 8) if texture else None,
    )


def rewrite(path, metadata=None, **tensors):
    from safetensors import safe_open

    with safe_open(str(path), "pt") as file:
        known = file.metadata()
    kept = {name: t for name, t in (load_file(path) | tensors).items() if t is not None}
    save_file(kept, path, {k: v for k, v in (known | (metadata or {})).items() if v is not None})


@pytest.mark.parametrize(("texture", "joints"), [(True, 2), (False, 0)])
def test_what_is_saved_comes_back(tmp_path, texture, joints):
    before = params(texture=texture, joints=joints)
    save_face_params(before, tmp_path / "fit.safetensors")
    after = load_face_params(tmp_path / "fit.safetensors")
    for field in fields(FaceParams):
        old, new = getattr(before, field.name), getattr(after, field.name)
        if isinstance(old, torch.Tensor):
            assert torch.equal(old, new), field.name
        elif field.name != "camera":
            assert old == new, field.name
    assert torch.equal(before.camera.focal, after.camera.focal)
    assert torch.equal(before.camera.principal, after.camera.principal)
    assert (before.camera.size, before.camera.perspective) == (after.camera.size, after.camera.perspective)


def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "fit.safetensors"
    save_face_params(params(2), path)
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(UserError, match="No space left"):
        save_face_params(params(3), path)
    assert len(load_face_params(path)) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["fit.safetensors"]


def test_a_foreign_file_is_named(tmp_path):
    save_file({"weight": torch.zeros(3)}, tmp_path / "lora.safetensors")
    with pytest.raises(UserError, match=r"'lora\.safetensors' holds no face parameters"):
        load_face_params(tmp_path / "lora.safetensors")


@pytest.mark.parametrize(
    ("metadata", "tensors", "words"),
    [
        ({"version": "2"}, {}, "of version 2, this pack reads 1"),
        ({"layout": None}, {}, "lacks its camera or layout"),
        ({"camera_width": "wide"}, {}, "lacks its camera or layout"),
        ({}, {"light": None}, "lacks light"),
        ({}, {"light": torch.zeros(3, 8, 3)}, r"light of shape \[3, 8, 3\]; expected \[3, 9, 3\]"),
        ({}, {"identity": torch.zeros(2, 5)}, r"identity of shape \[2, 5\]; expected \[3, any\]"),
        ({}, {"angles": torch.zeros(3)}, "angles of shape"),
        ({}, {"angles": torch.tensor(1.0)}, r"of shape .* expected \[0"),
        ({}, {"angles": torch.full((3, 3), torch.nan)}, "angles values that are no"),
        ({}, {"angles": torch.zeros(3, 3, dtype=torch.int64)}, "angles values that are no"),
        ({}, {"texture": torch.zeros(1, 4, 8, 8)}, r"texture of shape \[1, 4, 8, 8\]"),
    ],
)
def test_a_damaged_file_says_what_is_wrong(tmp_path, metadata, tensors, words):
    path = tmp_path / "fit.safetensors"
    save_face_params(params(), path)
    rewrite(path, metadata, **tensors)
    with pytest.raises(UserError, match=words):
        load_face_params(path)


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "fit.safetensors"
    save_face_params(params(), path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"fit\.safetensors"):
        load_face_params(path)


def test_saving_works_in_inference_mode(tmp_path):
    with torch.inference_mode():
        save_face_params(params(), tmp_path / "fit.safetensors")
    assert len(load_face_params(tmp_path / "fit.safetensors")) == 3
