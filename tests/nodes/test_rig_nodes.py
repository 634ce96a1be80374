"""The nodes of a rig as ComfyUI calls them: keywords, defaults, inside inference mode."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import replace

import pytest
import torch
import toy_rig
import untrained
from node_calls import call, refuses
from portrait_rig.core.checkpoints import save_safetensors
from portrait_rig.core.methods.rig import REACH, SLIDER_REACH, edit, read_params, save_rig
from portrait_rig.core.networks.rig import COMPONENTS, DIFFERENCE, Corrector, Dfr, RigNet, inputs_of
from portrait_rig.core.types import GeneratorId, Latent
from portrait_rig.nodes import face_params, rig, rig_sheet

SIZE = (8, 8)
EDITS = 50
MOST_MILLISECONDS = 5.0
"""For an edit of one latent of 10 × 256 codes; 1.3 to 2.0 measured on one core of a busy machine, 3.5 for 18 × 512."""


@pytest.fixture(autouse=True)
def folder(home):
    """The model folder of this test alone."""
    return home / "models" / "portrait_rig"


@pytest.fixture(scope="module")
def generator():
    return untrained.small((4, 4), "tiny", w_dim=toy_rig.W_DIM)


@pytest.fixture(scope="module")
def exact(head, generator):
    return toy_rig.exact_rig(head, generator.id, SIZE)


@pytest.fixture
def latent(exact, people):
    return toy_rig.showing(exact, people)


def shown(exact, latent):
    """What the latents show, through the rig's camera."""
    return exact.framed(read_params(exact, latent))


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


# Load Rig ------------------------------------------------------------------------------------------------------------


def test_a_file_loads_and_says_what_it_is(exact, folder, latent):
    save_rig(folder / "mine.safetensors", exact)
    found, about = call(rig.LoadRig, file="mine.safetensors")
    assert "mine: for 'tiny' (8×8" in about and "RigNet for light" in about
    assert not any(t.is_inference() for module in found.modules for t in (*module.parameters(), *module.buffers()))
    assert torch.equal(call(rig.ReadFaceParams, rig=found, latent=latent)[0].angles,
                       call(rig.ReadFaceParams, rig=exact, latent=latent)[0].angles)  # fmt: skip


def test_the_folder_is_offered_and_a_replaced_file_is_loaded_anew(exact, folder):
    save_rig(folder / "mine.safetensors", exact)
    (combo,) = rig.LoadRig.GET_SCHEMA().inputs
    assert combo.options["options"] == ["toon_rig.safetensors", "mine.safetensors"]
    before = rig.LoadRig.fingerprint_inputs(file="mine.safetensors")
    assert before == rig.LoadRig.fingerprint_inputs(file="mine.safetensors")
    (folder / "mine.safetensors").write_bytes(b"other")
    assert before != rig.LoadRig.fingerprint_inputs(file="mine.safetensors")


def test_missing_truncated_and_foreign_files(exact, folder):
    refuses(r"'nobody\.safetensors' is missing\. Put it into", rig.LoadRig, file="nobody.safetensors")
    save_safetensors(folder / "lora.safetensors", {"lora.weight": torch.zeros(3)})
    refuses(r"'lora\.safetensors' holds no rig", rig.LoadRig, file="lora.safetensors")
    save_rig(folder / "half.safetensors", exact)
    (folder / "half.safetensors").write_bytes((folder / "half.safetensors").read_bytes()[:5000])
    refuses(r"'half\.safetensors'", rig.LoadRig, file="half.safetensors")


# Read Face Params ----------------------------------------------------------------------------------------------------


def test_a_latent_is_read_on_the_generators_pictures(exact, latent, people):
    params, about = call(rig.ReadFaceParams, rig=exact, latent=latent)
    assert params.camera.size == SIZE and len(params) == 3
    close(params.angles, people.angles)
    yaw = math.degrees(people.angles[0, 1])
    lines = about.splitlines()
    assert lines[0] == "toon-head: 3 faces" and lines[1].startswith(f"1: yaw {yaw:.0f}°, pitch") and len(lines) == 4


def test_of_many_faces_only_the_first_are_told(exact, latent):
    many = replace(latent, w=latent.w.repeat(10, 1, 1))
    assert len(call(rig.ReadFaceParams, rig=exact, latent=many)[1].splitlines()) == 1 + rig.TOLD


def test_what_was_read_is_edited_by_the_nodes_of_faces_and_brought_back(exact, latent, head, people):
    params, _ = call(rig.ReadFaceParams, rig=exact, latent=latent)
    (turned,) = call(face_params.EditFaceParams, face_params=params, face_model=head, yaw=-6.0)
    changed, _ = call(rig.RigNetEdit, rig=exact, latent=latent, source_params=turned)
    close(shown(exact, changed).angles, people.angles + torch.tensor([0.0, math.radians(-6), 0.0]))


# RigNet Edit ---------------------------------------------------------------------------------------------------------


def test_nothing_asked_is_nothing_changed(exact, latent):
    changed, asked = call(rig.RigNetEdit, rig=exact, latent=latent)
    assert torch.equal(changed.w, latent.w) and changed.generator == latent.generator
    assert torch.equal(asked.angles, call(rig.ReadFaceParams, rig=exact, latent=latent)[0].angles)


def test_sliders(exact, latent, head, people):
    changed, asked = call(
        rig.RigNetEdit, rig=exact, latent=latent, face_model=head,
        pose="replace", yaw=20.0, jaw_open=0.2, expressions="tongueOut=0", light="replace", light_azimuth=30.0,
    )  # fmt: skip
    found = shown(exact, changed)
    close(torch.rad2deg(found.angles) / 20, torch.tensor([[0.0, 1.0, 0.0]] * 3))
    place = head.expression.names.index("jawOpen")
    close(found.expression[:, place], people.expression[:, place] + 0.2)
    close(found.light, exact.framed(asked).light)
    close(found.identity, people.identity)
    assert asked.camera.size == SIZE and asked.angles.device.type == "cpu"


def test_another_latent_gives_its_pose_and_expression_but_not_its_light(exact, latent, people, others):
    changed, _ = call(rig.RigNetEdit, rig=exact, latent=latent, source_latent=toy_rig.showing(exact, others))
    found = shown(exact, changed)
    close(found.angles, others.angles)
    close(found.expression, others.expression)
    close(found.light, people.light)
    lit, _ = call(
        rig.RigNetEdit, rig=exact, latent=latent, source_latent=toy_rig.showing(exact, others),
        take_pose=False, take_expression=False, take_light=True,
    )  # fmt: skip
    found = shown(exact, lit)
    close(found.light, others.light)
    close(found.angles, people.angles)


def test_moods_by_hand_go_further_than_those_of_a_source(exact, latent, head):
    """A rig whose training faces hardly opened their mouths."""
    place = [name for name, count in exact.coding.groups for _ in range(count)].index("expression")
    place += head.expression.names.index("jawOpen")
    coding = copy.deepcopy(exact.coding)
    coding.scale[place] = 0.02
    narrow = replace(exact, coding=coding)
    wish = {"rig": narrow, "latent": latent, "face_model": head, "expressions": "jawOpen=0.9"}
    by_hand, _ = call(rig.RigNetEdit, **wish)
    with_source, _ = call(rig.RigNetEdit, **wish, source_latent=latent, take_pose=False, take_expression=False)
    far = [narrow.rows(changed.w)[:, place] for changed in (by_hand, with_source)]
    torch.testing.assert_close(far[0], torch.full_like(far[0], SLIDER_REACH["expression"]), rtol=0, atol=0.05)
    torch.testing.assert_close(far[1], torch.full_like(far[1], REACH), rtol=0, atol=0.05)


def test_one_face_drives_many_and_many_drive_one(exact, latent, others):
    for few, many in ((latent[:1], others), (latent, others[:1])):
        changed, asked = call(rig.RigNetEdit, rig=exact, latent=few, source_params=many)
        assert len(changed) == len(asked) == 3
        close(shown(exact, changed).angles, many.angles.expand(3, -1))


def test_strength(exact, latent, people, others):
    changed, _ = call(rig.RigNetEdit, rig=exact, latent=latent, source_params=others, strength=0.5)
    close(shown(exact, changed).angles, (people.angles + others.angles) / 2)


def test_inputs_stay_as_they_were(exact, latent, others, head):
    before = latent.w.clone(), others.angles.clone()
    call(rig.RigNetEdit, rig=exact, latent=latent, source_params=others, yaw=5.0, smile=0.5, face_model=head)
    assert torch.equal(latent.w, before[0]) and torch.equal(others.angles, before[1])


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (lambda i: {"latent": replace(i["latent"], generator=GeneratorId("ffhq", "f2"))}, r"'ffhq'.*for 'tiny'"),
        (lambda i: {"source_latent": replace(i["latent"], generator=GeneratorId("ffhq", "f2"))}, r"'ffhq'.*for 'tiny'"),
        (lambda i: {"source_params": replace(i["others"], layout="flame")}, r"'flame'.*'toon-head'"),
        (lambda i: {"source_params": i["others"][:2]}, r"target: 3, source: 2"),
        (lambda i: {"source_params": i["others"].map(lambda t: t * math.nan)}, "no numbers"),
        (lambda i: {"source_params": i["others"], "source_latent": i["latent"]}, "Two sources are connected"),
        (lambda i: {"latent": i["latent"][:0]}, "There is no latent"),
        (lambda i: {"latent": Latent(i["latent"].w[:, :3], i["latent"].generator)}, r"codes \[pictures, 4, 48\]"),
        (lambda i: {"latent": Latent(i["latent"].w * math.inf, i["latent"].generator)}, "no numbers"),
        (lambda i: {"smile": 0.5}, "'toon-head' knows, and none is connected"),
        (lambda i: {"expressions": "wag", "face_model": i["head"]}, "'wag' is not understood"),
        (lambda i: {"expressions": "wag=1", "face_model": i["head"]}, "no expression named 'wag'"),
    ],
)
def test_what_an_edit_refuses(exact, latent, others, head, inputs, words):
    known = {"latent": latent, "others": others, "head": head}
    refuses(words, rig.RigNetEdit, **{"rig": exact, "latent": latent, **inputs(known)})


def test_an_edit_is_fast(exact, others):
    """With as many weights as the embedded rig has; in the processor's time, so that other work does not matter."""
    groups = exact.coding.groups
    nets = {name: RigNet(10, 256, inputs_of(DIFFERENCE, groups, name)) for name in COMPONENTS}
    corrector = Corrector(torch.zeros(len(exact.coding), 10, 256))
    real = replace(exact, dfr=Dfr(10, 256, len(exact.coding)), rignets=nets, corrector=corrector)
    one, face = Latent(torch.zeros(1, 10, 256), exact.generator), others[:1]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            edit(real, one, face, ["pose"])
            start = time.process_time()
            for _ in range(EDITS):
                edit(real, one, face, ["pose"])
            spent = (time.process_time() - start) / EDITS
    finally:
        torch.set_num_threads(threads)
    assert spent * 1000 < MOST_MILLISECONDS


# Rig Sheet -----------------------------------------------------------------------------------------------------------


def test_a_sheet_for_every_latent(exact, generator, latent, head):
    image, cells = call(
        rig_sheet.RigSheet, stylegan=generator, rig=exact, latent=latent[:2], face_model=head, columns=3, rows=2,
        height=16, mood="jaw_open", mood_last=0.2,
    )  # fmt: skip
    assert len(image) == 2 and image.shape[3] == 3 and 0 <= image.min() < image.max() <= 1
    yaw = torch.rad2deg(shown(exact, cells).angles[:, 1]).reshape(2, 2, 3)
    torch.testing.assert_close(yaw, torch.tensor([-25.0, 0.0, 25.0]).expand(2, 2, 3), rtol=0, atol=0.05)
    with torch.inference_mode():
        drawn = generator.draw(cells[:1]).clamp(0, 1)
    small = torch.nn.functional.interpolate(drawn, (16, 16), mode="bicubic", antialias=True).clamp(0, 1)[0]
    windows = image[0].permute(2, 0, 1).unfold(1, 16, 1).unfold(2, 16, 1)
    assert (windows - small[:, None, None]).abs().amax((0, 3, 4)).min() < 1e-5  # the first cell is on it as drawn


def test_a_sheet_of_lights_needs_no_face_model(exact, generator, latent):
    image, cells = call(
        rig_sheet.RigSheet, stylegan=generator, rig=exact, latent=latent[:1], grid=rig_sheet.LIGHTS, columns=2, rows=1,
        height=16,
    )  # fmt: skip
    assert len(image) == 1 and len(cells) == 2
    assert (shown(exact, cells).light[0] - shown(exact, cells).light[1]).abs().max() > 0.1


@pytest.mark.parametrize("channels", [1, 4])
def test_a_sheet_of_a_generator_of_grey_or_transparent_pictures(exact, latent, channels):
    other = untrained.small((4, 4), "other", img_channels=channels, w_dim=toy_rig.W_DIM)
    given = {"rig": replace(exact, generator=other.id), "latent": replace(latent[:1], generator=other.id)}
    image, _ = call(rig_sheet.RigSheet, stylegan=other, grid=rig_sheet.LIGHTS, columns=1, rows=1, height=16, **given)
    assert image.shape[3] == 3


def test_what_a_sheet_refuses(exact, generator, latent, head):
    given = {"stylegan": generator, "rig": exact, "latent": latent, "face_model": head}
    foreign = replace(latent, generator=GeneratorId("ffhq", "f2"))
    refuses(r"'ffhq'.*'tiny'", rig_sheet.RigSheet, **{**given, "latent": foreign})
    other = replace(exact, generator=GeneratorId("ffhq", "f2"))
    refuses(r"'tiny'.*for 'ffhq'", rig_sheet.RigSheet, **{**given, "rig": other})
    refuses("There is no latent", rig_sheet.RigSheet, **{**given, "latent": latent[:0]})
    refuses("none is connected", rig_sheet.RigSheet, **{**given, "face_model": None})


def test_a_cancel_ends_a_sheet(exact, generator, latent, head, monkeypatch):
    from portrait_rig.nodes.standin import runtime

    def cancel():
        raise runtime.InterruptProcessingException

    monkeypatch.setattr(runtime, "throw_exception_if_processing_interrupted", cancel)
    with pytest.raises(runtime.InterruptProcessingException):
        call(rig_sheet.RigSheet, stylegan=generator, rig=exact, latent=latent, face_model=head)
