"""Numbers -> words. Digits go in as written, words come out lower-case and without hyphens."""

from __future__ import annotations

from typing import Final

MAX_DIGITS: Final = 15  # longer ones are read digit by digit
FRACTION_DENOMINATORS: Final = {"2": "half", "4": "quarter"}
_ONES: Final = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS: Final = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_POWERS: Final = ("", "thousand", "million", "billion", "trillion")
_ORDINALS: Final = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
    "twelve": "twelfth",
}  # fmt: skip


def digits(number: str) -> list[str]:
    """Each digit by its name: 0 is "zero"."""
    return [_ONES[int(digit)] for digit in number if digit in "0123456789"]


def _below_thousand(value: int) -> list[str]:
    hundreds, rest = divmod(value, 100)
    words = [_ONES[hundreds], "hundred"] if hundreds else []
    if rest and words:
        words.append("and")
    if rest >= 20:
        words.append(_TENS[rest // 10])
        rest %= 10
    return [*words, _ONES[rest]] if rest else words


def _in_words(value: int) -> list[str]:
    """Below 10 ** MAX_DIGITS; "and" stands before the last two digits, as in "one thousand and four"."""
    if value == 0:
        return ["zero"]
    words: list[str] = []
    for power in reversed(range(len(_POWERS))):
        group = value // 1000**power % 1000
        if group == 0:
            continue
        if power == 0 and words and group < 100:
            words.append("and")
        words += [*_below_thousand(group), *_POWERS[power].split()]
    return words


def cardinal(number: str) -> list[str]:
    """An integer, with or without commas: 1,204 -> one thousand two hundred and four."""
    plain = number.replace(",", "")
    if len(plain) > MAX_DIGITS or (len(plain) > 1 and plain.startswith("0")):
        return digits(plain)
    return _in_words(int(plain))


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
    *words, last = _in_words(int(plain))
    if last in _ORDINALS:
        return [*words, _ORDINALS[last]]
    return [*words, last.removesuffix("y") + "ieth" if last.endswith("y") else last.removesuffix("t") + "th"]


def year(number: str) -> list[str]:
    """1984 -> nineteen eighty four, 2005 -> two thousand and five, 1900 -> nineteen hundred, 1906 -> nineteen oh six"""
    century, rest = int(number[:-2]), int(number[-2:])
    if len(number) != 4 or 1000 <= int(number) < 1100 or 2000 <= int(number) < 2010:
        return cardinal(number)
    if rest == 0:
        return cardinal(str(century)) + ["hundred"] if century % 10 else cardinal(number)
    return cardinal(str(century)) + (["oh"] if rest < 10 else []) + cardinal(str(rest))


def plural(words: list[str]) -> list[str]:
    """Names of numbers, the last of them in the plural: nineteen ninety -> nineteen nineties."""
    *before, last = words
    if last.endswith("y"):
        return [*before, last.removesuffix("y") + "ies"]
    return [*before, {"six": "sixes", "half": "halves"}.get(last, last + "s")]


def decade(number: str) -> list[str]:
    """1990 or 90 (of 1990s, '90s) -> nineteen nineties, nineties."""
    words = year(number) if len(number) == 4 else cardinal(number)
    return plural(words)


def fraction(above: str, below: str) -> list[str]:
    """3, 4 -> three quarters; 1, 2 -> one half; 7, 16 -> seven sixteenths."""
    name = [FRACTION_DENOMINATORS[below]] if below in FRACTION_DENOMINATORS else ordinal(below)
    return cardinal(above) + (name if int(above) == 1 else plural(name))
