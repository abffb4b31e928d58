"""Text -> phrases ready for the network: the only door through which serving enters the front end.

A phrase is a sentence, or a part of one that would be too long to speak in one go; those are parted at pauses, or
where there is none before a conjunction, or else between any two words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from services.common.errors import LikenessError
from services.common.languages import primary_language
from services.common.markup import MAX_SPOKEN_CHARACTERS, read_bounded
from services.common.pronunciation import read_dictionary
from services.common.script import PARAGRAPH_PAUSE_S, SENTENCE_PAUSE_S, Manner, ScriptSentence, Words
from services.synthesizer.text.marked import MarkedToken, SpokenWord, UserDictionary, sentence_tokens
from services.synthesizer.text.phonemes import NO_WORD, SymbolSequence, to_symbols
from services.synthesizer.text.symbols import PAUSE

MAX_TEXT_CHARACTERS: Final = MAX_SPOKEN_CHARACTERS
MAX_PHRASE_WORDS: Final = 32  # spoken words; about as long as the longest sentence trained on
MIN_PHRASE_WORDS: Final = 8  # a pause earlier than this is not worth parting at
JOINTS: Final = frozenset(
    ("and", "but", "or", "nor", "so", "because", "although", "while", "when", "where", "which", "who", "that", "if")
)
PHRASE_PAUSE_S: Final = 0.12


@dataclass(frozen=True)
class Phrase:
    """What is spoken in one go.

    Attributes:
        words: as written; `written_index` leads here.
        punctuated: the same with the signs that touch them.
        written_index: per symbol the written word that it belongs to, NO_WORD for marks.
        manners: per symbol how it is spoken.
        rests: symbols that are pauses, and how many seconds those are to last.
        pause_after_s: silence to follow; 0 after the last.
        pause_is_exact: it was asked for, and does not depend on the speed.
        rest_before_s: silence that was asked for before the first phrase.
    """

    sequence: SymbolSequence
    words: tuple[str, ...]
    punctuated: tuple[str, ...]
    written_index: tuple[int, ...]
    manners: tuple[Manner, ...]
    rests: tuple[tuple[int, float], ...]
    sentence_index: int
    sentence_end: bool
    pause_after_s: float
    pause_is_exact: bool = False
    rest_before_s: float = 0.0


@dataclass
class _Part:
    """A part of a sentence on its way to a phrase."""

    sequence: SymbolSequence
    words: tuple[str, ...]
    punctuated: tuple[str, ...]
    written_index: tuple[int, ...]
    manners: tuple[Manner, ...]
    rests: tuple[tuple[int, float], ...]
    rest_before_s: float | None  # None: nothing was said of it
    rest_after_s: float | None


def _ending(sentence: str) -> str:
    closing = re.search(r"[.?!]+(?=\W*$)", sentence)
    if closing is None:
        return "."
    return "?" if "?" in closing[0] else "!" if "!" in closing[0] else "."


def _parts(tokens: list[MarkedToken]) -> list[list[MarkedToken]]:
    """Tokens of a sentence in parts of at most MAX_PHRASE_WORDS words (one token is never parted)."""
    parts: list[list[MarkedToken]] = []
    rest = tokens
    while sum(len(marked.token.words) for marked in rest) > MAX_PHRASE_WORDS:
        count, at_pause, at_joint, at_word = 0, 0, 0, 1
        for i, marked in enumerate(rest):
            token = marked.token
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


def _part(tokens: list[MarkedToken], ending: str) -> _Part:
    """Symbols of tokens, with all that is known of each symbol."""
    spoken: list[SpokenWord] = []
    words: list[str] = []
    punctuated: list[str] = []
    origin: list[int] = []  # of each spoken word: the written one
    manners: list[Manner] = []  # of each spoken word
    rests: dict[int, float] = {}  # number of spoken words before a rest -> its seconds
    for marked in tokens:
        token = marked.token
        if token.mark:
            if token.rest_s is not None:
                rests[len(origin)] = rests.get(len(origin), 0.0) + token.rest_s
            spoken.append(token.mark)
            continue
        words.append(token.written)
        punctuated.append(token.punctuated or token.written)
        for word in token.words:
            spoken.append(word)
            if word != PAUSE:
                origin.append(len(words) - 1)
                manners.append(marked.manner)
    sequence = to_symbols([*_without_silenced(spoken, rests), ending])
    indices = sequence.word_indices
    sounding = [index for index in indices if index != NO_WORD]
    first, last = (sounding[0], sounding[-1]) if sounding else (0, -1)
    return _Part(
        sequence=sequence,
        words=tuple(words),
        punctuated=tuple(punctuated),
        written_index=tuple(NO_WORD if index == NO_WORD else origin[index] for index in indices),
        manners=_manner_of_symbols(indices, manners),
        rests=_rests_inside(sequence, rests),
        rest_before_s=_sum_of([seconds for place, seconds in rests.items() if place <= first]),
        rest_after_s=_sum_of([seconds for place, seconds in rests.items() if place > last]) if sounding else None,
    )


def _without_silenced(spoken: list[SpokenWord], rests: dict[int, float]) -> list[SpokenWord]:
    """Words and pauses, without those pauses in whose place a rest of no length was asked for."""
    kept: list[SpokenWord] = []
    count = 0
    for word in spoken:
        if word != PAUSE:
            count += 1
        elif rests.get(count) == 0.0:
            continue
        kept.append(word)
    return kept


def _manner_of_symbols(indices: tuple[int, ...], manners: list[Manner]) -> tuple[Manner, ...]:
    """Of each symbol; marks are spoken as the word before them, the opening one as the first word."""
    found: list[Manner] = []
    now = next((manners[index] for index in indices if index != NO_WORD), Manner())
    for index in indices:
        now = manners[index] if index != NO_WORD else now
        found.append(now)
    return tuple(found)


def _rests_inside(sequence: SymbolSequence, rests: dict[int, float]) -> tuple[tuple[int, float], ...]:
    """The pauses among the symbols that are to last so long."""
    found: list[tuple[int, float]] = []
    before = NO_WORD
    for number, (symbol, index) in enumerate(zip(sequence.symbols, sequence.word_indices, strict=True)):
        if symbol == PAUSE:
            after = next(i for i in sequence.word_indices[number:] if i != NO_WORD)
            here = [seconds for place, seconds in rests.items() if before < place <= after]
            if here:
                found.append((number, sum(here)))
        elif index != NO_WORD:
            before = index
    return tuple(found)


def _sum_of(seconds: list[float]) -> float | None:
    return sum(seconds) if seconds else None


def analyse(text: str, language: str = "en", dictionary: Mapping[str, str] | None = None) -> list[Phrase]:
    """Phrases of a text, in order.

    Args:
        text: plain, or SSML; see `services.common.markup`.
        dictionary: how words are pronounced; see `services.common.pronunciation`.

    Raises:
        LikenessError: INVALID_FIELD for a text that is too long, MARKUP_INVALID, PRONUNCIATION_INVALID,
            LANGUAGE_UNSUPPORTED for a language that is not English, TEXT_UNPRONOUNCEABLE when nothing of the text can
            be spoken.
    """
    if primary_language(language or "en") != "en":
        raise LikenessError(
            "LANGUAGE_UNSUPPORTED",
            f"The language {language!r} is not spoken here; only English (a BCP 47 tag such as en or en-GB) is.",
            field="language",
        )
    own_words = UserDictionary(read_dictionary(dictionary or {}))
    phrases: list[Phrase] = []
    rest_before_s: float | None = None
    for sentence in read_bounded(text).sentences:
        tokens = sentence_tokens(sentence, own_words)
        parts = _spoken_parts(tokens, _ending(_with_signs(sentence)))
        if not parts:  # nothing of it can be spoken, but its rests are kept
            rest = _sum_of([token.token.rest_s for token in tokens if token.token.rest_s is not None])
            rest_before_s = rest if rest_before_s is None else rest_before_s + (rest or 0.0)
            continue
        index = phrases[-1].sentence_index + 1 if phrases else 0
        for number, part in enumerate(parts):
            lead = part.rest_before_s
            if number == 0 and rest_before_s is not None:
                lead = rest_before_s + (lead or 0.0)
            if lead is not None:
                phrases = _resting_before(phrases, lead)
            natural = PARAGRAPH_PAUSE_S if sentence.paragraph_end else SENTENCE_PAUSE_S
            is_last = number == len(parts) - 1
            phrases.append(_phrase(part, index, natural if is_last else PHRASE_PAUSE_S, is_last))
            if lead is not None and len(phrases) == 1:
                phrases[0] = replace(phrases[0], rest_before_s=lead)
        rest_before_s = None
    if not phrases:
        raise LikenessError(
            "TEXT_UNPRONOUNCEABLE",
            "The text holds no word or number that can be spoken in English.",
            field="text",
        )
    if rest_before_s is not None:
        phrases = _resting_before(phrases, rest_before_s)
    last = phrases[-1]
    return [*phrases[:-1], last if last.pause_is_exact else replace(last, pause_after_s=0.0)]


def _with_signs(sentence: ScriptSentence) -> str:
    return "".join(part.text if isinstance(part, Words) else " " for part in sentence.parts).rstrip()


def _spoken_parts(tokens: list[MarkedToken], ending: str) -> list[_Part]:
    """Those parts of a sentence of which something sounds; rests of the others are added to their neighbours."""
    cut = _parts(tokens)
    made = [_part(part, ending if number == len(cut) - 1 else ".") for number, part in enumerate(cut)]
    kept: list[_Part] = []
    waiting: float | None = None
    for part in made:
        if len(part.sequence) > 2:
            if waiting is not None:
                part.rest_before_s = waiting + (part.rest_before_s or 0.0)
            kept.append(part)
            waiting = None
        elif part.rest_before_s is not None:
            waiting = (waiting or 0.0) + part.rest_before_s
    if waiting is not None and kept:
        kept[-1].rest_after_s = (kept[-1].rest_after_s or 0.0) + waiting
    return kept


def _phrase(part: _Part, sentence_index: int, natural_pause_s: float, sentence_end: bool) -> Phrase:
    is_exact = part.rest_after_s is not None
    return Phrase(
        sequence=part.sequence,
        words=part.words,
        punctuated=part.punctuated,
        written_index=part.written_index,
        manners=part.manners,
        rests=part.rests,
        sentence_index=sentence_index,
        sentence_end=sentence_end,
        pause_after_s=natural_pause_s if part.rest_after_s is None else part.rest_after_s,
        pause_is_exact=is_exact,
    )


def _resting_before(phrases: list[Phrase], seconds: float) -> list[Phrase]:
    """The phrases with a rest after the last of them, in place of its natural pause."""
    if not phrases:
        return phrases
    last = phrases[-1]
    before_s = last.pause_after_s if last.pause_is_exact else 0.0
    return [*phrases[:-1], replace(last, pause_after_s=before_s + seconds, pause_is_exact=True)]
