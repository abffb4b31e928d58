from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MediaReference(_message.Message):
    __slots__ = ("bucket", "key", "sha256", "size_bytes", "content_type")
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    bucket: str
    key: str
    sha256: str
    size_bytes: int
    content_type: str
    def __init__(self, bucket: _Optional[str] = ..., key: _Optional[str] = ..., sha256: _Optional[str] = ..., size_bytes: _Optional[int] = ..., content_type: _Optional[str] = ...) -> None: ...

class AcousticFrames(_message.Message):
    __slots__ = ("frame_count", "channel_count", "values")
    FRAME_COUNT_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_COUNT_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    frame_count: int
    channel_count: int
    values: bytes
    def __init__(self, frame_count: _Optional[int] = ..., channel_count: _Optional[int] = ..., values: _Optional[bytes] = ...) -> None: ...

class SpeakerProfile(_message.Message):
    __slots__ = ("embedding", "log_f0_median", "log_f0_spread", "mel_mean", "mel_spread", "formant_warp", "sounds", "adaptation")
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    LOG_F0_MEDIAN_FIELD_NUMBER: _ClassVar[int]
    LOG_F0_SPREAD_FIELD_NUMBER: _ClassVar[int]
    MEL_MEAN_FIELD_NUMBER: _ClassVar[int]
    MEL_SPREAD_FIELD_NUMBER: _ClassVar[int]
    FORMANT_WARP_FIELD_NUMBER: _ClassVar[int]
    SOUNDS_FIELD_NUMBER: _ClassVar[int]
    ADAPTATION_FIELD_NUMBER: _ClassVar[int]
    embedding: _containers.RepeatedScalarFieldContainer[float]
    log_f0_median: float
    log_f0_spread: float
    mel_mean: _containers.RepeatedScalarFieldContainer[float]
    mel_spread: _containers.RepeatedScalarFieldContainer[float]
    formant_warp: float
    sounds: SpokenSounds
    adaptation: VoiceAdaptation
    def __init__(self, embedding: _Optional[_Iterable[float]] = ..., log_f0_median: _Optional[float] = ..., log_f0_spread: _Optional[float] = ..., mel_mean: _Optional[_Iterable[float]] = ..., mel_spread: _Optional[_Iterable[float]] = ..., formant_warp: _Optional[float] = ..., sounds: _Optional[_Union[SpokenSounds, _Mapping]] = ..., adaptation: _Optional[_Union[VoiceAdaptation, _Mapping]] = ...) -> None: ...

class VoiceAdaptation(_message.Message):
    __slots__ = ("network", "classes", "log_f0_median", "log_f0_spread", "mel_mean", "mel_spread", "formant_warp", "offsets")
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    LOG_F0_MEDIAN_FIELD_NUMBER: _ClassVar[int]
    LOG_F0_SPREAD_FIELD_NUMBER: _ClassVar[int]
    MEL_MEAN_FIELD_NUMBER: _ClassVar[int]
    MEL_SPREAD_FIELD_NUMBER: _ClassVar[int]
    FORMANT_WARP_FIELD_NUMBER: _ClassVar[int]
    OFFSETS_FIELD_NUMBER: _ClassVar[int]
    network: str
    classes: str
    log_f0_median: float
    log_f0_spread: float
    mel_mean: _containers.RepeatedScalarFieldContainer[float]
    mel_spread: _containers.RepeatedScalarFieldContainer[float]
    formant_warp: float
    offsets: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, network: _Optional[str] = ..., classes: _Optional[str] = ..., log_f0_median: _Optional[float] = ..., log_f0_spread: _Optional[float] = ..., mel_mean: _Optional[_Iterable[float]] = ..., mel_spread: _Optional[_Iterable[float]] = ..., formant_warp: _Optional[float] = ..., offsets: _Optional[_Iterable[float]] = ...) -> None: ...

class SpokenSounds(_message.Message):
    __slots__ = ("classes", "frames", "shapes", "formant_scale", "correction")
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    SHAPES_FIELD_NUMBER: _ClassVar[int]
    FORMANT_SCALE_FIELD_NUMBER: _ClassVar[int]
    CORRECTION_FIELD_NUMBER: _ClassVar[int]
    classes: str
    frames: _containers.RepeatedScalarFieldContainer[float]
    shapes: _containers.RepeatedScalarFieldContainer[float]
    formant_scale: float
    correction: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, classes: _Optional[str] = ..., frames: _Optional[_Iterable[float]] = ..., shapes: _Optional[_Iterable[float]] = ..., formant_scale: _Optional[float] = ..., correction: _Optional[_Iterable[float]] = ...) -> None: ...
