"""Words skipped, repeated and cut in flite's recordings are found; recordings as they are have none."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from benchmarks.flite_reference import path_of, read_audio
from benchmarks.sentences import SENTENCES
from benchmarks.slips import Slip, SlipFinder, bad_share, compare
from benchmarks.texts import LENGTHS, texts
from services.common.audio import SAMPLE_RATE_HZ, FloatArray
from services.synthesizer.forced import ForcedAligner, HeardWord
from services.synthesizer.sentences import SLOTS, tokens_of

# A word of each of these sentences, and its place.
WORDS = {0: ("lighthouse", 2), 4: ("letter", 3), 10: ("along", 4), 16: ("engine", 1), 37: ("sunlight", 3)}


@pytest.fixture(scope="module")
def finder() -> SlipFinder:
    return SlipFinder()


@lru_cache(maxsize=1)
def aligner() -> ForcedAligner:
    return ForcedAligner()


@lru_cache
def recording(index: int) -> tuple[FloatArray, tuple[HeardWord, ...]]:
    samples = read_audio(path_of(index))
    aligned = aligner().align(samples, tokens_of(SENTENCES[index].lower()))
    assert aligned is not None
    return samples, aligned.words


def place(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE_HZ)


@pytest.mark.parametrize("index", range(0, 50, 4))
def test_sound_speech_has_no_slips(finder: SlipFinder, index: int) -> None:
    assert finder.slips(recording(index)[0], SENTENCES[index]) == []


@pytest.mark.parametrize("index", WORDS)
def test_a_skipped_word_is_found(finder: SlipFinder, index: int) -> None:
    samples, words = recording(index)
    word, number = WORDS[index]
    assert words[number].word == word
    damaged = np.concatenate([samples[: place(words[number].start_s)], samples[place(words[number].end_s) :]])
    found = finder.slips(damaged, SENTENCES[index])
    assert found and word in found[0].words


@pytest.mark.parametrize("index", WORDS)
def test_a_repeated_word_is_found(finder: SlipFinder, index: int) -> None:
    samples, words = recording(index)
    word, number = WORDS[index]
    damaged = np.concatenate([samples[: place(words[number].end_s)], samples[place(words[number].start_s) :]])
    found = finder.slips(damaged, SENTENCES[index])
    assert [slip.kind for slip in found] == ["repeated"]
    assert word in found[0].words


@pytest.mark.parametrize("index", WORDS)
def test_a_word_cut_in_half_is_found(finder: SlipFinder, index: int) -> None:
    samples, words = recording(index)
    word, number = WORDS[index]
    middle = words[number].phones[len(words[number].phones) // 2].start_s
    damaged = np.concatenate([samples[: place(middle)], samples[place(words[number].end_s) :]])
    found = finder.slips(damaged, SENTENCES[index])
    assert found and word in found[0].words


@pytest.mark.parametrize("index", [0, 4, 14, 24])
def test_an_end_cut_off_is_found(finder: SlipFinder, index: int) -> None:
    samples, words = recording(index)
    phones = words[-1].phones
    assert finder.slips(samples[: place(phones[len(phones) // 2].start_s)], SENTENCES[index])


def test_another_text_is_found(finder: SlipFinder) -> None:
    assert finder.slips(recording(0)[0], SENTENCES[1])


def test_what_was_heard_is_named() -> None:
    words = ("a", "small", "dog", "ran")
    names = [f"{word}/{number}" for number, word in enumerate(words)]
    assert compare(words, names, names) == []
    assert compare(words, names, [*names[:2], *names[3:]]) == [Slip("skipped", ("dog",))]
    assert compare(words, names, [*names[:3], *names[2:]]) == [Slip("repeated", ("dog",))]
    assert compare(words, names, [names[0], f"{names[1]}:first", *names[2:]]) == [Slip("cut", ("small",))]
    assert compare(words, names, []) == [Slip("lost", words)]


def test_the_share_counts_texts_not_slips() -> None:
    slips = [[], [Slip("cut", ("dog",)), Slip("skipped", ("ran",))], [], []]
    figures = bad_share(slips)
    assert figures["bad_sentence_share"] == 0.25
    assert figures["texts_with"] == {"skipped": 1, "repeated": 0, "cut": 1, "lost": 0}


def test_two_hundred_texts_of_one_to_four_hundred_words() -> None:
    made = texts()
    assert len(made) == len(set(made)) == 200 == sum(count for count, _, _ in LENGTHS)
    lengths = [len(text.split()) for text in made]
    assert min(lengths) == 1 and 390 <= max(lengths) <= 400
    assert all(least <= n <= most for (count, least, most) in LENGTHS for n in _taken(lengths, count, least, most))
    assert max(map(len, made)) < 4096  # of one request
    trained = {phrase.lower() for phrases in SLOTS.values() for phrase in phrases if " " in phrase}
    assert not [phrase for phrase in trained for text in made if f" {phrase} " in f" {text.lower()} "]


def _taken(lengths: list[int], count: int, least: int, most: int) -> list[int]:
    start = sum(c for c, _, m in LENGTHS if m < most)
    return lengths[start : start + count]
