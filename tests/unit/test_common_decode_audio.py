"""Audio files of every kind, and files that only claim to be."""

from __future__ import annotations

import io
import struct
import wave
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.audio import SAMPLE_RATE_HZ, FloatArray, log_mel
from services.common.decode import decode_audio
from services.common.decode_audio import MAX_FILE_BYTES
from services.common.encode_audio import AudioFormat, encode_audio, wav_header
from services.common.errors import LikenessError


def tone(seconds: float = 1.0, hz: float = 440.0, rate_hz: int = SAMPLE_RATE_HZ) -> FloatArray:
    return (0.4 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def file_of(
    container: str, codec: str, rate_hz: int = 44_100, layout: str = "stereo", sample_format: str | None = None
) -> bytes:
    """A second of 440 Hz on every channel, through FFmpeg."""
    file = io.BytesIO()
    output: Any = av.open(file, "w", format=container)
    stream = output.add_stream(codec, rate=rate_hz, layout=layout)
    if sample_format:
        stream.format = sample_format
    channels = len(av.AudioLayout(layout).channels)
    samples = np.tile(tone(1.0, rate_hz=rate_hz), (channels, 1))
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
    frame.sample_rate = rate_hz
    output.mux(stream.encode(frame))
    output.mux(stream.encode(None))
    output.close()
    return file.getvalue()


def dominant_hz(samples: FloatArray) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.size)))
    return float(np.argmax(spectrum) * SAMPLE_RATE_HZ / samples.size)


def refusal(data: bytes) -> LikenessError:
    with pytest.raises(LikenessError) as raised:
        decode_audio(data, field="sample")
    assert raised.value.field == "sample"
    return raised.value


@pytest.mark.parametrize(
    ("container", "codec", "rate_hz", "layout"),
    [
        ("wav", "pcm_s16le", 44_100, "stereo"),
        ("wav", "pcm_s24le", 48_000, "mono"),
        ("wav", "pcm_f32le", 96_000, "5.1"),
        ("wav", "pcm_mulaw", 8_000, "mono"),
        ("aiff", "pcm_s16be", 44_100, "stereo"),
        ("flac", "flac", 44_100, "stereo"),
        ("mp3", "libmp3lame", 44_100, "stereo"),
        ("ogg", "libopus", 48_000, "stereo"),
        ("mp4", "aac", 44_100, "stereo"),
        ("ipod", "alac", 44_100, "stereo"),
        ("adts", "aac", 22_050, "mono"),
        ("webm", "libopus", 48_000, "mono"),
        ("matroska", "pcm_s16le", 16_000, "mono"),
    ],
)
def test_kinds_keep_pitch_level_and_length(container: str, codec: str, rate_hz: int, layout: str) -> None:
    sample_format = {"flac": "s16", "alac": "s16p"}.get(codec)
    decoded = decode_audio(file_of(container, codec, rate_hz, layout, sample_format))
    assert decoded.samples.dtype == np.float32
    assert decoded.duration_s == pytest.approx(1.0, abs=0.1)
    middle = decoded.samples[4000:12_000]
    assert dominant_hz(middle) == pytest.approx(440.0, abs=4.0)
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.4 / np.sqrt(2), rel=0.08)  # channels averaged, not added


def test_mel_from_file_equals_mel_from_array() -> None:
    samples = tone(0.7) + np.random.default_rng(0).normal(0, 0.05, 11_200).astype(np.float32)
    decoded = decode_audio(encode_audio(samples, "wav"))
    assert decoded.sample_rate_hz == SAMPLE_RATE_HZ
    assert np.abs(decoded.samples - samples).max() <= 0.5 / 32768 + 1e-7
    assert np.abs(log_mel(decoded.samples) - log_mel(samples)).max() < 0.01


@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "opus", "aac"])
@pytest.mark.parametrize("share", [0.2, 0.6])
def test_truncated_files_are_refused(format: AudioFormat, share: float) -> None:
    data = encode_audio(tone(3.0), format)
    assert refusal(data[: int(len(data) * share)]).reason == "MEDIA_UNREADABLE"


def test_truncated_mp4_is_refused() -> None:
    data = file_of("mp4", "aac")
    assert refusal(data[: len(data) // 2]).reason == "MEDIA_UNREADABLE"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "MEDIA_EMPTY"),
        (b"hello, this is text", "MEDIA_UNSUPPORTED"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "MEDIA_UNSUPPORTED"),
        (b"%PDF-1.7 ...", "MEDIA_UNSUPPORTED"),
        (b"#EXTM3U\nfile:///etc/passwd\n", "MEDIA_UNSUPPORTED"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "MEDIA_UNSUPPORTED"),
        (b"RIFF\x00\x00\x00\x00WAVE", "MEDIA_UNREADABLE"),
        (b"OggS" + bytes(200), "MEDIA_UNREADABLE"),
        (b"fLaC" + bytes(200), "MEDIA_UNREADABLE"),
        (b"\x00\x00\x00\x18ftypmp42" + bytes(200), "MEDIA_UNREADABLE"),
        (b"\x1aE\xdf\xa3" + bytes(200), "MEDIA_UNREADABLE"),
        (b"ID3\x04\x00\x00\x00\x00\x00\x00" + bytes(200), "MEDIA_UNREADABLE"),
        (wav_header(16_000, 0), "MEDIA_EMPTY"),
        (bytes(MAX_FILE_BYTES + 1), "MEDIA_TOO_LARGE"),
    ],
)
def test_files_that_are_none_are_refused(data: bytes, reason: str) -> None:
    assert refusal(data).reason == reason


def test_eleven_minutes_are_too_long_and_told_so() -> None:
    rate_hz = 4_000  # small on disk
    error = refusal(wav_header(rate_hz, 2 * rate_hz * 660) + bytes(2 * rate_hz * 660))
    assert error.reason == "MEDIA_TOO_LARGE"
    assert "600 s" in error.detail


@pytest.mark.parametrize(("rate_hz", "channels"), [(2_000, 1), (384_000, 1), (16_000, 9)])
def test_extreme_formats_are_refused(rate_hz: int, channels: int) -> None:
    file = io.BytesIO()
    with wave.open(file, "wb") as output:
        output.setparams((channels, 2, rate_hz, 0, "NONE", "NONE"))
        output.writeframes(bytes(2 * channels * 1000))
    assert refusal(file.getvalue()).reason == "MEDIA_UNSUPPORTED"


def test_not_a_number_is_refused() -> None:
    samples = np.full(1600, np.nan, "<f4").tobytes()
    chunk = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, 1, 16_000, 64_000, 4, 32)
    body = b"WAVE" + chunk + struct.pack("<4sI", b"data", len(samples)) + samples
    assert refusal(b"RIFF" + struct.pack("<I", len(body)) + body).reason == "MEDIA_UNREADABLE"


def test_streamed_wav_without_a_length_is_read() -> None:
    data = wav_header(SAMPLE_RATE_HZ, None) + encode_audio(tone(), "wav")[44:]
    assert decode_audio(data).duration_s == pytest.approx(1.0)


def test_mislabelled_is_judged_by_content() -> None:
    """Nothing in the interface takes a name or a type: an MP3 in a file called .wav decodes as what it is."""
    assert decode_audio(encode_audio(tone(), "mp3")).container == "mp3"


def test_audio_track_of_a_film_is_read_and_its_pictures_are_not() -> None:
    file = io.BytesIO()
    output: Any = av.open(file, "w", format="mp4")
    video = output.add_stream("mpeg4", rate=10)
    video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
    sound = output.add_stream("aac", rate=16_000, layout="mono")
    for index in range(10):
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        picture.pts = index
        output.mux(video.encode(picture))
    output.mux(video.encode(None))
    frame = av.AudioFrame.from_ndarray(tone()[None], format="fltp", layout="mono")
    frame.sample_rate = 16_000
    output.mux(sound.encode(frame))
    output.mux(sound.encode(None))
    output.close()
    assert decode_audio(file.getvalue()).codec == "aac"
    silent = io.BytesIO()
    output = av.open(silent, "w", format="mp4")
    video = output.add_stream("mpeg4", rate=10)
    video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
    picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
    output.mux(video.encode(picture))
    output.mux(video.encode(None))
    output.close()
    assert refusal(silent.getvalue()).reason == "MEDIA_UNSUPPORTED"


_SEEDS = {name: encode_audio(tone(0.3), name) for name in ("wav", "flac", "mp3", "opus", "aac")}


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(sorted(_SEEDS)),
    changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=20),
)
def test_damaged_files_decode_or_are_refused_but_never_crash(name: str, changes: list[tuple[float, int]]) -> None:
    data = bytearray(_SEEDS[name])
    for position, value in changes:
        data[int(position * len(data))] = value
    try:
        decoded = decode_audio(bytes(data))
    except LikenessError as error:
        assert error.reason.startswith("MEDIA_")
    else:
        assert np.isfinite(decoded.samples).all()
        assert np.abs(decoded.samples).max() <= 1.0


def test_decoding_opens_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Matroska or MP4 may name other files; a playlist does so by design. None of them is a way out."""
    secret = tmp_path / "secret.wav"
    secret.write_bytes(_SEEDS["wav"])
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n".encode()
    assert refusal(playlist).reason == "MEDIA_UNSUPPORTED"
    monkeypatch.chdir(tmp_path)
    assert refusal(b"ffconcat version 1.0\nfile secret.wav\n").reason == "MEDIA_UNSUPPORTED"
