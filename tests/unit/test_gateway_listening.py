"""A phrase read aloud is heard as it was set, and other words are not."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.reading_aloud import read_aloud
from services.gateway.consents.listening import listen
from services.gateway.consents.phrase import Phrase

# With narrower beams the right path was given up at "sapphire", and none of the words was heard.
PHRASE = Phrase("Grace Hopper", "consent", ("sapphire", "bedroom", "calendar", "giraffe", "necklace", "biscuit"))


def test_the_right_path_is_not_given_up() -> None:
    samples = read_aloud(PHRASE.text)
    heard = listen(samples, PHRASE)
    assert heard.complete and not heard.negated and heard.drawn == PHRASE.words
    others = replace(PHRASE, words=("garlic", "turtle", "raven", "cottage", "november", "chestnut"))
    assert listen(samples, others).right(others) <= 1
