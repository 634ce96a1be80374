"""What is said and when: sounds of speech with their times, from a text or as babble out of a seed.

Reading is that of a beginner: a few dozen rules of English spelling and the commonest exceptions, enough for lips that
fit. Whoever wants it exact writes sounds in brackets: `[HH AH0 L OW1]`, ARPABET as in the CMU pronouncing dictionary.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import UserError
from .phonemes import COMPOUNDS, PHONEMES, SILENCE, is_vowel

LIVELY = 0.85
"""Share of the way from shortest to inherent duration (Klatt's rule) of a stressed vowel; all of it is a lesson."""
UNSTRESSED = 0.45
"""The same for an unstressed one, after Klatt's halving of what can be shortened."""
CONSONANT = 0.6
FINAL = 1.35
"""Times the length of the last vowel before a pause; Klatt's rule 2 says 1.4."""
PAUSES = {",": 0.16, ";": 0.22, ":": 0.22, ".": 0.36, "!": 0.36, "?": 0.36}
"""Seconds of silence after a mark."""
LEAD, TAIL = 0.12, 0.20
"""Seconds of silence before the first and at least after the last sound."""
LONGEST_TEXT = 2000
"""Characters; about two minutes."""


@dataclass(frozen=True)
class Phone:
    """One sound at its time. phoneme: a name of PHONEMES. start, end: seconds. stress: 0…1, of a vowel; else 0."""

    phoneme: str
    start: float
    end: float
    stress: float = 0.0

    @property
    def opening(self) -> float:
        """Seconds: when a stop bursts open; the end of every other sound."""
        return self.end - PHONEMES[self.phoneme].release


@dataclass(frozen=True)
class Phrase:
    """What is said in one breath. start, end: seconds. question: the voice rises at the end."""

    start: float
    end: float
    question: bool = False


@dataclass(frozen=True)
class Utterance:
    """Sounds one after another without gaps, the first at 0; pauses are sounds as well."""

    phones: tuple[Phone, ...]
    phrases: tuple[Phrase, ...]

    @property
    def seconds(self) -> float:
        return self.phones[-1].end

    def lasting(self, seconds: float) -> Utterance:
        """The same, its last silence drawn out; UserError where it is longer already."""
        if seconds < self.seconds - 1e-9:
            raise UserError(f"This speech takes {self.seconds:.1f} seconds and cannot be put into {seconds:.1f}.")
        last = self.phones[-1]
        return Utterance((*self.phones[:-1], Phone(SILENCE, last.start, max(seconds, last.end))), self.phrases)


Sound = tuple[str, float]
"""A phoneme and its stress."""


@dataclass(frozen=True)
class _Line:
    """The sounds of a phrase, seconds of silence after it, and whether it asks."""

    sounds: tuple[Sound, ...]
    pause: float
    question: bool


def babble(seed: int, seconds: float) -> Utterance:
    """Speech without meaning of just so many seconds, the same for the same seed.

    Words of one to three syllables, phrases of two to five words; sounds about as frequent as in English. UserError
    for a negative seed or less than a syllable's time.
    """
    if seed < 0:
        raise UserError(f"The seed of babble must be 0 or more; got {seed}.")
    if not SHORTEST <= seconds < float("inf"):
        raise UserError(f"Babble must last at least {SHORTEST:g} seconds; got {seconds:g}.")
    random = np.random.default_rng([seed, STREAM])
    lines = [_babbled_line(random)]
    while _timed(lines).seconds < seconds:
        lines.append(_babbled_line(random))
    return _fitted(lines, seconds)


def spoken(text: str) -> Utterance:
    """A text read aloud. Sentence marks make pauses, a question mark a rising voice.

    UserError where nothing in it can be spoken, for unknown sounds in brackets, and for more than LONGEST_TEXT.
    """
    if len(text) > LONGEST_TEXT:
        raise UserError(f"The text has {len(text)} characters; at most {LONGEST_TEXT} can be spoken at a time. Cut it.")
    lines = [
        _Line(tuple(sounds), PAUSES.get(mark, TAIL), mark == "?")
        for words, mark in _phrases(text)
        if (sounds := [sound for word in words for sound in _pronounced(word)])
    ]
    if not lines:
        shown = text.strip()[:40]
        raise UserError(
            f"Nothing in the text '{shown}' can be spoken. Write words in Latin letters, or sounds in brackets, such "
            "as [HH AH L OW]."
        )
    return _timed(lines)


def _timed(lines: Sequence[_Line]) -> Utterance:
    """Durations by Klatt's rules, see the constants."""
    phones = [Phone(SILENCE, 0.0, LEAD)]
    phrases = []
    for number, line in enumerate(lines):
        begin = phones[-1].end
        last_vowel = max((i for i, (name, _) in enumerate(line.sounds) if is_vowel(name)), default=-1)
        for index, (name, stress) in enumerate(line.sounds):
            length = _length(name, stress) * (FINAL if index == last_vowel else 1.0)
            phones.append(Phone(name, phones[-1].end, phones[-1].end + length, stress if is_vowel(name) else 0.0))
        phrases.append(Phrase(begin, phones[-1].end, line.question))
        pause = line.pause if number < len(lines) - 1 else max(line.pause, TAIL)
        phones.append(Phone(SILENCE, phones[-1].end, phones[-1].end + pause))
    return Utterance(tuple(phones), tuple(phrases))


def _length(name: str, stress: float) -> float:
    phoneme = PHONEMES[name]
    inherent, shortest = phoneme.seconds
    share = UNSTRESSED + (LIVELY - UNSTRESSED) * stress if is_vowel(name) else CONSONANT
    return shortest + share * (inherent - shortest) + phoneme.release


# Babble --------------------------------------------------------------------------------------------------------------

STREAM = 71
"""Sets the random numbers of babble apart from those of scenes; part of every seed's meaning."""
SHORTEST = 0.8
"""Seconds; lead, tail and one syllable of the longest sounds fit in."""
ONSETS: Mapping[tuple[str, ...], float] = {
    (): 1.0, ("b",): 1.6, ("m",): 1.5, ("p",): 1.1, ("d",): 1.5, ("t",): 1.4, ("n",): 1.2, ("k",): 1.1, ("g",): 0.8,
    ("w",): 1.0, ("l",): 1.2, ("r",): 1.0, ("y",): 0.6, ("s",): 1.2, ("z",): 0.4, ("sh",): 0.7, ("f",): 0.9,
    ("v",): 0.6, ("th",): 0.4, ("dh",): 0.9, ("hh",): 0.8, ("t", "sh"): 0.4, ("d", "zh"): 0.4, ("s", "t"): 0.3,
    ("p", "l"): 0.3, ("b", "r"): 0.3, ("t", "r"): 0.3, ("k", "l"): 0.2, ("s", "p"): 0.2,
}  # fmt: skip
NUCLEI: Mapping[tuple[str, ...], float] = {
    ("aa",): 1.3, ("ae",): 1.2, ("ah",): 1.2, ("ao",): 0.8, ("eh",): 1.1, ("ih",): 1.3, ("iy",): 1.3, ("uw",): 1.0,
    ("uh",): 0.5, ("er",): 0.5, ("ow", "uh"): 1.0, ("eh", "iy"): 0.8, ("aa", "ih"): 0.8, ("aa", "uh"): 0.5,
    ("ao", "ih"): 0.3,
}  # fmt: skip
CODAS: Mapping[tuple[str, ...], float] = {
    (): 6.0, ("m",): 0.8, ("n",): 1.2, ("ng",): 0.4, ("l",): 0.6, ("r",): 0.5, ("s",): 0.7, ("z",): 0.5, ("t",): 0.9,
    ("d",): 0.5, ("p",): 0.5, ("k",): 0.5, ("b",): 0.3, ("f",): 0.3, ("v",): 0.3, ("sh",): 0.3, ("n", "t"): 0.3,
}  # fmt: skip
"""How often a syllable begins, sounds and ends so. Sounds of the lips are somewhat more frequent than in English, since
they are what one sees."""
SYLLABLES, WORDS = (1, 2, 3), (2, 3, 4, 5)
SYLLABLE_WEIGHTS = (0.45, 0.38, 0.17)
QUESTIONS = 0.2
"""Share of phrases that end as questions."""
BABBLED_PAUSES = (0.12, 0.38)
"""Seconds, shortest and longest."""


def _babbled_line(random: np.random.Generator) -> _Line:
    sounds: list[Sound] = []
    for _ in range(int(random.choice(WORDS))):
        count = int(random.choice(SYLLABLES, p=SYLLABLE_WEIGHTS))
        stressed = int(random.integers(count))
        strong = float(random.uniform(0.65, 1.0))
        for syllable in range(count):
            stress = strong if syllable == stressed else float(random.uniform(0.0, 0.3))
            for parts in (ONSETS, NUCLEI, CODAS):
                sounds += [(name, stress) for name in _pick(random, parts)]
    return _Line(tuple(sounds), float(random.uniform(*BABBLED_PAUSES)), bool(random.random() < QUESTIONS))


def _pick(random: np.random.Generator, weights: Mapping[tuple[str, ...], float]) -> tuple[str, ...]:
    shares = np.array(list(weights.values()))
    return list(weights)[int(random.choice(len(shares), p=shares / shares.sum()))]


def _fitted(lines: list[_Line], seconds: float) -> Utterance:
    """The lines without as many of their last sounds as it takes to end in time, on a vowel."""
    *whole, last = lines
    sounds = list(last.sounds)
    while sounds:
        found = _timed([*whole, _Line(tuple(sounds), TAIL, last.question)])
        if found.seconds <= seconds and is_vowel(sounds[-1][0]):
            return found.lasting(seconds)
        sounds.pop()
    if whole:
        return _timed(whole).lasting(seconds)
    return _timed([_Line((("b", 0.0), ("ah", 1.0)), TAIL, False)]).lasting(seconds)


# Reading -------------------------------------------------------------------------------------------------------------

COMMON: Mapping[str, str] = {
    "a": "ah", "an": "ae n", "and": "ae n d", "are": "aa r", "been": "b ih n", "come": "k ah1 m", "could": "k uh d",
    "do": "d uw", "does": "d ah z", "doesnt": "d ah1 z ah n t", "dont": "d ow1 n t", "for": "f ao r",
    "friend": "f r eh1 n d", "from": "f r ah m", "give": "g ih1 v", "good": "g uh1 d", "has": "hh ae z",
    "have": "hh ae v", "he": "hh iy", "hello": "hh ah l ow1", "her": "hh er", "his": "hh ih z", "i": "ay1",
    "im": "ay1 m", "is": "ih z", "it": "ih t", "live": "l ih1 v", "look": "l uh1 k", "love": "l ah1 v",
    "many": "m eh1 n iy", "me": "m iy", "mother": "m ah1 dh er", "my": "m ay", "of": "ah v", "on": "aa n",
    "one": "w ah1 n", "people": "p iy1 p ah l", "put": "p uh1 t", "said": "s eh1 d", "says": "s eh1 z", "she": "sh iy",
    "should": "sh uh d", "some": "s ah m", "than": "dh ae n", "that": "dh ae t", "the": "dh ah", "their": "dh eh r",
    "then": "dh eh n", "there": "dh eh r", "these": "dh iy z", "they": "dh ey", "this": "dh ih s", "those": "dh ow z",
    "to": "t uw", "today": "t uh d ey1", "two": "t uw1", "was": "w ah z", "we": "w iy", "were": "w er",
    "what": "w ah1 t", "where": "w eh1 r", "who": "hh uw1", "with": "w ih dh", "word": "w er1 d", "words": "w er1 d z",
    "work": "w er1 k", "world": "w er1 l d", "would": "w uh d", "you": "y uw", "your": "y ao r",
}  # fmt: skip
"""Words that the rules read wrongly, or that carry no stress; a 1 behind a vowel marks stress."""
SPELLINGS: Mapping[str, str] = {
    "tion": "sh ah n", "ough": "ow", "augh": "ao", "igh": "ay", "tch": "ch", "dge": "jh", "eigh": "ey", "sch": "s k",
    "ch": "ch", "sh": "sh", "th": "th", "ph": "f", "wh": "w", "ck": "k", "ng": "ng", "qu": "k w", "gh": "g",
    "kn": "n", "wr": "r", "ee": "iy", "ea": "iy", "oo": "uw", "ou": "aw", "ow": "ow", "oi": "oy", "oy": "oy",
    "ai": "ey", "ay": "ey", "ei": "ey", "ey": "iy", "au": "ao", "aw": "ao", "oa": "ow", "ie": "iy", "ue": "uw",
    "ew": "uw", "ui": "uw", "ar": "aa r", "er": "er", "ir": "er", "ur": "er", "or": "ao r", "all": "ao l", "x": "k s",
    "a": "ae", "b": "b", "c": "k", "d": "d", "e": "eh", "f": "f", "g": "g", "h": "hh", "i": "ih", "j": "jh", "k": "k",
    "l": "l", "m": "m", "n": "n", "o": "aa", "p": "p", "q": "k", "r": "r", "s": "s", "t": "t", "u": "ah", "v": "v",
    "w": "w", "y": "iy", "z": "z",
}  # fmt: skip
"""Letters to sounds; the longest that fits is taken."""
LONG = {"a": "ey", "e": "iy", "i": "ay", "o": "ow", "u": "uw", "y": "ay"}
"""A vowel's own name, as before one consonant and a silent e."""
LONGEST_SPELLING = max(map(len, SPELLINGS))


def _phrases(text: str) -> list[tuple[list[str], str]]:
    """(words, the mark after them): a word is letters, or sounds in their brackets."""
    plain = unicodedata.normalize("NFKD", text).replace("’", "'")
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    found: list[tuple[list[str], str]] = [([], "")]
    for piece in re.findall(r"\[[^\]]*\]|[A-Za-z']+|[,;:.!?]", plain):
        if piece in PAUSES:
            found[-1] = (found[-1][0], piece)
            found.append(([], ""))
        else:
            found[-1][0].append(piece)
    return found


def _pronounced(word: str) -> list[Sound]:
    if word.startswith("["):
        names = word[1:-1].lower().replace(",", " ").split()
    else:
        word = word.lower().replace("'", "")
        names = COMMON[word].split() if word in COMMON else _stressed(_read(word))
    sounds: list[Sound] = []
    for name in names:
        bare, digit = (name[:-1], name[-1]) if name[-1].isdigit() else (name, "0")
        parts = COMPOUNDS.get(bare, (bare,))
        if parts[0] not in PHONEMES:
            known = ", ".join([*PHONEMES, *COMPOUNDS]).upper()
            raise UserError(f"'{name.upper()}' in brackets is no sound of speech known here. There are: {known}.")
        sounds += [(part, {"1": 1.0, "2": 0.6}.get(digit, 0.0)) for part in parts]
    return sounds


def _read(word: str) -> list[str]:
    """Sounds of a word by the rules of spelling."""
    word = re.sub(r"([bcdfgklmnprstvz])\1", r"\1", word)
    silent = re.search(r"([aeiouy])([bcdfgklmnprstvz])e(s?)$", word)
    found: list[str] = []
    at = 0
    while at < len(word):
        if silent and at == silent.start():
            soft = {"c": "s", "g": "jh"}.get(silent[2], SPELLINGS[silent[2]])
            return [*found, LONG[silent[1]], soft, *(["z"] if silent[3] else [])]
        size = next(n for n in range(LONGEST_SPELLING, 0, -1) if word[at : at + n] in SPELLINGS)
        letters = word[at : at + size]
        after = word[at + size : at + size + 1]
        if letters == "e" and not after and found:
            break  # silent
        if letters == "c" and after and after in "eiy":
            found.append("s")
        elif letters == "y" and at == 0:
            found.append("y")
        elif letters in LONG and not after and not any(_sounds_vowel(name) for name in found):
            found.append(LONG[letters])  # go, by, he
        else:
            found += SPELLINGS[letters].split()
        at += size
    return found


def _stressed(names: list[str]) -> list[str]:
    """The first vowel stressed, as in most English words."""
    first = next((i for i, name in enumerate(names) if _sounds_vowel(name)), None)
    return [f"{name}1" if i == first else name for i, name in enumerate(names)]


def _sounds_vowel(name: str) -> bool:
    return is_vowel(COMPOUNDS.get(name, (name,))[0])
