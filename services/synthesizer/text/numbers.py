"""Numbers -> words. Digits go in as written, words come out lower-case and without hyphens."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

import inflect

MAX_DIGITS: Final = 15  # longer ones are read digit by digit
FRACTION_DENOMINATORS: Final = {"2": "half", "4": "quarter"}


@lru_cache(maxsize=1)
def _engine() -> Any:
    return inflect.engine()


def _split(text: str) -> list[str]:
    return re.sub(r"[,-]", " ", text).split()


def digits(number: str) -> list[str]:
    """Each digit by its name: 0 is "zero"."""
    names = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    return [names[int(digit)] for digit in number if digit in "0123456789"]


def cardinal(number: str) -> list[str]:
    """An integer, with or without commas: 1,204 -> one thousand two hundred and four."""
    plain = number.replace(",", "")
    if len(plain) > MAX_DIGITS or (len(plain) > 1 and plain.startswith("0")):
        return digits(plain)
    return _split(str(_engine().number_to_words(int(plain))))


def decimal(number: str) -> list[str]:
    """An integer or a decimal, with or without sign and commas: -3.14 -> minus three point one four."""
    sign = ["minus"] if number[:1] in "-\N{MINUS SIGN}" else []
    whole, point, fraction = number.lstrip("+-\N{MINUS SIGN}").partition(".")
    words = cardinal(whole) if whole else ["zero"] if point else []
    return sign + words + (["point", *digits(fraction)] if point and fraction else [])


def ordinal(number: str) -> list[str]:
    """21 -> twenty first."""
    plain = number.replace(",", "")
    if len(plain) > MAX_DIGITS:
        return [*digits(plain[:-1]), *ordinal(plain[-1])]
    return _split(str(_engine().ordinal(_engine().number_to_words(int(plain)))))


def year(number: str) -> list[str]:
    """1984 -> nineteen eighty four, 2005 -> two thousand and five, 1900 -> nineteen hundred, 1906 -> nineteen oh six"""
    century, rest = int(number[:-2]), int(number[-2:])
    if len(number) != 4 or 1000 <= int(number) < 1100 or 2000 <= int(number) < 2010:
        return cardinal(number)
    if rest == 0:
        return cardinal(str(century)) + ["hundred"] if century % 10 else cardinal(number)
    return cardinal(str(century)) + (["oh"] if rest < 10 else []) + cardinal(str(rest))


def plural(words: list[str]) -> list[str]:
    """The last word in the plural: nineteen ninety -> nineteen nineties."""
    return [*words[:-1], str(_engine().plural_noun(words[-1]))]


def decade(number: str) -> list[str]:
    """1990 or 90 (of 1990s, '90s) -> nineteen nineties, nineties."""
    words = year(number) if len(number) == 4 else cardinal(number)
    return plural(words)


def fraction(above: str, below: str) -> list[str]:
    """3, 4 -> three quarters; 1, 2 -> one half; 7, 16 -> seven sixteenths."""
    name = [FRACTION_DENOMINATORS[below]] if below in FRACTION_DENOMINATORS else ordinal(below)
    if int(above) != 1:
        name = ["halves"] if below == "2" else plural(name)
    return cardinal(above) + name
