"""A rig in use: with exact networks it reads what is there and brings what is asked for; its files; what it refuses."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
import toy_rig
from portrait_rig.core.checkpoints import read, save_safetensors
from portrait_rig.core.errors import UserError
from portrait_rig.core.face.reframe import on_picture
from portrait_rig.core.methods.regress import middle_square
from portrait_rig.core.methods.rig import FORMAT, REACH, edit, in_order, load_rig, packed, read_params, save_rig
from portrait_rig.core.networks.rig import COMPONENTS, FULL, MODES, SUBSET, Corrector, RigNet, columns, inputs_of
from portrait_rig.core.types import GeneratorId, Latent

FIELDS = {"pose": ["angles"], "expression": ["expression", "joints"], "light": ["light"]}
EDITED = [name for names in FIELDS.values() for name in names]
KEPT = ["identity", "albedo", "translation"]
CLOSE = {"rtol": 0.0, "atol": 2e-4}
"""Of parameters; 4e-5 measured, from numbers near 64 inside the toy's DFR."""


def same(found, expected, names):
    for name in names:
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), **CLOSE)


# Reading and editing -------------------------------------------------------------------------------------------------


def test_it_reads_what_a_latent_shows(rig, people):
    found = read_params(rig, toy_rig.showing(rig, people))
    same(found, people, [*KEPT, *EDITED])
    assert found.layout == "toon-head" and found.camera.size == toy_rig.SIZE


@pytest.mark.parametrize("component", COMPONENTS)
def test_one_component_arrives_and_all_else_stays(rig, people, others, component):
    latent = toy_rig.showing(rig, people)
    before = latent.w.clone()
    found = read_params(rig, edit(rig, latent, others, [component]))
    same(found, others, FIELDS[component])
    same(found, people, [*KEPT, *(name for other in FIELDS if other != component for name in FIELDS[other])])
    assert torch.equal(latent.w, before)


def test_all_components_and_none(rig, people, others):
    latent = toy_rig.showing(rig, people)
    found = read_params(rig, edit(rig, latent, others, list(COMPONENTS)))
    same(found, others, EDITED)
    same(found, people, KEPT)
    assert torch.equal(edit(rig, latent, others, []).w, latent.w)


def test_what_is_there_already_changes_nothing(rig, people):
    latent = toy_rig.showing(rig, people)
    assert torch.equal(edit(rig, latent, read_params(rig, latent), list(COMPONENTS)).w, latent.w)


@pytest.mark.parametrize("strength", [0.0, 0.5, 2.0, -1.0])
def test_strength_is_the_share_of_the_way(rig, people, others, strength):
    latent = toy_rig.showing(rig, people)
    found = read_params(rig, edit(rig, latent, others, ["pose"], strength))
    torch.testing.assert_close(found.angles, torch.lerp(people.angles, others.angles, strength), **CLOSE)
    if not strength:
        assert torch.equal(edit(rig, latent, others, ["pose"], 0.0).w, latent.w)


def test_further_passes_bring_what_the_first_left(rig, people, others):
    """Networks and a corrector that go only half of the way leave a quarter after two passes, and a half after one."""
    weak = {}
    for component, network in rig.rignets.items():
        weak[component] = RigNet(network.num_ws, network.w_dim, network.inputs)
        weak[component].load_state_dict({key: 0.5 * weight for key, weight in network.state_dict().items()})
    lazy = replace(rig, rignets=weak, corrector=Corrector(0.5 * rig.corrector.gain))
    latent = toy_rig.showing(rig, people)
    for passes, share in ((1, 0.5), (2, 0.75), (3, 0.875)):
        found = read_params(lazy, edit(lazy, latent, others, ["pose"], passes=passes)).angles
        torch.testing.assert_close(found, torch.lerp(people.angles, others.angles, share), **CLOSE)
    half = read_params(lazy, edit(lazy, latent, others, ["pose"], 0.5, 2)).angles
    torch.testing.assert_close(half, torch.lerp(people.angles, others.angles, 0.375), **CLOSE)


def test_further_passes_take_back_what_else_has_moved(leaking, people, others):
    latent = toy_rig.showing(leaking, people)
    once, twice = (read_params(leaking, edit(leaking, latent, others, ["pose"], passes=passes)) for passes in (1, 2))
    assert (once.expression - people.expression).abs().max() > 5e-3
    same(twice, others, ["angles"])
    same(twice, people, [*KEPT, "expression", "light"])


def test_a_rig_without_a_corrector_has_one_pass(leaking, people, others):
    plain, latent = replace(leaking, corrector=None), toy_rig.showing(leaking, people)
    once = edit(leaking, latent, others, ["pose"], passes=1).w
    for passes in (1, 2):
        assert torch.equal(edit(plain, latent, others, ["pose"], passes=passes).w, once)
    assert not torch.equal(edit(leaking, latent, others, ["pose"], passes=2).w, once)
    assert "one pass" in plain.describe() and "one pass" not in leaking.describe()


def test_one_goes_with_many_both_ways(rig, people, others):
    latent = toy_rig.showing(rig, people)
    for few, many in ((latent[:1], others), (latent, others[:1])):
        found = read_params(rig, edit(rig, few, many, ["pose"]))
        assert len(found) == 3
        torch.testing.assert_close(found.angles, many.angles.expand(3, -1), **CLOSE)
        torch.testing.assert_close(found.identity, people.identity[: len(few)].expand(3, -1), **CLOSE)
    with pytest.raises(UserError, match="latents: 3, face parameters: 2"):
        edit(rig, latent, others[:2], ["pose"])
    assert len(edit(rig, latent[:0], others[:1], ["pose"])) == 0


@pytest.fixture
def leaking(rig):
    """Its network for pose disturbs the expression."""
    pose, expression = rig.rignets["pose"], columns(rig.coding.groups, "expression")
    clumsy = RigNet(pose.num_ws, pose.w_dim, pose.inputs)
    clumsy.load_state_dict(pose.state_dict())
    directions = rig.dfr.layers[0].weight.T
    for i, decoder in enumerate(clumsy.decoders.values()):
        rows = slice(i * pose.w_dim, (i + 1) * pose.w_dim)
        decoder.bias.data += 0.2 * directions[rows, expression].sum(1)
    return replace(rig, rignets={**rig.rignets, "pose": clumsy})


def test_later_networks_mend_what_earlier_ones_disturb(leaking, people, others):
    """The parameters are read again before each network, so the second one undoes the first one's leak."""
    latent = toy_rig.showing(leaking, people)
    disturbed = read_params(leaking, edit(leaking, latent, others, ["pose"], passes=1))
    assert (disturbed.expression - people.expression).abs().max() > 5e-3
    same(read_params(leaking, edit(leaking, latent, others, ["expression", "pose"])), others, ["expression", "angles"])


@pytest.mark.parametrize("mode", MODES)
def test_modes_see_what_they_are_meant_to(rig, people, others, mode):
    """Untrained networks, overheard."""
    given, nets = {}, {}
    for component in COMPONENTS:
        nets[component] = RigNet(toy_rig.NUM_WS, toy_rig.W_DIM, inputs_of(mode, rig.coding.groups, component), mode)
        nets[component].register_forward_pre_hook(
            lambda _, seen, component=component: given.__setitem__(component, seen[1])
        )
    edit(replace(rig, rignets=nets), toy_rig.showing(rig, people), others, list(COMPONENTS))
    own, wanted = rig.rows_of(people), rig.rows_of(others)
    for component in COMPONENTS:
        places = columns(rig.coding.groups, component)
        expected = {FULL: wanted, SUBSET: wanted[:, places]}.get(mode, (wanted - own)[:, places])
        torch.testing.assert_close(given[component], expected, rtol=0, atol=2e-3)


def test_gradients_flow_from_the_edited_codes_to_the_codes(rig, people, others):
    w = toy_rig.showing(rig, people).w.requires_grad_()
    read_params(rig, edit(rig, Latent(w, rig.generator), others, ["pose"])).identity.sum().backward()
    assert w.grad.isfinite().all() and w.grad.abs().sum() > 0


def test_nothing_is_brought_further_than_the_networks_know(rig, people):
    """Beyond REACH the wish is brought back; a face that is there already stays and may be brought nearer."""
    latent, own = toy_rig.showing(rig, people), rig.rows_of(people)
    places = columns(rig.coding.groups, "pose")
    far = replace(people, angles=people.angles + torch.tensor([0.0, 1.5, 0.0]))
    reached = rig.rows(edit(rig, latent, far, ["pose"]).w)[:, places]
    expected = torch.stack([own[:, places[0]], torch.full((3,), REACH), own[:, places[2]]], 1)
    torch.testing.assert_close(reached, expected, rtol=0, atol=2e-3)
    wider = rig.rows(edit(rig, latent, far, ["pose"], reach={"pose": REACH + 0.5}).w)[:, places]
    torch.testing.assert_close(wider[:, 1], torch.full((3,), REACH + 0.5), rtol=0, atol=2e-3)
    assert torch.equal(edit(rig, latent, far, ["pose"], reach={"light": 9.0}).w, edit(rig, latent, far, ["pose"]).w)
    outside = Latent(edit(rig, latent, far, ["pose"], 2.0).w, rig.generator)
    beyond = read_params(rig, outside)
    assert (rig.rows_of(beyond)[:, places[1]] > REACH + 0.5).all()
    assert torch.equal(edit(rig, outside, beyond, ["pose"]).w, outside.w)
    torch.testing.assert_close(read_params(rig, edit(rig, outside, people, ["pose"])).angles, people.angles, **CLOSE)


# Cameras -------------------------------------------------------------------------------------------------------------


def test_a_face_on_a_larger_wider_picture_is_the_same_face(rig, people, others):
    cut = middle_square((300, 200), toy_rig.SIZE[0])
    wide = on_picture(others, cut)
    assert wide.camera.size == (300, 200)
    torch.testing.assert_close(rig.rows_of(wide), rig.rows_of(others), rtol=0, atol=2e-3)
    latent = toy_rig.showing(rig, people)
    torch.testing.assert_close(
        edit(rig, latent, wide, ["pose"]).w, edit(rig, latent, others, ["pose"]).w, rtol=0, atol=2e-3
    )


def test_a_generator_of_wide_pictures(head, people):
    rig = toy_rig.exact_rig(head, size=(96, 128))
    latent = toy_rig.showing(rig, people)
    found = read_params(rig, latent)
    assert found.camera.size == (96, 128)
    same(rig.framed(found), people, [*KEPT, "angles"])
    torch.testing.assert_close(edit(rig, latent, found, list(COMPONENTS)).w, latent.w, rtol=0, atol=2e-3)


# Refusals ------------------------------------------------------------------------------------------------------------


def test_a_foreign_latent_is_refused_with_both_names(rig, people):
    foreign = replace(toy_rig.showing(rig, people), generator=GeneratorId("ffhq", "f2"))
    for use in (lambda: read_params(rig, foreign), lambda: edit(rig, foreign, people, ["pose"])):
        with pytest.raises(UserError, match=r"'ffhq'.*'exact' was trained for 'toy'"):
            use()


def test_parameters_of_another_face_model_are_refused_with_both_names(rig, people):
    with pytest.raises(UserError, match=r"'bfm-2009-deep3d'.*'toon-head'"):
        edit(rig, toy_rig.showing(rig, people), replace(people, layout="bfm-2009-deep3d"), ["pose"])


def test_values_that_are_no_numbers(rig, people):
    latent = toy_rig.showing(rig, people)
    broken = replace(latent, w=latent.w.clone().index_fill_(0, torch.tensor([1]), math.nan))
    with pytest.raises(UserError, match="latent holds values that are no numbers"):
        read_params(rig, broken)
    with pytest.raises(UserError, match="wanted face parameters hold values that are no numbers"):
        edit(rig, latent, replace(people, angles=people.angles * math.inf), ["pose"])


def test_components_that_are_unknown_or_untrained(rig, people):
    latent = toy_rig.showing(rig, people)
    assert in_order(["light", "pose"]) == ["pose", "light"]
    with pytest.raises(UserError, match="'age' is nothing that a rig edits; it edits pose, expression, light"):
        edit(rig, latent, people, ["age"])
    only = replace(rig, rignets={"pose": rig.rignets["pose"]})
    with pytest.raises(UserError, match=r"'exact' has no network for light; it has pose\."):
        edit(only, latent, people, ["light"])
    with pytest.raises(UserError, match=r"it has none\."):
        edit(replace(rig, rignets={}), latent, people, ["pose"])


def test_networks_that_do_not_go_together(rig):
    with pytest.raises(ValueError, match="the network for pose does not go with"):
        replace(rig, rignets={"pose": rig.rignets["light"]})


# Files ---------------------------------------------------------------------------------------------------------------


def test_a_file_gives_the_same_rig(rig, people, others, tmp_path):
    nets = {**rig.rignets, "light": RigNet(toy_rig.NUM_WS, toy_rig.W_DIM, 27, SUBSET, (1, 3))}
    save_rig(tmp_path / "mine.safetensors", replace(rig, rignets=nets), {"steps": "12"})
    found = load_rig(tmp_path / "mine.safetensors")
    assert (found.name, found.generator, found.size) == ("mine", rig.generator, rig.size)
    assert found.coding.groups == rig.coding.groups and found.rignets.keys() == nets.keys()
    assert (found.rignets["light"].mode, found.rignets["light"].layers) == (SUBSET, (1, 3))
    latent = toy_rig.showing(rig, people)
    assert torch.equal(
        edit(found, latent, others, ["pose", "expression"]).w, edit(rig, latent, others, ["pose", "expression"]).w
    )
    assert not any(t.requires_grad or t.is_inference() for module in found.modules for t in module.parameters())
    assert read(tmp_path / "mine.safetensors").metadata["steps"] == "12"
    told = found.describe()
    for words in ("mine: for 'toy' (64×64", "toon-head", "3 angles", "RigNet for pose: difference_subset, 4 layers",
                  "RigNet for light: absolute_subset, 2 layers"):  # fmt: skip
        assert words in told


def test_half_precision_and_a_rig_that_only_reads(rig, people, tmp_path):
    tensors, metadata = packed(replace(rig, rignets={}))
    save_safetensors(tmp_path / "half.safetensors", {key: t.half() for key, t in tensors.items()}, metadata)
    with torch.inference_mode():
        found = load_rig(tmp_path / "half.safetensors")
    assert found.dfr.layers[0].weight.dtype == torch.float32 and not found.rignets
    angles = read_params(found, toy_rig.showing(rig, people)).angles
    torch.testing.assert_close(angles, people.angles, rtol=0, atol=0.02)  # 0.003 measured


def test_the_corrector_is_kept_and_may_be_missing(rig, people, others, tmp_path):
    latent, path = toy_rig.showing(rig, people), tmp_path / "mine.safetensors"
    save_rig(path, rig)
    assert torch.equal(edit(load_rig(path), latent, others, ["pose"], passes=2).w,
                       edit(rig, latent, others, ["pose"], passes=2).w)  # fmt: skip
    save_rig(path, replace(rig, corrector=None))
    assert load_rig(path).corrector is None


def write(rig, path, change=lambda tensors, metadata: None):
    tensors, metadata = packed(rig)
    change(tensors, metadata)
    save_safetensors(path, tensors, metadata)
    return path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t, m: m.update(version="2"), "holds a rig of version 2, this pack reads 1. Update the pack"),
        (lambda t, m: m.update(format="portrait_rig.latent"), "holds no rig, which is a .safetensors file"),
        (lambda t, m: m.pop("modes"), "is damaged: there is no 'modes'"),
        (lambda t, m: m.update(modes="[1, 2]"), "damaged: its modes are no table"),
        (lambda t, m: m.update(modes=json.dumps({"age": "absolute_full"})), "'age' is nothing that a rig edits"),
        (lambda t, m: m.update(modes=json.dumps({"pose": "relative"})), "'relative' is no input of a RigNet"),
        (lambda t, m: m.update(modes=json.dumps({"pose": "absolute_full"})), "network for pose does not go with"),
        (lambda t, m: m.update(num_ws="five"), "damaged: .*'five'"),
        (lambda t, m: m.update(num_ws="0"), "do not come from 0 codes"),
        (lambda t, m: m.update(groups="[]"), "its groups are none"),
        (lambda t, m: m.update(height="0"), "pictures of 64 × 0 pixels cannot be"),
        (lambda t, m: m.pop("fingerprint"), "there is no 'fingerprint'"),
        (lambda t, m: t.pop("dfr.layers.0.weight"), r"there is no 'layers\.0\.weight'"),
        (lambda t, m: t.pop("dfr.layers.2.bias"), r"missing: layers\.2\.bias"),
        (lambda t, m: t.pop("rignets.pose.decoders.2.weight"), r"missing: decoders\.2\.weight"),
        (lambda t, m: t.pop("coding.low"), "there is no 'coding.low'"),
        (lambda t, m: t["rignets.light.encoders.1.bias"].fill_(math.nan), "no numbers"),
        (lambda t, m: t["coding.scale"].fill_(math.nan), "no proper numbers"),
        (lambda t, m: t["corrector.gain"].fill_(math.inf), "no numbers"),
        (lambda t, m: t.update({"corrector.gain": t["corrector.gain"][1:]}), "corrector does not go with"),
    ],
)  # fmt: skip
def test_damaged_files_give_a_sentence(head, tmp_path, change, words):
    path = write(toy_rig.exact_rig(head), tmp_path / "rig.safetensors", change)
    with pytest.raises(UserError, match=words) as caught:
        load_rig(path)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value) and "'rig" in str(caught.value)


def test_truncated_foreign_and_missing_files(rig, tmp_path):
    path = write(rig, tmp_path / "rig.safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"'rig\.safetensors'"):
        load_rig(path)
    save_safetensors(path, {"lora.weight": torch.zeros(3)})
    with pytest.raises(UserError, match=r"holds no rig.*It holds: lora"):
        load_rig(path)
    with pytest.raises(UserError, match="nowhere"):
        load_rig(tmp_path / "nowhere.safetensors")


def test_the_format_is_written_into_the_file(rig):
    assert packed(rig)[1]["format"] == FORMAT == "portrait_rig.rig"
