"""The times of words as subtitles: SRT and WebVTT."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from likeness._types import Word

MAX_LINE_CHARACTERS: Final = 42
MAX_LINES: Final = 2
MAX_CUE_S: Final = 6.0
MAX_GAP_S: Final = 0.8  # a longer silence ends a cue
LINGER_S: Final = 0.5  # as long a cue stays after its last word, where the next one leaves room
_ENDINGS: Final = (".", "?", "!", "\N{HORIZONTAL ELLIPSIS}")
_CLOSING: Final = "\"')]\N{RIGHT DOUBLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}"


def to_srt(words: Iterable[Word]) -> str:
    """SubRip subtitles of spoken words."""
    cues = _cues(list(words))
    return "\n".join(
        f"{number}\n{_clock(start_s, ',')} --> {_clock(end_s, ',')}\n{text}\n"
        for number, (start_s, end_s, text) in enumerate(cues, 1)
    )


def to_vtt(words: Iterable[Word]) -> str:
    """WebVTT subtitles of spoken words (https://www.w3.org/TR/webvtt1/)."""
    cues = (
        f"{_clock(start_s, '.')} --> {_clock(end_s, '.')}\n{_escaped(text)}\n"
        for start_s, end_s, text in _cues(list(words))
    )
    return "\n".join(["WEBVTT\n", *cues])


def _cues(words: Sequence[Word]) -> list[tuple[float, float, str]]:
    """Start, end and text of each: a sentence, or as much of one as can be read at a glance."""
    groups: list[list[Word]] = []
    for word in words:
        if groups and not _begins_anew(groups[-1], word):
            groups[-1].append(word)
        else:
            groups.append([word])
    cues: list[tuple[float, float, str]] = []
    for number, group in enumerate(groups):
        room_s = groups[number + 1][0].start if number + 1 < len(groups) else float("inf")
        cues.append((group[0].start, min(group[-1].end + LINGER_S, room_s), "\n".join(_lines(group))))
    return cues


def _begins_anew(group: Sequence[Word], word: Word) -> bool:
    last = group[-1]
    return (
        last.punctuated_word.rstrip(_CLOSING).endswith(_ENDINGS)
        or word.start - last.end > MAX_GAP_S
        or word.end - group[0].start > MAX_CUE_S
        or len(_lines([*group, word])) > MAX_LINES
    )


def _lines(words: Sequence[Word]) -> list[str]:
    lines = [words[0].punctuated_word]
    for word in words[1:]:
        joined = lines[-1] + ("" if lines[-1].endswith(("-", "/")) else " ") + word.punctuated_word
        if len(joined) <= MAX_LINE_CHARACTERS:
            lines[-1] = joined
        else:
            lines.append(word.punctuated_word)
    return lines


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    return (
        f"{milliseconds // 3_600_000:02}:{milliseconds // 60_000 % 60:02}:{milliseconds // 1000 % 60:02}"
        f"{point}{milliseconds % 1000:03}"
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
