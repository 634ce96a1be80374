"""ComfyUI's core nodes without ComfyUI: files in and out."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from portrait_rig.core.errors import UserError
from portrait_rig.core.types import Mesh
from portrait_rig.headless.registry import everything
from portrait_rig.nodes import folders, host


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Inputs and outputs below tmp_path."""
    monkeypatch.setattr(host.folder_paths, "_chosen", {})
    (tmp_path / "input").mkdir()
    folders.use_folders(tmp_path / "input", tmp_path / "output")
    return tmp_path


def node(name, **inputs):
    """Outputs and ui of one node, run as the host runs it."""
    clone = everything().get(name).PREPARE_CLASS_CLONE({"hidden_inputs": {host.io.Hidden.prompt: {"1": "p"}}})
    with torch.inference_mode():
        result = clone.EXECUTE_NORMALIZED(**inputs)
    ui = result.ui or {}
    return result.args, ui if isinstance(ui, dict) else ui.as_dict()


def written(ui, kind="images"):
    return [folders.result_path(item) for item in ui[kind]]


def test_a_picture_survives_saving_and_loading(home):
    images = (torch.rand(2, 6, 5, 3) * 255).round() / 255
    _, ui = node("SaveImage", images=images, filename_prefix="a/b")
    files = written(ui)
    assert [file.name for file in files] == ["b_00001_.png", "b_00002_.png"]
    for file, image in zip(files, images, strict=True):
        (loaded, mask), _ = node("LoadImage", image=str(file))
        assert torch.allclose(loaded[0], image, atol=1e-3) and mask.shape == (1, 64, 64)
    with Image.open(files[0]) as saved:
        assert json.loads(saved.text["prompt"]) == {"1": "p"}


def test_transparency_becomes_the_mask(home):
    pixels = np.zeros((4, 3, 4), np.uint8)
    pixels[..., 3] = 255
    pixels[0, 0, 3] = 0
    Image.fromarray(pixels).save(home / "t.png")
    (image, mask), _ = node("LoadImage", image=str(home / "t.png"))
    assert image.shape == (1, 4, 3, 3) and mask.shape == (1, 4, 3)
    assert mask[0, 0, 0] == 1 and mask.sum() == 1
    (alpha,), _ = node("LoadImageMask", image=str(home / "t.png"), channel="alpha")
    assert torch.equal(alpha, mask)


def test_the_cameras_turn_and_an_animation(home):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter
    Image.new("RGB", (6, 4)).save(home / "turned.jpg", exif=exif)
    assert node("LoadImage", image=str(home / "turned.jpg"))[0][0].shape == (1, 6, 4, 3)
    frames = [Image.new("RGB", (4, 4), (shade, 0, 0)) for shade in (0, 100, 200)]
    frames[0].save(home / "moving.gif", save_all=True, append_images=frames[1:])
    image, mask = node("LoadImage", image=str(home / "moving.gif"))[0]
    assert image.shape == (3, 4, 4, 3) and len(mask) == 3 and image[2, 0, 0, 0] > image[1, 0, 0, 0] > image[0, 0, 0, 0]


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + bytes(20)])
def test_a_broken_picture_is_a_sentence(home, content):
    (home / "broken.png").write_bytes(content)
    with pytest.raises(UserError, match=r"broken\.png cannot be read as a picture"):
        node("LoadImage", image=str(home / "broken.png"))


def test_previews_go_to_their_own_folder(home):
    _, ui = node("PreviewImage", images=torch.rand(2, 4, 4, 3))
    files = written(ui)
    assert len(files) == 2 and all(f.parent == home / "output" / "previews" and f.is_file() for f in files)


def test_a_clip_with_sound_survives(home):
    time = torch.linspace(0, 1, 16000)
    audio = {"waveform": 0.5 * torch.sin(440 * 2 * torch.pi * time)[None, None], "sample_rate": 16000}
    frames = torch.zeros(25, 32, 48, 3)
    frames[:, :, :24, 0] = torch.linspace(0, 1, 25)[:, None, None]
    (video,), _ = node("CreateVideo", images=frames, fps=25.0, audio=audio)
    _, ui = node("SaveVideo", video=video, filename_prefix="clip", format="auto", codec="auto")
    (file,) = written(ui)
    (loaded,), _ = node("LoadVideo", file=str(file))
    assert loaded.get_dimensions() == (48, 32)
    (images, sound, fps), _ = node("GetVideoComponents", video=loaded)
    assert images.shape == frames.shape and fps == 25.0
    assert (images - frames).abs().mean() < 0.02  # H.264 loses a little: 0.006 measured
    assert sound["sample_rate"] == 16000
    spectrum = torch.fft.rfft(sound["waveform"][0, 0, 2000:14000]).abs()
    assert spectrum.argmax().item() * 16000 / 12000 == pytest.approx(440, abs=2)


def test_a_clip_without_sound(home):
    video = host.InputImpl.VideoFromComponents(
        host.Types.VideoComponents(images=torch.zeros(3, 16, 16, 3), frame_rate=Fraction(30000, 1001))
    )
    _, ui = node("SaveVideo", video=video, filename_prefix="clip", format="mp4", codec="h264")
    (loaded,), _ = node("LoadVideo", file=str(written(ui)[0]))
    (images, sound, fps), _ = node("GetVideoComponents", video=loaded)
    assert len(images) == 3 and sound is None and fps == pytest.approx(29.97, abs=0.01)


def test_odd_sides_are_refused_before_a_file_exists(home):
    (video,), _ = node("CreateVideo", images=torch.zeros(2, 15, 16, 3), fps=25.0)
    with pytest.raises(UserError, match="16x15"):
        node("SaveVideo", video=video, filename_prefix="clip", format="auto", codec="auto")
    assert not (home / "output").exists() or not list((home / "output").rglob("*.mp4"))


def test_a_failure_while_writing_leaves_nothing(home):
    class Broken:
        def get_dimensions(self):
            return 16, 16

        def save_to(self, path, *_):
            with open(path, "wb") as file:
                file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        node("SaveVideo", video=Broken(), filename_prefix="clip", format="auto", codec="auto")
    assert list((home / "output").iterdir()) == []


def test_sound_survives_saving_and_loading(home):
    stereo = torch.rand(1, 2, 4410) * 2 - 1
    _, ui = node("SaveAudio", audio={"waveform": stereo, "sample_rate": 44100}, filename_prefix="s")
    (file,) = written(ui, "audio")
    (sound,), _ = node("LoadAudio", audio=str(file))
    assert sound["sample_rate"] == 44100
    assert (sound["waveform"] - stereo).abs().max() < 2 / 2**15  # 16 bits a sample


def test_a_file_without_sound_is_a_sentence(home):
    (video,), _ = node("CreateVideo", images=torch.zeros(2, 16, 16, 3), fps=25.0)
    _, ui = node("SaveVideo", video=video, filename_prefix="clip", format="auto", codec="auto")
    with pytest.raises(UserError, match="has no sound"):
        node("LoadAudio", audio=str(written(ui)[0]))
    (home / "x.wav").write_bytes(b"no sound")
    with pytest.raises(UserError, match=r"x\.wav cannot be read"):
        node("LoadAudio", audio=str(home / "x.wav"))


@pytest.mark.parametrize("name", ["SaveGLB", "PortraitRigSaveMesh"])
def test_a_mesh_opens_elsewhere_with_its_texture(home, name):
    mesh = Mesh(
        vertices=torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]),
        faces=torch.tensor([[0, 1, 2], [0, 2, 3]]),
        uv=torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]]),
        texture=torch.rand(3, 16, 16),
    )
    _, ui = node(name, mesh=host.mesh_out(mesh), filename_prefix="face")
    (file,) = written(ui, "3d")
    loaded = trimesh.load(file, force="mesh")
    assert loaded.vertices.shape == (4, 3) and loaded.visual.material.baseColorTexture.size == (16, 16)
    assert np.allclose(loaded.visual.uv, mesh.uv.numpy())


def test_values_and_texts(home):
    assert node("PrimitiveInt", value=3)[0] == (3,)
    assert node("PreviewAny", source="text")[1] == {"text": ("text",)}
    assert json.loads(node("PreviewAny", source={"a": [1, 2.5]})[1]["text"][0]) == {"a": [1, 2.5]}
