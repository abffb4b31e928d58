"""The phrase that a person says to consent: a fixed statement with their name, then words that nobody knew before.

With `DRAWN` of 256 words in a certain order, a phrase has 2^48 forms: no recording of earlier can contain it, unless
somebody cut it together from single words.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

from services.gateway.consents.words import WORDS

# consent: to be cloned. protection: never to be. removal: not to be protected any more.
Statement = Literal["consent", "protection", "removal"]

DRAWN: Final = 6
OPENING: Final = ("my", "name", "is")
BEFORE_WORDS: Final = ("today", "i", "say")
STATEMENTS: Final[dict[Statement, tuple[str, ...]]] = {
    "consent": (
        "I am an adult.",
        "I allow a copy of my voice to be made and used to speak words that I have never said.",
    ),
    "protection": ("I do not allow anybody to make a copy of my voice or to speak with it.",),
    "removal": ("I no longer want my voice to be protected.",),
}


@dataclass(frozen=True)
class Phrase:
    """What one person is to say, once."""

    who: str
    statement: Statement
    words: tuple[str, ...]

    @classmethod
    def draw(cls, who: str, statement: Statement) -> Self:
        """With words from the operating system's randomness, none of them twice."""
        return cls(who, statement, tuple(secrets.SystemRandom().sample(WORDS, DRAWN)))

    @property
    def text(self) -> str:
        """As it is to be read aloud."""
        return f"My name is {self.who}. {' '.join(STATEMENTS[self.statement])} Today I say: {', '.join(self.words)}."

    @property
    def statement_words(self) -> tuple[str, ...]:
        """Of the statement alone, lower case."""
        return tuple(re.findall(r"[a-z']+", " ".join(STATEMENTS[self.statement]).lower()))

    def to_json(self) -> dict[str, Any]:
        return {"statement": self.statement, "words": list(self.words)}

    @classmethod
    def from_json(cls, who: str, task: dict[str, Any]) -> Self:
        return cls(who, task["statement"], tuple(task["words"]))
