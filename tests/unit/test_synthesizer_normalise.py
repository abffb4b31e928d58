"""What is read aloud of hard written sentences. Marks are written as they are spoken: `,` is a pause."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.synthesizer.text.normalise import normalise
from tests.unit.synthesizer_hard_sentences import HARD_SENTENCES


def spoken(sentence: str) -> str:
    """All words and pauses of a sentence; pauses at its ends left out."""
    parts = [token.mark or " ".join(token.words) for token in normalise(sentence)]
    return " ".join(part for part in parts if part).strip(" ,")


@pytest.mark.parametrize(("written", "expected"), HARD_SENTENCES, ids=[written for written, _ in HARD_SENTENCES])
def test_hard_sentences_are_read_as_people_read_them(written: str, expected: str) -> None:
    assert spoken(written) == expected


def test_there_are_at_least_two_hundred_hard_sentences() -> None:
    assert len({written for written, _ in HARD_SENTENCES}) >= 200


def test_tokens_keep_the_writing_that_they_stand_for() -> None:
    tokens = normalise("Pay $3.50 by Jan. 5, Mr. Orr.")
    assert [token.written for token in tokens if token.words] == ["Pay", "$3.50", "by", "Jan. 5", "Mr.", "Orr"]


@pytest.mark.parametrize("text", ["", "   ", "😀", "...", "—", "你好", "\u200b"])
def test_nothing_to_speak_gives_no_words(text: str) -> None:
    assert not any(token.words for token in normalise(text))


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=60))
def test_any_text_becomes_words_that_can_be_looked_up(text: str) -> None:
    for token in normalise(text):
        assert bool(token.words) != bool(token.mark)
        for word in token.words:
            assert word == "," or re.fullmatch(r"[a-z']+|[a-z]\.(?:'s)?", word), word


@pytest.mark.parametrize(
    "piece", ["a.", "1,", "1", "1/", "$1", "a@", "a-", "A. ", "aB", "1:1", "+1 ", "www.", "'", "9st"]
)
def test_four_thousand_characters_of_anything_are_read(piece: str) -> None:
    normalise((piece * 4096)[:4096])
    normalise((piece * 4096)[:4093] + "1th")


@settings(max_examples=80, deadline=None)
@given(st.text(alphabet="0123456789.,:/-$€%'aAbBIVX stndrhpm@#+()°½ \n", max_size=40))
def test_no_mixture_of_figures_and_signs_trips_a_rule(text: str) -> None:
    normalise(text)


@settings(max_examples=40, deadline=None)
@given(st.integers(min_value=0, max_value=10**12))
def test_every_number_is_read_with_and_without_commas_alike(number: int) -> None:
    if 1100 <= number <= 2099:
        return  # read as a year without a comma
    assert spoken(f"x {number} y") == spoken(f"x {number:,} y")


def test_composed_and_decomposed_letters_read_alike() -> None:
    text = "Zoë met François in São Paulo"
    assert spoken(unicodedata.normalize("NFD", text)) == spoken(unicodedata.normalize("NFC", text))


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("numbers 100-1000", "numbers one hundred to one thousand"),
        ("call 555-1234", "call five five five , one two three four"),
        ("3 × 4 m", "three times four meters"),
        ("a $1 coin", "a one dollar coin"),
        ("he has a $20.", "he has a twenty dollars"),
    ],
)
def test_what_is_read_differs_with_what_stands_around_it(written: str, expected: str) -> None:
    assert spoken(written) == expected
