"""A text as it is to be spoken: its sentences, each made of plain words, words with a reading of their own, and rests.

`services.common.markup` reads it. It can be written again (`to_ssml`), so that long texts may be parted without losing
what holds for their parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal
from xml.sax.saxutils import escape, quoteattr

from services.common.sentences import OBJECT, sentence_spans

SENTENCE_PAUSE_S: Final = 0.35  # natural pauses, at the usual speed
PARAGRAPH_PAUSE_S: Final = 0.65
ReadingKind = Literal["alias", "arpabet", "ipa", "say-as"]


@dataclass(frozen=True)
class Manner:
    """How words are spoken: times as fast, semitones higher."""

    rate: float = 1.0
    pitch_semitones: float = 0.0


@dataclass(frozen=True)
class Words:
    """Words to be read as they are written."""

    text: str
    manner: Manner = Manner()


@dataclass(frozen=True)
class Reading:
    """Writing whose reading is given.

    Attributes:
        kind: what `value` is: other words, phones, or the name of a way of reading.
        format: of a date: the order of its parts.
        where: for messages, such as "line 1, column 8".
    """

    written: str
    kind: ReadingKind
    value: str
    format: str = ""
    manner: Manner = Manner()
    where: str = field(default="", compare=False)


@dataclass(frozen=True)
class Rest:
    """Silence, in place of whatever pause would be there."""

    seconds: float


Part = Words | Reading | Rest


@dataclass(frozen=True)
class ScriptSentence:
    """A sentence, and whether a paragraph ends with it. Rests after its last word stand at its end."""

    parts: tuple[Part, ...]
    paragraph_end: bool = False

    def pausing(self, speed: float = 1.0) -> ScriptSentence:
        """The same with the natural pause after it at that speed written out, unless it ends with a rest."""
        if self.parts and isinstance(self.parts[-1], Rest):
            return self
        natural_s = PARAGRAPH_PAUSE_S if self.paragraph_end else SENTENCE_PAUSE_S
        return replace(self, parts=(*self.parts, Rest(round(natural_s / speed, 3))))

    @property
    def spoken_text(self) -> str:
        """What is heard of it, without markup."""
        return " ".join(_spoken(part) for part in self.parts if not isinstance(part, Rest))

    @property
    def character_count(self) -> int:
        """Of what is written, without markup."""
        return sum(len(_written(part)) for part in self.parts)


@dataclass(frozen=True)
class Script:
    """A text that was read.

    Attributes:
        language: what the markup says of it, a BCP 47 tag; empty where it says nothing.
    """

    sentences: tuple[ScriptSentence, ...]
    language: str = ""

    @property
    def spoken_text(self) -> str:
        return " ".join(sentence.spoken_text for sentence in self.sentences)

    @property
    def written_text(self) -> str:
        parts = (part for sentence in self.sentences for part in sentence.parts)
        return " ".join(written for part in parts if (written := _written(part)))

    @property
    def character_count(self) -> int:
        return sum(sentence.character_count for sentence in self.sentences)

    @property
    def rest_seconds(self) -> float:
        parts = (part for sentence in self.sentences for part in sentence.parts)
        return sum(part.seconds for part in parts if isinstance(part, Rest))


@dataclass(frozen=True)
class Block:
    """Parts in which sentences are to be found: a paragraph, or as `whole` one sentence."""

    parts: tuple[Part, ...]
    whole: bool = False
    paragraph_end: bool = True


def find_sentences(blocks: Iterable[Block]) -> list[ScriptSentence]:
    """Sentences of blocks in order. Rests between two belong to the first of them."""
    sentences: list[ScriptSentence] = []
    before: list[Part] = []  # rests that nothing precedes
    for block in blocks:
        found = [sentence for sentence in _sentences_of(block) if sentence.parts]
        for sentence in found:
            if any(not isinstance(part, Rest) for part in sentence.parts):
                sentences.append(ScriptSentence((*before, *sentence.parts), sentence.paragraph_end))
                before = []
            elif sentences:
                last = sentences[-1]
                sentences[-1] = ScriptSentence((*last.parts, *sentence.parts), last.paragraph_end)
            else:
                before += sentence.parts
    return sentences


def _sentences_of(block: Block) -> list[ScriptSentence]:
    flat = "".join(" " if isinstance(p, Rest) else OBJECT if isinstance(p, Reading) else p.text for p in block.parts)
    owners = [
        number
        for number, part in enumerate(block.parts)
        for _ in range(len(part.text) if isinstance(part, Words) else 1)
    ]
    spans = sentence_spans(flat)
    if block.whole and spans:
        edges = [0, len(flat)]
        ends = [block.paragraph_end]
    else:
        edges = [0, *(span.start for span in spans[1:]), len(flat)] if spans else [0, len(flat)]
        ends = [span.paragraph_end and (block.paragraph_end or span is not spans[-1]) for span in spans] or [False]
    return [
        ScriptSentence(_cut(block.parts, flat, owners, start, stop), end)
        for start, stop, end in zip(edges[:-1], edges[1:], ends, strict=True)
    ]


def _cut(parts: Sequence[Part], flat: str, owners: Sequence[int], start: int, stop: int) -> tuple[Part, ...]:
    """The parts of flat[start:stop], words without the space at the ends of the sentence, and no empty ones."""
    found: list[Part] = []
    position = start
    while position < stop:
        owner = owners[position]
        end = position
        while end < stop and owners[end] == owner:
            end += 1
        part = parts[owner]
        found.append(Words(flat[position:end], part.manner) if isinstance(part, Words) else part)
        position = end
    first = next((i for i, part in enumerate(found) if not _is_blank(part)), len(found))
    last = next((i for i in range(len(found) - 1, -1, -1) if not _is_blank(found[i])), -1)
    kept = [part for i, part in enumerate(found) if isinstance(part, Rest) or first <= i <= last]
    return tuple(_trimmed(kept))


def _is_blank(part: Part) -> bool:
    return isinstance(part, Rest) or (isinstance(part, Words) and not part.text.strip())


def _trimmed(parts: list[Part]) -> list[Part]:
    texts = [i for i, part in enumerate(parts) if not isinstance(part, Rest)]
    if texts:
        first, last = parts[texts[0]], parts[texts[-1]]
        if isinstance(first, Words):
            parts[texts[0]] = Words(first.text.lstrip(), first.manner)
        last = parts[texts[-1]]
        if isinstance(last, Words):
            parts[texts[-1]] = Words(last.text.rstrip(), last.manner)
    return parts


def split_script(script: Script, max_characters: int) -> list[tuple[ScriptSentence, ...]]:
    """Sentences in groups of so many characters at most, or of one sentence where that has more."""
    groups: list[tuple[ScriptSentence, ...]] = []
    size = 0
    for sentence in script.sentences:
        longer = size + bool(size) + sentence.character_count
        if groups and longer <= max_characters:
            groups[-1] = (*groups[-1], sentence)
            size = longer
        else:
            groups.append((sentence,))
            size = sentence.character_count
    return groups


def to_ssml(sentences: Sequence[ScriptSentence]) -> str:
    """SSML that `read_script` reads as these sentences."""
    written = ""
    is_open = False
    for sentence in sentences:
        written += ("" if is_open else "<p>") + "<s>" + "".join(map(_part_to_ssml, sentence.parts)) + "</s>"
        written += "</p>" if sentence.paragraph_end else ""
        is_open = not sentence.paragraph_end
    return f"<speak>{written}{'</p>' if is_open else ''}</speak>"


def _part_to_ssml(part: Part) -> str:
    if isinstance(part, Rest):
        return f'<break time="{part.seconds * 1000:g}ms"/>'
    inner = escape(part.text) if isinstance(part, Words) else _reading_to_ssml(part)
    if part.manner == Manner():
        return inner
    return f'<prosody rate="{part.manner.rate!r}" pitch="{part.manner.pitch_semitones:+}st">{inner}</prosody>'


def _reading_to_ssml(part: Reading) -> str:
    value, written = quoteattr(part.value), escape(part.written)
    match part.kind:
        case "alias":
            return f"<sub alias={value}>{written}</sub>"
        case "say-as":
            of = f" format={quoteattr(part.format)}" if part.format else ""
            return f"<say-as interpret-as={value}{of}>{written}</say-as>"
        case _:
            alphabet = "ipa" if part.kind == "ipa" else "x-arpabet"
            return f'<phoneme alphabet="{alphabet}" ph={value}>{written}</phoneme>'


def _written(part: Part) -> str:
    return "" if isinstance(part, Rest) else part.text if isinstance(part, Words) else part.written


def _spoken(part: Words | Reading) -> str:
    return part.value if isinstance(part, Reading) and part.kind == "alias" else _written(part)
