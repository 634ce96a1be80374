"""The texture nodes as ComfyUI calls them, and the command that trains without it."""

from __future__ import annotations

import json
import shutil
from functools import partial

import pack
import pytest
import torch
from node_calls import call, refuses
from PIL import Image
from portrait_rig.__main__ import main
from portrait_rig.core.face.models import load_face_model
from portrait_rig.core.face.uv import albedo_maps
from portrait_rig.core.methods import texture_gan
from portrait_rig.core.methods.fit import FitSettings
from portrait_rig.core.methods.texture_gan import load_texture_gan
from portrait_rig.headless import train_texture
from portrait_rig.nodes import folders, host, texture_train
from portrait_rig.nodes.texture import FREE, OWN, ApplyTexture, LoadTextureGan, SampleTexture, UnwrapTexture
from portrait_rig.nodes.texture_train import PORTRAITS, TrainTextureGan
from portrait_rig.nodes.toon import ToonPortrait

TINY = {"resolution": "16", "batch": 2, "channel_base": 128, "channel_max": 8, "latent_size": 8, "steps": 2}
COMMAND = ["--resolution", "16", "--batch", "2", "--channel-base", "128", "--channel-max", "8", "--latent", "8",
           "--steps", "2"]  # fmt: skip

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture(scope="module")
def portrait():
    """(image, face_params) of a toon."""
    out = call(ToonPortrait, size=64, seed=7)
    return out[0], out[2]


@pytest.fixture(scope="module")
def gan(head):
    return call(LoadTextureGan, file=OWN, texture_size=16, face_model=head)[0]


def maps(count=2, size=24):
    return torch.rand(count, size, size, 3, generator=torch.Generator().manual_seed(0))


def test_what_needs_no_file(head):
    own, about = call(LoadTextureGan, file=OWN, texture_size=32, face_model=head)
    assert own.size == (32, 32) and own.latent_size == len(head.albedo) and "linear basis" in about
    free, about = call(LoadTextureGan, file=FREE, texture_size=16, face_model=head)
    assert free.latent_size == 3 * 16 * 16 and "free map" in about
    for file in (OWN, FREE):
        refuses("is made from a face model. Connect one", LoadTextureGan, file=file)
    assert LoadTextureGan.fingerprint_inputs(file=OWN) == OWN


def test_a_file_in_the_models_folder(gan, head, home, monkeypatch):
    from portrait_rig.core.checkpoints import save_safetensors

    monkeypatch.setattr(folders, "model_path", lambda name, *_: home / name)
    tensors, metadata = texture_gan.packed(gan)
    del metadata["face_model"]
    save_safetensors(home / "x.safetensors", tensors, metadata)
    loaded, about = call(LoadTextureGan, file="x.safetensors", face_model=head)
    assert loaded.id == gan.id and loaded.layout == "toon-head" and "UV layout of 'toon-head'" in about
    assert "unknown UV layout" in call(LoadTextureGan, file="x.safetensors")[1]
    assert not any(tensor.is_inference() for tensor in loaded.source.state_dict().values())


def test_a_missing_file_is_a_sentence():
    refuses("'nobody.safetensors' is missing. Put it into", LoadTextureGan, file="nobody.safetensors")


def test_samples_and_their_latents(gan):
    found, latent = call(SampleTexture, texture_gan=gan, seed=5, count=5)
    assert found.shape == (5, 16, 16, 3) and found.min() >= 0 and found.max() <= 1
    assert latent.w.shape == (5, 1, gan.latent_size) and latent.generator == gan.id
    again, same = call(SampleTexture, texture_gan=gan, seed=99, latent=latent[torch.tensor([3, 1])])
    torch.testing.assert_close(again, found[[3, 1]])
    assert torch.equal(same.w, latent.w[[3, 1]])
    usual = call(SampleTexture, texture_gan=gan, count=2, truncation=0.0)[0]
    assert torch.equal(usual[0], usual[1])


def test_a_foreign_latent_is_refused(gan, head):
    other = call(LoadTextureGan, file=FREE, texture_size=16, face_model=head)[0]
    latent = call(SampleTexture, texture_gan=other)[1]
    refuses("belongs to generator 'free map of toon-head'", SampleTexture, texture_gan=gan, latent=latent)
    empty = call(SampleTexture, texture_gan=gan)[1][torch.zeros(0, dtype=torch.int64)]
    refuses("no latent to draw", SampleTexture, texture_gan=gan, latent=empty)


def test_maps_are_put_on_faces(portrait):
    (worn,) = call(ApplyTexture, face_params=portrait[1], texture=maps(3))
    assert len(worn) == 3 and torch.equal(worn.texture, maps(3).permute(0, 3, 1, 2))
    assert torch.equal(worn.angles, portrait[1].angles.expand(3, -1)) and portrait[1].texture is None
    (one,) = call(ApplyTexture, face_params=worn, texture=maps(1))
    assert len(one) == 3 and one.texture.shape[0] == 1
    refuses("24 × 12 texels", ApplyTexture, face_params=portrait[1], texture=maps(1)[:, :12])
    refuses("face params: 3, textures: 2", ApplyTexture, face_params=worn, texture=maps(2))


def test_unwrapping_a_portrait(portrait, head):
    image, params = portrait
    found, visible, worn = call(UnwrapTexture, image=image, face_params=params, face_model=head, texture_size=32)
    assert found.shape == (1, 32, 32, 3) and visible.shape == (1, 32, 32)
    assert 0.05 < visible.mean() < 0.6
    torch.testing.assert_close(worn.texture.permute(0, 2, 3, 1), found, atol=1e-6, rtol=0)
    mask = torch.zeros(8, 8)
    hidden = call(UnwrapTexture, image=image, face_params=params, face_model=head, texture_size=32, mask=mask)
    assert hidden[1].max() == 0
    bare = call(UnwrapTexture, image=image, face_params=params, face_model=head, texture_size=32, fill="nothing",
                delight=False)  # fmt: skip
    assert (bare[0][visible == 0] == 0).all() and bare[2].light[0, 1:].abs().max() == 0
    both = call(UnwrapTexture, image=image.expand(2, -1, -1, -1), face_params=params, face_model=head,
                texture_size=16, one_texture=True)  # fmt: skip
    assert both[0].shape == (1, 16, 16, 3) and len(both[2]) == 1


def test_unwrapping_can_be_cancelled(portrait, head, monkeypatch):
    def cancelled():
        raise host.Cancelled

    monkeypatch.setattr(host, "check_cancelled", cancelled)
    with pytest.raises(host.Cancelled):
        call(UnwrapTexture, image=portrait[0], face_params=portrait[1], face_model=head, texture_size=16)


def test_maps_of_the_graph_become_a_generator(head, home):
    found, sheet, report = call(TrainTextureGan, face_model=head, images=maps(), name="mine", **TINY)
    assert found.id.name == "mine" and found.layout == "toon-head" and found.size == (16, 16)
    assert "2 pictures of the graph" in report and "UV layout of 'toon-head'" in report
    assert sheet.shape[0] == 1 and sheet.max() <= 1
    saved = load_texture_gan(home / "output" / "training" / "mine" / "texture_gan.safetensors")
    assert saved.id == found.id and saved.layout == "toon-head"
    drawn, _ = call(SampleTexture, texture_gan=found, count=2)
    assert drawn.shape == (2, 16, 16, 3)
    _, _, more = call(TrainTextureGan, face_model=head, images=maps(), name="mine", **{**TINY, "steps": 3})
    assert "steps 2 to 3" in more


def test_a_run_of_another_face_model_is_not_gone_on_with(head):
    call(TrainTextureGan, face_model=head, images=maps(), name="a", **TINY)
    other = load_face_model()
    other.layout = "ict-facekit"
    refuses("begun with maps of 'toon-head', not of 'ict-facekit'", TrainTextureGan, face_model=other, images=maps(),
            name="a", **TINY)  # fmt: skip


@pytest.fixture
def portraits(home, monkeypatch):
    """The bundled photograph with its points, and two pictures that cannot be used; fits are short."""
    for module in (texture_train, train_texture):
        monkeypatch.setattr(module, "FitSettings", partial(FitSettings, landmark_steps=3, pixel_steps=0))
        monkeypatch.setattr(module, "find_automatically", lambda pictures: [[] for _ in pictures])
    place = home / "input" / "people"
    (place / "more").mkdir(parents=True)
    shutil.copy(pack.ROOT / "examples" / "astronaut.jpg", place / "more" / "anna.jpg")
    shutil.copy(pack.ROOT / "examples" / "astronaut.json", place / "more" / "anna.json")
    Image.new("RGB", (32, 32)).save(place / "bob.png")
    (place / "carl.jpg").write_bytes(b"x")
    return place


def test_portraits_are_fitted_and_unwrapped_first(head, home, portraits):
    found, _, report = call(
        TrainTextureGan, face_model=head, folder="people", folder_holds=PORTRAITS, name="p", **TINY
    )
    assert found.size == (16, 16) and "portraits left out: bob.png (No face was found in the picture" in report
    assert "carl.jpg (not a readable picture)" in report
    (made,) = (home / "output" / "training" / "p" / "maps").rglob("*.png")
    assert made.relative_to(home / "output" / "training" / "p" / "maps").as_posix() == "more/anna.jpg.png"
    with Image.open(made) as picture:
        assert picture.size == (16, 16)
    state = made.stat().st_mtime_ns
    call(TrainTextureGan, face_model=head, folder="people", folder_holds=PORTRAITS, name="p", **TINY)
    assert made.stat().st_mtime_ns == state  # what is there already stays


def test_training_refusals(head, home):
    (home / "input" / "empty").mkdir()
    refuses("has no name", TrainTextureGan, face_model=head, images=maps(), name=" ", **TINY)
    refuses("holds no portraits", TrainTextureGan, face_model=head, folder="empty", folder_holds=PORTRAITS, **TINY)
    refuses("holds no pictures", TrainTextureGan, face_model=head, folder="empty", **TINY)
    (home / "input" / "people").mkdir()
    Image.new("RGB", (8, 8)).save(home / "input" / "people" / "x.png")
    (home / "input" / "people" / "x.json").write_text(json.dumps([None]))
    refuses("None of the 1 portraits .* 'x.png': No face was found in the picture", TrainTextureGan, face_model=head,
            folder="people", folder_holds=PORTRAITS, **TINY)  # fmt: skip
    assert TrainTextureGan.fingerprint_inputs(folder="people") != TrainTextureGan.fingerprint_inputs(folder="empty")


# The commands


def test_the_command_takes_maps(home, head, capsys):
    place = home / "maps"
    place.mkdir()
    for number, one in enumerate(albedo_maps(head, torch.eye(len(head.albedo))[:3], (20, 20))):
        pixels = (one.clamp(0, 1).permute(1, 2, 0) * 255).byte().numpy()
        Image.fromarray(pixels).save(place / f"{number}.png")
    run = home / "mine"
    assert main(["train", "texture-gan", "--data", str(place), "--out", str(run), *COMMAND]) == 0
    told = capsys.readouterr()
    assert told.out.strip() == str(run / "texture_gan.safetensors") and "3 pictures of the folder 'maps'" in told.err
    assert load_texture_gan(run / "texture_gan.safetensors").layout == "toon-head"


def test_the_command_takes_portraits(home, portraits, capsys):
    run = home / "run"
    arguments = ["train", "texture-gan", "--portraits", str(portraits), "--out", str(run), *COMMAND]
    assert main(arguments) == 0
    assert "Left out: bob.png" in capsys.readouterr().err and len(list((run / "maps").rglob("*.png"))) == 1
    assert main([*arguments[:3], str(home / "nowhere"), *arguments[4:]]) == 1
    assert "holds no portraits" in capsys.readouterr().err


def test_the_limits_of_sockets_are_those_of_core():
    inputs = {one.id: one.options for one in UnwrapTexture.GET_SCHEMA().inputs}
    assert (inputs["texture_size"]["min"], inputs["texture_size"]["max"]) == (16, 4096)
    assert inputs["fill"]["options"] == ["mirror", "spread", "nothing"]
