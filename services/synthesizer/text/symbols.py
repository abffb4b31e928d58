"""The symbols that the network reads: ARPAbet phones with stress, and marks that stand for silence.

Two marks never sound: `^` opens an utterance and `,` is a pause inside it. `.`, `?` and `!` close it, and tell the
network which melody to give the sentence. A symbol also carries where it stands in its word (`word_edge`).
"""

from __future__ import annotations

from typing import Final

from services.common.phones import PHONES as PHONES

PAD: Final = "_"
START: Final = "^"
PAUSE: Final = ","
ENDINGS: Final = (".", "?", "!")

# The order is part of the trained model: append only.
SYMBOLS: Final = (PAD, START, PAUSE, *ENDINGS, *PHONES)
SYMBOL_IDS: Final = {symbol: index for index, symbol in enumerate(SYMBOLS)}
MARKS: Final = frozenset({PAD, START, PAUSE, *ENDINGS})

# Where a symbol stands in its word; a sum of the two flags.
WORD_FIRST: Final = 1
WORD_LAST: Final = 2
WORD_EDGES: Final = 4


def is_vowel(phone: str) -> bool:
    """Whether a phone of `PHONES` is a vowel; those end in a stress digit."""
    return phone[-1].isdigit()


def base(phone: str) -> str:
    """The phone without its stress digit."""
    return phone.rstrip("012")
