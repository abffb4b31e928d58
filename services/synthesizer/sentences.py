"""Sentences to be spoken for training: a small grammar whose slots are filled from word lists and the lexicon.

What it is for: every phone in many neighbourhoods (any of the dictionary's words may fill a slot), numbers spelled
out, questions, exclamations, pauses at commas, and lengths from one word to about thirty. What it is not: sense.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from random import Random
from typing import Any, Final

import inflect

from services.synthesizer.text.pronounce import dictionary

SLOTS: Final[dict[str, tuple[str, ...]]] = {
    "who": (
        "my neighbour", "the pilot", "a young doctor", "our teacher", "nobody", "the old sailor", "she", "he", "they",
        "we", "Barbara", "George", "your cousin", "the engineer", "each of us", "the whole village", "Julia", "Victor",
        "an honest judge", "two strangers", "the girls", "the boys upstairs", "everyone", "Joy", "the zookeeper",
    ),
    "did": (
        "forgot", "measured", "noticed", "bought", "repaired", "painted", "sold", "described", "watched", "enjoyed",
        "dropped", "borrowed", "lifted", "chose", "shook", "pushed", "brought", "rejected", "valued", "earned",
        "would usually carry", "could have changed", "has never touched", "should look for", "was afraid of",
    ),
    "thing": (
        "the garden", "a broken chair", "the yellow bicycle", "seven oranges", "an umbrella", "the southern bridge",
        "a bowl of soup", "this letter", "the treasure", "some cheap jewels", "the oil lamp", "fresh bread",
        "a thousand photographs", "the measuring tape", "their luggage", "the whole book", "my favourite coat",
        "another excuse", "the youngest horse", "a beige sweater", "the church tower", "thick fog", "cold water",
    ),
    "place": (
        "in the kitchen", "behind the station", "near the river", "at the airport", "on the third floor",
        "under the bridge", "in Europe", "beside the hospital", "across the valley", "around the corner",
        "by the fire", "in the northern woods", "on a narrow road", "at school", "in Chicago", "outside",
    ),
    "time": (
        "yesterday", "every morning", "last winter", "on Thursday", "before noon", "after the storm", "long ago",
        "in the evening", "twice a year", "this week", "next February", "at half past three", "all night",
    ),
    "why": (
        "because the weather was good", "although nobody had asked", "while the rain was falling",
        "if the price is right", "when the music stopped", "since the door was open", "so that we could leave early",
        "until the children fell asleep", "as if nothing had happened", "unless you object",
    ),
    "quality": (
        "bright", "heavy", "strange", "beautiful", "cautious", "smooth", "rough", "unusual", "quiet", "generous",
        "dangerous", "ancient", "wooden", "huge", "pure", "loyal", "foolish", "worth a visit", "thirsty", "official",
    ),
    "ask": (
        "where", "why", "how", "when", "with whom",
    ),
    "polite": (
        "please", "thank you", "excuse me", "of course", "well", "oh", "yes", "no", "I think", "in fact", "however",
        "on the other hand", "as usual", "you see", "sadly", "at first",
    ),
}  # fmt: skip

TEMPLATES: Final = (
    "{who} {did} {thing}.",
    "{who} {did} {thing} {place}.",
    "{time}, {who} {did} {thing} {place}.",
    "{who} {did} {thing} {time}, {why}.",
    "{polite}, {who} {did} {thing}, and {who} {did} {thing} {place}.",
    "{why}, {who} {did} {lex} {thing}, but not {thing}.",
    "Is {thing} {quality}?",
    "Did {who} say {lex} or {lex}?",
    "{ask} did you find {thing}?",
    "Have you ever seen {thing} {place}?",
    "How {quality} is {thing}, and {ask}?",
    "What a {quality} {lex}!",
    "Look at {thing}!",
    "{polite}!",
    "{polite}, {polite}.",
    "{lex}.",
    "{lex} {lex}.",
    "{lex}, {lex}, {lex}, and {lex}.",
    "{lex} {lex} {lex} {lex} {lex}.",
    "The {quality} {lex} {did} the {lex} of {lex}.",
    "{who} called it {lex}, not {lex}.",
    "The {lex} and the {lex} were {quality} {time}.",
    "Say {lex} again, {polite}.",
    "{lex} is {quality}, {lex} is {quality}, and {lex} is neither.",
    "{number} {lex} {place}.",
    "It costs {number} dollars and {small} cents.",
    "Call {digit} {digit} {digit}, {digit} {digit} {digit} {digit}.",
    "{who} {did} {number} of them {time}.",
    "Chapter {small}, page {number}.",
    "The {ordinal} of {month}, {year}.",
    "On the {ordinal} {who} {did} {thing}.",
    "At {small} {small}, {who} {did} {thing} {place}.",
    "{who} told me that {who} {did} {thing} {place}, {why}, and that {thing} was {quality}.",
    "{time}, {why}, {who} {did} {thing} {place}, {who} {did} the {lex}, and {who} {did} {thing}, {polite}.",
)
MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_SENTENCE: Final = re.compile(r"[^.?!]+[.?!]")
_TOKEN: Final = re.compile(r"[a-z]+(?:'[a-z]+)*'?|[,;:.?!]")


@lru_cache(maxsize=1)
def _lexicon() -> tuple[str, ...]:
    return tuple(word for word in dictionary() if word.isalpha() and 3 <= len(word) <= 12)


@lru_cache(maxsize=1)
def _numbers() -> Any:
    return inflect.engine()


def _number_words(number: int) -> str:
    return str(_numbers().number_to_words(number, andword="and")).replace("-", " ")


def _fill(slot: str, rng: Random) -> str:
    match slot:
        case "lex":
            return rng.choice(_lexicon())
        case "number":
            return _number_words(rng.randrange(1, 10 ** rng.randrange(2, 7)))
        case "small":
            return _number_words(rng.randrange(1, 60))
        case "digit":
            return _number_words(rng.randrange(10)).replace("zero", rng.choice(("zero", "oh")))
        case "year":
            return f"{_number_words(rng.randrange(13, 21))} {_number_words(rng.randrange(10, 100))}"
        case "ordinal":
            return str(_numbers().ordinal(_number_words(rng.randrange(1, 32))))
        case "month":
            return rng.choice(MONTHS)
        case _:
            return rng.choice(SLOTS[slot])


def grammar_sentences(rng: Random) -> Iterator[str]:
    """Endless sentences, each closed by a mark."""
    while True:
        template = rng.choice(TEMPLATES)
        yield re.sub(r"\{(\w+)\}", lambda slot: _fill(slot.group(1), rng), template)


def sentences_of(text: str, min_words: int = 3, max_words: int = 28) -> Iterator[str]:
    """Sentences of a plain text that hold nothing but words and common punctuation."""
    for found in _SENTENCE.findall(re.sub(r"\s+", " ", text)):
        sentence = found.strip(" -\"'")
        if min_words <= len(sentence.split()) <= max_words and re.fullmatch(r"[A-Za-z',;:.?! -]+", sentence):
            yield sentence


def transcript_sentences(transcripts: Iterable[str]) -> Iterator[str]:
    """Transcripts in capitals without punctuation, as sentences."""
    for transcript in dict.fromkeys(transcripts):
        if re.fullmatch(r"[A-Za-z' ]{2,}", transcript):
            yield transcript.lower() + "."


def tokens_of(sentence: str) -> list[str]:
    """Lower-case words and marks of a sentence that holds nothing else to speak."""
    return [{";": ",", ":": ","}.get(token, token) for token in _TOKEN.findall(sentence.lower())]
