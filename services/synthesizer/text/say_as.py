"""How writing is read of which SSML's `say-as` says what it is."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Final

from services.common.abbreviations import MONTHS, SIGNS
from services.synthesizer.text.normalise import normalise
from services.synthesizer.text.numbers import cardinal, decimal, digits, fraction, ordinal, year
from services.synthesizer.text.symbols import PAUSE

_DATE_FORMATS: Final = ("mdy", "dmy", "ymd", "ydm", "md", "dm", "ym", "my", "y", "m", "d")
_SIGN_NAMES: Final = SIGNS | {
    ".": "dot", ",": "comma", "-": "dash", "_": "underscore", "/": "slash", "\\": "backslash", ":": "colon",
    ";": "semicolon", "!": "exclamation mark", "?": "question mark", "'": "apostrophe", '"': "quote", "#": "hash",
    "*": "star", "(": "open parenthesis", ")": "close parenthesis", "~": "tilde", "|": "bar", "^": "caret",
}  # fmt: skip
_CODES: Final = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥", "INR": "₹"}


def read_as(written: str, way: str, format: str = "") -> list[str]:
    """Words of `written`, read that way (a value of `services.common.ssml.WAYS_OF_READING`).

    Raises:
        ValueError: it is not such writing; the message says what would be.
    """
    text = written.strip()
    words = _date(text, format) if way == "date" else _WAYS[way](text)
    if words is None:
        raise ValueError(f"{written[:40]!r} is no {way}; write it like {_EXAMPLES[way]}")
    return words


def _characters(text: str) -> list[str] | None:
    words: list[str] = []
    for character in unicodedata.normalize("NFKD", text):
        if character.isascii() and character.isalpha():
            words.append(character.lower() + ".")
        elif character.isdecimal():
            words += digits(str(unicodedata.decimal(character)))
        elif character in _SIGN_NAMES:
            words += _SIGN_NAMES[character].split()
    return words or None


def _cardinal(text: str) -> list[str] | None:
    return decimal(text) if re.fullmatch(r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?", text) else None


def _ordinal(text: str) -> list[str] | None:
    found = re.fullmatch(r"(\d{1,3}(?:,\d{3})+|\d+)(?:st|nd|rd|th)?", text.lower())
    return ordinal(found[1]) if found else None


def _digits(text: str) -> list[str] | None:
    return digits(text) if re.fullmatch(r"[\d ,.-]*\d[\d ,.-]*", text) else None


def _telephone(text: str) -> list[str] | None:
    if not re.fullmatch(r"\+?[\d ().-]*\d[\d ().-]*(?:(?:x|ext\.?)\s?\d+)?", text.lower()):
        return None
    words: list[str] = []
    for group in re.findall(r"\d+|\+|x|ext", text.lower()):
        if group == "+":
            words.append("plus")
            continue
        pause = words and words[-1] not in ("plus", "extension")
        words += ([PAUSE] if pause else []) + (["extension"] if group in ("x", "ext") else digits(group))
    return words


def _fraction(text: str) -> list[str] | None:
    found = re.fullmatch(r"(?:(\d+)[ +])?(\d+)/(\d+)", text)
    if found is None or not 2 <= int(found[3]) <= 10**6:
        return None
    return [*([*cardinal(found[1]), "and"] if found[1] else []), *fraction(found[2], found[3])]


def _time(text: str) -> list[str] | None:
    return _by_rules(text, r"\d{1,2}(?::\d{2}){0,2}\s?(?:[ap]\.?m\.?)?|\d{1,2}(?::\d{2}){1,2}", re.IGNORECASE)


def _currency(text: str) -> list[str] | None:
    for code, sign in _CODES.items():
        text = re.sub(rf"^{code}\s*(?=\d)", sign, text)
        text = re.sub(rf"^([\d,.]+)\s*{code}$", rf"{sign}\1", text)
    return _by_rules(text, r"(?:US)?[$€£¥₹]\s?[\d,]+(?:\.\d+)?|[\d,]+(?:\.\d+)?\s?[€£¥₹$]")


def _by_rules(text: str, pattern: str, flags: int = 0) -> list[str] | None:
    """As the rules of plain text read it, where it is what the pattern says and they take it for one thing."""
    if not re.fullmatch(pattern, text, flags):
        return None
    tokens = normalise(text)
    return [str(word) for word in tokens[0].words] if len(tokens) == 1 and len(tokens[0].words) > 1 else None


def _date(text: str, format: str) -> list[str] | None:
    if format and format not in _DATE_FORMATS:
        raise ValueError(f"format={format!r} is none of {', '.join(_DATE_FORMATS)}")
    numbers = re.split(r"[-/. ]", text)
    if not all(part.isdecimal() for part in numbers):
        tokens = [token for token in normalise(text) if token.words]
        named = any(word in MONTHS for token in tokens for word in token.words)
        return [str(word) for token in tokens for word in token.words] if named else None
    order = format or ("ymd" if len(numbers[0]) == 4 else "mdy")[: len(numbers)]
    if len(numbers) != len(order):
        return None
    parts = dict(zip(order, numbers, strict=True))
    if not (1 <= int(parts.get("m", 1)) <= 12 and 1 <= int(parts.get("d", 1)) <= 31):
        return None
    words = [MONTHS[int(parts["m"]) - 1]] if "m" in parts else []
    words += ordinal(str(int(parts["d"]))) if "d" in parts else []
    if "y" in parts:
        spoken = year(parts["y"]) if len(parts["y"]) == 4 else digits(parts["y"])
        words += [*([PAUSE] if "d" in parts else []), *spoken]
    return words


_WAYS: Final[Mapping[str, Callable[[str], list[str] | None]]] = {
    "characters": _characters,
    "cardinal": _cardinal,
    "ordinal": _ordinal,
    "digits": _digits,
    "telephone": _telephone,
    "fraction": _fraction,
    "time": _time,
    "currency": _currency,
}
_EXAMPLES: Final = {
    "characters": "B2B",
    "cardinal": "1,204 or -3.5",
    "ordinal": "3 or 3rd",
    "digits": "4711",
    "telephone": "+1 555-123-4567",
    "fraction": "3/4 or 2 1/2",
    "date": "2026-01-31, with format for another order of its parts",
    "time": "2:30 pm or 14:05",
    "currency": "$3.50 or EUR 3.50",
}
