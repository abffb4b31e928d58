"""Mel and pitch: the physics of sounds whose spectrum and pitch are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.audio import (
    FRAME_CHANNELS,
    HOP_SAMPLES,
    MEL_BINS,
    SAMPLE_RATE_HZ,
    FloatArray,
    acoustic_frames,
    frame_count,
    log_mel,
    track_pitch,
)
from services.common.audio.mel import LOG_FLOOR, mel_edges_hz, mel_filterbank
from tests.conftest import synthetic_vowels


def tone(hz: float, seconds: float = 1.0, amplitude: float = 0.3) -> FloatArray:
    time_s = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (amplitude * np.sin(2 * np.pi * hz * time_s)).astype(np.float32)


def harmonics(hz: float, seconds: float = 1.0) -> FloatArray:
    """A buzz: all harmonics below 4 kHz, falling by 6 dB per octave."""
    time_s = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    numbers = np.arange(1, int(4000 / hz) + 1)[:, None]
    return np.asarray(0.1 * (np.sin(2 * np.pi * hz * numbers * time_s) / numbers).sum(axis=0), np.float32)


@given(st.integers(1, 100_000))
def test_frames_and_samples_belong_together(sample_count: int) -> None:
    frames = frame_count(sample_count)
    assert (frames - 1) * HOP_SAMPLES < sample_count <= frames * HOP_SAMPLES


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5000))
def test_shapes_and_finiteness(sample_count: int) -> None:
    samples = np.random.default_rng(sample_count).normal(0, 0.1, sample_count).astype(np.float32)
    frames = acoustic_frames(samples)
    assert frames.shape == (frame_count(sample_count), FRAME_CHANNELS)
    assert np.isfinite(frames).all()
    assert ((frames[:, -1] >= 0) & (frames[:, -1] <= 1)).all()


@pytest.mark.parametrize("hz", [200, 500, 1000, 3000, 6000])
def test_tone_lights_the_band_it_lies_in(hz: float) -> None:
    band = int(log_mel(tone(hz))[20:60].mean(axis=0).argmax())
    edges = mel_edges_hz()
    assert edges[band] <= hz <= edges[band + 2]


def test_amplitude_adds_its_logarithm() -> None:
    loud, quiet = log_mel(tone(1000, amplitude=0.4)), log_mel(tone(1000, amplitude=0.1))
    band = int(loud[40].argmax())
    assert loud[20:60, band] - quiet[20:60, band] == pytest.approx(np.full(40, np.log(4)), abs=1e-3)


def test_silence_is_the_floor() -> None:
    assert np.allclose(log_mel(np.zeros(1000, np.float32)), np.log(LOG_FLOOR))


def test_filters_overlap_by_half_and_have_unit_area() -> None:
    bank = mel_filterbank()
    assert bank.shape == (MEL_BINS, 401)
    assert bank[40:].sum(axis=1) * 20.0 == pytest.approx(np.ones(40), rel=0.05)


def test_frames_do_not_depend_on_what_is_far_away() -> None:
    """Streaming gives the same mel: a frame reaches 25 ms, no further."""
    samples = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)
    whole, first = log_mel(samples), log_mel(samples[:4000])
    assert np.array_equal(whole[:18], first[:18])


@pytest.mark.parametrize("bad", [np.zeros(0, np.float32), np.zeros((2, 5), np.float32), np.full(9, np.nan, np.float32)])
def test_what_is_no_signal_is_refused(bad: FloatArray) -> None:
    with pytest.raises(ValueError):
        log_mel(bad)


@pytest.mark.parametrize("hz", [75.0, 110.0, 180.0, 260.0, 400.0])
def test_pitch_of_a_buzz(hz: float) -> None:
    log_f0, voicing = track_pitch(harmonics(hz))
    assert np.exp(log_f0[8:-8]) == pytest.approx(np.full(64, hz), rel=0.02)
    assert (voicing[8:-8] >= 0.5).all()


def test_pitch_follows_a_glide() -> None:
    time_s = np.arange(2 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    hz = 100 * 2 ** (time_s / 2)  # an octave in two seconds
    phase = 2 * np.pi * np.cumsum(hz) / SAMPLE_RATE_HZ
    samples = np.asarray(0.1 * sum(np.sin(k * phase) / k for k in range(1, 15)), np.float32)
    log_f0, voicing = track_pitch(samples)
    truth = np.log(hz[HOP_SAMPLES // 2 :: HOP_SAMPLES])
    assert np.abs(log_f0 - truth)[8:-8].max() < 0.04
    assert (voicing[8:-8] >= 0.5).mean() > 0.98


def test_noise_and_silence_are_unvoiced() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE_HZ).astype(np.float32)
    assert (track_pitch(noise)[1] >= 0.5).mean() < 0.05
    log_f0, voicing = track_pitch(np.zeros(SAMPLE_RATE_HZ, np.float32))
    assert (voicing < 0.5).all()
    assert np.isfinite(log_f0).all()


def test_pitch_bridges_pauses() -> None:
    """Unvoiced frames carry an interpolated pitch, never a hole."""
    samples = np.concatenate([harmonics(100, 0.5), np.zeros(4000, np.float32), harmonics(200, 0.5)])
    log_f0, voicing = track_pitch(samples)
    pause = slice(43, 57)
    assert (voicing[pause] < 0.5).all()
    assert (np.diff(log_f0[pause]) > 0).all()
    assert log_f0[pause].min() > np.log(95)
    assert log_f0[pause].max() < np.log(210)


@pytest.mark.parametrize("f0_hz", [90.0, 150.0, 250.0])
def test_pitch_of_vowels_in_noise(f0_hz: float) -> None:
    log_f0, voicing = track_pitch(synthetic_vowels(3.0, f0_hz=f0_hz, noise_db=-40))
    voiced = voicing >= 0.5
    assert 0.6 < voiced.mean() < 0.9  # a fifth is pauses
    assert np.mean(np.abs(log_f0[voiced] - np.log(f0_hz)) < 0.15) > 0.95
