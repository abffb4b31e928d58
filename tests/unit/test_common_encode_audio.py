"""Every audio format, streamed and at once; decoded again by the project's decoder and by others."""

from __future__ import annotations

import io
import wave
from itertools import pairwise
from typing import Final

import numpy as np
import pytest

from services.common.audio import SAMPLE_RATE_HZ, FloatArray
from services.common.decode import decode_audio
from services.common.encode_audio import CONTENT_TYPES, AudioFormat, AudioStreamEncoder, encode_audio
from services.common.wire import samples_from_s16

AAC_PADDING: Final = 2 * 1024  # samples of delay and of filling that a bare AAC stream cannot declare
FORMATS: list[AudioFormat] = ["wav", "mp3", "flac", "opus", "aac", "pcm"]


def chirp(seconds: float = 2.0) -> FloatArray:
    time_s = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (0.4 * np.sin(2 * np.pi * (200 + 200 * time_s) * time_s)).astype(np.float32)


def streamed(samples: FloatArray, format: AudioFormat, step: int = 777) -> list[bytes]:
    encoder = AudioStreamEncoder(format)
    edges = [*range(0, samples.size, step), samples.size]
    return [*(encoder.write(samples[a:b]) for a, b in pairwise(edges)), encoder.finish()]


def samples_of(data: bytes, format: AudioFormat) -> FloatArray:
    if format == "pcm":
        at_24k = samples_from_s16(data)
        positions = np.arange(0, at_24k.size - 1, 1.5)
        return np.asarray(np.interp(positions, np.arange(at_24k.size), at_24k), np.float32)
    return decode_audio(data).samples


def best_correlation(found: FloatArray, original: FloatArray) -> float:
    """Over all delays, since codecs may begin with some."""
    size = 1 << int(np.ceil(np.log2(found.size + original.size)))
    product = np.fft.rfft(found, size) * np.conj(np.fft.rfft(original, size))
    return float(np.fft.irfft(product, size).max() / (np.linalg.norm(found) * np.linalg.norm(original)))


@pytest.mark.parametrize("format", FORMATS)
def test_both_ways_keep_the_sound(format: AudioFormat) -> None:
    original = chirp()
    for data in (encode_audio(original, format), b"".join(streamed(original, format))):
        found = samples_of(data, format)
        assert found.size == pytest.approx(original.size, abs=AAC_PADDING)
        assert best_correlation(found, original) > 0.98


@pytest.mark.parametrize("format", ["wav", "flac"])
def test_lossless_formats_are_lossless(format: AudioFormat) -> None:
    original = chirp()
    for data in (encode_audio(original, format), b"".join(streamed(original, format))):
        assert np.abs(decode_audio(data).samples - original).max() <= 1 / 32768


@pytest.mark.parametrize("format", FORMATS)
def test_bytes_come_while_samples_do(format: AudioFormat) -> None:
    pieces = streamed(chirp(), format)
    early = sum(map(len, pieces[: len(pieces) // 2]))
    assert 0.3 < early / sum(map(len, pieces)) < 0.7


def test_streamed_wav_has_unknown_sizes_and_whole_wav_right_ones() -> None:
    first = streamed(chirp(), "wav")[0]
    assert first[4:8] == first[40:44] == b"\xff\xff\xff\xff"
    with wave.open(io.BytesIO(encode_audio(chirp(), "wav"))) as file:  # Python's own reader as oracle
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, SAMPLE_RATE_HZ)
        assert file.getnframes() == 2 * SAMPLE_RATE_HZ


def test_pcm_is_24_khz() -> None:
    assert len(encode_audio(chirp(1.0), "pcm")) == pytest.approx(2 * 24_000, abs=100)


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 24_000, 44_100])
@pytest.mark.parametrize("format", ["mp3", "opus", "aac", "flac", "wav"])
def test_other_rates_keep_their_length(format: AudioFormat, rate_hz: int) -> None:
    samples = np.zeros(rate_hz, np.float32)
    padding_s = AAC_PADDING / rate_hz if format == "aac" else 0.1
    assert decode_audio(encode_audio(samples, format, rate_hz)).duration_s == pytest.approx(1.0, abs=padding_s)


def test_overload_is_clipped_not_wrapped() -> None:
    decoded = decode_audio(encode_audio(np.array([2.0, -2.0, 0.5], np.float32), "wav")).samples
    assert decoded == pytest.approx([1.0, -1.0, 0.5], abs=1e-4)


@pytest.mark.parametrize("format", FORMATS)
def test_nothing_written_is_an_empty_file_not_a_crash(format: AudioFormat) -> None:
    encoder = AudioStreamEncoder(format)
    assert encoder.write(np.zeros(0, np.float32)) is not None
    assert isinstance(encoder.finish(), bytes)
    assert encoder.content_type == CONTENT_TYPES[format]


def test_unknown_format_is_named() -> None:
    with pytest.raises(ValueError, match="midi"):
        AudioStreamEncoder("midi")  # type: ignore[arg-type]
