"""What people send to be spoken -> script: plain text, plain text with breaks in it, or SSML.

A text that begins with `<speak` (or an XML declaration) is SSML. In any other `<break .../>` alone is markup, and every
other `<` is text, to be read aloud.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from xml.parsers import expat  # noqa: S406 -- a single tag, which can hold no declaration

from services.common.errors import LikenessError
from services.common.script import Block, Part, Rest, Script, Words, find_sentences
from services.common.sentences import OBJECT
from services.common.ssml import ATTRIBUTES, Fault, break_seconds, read_ssml, refused, with_place

MAX_SPOKEN_CHARACTERS: Final = 4096  # of one request to the synthesizer; markup is not counted
MAX_MARKED_CHARACTERS: Final = 32_768  # markup included
_SSML: Final = re.compile(r"\s*(?:<\?xml\b|<speak(?![\w-]))")
_BREAK: Final = re.compile(r"<break(?=[\s/>])[^<>]*>(?:\s*</break\s*>)?")


def is_ssml(text: str) -> bool:
    return _SSML.match(text) is not None


def has_markup(text: str) -> bool:
    """Whether something of a text is not to be read as it stands."""
    return is_ssml(text) or _BREAK.search(text) is not None


def read_script(text: str) -> Script:
    """The script of a text.

    Raises:
        LikenessError: MARKUP_INVALID, with the place; LANGUAGE_UNSUPPORTED for markup that names another than English.
    """
    text = text.replace(OBJECT, " ")
    if is_ssml(text):
        return read_ssml(text)
    parts: list[Part] = []
    done = 0
    for found in _BREAK.finditer(text):
        parts += [Words(text[done : found.start()]), _read_break(found[0], f"character {found.start() + 1}")]
        done = found.end()
    return Script(tuple(find_sentences([Block((*parts, Words(text[done:])))])))


def read_bounded(text: str, *, max_spoken: int = MAX_SPOKEN_CHARACTERS, field: str = "text") -> Script:
    """The script of a text that is not too long.

    Raises:
        LikenessError: INVALID_FIELD for more than max_spoken characters without markup, or for more markup than eight
            times that; and as `read_script`.
    """
    if len(text) > max_spoken and not has_markup(text):
        raise _too_long(len(text), max_spoken, "", field)
    if len(text) > max_spoken // MAX_SPOKEN_CHARACTERS * MAX_MARKED_CHARACTERS:
        raise _too_long(len(text), max_spoken // MAX_SPOKEN_CHARACTERS * MAX_MARKED_CHARACTERS, " with markup", field)
    script = read_script(text)
    if len(text) > max_spoken and script.character_count > max_spoken:
        raise _too_long(script.character_count, max_spoken, " without markup", field)
    return script


def _too_long(count: int, most: int, of: str, field: str) -> LikenessError:
    detail = f"The text has {count} characters{of}; at most {most} are spoken in one request."
    return LikenessError("INVALID_FIELD", detail, field=field)


def _read_break(tag: str, where: str) -> Rest:
    """Raises LikenessError MARKUP_INVALID."""
    parser = expat.ParserCreate()
    found: list[Mapping[str, str]] = []
    parser.StartElementHandler = lambda _name, attributes: found.append(attributes)
    try:
        parser.Parse(tag.encode("utf-8", "surrogatepass"), True)
    except expat.ExpatError as error:
        raise refused(where, "break", 'it must read like <break time="300ms"/>') from error

    def read() -> Rest:
        for attribute in found[0]:
            if attribute not in ATTRIBUTES["break"]:
                raise Fault(f"the attribute {attribute!r} is not supported; there are strength, time. Take it out")
        return Rest(break_seconds(found[0]))

    return with_place(where, "break", read)
