"""Text -> phrases ready for the network: the only door through which serving enters the front end.

A phrase is a sentence, or a part of one that would be too long to speak in one go; those are parted at pauses, or
where there is none before a conjunction, or else between any two words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from services.common.errors import LikenessError
from services.common.sentences import split_sentences
from services.synthesizer.text.normalise import Token, normalise
from services.synthesizer.text.phonemes import NO_WORD, SymbolSequence, to_symbols
from services.synthesizer.text.symbols import PAUSE

MAX_TEXT_CHARACTERS: Final = 4096
MAX_PHRASE_WORDS: Final = 32  # spoken words; about as long as the longest sentence trained on
MIN_PHRASE_WORDS: Final = 8  # a pause earlier than this is not worth parting at
JOINTS: Final = frozenset(
    ("and", "but", "or", "nor", "so", "because", "although", "while", "when", "where", "which", "who", "that", "if")
)
PHRASE_PAUSE_S: Final = 0.12
SENTENCE_PAUSE_S: Final = 0.35
PARAGRAPH_PAUSE_S: Final = 0.65


@dataclass(frozen=True)
class Phrase:
    """What is spoken in one go."""

    sequence: SymbolSequence
    words: tuple[str, ...]  # as written; `written_index` leads here
    written_index: tuple[int, ...]  # per symbol: the written word that it belongs to, NO_WORD for marks
    sentence_index: int
    sentence_end: bool
    pause_after_s: float  # silence to follow; 0 after the last


def _ending(sentence: str) -> str:
    closing = re.search(r"[.?!]+(?=\W*$)", sentence)
    if closing is None:
        return "."
    return "?" if "?" in closing[0] else "!" if "!" in closing[0] else "."


def _parts(tokens: list[Token]) -> list[list[Token]]:
    """Tokens of a sentence in parts of at most MAX_PHRASE_WORDS words (one token is never parted)."""
    parts: list[list[Token]] = []
    rest = tokens
    while sum(len(token.words) for token in rest) > MAX_PHRASE_WORDS:
        count, at_pause, at_joint, at_word = 0, 0, 0, 1
        for i, token in enumerate(rest):
            count += len(token.words)
            if count > MAX_PHRASE_WORDS:
                break
            at_word = i + 1
            if token.words and token.words[0] in JOINTS and count > MIN_PHRASE_WORDS:
                at_joint = i
            if token.mark and count >= MIN_PHRASE_WORDS:
                at_pause = i + 1
        cut = at_pause or at_joint or at_word
        parts.append(rest[:cut])
        rest = rest[cut:]
    return [*parts, rest]


def _phrase_sequence(tokens: list[Token], ending: str) -> tuple[SymbolSequence, tuple[str, ...], tuple[int, ...]]:
    spoken: list[str] = []
    written: list[str] = []
    origin: list[int] = []  # of each spoken word
    for token in tokens:
        if token.mark:
            spoken.append(token.mark)
            continue
        written.append(token.written)
        for word in token.words:
            spoken.append(word)
            if word != PAUSE:
                origin.append(len(written) - 1)
    sequence = to_symbols([*spoken, ending])
    indices = tuple(NO_WORD if index == NO_WORD else origin[index] for index in sequence.word_indices)
    return sequence, tuple(written), indices


def analyse(text: str, language: str = "en") -> list[Phrase]:
    """Phrases of a text, in order.

    Raises:
        LikenessError: INVALID_FIELD for more than 4096 characters, LANGUAGE_UNSUPPORTED for a language that is not
            English, TEXT_UNPRONOUNCEABLE when nothing of the text can be spoken.
    """
    if len(text) > MAX_TEXT_CHARACTERS:
        raise LikenessError(
            "INVALID_FIELD",
            f"The text has {len(text)} characters; at most {MAX_TEXT_CHARACTERS} are spoken in one request.",
            field="text",
        )
    if (language or "en").lower().replace("_", "-").split("-")[0] != "en":
        raise LikenessError(
            "LANGUAGE_UNSUPPORTED",
            f"The language {language!r} is not spoken here; only English (en) is.",
            field="language",
        )
    found: list[tuple[SymbolSequence, tuple[str, ...], tuple[int, ...], int, bool, float]] = []
    sentence_index = 0
    for sentence in split_sentences(text):
        ending = _ending(sentence.text)
        parts = _parts(normalise(sentence.text))
        spoken = []
        for i, part in enumerate(parts):
            sequence, words, written = _phrase_sequence(part, ending if i == len(parts) - 1 else ".")
            if len(sequence) > 2:
                spoken.append((sequence, words, written))
        for i, (sequence, words, written) in enumerate(spoken):
            last = i == len(spoken) - 1
            pause_s = (PARAGRAPH_PAUSE_S if sentence.paragraph_end else SENTENCE_PAUSE_S) if last else PHRASE_PAUSE_S
            found.append((sequence, words, written, sentence_index, last, pause_s))
        sentence_index += bool(spoken)
    if not found:
        raise LikenessError(
            "TEXT_UNPRONOUNCEABLE",
            "The text holds no word or number that can be spoken in English.",
            field="text",
        )
    phrases = [Phrase(*fields) for fields in found]
    last_phrase = phrases[-1]
    return [*phrases[:-1], Phrase(*found[-1][:-1], pause_after_s=0.0)] if last_phrase.pause_after_s else phrases
