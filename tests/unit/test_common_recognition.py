"""Word errors are an edit distance."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.common.recognition import word_errors, words

sentence = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=8)


def test_known_distances() -> None:
    assert word_errors(words("The cat sat."), words("the cat sat")) == 0
    assert word_errors(words("the cat sat"), words("the bat sat down")) == 2
    assert word_errors(words("the cat sat"), []) == 3


@given(sentence, sentence, sentence)
def test_it_is_a_metric(a: list[str], b: list[str], c: list[str]) -> None:
    assert word_errors(a, b) == word_errors(b, a)
    assert (word_errors(a, b) == 0) == (a == b)
    assert word_errors(a, c) <= word_errors(a, b) + word_errors(b, c)
