"""Two hundred texts of one to four hundred words, to be spoken without a slip.

They are made of word lists and patterns of their own, none of which training has (`services/synthesizer/sentences.py`),
by chance with a fixed seed: the same texts every time, for everybody.
"""

from __future__ import annotations

from functools import lru_cache
from random import Random
from typing import Final

SEED: Final = 20260
# How many texts, and of how many words at least and at most.
LENGTHS: Final = ((20, 1, 1), (50, 2, 8), (70, 9, 24), (30, 25, 60), (20, 80, 160), (9, 200, 380), (1, 390, 400))

SINGLE: Final = (
    *("Lighthouse", "Tomorrow", "Seventeen", "Possibly", "Pineapple", "Welcome", "Orchestra", "Enough", "Thursday"),
    *(
        "Breakfast",
        "Microscope",
        "Never",
        "Bridges",
        "Honestly",
        "Umbrella",
        "Quickly",
        "Goodbye",
        "Yellow",
        "Strawberry",
    ),
    "Vegetables",
)
WHO: Final = (
    *("the baker", "my uncle", "a tall waitress", "the ferry captain", "our landlord", "one of the nurses"),
    *("the postman", "a patient gardener", "her grandfather", "the violin teacher", "that referee", "a lost tourist"),
    *("the mayor", "his younger sister", "the night guard", "a famous chemist", "the whole choir", "Margaret"),
)
DOES: Final = (
    *("carries", "cleans", "remembers", "draws", "collects", "hides", "counts", "examines", "polishes", "admires"),
    *("protects", "returns", "prepares", "recommends", "ignores", "describes", "photographs", "rents", "weighs"),
)
WHAT: Final = (
    *("a basket of plums", "the copper kettle", "old train tickets", "the blue curtains", "a pair of skis"),
    *(
        "the broken compass",
        "nine clay pots",
        "a map of the harbour",
        "the spare keys",
        "a jar of honey",
        "silver spoons",
    ),
    *("the laundry", "a sack of flour", "the morning paper", "some loose buttons", "a wooden ladder", "the guest list"),
    *("two crystal glasses", "a rather dull novel", "the fishing nets", "warm chestnuts", "a stack of invoices"),
)
WHERE: Final = (
    *("by the canal", "upstairs", "in the bakery", "between the tents", "on the balcony", "at the frontier"),
    *("below the castle", "in Portugal", "along the beach", "next to the fountain", "under the stairs", "in the attic"),
)
WHEN: Final = (
    *("at dawn", "on Sundays", "before lunch", "in August", "most evenings", "during the holidays", "once a month"),
    *("after the concert", "every second week", "at a quarter to six", "whenever it snows", "on market days"),
)
HOW: Final = (
    "with great care",
    "without a word",
    "rather slowly",
    "in silence",
    "by mistake",
    "as a favour",
    "with joy",
)
LINKS: Final = (
    *("but", "and", "because", "so", "while", "although", "until", "since", "unless"),
    *("and then", "even though", "just as", "which is why"),
)
OPENINGS: Final = ("In short", "Strangely enough", "Once again", "To be fair", "By the way", "Back then", "As a rule")
FRAGMENTS: Final = (
    *("Not today.", "Who knows?", "What a pity!", "Mind the step.", "Almost there.", "Another cup of tea?"),
    *("Two tickets, please.", "No, thanks.", "Straight ahead, then left.", "Nothing at all.", "How very odd!"),
)


@lru_cache(maxsize=1)
def texts() -> tuple[str, ...]:
    """All of them, the short ones first; no two are the same."""
    rng = Random(SEED)  # noqa: S311
    made: dict[str, None] = {}
    for count, least, most in LENGTHS:
        wanted = len(made) + count
        singles = iter(SINGLE)
        while len(made) < wanted:
            text = f"{next(singles)}." if most == 1 else _text(rng, rng.randint(least, most))
            if least <= len(text.split()) <= most:
                made.setdefault(text)
    return tuple(made)


def some_texts(count: int) -> list[str]:
    """So many of them, short and long ones alike."""
    every = texts()
    return [every[(2 * i + 1) * len(every) // (2 * count)] for i in range(count)]


def _text(rng: Random, words: int) -> str:
    """About so many words, in sentences."""
    if words <= 4:
        return rng.choice(FRAGMENTS)
    sentences: list[str] = []
    while (left := words - sum(len(sentence.split()) for sentence in sentences)) > 3:
        sentences.append(_sentence(rng, left))
    return " ".join(sentences)


def _sentence(rng: Random, words: int) -> str:
    """One sentence of at most about thirty words."""
    parts = [_clause(rng, words)]
    while len(" ".join(parts).split()) + 8 < min(words, 30) and rng.random() < 0.6:
        parts.append(f"{rng.choice(LINKS)} {_clause(rng, 12)}")
    text = ", ".join(parts)
    if words > 12 and rng.random() < 0.25:
        text = f"{rng.choice(OPENINGS)}, {text}"
    return text[0].upper() + text[1:] + rng.choice("....!?")


def _clause(rng: Random, words: int) -> str:
    parts = [rng.choice(WHO), rng.choice(DOES), rng.choice(WHAT)]
    for extra in (WHERE, WHEN, HOW):
        if len(" ".join(parts).split()) + 4 <= words and rng.random() < 0.5:
            parts.append(rng.choice(extra))
    return " ".join(parts)
