"""How what a rule of `normalise` has matched is read: numbers in all their uses, abbreviations, acronyms, addresses.

Each function gets the match and what stands around it, and gives the words, or None where its rule does not apply
after all.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from services.common.abbreviations import (
    ABBREVIATIONS,
    BEFORE_CAPITAL_OR_DIGIT_ONLY,
    BEFORE_DIGIT_ONLY,
    CURRENCIES,
    MAGNITUDES,
    MONTHS,
    ROMAN_AS_CARDINAL_AFTER,
    ROMAN_AS_ORDINAL_AFTER,
    SHORT_WORDS,
    SIGNS,
    UNITS,
    VULGAR_FRACTIONS,
    WORD_ACRONYMS,
)
from services.synthesizer.text.numbers import cardinal, decimal, digits, fraction, ordinal, plural, year
from services.synthesizer.text.pronounce import dictionary
from services.synthesizer.text.symbols import PAUSE


@dataclass(frozen=True)
class Place:
    """What a rule may look at: its match, and the words before it."""

    match: re.Match[str]
    before: str  # the written word before, lower case

    def __getitem__(self, group: str) -> str:
        return self.match[group] or ""

    @property
    def after(self) -> str:
        return self.match.string[self.match.end() :]


_BEFORE_PHONES: Final = frozenset({"call", "phone", "dial", "tel.", "tel", "telephone", "fax", "text", "ring"})
Reading = list[str] | None  # None: the rule does not apply after all
_ROMAN: Final = {"I": 1, "V": 5, "X": 10, "L": 50}


def _month(name: str) -> str:
    return next(month for month in MONTHS if month.startswith(name.lower().rstrip(".")[:3]))


def _is_one(number: str) -> bool:
    return number.replace(",", "") == "1"


def _counts_something(at: Place) -> bool:
    """Whether a measure stands before what it is the measure of: a 90° turn, a $5 bill."""
    return at.before in ("a", "an") and bool(re.match(r"[\s-][A-Za-z]", at.after))


def _letters(text: str) -> list[str]:
    """Letters by their names ("a." is the dictionary's entry for the name of a), digits as numbers."""
    words: list[str] = []
    for run in re.findall(r"[a-z]|\d+", text.lower()):
        words += cardinal(run) if run.isdigit() else [run + "."]
    return words


def _address(text: str) -> list[str]:
    """A URL or e-mail address, part by part."""
    names = {".": "dot", "@": "at", "/": "slash", "-": "dash", "_": "underscore", ":": "colon", "~": "tilde"}
    names |= {"?": "question mark", "=": "equals", "&": "and", "#": "hash", "+": "plus", "%": "percent"}
    words: list[str] = []
    for part in re.findall(r"[A-Za-z]+|\d+|[^A-Za-z\d]", text):
        if part in names:
            words += names[part].split()
        elif part.isdigit():
            words += digits(part) if len(part) > 4 else cardinal(part)
        elif part == "www" or (len(part) <= 3 and part.lower() not in dictionary()):
            words += _letters(part)
        else:
            words.append(part.lower())
    return words


def read_url(at: Place) -> Reading:
    return _address(re.sub(r"^https?://", "", at.match[0]).rstrip("/"))


def read_email(at: Place) -> Reading:
    return _address(at.match[0])


def read_money(at: Place) -> Reading:
    one, many, cent, cents = CURRENCIES[at["sign"] or at["trailing"]]
    number = at["number"] or at["leading"]
    if _counts_something(at):
        many, cents = one, cent
    if at["magnitude"]:
        return [*decimal(number), MAGNITUDES[at["magnitude"]], many]
    whole, _, part = number.partition(".")
    if len(part) not in (0, 2):
        return [*decimal(number), many]
    words = [*cardinal(whole), one if _is_one(whole) else many] if whole.strip("0,") or not part else []
    if part.strip("0"):
        small = [*cardinal(str(int(part))), cent if int(part) == 1 else cents]
        words += (["and"] if words else []) + small
    return words or ["zero", many]


def read_money_range(at: Place) -> Reading:
    magnitude = [MAGNITUDES[at["magnitude"]]] if at["magnitude"] else []
    return [*decimal(at["low"]), "to", *decimal(at["high"]), *magnitude, CURRENCIES[at["sign"]][1]]


def read_feet_and_inches(at: Place) -> Reading:
    feet, inches = at["feet"], at["inches"]
    return [
        *cardinal(feet),
        "foot" if _is_one(feet) else "feet",
        *cardinal(inches),
        "inch" if _is_one(inches) else "inches",
    ]


def read_inches(at: Place) -> Reading:
    """Unless the sign closes a quotation."""
    if at.match.string[: at.match.start()].count('"') % 2:
        return None
    return [*decimal(at["number"]), "inch" if _is_one(at["number"]) or _counts_something(at) else "inches"]


def read_by(at: Place) -> Reading:
    """Of sizes: 10 x 20. Written with the sign of multiplication and an equals sign, it is that."""
    word = "times" if "×" in at.match[0] or at.after.lstrip().startswith("=") else "by"
    unit = UNITS[at["unit"]][1].split() if at["unit"] else []
    return [*decimal(at["low"]), word, *decimal(at["high"]), *unit]


def _date_parts(day: str, month: str, written_year: str) -> list[str]:
    return [month, *ordinal(day), *([PAUSE, *year(written_year)] if written_year else [])]


def read_month_day(at: Place) -> Reading:
    return _date_parts(at["day"], _month(at["month"]), at["year"])


def read_day_month(at: Place) -> Reading:
    return ["the", *ordinal(at["day"]), "of", _month(at["month"]), *(year(at["year"]) if at["year"] else [])]


def read_numeric_date(at: Place) -> Reading:
    month, day = int(at["month"]), int(at["day"])
    if month > 12 >= day:  # written day first
        month, day = day, month
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    return _date_parts(str(day), MONTHS[month - 1], at["year"])


def read_time(at: Place) -> Reading:
    hour, minute, half = int(at["hour"]), at["minute"], at["half"].lower().replace(".", "")
    if hour > 24 or (minute and int(minute) > 59):
        return None
    words = cardinal(str(hour))
    if minute and int(minute):
        words += ["oh", *cardinal(minute[1])] if minute.startswith("0") else cardinal(minute)
    elif minute and not half:
        words += ["hundred"] if hour > 12 or at["hour"].startswith("0") else ["o'clock"]
    if at["second"]:
        words += ["and", *cardinal(str(int(at["second"]))), "seconds"]
    return words + _letters(half)


def read_phone(at: Place) -> Reading:
    words: list[str] = []
    for group in re.findall(r"\d+|\+", at.match[0]):
        words += ([PAUSE] if words and words[-1] != "plus" else []) + (["plus"] if group == "+" else digits(group))
    return words


def read_local_phone(at: Place) -> Reading:
    """Three and four digits are a telephone number after a word that says so, or where they can be no range."""
    is_phone = at.before.rstrip(":") in _BEFORE_PHONES or at.match[0][4] == "0"
    return read_phone(at) if is_phone else None


def read_measure(at: Place) -> Reading:
    one, many = UNITS[at["unit"]]
    if _counts_something(at):
        many = one
    return [*decimal(at["number"]), *(one if _is_one(at["number"]) else many).split()]


def read_range(at: Place) -> Reading:
    read = year if all(re.fullmatch(r"1[1-9]\d\d|20\d\d", at[side]) for side in ("low", "high")) else decimal
    unit = UNITS[at["unit"]][1].split() if at["unit"] else []
    return [*read(at["low"]), "to", *read(at["high"]), *unit]


def read_fraction(at: Place) -> Reading:
    if int(at["below"]) < 2 or int(at["below"]) > 100:
        return [*cardinal(at["above"]), "over", *cardinal(at["below"])]
    return [*([*cardinal(at["whole"]), "and"] if at["whole"] else []), *fraction(at["above"], at["below"])]


def read_vulgar_fraction(at: Place) -> Reading:
    above, below = VULGAR_FRACTIONS[at["sign"]]
    part = ["a", *fraction(above, below)[1:]] if at["whole"] and above == "1" else fraction(above, below)
    return [*([*cardinal(at["whole"]), "and"] if at["whole"] else []), *part]


def read_magnitude(at: Place) -> Reading:
    return [*decimal(at["number"]), MAGNITUDES[at["magnitude"]]]


def read_number(at: Place) -> Reading:
    number = at.match[0]
    if re.fullmatch(r"1[1-9]\d\d|20\d\d", number) and at.before not in ("number", "no.", "page", "room", "#"):
        return year(number)
    return decimal(number)


def read_version(at: Place) -> Reading:
    parts = [cardinal(part) for part in at.match[0].lstrip("vV").split(".")]
    words = ["version"] if at.match[0][0] in "vV" and at.before != "version" else []
    for i, part in enumerate(parts):
        words += (["point"] if i else []) + part
    return words


def read_abbreviation(at: Place) -> Reading:
    short, following = at.match[0].lower(), at.after.lstrip()[:1]
    if short in BEFORE_DIGIT_ONLY and not following.isdigit():
        return None
    if short in BEFORE_CAPITAL_OR_DIGIT_ONLY and not (following.isdigit() or following.isupper()):
        return None
    if short == "dr." and at.before and not following.isupper():
        return ["drive"]
    if short == "st." and (not following.isupper() or at.before.endswith(("rd", "th", "nd"))):
        return ["street"]
    return ABBREVIATIONS[short].split()


def read_roman(at: Place) -> Reading:
    value = 0
    for i, digit in enumerate(at.match[0]):
        number = _ROMAN[digit]
        value += -number if at.match[0][i + 1 : i + 2] and _ROMAN[at.match[0][i + 1]] > number else number
    if at.before in ROMAN_AS_CARDINAL_AFTER:
        return cardinal(str(value))
    return ["the", *ordinal(str(value))] if at.before in ROMAN_AS_ORDINAL_AFTER else None


def read_initials(at: Place) -> Reading:
    return _letters(at.match[0])


def read_pair_of_initials(at: Place) -> Reading:
    return [*_letters(at["first"]), "and", *_letters(at["second"])]


def read_acronym(at: Place) -> Reading:
    capitals, plural = at["capitals"], at["plural"]
    if capitals in WORD_ACRONYMS:
        return [capitals.lower() + ("s" if plural else "")]
    if capitals == "OK":
        return ["okay"]
    shouted = not re.search(r"[a-z]", at.match.string)
    known = capitals.lower() in dictionary()
    if (known and (shouted or len(capitals) > 3)) or capitals in SHORT_WORDS or len(capitals) > 5:
        return [capitals.lower() + ("'s" if plural else "")]
    letters = _letters(capitals)
    return [*letters[:-1], letters[-1] + ("'s" if plural else "")]


def read_mixed(at: Place) -> Reading:
    """Letters and digits together: MP3s, B2B, COVID-19, 4K, H2O."""
    words: list[str] = []
    for run in re.findall(r"[A-Za-z]+|\d+", re.sub(r"(?<=\d)s$", "", at.match[0])):
        if run.isdigit():
            words += digits(run) if len(run) > 3 or run.startswith("0") else cardinal(run)
        elif run in WORD_ACRONYMS or (len(run) > 3 and run.lower() in dictionary()):
            words.append(run.lower())
        else:
            words += _letters(run)
    return plural(words) if re.search(r"[A-Za-z]\d+s$", at.match[0]) else words


def read_camel_case(at: Place) -> Reading:
    """Words written together: ChatGPT, OpenAI, GitHub."""
    whole = at.match[0].removesuffix("'s")
    possessive = at.match[0][len(whole) :]
    if whole.lower() in dictionary():
        return [at.match[0].lower()]
    words: list[str] = []
    for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", whole):
        words += _letters(part) if len(part) == 1 or (part.isupper() and len(part) < 4) else [part.lower()]
    return [*words[:-1], words[-1] + possessive]


def read_word(at: Place) -> Reading:
    plain = re.sub("[^a-z']", "", unicodedata.normalize("NFKD", at.match[0]).lower())
    return [plain] if plain.strip("'") else []


def read_sign(at: Place) -> Reading:
    return SIGNS[at.match[0]].split()
