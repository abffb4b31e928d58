"""The filter bank reconstructs; noise and Fourier transform are what they claim."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.vocoder.fourier import fft_in_place, twiddles
from services.vocoder.noise import gaussian, hash_position
from services.vocoder.pqmf import BANDS, SynthesisBank, analyse, synthesise


@pytest.mark.parametrize("kind", ["noise", "impulse", "chirp"])
def test_bands_add_up_to_the_signal_within_60_db(kind: str) -> None:
    count = 16_000
    if kind == "noise":
        samples = np.random.default_rng(0).standard_normal(count)
    elif kind == "impulse":
        samples = np.zeros(count)
        samples[7001] = 1.0
    else:
        time_s = np.arange(count) / 16_000
        samples = np.sin(2 * np.pi * (50 * time_s + 3900 * time_s**2))
    samples = samples.astype(np.float32)
    error = (synthesise(analyse(samples)) - samples)[200:-200]
    assert 10 * np.log10(np.mean(samples[200:-200] ** 2) / np.mean(error**2)) > 60


@pytest.mark.parametrize("band", range(BANDS))
def test_a_tone_lands_in_its_band(band: int) -> None:
    frequency_hz = 1000 + 2000 * band
    tone = np.cos(2 * np.pi * frequency_hz * np.arange(8000) / 16_000).astype(np.float32)
    power = (analyse(tone)[100:-100] ** 2).mean(axis=0)
    assert power[band] > 1e4 * np.delete(power, band).max()


def test_step_t_stands_for_sample_4t() -> None:
    samples = np.zeros(800, np.float32)
    samples[400] = 1.0
    energy = (analyse(samples) ** 2).sum(axis=1)
    centre = float((energy * np.arange(200)).sum() / energy.sum())
    assert centre == pytest.approx(100, abs=0.1)


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 60), max_size=6), count=st.integers(0, 60))
def test_streamed_synthesis_is_the_same(cuts: list[int], count: int) -> None:
    bands = np.random.default_rng(count).standard_normal((count, BANDS)).astype(np.float32)
    bank = SynthesisBank()
    edges = [0, *sorted(min(cut, count) for cut in cuts), count]
    parts = [bank.push(bands[a:b]) for a, b in zip(edges, edges[1:], strict=False)]
    joined = np.concatenate([*parts, bank.finish()])
    assert joined.size == count * BANDS
    np.testing.assert_array_equal(joined, synthesise(bands))


@settings(max_examples=10, deadline=None)
@given(exponent=st.integers(1, 10), seed=st.integers(0, 1000))
def test_the_fft_is_numpys(exponent: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    values = random.standard_normal(2**exponent) + 1j * random.standard_normal(2**exponent)
    expected = np.fft.fft(values)
    fft_in_place(values, twiddles(2**exponent))
    np.testing.assert_allclose(values, expected, atol=1e-9)


@numba.njit
def _noise(seed: np.uint64, count: int) -> np.ndarray:
    values = np.empty(count)
    for i in range(count):
        values[i] = gaussian(hash_position(seed, np.uint64(i)))
    return values


def test_the_noise_is_white_and_normal_enough() -> None:
    noise = _noise(np.uint64(9), 20_000)
    assert noise.mean() == pytest.approx(0, abs=0.03)
    assert noise.var() == pytest.approx(1, abs=0.04)
    assert (noise**4).mean() == pytest.approx(2.7, abs=0.2)  # of a sum of four uniform numbers; the normal has 3
    correlation = [float(np.mean(noise[lag:] * noise[:-lag])) for lag in range(1, 20)]
    assert np.abs(correlation).max() < 0.04
    assert abs(float(np.mean(noise * _noise(np.uint64(10), 20_000)))) < 0.03
