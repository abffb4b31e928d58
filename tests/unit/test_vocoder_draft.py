"""The source-filter engine's physics: loudness, pitch, voicing; its streams and its noise."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.common.audio import FRAME_CHANNELS, HOP_SAMPLES, SAMPLE_RATE_HZ, acoustic_frames, log_mel, track_pitch
from services.common.audio.mel import LOG_FLOOR
from services.vocoder import DraftEngine, DraftTuning
from services.vocoder.envelope import ENVELOPE_FFT, ENVELOPE_STEP_HZ, envelope_tables
from tests.conftest import synthetic_vowels

ENGINE = DraftEngine()


def steady(count: int, f0_hz: float, voicing: float, tilt: float = -4.0, level: float = -2.0) -> np.ndarray:
    """The same frame over and over: a smooth spectrum that falls by `tilt` nats over the bands."""
    frames = np.empty((count, FRAME_CHANNELS), np.float32)
    frames[:, :80] = level + np.linspace(0, tilt, 80)
    frames[:, 80] = np.log(f0_hz)
    frames[:, 81] = voicing
    return frames


def harmonic_frames(f0_hz: float, count: int = 80) -> np.ndarray:
    """Frames of a sum of harmonics with 1 / k amplitudes and phases all over the place, shape (count, 82)."""
    turn = 2 * np.pi * f0_hz * np.arange(count * HOP_SAMPLES) / SAMPLE_RATE_HZ
    harmonics = range(1, int(7000 / f0_hz) + 1)
    samples = np.sum([0.2 / k * np.cos(k * turn + k * k) for k in harmonics], axis=0).astype(np.float32)
    frames = np.empty((count, FRAME_CHANNELS), np.float32)
    frames[:, :80] = log_mel(samples)
    frames[:, 80] = np.log(f0_hz)
    frames[:, 81] = 0.97
    return frames


@pytest.mark.parametrize("f0_hz", [70.0, 110.0, 180.0, 250.0, 400.0])
def test_the_mel_of_the_output_is_the_mel_asked_for_at_any_pitch(f0_hz: float) -> None:
    """The comb of harmonics, resolved by the lower bands and not by the upper ones, must not bias loudness."""
    frames = harmonic_frames(f0_hz)
    found = log_mel(ENGINE.synthesize(frames))[5:-5]
    asked = frames[5:-5, :80]
    loud = asked > -6
    error = (found - asked)[loud]
    assert abs(float(error.mean())) < 0.05  # 0.4 dB
    assert float(np.abs(error).mean()) < 0.12


def test_noise_does_not_fill_the_valleys_between_harmonics() -> None:
    """Where the mel resolves harmonics, it shows how clean they are, and the noise keeps to that."""
    frames = harmonic_frames(250.0)
    frames[:, 81] = 0.8
    following = log_mel(ENGINE.synthesize(frames))[10:-10, :40].mean(axis=0)
    ignoring = log_mel(DraftEngine(DraftTuning(follow_valleys=False)).synthesize(frames))[10:-10, :40].mean(axis=0)
    asked = frames[10, :40]
    valleys = asked < -6
    assert (following - asked)[valleys].mean() < 0.6 * (ignoring - asked)[valleys].mean()


def test_unvoiced_sound_has_the_mel_asked_for() -> None:
    """The mean over frames of a logarithm lies a little below the logarithm of the mean, most in narrow bands."""
    frames = steady(300, 120.0, 0.1)
    error = log_mel(ENGINE.synthesize(frames))[10:-10].mean(axis=0) - frames[0, :80]
    assert float(np.abs(error).max()) < 0.35
    assert abs(float(error[40:].mean())) < 0.1


def test_a_recording_like_signal_comes_back_with_its_loudness_and_mel() -> None:
    samples = synthetic_vowels(3.0)
    frames = acoustic_frames(samples)
    copy = ENGINE.synthesize(frames, seed=3)
    loud = frames[:, :80] > -5
    error = (log_mel(copy) - frames[:, :80])[loud]
    assert float(np.abs(error).mean()) < 0.5
    assert copy.std() == pytest.approx(samples.std(), rel=0.15)


@pytest.mark.parametrize("f0_hz", [80.0, 133.0, 220.0, 320.0])
def test_pitch_is_the_pitch_asked_for(f0_hz: float) -> None:
    samples = ENGINE.synthesize(steady(80, f0_hz, 0.95))
    log_f0, voicing = track_pitch(samples)
    inner = slice(10, -10)
    assert (voicing[inner] >= 0.5).all()
    cents = 1200 * np.abs(log_f0[inner] - np.log(f0_hz)) / np.log(2)
    assert float(np.median(cents)) < 10


def test_unvoiced_frames_make_no_harmonics() -> None:
    samples = ENGINE.synthesize(steady(160, 200.0, 0.2))
    spectrum = np.abs(np.fft.rfft(samples[: 160 * 200].reshape(-1, 1600) * np.hanning(1600), axis=1)).mean(axis=0)
    harmonic, between = spectrum[100:600:20], spectrum[110:610:20]  # bins of 10 Hz
    assert harmonic.mean() / between.mean() == pytest.approx(1.0, abs=0.15)
    voiced = ENGINE.synthesize(steady(160, 200.0, 0.99))
    spectrum = np.abs(np.fft.rfft(voiced.reshape(-1, 1600) * np.hanning(1600), axis=1)).mean(axis=0)
    assert spectrum[100:600:20].mean() / spectrum[110:610:20].mean() > 10


def test_noise_grows_with_frequency_and_with_falling_voicing() -> None:
    def noisiness(voicing: float, low_hz: int, high_hz: int) -> float:
        frames = steady(160, 200.0, voicing, tilt=0.0)
        spectrum = np.abs(np.fft.rfft(ENGINE.synthesize(frames).reshape(-1, 1600) * np.hanning(1600), axis=1))
        power = (spectrum**2).mean(axis=0)
        bins = np.arange(low_hz // 10, high_hz // 10)
        distance = np.abs((bins + 10) % 20 - 10)
        return float(power[bins[distance > 5]].mean() / power[bins[distance < 2]].mean())

    assert noisiness(0.8, 5000, 7000) > 2 * noisiness(0.8, 400, 1500)
    assert noisiness(0.65, 3000, 5000) > 2 * noisiness(0.95, 3000, 5000)


def test_silence_stays_silent() -> None:
    frames = steady(40, 120.0, 0.1, tilt=0.0, level=float(np.log(LOG_FLOOR)))
    assert float(np.abs(ENGINE.synthesize(frames)).max()) < 1e-4
    frames[:, 81] = 0.95
    assert float(np.abs(ENGINE.synthesize(frames)).max()) < 1e-4


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cuts=st.lists(st.integers(0, 30), max_size=8), count=st.integers(1, 30), seed=st.integers(0, 2**64 - 1))
def test_chunks_join_to_the_same_samples(cuts: list[int], count: int, seed: int) -> None:
    random = np.random.default_rng(count)
    frames = steady(count, 150.0, 0.8)
    frames[:, :80] += random.normal(0, 0.5, (count, 80))
    frames[:, 80] += random.normal(0, 0.1, count)
    frames[:, 81] = random.uniform(0, 1, count)
    whole = ENGINE.synthesize(frames, seed)
    assert whole.shape == (count * HOP_SAMPLES,)
    assert whole.dtype == np.float32
    stream = ENGINE.stream(seed=seed)
    edges = [0, *sorted(min(cut, count) for cut in cuts), count]
    parts = [stream.push(frames[a:b]) for a, b in zip(edges, edges[1:], strict=False)]
    np.testing.assert_array_equal(np.concatenate([*parts, stream.finish()]), whole)


def test_samples_are_certain_half_a_frame_behind_the_frames() -> None:
    stream = ENGINE.stream(seed=0)
    assert stream.push(steady(0, 100, 0.9)).size == 0
    assert stream.push(steady(1, 100, 0.9)).size == 100
    assert stream.push(steady(2, 100, 0.9)).size == 400
    assert stream.finish().size == 100
    assert stream.finish().size == 0
    assert ENGINE.stream(seed=0).finish().size == 0


def test_the_seed_decides_the_noise() -> None:
    frames = steady(20, 100, 0.2)
    np.testing.assert_array_equal(ENGINE.synthesize(frames, 1), ENGINE.synthesize(frames, 1))
    one, other = ENGINE.synthesize(frames, 1), ENGINE.synthesize(frames, 2)
    assert abs(float(np.corrcoef(one, other)[0, 1])) < 0.1


@settings(max_examples=25, deadline=None)
@given(
    mel=st.floats(-25, 15),
    f0_hz=st.floats(20, 2000),
    voicing=st.floats(0, 1),
    jump=st.floats(-25, 15),
)
def test_every_frame_that_is_admitted_makes_finite_sound(mel: float, f0_hz: float, voicing: float, jump: float) -> None:
    frames = steady(4, f0_hz, voicing, tilt=0.0, level=mel)
    frames[2, ::2] = np.float32(min(max(jump, np.log(20)), np.log(2000)))
    frames[2, 81] = voicing
    assert np.isfinite(ENGINE.synthesize(frames)).all()


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="82"):
        ENGINE.synthesize(np.zeros((3, 80), np.float32))


def test_phase_nudges_turn_the_fundamental() -> None:
    frames = steady(40, 160.0, 1.0)
    engine = DraftEngine(DraftTuning(noise_slope=0.0, missing_base=0.0, missing_slope=0.0))
    stream = engine.stream(seed=0)
    nudges = np.zeros(40, np.float32)
    nudges[10] = np.pi
    turned = np.concatenate([stream.push(frames, nudges), stream.finish()])
    plain = engine.synthesize(frames)
    np.testing.assert_allclose(turned[:1900], plain[:1900], atol=1e-6)
    wave = np.exp(-2j * np.pi * 160 * np.arange(4000) / SAMPLE_RATE_HZ)
    change = np.angle(np.vdot(wave, turned[3000:7000]) / np.vdot(wave, plain[3000:7000]))
    assert abs(change) == pytest.approx(np.pi, abs=0.05)


def test_the_envelope_is_minimum_phase() -> None:
    """Its impulse response is causal: energy before time zero is next to nothing."""
    tables = envelope_tables()
    mel = np.sin(np.arange(80) / 7) * 2 - np.linspace(0, 4, 80)
    centred = mel - tables.offset
    magnitude = np.exp((1 - tables.weight) * centred[tables.left] + tables.weight * centred[tables.left + 1])
    response = np.fft.irfft(magnitude * np.exp(1j * (tables.phase @ centred)))
    energy = response**2
    assert energy[ENVELOPE_FFT // 2 :].sum() < 0.01 * energy.sum()
    assert energy[: ENVELOPE_FFT // 8].sum() > 0.95 * energy.sum()


def test_the_mels_answer_to_a_sinusoid_is_what_the_mel_says() -> None:
    tables = envelope_tables()
    frequency_hz = 1235.0
    n = np.arange(SAMPLE_RATE_HZ)
    sinusoid = 0.3 * np.cos(2 * np.pi * frequency_hz * n / SAMPLE_RATE_HZ).astype(np.float32)
    measured = np.exp(log_mel(sinusoid.astype(np.float32))[40])
    expected = 0.3 * tables.response[int(frequency_hz / 5)]
    loud = expected > 0.01 * expected.max()
    np.testing.assert_allclose(measured[loud], expected[loud], rtol=0.02)
    assert pytest.approx(31.25) == ENVELOPE_STEP_HZ


def test_it_is_faster_than_real_time_by_far() -> None:
    frames = np.tile(acoustic_frames(synthetic_vowels(2.0)), (4, 1))
    ENGINE.synthesize(frames[:10])
    began_s = time.process_time()  # of this process alone: the machine may be busy
    ENGINE.synthesize(frames)
    assert (time.process_time() - began_s) / (len(frames) / 80) < 0.03
