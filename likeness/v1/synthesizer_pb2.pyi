from likeness.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SynthesizeMelRequest(_message.Message):
    __slots__ = ("text", "speaker", "speed", "pitch_shift_semitones", "seed", "language", "dictionary", "temperature")
    class DictionaryEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SPEAKER_FIELD_NUMBER: _ClassVar[int]
    SPEED_FIELD_NUMBER: _ClassVar[int]
    PITCH_SHIFT_SEMITONES_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    DICTIONARY_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    text: str
    speaker: _types_pb2.SpeakerProfile
    speed: float
    pitch_shift_semitones: float
    seed: int
    language: str
    dictionary: _containers.ScalarMap[str, str]
    temperature: float
    def __init__(self, text: _Optional[str] = ..., speaker: _Optional[_Union[_types_pb2.SpeakerProfile, _Mapping]] = ..., speed: _Optional[float] = ..., pitch_shift_semitones: _Optional[float] = ..., seed: _Optional[int] = ..., language: _Optional[str] = ..., dictionary: _Optional[_Mapping[str, str]] = ..., temperature: _Optional[float] = ...) -> None: ...

class WordTiming(_message.Message):
    __slots__ = ("word", "start_seconds", "end_seconds", "punctuated_word")
    WORD_FIELD_NUMBER: _ClassVar[int]
    START_SECONDS_FIELD_NUMBER: _ClassVar[int]
    END_SECONDS_FIELD_NUMBER: _ClassVar[int]
    PUNCTUATED_WORD_FIELD_NUMBER: _ClassVar[int]
    word: str
    start_seconds: float
    end_seconds: float
    punctuated_word: str
    def __init__(self, word: _Optional[str] = ..., start_seconds: _Optional[float] = ..., end_seconds: _Optional[float] = ..., punctuated_word: _Optional[str] = ...) -> None: ...

class SynthesizeMelResponse(_message.Message):
    __slots__ = ("frames", "sentence_index", "sentence_count", "sentence_end", "words")
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    SENTENCE_INDEX_FIELD_NUMBER: _ClassVar[int]
    SENTENCE_COUNT_FIELD_NUMBER: _ClassVar[int]
    SENTENCE_END_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    frames: _types_pb2.AcousticFrames
    sentence_index: int
    sentence_count: int
    sentence_end: bool
    words: _containers.RepeatedCompositeFieldContainer[WordTiming]
    def __init__(self, frames: _Optional[_Union[_types_pb2.AcousticFrames, _Mapping]] = ..., sentence_index: _Optional[int] = ..., sentence_count: _Optional[int] = ..., sentence_end: _Optional[bool] = ..., words: _Optional[_Iterable[_Union[WordTiming, _Mapping]]] = ...) -> None: ...
