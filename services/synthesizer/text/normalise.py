"""A written sentence -> what is spoken: lower-case words and pause marks, each with the writing that it stands for.

The sentence is read from left to right; at each place the first rule of `RULES` that fits takes what it matches. Rules
cover numbers in all their uses (money, dates, times, years, units, ...), abbreviations, acronyms and addresses; what no
rule knows is a plain word, and signs without a name (emoji, drawing) are skipped. It knows English only, and tells
no homographs apart.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from services.synthesizer.text.abbreviations import (
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
from services.synthesizer.text.numbers import cardinal, decade, decimal, digits, fraction, ordinal, plural, year
from services.synthesizer.text.pronounce import dictionary
from services.synthesizer.text.symbols import PAUSE


@dataclass(frozen=True)
class Token:
    """A piece of writing and the words it is read as; no words and `mark` set where it is a pause."""

    written: str
    words: tuple[str, ...] = ()
    mark: str = ""


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


Reading = list[str] | None  # None: the rule does not apply after all
NUMBER: Final = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
MONTH: Final = "|".join([*MONTHS, *(m[:3] + r"\.?" for m in MONTHS), r"sept\.?"])
_UNIT: Final = "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True))
_CURRENCY: Final = "|".join(sorted(map(re.escape, CURRENCIES), key=len, reverse=True))
_MAGNITUDE: Final = "|".join(sorted(MAGNITUDES, key=len, reverse=True))
_ROMAN: Final = {"I": 1, "V": 5, "X": 10, "L": 50}


def _month(name: str) -> str:
    return next(month for month in MONTHS if month.startswith(name.lower().rstrip(".")[:3]))


def _is_one(number: str) -> bool:
    return number.replace(",", "") == "1"


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


def _url(at: Place) -> Reading:
    return _address(re.sub(r"^https?://", "", at.match[0]).rstrip("/"))


def _email(at: Place) -> Reading:
    return _address(at.match[0])


def _money(at: Place) -> Reading:
    one, many, cent, cents = CURRENCIES[at["sign"] or at["trailing"]]
    number = at["number"] or at["leading"]
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


def _date_parts(day: str, month: str, written_year: str) -> list[str]:
    return [month, *ordinal(day), *([PAUSE, *year(written_year)] if written_year else [])]


def _month_day(at: Place) -> Reading:
    return _date_parts(at["day"], _month(at["month"]), at["year"])


def _day_month(at: Place) -> Reading:
    return ["the", *ordinal(at["day"]), "of", _month(at["month"]), *(year(at["year"]) if at["year"] else [])]


def _numeric_date(at: Place) -> Reading:
    month, day = int(at["month"]), int(at["day"])
    if month > 12 >= day:  # written day first
        month, day = day, month
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    return _date_parts(str(day), MONTHS[month - 1], at["year"])


def _time(at: Place) -> Reading:
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


def _phone(at: Place) -> Reading:
    words: list[str] = []
    for group in re.findall(r"\d+|\+", at.match[0]):
        words += ([PAUSE] if words and words[-1] != "plus" else []) + (["plus"] if group == "+" else digits(group))
    return words


def _measure(at: Place) -> Reading:
    one, many = UNITS[at["unit"]]
    return [*decimal(at["number"]), *(one if _is_one(at["number"]) else many).split()]


def _range(at: Place) -> Reading:
    read = year if all(re.fullmatch(r"1[1-9]\d\d|20\d\d", at[side]) for side in ("low", "high")) else decimal
    unit = UNITS[at["unit"]][1].split() if at["unit"] else []
    return [*read(at["low"]), "to", *read(at["high"]), *unit]


def _fraction(at: Place) -> Reading:
    if int(at["below"]) < 2 or int(at["below"]) > 100:
        return [*cardinal(at["above"]), "over", *cardinal(at["below"])]
    return [*([*cardinal(at["whole"]), "and"] if at["whole"] else []), *fraction(at["above"], at["below"])]


def _vulgar_fraction(at: Place) -> Reading:
    above, below = VULGAR_FRACTIONS[at["sign"]]
    part = ["a", *fraction(above, below)[1:]] if at["whole"] and above == "1" else fraction(above, below)
    return [*([*cardinal(at["whole"]), "and"] if at["whole"] else []), *part]


def _magnitude(at: Place) -> Reading:
    return [*decimal(at["number"]), MAGNITUDES[at["magnitude"]]]


def _number(at: Place) -> Reading:
    number = at.match[0]
    if re.fullmatch(r"1[1-9]\d\d|20\d\d", number) and at.before not in ("number", "no.", "page", "room", "#"):
        return year(number)
    return decimal(number)


def _version(at: Place) -> Reading:
    parts = [cardinal(part) for part in at.match[0].lstrip("vV").split(".")]
    words = ["version"] if at.match[0][0] in "vV" and at.before != "version" else []
    for i, part in enumerate(parts):
        words += (["point"] if i else []) + part
    return words


def _abbreviation(at: Place) -> Reading:
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


def _roman(at: Place) -> Reading:
    value = 0
    for i, digit in enumerate(at.match[0]):
        number = _ROMAN[digit]
        value += -number if at.match[0][i + 1 : i + 2] and _ROMAN[at.match[0][i + 1]] > number else number
    if at.before in ROMAN_AS_CARDINAL_AFTER:
        return cardinal(str(value))
    return ["the", *ordinal(str(value))] if at.before in ROMAN_AS_ORDINAL_AFTER else None


def _initials(at: Place) -> Reading:
    return _letters(at.match[0])


def _acronym(at: Place) -> Reading:
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


def _mixed(at: Place) -> Reading:
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


def _camel_case(at: Place) -> Reading:
    """Words written together: ChatGPT, OpenAI, GitHub."""
    whole = at.match[0].removesuffix("'s")
    possessive = at.match[0][len(whole) :]
    if whole.lower() in dictionary():
        return [at.match[0].lower()]
    words: list[str] = []
    for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", whole):
        words += _letters(part) if len(part) == 1 or (part.isupper() and len(part) < 4) else [part.lower()]
    return [*words[:-1], words[-1] + possessive]


def _word(at: Place) -> Reading:
    plain = re.sub("[^a-z']", "", unicodedata.normalize("NFKD", at.match[0]).lower())
    return [plain] if plain.strip("'") else []


def _sign(at: Place) -> Reading:
    return SIGNS[at.match[0]].split()


_END: Final = r"(?![\w])"
RULES: Final[tuple[tuple[re.Pattern[str], Callable[[Place], Reading]], ...]] = tuple(
    (re.compile(pattern, re.IGNORECASE if ignore_case else 0), read)
    for pattern, read, ignore_case in (
        (r"(?:https?://|www\.)[^\s<>\"']*[\w/]", _url, True),
        (r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+", _email, True),
        (r"(?:[a-z\d-]+\.)+(?:com|org|net|edu|gov|io|dev|app|uk|de|eu|info)(?:/[\w/.-]*[\w/])?" + _END, _url, True),
        (
            rf"(?P<sign>{_CURRENCY})\s?(?P<number>{NUMBER})(?:\s?(?P<magnitude>{_MAGNITUDE}){_END})?"
            rf"(?P<leading>)(?P<trailing>)",
            _money,
            False,
        ),
        (
            rf"(?P<leading>{NUMBER})\s?(?:(?P<magnitude>{_MAGNITUDE})\s?)?(?P<trailing>{_CURRENCY})"
            rf"(?P<sign>)(?P<number>)(?!\d)",
            _money,
            False,
        ),
        (r"(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})" + _END, _numeric_date, False),
        (r"(?P<month>\d{1,2})/(?P<day>\d{1,2})/(?P<year>\d{4})" + _END, _numeric_date, False),
        (
            rf"(?P<month>{MONTH})\s(?P<day>\d{{1,2}})(?:st|nd|rd|th)?{_END}(?!:)(?:,?\s(?P<year>\d{{4}}){_END})?",
            _month_day,
            True,
        ),
        (
            rf"(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\s(?P<month>{MONTH}){_END}(?:,?\s(?P<year>\d{{4}}){_END})?",
            _day_month,
            True,
        ),
        (
            r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}))?(?:\s?(?P<half>[ap]\.m\.|[ap]m\b))?" + _END,
            _time,
            True,
        ),
        (r"(?P<hour>\d{1,2})(?P<minute>)(?P<second>)\s?(?P<half>[ap]\.m\.|[ap]m\b)" + _END, _time, True),
        (r"(?:\+\d{1,3}[ -])?(?:\(\d{3}\) ?|\d{3}[-.])\d{3}[-.]\d{4}" + _END, _phone, False),
        (r"\+\d{1,3}(?:[ -]\d{2,4}){2,4}" + _END, _phone, False),
        (r"'?(?P<number>\d{2,4})'?s" + _END, lambda at: decade(at["number"]), False),
        (r"(?P<number>\d{1,3}(?:,\d{3})+|\d+)(?:st|nd|rd|th)" + _END, lambda at: ordinal(at["number"]), True),
        (
            rf"(?P<low>{NUMBER})\s?[-\N{{EN DASH}}]\s?(?P<high>{NUMBER})(?!\d|[-\N{{EN DASH}}]\d)"
            rf"(?:\s?(?P<unit>{_UNIT}){_END})?",
            _range,
            False,
        ),
        (r"(?:(?P<whole>\d+)\s)?(?P<above>\d{1,3})/(?P<below>\d{1,3})" + _END, _fraction, False),
        (rf"(?P<whole>\d+)?\s?(?P<sign>[{''.join(VULGAR_FRACTIONS)}])", _vulgar_fraction, False),
        (r"[vV]?\d+\.\d+(?:\.\d+)+" + _END, _version, False),
        (r"[vV]\d+(?:\.\d+)?" + _END, _version, False),
        (rf"(?P<number>[-\N{{MINUS SIGN}}]?(?:{NUMBER}))\s?(?P<unit>{_UNIT}){_END}", _measure, False),
        (rf"(?P<number>{NUMBER})(?P<magnitude>k|M|bn|tn){_END}", _magnitude, False),
        (r"\d+[A-Za-z]+\d*" + _END, _mixed, False),
        (rf"[-\N{{MINUS SIGN}}]?(?:{NUMBER})", _number, False),
        (
            "(?:" + "|".join(sorted(map(re.escape, ABBREVIATIONS), key=len, reverse=True)) + r")(?!\w)",
            _abbreviation,
            True,
        ),
        (r"(?:[A-Z]\.){2,}", _initials, False),
        (r"[A-Z]\.(?=\s?[A-Z])", _initials, False),
        (r"[IVXL]{1,6}" + _END, _roman, False),
        (r"[A-Za-z]+-?\d+(?:[A-Za-z]+|-\d+)*" + _END, _mixed, False),
        (r"(?P<capitals>[A-Z]{2,})(?P<plural>'?s)?" + _END, _acronym, False),
        (r"[A-Za-z]*[a-z][A-Z][A-Za-z]*(?:'s)?" + _END, _camel_case, False),
        (r"[^\W\d_]+(?:'[^\W\d_]+)*'?", _word, False),
        ("[" + re.escape("".join(SIGNS)) + "]", _sign, False),
    )
)
_PAUSES: Final = re.compile(r"\s+-{1,3}\s+|--+|[,;:()\[\]{}|\N{EM DASH}\N{EN DASH}\N{HORIZONTAL ELLIPSIS}]|\.{2,}")
_TYPOGRAPHY: Final = str.maketrans(
    {
        "\N{RIGHT SINGLE QUOTATION MARK}": "'",
        "\N{LEFT SINGLE QUOTATION MARK}": "'",
        "\N{MODIFIER LETTER APOSTROPHE}": "'",
        "\N{NO-BREAK SPACE}": " ",
        "\N{NARROW NO-BREAK SPACE}": " ",
        "\N{NON-BREAKING HYPHEN}": "-",
        "\N{HYPHEN}": "-",
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
    """Typographic variants as plain characters; accents joined to their letters."""
    return unicodedata.normalize("NFC", text).translate(_TYPOGRAPHY)


def normalise(sentence: str) -> list[Token]:
    """What is spoken of one sentence, in order. Words are lower-case letters and apostrophes, or `x.` for a letter."""
    text = clean(sentence)
    tokens: list[Token] = []
    before = ""
    position = 0
    while position < len(text):
        pause = _PAUSES.match(text, position)
        if pause:
            tokens.append(Token(pause[0].strip(), mark=PAUSE))
            position = pause.end()
            continue
        token, position = _read(text, position, before)
        if token is not None:
            tokens.append(token)
            before = token.written.lower()
    return tokens


def _read(text: str, position: int, before: str) -> tuple[Token | None, int]:
    """The token that starts at `position`, if any does, and where to go on."""
    signed = text[position] in "-\N{MINUS SIGN}" and position > 0 and not text[position - 1].isspace()
    for pattern, read in () if signed else RULES:
        match = pattern.match(text, position)
        if match is None or match.end() == position:
            continue
        words = read(Place(match, before))
        if words is not None:
            return (Token(match[0].strip(), tuple(words)) if words else None), match.end()
    return None, position + 1
