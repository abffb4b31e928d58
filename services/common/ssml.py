"""SSML -> script: a subset of https://www.w3.org/TR/speech-synthesis11/, and whatever else it holds refused by place.

    speak, p, s                     sentences and paragraphs
    break    time | strength        silence in place of the natural pause
    prosody  rate, pitch            of what is inside; nested ones add up
    phoneme  alphabet, ph           ipa, or x-arpabet (cmu-arpabet)
    sub      alias                  other words
    say-as   interpret-as, format   characters, cardinal, ordinal, digits, telephone, fraction, date, time, currency

The parser takes no document type, no entities but the five of XML, and no more than MAX_DEPTH elements inside each
other, so that a hostile text costs no more than its length.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import log2
from typing import Final, NoReturn, TypeVar
from xml.parsers import expat  # noqa: S406 -- declarations are refused below, before any of them takes effect

from services.common.errors import LikenessError
from services.common.languages import primary_language
from services.common.pronunciation import from_arpabet, from_ipa
from services.common.script import Block, Manner, Part, Reading, ReadingKind, Rest, Script, Words, find_sentences

MAX_DEPTH: Final = 32
MAX_BREAK_S: Final = 10.0
MAX_ALIAS_CHARACTERS: Final = 1000
RATE_RANGE: Final = (0.25, 4.0)
PITCH_RANGE: Final = (-12.0, 12.0)
BREAKS_S: Final = {"none": 0.0, "x-weak": 0.1, "weak": 0.2, "medium": 0.35, "strong": 0.65, "x-strong": 1.2}
RATES: Final = {"x-slow": 0.5, "slow": 0.75, "medium": 1.0, "default": 1.0, "fast": 1.3, "x-fast": 1.7}
PITCHES: Final = {"x-low": -4.0, "low": -2.0, "medium": 0.0, "default": 0.0, "high": 2.0, "x-high": 4.0}
ALPHABETS: Final[Mapping[str, ReadingKind]] = {
    "ipa": "ipa",
    "x-arpabet": "arpabet",
    "cmu-arpabet": "arpabet",
    "x-cmu-arpabet": "arpabet",
    "arpabet": "arpabet",
}
WAYS_OF_READING: Final[Mapping[str, str]] = {
    **{name: "characters" for name in ("characters", "spell-out", "verbatim")},
    **{name: "cardinal" for name in ("cardinal", "number")},
    **{name: name for name in ("ordinal", "digits", "telephone", "fraction", "date", "time", "currency")},
}
ATTRIBUTES: Final[Mapping[str, frozenset[str]]] = {
    "speak": frozenset({"version", "xml:lang", "xml:base", "xsi:schemaLocation", "onlangfailure"}),
    "p": frozenset({"xml:lang"}),
    "s": frozenset({"xml:lang"}),
    "break": frozenset({"time", "strength"}),
    "prosody": frozenset({"rate", "pitch"}),
    "phoneme": frozenset({"alphabet", "ph"}),
    "sub": frozenset({"alias"}),
    "say-as": frozenset({"interpret-as", "format", "detail"}),
}
NEEDED: Final = {"phoneme": ("ph",), "sub": ("alias",), "say-as": ("interpret-as",)}
READINGS: Final = ("phoneme", "sub", "say-as")  # they hold text alone
_NUMBER: Final = r"\d+(?:\.\d+)?|\.\d+"


T = TypeVar("T")


class Fault(ValueError):  # noqa: N818 -- becomes a LikenessError once its place is known
    """What is wrong with an element."""


@dataclass
class _Open:
    """An element that has begun."""

    name: str
    manner: Manner
    where: str
    attributes: Mapping[str, str]
    text: str = ""  # of a reading


@dataclass
class _Reader:
    """Collects what the parser tells."""

    parser: expat.XMLParserType
    language: str = ""
    blocks: list[Block] = field(default_factory=list)
    _open: list[_Open] = field(default_factory=list)
    _parts: list[Part] = field(default_factory=list)

    def where(self) -> str:
        return f"line {self.parser.CurrentLineNumber}, column {self.parser.CurrentColumnNumber + 1}"

    def begin(self, name: str, attributes: Mapping[str, str]) -> None:
        where = self.where()
        with_place(where, name, lambda: self._begin(name, attributes, where))

    def _begin(self, name: str, attributes: Mapping[str, str], where: str) -> None:
        names = [element.name for element in self._open]
        if name not in ATTRIBUTES:
            raise Fault(f"this element is not supported; there are {', '.join(ATTRIBUTES)}. Take the tags out")
        if (name == "speak") != (not names):
            raise Fault("<speak> must be around everything else, once")
        if len(names) >= MAX_DEPTH:
            raise Fault(f"more than {MAX_DEPTH} elements stand inside each other")
        if names and names[-1] in (*READINGS, "break"):
            raise Fault(f"<{names[-1]}> can hold no other element; close it first")
        if name in ("p", "s") and ("s" in names or (name == "p" and "p" in names)):
            raise Fault("paragraphs <p> hold sentences <s>, and neither holds itself; close the one before first")
        for attribute in attributes:
            if attribute not in ATTRIBUTES[name] and not attribute.startswith("xmlns"):
                known = ", ".join(sorted(ATTRIBUTES[name]))
                raise Fault(f"the attribute {attribute!r} is not supported; there are {known}. Take it out")
        for attribute in NEEDED.get(name, ()):
            if not attributes.get(attribute, "").strip():
                raise Fault(f"the attribute {attribute!r} is missing")
        self._note_language(attributes)
        manner = self._open[-1].manner if self._open else Manner()
        if name == "prosody":
            manner = read_prosody(attributes, manner)
        elif name == "break":
            self._parts.append(Rest(break_seconds(attributes)))
        elif name in ("p", "s"):
            self._close_block()
        self._open.append(_Open(name, manner, where, attributes))

    def _note_language(self, attributes: Mapping[str, str]) -> None:
        tag = attributes.get("xml:lang", "")
        if tag and primary_language(tag) != "en":
            detail = f"The markup names the language {tag!r} ({self.where()}); only English (en) is spoken here."
            raise LikenessError("LANGUAGE_UNSUPPORTED", detail, field="text")
        self.language = self.language or tag

    def text(self, text: str) -> None:
        element = self._open[-1]
        if element.name in READINGS:
            element.text += text
        elif element.name == "break":
            if text.strip():
                raise refused(self.where(), "break", "it can hold no text; write <break .../>")
        else:
            plain = re.sub(r"[\r\n]", " ", text)  # in XML a line's end is but a space
            last = self._parts[-1] if self._parts else None
            if isinstance(last, Words) and last.manner == element.manner:
                self._parts[-1] = Words(last.text + plain, last.manner)
            else:
                self._parts.append(Words(plain, element.manner))

    def end(self, name: str) -> None:
        element = self._open.pop()
        if name in READINGS:
            with_place(element.where, name, lambda: self._parts.append(_reading(element)))
        elif name == "s":
            self._close_block(whole=True, paragraph_end=False)
        elif name == "p":
            self._close_block(paragraph_end=True)
            self._end_paragraph()
        elif name == "speak":
            self._close_block()

    def _close_block(self, *, whole: bool = False, paragraph_end: bool = False) -> None:
        if self._parts:
            self.blocks.append(Block(tuple(self._parts), whole, paragraph_end))
        self._parts = []

    def _end_paragraph(self) -> None:
        """The last block that has words ends it."""
        for number in range(len(self.blocks) - 1, -1, -1):
            block = self.blocks[number]
            if any(not isinstance(part, Rest) and _has_words(part) for part in block.parts):
                self.blocks[number] = Block(block.parts, block.whole, paragraph_end=True)
                return


def _has_words(part: Words | Reading) -> bool:
    return bool((part.text if isinstance(part, Words) else part.written).strip())


def read_ssml(text: str) -> Script:
    """The script of an SSML document.

    Raises:
        LikenessError: MARKUP_INVALID, LANGUAGE_UNSUPPORTED.
    """
    parser = expat.ParserCreate("utf-8")
    reader = _Reader(parser)
    parser.buffer_text = True
    parser.StartElementHandler = reader.begin
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = lambda *_: _refuse(reader.where(), "DOCTYPE", "is not allowed; take it out")
    parser.EntityDeclHandler = lambda *_: _refuse(reader.where(), "ENTITY", "is not allowed; take it out")
    parser.ProcessingInstructionHandler = lambda *_: _refuse(reader.where(), "?", "is not supported; take it out")
    try:
        document = text.lstrip() if "<?xml" in text[:1000] else text  # before a declaration there may be nothing
        parser.Parse(document.encode("utf-8", "surrogatepass"), True)
    except expat.ExpatError as error:
        where = f"line {error.lineno}, column {error.offset + 1}"
        raise _malformed(where, error) from error
    return Script(tuple(find_sentences(reader.blocks)), reader.language)


def with_place(where: str, name: str, read: Callable[[], T]) -> T:
    """What `read` returns; its fault as a refusal that says where."""
    try:
        return read()
    except ValueError as error:
        raise refused(where, name, str(error)) from error


def break_seconds(attributes: Mapping[str, str]) -> float:
    """How long a break lasts."""
    if "time" not in attributes:
        strength = attributes.get("strength", "medium")
        if strength not in BREAKS_S:
            raise Fault(f"strength={strength!r} is none of {', '.join(BREAKS_S)}")
        return BREAKS_S[strength]
    found = re.fullmatch(rf"\+?({_NUMBER})(ms|s)", attributes["time"].strip())
    if found is None:
        raise Fault(f'time={attributes["time"][:40]!r} is no time; write "300ms" or "1.5s"')
    seconds = float(found[1]) / (1000.0 if found[2] == "ms" else 1.0)
    if seconds > MAX_BREAK_S:
        raise Fault(f"a break lasts {MAX_BREAK_S:g} s at most, not {seconds:g} s")
    return seconds


def read_prosody(attributes: Mapping[str, str], around: Manner) -> Manner:
    """How is spoken inside a <prosody> that stands inside `around`."""
    if not attributes:
        raise Fault("it needs rate, pitch, or both")
    rate = around.rate * (_rate(attributes["rate"].strip()) if "rate" in attributes else 1.0)
    pitch = around.pitch_semitones + (_pitch(attributes["pitch"].strip()) if "pitch" in attributes else 0.0)
    if not RATE_RANGE[0] <= rate <= RATE_RANGE[1]:
        raise Fault(f"rate must come to {RATE_RANGE[0]:g} to {RATE_RANGE[1]:g} times the usual, not to {rate:g}")
    if not PITCH_RANGE[0] <= pitch <= PITCH_RANGE[1]:
        raise Fault(f"pitch must stay within 12 semitones up and down, not {pitch:+g}")
    return Manner(round(rate, 6), round(pitch, 6))


def _rate(value: str) -> float:
    if value in RATES:
        return RATES[value]
    found = re.fullmatch(rf"([+-]?)({_NUMBER})(%?)", value)
    if found is None or (found[1] and not found[3]):
        raise Fault(f'rate={value[:40]!r} must be "80%", "+20%", "1.2", or one of {", ".join(RATES)}')
    number = float(found[2]) / (100.0 if found[3] else 1.0)
    return 1.0 + number if found[1] == "+" else 1.0 - number if found[1] == "-" else number


def _pitch(value: str) -> float:
    """In semitones."""
    if value in PITCHES:
        return PITCHES[value]
    found = re.fullmatch(rf"([+-]?)({_NUMBER})(st|%)", value)
    if found is None or (found[3] == "%" and not found[1]):
        raise Fault(f'pitch={value[:40]!r} must be "+2st", "-10%", or one of {", ".join(PITCHES)}')
    number = float(found[2]) * (-1.0 if found[1] == "-" else 1.0)
    if found[3] == "st":
        return number
    if number <= -100.0:
        raise Fault(f"pitch={value!r} leaves nothing of it")
    return 12.0 * log2(1.0 + number / 100.0)


def _reading(element: _Open) -> Reading:
    """The reading of an element that has ended."""
    written, attributes = " ".join(element.text.split()), element.attributes
    manner, where = element.manner, element.where
    if element.name == "sub":
        alias = " ".join(attributes["alias"].split())
        if len(alias) > MAX_ALIAS_CHARACTERS:
            raise Fault(f"the alias has more than {MAX_ALIAS_CHARACTERS} characters")
        return Reading(written or alias, "alias", alias, manner=manner, where=where)
    if element.name == "phoneme":
        alphabet = attributes.get("alphabet", "ipa").lower()
        if alphabet not in ALPHABETS:
            raise Fault(f"the alphabet {alphabet[:40]!r} is not known; there are ipa and x-arpabet")
        sound = attributes["ph"].strip()
        from_ipa(sound) if ALPHABETS[alphabet] == "ipa" else from_arpabet(sound)
        return Reading(written or sound, ALPHABETS[alphabet], sound, manner=manner, where=where)
    way = attributes["interpret-as"].strip().lower()
    if way not in WAYS_OF_READING:
        raise Fault(f"interpret-as={way[:40]!r} is none of {', '.join(WAYS_OF_READING)}")
    if not written:
        raise Fault("there is nothing in it to be said")
    chosen = attributes.get("format", "").strip().lower()
    return Reading(written, "say-as", WAYS_OF_READING[way], chosen, manner=manner, where=where)


def markup_error(where: str, what: str) -> LikenessError:
    """MARKUP_INVALID at that place."""
    return LikenessError("MARKUP_INVALID", f"At {where}: {what}.", field="text")


def refused(where: str, name: str, what: str) -> LikenessError:
    return markup_error(where, f"<{name[:40]}>: {what}")


def _refuse(where: str, name: str, what: str) -> NoReturn:
    raise refused(where, f"!{name}" if name.isalpha() else name, what)


def _malformed(where: str, error: expat.ExpatError) -> LikenessError:
    said = expat.ErrorString(error.code)
    hint = {
        "mismatched tag": "; each element must be closed in the reverse order of their beginning",
        "no element found": "; the document ends before </speak>",
        "undefined entity": "; only &amp; &lt; &gt; &quot; &apos; are known, write the character itself",
        "not well-formed (invalid token)": '; write &amp; for "&" and &lt; for "<", and put attributes in quotes',
        "junk after document element": "; nothing may follow </speak>",
    }.get(said, "")
    return markup_error(where, f"the markup is not well-formed XML: {said}{hint}")
