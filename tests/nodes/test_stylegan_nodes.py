"""The nodes that load, save and draw with a StyleGAN, and those that make latents, called as ComfyUI calls them."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import numpy
import pytest
import torch
from node_calls import call, is_image, refuses
from portrait_rig.core.checkpoints import save_safetensors
from portrait_rig.core.networks.generator import Generator, packed
from portrait_rig.core.networks.layers import MappingOptions
from portrait_rig.core.networks.stylegan3 import StyleGan3, StyleGan3Options
from portrait_rig.nodes import folders, host, latent_files, latents, stylegan
from untrained import small

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def default(home, demo):
    """The default's file, which holds `demo` here; the user's folder comes before the pack's."""
    save_safetensors(home / "models" / "portrait_rig" / stylegan.DEFAULT.name, *packed(demo))


def sampled(generator, **options):
    return call(latents.SampleLatent, stylegan=generator, **options)[0]


# Load StyleGAN


def test_a_file_is_described_and_fit_for_gradients(default, demo):
    found, about = call(stylegan.LoadStyleGan)
    assert found.id.name == "toon_stylegan" and found.id.fingerprint == demo.id.fingerprint
    assert "toon_stylegan: StyleGAN2, 64×64, z 32, w 10 × 32" in about
    assert not any(t.is_inference() for t in (*found.network.parameters(), *found.network.buffers()))


def test_the_embedded_generators_are_offered_first_and_no_other_weights(home, monkeypatch):
    weights = home / "weights"
    monkeypatch.setattr(folders, "WEIGHTS", weights)
    tensors, metadata = packed(small())
    for name, content in (("a_stylegan", tensors), ("toon_stylegan", tensors), ("head", {"mean": torch.zeros(3)})):
        save_safetensors(weights / f"{name}.safetensors", content, metadata)
    (weights / "short.safetensors").write_bytes(b"no")
    monkeypatch.setattr(host.folder_paths, "folder_names_and_paths", {})
    save_safetensors(home / "models" / "portrait_rig" / "mine.safetensors", {"any": torch.zeros(3)})
    choices = stylegan.LoadStyleGan.INPUT_TYPES()["required"]["file"][1]["options"]
    assert choices == ["toon_stylegan.safetensors", "a_stylegan.safetensors", "mine.safetensors"]
    assert call(stylegan.LoadStyleGan, file="a_stylegan.safetensors")[0].id.name == "a_stylegan"


def test_a_missing_default_is_offered_and_named(home, monkeypatch):
    monkeypatch.setattr(folders, "WEIGHTS", home / "nowhere")
    monkeypatch.setattr(host.folder_paths, "folder_names_and_paths", {})
    assert stylegan.LoadStyleGan.INPUT_TYPES()["required"]["file"][1]["options"] == ["toon_stylegan.safetensors"]
    refuses("'toon_stylegan.safetensors' is missing", stylegan.LoadStyleGan)


def test_loading_draws_no_random_numbers(default):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    call(stylegan.LoadStyleGan)
    assert torch.equal(torch.rand(4), expected)


def test_a_file_of_the_model_folder(home):
    original = small()
    save_safetensors(home / "models" / "portrait_rig" / "mine.safetensors", *packed(original))
    choices = stylegan.LoadStyleGan.INPUT_TYPES()["required"]["file"][1]["options"]
    assert choices[0] == stylegan.DEFAULT.name and "mine.safetensors" in choices
    found, about = call(stylegan.LoadStyleGan, file="mine.safetensors")
    assert found.id.fingerprint == original.id.fingerprint and found.id.name == "mine"
    assert about.startswith("mine: StyleGAN2, 8×8")


def test_a_file_of_another_packs_folder(home):
    save_safetensors(home / "models" / "stylegan" / "theirs.safetensors", *packed(small()))
    refuses("'theirs.safetensors' is missing", stylegan.LoadStyleGan, file="theirs.safetensors")
    host.folder_paths.folder_names_and_paths["stylegan"] = ([str(home / "models" / "stylegan")], {".safetensors"})
    assert "theirs.safetensors" in stylegan.LoadStyleGan.INPUT_TYPES()["required"]["file"][1]["options"]
    assert call(stylegan.LoadStyleGan, file="theirs.safetensors")[0].id.name == "theirs"


def test_a_replaced_file_is_loaded_anew(home):
    path = home / "models" / "portrait_rig" / "mine.safetensors"
    save_safetensors(path, *packed(small()))
    state = stylegan.LoadStyleGan.fingerprint_inputs
    first = state(file=path.name)
    assert first == state(file=path.name) and state() is None
    path.write_bytes(b"other")
    assert state(file=path.name) != first


def test_what_load_refuses(home):
    place = home / "models" / "portrait_rig"
    refuses(r"'nobody\.pkl' is missing\. Put it into .*portrait_rig", stylegan.LoadStyleGan, file="nobody.pkl")
    save_safetensors(place / "lora.safetensors", {"lora.weight": torch.zeros(3)})
    refuses("'lora.safetensors' holds no StyleGAN2 or StyleGAN3", stylegan.LoadStyleGan, file="lora.safetensors")
    (place / "short.pkl").write_bytes(b"\x80\x04\x95")
    refuses(r"'short\.pkl'", stylegan.LoadStyleGan, file="short.pkl")
    tensors, metadata = packed(small())
    for key in ("init", "latent_space"):
        save_safetensors(place / "odd.safetensors", tensors, {**metadata, key: "["})
        refuses(f"'odd.safetensors' is damaged: its '{key}' is no table", stylegan.LoadStyleGan, file="odd.safetensors")


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_precision_falls_back_in_words(default, precision):
    found, about = call(stylegan.LoadStyleGan, precision=precision)
    if found.precision is None:
        assert f"runs in fp32, since on cpu {precision} is not usable" in about
    else:
        assert precision == "bf16" and "runs in fp32" not in about
        exact = call(stylegan.LoadStyleGan)[0]
        chosen = sampled(exact)
        images = [call(stylegan.GenerateImage, stylegan=g, latent=chosen)[0] for g in (found, exact)]
        assert 0 < (images[0] - images[1]).abs().max() < 0.2  # measured 0.02


def test_compiling_falls_back_in_words(default, monkeypatch):
    def broken(module):
        def call(*arguments):
            raise RuntimeError("no compiler\nat all")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    found, about = call(stylegan.LoadStyleGan, compile=True)
    assert found.compiled is None and about.endswith("runs uncompiled: RuntimeError: no compiler")


def test_a_compiled_generator_draws_through_its_compilation(default, monkeypatch):
    seen = []

    def backend(graph, inputs):
        seen.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend, fullgraph=True))
    found, about = call(stylegan.LoadStyleGan, compile=True)
    assert seen and "uncompiled" not in about
    chosen = sampled(found)
    images = [call(stylegan.GenerateImage, stylegan=g, latent=chosen)[0] for g in (found, found.exact())]
    assert (images[0] - images[1]).abs().max() < 1e-5


# Generate Image


def test_pictures_do_not_depend_on_how_many_are_drawn_together(demo):
    many = sampled(demo, count=5)
    for noise in ("const", "none", "random"):
        one, all_at_once = (
            call(stylegan.GenerateImage, stylegan=demo, latent=many, noise=noise, noise_seed=7, at_once=n)[0]
            for n in (2, 5)
        )
        assert is_image(one, 5, 64, 64)
        assert (one - all_at_once).abs().max() < 1e-5, noise  # measured 1e-6
    last = call(stylegan.GenerateImage, stylegan=demo, latent=many[4:], noise="random", noise_seed=11)[0]
    assert (last[0] - one[4]).abs().max() < 1e-5


def test_noise_modes_and_seeds_differ(demo, pair):
    draw = lambda **options: call(stylegan.GenerateImage, stylegan=demo, latent=pair, **options)[0]  # noqa: E731
    const, none, first, second = (
        draw(), draw(noise="none"), draw(noise="random", noise_seed=1), draw(noise="random", noise_seed=2)
    )  # fmt: skip
    for a, b in ((const, none), (const, first), (first, second), (none, first)):
        assert (a - b).abs().mean() > 0.005
    assert torch.equal(first, draw(noise="random", noise_seed=1))


def test_grey_and_transparent_generators_and_stylegan3(monkeypatch):
    monkeypatch.setattr(host, "SHOWS_PICTURES", True)
    for channels, expected in ((1, 3), (4, 4)):
        generator = small(img_channels=channels)
        drawn = call(stylegan.GenerateImage, stylegan=generator, latent=sampled(generator, truncation=1.0))[0]
        assert is_image(drawn, 1, 8, 8, expected)
    torch.manual_seed(0)
    options = StyleGan3Options(16, (6, 6, 6, 6, 3), MappingOptions(z_dim=8, w_dim=8, num_layers=1))
    alias_free = Generator.of(StyleGan3(options).eval().requires_grad_(False), "sg3")
    drawn = call(stylegan.GenerateImage, stylegan=alias_free, latent=sampled(alias_free), noise="random")[0]
    assert is_image(drawn, 1, 16, 16)


def test_a_cancel_between_chunks(demo, monkeypatch):
    def cancelled():
        raise host.Cancelled

    many = sampled(demo, count=3)
    monkeypatch.setattr(host._mm, "throw_exception_if_processing_interrupted", cancelled)
    with pytest.raises(host.Cancelled):
        call(stylegan.GenerateImage, stylegan=demo, latent=many, at_once=1)


def test_what_generate_refuses(demo, pair):
    refuses("no latent to draw", stylegan.GenerateImage, stylegan=demo, latent=pair[:0])
    other = small()
    refuses(r"'untrained 64²'.*'small'", stylegan.GenerateImage, stylegan=other, latent=pair)
    broken = type(pair)(pair.w * math.nan, pair.generator)
    refuses("drew values that are no numbers", stylegan.GenerateImage, stylegan=demo, latent=broken)
    two = small(img_channels=2)
    refuses("draws 2 channels", stylegan.GenerateImage, stylegan=two, latent=sampled(two))


# Latents


def test_a_sampled_latent_is_the_official_one(demo):
    found = sampled(demo, seed=85, truncation=1.0)
    z = torch.from_numpy(numpy.random.RandomState(85).randn(1, 32).astype(numpy.float32))
    assert (found.w - demo.network.mapping(z)).abs().max() < 1e-6
    near = sampled(demo, seed=85, truncation=0.0, cutoff=3).w
    assert (near[:, :3] - demo.w_avg).abs().max() < 1e-6 and torch.equal(near[:, 3:], found.w[:, 3:])


def test_classes_of_conditional_generators(demo):
    generator = small(c_dim=3)
    assert len(sampled(generator, class_index=2)) == 1
    refuses("has 3 classes", latents.SampleLatent, stylegan=generator)
    refuses("has no classes, but class 0", latents.SampleLatent, stylegan=demo, class_index=0)


def test_mixing(demo, pair):
    a, b = pair[:1], pair[1:]
    half = call(latents.MixLatents, latent_a=a, latent_b=b)[0]
    assert (half.w - (a.w + b.w) / 2).abs().max() < 1e-6
    fine = call(latents.MixLatents, latent_a=a, latent_b=b, amount=1.0, layers="fine")[0]
    assert torch.equal(fine.w[:, :8], a.w[:, :8]) and torch.equal(fine.w[:, 8:], b.w[:, 8:])
    own = call(latents.MixLatents, latent_a=a, latent_b=b, amount=1.0, layers="custom", custom_layers="1, 3-")[0]
    assert (own.w == b.w).all(2)[0].tolist() == [i == 1 or i >= 3 for i in range(10)]
    options = {"latent_a": a, "latent_b": b, "layers": "custom"}
    refuses("no list of layers", latents.MixLatents, custom_layers="all of them", **options)
    refuses("has 10, numbered from 0", latents.MixLatents, custom_layers="10", **options)
    foreign = sampled(small())
    refuses(r"'small'.*'untrained 64²'", latents.MixLatents, latent_a=a, latent_b=foreign)


def test_truncation(demo, pair):
    mean = call(latents.TruncateLatent, stylegan=demo, latent=pair, truncation=0.0)[0]
    assert (mean.w - demo.w_avg).abs().max() < 1e-6
    refuses(r"'untrained 64²'.*'small'", latents.TruncateLatent, stylegan=small(), latent=pair)


def test_directions_and_moves(demo, pair):
    found, about = call(latents.LatentDirections, stylegan=demo, layers="coarse", count=4)
    assert len(found) == 4 and "4 directions of 'untrained 64²', layers coarse" in about
    there = call(latents.MoveLatent, latent=pair, directions=found, number=2, strength=3.0)[0]
    back = call(latents.MoveLatent, latent=there, directions=found, number=2, strength=-3.0)[0]
    assert (there.w[:, :4] - pair.w[:, :4]).abs().max() > 0.1 and torch.equal(there.w[:, 4:], pair.w[:, 4:])
    assert (back.w - pair.w).abs().max() < 1e-6
    fine = call(latents.MoveLatent, latent=pair, directions=found, layers="fine")[0]
    assert torch.equal(fine.w[:, :8], pair.w[:, :8]) and not torch.equal(fine.w, pair.w)
    refuses("Direction 5 was asked for", latents.MoveLatent, latent=pair, directions=found, number=5)
    refuses("belong to generator 'untrained", latents.MoveLatent, latent=sampled(small()), directions=found)
    refuses("numbered from 0", latents.LatentDirections, stylegan=small(), layers="fine")


def test_walks(demo, pair):
    for path in ("linear", "spherical"):
        found = call(latents.LatentWalk, stylegan=demo, latent=pair, frames=3, path=path)[0]
        assert len(found) == 4 and (found.w[[0, 3]] - pair.w).abs().max() < 1e-5
    looped = call(latents.LatentWalk, stylegan=demo, latent=pair[:1], frames=3, loop=True, then=pair[1:])[0]
    assert len(looped) == 6
    refuses("at least 2 latents", latents.LatentWalk, stylegan=demo, latent=pair[:1])
    refuses(r"'untrained 64²'.*'small'", latents.LatentWalk, stylegan=small(), latent=pair)


def test_there_and_back_through_a_file(demo, pair, home):
    (name,) = call(latent_files.SaveLatent, latent=pair)
    assert name == "latent/latent_00001_.safetensors [output]"
    found, about = call(latent_files.LoadLatent, file=name)
    assert torch.equal(found.w, pair.w) and about == "2 latents of 'untrained 64²', 10 layers of 32 values"
    assert len(call(latent_files.LoadLatent, file=name, stylegan=demo)[0]) == 2
    refuses(r"'untrained 64²'.*'small'", latent_files.LoadLatent, file=name, stylegan=small())
    refuses(r"'untrained 64²'.*'small'", stylegan.GenerateImage, latent=found, stylegan=small())
    assert latent_files.LoadLatent.fingerprint_inputs() is None
    first = latent_files.LoadLatent.fingerprint_inputs(file=name)
    (home / "output" / "latent" / "latent_00001_.safetensors").write_bytes(b"0")
    assert latent_files.LoadLatent.fingerprint_inputs(file=name) != first
    refuses("latent_00001_.safetensors", latent_files.LoadLatent, file=name)


def test_a_projectors_file(demo, pair, home):
    numpy.savez(home / "input" / "projected_w.npz", w=pair.w[:1].numpy())
    assert torch.equal(call(latent_files.LoadLatent, file="projected_w.npz", stylegan=demo)[0].w, pair.w[:1])
    refuses("does not say which generator", latent_files.LoadLatent, file="projected_w.npz")
    refuses("no file 'none.npz'", latent_files.LoadLatent, file="none.npz")
    refuses("leads out of the output folder", latent_files.SaveLatent, latent=pair, filename_prefix="../x")


# Save StyleGAN


def test_a_saved_generator_is_the_same_and_numbers_count_up(home):
    original = small()
    first, second = (Path(call(stylegan.SaveStyleGan, stylegan=original, filename_prefix="mine")[0]) for _ in range(2))
    assert (first.name, second.name) == ("mine_00001_.safetensors", "mine_00002_.safetensors")
    found = call(stylegan.LoadStyleGan, file=first.name)[0]
    assert found.id.fingerprint == original.id.fingerprint and not found.tuned
    refuses("leads out of the model folder", stylegan.SaveStyleGan, stylegan=original, filename_prefix="../../x")
