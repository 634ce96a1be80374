"""Talking clips: lips that fit the sound, a face that lives, and the same clip every time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from portrait_rig.core.errors import UserError
from portrait_rig.core.toon.phonemes import PHONEMES, SILENCE, is_vowel
from portrait_rig.core.toon.speech import Phone, spoken
from portrait_rig.core.toon.voice import RATE, Voice, speak
from portrait_rig.core.toon.world import ToonWorld, scene
from portrait_rig.core.toon.world.hearing import hear
from portrait_rig.core.toon.world.liveliness import Accent, moments
from portrait_rig.core.toon.world.talking import babbling, talking, talking_along
from portrait_rig.core.toon.world.visemes import APART, ARTICULATORS, SHUT, VISEMES, both_sides, mouth_at
from scipy.signal import resample_poly

SEEDS = range(4)
LIPS = (62, 66)
"""The middles of the inner lips among the 68 landmarks, upper and lower."""


@pytest.fixture(scope="module")
def world():
    return ToonWorld.load()


@pytest.fixture(scope="module")
def clips():
    return [babbling(seed, 3.0) for seed in SEEDS]


def gaps(world, clip):
    """[N] head units between the inner lips, whatever the pose."""
    params, head = clip.params(world, 128), world.head.landmark_basis()
    points = head.landmarks(head.vertices(params.identity, params.expression, params.joints))
    return (points[:, LIPS[0], 1] - points[:, LIPS[1], 1]).numpy()


def times(clip):
    return (np.arange(len(clip)) + 0.5) / clip.fps


def strength(clip, name):
    return np.array([moment.expression[name] for moment in clip.scenes])


# The mouth -----------------------------------------------------------------------------------------------------------


def test_every_sound_has_a_shape_of_known_expressions(world):
    assert {phoneme.viseme for phoneme in PHONEMES.values()} == VISEMES.keys()
    known = {name for names in ARTICULATORS.values() for name in names}
    assert {name for viseme in VISEMES.values() for name in viseme.shape} <= known and set(APART) <= known
    assert both_sides(dict.fromkeys(known, 0.5)).keys() <= set(world.head.expression.names)


def test_lips_are_shut_for_p_b_and_m(world, clips):
    """Largest gap in a closure 0.0026 head units, a thousandth of the head; open vowels have 0.1 and more."""
    shut = [
        gap
        for clip in clips
        for gap, time in zip(gaps(world, clip), times(clip), strict=True)
        if any(p.start <= time < p.opening and PHONEMES[p.phoneme].viseme in SHUT for p in clip.phones)
    ]
    assert len(shut) > 10 and max(shut) < 0.004


def test_each_closure_has_a_frame(clips):
    for clip in clips:
        for phone in clip.phones:
            if PHONEMES[phone.phoneme].viseme in SHUT:
                assert ((times(clip) >= phone.start) & (times(clip) < phone.opening)).any()


def test_louder_vowels_open_the_mouth_more(world, clips):
    """Correlation of a vowel's widest gap with its loudness: 0.72 on average."""
    found = []
    for clip in clips:
        gap, loud, wide = gaps(world, clip), [], []
        for phone in clip.phones:
            frames = (times(clip) >= phone.start) & (times(clip) < phone.end)
            if is_vowel(phone.phoneme) and frames.any():
                wide.append(gap[frames].max())
                loud.append(clip.waveform[int(phone.start * RATE) : int(phone.end * RATE)].square().mean().sqrt())
        found.append(np.corrcoef(wide, loud)[0, 1])
    assert np.mean(found) > 0.62


def test_the_mouth_rests_in_pauses(world):
    clip = talking(scene(3), spoken("[AA1]. [AA1]"))
    gap, at, pause = gaps(world, clip), times(clip), clip.phones[2]
    assert pause.phoneme == SILENCE
    assert gap[(at > pause.start + 0.15) & (at < pause.end - 0.15)].max() < 0.2 * gap.max()


def test_lips_round_before_a_rounded_vowel():
    """Cohen & Massaro: in [s uw] the lips are rounded in [s], in [s iy] they are not."""
    early = {}
    for vowel in ("uw", "iy"):
        phones = (Phone("s", 0.0, 0.12), Phone(vowel, 0.12, 0.4, 1.0))
        early[vowel] = mouth_at(phones, np.array([0.09]))["mouthPucker"][0]
    assert early["uw"] > 0.3 > 0.05 > early["iy"]


def test_held_sounds_show_their_own_shape():
    for name, phoneme in PHONEMES.items():
        if phoneme.viseme not in SHUT:
            shown = mouth_at((Phone(name, 0.0, 2.0, 1.0),), np.array([1.0]))
            shape = VISEMES[phoneme.viseme].shape
            assert all(shown[key][0] == pytest.approx(shape.get(key, 0.0)) for key in shown), name


def test_unstressed_vowels_open_less():
    strong, weak = (mouth_at((Phone("aa", 0.0, 0.3, s),), np.array([0.1]))["jawOpen"][0] for s in (1.0, 0.0))
    assert weak < 0.6 * strong


# The rest of the face ------------------------------------------------------------------------------------------------


def test_people_blink_look_about_and_nod(clips):
    shut = [strength(clip, "eyeBlink_L") > 0.5 for clip in clips]
    blinks = sum(int((after & ~before).sum()) for before, after in ((each[:-1], each[1:]) for each in shut))
    assert 2 <= blinks <= 9 and sum(each.sum() for each in shut) < 6 * blinks
    for clip in clips:
        assert len({moment.gaze for moment in clip.scenes}) > 10
        turns = np.array([(m.view.pitch, m.view.yaw, m.view.roll) for m in clip.scenes])
        assert (turns.std(0) > 0.003).all() and np.abs(np.diff(turns, axis=0)).max() < 0.04


def test_strengths_stay_between_none_and_full(clips):
    values = np.array([list(moment.expression.values()) for clip in clips for moment in clip.scenes])
    assert values.min() >= 0 and values.max() <= 1


def test_nods_and_brows_follow_accents():
    at = np.arange(0, 3, 0.04)
    still = {name: np.zeros(len(at)) for names in ARTICULATORS.values() for name in names}
    beats = [Accent(time, 1.0) for time in (0.5, 1.0, 1.5, 2.0, 2.5)]
    calm, lively = (moments(scene(1), still, accents, at, 8) for accents in ([], beats))
    nod = np.array([b.view.pitch - a.view.pitch for a, b in zip(calm, lively, strict=True)])
    assert abs(at[nod.argmax()] % 0.5 - 0.04) < 0.08 and nod.max() == pytest.approx(0.045, abs=0.003)
    brows = [max(m.expression["browOuterUp_L"] for m in found) for found in (calm, lively)]
    assert brows[0] == 0 and brows[1] > 0.4


# Clips ---------------------------------------------------------------------------------------------------------------


def test_a_clip_is_that_of_its_seed():
    first, again, other = babbling(7, 1.5), babbling(7, 1.5), babbling(8, 1.5)
    assert first.scenes == again.scenes and torch.equal(first.waveform, again.waveform)
    assert first.scenes != other.scenes


def test_another_number_of_frames_shows_the_same():
    said = spoken("[B AA1 M UW1]")
    slow, fast = (talking(scene(2), said, 1, fps) for fps in (10.0, 30.0))
    assert torch.equal(slow.waveform[: len(fast.waveform)], fast.waveform[: len(slow.waveform)])
    # frame i of 10 a second shows the moment of frame 3i + 1 of 30
    for index, moment in enumerate(slow.scenes[: len(fast) // 3]):
        same = fast.scenes[3 * index + 1]
        assert moment.expression == pytest.approx(same.expression) and moment.gaze == pytest.approx(same.gaze)


@pytest.mark.parametrize("fps", [10.0, 23.976, 25.0, 60.0])
def test_sound_and_frames_are_equally_long(fps):
    clip = babbling(1, 1.3, fps)
    assert len(clip.waveform) == round(len(clip) / fps * RATE) and len(clip) >= 1.3 * fps > len(clip) - 1


def test_the_person_stays_who_it_is(clips):
    for seed, clip in zip(SEEDS, clips, strict=True):
        person = scene(seed)
        assert all((m.identity, m.albedo, m.hair) == (person.identity, person.albedo, person.hair) for m in clip.scenes)


def test_parameters_are_those_of_the_pictures(world):
    clip = talking(scene(4), spoken("[AA1]"), fps=10.0)
    params = clip.params(world, 48)
    drawn = world.render(clip.scenes[1], 48)
    assert len(params) == len(clip)
    assert torch.equal(params[1:2].expression, drawn.params.expression)
    assert torch.equal(params[1:2].translation, drawn.params.translation)


@pytest.mark.parametrize("fps", [0.0, 4.0, 200.0, float("nan")])
def test_too_few_and_too_many_frames_are_refused(fps):
    with pytest.raises(UserError, match="5 to 120 frames a second"):
        babbling(1, 1.0, fps)


# Sounds from elsewhere -----------------------------------------------------------------------------------------------


def test_the_mouth_follows_a_foreign_sound(world, clips):
    """Correlation with the mouth that knows the sounds: 0.73 on average."""
    found = []
    for seed, clip in zip(SEEDS, clips, strict=True):
        heard = talking_along(scene(seed), clip.waveform, clip.rate, seed)
        assert len(heard) == len(clip) and heard.phones == () and heard.rate == RATE
        found.append(np.corrcoef(gaps(world, heard), gaps(world, clip))[0, 1])
    assert np.mean(found) > 0.65


def test_it_follows_whatever_the_rate(world, clips):
    clip = clips[0]
    faster = torch.from_numpy(resample_poly(clip.waveform.numpy(), 441, 160)).float()
    one, two = (talking_along(scene(0), sound, rate) for sound, rate in ((clip.waveform, RATE), (faster, 44100)))
    assert two.rate == 44100 and np.corrcoef(gaps(world, one), gaps(world, two))[0, 1] > 0.99


def test_vowels_are_told_apart():
    """Open and bright as a phonetician would say."""
    said = spoken("[AA1]. [IY1]. [UW1]. [S]")
    heard = hear(speak(said, Voice()), RATE)
    sounds = {p.phoneme: (heard.times > p.start + 0.04) & (heard.times < p.end - 0.04) for p in said.phones}
    opened, bright, hiss = (
        {name: values[at].mean() for name, at in sounds.items()} for values in (heard.open, heard.bright, heard.hiss)
    )
    assert opened["aa"] > 0.7 > 0.4 > max(opened["iy"], opened["uw"])
    assert bright["iy"] > bright["uw"] + 0.3
    assert hiss["s"] > 0.8 > 0.1 > hiss["aa"]


@pytest.mark.parametrize("sound", [torch.zeros(8000), 1e-6 * torch.ones(8000)])
def test_silence_keeps_the_mouth_shut(world, sound):
    assert gaps(world, talking_along(scene(0), sound, 16000)).max() < 0.01


def test_a_steady_tone_is_loud_throughout():
    tone = 0.3 * torch.sin(2 * torch.pi * 220 * torch.arange(16000) / 16000)
    assert hear(tone, 16000).loud[10:-10].min() > 0.9


def test_a_quiet_recording_opens_the_mouth_as_wide(world, clips):
    one, two = (talking_along(scene(0), gain * clips[0].waveform, RATE) for gain in (1.0, 0.01))
    assert np.abs(gaps(world, one) - gaps(world, two)).max() < 0.01


def test_noise_and_rooms_do_not_disturb_it(world, clips):
    """Noise 10 dB below the speech: correlation with the undisturbed mouth 0.91; a room's echo of 75 ms: 0.95."""
    clean, random = clips[0].waveform, torch.Generator().manual_seed(0)
    noisy = clean + 10 ** (-10 / 20) * clean.std() * torch.randn(len(clean), generator=random)
    echo = 0.03 * torch.randn(4000, generator=random) * torch.exp(-torch.arange(4000) / 1200)
    echoing = clean + torch.from_numpy(np.convolve(clean, echo)[: len(clean)]).float()
    gap = gaps(world, talking_along(scene(0), clean, RATE))
    for sound in (noisy, echoing):
        assert np.corrcoef(gap, gaps(world, talking_along(scene(0), sound, RATE)))[0, 1] > 0.85


def test_channels_are_mixed_and_long_sounds_cut():
    clip = talking_along(scene(0), torch.rand(2, 16000) - 0.5, 8000, fps=10.0, seconds=0.55)
    assert len(clip) == 6 and clip.waveform.shape == (4800,) and not clip.waveform[4400:].any()


@pytest.mark.parametrize("length", [1, 2, 100])
def test_hardly_any_sound_is_a_frame(length):
    assert len(talking_along(scene(0), torch.ones(length), 16000)) == 1


@pytest.mark.parametrize(
    ("sound", "rate", "message"),
    [
        (torch.zeros(0), 16000, "needs samples and a rate"),
        (torch.zeros(100), 0, "needs samples and a rate"),
        (torch.zeros(2, 2, 100), 16000, "needs samples and a rate"),
        (torch.full((100,), torch.nan), 16000, "no numbers"),
    ],
)
def test_what_is_no_sound_is_refused(sound, rate, message):
    with pytest.raises(UserError, match=message):
        talking_along(scene(0), sound, rate)
