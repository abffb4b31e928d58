"""Whether a recording is a phrase as it was set: pocketsphinx with a grammar of the phrase.

The grammar has one path: the opening, any sounds at all for the name, every word of the statement, then the drawn
words, each against `RIVALS` others of the list. A recording that says something else fits no path, and one that says
other words takes their rivals. "I do not allow" has a way of its own, so that it is never taken for a yes.

What it does not do: it does not check the name (any sounds pass; names are in no dictionary), and it knows English
only. The acoustic model is the one inside pocketsphinx's package (16 kHz, 5000 senones, BSD).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from services.common.audio import SAMPLE_RATE_HZ, FloatArray
from services.common.recognition import PAD_S, feed
from services.gateway.consents.phrase import BEFORE_WORDS, OPENING, Phrase
from services.gateway.consents.words import WORDS

RIVALS: Final = 31
FRAMES_PER_SECOND: Final = 100  # of pocketsphinx
# Wider than pocketsphinx's defaults. With 1e-60 and 1e-40, too, 1 right phrase of 15 was lost.
BEAMS: Final = {"beam": 1e-90, "pbeam": 1e-90, "wbeam": 1e-60}
NEGATIONS: Final = ("not", "don't", "do", "cannot", "can't", "won't", "will")  # between "I" and "allow"
# Sounds that are no words may lie between words, but not so cheaply that a "not" passes for one.
FILLER_PROBABILITY: Final = 1e-30
# What a name may sound like, roughly: with all 39 phones it takes five times as long, and hears no better.
SOUNDS: Final = ("AA", "AH", "EH", "IY", "UW", "S", "SH", "T", "K", "N", "L", "M")


@dataclass(frozen=True)
class HeardWord:
    """A word and when it was said, in seconds of the recording."""

    word: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Heard:
    """What was made out of a recording.

    Attributes:
        complete: whether the whole phrase fits, from the opening through the statement to the last word.
        negated: whether the statement was turned into its opposite.
        drawn: what was heard in the places of the drawn words.
        spoken: all words with their times, sounds of the name left out.
    """

    complete: bool
    negated: bool
    drawn: tuple[str, ...]
    spoken: tuple[HeardWord, ...]

    def right(self, phrase: Phrase) -> int:
        """How many of the drawn words were heard in their places."""
        return sum(said == wanted for said, wanted in zip(self.drawn, phrase.words, strict=False))


NOTHING: Final = Heard(False, False, (), ())


def listen(samples: FloatArray, phrase: Phrase) -> Heard:
    """Hears 16 kHz mono samples (n,) as that phrase; takes about 0.2 s per second on one core."""
    from pocketsphinx import Decoder

    decoder = Decoder(samprate=SAMPLE_RATE_HZ, loglevel="FATAL", lm=None, fillprob=FILLER_PROBABILITY, **BEAMS)
    for sound in SOUNDS:
        decoder.add_word(f"+{sound}+", sound, sound == SOUNDS[-1])
    steps = _steps(phrase)
    decoder.add_fsg("phrase", decoder.create_fsg("phrase", 0, len(steps), _transitions(steps)))
    decoder.activate_search("phrase")
    feed(decoder, samples)
    if decoder.hyp() is None:
        return NOTHING
    spoken = tuple(
        HeardWord(
            re.sub(r"\(\d+\)$", "", segment.word),
            max(segment.start_frame / FRAMES_PER_SECOND - PAD_S, 0.0),
            max((segment.end_frame + 1) / FRAMES_PER_SECOND - PAD_S, 0.0),
        )
        for segment in decoder.seg()
        if segment.word[0] not in "<[+("
    )
    said = set(phrase.statement_words)  # whose own negations, as in a protection, turn nothing around
    negations = sum(item.word in NEGATIONS and item.word not in said for item in spoken)
    fixed = len(OPENING) + len(phrase.statement_words) + len(BEFORE_WORDS) + negations
    drawn = tuple(item.word for item in spoken[fixed:])
    return Heard(len(drawn) == len(phrase.words), negations > 0, drawn, spoken)


def _steps(phrase: Phrase) -> list[tuple[str, ...]]:
    """What may be said one after another."""
    statement = [(word,) for word in phrase.statement_words]
    drawn = [(word, *_rivals(word, phrase)) for word in phrase.words]
    return [*((word,) for word in OPENING), (), *statement, *((word,) for word in BEFORE_WORDS), *drawn]


def _rivals(word: str, phrase: Phrase) -> list[str]:
    """Words that compete with one of the phrase; the same for the same phrase, so that a check can be repeated."""
    seed = " ".join((word, *phrase.words)).encode()
    others = (other for other in WORDS if other != word)
    return sorted(others, key=lambda other: hashlib.sha256(seed + other.encode()).digest())[:RIVALS]


def _transitions(steps: list[tuple[str, ...]]) -> list[tuple[int, int, float, str]]:
    found: list[tuple[int, int, float, str]] = []
    for state, words in enumerate(steps):
        if words:
            found += [(state, state + 1, 1 / len(words), word) for word in words]
            if words == ("allow",) and steps[state - 1] == ("i",):  # a way round by any of the negations
                negated = len(steps) + 1
                found += [(state, negated, 1.0, word) for word in NEGATIONS]
                found += [(negated, negated, 1.0, word) for word in NEGATIONS]
                found.append((negated, state + 1, 1.0, "allow"))
        else:  # the name: one sound and more
            found += [(state, state + 1, 0.5 / len(SOUNDS), f"+{sound}+") for sound in SOUNDS]
            found += [(state, state, 0.5 / len(SOUNDS), f"+{sound}+") for sound in SOUNDS]
    return found
