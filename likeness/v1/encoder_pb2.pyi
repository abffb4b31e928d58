from likeness.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EmbedSpeechOptions(_message.Message):
    __slots__ = ("embedding_only", "label", "surely_speech")
    EMBEDDING_ONLY_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    SURELY_SPEECH_FIELD_NUMBER: _ClassVar[int]
    embedding_only: bool
    label: str
    surely_speech: bool
    def __init__(self, embedding_only: _Optional[bool] = ..., label: _Optional[str] = ..., surely_speech: _Optional[bool] = ...) -> None: ...

class EmbedSpeechRequest(_message.Message):
    __slots__ = ("options", "samples_s16", "media")
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_S16_FIELD_NUMBER: _ClassVar[int]
    MEDIA_FIELD_NUMBER: _ClassVar[int]
    options: EmbedSpeechOptions
    samples_s16: bytes
    media: _types_pb2.MediaReference
    def __init__(self, options: _Optional[_Union[EmbedSpeechOptions, _Mapping]] = ..., samples_s16: _Optional[bytes] = ..., media: _Optional[_Union[_types_pb2.MediaReference, _Mapping]] = ...) -> None: ...

class ReferenceQuality(_message.Message):
    __slots__ = ("total_seconds", "speech_seconds", "snr_db", "clipped_share", "multiple_speakers", "speaker_consistency", "advice")
    TOTAL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SPEECH_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SNR_DB_FIELD_NUMBER: _ClassVar[int]
    CLIPPED_SHARE_FIELD_NUMBER: _ClassVar[int]
    MULTIPLE_SPEAKERS_FIELD_NUMBER: _ClassVar[int]
    SPEAKER_CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    ADVICE_FIELD_NUMBER: _ClassVar[int]
    total_seconds: float
    speech_seconds: float
    snr_db: float
    clipped_share: float
    multiple_speakers: bool
    speaker_consistency: float
    advice: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, total_seconds: _Optional[float] = ..., speech_seconds: _Optional[float] = ..., snr_db: _Optional[float] = ..., clipped_share: _Optional[float] = ..., multiple_speakers: _Optional[bool] = ..., speaker_consistency: _Optional[float] = ..., advice: _Optional[_Iterable[str]] = ...) -> None: ...

class EmbedSpeechResponse(_message.Message):
    __slots__ = ("profile", "quality")
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    profile: _types_pb2.SpeakerProfile
    quality: ReferenceQuality
    def __init__(self, profile: _Optional[_Union[_types_pb2.SpeakerProfile, _Mapping]] = ..., quality: _Optional[_Union[ReferenceQuality, _Mapping]] = ...) -> None: ...

class GuideSpeechRequest(_message.Message):
    __slots__ = ("target", "samples_s16")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_S16_FIELD_NUMBER: _ClassVar[int]
    target: _containers.RepeatedScalarFieldContainer[float]
    samples_s16: bytes
    def __init__(self, target: _Optional[_Iterable[float]] = ..., samples_s16: _Optional[bytes] = ...) -> None: ...

class GuideSpeechResponse(_message.Message):
    __slots__ = ("similarity", "gradient_f32")
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_F32_FIELD_NUMBER: _ClassVar[int]
    similarity: float
    gradient_f32: bytes
    def __init__(self, similarity: _Optional[float] = ..., gradient_f32: _Optional[bytes] = ...) -> None: ...
