"""Where sentences end."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.sentences import split_sentences

CASES = [
    ("One. Two. Three.", ["One.", "Two.", "Three."]),
    ("Dr. Smith met Mr. Jones. They spoke.", ["Dr. Smith met Mr. Jones.", "They spoke."]),
    ("It was 5 p.m. He left.", ["It was 5 p.m.", "He left."]),
    ("It was 5 p.m. when he left.", ["It was 5 p.m. when he left."]),
    ("The U.S. Senate voted. It passed.", ["The U.S. Senate voted.", "It passed."]),
    ("J. R. R. Tolkien wrote it.", ["J. R. R. Tolkien wrote it."]),
    ("So did I. Then we left.", ["So did I.", "Then we left."]),
    ("It costs $3.50. Cheap!", ["It costs $3.50.", "Cheap!"]),
    ("Really?! Yes.", ["Really?!", "Yes."]),
    ('"Stop!" he said. "Why?" she asked.', ['"Stop!" he said.', '"Why?" she asked.']),
    ("Wait... what? Go.", ["Wait... what?", "Go."]),
    ("See example.com. It works.", ["See example.com.", "It works."]),
    ("See No. 5. It is no. Good.", ["See No. 5.", "It is no.", "Good."]),
    ("A heading\n\nA paragraph.", ["A heading", "A paragraph."]),
    ("First line\nsame sentence.", ["First line same sentence."]),
    ("Buy:\n- milk\n- bread", ["Buy:", "- milk", "- bread"]),
    ("no stop at all", ["no stop at all"]),
    ("", []),
    (" \n\n ", []),
]


@pytest.mark.parametrize(("text", "expected"), CASES, ids=[text[:30] for text, _ in CASES])
def test_sentences_end_where_a_reader_ends_them(text: str, expected: list[str]) -> None:
    assert [sentence.text for sentence in split_sentences(text)] == expected


def test_the_last_sentence_of_a_paragraph_is_marked() -> None:
    sentences = split_sentences("One. Two.\n\nThree.")
    assert [s.paragraph_end for s in sentences] == [False, True, True]


@settings(max_examples=80, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab A.?!,'\"\n1"), max_size=80))
def test_nothing_is_lost_but_whitespace(text: str) -> None:
    joined = "".join(sentence.text for sentence in split_sentences(text))
    assert joined.replace(" ", "") == "".join(text.split())
