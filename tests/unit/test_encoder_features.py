"""The GE2E network's own features, against physics and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import ShortTimeFFT, get_window

from services.common.audio import SAMPLE_RATE_HZ, FloatArray
from services.encoder import features
from services.encoder.features import (
    MEL_BANDS,
    STEP_SAMPLES,
    WINDOW_FRAMES,
    WINDOW_SAMPLES,
    mel_power,
    mel_windows,
    raise_level,
    window_starts,
)


def tone(hz: float, seconds: float = 1.0, amplitude: float = 0.5) -> FloatArray:
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ)).astype(
        np.float32
    )


def test_spectrum_equals_scipys() -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)
    transform = ShortTimeFFT(get_window("hann", 400), STEP_SAMPLES, SAMPLE_RATE_HZ, fft_mode="onesided")
    # SciPy numbers frames by the centre of the window as well; outside of the signal there is silence for both.
    expected = features.filterbank() @ (np.abs(transform.stft(samples, p0=0, p1=51)) ** 2)
    assert mel_power(samples) == pytest.approx(expected.T, rel=1e-3, abs=1e-6)


def test_filters_have_unit_area_and_cover_all_bands() -> None:
    bank = features.filterbank()
    assert bank.shape == (MEL_BANDS, 201)
    assert (bank >= 0).all()
    assert (bank.max(axis=1) > 0).all()
    assert bank[20:].sum(axis=1) * 40.0 == pytest.approx(np.ones(20), rel=0.05)  # bins are 40 Hz apart


def test_higher_tones_peak_in_higher_bands() -> None:
    peaks = [int(mel_power(tone(hz))[20:80].mean(axis=0).argmax()) for hz in (150, 400, 1000, 2000, 4000, 7000)]
    assert peaks == sorted(set(peaks))


def test_power_goes_with_the_square_of_the_amplitude() -> None:
    quiet, loud = mel_power(tone(500, amplitude=0.1)), mel_power(tone(500, amplitude=0.2))
    assert loud == pytest.approx(4 * quiet, rel=1e-3)


def test_quiet_is_raised_to_minus_thirty_and_loud_is_left() -> None:
    quiet = tone(300, amplitude=0.001)
    assert 20 * np.log10(np.sqrt(np.mean(raise_level(quiet) ** 2))) == pytest.approx(-30.0, abs=0.01)
    assert np.array_equal(raise_level(tone(300)), tone(300))
    assert not raise_level(np.zeros(100, np.float32)).any()


@given(st.integers(1, 60 * SAMPLE_RATE_HZ))
def test_windows_cover_the_recording(sample_count: int) -> None:
    starts = window_starts(sample_count)
    assert starts[0] == 0
    assert set(np.diff(starts)) <= {77}
    uncovered = sample_count - (starts[-1] * STEP_SAMPLES + WINDOW_SAMPLES)
    assert uncovered < 0.75 * WINDOW_SAMPLES  # what is left is too little for a window of its own
    assert len(starts) == 1 or (sample_count - starts[-1] * STEP_SAMPLES) >= 0.75 * WINDOW_SAMPLES


@pytest.mark.parametrize("seconds", [0.3, 1.6, 2.0, 7.3])
def test_window_shapes(seconds: float) -> None:
    samples = tone(200, seconds)
    windows = mel_windows(samples)
    assert windows.shape == (len(window_starts(samples.size)), WINDOW_FRAMES, MEL_BANDS)
    assert windows.dtype == np.float32
