"""Texture generators: what each kind draws, how they come out of files, and whose UV layout they fit."""

from __future__ import annotations

import json

import pytest
import torch
from portrait_rig.core.checkpoints import save_safetensors
from portrait_rig.core.errors import UserError
from portrait_rig.core.face.uv import albedo_maps, texels, with_gutter
from portrait_rig.core.methods import texture_gan
from portrait_rig.core.methods.texture_gan import TextureGan, free_textures, load_texture_gan, own_textures
from portrait_rig.core.networks.generator import packed as packed_generator
from portrait_rig.core.networks.progan import ProGan, ProGanOptions
from portrait_rig.core.networks.textures import ProGanTextures, StyleGanTextures
from portrait_rig.core.perceptual import psnr
from portrait_rig.core.types import GeneratorId, Latent
from untrained import untrained

KINDS = ("progressive", "stylegan", "own", "free")


@pytest.fixture(scope="module")
def gans(head):
    torch.manual_seed(0)
    network = ProGan(ProGanOptions(8, (8, 6, 4))).requires_grad_(False)
    return {
        "progressive": texture_gan.of(ProGanTextures(network), "progressive", "toon-head"),
        "stylegan": texture_gan.of(StyleGanTextures(untrained()), "stylegan", "toon-head"),
        "own": own_textures(head, 32),
        "free": free_textures(head, 16),
    }


each_kind = pytest.mark.parametrize("kind", KINDS)


@each_kind
def test_latents_become_maps(gans, kind):
    gan = gans[kind]
    latents = gan.sample(3, 2)
    maps = gan.albedo(latents)
    assert latents.shape == (2, gan.latent_size) and maps.shape == (2, 3, *gan.size)
    assert maps.isfinite().all() and gan.albedo(latents[:0]).shape == (0, 3, *gan.size)
    assert not torch.equal(maps[0], maps[1])


@each_kind
def test_number_i_is_that_of_seed_plus_i(gans, kind):
    torch.testing.assert_close(gans[kind].sample(5, 3)[2], gans[kind].sample(7)[0])


@each_kind
def test_truncation_leads_to_the_start(gans, kind):
    gan = gans[kind]
    assert torch.equal(gan.sample(1, 2, truncation=0.0), gan.start(2))
    torch.testing.assert_close(gan.sample(1, 1, 0.5), (gan.sample(1) + gan.start()) / 2)


@each_kind
def test_gradients_reach_latent_and_prior(gans, kind):
    gan = gans[kind]
    latent = gan.sample(0).requires_grad_()
    (gan.albedo(latent).square().mean() + 0.1 * gan.prior(latent * 1.5).sum()).backward()
    assert latent.grad.isfinite().all() and latent.grad.abs().sum() > 0


@each_kind
def test_what_is_usual_costs_little(gans, kind):
    gan = gans[kind]
    latents = gan.sample(0, 64)
    assert gan.prior(gan.start()).item() < 1e-6
    assert gan.prior(latents).shape == (64,)
    assert 0.0 <= gan.prior(latents).mean() < 3.0
    assert gan.prior(5 * latents).mean() > 5 * gan.prior(latents).mean() + 5


def test_stylegan_latents_are_measured_from_the_mean_in_deviations(gans):
    gan = gans["stylegan"]
    latents = gan.sample(0, 400)
    assert latents.mean(0).abs().max() < 0.25 and (latents.std(0) - 1).abs().max() < 0.25
    generator = untrained()
    latent = generator.map(torch.randn(1, generator.z_dim, generator=torch.Generator().manual_seed(0)))
    source = gan.source
    own = (latent.w[:, 0] - source.mean) / source.spread
    torch.testing.assert_close(gan.albedo(own), generator.draw(latent), atol=2e-5, rtol=0)  # measured 2e-6


def test_a_basis_of_the_model_s_own_colours_is_the_model(gans, head):
    gan = gans["own"]
    wanted = albedo_maps(head, gan.sample(2, 2), (32, 32))
    torch.testing.assert_close(gan.albedo(gan.sample(2, 2)), wanted, atol=1e-5, rtol=0)  # measured 1e-6


def test_a_free_map_may_be_anything_and_prefers_smoothness(gans, head):
    gan = gans["free"]
    base = gan.albedo(gan.start())
    torch.testing.assert_close(base, albedo_maps(head, torch.zeros(1, len(head.albedo)), (16, 16)))
    wanted = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(gan.albedo((wanted - base).flatten(1)), wanted)
    even = torch.full((1, 3, 16, 16), 0.1)
    rough = even * (1 - 2 * (torch.arange(16) % 2))
    assert gan.prior(rough.flatten(1)) > 10 * gan.prior(even.flatten(1))


def test_a_progressive_gan_starts_at_a_latent_of_usual_length(gans):
    start = gans["progressive"].start()
    torch.testing.assert_close(start.square().mean(), torch.tensor(1.0))
    maps = gans["progressive"].albedo(gans["progressive"].sample(0, 64))
    off = (maps - maps.mean(0)).square().mean((1, 2, 3))
    near = (gans["progressive"].albedo(start) - maps.mean(0)).square().mean()
    assert near < off.median()


@pytest.mark.parametrize("kind", ["progressive", "stylegan", "own"])
def test_a_saved_generator_comes_back(gans, kind, tmp_path):
    gan = gans[kind]
    save_safetensors(tmp_path / "x.safetensors", *texture_gan.packed(gan))
    with torch.inference_mode():
        found = load_texture_gan(tmp_path / "x.safetensors", layout="another, which the file overrules")
    assert found.id == gan.id and found.layout == "toon-head"
    assert torch.equal(found.start(), gan.start())
    latent = gan.sample(4).requires_grad_()  # gradients flow although it was loaded under inference mode
    found.albedo(latent).sum().backward()
    assert torch.equal(found.albedo(latent), gan.albedo(latent))


def test_a_free_map_is_not_saved(gans):
    with pytest.raises(UserError, match="has learnt nothing that could be saved"):
        texture_gan.packed(gans["free"])


def test_foreign_files(gans, tmp_path):
    progressive = gans["progressive"].source.network.state_dict()
    torch.save({"netG": progressive, "config": {"depth": 3}}, tmp_path / "zoo.pth")
    found = load_texture_gan(tmp_path / "zoo.pth")
    assert found.layout is None and found.id == GeneratorId("zoo", gans["progressive"].id.fingerprint)
    assert "for an unknown UV layout" in found.describe() and "progressive GAN" in found.describe()
    assert load_texture_gan(tmp_path / "zoo.pth", "mine").layout == "mine"
    tensors, metadata = packed_generator(untrained())
    save_safetensors(tmp_path / "uv.safetensors", tensors, metadata)
    assert load_texture_gan(tmp_path / "uv.safetensors").source.family == "StyleGAN2"


def test_flame_s_texture_space_goes_with_every_flame(tmp_path, head):
    import numpy as np

    random = np.random.default_rng(0)
    np.savez(tmp_path / "FLAME_albedo.npz", MU=random.random((1, 512 * 512 * 3), np.float32),
             PC=random.random((512 * 512 * 3, 3), np.float32))  # fmt: skip
    gan = load_texture_gan(tmp_path / "FLAME_albedo.npz")
    assert (gan.layout, gan.latent_size, gan.size) == ("flame", 3, (256, 256))

    class Flame:
        layout = "flame-3f2a91"

    assert gan.require(Flame()) is gan
    with pytest.raises(UserError, match=r"UV layout of 'flame', which means nothing on 'toon-head'"):
        gan.require(head)


def test_refusals(gans, head, tmp_path):
    gan = gans["own"]
    assert gan.require(head) is gan
    assert TextureGan(gan.id, gan.source).require(head).layout is None  # nobody said, so nothing is refused
    with pytest.raises(UserError, match=r"latents of the shape \[maps, 25\]; got \[25\]"):
        gan.albedo(torch.zeros(25))
    with pytest.raises(UserError, match="belongs to generator 'free map of toon-head'"):
        gan.values(gans["free"].latent(gans["free"].start()))
    with pytest.raises(UserError, match="latents of 25 values"):
        gan.values(Latent(torch.zeros(1, 2, 25), gan.id))
    latents = gan.sample(0, 2)
    assert torch.equal(gan.values(gan.latent(latents)), latents)
    path = tmp_path / "x.safetensors"
    save_safetensors(path, {"mean": torch.zeros(3, 4, 4), "directions": torch.zeros(2, 3, 4, 5)})
    with pytest.raises(UserError, match=r"\[3, H, W\] and `directions` .* got \[3, 4, 4\] and \[2, 3, 4, 5\]"):
        load_texture_gan(path)
    save_safetensors(path, {"nothing": torch.zeros(1)})
    with pytest.raises(UserError, match=r"holds no StyleGAN2 or StyleGAN3 generator .* A texture generator is one of"):
        load_texture_gan(path)
    tensors, metadata = texture_gan.packed(gan)
    save_safetensors(path, tensors, {**metadata, "version": "2"})
    with pytest.raises(UserError, match="version 2, this pack reads 1"):
        load_texture_gan(path)
    tensors, metadata = texture_gan.packed(gans["progressive"])
    save_safetensors(path, tensors, {**metadata, "init": "{"})
    with pytest.raises(UserError, match="its 'init' is no table of numbers"):
        load_texture_gan(path)
    save_safetensors(path, {**tensors, "start": torch.zeros(8)}, metadata)
    with pytest.raises(UserError, match="should hold 8 finite values, and not only zeros"):
        load_texture_gan(path)
    save_safetensors(path, tensors, {**metadata, "init": json.dumps({"lod": 7})})
    with pytest.raises(UserError, match="levels of detail from 0 to 2; got 7"):
        load_texture_gan(path)
    with pytest.raises(UserError, match="no albedo directions"):
        own_textures(_without_albedo(head))


def _without_albedo(head):
    class Bare:
        layout, albedo = head.layout, ()

    return Bare()


# UV maps


def test_texels_know_their_triangle(head):
    places = texels(head, (64, 64))
    assert places.face.shape == (1, 64, 64) and 0.7 < places.covered.float().mean() < 0.95
    row, column = 20, 32
    corners = head.uv[head.uv_faces[places.face[0, row, column]]]
    found = (corners * places.barycentrics[0, row, column, :, None]).sum(0)
    torch.testing.assert_close(found, torch.tensor([32.5 / 64, 1 - 20.5 / 64]), atol=1e-5, rtol=0)


def test_maps_are_linear_in_the_coefficients_and_one_a_frame(head):
    albedo = torch.randn(2, len(head.albedo), generator=torch.Generator().manual_seed(0))
    both = albedo_maps(head, albedo, (32, 32))
    assert both.shape == (2, 3, 32, 32)
    torch.testing.assert_close(albedo_maps(head, albedo[1:], (32, 32)), both[1:])
    torch.testing.assert_close(albedo_maps(head, albedo.mean(0, keepdim=True), (32, 32))[0], both.mean(0))
    assert albedo_maps(head, albedo[:0], (32, 32)).shape == (0, 3, 32, 32)


def test_a_gutter_grows_four_texels_and_then_comes_the_mean():
    maps, covered = torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    maps[..., 0], covered[..., 0] = 0.5, True
    maps[..., 8, 8] = 9.0  # under nothing, so not to be seen
    grown = with_gutter(maps, covered)
    torch.testing.assert_close(grown[..., :5], torch.full((1, 1, 16, 5), 0.5))
    torch.testing.assert_close(grown[..., 5:], torch.full((1, 1, 16, 11), 0.5))
    assert torch.equal(with_gutter(maps, covered & False), torch.zeros_like(maps))


# The embedded generator


def test_the_embedded_generator_draws_the_toon_head_s_colours(head):
    gan = load_texture_gan()
    assert gan.layout == head.layout and gan.size == (256, 256) and gan.source.family == "progressive GAN"
    assert texture_gan.DEFAULT.stat().st_size < 3_000_000
    weights = gan.source.network.state_dict().values()
    assert {tensor.dtype for tensor in weights} == {torch.float32}
    drawn = gan.albedo(gan.sample(0, 4))
    assert drawn.min() > -0.2 and drawn.max() < 1.2
    basis = own_textures(head, 256).source
    flat = basis.directions.flatten(1)
    wanted = (drawn - basis.mean).flatten(1)
    coefficients = torch.linalg.lstsq(flat.T, wanted.T, driver="gelsd").solution.T  # directions nearly depend
    nearest = basis(coefficients)
    assert psnr(drawn, nearest).min() > 31  # measured 33.0 to 33.7: samples lie near what the head's colours span
    spread = drawn.mean((2, 3)).std(0)
    assert spread.min() > 0.02  # no two have the same skin
