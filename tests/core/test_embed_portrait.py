"""PIE: each energy against faces whose parameters are known, then whole runs with a tiny generator and a random rig."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import toy_rig
import untrained
from portrait_rig.core.errors import UserError
from portrait_rig.core.face.render import render
from portrait_rig.core.methods.embed_portrait import Embedding, EmbedSettings, EmbedWeights, Energies, embed_portrait
from portrait_rig.core.methods.latents import sample
from portrait_rig.core.methods.render_distance import DRAWING
from portrait_rig.core.methods.rig import Rig
from portrait_rig.core.networks.generator import fingerprint
from portrait_rig.core.networks.rig import COMPONENTS, RigNet, columns, with_columns
from portrait_rig.core.types import GeneratorId

SIDE = 32
TINY = EmbedSettings(approach_steps=1, w_steps=2, plus_steps=2, every=1, side=SIDE)


@pytest.fixture(scope="module")
def generator():
    return untrained.small((8, 8, 8, 8), "tiny")


@pytest.fixture(scope="module")
def rig(generator, head):
    return toy_rig.random_rig(head, generator)


@pytest.fixture(scope="module")
def recogniser():
    return untrained.recogniser(seed=2)


@pytest.fixture(scope="module")
def codes(generator):
    return sample(generator, 5, 2).w


def rows(rig, count=2, seed=0):
    """Faces near the mean, [count, P], within all limits."""
    return rig.coding.within(0.5 * torch.randn(count, len(rig.coding), generator=torch.Generator().manual_seed(seed)))


def shown(rig, head, rows):
    return render(head, rig.placed(rows), DRAWING).colour.clamp(0, 1)


def energies(rig, head, generator, rows, picture=None, **more):
    picture = shown(rig, head, rows) if picture is None else picture
    return Energies(picture, generator, rig, head, rig.placed(rows), replace(TINY, **more))


def elsewhere(rig, rows, component, seed=9):
    """`rows` whose `component` is another face's."""
    other = 2.0 * torch.randn(rows.shape, generator=torch.Generator().manual_seed(seed))
    return rig.coding.within(with_columns(rows, other, columns(rig.coding.groups, component)))


# Each energy


def test_a_rig_that_changes_nothing_has_no_identity_energy(rig, head, generator, codes):
    idle = {
        name: RigNet(net.num_ws, net.w_dim, net.inputs).requires_grad_(False) for name, net in rig.rignets.items()
    }
    assert energies(replace(rig, rignets=idle), head, generator, rows(rig)).change(codes).tolist() == [0.0, 0.0]
    assert energies(rig, head, generator, rows(rig)).change(codes).min() > 1e-4


def test_identity_energy_is_in_spreads_of_w_whatever_the_number_of_layers_and_networks(rig, head, generator, codes):
    moving = {}
    for name, net in rig.rignets.items():
        moving[name] = RigNet(net.num_ws, net.w_dim, net.inputs).requires_grad_(False)
        for decoder in moving[name].decoders.values():
            decoder.bias[0] = 0.3
    judge = energies(replace(rig, rignets=moving), head, generator, rows(rig))
    assert torch.allclose(judge.change(codes), (0.3 / judge.spread).square().expand(2))


@pytest.mark.parametrize("component", COMPONENTS)
def test_edit_is_least_where_the_component_has_arrived(rig, head, generator, component):
    judge, edited = energies(rig, head, generator, rows(rig)), rows(rig, 1, 2)

    def off(own):
        return judge.edit(judge.seen(shown(rig, head, own), own), own, edited, component)

    arrived = with_columns(rows(rig, 1, 3), edited, columns(rig.coding.groups, component))
    assert off(arrived) < 1e-6 and off(elsewhere(rig, arrived, component)) > 1e-3


@pytest.mark.parametrize("component", COMPONENTS)
def test_invariance_is_least_where_all_else_stayed(rig, head, generator, component):
    own = rows(rig, 2, 4)
    judge, stayed = energies(rig, head, generator, own), elsewhere(rig, own, component)
    changed = elsewhere(rig, stayed, next(name for name in COMPONENTS if name != component))
    assert judge.invariance(stayed, component).max() < 1e-6
    assert judge.invariance(changed, component).min() > 1e-3


def test_each_energy_pulls_at_its_own_part_of_the_edited_code_alone(rig, head, generator):
    judge, own = energies(rig, head, generator, rows(rig)), rows(rig, 1, 3)
    seen, edited = judge.seen(shown(rig, head, own), own), rows(rig, 2, 2).requires_grad_()
    pose = columns(rig.coding.groups, "pose")
    rest = [place for place in range(len(rig.coding)) if place not in pose]
    for energy, silent, speaking in (
        (judge.edit(seen, own, edited, "pose"), rest, pose),
        (judge.invariance(edited, "pose"), pose, rest),
    ):
        (gradient,) = torch.autograd.grad(energy.sum(), edited)
        assert gradient[:, silent].abs().max() == 0 and gradient[:, speaking].abs().max() > 0


def test_edit_is_measured_in_the_picture_of_v_and_invariance_in_the_portrait(rig, head, generator):
    """The classic mistake is to swap them; both energies then stay finite, and edits vanish."""
    own, other, edited = rows(rig, 2, 4), rows(rig, 1, 3), rows(rig, 2, 2)
    plain = energies(rig, head, generator, own)
    black = energies(rig, head, generator, own, torch.zeros(2, 3, SIDE, SIDE))
    seen = plain.seen(shown(rig, head, other), other)
    dark = plain.seen(torch.zeros(1, 3, SIDE, SIDE), other)
    assert torch.equal(plain.edit(seen, other, edited, "light"), black.edit(seen, other, edited, "light"))
    assert (plain.edit(dark, other, edited, "light") > 1.5 * plain.edit(seen, other, edited, "light")).all()
    assert (black.invariance(edited, "light") > 1.5 * plain.invariance(edited, "light")).all()


def test_recognition_compares_with_the_portrait(rig, head, generator, recogniser):
    own = rows(rig, 2, 4)
    picture = shown(rig, head, own)
    judge = Energies(picture, generator, rig, head, rig.placed(own), TINY, recogniser)
    assert judge.recognition(picture, own).max() < 1e-10
    assert judge.recognition(picture.flip(0), own.flip(0)).min() > 1e-6
    assert torch.allclose(judge.similarity(picture), torch.ones(2))


# All of them together


def test_every_so_manieth_step_another_component_is_lent_by_another_v(rig, head, generator, codes, recogniser):
    lent = []

    class Telling(Rig):
        def moved(self, ws, wanted, component):
            lent.append((component, wanted[0].clone()))
            return super().moved(ws, wanted, component)

    own = rows(rig)
    settings = replace(TINY, every=2, weights=EmbedWeights(identity=0.0))
    telling = Telling(**vars(rig))
    judge = Energies(shown(rig, head, own), generator, telling, head, rig.placed(own), settings, recogniser)
    found = [judge({"w": codes}) for _ in range(8)]
    always, dear = {"pyramid", "pixel"}, {"edit", "invariance", "recognition", "edited_recognition"}
    assert [set(terms) - always for terms in found] == 4 * [dear, set()]
    assert [component for component, _ in lent] == ["pose", "expression", "light", "pose"]
    assert not torch.equal(lent[0][1], lent[3][1])


def test_weights_and_rarity_scale_the_terms_and_zero_leaves_them_out(rig, head, generator, codes):
    own = rows(rig)

    def terms(every, **weights):
        settings = {"every": every, "weights": EmbedWeights(**weights)}
        return energies(rig, head, generator, own, **settings)({"w": codes})

    names = ("identity", "edit", "invariance")
    plain, twice, rare = terms(1), terms(1, **{name: 2 * getattr(EmbedWeights, name) for name in names}), terms(3)
    for name in names:
        assert torch.allclose(twice[name], 2 * plain[name])
        assert torch.allclose(rare[name], (1 if name == "identity" else 3) * plain[name])
    assert set(terms(1, identity=0.0, edit=0.0, invariance=0.0)) == {"pyramid", "pixel"}


# Whole runs


@pytest.fixture(scope="module")
def portrait(generator, codes):
    return generator.draw(generator.latent(codes)).clamp(0, 1)


@pytest.fixture(scope="module")
def face(rig, codes):
    return rig.placed(rig.rows(codes))


def test_two_portraits_are_embedded_layer_by_layer(generator, rig, head, portrait, face, recogniser):
    before, told = fingerprint(generator.network.state_dict()), []
    found = embed_portrait(
        portrait, generator, rig, head, face, TINY, recogniser=recogniser,
        watch=lambda step, total, loss, preview: told.append((step, total, preview)),
    )  # fmt: skip
    assert isinstance(found, Embedding) and found.latent.generator == generator.id
    assert found.latent.w.shape == (2, generator.num_ws, generator.w_dim)
    assert (found.latent.w - found.latent.w[:, :1]).abs().max() > 0
    steps = [step for step, _, _ in told]
    assert steps == sorted(steps) and steps[-1] == told[-1][1] == sum(TINY.runs)
    assert told[-1][2]().shape == (3, SIDE, SIDE)
    assert {len(values) for values in found.history.values()} == {TINY.w_steps + TINY.plus_steps}
    assert {"edit", "invariance", "identity", "recognition", "edited_recognition"} < found.history.keys()
    assert "portrait 2: PSNR" in found.report() and "similarity" in found.report()
    assert fingerprint(generator.network.state_dict()) == before


def test_descent_lowers_the_energies(generator, rig, head, portrait, face):
    """All else fixed by chance, the identity energy is the one without v: measured a fall to 40 %."""
    weights = EmbedWeights(pyramid=0.0, pixel=0.001, identity=1.0, edit=0.1, invariance=0.1)
    settings = EmbedSettings(approach_steps=1, w_steps=0, plus_steps=12, rate=0.1, every=6, side=SIDE, weights=weights)
    identity = embed_portrait(portrait, generator, rig, head, face, settings).history["identity"]
    assert identity[-1] < 0.7 * identity[0]


def test_without_its_last_steps_it_stays_in_w(generator, rig, head, portrait, face):
    found = embed_portrait(portrait[:1], generator, rig, head, face[:1], replace(TINY, plus_steps=0))
    assert (found.latent.w - found.latent.w[:, :1]).abs().max() == 0
    assert found.similarity is None and "similarity" not in found.report()


def test_steps_may_be_left_out_and_histories_keep_their_length(generator, rig, head, portrait, face):
    given = portrait[:1], generator, rig, head, face[:1]
    assert embed_portrait(*given, replace(TINY, w_steps=0, plus_steps=0)).history == {}
    history = embed_portrait(*given, replace(TINY, w_steps=1, plus_steps=1, every=2)).history
    assert {len(values) for values in history.values()} == {2}
    assert history["edit"][0] > 0 and history["edit"][1] != history["edit"][1]  # NaN: not worked out


def test_the_same_seed_gives_the_same_latent(generator, rig, head, portrait, face):
    first, again, other = (
        embed_portrait(portrait[:1], generator, rig, head, face[:1], replace(TINY, w_steps=0, seed=seed)).latent.w
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_rig_with_one_network_is_enough(generator, rig, head, portrait, face):
    only = replace(rig, rignets={"pose": rig.rignets["pose"]})
    assert embed_portrait(portrait[:1], generator, only, head, face[:1], TINY).latent.w.isfinite().all()


# Refusals and cancel


def test_cancel_passes_through(generator, rig, head, portrait, face):
    class Stopped(Exception):
        pass

    def stop(step, total, loss, preview):
        if step == sum(TINY.runs) - 1:
            raise Stopped

    with pytest.raises(Stopped):
        embed_portrait(portrait, generator, rig, head, face, TINY, watch=stop)


def test_a_foreign_rig_is_refused_with_both_names(generator, rig, head, portrait, face):
    foreign = replace(rig, generator=GeneratorId("ffhq", "0"))
    with pytest.raises(UserError, match="trained for generator 'ffhq', not for 'tiny'"):
        embed_portrait(portrait, generator, foreign, head, face, TINY)


def test_a_rig_that_edits_nothing_is_refused(generator, rig, head, portrait, face):
    with pytest.raises(UserError, match="'random' edits nothing"):
        embed_portrait(portrait, generator, replace(rig, rignets={}), head, face, TINY)


def test_another_face_model_is_refused(generator, rig, head, portrait, face):
    with pytest.raises(UserError, match="belong to the face model 'bfm'"):
        embed_portrait(portrait, generator, rig, head, replace(face, layout="bfm"), TINY)


def test_parameters_of_other_pictures_are_refused(generator, rig, head, portrait, face):
    large = replace(face, camera=face.camera.resized((64, 64)))
    with pytest.raises(UserError, match="pictures of 64 × 64 pixels, the portraits have 32 × 32"):
        embed_portrait(portrait, generator, rig, head, large, TINY)


def test_numbers_that_do_not_go_together_are_refused(generator, rig, head, portrait, face):
    with pytest.raises(UserError, match="portraits: 3, faces: 2"):
        embed_portrait(portrait[[0, 1, 0]], generator, rig, head, face, TINY)


def test_no_portrait_is_refused(generator, rig, head, portrait, face):
    with pytest.raises(UserError, match="no picture"):
        embed_portrait(portrait[:0], generator, rig, head, face[:1], TINY)


def test_a_portrait_without_numbers_is_refused(generator, rig, head, portrait, face):
    with pytest.raises(UserError, match="not a finite number"):
        embed_portrait(portrait * torch.nan, generator, rig, head, face, TINY)


def test_inference_mode_is_an_error_of_the_caller(generator, rig, head, portrait, face):
    with torch.inference_mode(), pytest.raises(RuntimeError, match="inference_mode"):
        embed_portrait(portrait, generator, rig, head, face, TINY)
