"""Text -> sentences. Full stops of abbreviations, initials, numbers and addresses do not end one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from services.common.abbreviations import ABBREVIATIONS, BEFORE_DIGIT_ONLY, MAY_END_SENTENCE

_END: Final = re.compile(
    r"(?P<marks>[.?!\N{HORIZONTAL ELLIPSIS}]+)"
    r"(?P<closing>[\"'\N{RIGHT DOUBLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK})\]*_]*)(?=\s|$)"
)
_PARAGRAPH: Final = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*\N{BULLET}]|\d+[.)])\s)")
_LAST_WORD: Final = re.compile(r"\S+$")
_OPENING: Final = "\"'([*_\N{LEFT DOUBLE QUOTATION MARK}\N{LEFT SINGLE QUOTATION MARK}"


@dataclass(frozen=True)
class Sentence:
    """A sentence as written, and whether a paragraph ends with it."""

    text: str
    paragraph_end: bool


def _ends_here(text: str, found: re.Match[str]) -> bool:
    if found["marks"] != ".":
        following = text[found.end() :].lstrip()[:1]
        # "Really?" she said. "Wait... what": an ellipsis or a quoted question in mid-sentence.
        gentle = found["closing"] or set(found["marks"]) <= {".", "\N{HORIZONTAL ELLIPSIS}"}
        return not (gentle and following.islower())
    word_found = _LAST_WORD.search(text[: found.start()])
    word = (word_found[0] if word_found else "").lstrip(_OPENING)
    following = text[found.end() :].lstrip().lstrip(_OPENING)[:1]
    if found["closing"]:
        return not following.islower()
    short = word.lower() + "."
    if re.fullmatch(r"[A-Za-z]", word):
        return word == "I" and following.isupper() and not re.match(r"\s*[A-Z]\.", text[found.end() :])
    if re.fullmatch(r"(?:[A-Za-z]\.)+[A-Za-z]", word) or short in ABBREVIATIONS:
        if short in MAY_END_SENTENCE:
            return following.isupper()
        return short in BEFORE_DIGIT_ONLY and not following.isdigit() and not following.islower()
    return not following.islower() or bool(re.fullmatch(r"\W*", word))


def split_sentences(text: str) -> list[Sentence]:
    """Sentences in order, whitespace inside them made single; blank ones are left out."""
    sentences: list[Sentence] = []
    for paragraph in _PARAGRAPH.split(text):
        flat = re.sub(r"\s+", " ", paragraph).strip()
        start = 0
        parts: list[str] = []
        for found in _END.finditer(flat):
            if _ends_here(flat, found):
                parts.append(flat[start : found.end()].strip())
                start = found.end()
        parts.append(flat[start:].strip())
        parts = [part for part in parts if part]
        sentences += [Sentence(part, index == len(parts) - 1) for index, part in enumerate(parts)]
    return sentences
