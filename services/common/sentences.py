"""Text -> sentences. Full stops of abbreviations, initials, numbers and addresses do not end one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from services.common.abbreviations import ABBREVIATIONS, BEFORE_DIGIT_ONLY, MAY_END_SENTENCE

_END: Final = re.compile(
    r"(?P<marks>[.?!\N{HORIZONTAL ELLIPSIS}]+)"
    r"(?P<closing>[\"'\N{RIGHT DOUBLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK})\]*_]*)(?=\s|$)"
)
_PARAGRAPH: Final = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*\N{BULLET}]|\d+[.)])\s)")
_LAST_WORD: Final = re.compile(r"\S+$")
OBJECT: Final = "\N{OBJECT REPLACEMENT CHARACTER}"  # stands where something is that is no text
_WORD_CHARACTERS: Final = 64  # of the word before a full stop: as much is looked at
_OPENING: Final = "\"'([*_\N{LEFT DOUBLE QUOTATION MARK}\N{LEFT SINGLE QUOTATION MARK}"


@dataclass(frozen=True)
class Sentence:
    """A sentence as written, and whether a paragraph ends with it."""

    text: str
    paragraph_end: bool


def _ends_here(text: str, found: re.Match[str]) -> bool:
    rest = text[found.end() : found.end() + _WORD_CHARACTERS].lstrip()
    if found["marks"] != ".":
        # "Really?" she said. "Wait... what": an ellipsis or a quoted question in mid-sentence.
        gentle = found["closing"] or set(found["marks"]) <= {".", "\N{HORIZONTAL ELLIPSIS}"}
        return not (gentle and rest[:1].islower())
    before = _LAST_WORD.search(text[max(found.start() - _WORD_CHARACTERS, 0) : found.start()])
    word = (before[0] if before else "").lstrip(_OPENING)
    following = rest.lstrip(_OPENING)[:1]
    if found["closing"]:
        return not following.islower()
    short = word.lower() + "."
    if re.fullmatch(r"[A-Za-z]", word):
        return word == "I" and following.isupper() and not re.match(r"[A-Z]\.", rest)
    if re.fullmatch(r"(?:[A-Za-z]\.)+[A-Za-z]", word) or short in ABBREVIATIONS:
        if short in MAY_END_SENTENCE:
            return following.isupper()
        return short in BEFORE_DIGIT_ONLY and not following.isdigit() and not following.islower()
    return not following.islower() or bool(re.fullmatch(r"\W*", word))


@dataclass(frozen=True)
class Span:
    """Where a sentence stands in a text, without the space around it, and whether a paragraph ends with it."""

    start: int
    stop: int
    paragraph_end: bool


def sentence_spans(text: str) -> list[Span]:
    """Where the sentences of a text are, in order; `OBJECT` counts as a word."""
    spans: list[Span] = []
    start = 0
    for stop in (*(found.start() for found in _PARAGRAPH.finditer(text)), len(text)):
        spans += _spans_of_paragraph(text[start:stop], start)
        start = stop
    return spans


def _spans_of_paragraph(paragraph: str, offset: int) -> list[Span]:
    edges = [0, *(found.end() for found in _END.finditer(paragraph) if _ends_here(paragraph, found)), len(paragraph)]
    found: list[tuple[int, int]] = []
    for first, last in pairwise(edges):
        piece = paragraph[first:last]
        if piece.strip():
            begin = first + len(piece) - len(piece.lstrip())
            found.append((offset + begin, offset + begin + len(piece.strip())))
    return [Span(begin, end, number == len(found)) for number, (begin, end) in enumerate(found, 1)]


def split_sentences(text: str) -> list[Sentence]:
    """Sentences in order, whitespace inside them made single; blank ones are left out."""
    return [
        Sentence(" ".join(text[span.start : span.stop].split()), span.paragraph_end) for span in sentence_spans(text)
    ]
