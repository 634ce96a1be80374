"""DFR and RigNet: their sizes, what they do before training, and the tables of what is swapped."""

from __future__ import annotations

import pytest
import torch
from portrait_rig.core.errors import UserError
from portrait_rig.core.networks.rig import (
    COMPONENTS,
    DIFFERENCE,
    FULL,
    MODES,
    SUBSET,
    Dfr,
    RigNet,
    columns,
    dfr_from_tensors,
    given,
    inputs_of,
    rignet_from_tensors,
    swapped,
    with_columns,
)

DEEP3D = (("identity", 80), ("expression", 64), ("albedo", 80), ("angles", 3), ("light", 27), ("translation", 3))
"""StyleRig's 257 parameters."""
TAGGED = (("identity", 2), ("expression", 2), ("albedo", 1), ("gaze", 1), ("angles", 3), ("light", 2),
          ("translation", 1))  # fmt: skip
OWNERS = ("w", "v", "edited")


def numbers(module):
    return sum(weight.numel() for weight in module.parameters())


def codes(pictures=2, num_ws=4, w_dim=6, seed=0):
    return torch.randn(pictures, num_ws, w_dim, generator=torch.Generator().manual_seed(seed))


def tagged(owner):
    """[1, 12]: each number says by its hundreds whose it is, by the rest its place in the row."""
    return torch.arange(12.0)[None] + 100 * OWNERS.index(owner)


def owners(row):
    """For each group who all its numbers come from, after a check that every number is in its place."""
    assert torch.equal(row % 100, torch.arange(12.0)[None])
    parts = (row // 100).long().split([count for _, count in TAGGED], 1)
    assert all((part == part[0, 0]).all() for part in parts)
    return {name: OWNERS[part[0, 0]] for (name, _), part in zip(TAGGED, parts, strict=True)}


# Sizes ---------------------------------------------------------------------------------------------------------------


def test_published_sizes():
    rig = RigNet(18, 512, inputs_of(FULL, DEEP3D, "pose"), FULL)
    assert (numbers(rig.encoders), numbers(rig.decoders)) == (295_488, 2_672_640)
    assert numbers(Dfr(18, 512, 257)) == 5_113_601
    assert set(rig.state_dict()) == {
        f"{part}.{i}.{kind}" for part in ("encoders", "decoders") for i in range(18) for kind in ("weight", "bias")
    }


def test_what_a_decoder_sees():
    assert inputs_of(FULL, DEEP3D, "light") == 257
    for mode in (SUBSET, DIFFERENCE):
        assert [inputs_of(mode, DEEP3D, name) for name in ("pose", "expression", "light")] == [3, 64, 27]
    places = columns(DEEP3D, "pose")
    present, wanted = torch.rand(2, 3, 257, generator=torch.Generator().manual_seed(0))
    assert given(FULL, present, wanted, places) is wanted
    assert torch.equal(given(SUBSET, present, wanted, places), wanted[:, 224:227])
    assert torch.equal(given(DIFFERENCE, present, wanted, places), wanted[:, 224:227] - present[:, 224:227])


def test_components_take_the_columns_of_their_groups():
    assert columns(TAGGED, "pose") == [6, 7, 8]
    assert columns(TAGGED, "expression") == [2, 3, 5]  # the gaze belongs to it
    assert columns(TAGGED, "light") == [9, 10]
    with pytest.raises(UserError, match="'age' is nothing that a rig edits; it edits pose, expression, light"):
        columns(TAGGED, "age")


# Before training -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("layers", [None, (0, 2)])
def test_an_untrained_rignet_changes_nothing(mode, layers):
    ws = codes()
    assert torch.equal(RigNet(4, 6, 5, mode, layers)(ws, torch.randn(2, 5)), ws)


def test_an_untrained_dfr_says_the_mean_of_everyone():
    torch.manual_seed(0)
    mean = torch.arange(9.0)
    network = Dfr(4, 6, 9, mean=mean)
    told = network(codes(50))
    assert (told - mean).abs().max() < 0.02  # 0.008 measured
    assert (told - mean).abs().max() > 0


def test_layers_that_are_left_out_have_no_weights_and_pass():
    rig = RigNet(4, 6, 5, layers=(1, 2))
    for decoder in rig.decoders.values():
        torch.nn.init.normal_(decoder.weight)
    ws = codes()
    moved = rig(ws, torch.ones(2, 5))
    assert [bool((moved[:, i] != ws[:, i]).any()) for i in range(4)] == [False, True, True, False]
    assert {key.split(".")[1] for key in rig.state_dict()} == {"1", "2"}


def test_layers_do_not_see_each_other():
    rig = RigNet(4, 6, 5)
    for decoder in rig.decoders.values():
        torch.nn.init.normal_(decoder.weight)
    ws, wanted = codes(), torch.ones(2, 5)
    other = ws.clone()
    other[:, 2] += 1
    same = (rig(ws, wanted) == rig(other, wanted)).all(2)
    assert same.tolist() == [[True, True, False, True]] * 2


def test_gradients_reach_codes_wishes_and_weights():
    rig = RigNet(2, 3, 2).double()
    for decoder in rig.decoders.values():
        torch.nn.init.normal_(decoder.weight)
    ws, wanted = codes(2, 2, 3).double().requires_grad_(), torch.randn(2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rig, (ws, wanted))
    dfr = Dfr(2, 3, 4, 5).double()
    assert torch.autograd.gradcheck(dfr, (ws,))


def test_no_picture_at_all():
    assert RigNet(4, 6, 5)(codes(0), torch.zeros(0, 5)).shape == (0, 4, 6)
    assert Dfr(4, 6, 9)(codes(0)).shape == (0, 9)


# Swap tables ---------------------------------------------------------------------------------------------------------

TABLES = {"pose": {"angles"}, "expression": {"expression", "gaze"}, "light": {"light"}}
"""The groups that each network edits: in L_edit they come from the edited code, in L_consist they do not."""


@pytest.mark.parametrize("component", COMPONENTS)
def test_swap_tables(component):
    own, other, edited = (tagged(owner) for owner in OWNERS)
    for_edit, for_consistency = swapped(own, other, edited, columns(TAGGED, component))
    names = [name for name, _ in TAGGED]
    assert owners(for_edit) == {name: "edited" if name in TABLES[component] else "v" for name in names}
    assert owners(for_consistency) == {name: "w" if name in TABLES[component] else "edited" for name in names}


def test_a_swap_leaves_its_inputs_and_takes_gradients_from_both():
    rows, donor = torch.zeros(1, 4, requires_grad=True), torch.ones(1, 4, requires_grad=True)
    mixed = with_columns(rows, donor, [1, 3])
    assert mixed.tolist() == [[0, 1, 0, 1]] and rows.tolist() == [[0] * 4]
    mixed.sum().backward()
    assert rows.grad.tolist() == [[1, 0, 1, 0]] and donor.grad.tolist() == [[0, 1, 0, 1]]
    assert torch.equal(with_columns(rows, donor, []), rows)


# Files and refusals --------------------------------------------------------------------------------------------------


def test_sizes_are_recovered_from_weights():
    dfr = Dfr(5, 7, 11, 13)
    found = dfr_from_tensors(dfr.state_dict(), 5)
    assert (found.num_ws, found.w_dim, found.outputs, found.width) == (5, 7, 11, 13)
    assert torch.equal(found(codes(2, 5, 7)), dfr(codes(2, 5, 7)))
    rig = RigNet(12, 7, 4, SUBSET, layers=(2, 10, 11), hidden=6)
    for decoder in rig.decoders.values():
        torch.nn.init.normal_(decoder.weight)
    same = rignet_from_tensors(rig.state_dict(), 12, SUBSET)
    assert (same.layers, same.hidden, same.inputs, same.mode) == ((2, 10, 11), 6, 4, SUBSET)
    ws, wanted = codes(2, 12, 7), torch.ones(2, 4)
    assert torch.equal(same(ws, wanted), rig(ws, wanted))
    assert not any(weight.requires_grad for weight in (*found.parameters(), *same.parameters()))


def test_foreign_codes_are_refused_with_both_shapes():
    for network, more in ((Dfr(4, 6, 9), ()), (RigNet(4, 6, 5), (torch.zeros(2, 5),))):
        with pytest.raises(UserError, match=r"codes \[pictures, 4, 6\]; got \[2, 5, 6\]"):
            network(codes(2, 5), *more)
        with pytest.raises(UserError, match=r"got \[2, 6\]"):
            network(codes()[:, 0], *more)


@pytest.mark.parametrize("layers", [(2, 1), (1, 1), (0, 4), (-1,)], ids=str)
def test_layers_that_are_no_choice(layers):
    with pytest.raises(UserError, match="no rising choice of the 4"):
        RigNet(4, 6, 5, layers=layers)


def test_an_unknown_mode():
    with pytest.raises(UserError, match="'relative' is no input of a RigNet's decoder; there are absolute_full"):
        RigNet(4, 6, 5, "relative")


def test_weights_that_contradict_each_other():
    dfr, rig = Dfr(4, 6, 9, 8).state_dict(), RigNet(4, 6, 5).state_dict()
    with pytest.raises(ValueError, match="24 inputs do not come from 5 codes"):
        dfr_from_tensors(dfr, 5)
    with pytest.raises(UserError, match=r"missing: layers\.2\.bias"):
        dfr_from_tensors({key: value for key, value in dfr.items() if key != "layers.2.bias"}, 4)
    with pytest.raises(UserError, match=r"missing: decoders\.3\.bias"):
        rignet_from_tensors({key: value for key, value in rig.items() if key != "decoders.3.bias"}, 4, DIFFERENCE)
    with pytest.raises(UserError, match="no rising choice of the 3"):
        rignet_from_tensors(rig, 3, DIFFERENCE)
