from likeness.v1 import types_pb2 as _types_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WaveformOptions(_message.Message):
    __slots__ = ("engine", "seed", "temperature")
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    engine: str
    seed: int
    temperature: float
    def __init__(self, engine: _Optional[str] = ..., seed: _Optional[int] = ..., temperature: _Optional[float] = ...) -> None: ...

class SynthesizeWaveformRequest(_message.Message):
    __slots__ = ("options", "frames")
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    options: WaveformOptions
    frames: _types_pb2.AcousticFrames
    def __init__(self, options: _Optional[_Union[WaveformOptions, _Mapping]] = ..., frames: _Optional[_Union[_types_pb2.AcousticFrames, _Mapping]] = ...) -> None: ...

class SynthesizeWaveformResponse(_message.Message):
    __slots__ = ("samples_s16", "sample_rate_hz", "engine")
    SAMPLES_S16_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_RATE_HZ_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    samples_s16: bytes
    sample_rate_hz: int
    engine: str
    def __init__(self, samples_s16: _Optional[bytes] = ..., sample_rate_hz: _Optional[int] = ..., engine: _Optional[str] = ...) -> None: ...
