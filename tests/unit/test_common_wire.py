"""Protobuf messages and arrays: there and back, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from likeness.v1 import types_pb2
from services.common.audio import FRAME_CHANNELS, FloatArray
from services.common.errors import LikenessError
from services.common.profile import SpeakerProfile
from services.common.sounds import SpokenSounds
from services.common.wire import (
    chunked,
    frames_from_wire,
    frames_to_wire,
    profile_from_wire,
    profile_to_wire,
    samples_from_s16,
    samples_to_s16,
)


def plausible_frames(count: int = 5) -> FloatArray:
    rng = np.random.default_rng(0)
    log_mel, log_f0, voicing = rng.normal(-5, 1, (count, 80)), np.full((count, 1), 4.8), rng.random((count, 1))
    return np.concatenate([log_mel, log_f0, voicing], axis=1).astype(np.float32)


def plausible_profile(**changes: Any) -> SpeakerProfile:
    rng = np.random.default_rng(1)
    embedding = rng.random(256)
    fields: dict[str, Any] = {
        "embedding": embedding / np.linalg.norm(embedding),
        "log_f0_median": 4.8,
        "log_f0_spread": 0.2,
        "mel_mean": rng.normal(-5, 1, 80),
        "mel_spread": rng.random(80) + 0.5,
        "formant_warp": 1.08,
    }
    return SpeakerProfile(**(fields | changes))


def same(a: SpeakerProfile, b: SpeakerProfile) -> bool:
    arrays = all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("embedding", "mel_mean", "mel_spread"))
    names = ("log_f0_median", "log_f0_spread", "formant_warp")
    return arrays and all(getattr(a, name) == pytest.approx(getattr(b, name)) for name in names)


def test_frames_there_and_back_are_the_same_bits() -> None:
    frames = plausible_frames()
    back = frames_from_wire(types_pb2.AcousticFrames.FromString(frames_to_wire(frames).SerializeToString()))
    assert np.array_equal(back, frames)
    back[0, 0] = 1.0  # writable
    assert frames_from_wire(frames_to_wire(frames[:0])).shape == (0, FRAME_CHANNELS)


@pytest.mark.parametrize(
    ("row", "column", "value"),
    [(0, 0, np.nan), (1, 3, np.inf), (0, 5, 100.0), (0, 80, 0.0), (0, 80, 9.0), (2, 81, 1.5), (2, 81, -0.1)],
)
def test_impossible_frames_are_refused(row: int, column: int, value: float) -> None:
    frames = plausible_frames()
    frames[row, column] = value
    with pytest.raises(LikenessError) as raised:
        frames_from_wire(frames_to_wire(frames), field="frames")
    assert (raised.value.reason, raised.value.field) == ("INVALID_FIELD", "frames.values")


@pytest.mark.parametrize(
    ("change", "field"),
    [({"channel_count": 80}, "f.channel_count"), ({"frame_count": 6}, "f.values"), ({"values": b"abc"}, "f.values")],
)
def test_frames_of_another_shape_are_refused(change: dict[str, Any], field: str) -> None:
    message = frames_to_wire(plausible_frames())
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(LikenessError) as raised:
        frames_from_wire(message, field="f")
    assert raised.value.field == field


@given(hnp.arrays(np.int16, st.integers(0, 200)))
def test_samples_there_and_back(samples: Any) -> None:
    data = samples.astype("<i2").tobytes()
    assert samples_to_s16(samples_from_s16(data)) == data


@given(hnp.arrays(np.float32, st.integers(0, 50), elements=st.floats(-4, 4, width=32)))
def test_samples_are_clipped_and_close(samples: FloatArray) -> None:
    back = samples_from_s16(samples_to_s16(samples))
    assert np.abs(back - np.clip(samples, -1, 1)).max(initial=0) <= 1 / 32768


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(LikenessError) as raised:
        samples_from_s16(b"abc")
    assert raised.value.field == "samples_s16"


@given(st.binary(max_size=300), st.integers(1, 70))
def test_chunks_are_bounded_and_complete(data: bytes, size: int) -> None:
    pieces = list(chunked(data, size))
    assert b"".join(pieces) == data
    assert all(0 < len(piece) <= size for piece in pieces)


def test_profile_there_and_back() -> None:
    profile = plausible_profile()
    assert same(profile_from_wire(profile_to_wire(profile)), profile)
    assert same(SpeakerProfile.from_json(profile.to_json()), profile)


def plausible_sounds() -> SpokenSounds:
    rng = np.random.default_rng(2)
    frames, shapes = rng.uniform(0, 30, 48).round(2), rng.normal(0, 2, (48, 20)).round(3)
    return SpokenSounds(frames.astype(np.float32), shapes.astype(np.float32), 1.125)


def test_sounds_there_and_back() -> None:
    profile = plausible_profile(sounds=plausible_sounds())
    for back in (profile_from_wire(profile_to_wire(profile)), SpeakerProfile.from_json(profile.to_json())):
        assert same(back, profile)
        assert back.sounds is not None and profile.sounds is not None
        np.testing.assert_allclose(back.sounds.frames, profile.sounds.frames, atol=1e-5)
        np.testing.assert_allclose(back.sounds.shapes, profile.sounds.shapes, atol=1e-5)
        assert back.sounds.formant_scale == 1.125


@pytest.mark.parametrize("with_sounds", [False, True])
def test_a_profile_as_json_has_the_fields_of_the_message(with_sounds: bool) -> None:
    """Callers of plain gRPC get it as JSON, with their grant."""
    profile = plausible_profile(sounds=plausible_sounds() if with_sounds else None)
    assert types_pb2.SpeakerProfile(**json.loads(profile.to_json())) == profile_to_wire(profile)


def test_profiles_kept_before_sounds_were_measured_can_be_read() -> None:
    fields = json.loads(plausible_profile().to_json())
    del fields["sounds"]
    assert SpeakerProfile.from_json(json.dumps(fields)).sounds is None
    assert profile_from_wire(profile_to_wire(plausible_profile())).sounds is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("classes", "others"), ("frames", [1.0]), ("frames", [-1.0] * 48), ("shapes", [99.0] * 960), ("shapes", [0.0])],
)
def test_impossible_sounds_name_the_field(name: str, value: Any) -> None:
    message = profile_to_wire(plausible_profile(sounds=plausible_sounds()))
    if isinstance(value, list):
        del getattr(message.sounds, name)[:]
        getattr(message.sounds, name).extend(value)
    else:
        setattr(message.sounds, name, value)
    with pytest.raises(LikenessError) as raised:
        profile_from_wire(message, field="speaker")
    assert raised.value.field == f"speaker.sounds.{name}"


def test_formant_warp_not_calibrated_is_one() -> None:
    message = profile_to_wire(plausible_profile())
    message.formant_warp = 0.0
    assert profile_from_wire(message).formant_warp == 1.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("log_f0_median", 0.0),
        ("log_f0_median", float("nan")),
        ("log_f0_spread", -1.0),
        ("formant_warp", 3.0),
        ("embedding", [0.1] * 255),
        ("embedding", [1.0] * 256),
        ("mel_mean", [float("inf")] * 80),
        ("mel_mean", [99.0] * 80),
        ("mel_spread", [-1.0] * 80),
        ("mel_spread", []),
    ],
)
def test_impossible_profiles_name_the_field(name: str, value: Any) -> None:
    message = profile_to_wire(plausible_profile())
    message.ClearField(name)
    message.MergeFrom(types_pb2.SpeakerProfile(**{name: value}))
    with pytest.raises(LikenessError) as raised:
        profile_from_wire(message)
    assert raised.value.field == f"speaker.{name}"


def test_profile_refuses_wrong_shapes() -> None:
    with pytest.raises(ValueError, match="mel_mean"):
        plausible_profile(mel_mean=np.zeros(79))


@pytest.mark.parametrize("text", ["{}", "[]", "null", '{"embedding": "x"}', "not json"])
def test_profile_refuses_other_json(text: str) -> None:
    with pytest.raises(ValueError):
        SpeakerProfile.from_json(text)
