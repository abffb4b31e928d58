"""Spoken words and marks -> the symbols of one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.common.phones import Phones
from services.synthesizer.text.pronounce import pronounce
from services.synthesizer.text.symbols import ENDINGS, MARKS, PAUSE, START, WORD_FIRST, WORD_LAST

NO_WORD = -1


@dataclass(frozen=True)
class SymbolSequence:
    """One sentence as the network reads it; all three tuples have one entry per symbol."""

    symbols: tuple[str, ...]
    word_edges: tuple[int, ...]  # sum of WORD_FIRST and WORD_LAST
    word_indices: tuple[int, ...]  # into the words of the sentence; NO_WORD for marks

    def __len__(self) -> int:
        return len(self.symbols)


def word_edges(length: int) -> list[int]:
    """Edge flags of the phones of one word."""
    return [(WORD_FIRST if i == 0 else 0) + (WORD_LAST if i == length - 1 else 0) for i in range(length)]


def to_symbols(tokens: Sequence[str | Phones]) -> SymbolSequence:
    """Symbols of a sentence given as lower-case words and marks, such as `["well", ",", "yes", "."]`; for a word may
    stand its phones.

    Pauses at either end and pauses in a row are dropped; the sentence is closed by a full stop unless it ends in
    another of `ENDINGS`. Words without a pronunciation stay silent but keep their index.
    """
    symbols, edges, indices = [START], [0], [NO_WORD]
    ending = "."
    word = -1
    pause_due = False
    for token in tokens:
        if isinstance(token, str) and token in MARKS:
            ending = token if token in ENDINGS else ending
            pause_due = pause_due or word >= 0
            continue
        word += 1
        phones = pronounce(token) if isinstance(token, str) else token
        if not phones:
            continue
        if pause_due and len(symbols) > 1:
            symbols.append(PAUSE)
            edges.append(0)
            indices.append(NO_WORD)
        pause_due = False
        symbols.extend(phones)
        edges.extend(word_edges(len(phones)))
        indices.extend([word] * len(phones))
    return SymbolSequence((*symbols, ending), (*edges, 0), (*indices, NO_WORD))
