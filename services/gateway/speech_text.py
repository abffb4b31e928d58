"""The text of a speech as the gateway handles it: checked before it is accepted, a notice put before it, parted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from services.common.errors import LikenessError
from services.common.markup import MAX_SPOKEN_CHARACTERS, has_markup, is_ssml, read_bounded, read_script
from services.common.pronunciation import read_dictionary
from services.common.script import Script, ScriptSentence, Words, split_script, to_ssml
from services.gateway.consents.policy import Policy
from services.gateway.stages import fields_called

MAX_QUEUED_CHARACTERS: Final = 200_000
MAX_RESTS_S: Final = 300.0  # of all breaks of a speech that somebody waits for
MAX_QUEUED_RESTS_S: Final = 3600.0
_HTTP_NAMES: Final = {"text": "input"}


def check_text(text: str, dictionary: Mapping[str, str], policy: Policy, *, queued: bool) -> None:
    """Refuses what no stage would speak, or must not: so that nothing is accepted, and queued, in vain.

    Raises:
        LikenessError: INVALID_FIELD for too long a text, MARKUP_INVALID, LANGUAGE_UNSUPPORTED, PRONUNCIATION_INVALID,
            LIKENESS_REFUSED for a text that the policy refuses, by what is written or by what is heard.
    """
    most = MAX_QUEUED_CHARACTERS if queued else MAX_SPOKEN_CHARACTERS
    with fields_called(_HTTP_NAMES):
        script = _bounded(text, most, queued=queued)
        pronunciations = read_dictionary(dictionary)
    policy.require_text(text)
    if has_markup(text):
        policy.require_text(script.written_text)
        policy.require_text(script.spoken_text)
    for word, sound in pronunciations.items():
        policy.require_text(f"{word} {sound.respelling}", field="dictionary")
    longest_s = MAX_QUEUED_RESTS_S if queued else MAX_RESTS_S
    if script.rest_seconds > longest_s:
        detail = f"The breaks come to {script.rest_seconds:g} s; together they may last {longest_s:g} s."
        raise LikenessError("MARKUP_INVALID", detail, field="input")


def _bounded(text: str, most: int, *, queued: bool) -> Script:
    try:
        return read_bounded(text, max_spoken=most)
    except LikenessError as error:
        if error.reason != "INVALID_FIELD" or queued:
            raise
        detail = f"{error.detail} Send Prefer: respond-async for up to {MAX_QUEUED_CHARACTERS}."
        raise LikenessError("INVALID_FIELD", detail, field=error.field) from error


def with_notice(text: str, notice: str | None) -> str:
    """The text with a sentence to be spoken before it, markup or not."""
    if notice is None:
        return text
    if not is_ssml(text):
        return f"{notice} {text}"
    return to_ssml([ScriptSentence((Words(notice),)), *read_script(text).sentences])


def split_text(text: str, max_characters: int, speed: float = 1.0) -> list[str]:
    """The text in pieces of whole sentences, none longer than the limit unless one sentence is.

    A text within the limit stays as it is, to the letter. The pieces of another are SSML, which keeps what holds for
    them, and each but the last ends with the pause that is there in the whole text at that speed.
    """
    if len(text) <= max_characters:
        return [text]
    groups = split_script(read_script(text), max_characters)
    if len(groups) < 2:
        return [text]
    paused = [(*group[:-1], group[-1].pausing(speed)) for group in groups[:-1]]
    return [to_ssml(group) for group in (*paused, groups[-1])]
