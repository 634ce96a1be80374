"""StyleGAN2 in training: the same weights after a stop, presets, phases, what is not finite; tiny networks."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys

import pack
import pytest
import torch
from discs import discs
from portrait_rig.core.checkpoints import read
from portrait_rig.core.errors import UserError
from portrait_rig.core.networks.generator import load_generator
from portrait_rig.core.training import stylegan2_losses as losses
from portrait_rig.core.training.augment import AugmentSettings
from portrait_rig.core.training.images import BatchPictures, MadePictures
from portrait_rig.core.training.loop import RunSettings, train
from portrait_rig.core.training.stylegan2 import StyleGan2Trainer
from portrait_rig.core.training.stylegan2_settings import PRESETS, StyleGan2Settings, settings_for
from portrait_rig.core.training.team import Team

TINY = {"channel_base": 128, "channel_max": 8, "latent": 8, "batch": 4}
"""Of 16² pictures: channels 8, 8, 8."""
AUGMENTED = AugmentSettings(probability=0.5, interval=2, horizon=100.0)


def tiny(count=5, **changes):
    settings = settings_for("auto", 16, **{**TINY, "augment": AUGMENTED, "mirror": True, **changes})
    return StyleGan2Trainer(settings, BatchPictures(discs(count, settings.size), settings.size), "tiny")


@pytest.fixture
def trainer():
    made = tiny()
    yield made
    made.close()


def weights(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# The same weights after a stop


def test_a_stopped_run_ends_in_identical_weights(tmp_path):
    for folder, stops in (("whole", [12]), ("parts", [5, 6, 12])):
        for steps in stops:
            trainer = tiny()  # everything anew, as after a crash
            torch.manual_seed(steps)  # chance elsewhere must not matter
            train(trainer, tmp_path / folder, RunSettings(steps), resume=True)
            trainer.close()
    ends = [read(tmp_path / folder / "checkpoint-00000012.safetensors") for folder in ("whole", "parts")]
    assert same(ends[0].tensors, ends[1].tensors)
    assert json.loads(ends[0].metadata["plain"]) == json.loads(ends[1].metadata["plain"])
    kinds = {name.split(".")[0] for name in ends[0].tensors}
    assert kinds == {"generator", "discriminator", "average", "adam", "augment", "path_mean"}


def test_another_seed_ends_elsewhere(trainer):
    other = tiny(seed=1)
    trainer.advance(0)
    other.advance(0)
    other.close()
    assert not same(trainer.generator.state_dict(), other.generator.state_dict())


def test_sheets_change_nothing(trainer):
    other = tiny()
    for step in range(2):
        trainer.advance(step)
        trainer.sheet()
        other.advance(step)
    other.close()
    assert same(trainer.state()[0], other.state()[0])


def test_a_chunk_is_a_matter_of_memory(trainer):
    """R1 of a batch at once and in halves; without groups, which are drawn from a chunk, only rounding differs."""
    whole, parts = tiny(group=1, augment=AugmentSettings("off")), tiny(group=1, augment=AugmentSettings("off"))
    real = discs(4, (16, 16)) * 2 - 1
    told = [made._descend("discriminator", made._r1_losses(real.split(n))) for made, n in ((whole, 4), (parts, 2))]
    assert told[0] == pytest.approx(told[1], rel=1e-5)
    moments = [made._adams["discriminator"].state_dict()["state"] for made in (whole, parts)]
    for first, second in zip(*(state.values() for state in moments), strict=True):
        torch.testing.assert_close(first["exp_avg_sq"], second["exp_avg_sq"], rtol=1e-4, atol=1e-9)
    for made in (whole, parts):
        made.close()


@pytest.mark.parametrize(("batch", "chunk", "expected"), [(4, 0, 4), (4, 2, 2), (4, 3, 2), (6, 4, 3), (5, 4, 1)])
def test_chunks_divide_the_batch(batch, chunk, expected):
    trainer = tiny(batch=batch, chunk=chunk)
    trainer.close()
    assert trainer._chunk == expected


# Steps


def test_regularisers_run_in_their_steps(trainer):
    told = [set(trainer.advance(step).losses) for step in range(17)]
    assert [step for step in range(17) if "path" in told[step]] == [0, 4, 8, 12, 16]
    assert [step for step in range(17) if "r1" in told[step]] == [0, 16]
    assert all({"generator", "discriminator"} <= names for names in told)


def test_weights_of_zero_leave_regularisers_out():
    trainer = tiny(path_weight=0.0, r1_gamma=0.0, style_mixing=0.0)
    assert set(trainer.advance(0).losses) == {"generator", "discriminator"}
    trainer.close()


def test_one_step_changes_each_network_and_only_by_its_own_loss(trainer):
    before = [weights(net) for net in (trainer.generator, trainer.discriminator)]
    trainer._draws, trainer._noise = (torch.Generator().manual_seed(1) for _ in range(2))
    chunks = ((discs(4, (16, 16)) * 2 - 1),)
    trainer._descend("generator", trainer._generator_losses(chunks))
    assert same(weights(trainer.discriminator), before[1]) and not same(weights(trainer.generator), before[0])
    middle = weights(trainer.generator)
    trainer._descend("discriminator", trainer._r1_losses(chunks))
    assert same(weights(trainer.generator), middle) and not same(weights(trainer.discriminator), before[1])
    assert not any(p.requires_grad for net in trainer.networks for p in net.parameters())


def test_every_parameter_is_trained(trainer):
    before = [{name: p.clone() for name, p in net.named_parameters()} for net in trainer.networks[:2]]
    for step in range(2):
        trainer.advance(step)
    for net, old in zip(trainer.networks, before, strict=False):
        still = [name for name, value in net.named_parameters() if torch.equal(value, old[name])]
        assert not still


def test_the_first_step_is_adams_with_the_lazy_correction():
    """Adam's first step is the learning rate for every weight with a gradient; the regulariser's is the second."""
    trainer = tiny(path_weight=0.0, rate=0.01)
    before = weights(trainer.generator)["synthesis.b16.torgb.bias"]
    trainer.advance(0)
    trainer.close()
    moved = (weights(trainer.generator)["synthesis.b16.torgb.bias"] - before).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 0.01 * 4 / 5), rtol=1e-3, atol=0)


@pytest.mark.parametrize("which", ["generator", "path", "discriminator", "r1"])
def test_losses_are_those_of_the_formulas(which):
    """Recomputed with a second trainer's networks from the same z and noise: weights and intervals included."""
    trainer, twin = (tiny(augment=AugmentSettings("off"), style_mixing=0.0, r1_gamma=3.0) for _ in range(2))
    trainer._draws, trainer._noise = (torch.Generator().manual_seed(1) for _ in range(2))
    real = discs(4, (16, 16)) * 2 - 1
    network = "generator" if which in ("generator", "path") else "discriminator"
    found = trainer._descend(network, getattr(trainer, f"_{which}_losses")((real,)))

    noise, count = torch.Generator().manual_seed(1), 2 if which == "path" else 4
    ws = twin.generator.mapping(torch.randn(count, 8, generator=torch.Generator().manual_seed(1))).requires_grad_()
    picture = twin.generator.synthesis(ws, "random", seed=noise)
    if which == "generator":
        expected = losses.generator_loss(twin.discriminator(picture)).mean()
    elif which == "discriminator":
        expected = losses.discriminator_loss(twin.discriminator(picture), twin.discriminator(real)).mean()
    elif which == "r1":
        expected = losses.r1_penalty(real.requires_grad_(), twin.discriminator(real)).mean() * 3.0 / 2 * 16
    else:
        drawn = torch.randn(picture.shape, generator=noise)
        penalty, mean = losses.path_length_penalty(picture, ws, torch.zeros([]), twin.settings.losses, drawn)
        expected = penalty.mean() * 2.0 * 4
        torch.testing.assert_close(trainer._path_mean, mean)
    for made in (trainer, twin):
        made.close()
    assert found == pytest.approx(float(expected.detach()), rel=1e-5)


def test_chance_differs_from_step_to_step_and_between_processes(trainer):
    seeds = set()
    for rank in range(2):
        trainer.team.rank = rank
        for step in range(2):
            trainer.advance(step)
            seeds |= {trainer._draws.initial_seed(), trainer._noise.initial_seed()}
    assert len(seeds) == 8


def test_the_average_follows_and_copies_buffers(trainer):
    trainer.advance(0)
    assert same(trainer.average.state_dict(), trainer.generator.state_dict()), "with a ramp-up, the first step copies"
    before = weights(trainer.average)
    trainer.advance(1)
    name = "synthesis.b16.conv0.weight"
    now, target = trainer.average.state_dict()[name], trainer.generator.state_dict()[name]
    decay = losses.average_decay(4, 4, trainer.settings.half_life, 0.05)
    torch.testing.assert_close(now, before[name] * decay + target * (1 - decay))
    assert torch.equal(trainer.average.mapping.w_avg, trainer.generator.mapping.w_avg)


def test_augmentation_adapts_every_few_steps(trainer):
    told = [trainer.advance(step).figures["augmentation"] for step in range(4)]
    assert told[0] == 0.5 and told[1] == told[2]
    step = 4 * 2 / 100  # batch · interval / horizon
    assert [abs(told[1] - told[0]), abs(told[3] - told[2])] == pytest.approx([step, step])


# What is not finite


def test_a_part_that_is_not_finite_changes_nothing_and_is_told(trainer):
    trainer.advance(0)
    before = trainer.state()[0]
    before = {name: value.clone() for name, value in before.items()}
    trainer._draws, trainer._noise = (torch.Generator().manual_seed(1) for _ in range(2))
    bad = (torch.full((4, 3, 16, 16), math.nan),)
    assert math.isnan(trainer._descend("discriminator", trainer._r1_losses(bad)))
    poisoned = trainer.generator.synthesis.b4.const.clone()
    trainer.generator.synthesis.b4.const.fill_(math.inf)
    assert math.isnan(trainer._descend("generator", trainer._path_losses((bad[0][:4],))))
    trainer.generator.synthesis.b4.const.copy_(poisoned)
    assert same(before, trainer.state()[0])


def test_gradients_that_are_not_finite_are_replaced():
    """A loss of 0 with slopes NaN, infinite and 1: the first counts as 0, the second as 100,000."""
    trainer = tiny()
    layers = trainer.discriminator.b4
    none, steep, plain = layers.out.bias, layers.fc.bias, layers.conv.bias

    def parts():
        yield (none * 0).abs().sqrt().sum() + (steep - steep.detach()).sqrt().sum() + plain.sum()

    assert trainer._descend("discriminator", parts()) == 0.0
    trainer.close()
    state = trainer._adams["discriminator"].state
    share = 1 - 0.99 ** (16 / 17)
    squares = [float(state[parameter]["exp_avg_sq"].mean()) for parameter in (none, steep, plain)]
    assert squares == pytest.approx([0.0, share * 1e10, share], rel=1e-3)


# Settings


def test_auto_is_the_authors_rule():
    auto = settings_for("auto", 256)
    assert (auto.batch, auto.group, auto.channel_base, auto.rate) == (16, 4, 16384, 0.0025)
    assert (auto.half_life, auto.ramp_up, auto.mapping_layers) == (5000.0, 0.05, 2)
    assert auto.losses.r1_gamma == pytest.approx(0.8192)
    large = settings_for("auto", 1024, processes=8)
    assert (large.batch, large.group, large.channel_base, large.rate) == (32, 4, 32768, 0.002)
    assert large.losses.r1_gamma == pytest.approx(6.5536)


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("stylegan2", (32, 4, 32768, 0.002, 10.0, 10_000.0, None, 8)),
        ("paper256", (64, 8, 16384, 0.0025, 1.0, 20_000.0, None, 8)),
        ("paper512", (64, 8, 32768, 0.0025, 0.5, 20_000.0, None, 8)),
        ("paper1024", (32, 4, 32768, 0.002, 2.0, 10_000.0, None, 8)),
        ("cifar", (64, 32, 32768, 0.0025, 0.01, 500_000.0, 0.05, 2)),
    ],
)
def test_presets_are_the_published_ones(preset, expected):
    s = settings_for(preset, 256)
    found = (s.batch, s.group, s.channel_base, s.rate, s.losses.r1_gamma, s.half_life, s.ramp_up, s.mapping_layers)
    assert found == expected and len(PRESETS) == 5
    odd = (s.losses.path_weight, s.losses.style_mixing, s.discriminator)
    assert odd == ((0.0, 0.0, "orig") if preset == "cifar" else (2.0, 0.9, "resnet"))


@pytest.mark.parametrize("preset", ["auto", *PRESETS])
def test_every_preset_trains(preset):
    settings = settings_for(preset, 8, batch=2, channel_base=64, channel_max=8, latent=8)
    trainer = StyleGan2Trainer(settings, BatchPictures(discs(2, settings.size), settings.size))
    assert trainer.advance(0).whole
    trainer.close()


def test_portraits_and_odd_batches_train():
    trainer = tiny(portrait=True, batch=6, group=4)
    assert trainer.settings.size == (16, 8) and trainer.discriminator.options.group_size == 3
    assert trainer.advance(0).whole and trainer.average.size == (16, 8)
    assert trainer.sheet().shape == (3, 16 * 4, 8 * 6)
    trainer.close()


def test_half_precision_trains():
    trainer = tiny(precision="bf16")
    assert trainer.generator.options.num_fp16_res == 4 and trainer.generator.options.conv_clamp == 256
    assert trainer.advance(0).whole
    trainer.close()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"resolution": 48}, "power of two from 8 on, such as 256; got 48"),
        ({"resolution": 4}, "power of two"),
        ({"resolution": 16, "precision": "fp8"}, "'fp8' is unknown; known are fp32"),
        ({"resolution": 16, "batch": 0}, "must be 1 or more"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, words):
    with pytest.raises(UserError, match=words):
        StyleGan2Settings(**changes)


def test_unknown_presets_are_refused():
    with pytest.raises(UserError, match="'paper2048' is unknown; known are auto, stylegan2"):
        settings_for("paper2048", 64)


# Going on, and the result


def test_other_settings_are_named(trainer):
    tensors, plain = trainer.state()
    other = tiny(r1_gamma=3.0, batch=2)
    with pytest.raises(UserError, match=r"other settings: batch 4 \(now 2\).*losses r1_gamma .* \(now 3.0\)"):
        other.load_state(tensors, plain)
    other.close()


def test_more_pictures_are_noted_but_no_obstacle(trainer):
    other = tiny(count=6)
    other.load_state(*trainer.state())
    other.close()
    assert other.notes == ["The pictures have changed since the run was begun (5 pictures of the graph)."]


def test_a_chunk_may_change_on_the_way(trainer):
    other = tiny(chunk=2)
    other.load_state(*trainer.state())
    other.close()
    assert other.notes == []


def test_the_product_is_a_generator_that_says_where_it_comes_from(tmp_path, trainer):
    outcome = train(trainer, tmp_path, RunSettings(1, command="train it"))
    file = read(outcome.product)
    found = load_generator(file, name="tiny")
    assert found.id == trainer.result().id
    assert found.network.options.as_init() == trainer.average.options.as_init()
    settings = json.loads(file.metadata["settings"])
    assert settings["losses"]["r1_gamma"] == trainer.settings.losses.r1_gamma and settings["resolution"] == 16
    assert (file.metadata["command"], file.metadata["steps"], file.metadata["seed"]) == ("train it", "1", "0")
    assert file.metadata["pictures_fingerprint"] == trainer.source.fingerprint


def test_training_moves_the_pictures_towards_the_data():
    """24 steps on pictures of one colour; the mean colour's distance to it falls, measured to 0.15 of what it was."""
    colour = torch.tensor([0.9, 0.5, 0.1])[:, None, None].expand(3, 8, 8)
    settings = settings_for("auto", 8, channel_base=128, channel_max=16, latent=8, batch=8, rate=0.01, r1_gamma=0.3)
    trainer = StyleGan2Trainer(settings, MadePictures(lambda n: colour, "one colour"))

    def distance():
        with torch.no_grad():
            drawn = trainer.generator(torch.randn(32, 8, generator=torch.Generator().manual_seed(0))) / 2 + 0.5
        return float((drawn.clamp(0, 1).mean(dim=(0, 2, 3)) - colour[:, 0, 0]).norm())

    before = distance()
    for step in range(24):
        trainer.advance(step)
    trainer.close()
    assert distance() < 0.4 * before


# Several processes


def test_a_batch_that_cannot_be_shared_is_refused():
    class Three(Team):
        def __init__(self):
            super().__init__()
            self.size = 3

    settings = settings_for("auto", 16, **TINY)
    with pytest.raises(UserError, match="batch of 4 pictures cannot be shared evenly by 3 processes"):
        StyleGan2Trainer(settings, BatchPictures(discs(2, (16, 16)), (16, 16)), team=Three())


def test_several_processes_without_accelerate_are_a_sentence(monkeypatch):
    from portrait_rig.core.training import team

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(UserError, match=r"needs the package 'accelerate'\. Install it"):
        team.team()


WORKER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import pack
pack.load()
from discs import discs
from portrait_rig.core.networks.generator import fingerprint
from portrait_rig.core.training.images import BatchPictures
from portrait_rig.core.training.loop import RunSettings, train
from portrait_rig.core.training.stylegan2 import StyleGan2Trainer
from portrait_rig.core.training.stylegan2_settings import settings_for
from portrait_rig.core.training.team import team

folder, several = Path(sys.argv[2]), team()
settings = settings_for("auto", 16, several.size, batch=4, channel_base=128, channel_max=8, latent=8)
trainer = StyleGan2Trainer(settings, BatchPictures(discs(5, settings.size), settings.size), "pair", several)
train(trainer, folder / "run", RunSettings(3))
prints = [fingerprint(network.state_dict()) for network in trainer.networks]
(folder / f"{several.rank} of {several.size}").write_text(" ".join(prints))
trainer.close()
several.close()
"""


@pytest.mark.skipif(importlib.util.find_spec("accelerate") is None, reason="accelerate is not installed")
def test_two_processes_train_one_network(tmp_path):
    """Three steps by two processes over gloo: one run is written, and both end with the same networks."""
    (tmp_path / "worker.py").write_text(WORKER)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, str(tmp_path / "worker.py"), str(pack.ROOT / "tests"), str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    ends = [(tmp_path / f"{rank} of 2").read_text() for rank in range(2)]
    assert ends[0] == ends[1] and len(set(ends[0].split())) == 3
    assert len((tmp_path / "run" / "losses.jsonl").read_text().splitlines()) == 3
    assert read(tmp_path / "run" / "generator.safetensors").metadata["steps"] == "3"
