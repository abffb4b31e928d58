"""A recording and the words said in it -> when each phone was said, and how well it fits: forced alignment.

Pocketsphinx's acoustic model (16 kHz, BSD) is led along the words twice: once to find them, once for their phones. The
phones are the front end's; where the recogniser's dictionary knows other readings of a word ("the" before a vowel),
the speaker may have taken one of those. What comes out has the shape that flite's exact timings have (`align.py`).

What it does not do: it does not find out what was said. Wrong words are aligned, too, only with a low score.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from services.common.audio import SAMPLE_RATE_HZ, FloatArray
from services.synthesizer.align import AlignedSymbols, match
from services.synthesizer.text.phonemes import word_edges
from services.synthesizer.text.pronounce import pronounce
from services.synthesizer.text.symbols import MARKS, PAUSE, PHONES, START, base, is_vowel

FRAMES_PER_SECOND: Final = 100  # of the recogniser
FRAME_CENTRE_S: Final = 0.008  # a frame is 25.6 ms of sound, so that a change lies later than where its frame starts
NATS_PER_SCORE: Final = 1024 * float(np.log(1.0001))  # the recogniser counts in coarse logarithms to the base 1.0001
PAD_S: Final = 0.1  # of silence, before and after
LEVEL: Final = 0.7  # peak of what the recogniser hears
MIN_PAUSE_S: Final = 0.05  # a shorter silence belongs to the phone before
MAX_READINGS: Final = 4
# Wider than the defaults: there is only one path, and losing it loses the sentence. Of a lattice, whose best path may
# end before the last word, nothing is needed.
SEARCH: Final = {"beam": 1e-80, "pbeam": 1e-80, "wbeam": 1e-60, "bestpath": False}


@dataclass(frozen=True)
class HeardPhone:
    """A phone of the recogniser with its time in seconds.

    Attributes:
        name: ARPAbet without stress.
        score: mean log likelihood per frame against the likeliest sound of each frame, in nats: 0 is the best there is.
    """

    name: str
    start_s: float
    end_s: float
    score: float


@dataclass(frozen=True)
class HeardWord:
    """A word with the phones it was said with."""

    word: str
    phones: tuple[HeardPhone, ...]

    @property
    def start_s(self) -> float:
        return self.phones[0].start_s

    @property
    def end_s(self) -> float:
        return self.phones[-1].end_s

    @property
    def score(self) -> float:
        """Of its phones, weighted by their lengths."""
        return _mean_score(self.phones)


@dataclass(frozen=True)
class ForcedAlignment:
    """All words of a recording, in order."""

    words: tuple[HeardWord, ...]

    @property
    def score(self) -> float:
        """Mean over all frames that are not silence, in nats; 0 would be perfect."""
        return _mean_score([phone for word in self.words for phone in word.phones])


def _mean_score(phones: Sequence[HeardPhone]) -> float:
    lengths = np.array([phone.end_s - phone.start_s for phone in phones])
    return float(np.average([phone.score for phone in phones], weights=lengths))


def recogniser_pcm(samples: FloatArray) -> bytes:
    """16 kHz mono samples (n,) as the recogniser takes them: at one level, with a little silence around them."""
    peak = float(np.abs(samples).max(initial=0.0)) or 1.0
    pad = np.zeros(round(PAD_S * SAMPLE_RATE_HZ), np.float32)
    return (np.concatenate([pad, samples / peak * LEVEL, pad]) * 32767).astype("<i2").tobytes()


class ForcedAligner:
    """Aligns one recording after the other; not to be called from two threads at once."""

    def __init__(self, **search: Any) -> None:
        """`search` has other settings of the recogniser than `SEARCH`."""
        from pocketsphinx import Decoder

        options = SEARCH | search
        self._decoder: Any = Decoder(samprate=SAMPLE_RATE_HZ, loglevel="FATAL", lm=None, cmn="batch", **options)
        self._names: dict[tuple[str, tuple[str, ...]], str] = {}

    def align(self, samples: FloatArray, tokens: Sequence[str]) -> ForcedAlignment | None:
        """Times of all words and phones of 16 kHz mono samples, shape (n,).

        Args:
            tokens: lower-case words as they were said; marks among them are passed over.

        Returns:
            None when the words cannot be laid along the recording at all.

        Raises:
            ValueError: no word has a pronunciation.
        """
        spoken = [(token, pronounce(token)) for token in tokens if token not in MARKS]
        spoken = [(word, phones) for word, phones in spoken if phones]
        if not spoken:
            raise ValueError("expected at least one word that can be pronounced")
        decoder = self._decoder
        decoder.set_align_text(" ".join([self._name(word, phones) for word, phones in spoken]))
        self._hear(samples)
        if decoder.hyp() is None:
            return None
        decoder.set_alignment()
        self._hear(samples)
        found = decoder.get_alignment()
        heard = [] if found is None else [_heard_phones(word) for word in found if word.name[0] not in "<["]
        if len(heard) != len(spoken):
            return None
        return ForcedAlignment(tuple(HeardWord(word, phones) for (word, _), phones in zip(spoken, heard, strict=True)))

    def _hear(self, samples: FloatArray) -> None:
        self._decoder.start_utt()
        self._decoder.process_raw(recogniser_pcm(samples), no_search=False, full_utt=True)
        self._decoder.end_utt()

    def _name(self, word: str, phones: tuple[str, ...]) -> str:
        """What the recogniser calls a word in this pronunciation; all its readings are made known to it."""
        key = (word, phones)
        if key not in self._names:
            name = self._names[key] = f"{word}/{len(self._names)}"
            readings = list(dict.fromkeys([" ".join(map(base, phones)), *self._readings(word)]))
            for number, reading in enumerate(readings[:MAX_READINGS], start=1):
                self._decoder.add_word(name if number == 1 else f"{name}({number})", reading, False)
        return self._names[key]

    def _readings(self, word: str) -> Iterator[str]:
        """Readings in the recogniser's own dictionary."""
        number = 1
        while (reading := self._decoder.lookup_word(word if number == 1 else f"{word}({number})")) is not None:
            yield reading
            number += 1


def _heard_phones(word: Any) -> tuple[HeardPhone, ...]:
    offset = FRAME_CENTRE_S - PAD_S
    return tuple(
        HeardPhone(
            phone.name,
            max(
                phone.start / FRAMES_PER_SECOND + offset, 0.0
            ),  # the silence that was put before is not the recording's
            (phone.start + phone.duration) / FRAMES_PER_SECOND + offset,
            phone.score * NATS_PER_SCORE / phone.duration,
        )
        for phone in word
    )


def aligned_symbols(
    alignment: ForcedAlignment, duration_s: float, ending: str, opening_s: float, closing_s: float
) -> AlignedSymbols:
    """The front end's symbols with the times that were heard; silences between words become pauses.

    Args:
        duration_s: of the whole recording.
        ending: the mark that closes the sentence.
        opening_s, closing_s: the silence that is kept before the first and after the last phone, if there is as much.
    """
    start_s, end_s = alignment.words[0].start_s, alignment.words[-1].end_s
    opening, closing = min(opening_s, start_s), min(closing_s, duration_s - end_s)
    symbols, edges, durations, cost = [START], [0], [opening], 0.0
    reached_s = start_s
    for word in alignment.words:
        silence_s = word.start_s - reached_s
        if silence_s >= MIN_PAUSE_S:
            symbols.append(PAUSE)
            edges.append(0)
            durations.append(silence_s)
        else:
            durations[-1] += silence_s
        stressed, mismatch = _stressed([phone.name for phone in word.phones], pronounce(word.word))
        symbols += stressed
        edges += word_edges(len(stressed))
        durations += [phone.end_s - phone.start_s for phone in word.phones]
        cost += mismatch
        reached_s = word.end_s
    return AlignedSymbols(
        symbols=(*symbols, ending),
        word_edges=(*edges, 0),
        durations_s=(*durations, closing),
        start_s=start_s - opening,
        mismatch=cost / (len(symbols) - 1),
    )


def _stressed(heard: Sequence[str], expected: Sequence[str]) -> tuple[list[str], float]:
    """Phones as they were said with the stress of the front end's reading, and the cost of their difference."""
    matched, cost = match(heard, expected)
    symbols = []
    for name, target in zip(heard, matched, strict=True):
        if f"{name}0" not in PHONES:
            symbols.append(name)
        elif target is not None and is_vowel(expected[target]):
            symbols.append(name + expected[target][-1])
        else:
            symbols.append(f"{name}0")
    return symbols, cost
