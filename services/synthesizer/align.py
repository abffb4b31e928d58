"""Flite's phones with their end times -> the front end's symbols with durations.

Flite names phones as its voices do (`ax`, no stress) and its dictionary differs here and there from the front end's.
What was spoken is flite's; what stress it carries and which word it belongs to is the front end's: a sequence
alignment joins the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from services.synthesizer.text.phonemes import SymbolSequence, word_edges
from services.synthesizer.text.symbols import ENDINGS, PAUSE, PHONES, START, base, is_vowel

SILENCE: Final = "pau"
GAP_COST: Final = 0.7
VOWEL_SWAP_COST: Final = 0.4  # one vowel for another: mostly a reduction
SWAP_COST: Final = 1.0
MARK_SWAP_COST: Final = 3.0  # a phone is never a pause
FOREIGN: Final = {"AX": "AH", "IX": "IH", "AXR": "ER", "EL": "L", "EM": "M", "EN": "N", "DX": "T", "NX": "N"}


@dataclass(frozen=True)
class TimedPhone:
    """A phone of flite and when it ends, in seconds from the start of its audio."""

    name: str
    end_s: float


@dataclass(frozen=True)
class AlignedSymbols:
    """Symbols as spoken, with the time of each."""

    symbols: tuple[str, ...]
    word_edges: tuple[int, ...]
    durations_s: tuple[float, ...]
    start_s: float  # where the first symbol starts in flite's audio
    mismatch: float  # cost per phone of the alignment: 0 when both dictionaries agree


def parse_phones(listing: str) -> list[TimedPhone]:
    """Phones of the line that `flite -psdur` prints, such as `pau:0.176 dh:0.329`."""
    phones = []
    for item in listing.split():
        name, _, end = item.rpartition(":")
        if name:
            phones.append(TimedPhone(name, float(end)))
    return phones


def _spoken(name: str) -> str:
    upper = name.upper()
    return FOREIGN.get(upper, upper)


def _swap_cost(flite: str, symbol: str) -> float:
    silent = flite == SILENCE
    if silent or symbol == PAUSE:
        return 0.0 if silent and symbol == PAUSE else MARK_SWAP_COST
    if _spoken(flite) == base(symbol):
        return 0.0
    vowels = is_vowel(symbol), f"{_spoken(flite)}0" in PHONES
    return VOWEL_SWAP_COST if all(vowels) else MARK_SWAP_COST if any(vowels) else SWAP_COST


def match(flite: Sequence[str], symbols: Sequence[str]) -> tuple[list[int | None], float]:
    """For each flite phone the index of the symbol it stands for (None: it has none), and the total cost.

    Needleman and Wunsch's global alignment.
    """
    rows, columns = len(flite), len(symbols)
    cost = np.zeros((rows + 1, columns + 1))
    cost[:, 0] = GAP_COST * np.arange(rows + 1)
    cost[0, :] = GAP_COST * np.arange(columns + 1)
    swap = np.array([[_swap_cost(a, b) for b in symbols] for a in flite]).reshape(rows, columns)
    for i in range(1, rows + 1):
        for j in range(1, columns + 1):
            cost[i, j] = min(
                cost[i - 1, j - 1] + swap[i - 1, j - 1], cost[i - 1, j] + GAP_COST, cost[i, j - 1] + GAP_COST
            )
    matched: list[int | None] = [None] * rows
    i, j = rows, columns
    while i > 0 and j > 0:
        if cost[i, j] == cost[i - 1, j - 1] + swap[i - 1, j - 1]:
            matched[i - 1] = j - 1
            i, j = i - 1, j - 1
        elif cost[i, j] == cost[i - 1, j] + GAP_COST:
            i -= 1
        else:
            j -= 1
    return matched, float(cost[rows, columns])


def align(phones: Sequence[TimedPhone], expected: SymbolSequence, opening_s: float, closing_s: float) -> AlignedSymbols:
    """Symbols that were spoken, each with its time.

    Args:
        phones: flite's, with its silence at both ends.
        expected: the front end's symbols of the same words.
        opening_s, closing_s: the silence that is kept before the first and after the last phone.

    Raises:
        ValueError: the phones do not begin and end in silence, or hold nothing else.
    """
    if len(phones) < 3 or phones[0].name != SILENCE or phones[-1].name != SILENCE:
        raise ValueError("expected phones between two silences")
    inner = phones[1:-1]
    expected_inner = expected.symbols[1:-1]
    matched, cost = match([phone.name for phone in inner], expected_inner)
    symbols: list[str] = []
    words: list[int] = []
    last_word = 0
    for phone, target in zip(inner, matched, strict=True):
        if phone.name == SILENCE:
            symbols.append(PAUSE)
            words.append(-1)
            continue
        if target is not None:
            last_word = expected.word_indices[target + 1]
        spoken = _spoken(phone.name)
        stress = ""
        if f"{spoken}0" in PHONES:
            stress = "0"
            if phone.name != "ax" and target is not None and is_vowel(expected_inner[target]):
                stress = expected_inner[target][-1]
        symbols.append(spoken + stress)
        words.append(last_word)
    starts = [phone.end_s for phone in phones[:-2]]
    durations = [phone.end_s - start for phone, start in zip(inner, starts, strict=True)]
    opening = min(opening_s, phones[0].end_s)
    closing = min(closing_s, phones[-1].end_s - phones[-2].end_s)
    ending = expected.symbols[-1] if expected.symbols[-1] in ENDINGS else "."
    return AlignedSymbols(
        symbols=(START, *symbols, ending),
        word_edges=(0, *_edges(words), 0),
        durations_s=(opening, *durations, closing),
        start_s=phones[0].end_s - opening,
        mismatch=cost / max(len(inner), 1),
    )


def _edges(words: Sequence[int]) -> list[int]:
    edges: list[int] = []
    start = 0
    for i in range(1, len(words) + 1):
        if i == len(words) or words[i] != words[start]:
            edges.extend(word_edges(i - start) if words[start] >= 0 else [0] * (i - start))
            start = i
    return edges
