"""Words that are skipped, repeated or cut in speech whose text is known.

Pocketsphinx follows the text, and may leave it wherever that makes the sound likelier by far: pass over a word or two,
say one or two again, or say the first or last half of a word only. Each way off the text costs so much that sound
speech does not take it. What was measured of it stands in benchmarks/README.md; what it misses are words of two
sounds or fewer ("a", "of"), which are over before they could be missed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Final, Literal

from services.common.audio import FloatArray
from services.synthesizer.forced import ForcedAligner
from services.synthesizer.sentences import tokens_of
from services.synthesizer.text.pronounce import pronounce
from services.synthesizer.text.symbols import MARKS, base

SKIPPED: Final = 1e-7  # likelihood of passing over a word
REPEATED: Final = 1e-18
CUT: Final = 1e-10
KINDS: Final = ("skipped", "repeated", "cut", "lost")
MIN_PHONES_CUT: Final = 4  # half of a shorter word is hardly a sound
HALVES: Final = (":first", ":last")
# The likelihoods count as they stand (lw), noises are no way to explain words away, and little is given up early.
SEARCH: Final = {"lw": 1.0, "fillprob": 1e-40, "beam": 1e-64, "pbeam": 1e-64, "wbeam": 1e-48}

Transition = tuple[int, int, float, str] | tuple[int, int, float]


@dataclass(frozen=True)
class Slip:
    """Where speech is not its text."""

    kind: Literal["skipped", "repeated", "cut", "lost"]
    words: tuple[str, ...]


class SlipFinder(ForcedAligner):
    """Judges one piece of speech after the other; not to be called from two threads at once."""

    def __init__(self) -> None:
        super().__init__(**SEARCH)

    def slips(self, samples: FloatArray, text: str) -> list[Slip]:
        """All slips in 16 kHz mono samples (n,) of a text of words; empty for speech that is sound.

        `lost` stands for speech that the text cannot be laid along at all.
        """
        words = [token for token in tokens_of(text.lower()) if token not in MARKS]
        names = [self._name(word, pronounce(word)) for word in words]
        decoder = self._decoder
        decoder.add_fsg("slips", decoder.create_fsg("slips", 0, len(names), self._transitions(words, names)))
        decoder.activate_search("slips")
        self._hear(samples)
        heard = [] if decoder.hyp() is None else [re.sub(r"\(\d+\)$", "", segment.word) for segment in decoder.seg()]
        return compare(words, names, [name for name in heard if name[0] not in "<[("])

    def _transitions(self, words: Sequence[str], names: Sequence[str]) -> list[Transition]:
        """The text as one path, state by state, with the ways off it."""
        count = len(names)
        found: list[Transition] = []
        for i, name in enumerate(names):
            found += [(i, i + 1, 1.0, name), (i + 1, i + 1, REPEATED, name)]
            found += [(i, i + 1, CUT, half) for half in self._halves(name, words[i])]
            if i + 1 < count:
                found.append((i, i + 2, SKIPPED, names[i + 1]))
            if i + 2 < count:
                found.append((i, i + 3, SKIPPED**2, names[i + 2]))
            if i > 0:
                found.append((i + 1, i, REPEATED, names[i - 1]))
        return [*found, (count - 1, count, SKIPPED)] if count > 1 else found

    def _halves(self, name: str, word: str) -> list[str]:
        """Names under which the recogniser knows the beginning and the end of a word."""
        phones = [base(phone) for phone in pronounce(word)]
        if len(phones) < MIN_PHONES_CUT:
            return []
        size = (len(phones) + 1) // 2
        for half, part in zip(HALVES, (phones[:size], phones[-size:]), strict=True):
            if self._decoder.lookup_word(name + half) is None:
                self._decoder.add_word(name + half, " ".join(part), False)
        return [name + half for half in HALVES]


def compare(words: Sequence[str], names: Sequence[str], heard: Sequence[str]) -> list[Slip]:
    """What was heard against the names of the words that should have been said."""
    if not heard:
        return [Slip("lost", tuple(words))]
    slips = []
    for kind, start, stop, first, last in SequenceMatcher(None, names, heard, autojunk=False).get_opcodes():
        if kind == "insert":
            slips.append(Slip("repeated", tuple(name.partition("/")[0] for name in heard[first:last])))
        elif kind != "equal":
            cut = any(name.endswith(HALVES) for name in heard[first:last])
            slips.append(Slip("cut" if cut else "skipped", tuple(words[start:stop])))
    return slips


def bad_share(judged: Sequence[Sequence[Slip]]) -> dict[str, Any]:
    """Share of texts with a slip, how many had one of each kind, and how many were judged."""
    kinds = {kind: sum(any(slip.kind == kind for slip in slips) for slips in judged) for kind in KINDS}
    return {
        "bad_sentence_share": round(sum(bool(slips) for slips in judged) / len(judged), 4),
        "texts": len(judged),
        "texts_with": kinds,
    }
