"""The toon voice: what is said and when, and whether the sound has what makes those sounds of speech."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from portrait_rig.core.errors import UserError
from portrait_rig.core.toon.phonemes import COMPOUNDS, PHONEMES, SILENCE, is_vowel
from portrait_rig.core.toon.speech import (
    CODAS,
    COMMON,
    NUCLEI,
    ONSETS,
    SHORTEST,
    SPELLINGS,
    Phone,
    Phrase,
    Utterance,
    babble,
    spoken,
)
from portrait_rig.core.toon.voice import RATE, Voice, pitch_at, speak, voice_of

MAN = Voice()


def names(utterance):
    return [phone.phoneme for phone in utterance.phones if phone.phoneme != SILENCE]


def held(*phonemes, seconds=0.3, stress=1.0):
    """Each sound by itself between silences."""
    phones = [Phone(SILENCE, 0.0, 0.2)]
    for name in phonemes:
        end = phones[-1].end
        phones += [Phone(name, end, end + seconds, stress), Phone(SILENCE, end + seconds, end + seconds + 0.2)]
    return Utterance(tuple(phones), (Phrase(0.2, phones[-2].end),))


def piece(sound, phone, margin=0.05):
    """The samples of a sound's middle."""
    return sound[int((phone.start + margin) * RATE) : int((phone.end - margin) * RATE)].numpy()


def level(sound):
    """Decibels."""
    return 10 * np.log10((sound**2).mean() + 1e-12)


def spectrum(sound):
    """Hertz and power, smoothed over 100 Hz so that harmonics of the voice do not show."""
    power = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), RATE)) ** 2
    return np.arange(len(power)), np.convolve(power, np.hanning(240), mode="same")


# What is said --------------------------------------------------------------------------------------------------------


def test_every_sound_that_rules_give_is_known():
    written = [*SPELLINGS.values(), *COMMON.values()]
    for name in {part.rstrip("1") for text in written for part in text.split()}:
        assert set(COMPOUNDS.get(name, (name,))) <= PHONEMES.keys(), name
    assert {name for table in (ONSETS, NUCLEI, CODAS) for group in table for name in group} <= PHONEMES.keys()


@pytest.mark.parametrize("seconds", [SHORTEST, 1.0, 3.0, 7.3])
def test_babble_lasts_as_long_as_asked(seconds):
    for seed in range(20):
        phones = babble(seed, seconds).phones
        assert phones[0].start == 0 and phones[-1].end == pytest.approx(seconds, abs=1e-9)
        assert all(a.end == b.start for a, b in pairwise(phones))
        assert phones[-1].phoneme == phones[0].phoneme == SILENCE
        assert any(is_vowel(phone.phoneme) for phone in phones)


def test_babble_is_that_of_its_seed():
    assert babble(4, 3.0) == babble(4, 3.0) and names(babble(4, 3.0)) != names(babble(5, 3.0))


def test_babble_covers_the_inventory():
    assert {name for seed in range(40) for name in names(babble(seed, 6.0))} == PHONEMES.keys() - {SILENCE}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hello", "hh ah l ow uh"), ("ship", "sh ih p"), ("cake", "k eh iy k"), ("nice", "n aa ih s"),
        ("the moon", "dh ah m uw n"), ("señor", "s eh n ao r"), ("happy", "hh ae p iy"), ("yes", "y eh s"),
        ("go", "g ow uh"), ("queen", "k w iy n"), ("Cheese!", "t sh iy s"), ("don't", "d ow uh n t"),
        ("[HH AH0 L OW1]", "hh ah l ow uh"), ("[m, aa1, m, ah0]", "m aa m ah"),
    ],
)  # fmt: skip
def test_reading(text, expected):
    assert names(spoken(text)) == expected.split()


def test_marks_make_pauses_and_questions():
    plain, marked = spoken("we go home"), spoken("we go, home?")
    assert marked.seconds > plain.seconds and [p.question for p in marked.phrases] == [False, True]


def test_stress_is_as_written():
    phones = spoken("[B AA1 B AA0 B AA2]").phones
    assert [phone.stress for phone in phones if is_vowel(phone.phoneme)] == [1.0, 0.0, 0.6]


@pytest.mark.parametrize("text", ["", "  ?!", "你好", "123"])
def test_what_has_no_letters_is_refused(text):
    with pytest.raises(UserError, match="Nothing in the text"):
        spoken(text)


def test_unknown_sounds_and_endless_texts_are_refused():
    with pytest.raises(UserError, match=r"'XX' in brackets is no sound.*There are: IY"):
        spoken("[AA XX]")
    with pytest.raises(UserError, match="has 2001 characters"):
        spoken("a" * 2001)


@pytest.mark.parametrize(("seed", "seconds"), [(-1, 3.0), (1, 0.1), (1, float("nan")), (1, float("inf"))])
def test_babble_without_a_seed_or_time_is_refused(seed, seconds):
    with pytest.raises(UserError, match=r"must be 0 or more|at least 0\.8 seconds"):
        babble(seed, seconds)


def test_speech_cannot_be_squeezed():
    assert babble(1, 2.0).lasting(3.0).seconds == 3.0
    with pytest.raises(UserError, match=r"takes 2\.0 seconds"):
        babble(1, 2.0).lasting(1.5)


# How it sounds -------------------------------------------------------------------------------------------------------


def test_the_same_voice_says_the_same_twice():
    said = babble(2, 1.5)
    sound = speak(said, MAN, 5)
    assert torch.equal(sound, speak(said, MAN, 5)) and not torch.equal(sound, speak(said, MAN, 6))
    assert sound.dtype == torch.float32 and len(sound) == 1.5 * RATE
    assert sound.abs().max() == pytest.approx(0.7) and torch.isfinite(sound).all()


@pytest.mark.parametrize("name", ["iy", "eh", "aa", "uw", "er"])
def test_vowels_have_their_formants(name):
    """Peaks of the spectrum lie where the table says; a low voice, since formants show on its harmonics only."""
    said = held(name)
    hertz, power = spectrum(piece(speak(said, Voice(pitch=60.0)), said.phones[1]))
    for formant in PHONEMES[name].formants[:2]:
        near = np.abs(hertz - formant) < 120
        assert abs(hertz[near][power[near].argmax()] - formant) < 60


def test_a_short_throat_lifts_the_formants():
    said = held("aa")
    (hertz, low), (_, high) = (spectrum(piece(speak(said, Voice(throat=t)), said.phones[1])) for t in (1.0, 1.2))
    band = (hertz > 500) & (hertz < 2000)
    centre = [(hertz * power)[band].sum() / power[band].sum() for power in (low, high)]
    assert centre[1] > 1.1 * centre[0]


@pytest.mark.parametrize(("name", "peak", "width"), [("s", 6839, 900), ("sh", 3820, 700)])
def test_hissing_has_its_peak(name, peak, width):
    said = held(name)
    hertz, power = spectrum(piece(speak(said, MAN), said.phones[1]))
    assert abs((hertz * power).sum() / power.sum() - peak) < width


def test_levels_are_those_of_speech():
    said = held("aa", "iy", "m", "s", "f", "hh")
    sound = speak(said, MAN)
    loud = {phone.phoneme: level(piece(sound, phone)) for phone in said.phones}
    assert loud["aa"] > loud["iy"] > loud["m"]
    assert loud["aa"] - 25 < loud["s"] < loud["aa"] - 8 and loud["s"] - 18 < loud["f"] < loud["s"] - 6
    assert loud["aa"] - 30 < loud["hh"] < loud["aa"] - 8 and loud[SILENCE] < loud["aa"] - 60


def test_stressed_vowels_are_louder():
    strong, weak = (held("aa", "ah", stress=stress) for stress in (1.0, 0.0))
    both = Utterance(
        (*strong.phones[:2], *(Phone(p.phoneme, p.start + 0.5, p.end + 0.5, p.stress) for p in weak.phones[:2])),
        (Phrase(0.2, 1.0),),
    )
    sound = speak(both, MAN)
    assert level(piece(sound, both.phones[1])) - level(piece(sound, both.phones[3])) == pytest.approx(7, abs=1.5)


def test_stops_are_silent_before_they_burst():
    said = spoken("[AA1 P AA0]")
    stop = next(phone for phone in said.phones if phone.phoneme == "p")
    sound = speak(said, MAN).numpy()
    closed = sound[int((stop.start + 0.02) * RATE) : int((stop.opening - 0.01) * RATE)]
    burst = sound[int(stop.opening * RATE) : int((stop.opening + 0.01) * RATE)]
    assert level(burst) > level(closed) + 15


def test_a_burst_has_the_colour_of_its_place():
    """Where the tongue's tip has been there is more above 3.5 kHz than where the lips have been, for 10 ms only."""
    bright = {}
    for name in ("d", "b"):
        said = spoken(f"[AA1 {name} AA0]")
        opening = next(phone for phone in said.phones if phone.phoneme == name).opening
        sound = speak(said, MAN).numpy()
        for late in (0.0, 0.012):
            hertz, power = spectrum(sound[int((opening + late) * RATE) : int((opening + late + 0.01) * RATE)])
            bright[name, late] = 10 * np.log10(power[(hertz > 3500) & (hertz < 5500)].sum())
    assert bright["d", 0.0] > bright["b", 0.0] + 6 and bright["d", 0.0] > bright["d", 0.012] + 6


def test_the_voice_s_pitch_is_heard():
    """The strongest period between 60 and 300 Hz is the one that was asked for, to 3 % (measured: 1.5)."""
    said, voice = held("aa", seconds=0.5, stress=0.0), Voice(pitch=150.0, jitter=0.0)
    sound = piece(speak(said, voice), said.phones[1], 0.2)
    asked = pitch_at(said, voice, np.array([0.45]))[0]
    echo = np.correlate(sound, sound, "full")[len(sound) :]
    lags = np.arange(1, len(echo) + 1)
    near = (lags > RATE / 300) & (lags < RATE / 60)
    assert RATE / lags[near][echo[near].argmax()] == pytest.approx(asked, rel=0.03)


def test_questions_rise_and_statements_fall():
    asks, states = spoken("[AA1 M AA0 M AA0]?"), spoken("[AA1 M AA0 M AA0].")
    ends = [pitch_at(said, MAN, np.array([said.phrases[0].end]))[0] for said in (asks, states)]
    assert ends[0] > 1.4 * ends[1]


def test_voices_suit_faces():
    low, high = (np.mean([voice_of(p, 0.3, seed).pitch for seed in range(30)]) for p in (-1.0, 1.0))
    assert low == pytest.approx(115, rel=0.08) and high == pytest.approx(203, rel=0.08)
    assert voice_of(0.2, 0.3, 5) == voice_of(0.2, 0.3, 5) != voice_of(0.2, 0.3, 6)


def test_speech_without_hisses_and_without_voice():
    assert speak(held("aa"), MAN).abs().max() == pytest.approx(0.7)
    assert speak(held("s"), MAN).abs().max() == pytest.approx(0.7)


def test_silence_is_silent():
    assert not speak(Utterance((Phone(SILENCE, 0.0, 0.5),), (Phrase(0.1, 0.4),)), MAN).any()
