"""Samples -> the bytes of an audio file, piece by piece while the samples arrive, or all at once.

What a codec cannot carry at the given rate is resampled by FFmpeg; "pcm" is always 24 kHz signed 16-bit little
endian, as in OpenAI's speech API.
"""

from __future__ import annotations

import io
import struct
from typing import Any, Final, Literal, get_args

import av
import numpy as np

from services.common.audio import SAMPLE_RATE_HZ, FloatArray
from services.common.wire import samples_to_s16

AudioFormat = Literal["wav", "mp3", "flac", "opus", "aac", "pcm"]
CONTENT_TYPES: Final[dict[AudioFormat, str]] = {
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "flac": "audio/flac",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "pcm": "audio/pcm",
}
PCM_RATE_HZ: Final = 24_000
UNKNOWN_SIZE: Final = 0xFFFFFFFF
# format: (container, codec, sample format, bit rate, container options)
_CODECS: Final[dict[str, tuple[str, str, str, int | None, dict[str, str]]]] = {
    "mp3": ("mp3", "libmp3lame", "s16p", 64_000, {}),
    "flac": ("flac", "flac", "s16", None, {}),
    "opus": ("ogg", "libopus", "s16", 40_000, {"page_duration": "200000"}),  # microseconds: short pages stream early
    "aac": ("adts", "aac", "fltp", 64_000, {}),
}


def wav_header(sample_rate_hz: int, data_bytes: int | None) -> bytes:
    """44-byte RIFF header of mono 16-bit PCM; sizes 0xFFFFFFFF when the length is not known yet."""
    sizes = (UNKNOWN_SIZE, UNKNOWN_SIZE) if data_bytes is None else (36 + data_bytes, data_bytes)
    layout = struct.pack("<HHIIHH", 1, 1, sample_rate_hz, 2 * sample_rate_hz, 2, 16)
    return (
        struct.pack("<4sI4s4sI", b"RIFF", sizes[0], b"WAVE", b"fmt ", 16)
        + layout
        + struct.pack("<4sI", b"data", sizes[1])
    )


class _Pipe:
    """What the muxer writes to: it cannot seek, so no header waits to be corrected at the end."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def _mono_frame(samples: FloatArray, sample_rate_hz: int) -> Any:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None], np.float32), format="flt", layout="mono")
    frame.sample_rate = sample_rate_hz
    return frame


class _CodecWriter:
    """A container with one encoded audio track."""

    def __init__(self, format: str, sample_rate_hz: int, sink: Any) -> None:
        container, codec, sample_format, bit_rate, options = _CODECS[format]
        if format == "mp3" and isinstance(sink, _Pipe):
            options = {"write_xing": "0"}  # the frame that would tell the length is written by seeking back
        self._output = av.open(sink, "w", format=container, options={**options, "flush_packets": "1"}, buffer_size=4096)
        offered = av.codec.Codec(codec, "w").audio_rates or [sample_rate_hz]
        rate_hz = (
            sample_rate_hz
            if sample_rate_hz in offered
            else min((r for r in offered if r > sample_rate_hz), default=max(offered))
        )
        stream: Any = self._output.add_stream(codec, rate=rate_hz, layout="mono", format=sample_format)
        self._stream = stream
        if bit_rate is not None:
            stream.bit_rate = bit_rate
        context: Any = stream.codec_context
        context.thread_count = 1
        context.open()
        frame_size = context.frame_size or None
        self._resampler = av.AudioResampler(format=sample_format, layout="mono", rate=rate_hz, frame_size=frame_size)

    def write(self, frame: Any) -> None:
        """Encodes one frame; None flushes what resampler and encoder still hold, and ends the file."""
        for piece in self._resampler.resample(frame):
            self._output.mux(self._stream.encode(piece))
        if frame is None:
            self._output.mux(self._stream.encode(None))
            self._output.close()


class AudioStreamEncoder:
    """Encodes mono float32 samples as they come: `write` any number of times, then `finish` once.

    Both return the bytes that are ready, possibly none. A WAV of unknown length carries 0xFFFFFFFF as its sizes.
    """

    def __init__(self, format: AudioFormat, sample_rate_hz: int = SAMPLE_RATE_HZ) -> None:
        if format not in get_args(AudioFormat):
            raise ValueError(f"unknown audio format {format!r}; expected one of {', '.join(get_args(AudioFormat))}")
        self.format = format
        self.content_type = CONTENT_TYPES[format]
        self._rate_hz = sample_rate_hz
        self._pipe = _Pipe()
        self._codec: _CodecWriter | None = None
        self._to_pcm: Any = None
        if format == "wav":
            self._pipe.write(wav_header(sample_rate_hz, None))
        elif format == "pcm":
            self._to_pcm = av.AudioResampler(format="s16", layout="mono", rate=PCM_RATE_HZ)
        else:
            self._codec = _CodecWriter(format, sample_rate_hz, self._pipe)

    def write(self, samples: FloatArray) -> bytes:
        """Encodes samples, shape (n,), in [-1, 1]; what lies beyond is clipped."""
        if samples.size:
            self._feed(np.clip(samples, -1.0, 1.0))
        return self._pipe.take()

    def finish(self) -> bytes:
        """The rest of the file. Nothing can be written afterwards."""
        self._feed(None)
        return self._pipe.take()

    def _feed(self, samples: FloatArray | None) -> None:
        if self.format == "wav":
            if samples is not None:
                self._pipe.write(samples_to_s16(samples))
            return
        frame = None if samples is None else _mono_frame(samples, self._rate_hz)
        if self._codec is not None:
            self._codec.write(frame)
            return
        for piece in self._to_pcm.resample(frame):
            self._pipe.write(piece.to_ndarray().astype("<i2").tobytes())


def encode_audio(samples: FloatArray, format: AudioFormat, sample_rate_hz: int = SAMPLE_RATE_HZ) -> bytes:
    """A whole audio file of mono float32 samples, shape (n,); its headers carry the right sizes."""
    samples = np.clip(samples, -1.0, 1.0)
    if format == "wav":
        data = samples_to_s16(samples)
        return wav_header(sample_rate_hz, len(data)) + data
    if format == "pcm":
        encoder = AudioStreamEncoder(format, sample_rate_hz)
        return encoder.write(samples) + encoder.finish()
    file = io.BytesIO()
    codec = _CodecWriter(format, sample_rate_hz, file)
    if samples.size:
        codec.write(_mono_frame(samples, sample_rate_hz))
    codec.write(None)
    return file.getvalue()
