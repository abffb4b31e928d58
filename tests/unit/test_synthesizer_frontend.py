"""From text to phrases: what the network reads, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.errors import LikenessError
from services.synthesizer.text import analyse, pronounce
from services.synthesizer.text.frontend import MAX_PHRASE_WORDS, MAX_TEXT_CHARACTERS
from services.synthesizer.text.phonemes import NO_WORD, to_symbols
from services.synthesizer.text.pronounce import dictionary
from services.synthesizer.text.symbols import ENDINGS, MARKS, PHONES, START, SYMBOL_IDS


def test_every_dictionary_reading_is_made_of_known_phones() -> None:
    assert len(dictionary()) > 100_000
    assert {phone for reading in dictionary().values() for phone in reading} <= set(PHONES)


@pytest.mark.parametrize(
    ("word", "reading"),
    [
        ("cat", "K AE1 T"),
        ("the", "DH AH0"),
        ("chicago's", "SH AH0 K AA1 G OW2 Z"),
        ("gizmos's", "G IH1 Z M OW0 Z IH0 Z"),
        ("x.", "EH1 K S"),
        ("a.", "EY1"),
        ("c.'s", "S IY1 Z"),
        ("brrr", "B IY1 AA1 R AA1 R AA1 R"),
        ("'tis", "T IH1 Z"),
        ("deepfakes", "D IY1 P F EY2 K S"),
        ("zookeeper", "Z UW1 K IY2 P ER0"),
        ("zorblatt", "Z AO1 R B AH0 L T"),
    ],
)
def test_words_are_pronounced(word: str, reading: str) -> None:
    assert pronounce(word) == tuple(reading.split())


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz'", min_size=1, max_size=60))
def test_any_word_with_a_letter_has_a_pronunciation(word: str) -> None:
    phones = pronounce(word)
    assert bool(phones) == any(letter.isalpha() for letter in word)
    assert set(phones) <= set(PHONES)


def test_a_sentence_opens_pauses_and_ends_with_marks() -> None:
    sequence = to_symbols(["well", ",", "yes", "?"])
    assert " ".join(sequence.symbols) == "^ W EH1 L , Y EH1 S ?"
    assert sequence.word_edges == (0, 1, 0, 2, 0, 1, 0, 2, 0)
    assert sequence.word_indices == (-1, 0, 0, 0, -1, 1, 1, 1, -1)


def test_pauses_at_the_ends_and_doubled_pauses_are_dropped() -> None:
    assert to_symbols([",", ",", "yes", ",", ",", "no", ",", "."]).symbols == to_symbols(["yes", ",", "no"]).symbols


def test_sentences_keep_their_melody() -> None:
    assert [p.sequence.symbols[-1] for p in analyse("Really? Yes! Fine. Well")] == ["?", "!", ".", "."]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(["word", "comma,", "stop.", "$3.50", "why?", "Dr.", "x"]), min_size=1, max_size=120))
def test_any_text_becomes_phrases_of_bounded_length(parts: list[str]) -> None:
    phrases = analyse(" ".join(parts))
    for phrase in phrases:
        symbols = phrase.sequence.symbols
        assert symbols[0] == START
        assert symbols[-1] in ENDINGS
        assert all(symbol in SYMBOL_IDS for symbol in symbols)
        assert len({i for i in phrase.sequence.word_indices if i >= 0}) <= MAX_PHRASE_WORDS
        assert all((index == NO_WORD) == (s in MARKS) for index, s in zip(phrase.written_index, symbols, strict=True))
    assert [p.sentence_index for p in phrases] == sorted(p.sentence_index for p in phrases)
    ends = [p.sentence_index for p in phrases if p.sentence_end]
    assert ends == sorted(set(ends)) == list(range(phrases[-1].sentence_index + 1))
    assert phrases[-1].pause_after_s == 0
    assert all(p.pause_after_s > 0 for p in phrases[:-1])


def test_a_long_sentence_is_parted_at_its_commas() -> None:
    clause = "the keeper painted all of the windows blue before winter"
    phrases = analyse(f"{clause}, {clause}, {clause}, and {clause}.")
    assert len(phrases) == 2
    assert not phrases[0].sentence_end
    assert phrases[1].sentence_end
    assert phrases[0].words[-1] == "winter"


def test_a_long_sentence_without_commas_is_parted_before_a_conjunction() -> None:
    words = ["stone"] * 20 + ["because"] + ["river"] * 20
    first, second = analyse(" ".join(words))
    assert first.words == ("stone",) * 20
    assert second.words[0] == "because"


def test_phrases_know_the_writing_of_each_symbol() -> None:
    (phrase,) = analyse("It costs $3.50 today")
    assert phrase.words == ("It", "costs", "$3.50", "today")
    price = [s for s, i in zip(phrase.sequence.symbols, phrase.written_index, strict=True) if i == 2]
    expected = [phone for word in ("three", "dollars", "and", "fifty", "cents") for phone in pronounce(word)]
    assert price == expected


def refusal(text: str, language: str = "en") -> LikenessError:
    with pytest.raises(LikenessError) as caught:
        analyse(text, language)
    return caught.value


@pytest.mark.parametrize("text", ["", "  \n", "😀", "?!...", "你好。", "— * —"])
def test_text_without_words_is_refused(text: str) -> None:
    error = refusal(text)
    assert (error.reason, error.field) == ("TEXT_UNPRONOUNCEABLE", "text")


def test_too_long_a_text_is_refused_and_the_longest_is_not() -> None:
    assert refusal("a" * (MAX_TEXT_CHARACTERS + 1)).reason == "INVALID_FIELD"
    assert analyse(("a " * MAX_TEXT_CHARACTERS)[:MAX_TEXT_CHARACTERS])


@pytest.mark.parametrize("language", ["de", "zh-CN", "enx", "fr_FR", "en_US"])
def test_other_languages_are_refused(language: str) -> None:
    error = refusal("hello", language)
    assert (error.reason, error.field) == ("LANGUAGE_UNSUPPORTED", "language")


@pytest.mark.parametrize("language", ["", "en", "en-GB", "EN-us"])
def test_all_of_english_is_one_language(language: str) -> None:
    assert analyse("hello", language)
