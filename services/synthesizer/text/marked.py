"""A sentence of a script -> tokens: its markup and the user's dictionary carried out, all else read as plain text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from services.common.errors import LikenessError
from services.common.phones import Phones
from services.common.pronunciation import Pronunciation, from_arpabet, from_ipa
from services.common.script import Manner, Reading, Rest, ScriptSentence
from services.common.sentences import OBJECT
from services.common.ssml import with_place
from services.synthesizer.text.normalise import ADDRESSES, Embedded, Token, clean, normalise, read_tokens
from services.synthesizer.text.say_as import read_as
from services.synthesizer.text.symbols import PAUSE

SpokenWord = str | Phones
_ELEMENTS: Final = {"alias": "sub", "arpabet": "phoneme", "ipa": "phoneme", "say-as": "say-as"}


@dataclass(frozen=True)
class MarkedToken:
    """A token, and how it is spoken."""

    token: Token
    manner: Manner


class UserDictionary:
    """A user's own pronunciations, found in clean text."""

    def __init__(self, entries: Mapping[str, Pronunciation]) -> None:
        self._words = {clean(word).casefold(): _words_of(word, sound) for word, sound in entries.items()}
        longest_first = sorted(self._words, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(_entry_pattern, longest_first)), re.IGNORECASE)

    def embed(self, text: str) -> tuple[str, list[Embedded]]:
        """The text with an `OBJECT` for every word that is in the dictionary, and what those are."""
        if not self._words:
            return text, []
        addresses = [found.span() for found in ADDRESSES.finditer(text)]
        out, embedded, done = "", [], 0
        for found in self._pattern.finditer(text):
            words = self._words.get(" ".join(found[0].split()).casefold())
            if words is None or any(_is_part_of(found.span(), address) for address in addresses):
                continue
            out += text[done : found.start()] + OBJECT
            embedded.append(Embedded(found[0], words))
            done = found.end()
        return out + text[done:], embedded


def _is_part_of(span: tuple[int, int], address: tuple[int, int]) -> bool:
    return span != address and address[0] <= span[0] and span[1] <= address[1]


def _words_of(word: str, sound: Pronunciation) -> tuple[SpokenWord, ...]:
    """Raises LikenessError PRONUNCIATION_INVALID for a respelling of which nothing can be spoken."""
    words = sound.words or _read_words(sound.respelling)
    if not any(word != PAUSE for word in words):
        detail = f"The pronunciation {sound.respelling!r} of {word!r} holds nothing that can be spoken in English."
        raise LikenessError("PRONUNCIATION_INVALID", detail, field=f"dictionary.{word[:40]}")
    return words


def _read_words(text: str) -> tuple[SpokenWord, ...]:
    return tuple(word for token in normalise(text) for word in (token.words or (token.mark,)))


def _entry_pattern(word: str) -> str:
    """Where an entry stands as a word of its own, or with 's."""
    before = r"(?<!\w)(?<!\w')" if word[0].isalnum() else ""
    before += r"(?<!\d[.,])" if word[0].isdigit() else ""
    after = r"(?!\w)(?!'(?!s(?!\w))\w)" if word[-1].isalnum() else ""
    after += r"(?![.,]\d)" if word[-1].isdigit() else ""
    return before + r"\s".join(map(re.escape, word.split())) + after


@dataclass
class _Flat:
    """A sentence as one clean text, with the manner of each character."""

    text: str = ""
    manners: list[Manner] = field(default_factory=list)
    embedded: list[Embedded] = field(default_factory=list)

    def add(self, text: str, manner: Manner, embedded: list[Embedded]) -> None:
        self.text += text
        self.manners += [manner] * len(text)
        self.embedded += embedded


def sentence_tokens(sentence: ScriptSentence, dictionary: UserDictionary) -> list[MarkedToken]:
    """What is spoken of a sentence, in order.

    Raises:
        LikenessError: MARKUP_INVALID for a reading that cannot be carried out.
    """
    flat = _Flat()
    manner = Manner()
    for part in sentence.parts:
        if isinstance(part, Rest):
            flat.add(f" {OBJECT} ", manner, [Embedded(rest_s=part.seconds)])
            continue
        manner = part.manner
        if isinstance(part, Reading):
            words = with_place(part.where, _ELEMENTS[part.kind], partial(_reading_words, part))
            flat.add(OBJECT, manner, [Embedded(part.written, words)])
        else:
            text, embedded = dictionary.embed(re.sub(r"\s+", " ", clean(part.text)))
            flat.add(text, manner, embedded)
    tokens = read_tokens(flat.text, flat.embedded)
    return [MarkedToken(token, flat.manners[token.start]) for token in tokens]


def _reading_words(reading: Reading) -> tuple[SpokenWord, ...]:
    match reading.kind:
        case "ipa":
            return from_ipa(reading.value)
        case "arpabet":
            return (from_arpabet(reading.value),)
        case "say-as":
            return tuple(read_as(reading.written, reading.value, reading.format))
        case _:
            words = _read_words(reading.value)
            if not any(word != PAUSE for word in words):
                raise ValueError(f"there is nothing to speak in the alias {reading.value[:40]!r}")
            return words
