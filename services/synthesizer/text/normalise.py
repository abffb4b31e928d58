"""A written sentence -> what is spoken: lower-case words and pause marks, each with the writing that it stands for.

The sentence is read from left to right; at each place the first rule of `RULES` that fits takes what it matches. Rules
cover numbers in all their uses (money, dates, times, years, units, ...), abbreviations, acronyms and addresses; what no
rule knows is a plain word, and signs without a name (emoji, drawing) are skipped. It knows English only, and tells
no homographs apart.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from services.common.abbreviations import (
    ABBREVIATIONS,
    CURRENCIES,
    MAGNITUDES,
    MONTHS,
    SIGNS,
    UNITS,
    VULGAR_FRACTIONS,
)
from services.common.phones import Phones
from services.common.sentences import OBJECT
from services.synthesizer.text import readings
from services.synthesizer.text.numbers import cardinal, decade, decimal, ordinal
from services.synthesizer.text.pronounce import with_possessive
from services.synthesizer.text.readings import Place, Reading
from services.synthesizer.text.symbols import PAUSE


@dataclass(frozen=True)
class Token:
    """A piece of writing and the words it is read as; no words and `mark` set where it is a pause.

    Attributes:
        words: lower-case words, or their phones where those were given.
        start: where it begins in the text that was read.
        punctuated: as written, with the signs that touch it.
        rest_s: of a pause that is to last so long.
    """

    written: str
    words: tuple[str | Phones, ...] = ()
    mark: str = ""
    start: int = 0
    punctuated: str = ""
    rest_s: float | None = None


@dataclass(frozen=True)
class Embedded:
    """What stands for an `OBJECT` in a text: writing with its words, or a rest."""

    written: str = ""
    words: tuple[str | Phones, ...] = ()
    rest_s: float | None = None


NUMBER: Final = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
MONTH: Final = "|".join([*MONTHS, *(m[:3] + r"\.?" for m in MONTHS), r"sept\.?"])
_UNIT: Final = "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True))
_CURRENCY: Final = "|".join(sorted(map(re.escape, CURRENCIES), key=len, reverse=True))
_MAGNITUDE: Final = "|".join(sorted(MAGNITUDES, key=len, reverse=True))
_END: Final = r"(?![\w])"
_URL: Final = r"(?:https?://|www\.)[^\s<>\"']*[\w/]"
_EMAIL: Final = r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
_SITE: Final = r"(?:[a-z\d-]+\.)+(?:com|org|net|edu|gov|io|dev|app|uk|de|eu|info)(?:/[\w/.-]*[\w/])?" + _END
ADDRESSES: Final = re.compile(f"{_URL}|{_EMAIL}|{_SITE}", re.IGNORECASE)
RULES: Final[tuple[tuple[re.Pattern[str], Callable[[Place], Reading]], ...]] = tuple(
    (re.compile(pattern, re.IGNORECASE if ignore_case else 0), read)
    for pattern, read, ignore_case in (
        (_URL, readings.read_url, True),
        (_EMAIL, readings.read_email, True),
        (_SITE, readings.read_url, True),
        (rf"[-\N{{MINUS SIGN}}](?=(?:{_CURRENCY})\s?\d)", lambda at: ["minus"], False),
        (
            rf"(?P<sign>{_CURRENCY})\s?(?P<low>{NUMBER})\s?[-\N{{EN DASH}}]\s?(?:{_CURRENCY})?(?P<high>{NUMBER})"
            rf"(?:\s?(?P<magnitude>{_MAGNITUDE}))?{_END}",
            readings.read_money_range,
            False,
        ),
        (
            rf"(?P<sign>{_CURRENCY})\s?(?P<number>{NUMBER})(?:\s?(?P<magnitude>{_MAGNITUDE}){_END})?"
            rf"(?P<leading>)(?P<trailing>)",
            readings.read_money,
            False,
        ),
        (
            rf"(?P<leading>{NUMBER})\s?(?:(?P<magnitude>{_MAGNITUDE})\s?)?(?P<trailing>{_CURRENCY})"
            rf"(?P<sign>)(?P<number>)(?!\d)",
            readings.read_money,
            False,
        ),
        (r"(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})" + _END, readings.read_numeric_date, False),
        (r"(?P<month>\d{1,2})/(?P<day>\d{1,2})/(?P<year>\d{4})" + _END, readings.read_numeric_date, False),
        (
            rf"(?P<month>{MONTH})\s(?P<day>\d{{1,2}})(?:st|nd|rd|th)?{_END}(?!:)(?:,?\s(?P<year>\d{{4}}){_END})?",
            readings.read_month_day,
            True,
        ),
        (
            rf"(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\s(?P<month>{MONTH}){_END}(?:,?\s(?P<year>\d{{4}}){_END})?",
            readings.read_day_month,
            True,
        ),
        (
            r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}))?(?:\s?(?P<half>[ap]\.m\.|[ap]m\b))?" + _END,
            readings.read_time,
            True,
        ),
        (r"(?P<hour>\d{1,2})(?P<minute>)(?P<second>)\s?(?P<half>[ap]\.m\.|[ap]m\b)" + _END, readings.read_time, True),
        (r"(?:\+\d{1,3}[ -])?(?:\(\d{3}\) ?|\d{3}[-.])\d{3}[-.]\d{4}" + _END, readings.read_phone, False),
        (r"\+\d{1,3}(?:[ -]\d{2,4}){2,4}" + _END, readings.read_phone, False),
        (r"\d{3}-\d{4}" + _END, readings.read_local_phone, False),
        (r"'?(?P<number>\d{2,4})'?s" + _END, lambda at: decade(at["number"]), False),
        (r"(?P<number>\d{1,3}(?:,\d{3})+|\d+)(?:st|nd|rd|th)" + _END, lambda at: ordinal(at["number"]), True),
        (
            rf"(?P<low>{NUMBER})\s?[-\N{{EN DASH}}]\s?(?P<high>{NUMBER})(?!\d|[-\N{{EN DASH}}]\d)"
            rf"(?:\s?(?P<unit>{_UNIT}){_END})?",
            readings.read_range,
            False,
        ),
        (r"(?P<feet>\d+)'\s?(?P<inches>\d{1,2})(?:\"|'')", readings.read_feet_and_inches, False),
        (rf"(?P<number>{NUMBER})\"(?=\s[a-z])", readings.read_inches, False),
        (
            rf"(?P<low>{NUMBER})\s?[x×]\s?(?P<high>{NUMBER}){_END}(?:\s?(?P<unit>{_UNIT}){_END})?",
            readings.read_by,
            False,
        ),
        (rf"(?P<number>{NUMBER})x{_END}", lambda at: [*decimal(at["number"]), "times"], False),
        (r"(?:(?P<whole>\d+)\s)?(?P<above>\d{1,3})/(?P<below>\d{1,3})" + _END, readings.read_fraction, False),
        (rf"(?P<whole>\d+)?\s?(?P<sign>[{''.join(VULGAR_FRACTIONS)}])", readings.read_vulgar_fraction, False),
        (r"[vV]?\d+\.\d+(?:\.\d+)+" + _END, readings.read_version, False),
        (r"[vV]\d+(?:\.\d+)?" + _END, readings.read_version, False),
        (rf"(?P<number>[-\N{{MINUS SIGN}}]?(?:{NUMBER}))\s?(?P<unit>{_UNIT}){_END}", readings.read_measure, False),
        (rf"(?P<number>{NUMBER})(?P<magnitude>k|M|bn|tn){_END}", readings.read_magnitude, False),
        (r"\d+[A-Za-z]+\d*" + _END, readings.read_mixed, False),
        (rf"[-\N{{MINUS SIGN}}]?(?:{NUMBER})", readings.read_number, False),
        (r"(?<![\w.])\.\d+" + _END, lambda at: decimal("0" + at.match[0]), False),
        (r"w/o" + _END, lambda at: ["without"], False),
        (r"w/(?=\s?[A-Za-z\d])", lambda at: ["with"], False),
        (r"'n'" + _END, lambda at: ["and"], True),
        (r"[CF]#" + _END, lambda at: [at.match[0][0].lower() + ".", "sharp"], False),
        (r"#(?=[A-Za-z])", lambda at: ["hashtag"], False),
        (r"WW(?P<war>I{1,2})" + _END, lambda at: ["world", "war", *cardinal(str(len(at["war"])))], False),
        (r"(?P<first>[A-Z]{1,3})&(?P<second>[A-Z]{1,3})" + _END, readings.read_pair_of_initials, False),
        (
            "(?:" + "|".join(sorted(map(re.escape, ABBREVIATIONS), key=len, reverse=True)) + r")(?!\w)",
            readings.read_abbreviation,
            True,
        ),
        (r"(?:[A-Z]\.){2,}", readings.read_initials, False),
        (r"[A-Z]\.(?=\s?[A-Z])", readings.read_initials, False),
        (r"[IVXL]{1,6}" + _END, readings.read_roman, False),
        (r"[A-Za-z]+-?\d+(?:[A-Za-z]+|-\d+)*" + _END, readings.read_mixed, False),
        (r"(?P<capitals>[A-Z]{2,})(?P<plural>'?s)?" + _END, readings.read_acronym, False),
        (r"[A-Za-z]*[a-z][A-Z][A-Za-z]*(?:'s)?" + _END, readings.read_camel_case, False),
        (r"[^\W\d_]+(?:'[^\W\d_]+)*'?", readings.read_word, False),
        ("[" + re.escape("".join(SIGNS)) + "]", readings.read_sign, False),
    )
)
_PAUSES: Final = re.compile(r"\s+-{1,3}\s+|--+|[,;:()\[\]{}|\N{EM DASH}\N{EN DASH}\N{HORIZONTAL ELLIPSIS}]|\.{2,}")
_POSSESSIVE: Final = re.compile(r"'s(?!\w)")
_OPENING_SIGNS: Final = re.compile(r"(?:(?<=\s)|^)[^\s\w\N{OBJECT REPLACEMENT CHARACTER}]+$")
_CLOSING_SIGNS: Final = re.compile(
    r"[^\s\w\N{OBJECT REPLACEMENT CHARACTER}]+(?=\s|$|\N{OBJECT REPLACEMENT CHARACTER})|[-/]"
)
_SIGNS_LOOKED_AT: Final = 4
_TYPOGRAPHY: Final = str.maketrans(
    {
        "\N{RIGHT SINGLE QUOTATION MARK}": "'",
        "\N{LEFT SINGLE QUOTATION MARK}": "'",
        "\N{MODIFIER LETTER APOSTROPHE}": "'",
        "\N{NO-BREAK SPACE}": " ",
        "\N{NARROW NO-BREAK SPACE}": " ",
        "\N{NON-BREAKING HYPHEN}": "-",
        "\N{HYPHEN}": "-",
        **{chr(0xFEE0 + code): chr(code) for code in range(0x21, 0x7F)},  # letters and signs of full width
        "\N{SOFT HYPHEN}": None,
        "\N{ZERO WIDTH SPACE}": None,
        "\N{LATIN SMALL LETTER SHARP S}": "ss",
        "\N{LATIN SMALL LETTER AE}": "ae",
        "\N{LATIN CAPITAL LETTER AE}": "Ae",
        "\N{LATIN SMALL LIGATURE OE}": "oe",
        "\N{LATIN SMALL LETTER O WITH STROKE}": "o",
        "\N{LATIN CAPITAL LETTER O WITH STROKE}": "O",
        "\N{LATIN SMALL LETTER L WITH STROKE}": "l",
        "\N{LATIN CAPITAL LETTER L WITH STROKE}": "L",
    }
)


def clean(text: str) -> str:
    """Typographic variants and the digits of other scripts as plain characters; accents joined to their letters."""
    plain = unicodedata.normalize("NFC", text).translate(_TYPOGRAPHY)
    return "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in plain)


def normalise(sentence: str) -> list[Token]:
    """What is spoken of one sentence, in order. Words are lower-case letters and apostrophes, or `x.` for a letter."""
    return read_tokens(clean(sentence).replace(OBJECT, " "))


def read_tokens(text: str, embedded: Sequence[Embedded] = ()) -> list[Token]:
    """The same of a text that is clean; its n-th `OBJECT` is embedded[n]."""
    tokens: list[Token] = []
    objects = iter(embedded)
    before = ""
    position = 0
    token: Token | None
    while position < len(text):
        if text[position] == OBJECT:
            token, end = _embedded(text, position, next(objects))
        elif pause := _PAUSES.match(text, position):
            token, end = Token(pause[0].strip(), mark=PAUSE, start=position), pause.end()
        else:
            token, end = _read(text, position, before)
        if token is not None:
            tokens.append(_punctuated(token, text, position, end) if token.words else token)
            before = before if token.mark else token.written.lower()
        position = end
    return tokens


def _embedded(text: str, position: int, item: Embedded) -> tuple[Token, int]:
    if item.rest_s is not None:
        return Token("", mark=PAUSE, start=position, rest_s=item.rest_s), position + 1
    possessive = _POSSESSIVE.match(text, position + 1)
    if possessive is None:
        return Token(item.written, item.words, start=position), position + 1
    words = (*item.words[:-1], with_possessive(item.words[-1]))
    return Token(item.written + possessive[0], words, start=position), possessive.end()


def _punctuated(token: Token, text: str, start: int, end: int) -> Token:
    opening = _OPENING_SIGNS.search(text[max(start - _SIGNS_LOOKED_AT, 0) : start])
    closing = _CLOSING_SIGNS.match(text, end)
    around = f"{opening[0] if opening else ''}{token.written}{closing[0] if closing else ''}"
    return replace(token, punctuated=around)


def _read(text: str, position: int, before: str) -> tuple[Token | None, int]:
    """The token that starts at `position`, if any does, and where to go on."""
    signed = text[position] in "-\N{MINUS SIGN}" and position > 0 and not text[position - 1].isspace()
    for pattern, read in () if signed else RULES:
        match = pattern.match(text, position)
        if match is None or match.end() == position:
            continue
        words = read(Place(match, before))
        if words is not None:
            return (Token(match[0].strip(), tuple(words), start=position) if words else None), match.end()
    return None, position + 1
