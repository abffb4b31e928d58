"""The times of words, as answers."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class WordTime(BaseModel):
    """A word, and when it is spoken."""

    word: str
    punctuated_word: str = Field(description="With the signs that touch it.")
    start: float = Field(description="Seconds from the beginning of the audio.")
    end: float


class TimedSpeech(BaseModel):
    """A speech with the times of its words."""

    object: Literal["audio.speech"]
    job: str
    audio: str = Field(description="The file, in base64.")
    content_type: str
    duration: float = Field(description="Seconds.")
    words: list[WordTime]
