"""Words that a stated purpose or a text names: whole words, in any case, with English endings.

It is a list of words and understands nothing: it catches those who say what they want, and nobody else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

SEXUAL: Final = (
    *("sexual", "sex", "sexy", "porn", "porno", "pornography", "pornographic", "erotic", "erotica", "erotism"),
    *("nude", "nudes", "nudity", "naked", "nsfw", "xxx", "deepnude", "undress", "undressing", "fetish", "hentai"),
    *("orgasm", "camgirl", "onlyfans", "escort", "striptease", "masturbation", "explicit adult"),
)


def names_one_of(text: str, terms: Iterable[str]) -> str | None:
    """The first of the terms that the text has as a word, or as words in a row."""
    folded = " ".join(re.findall(r"\w+", text.casefold()))
    for term in terms:
        wanted = " ".join(re.findall(r"\w+", term.casefold()))
        if wanted and re.search(rf"\b{re.escape(wanted)}(?:s|es)?\b", folded):
            return term
    return None
