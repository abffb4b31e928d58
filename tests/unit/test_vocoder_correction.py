"""The correction: what it mends, what it leaves, and that chunks cannot be heard."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.audio import HOP_SAMPLES, SAMPLE_RATE_HZ, acoustic_frames, log_mel
from services.vocoder import DraftEngine, Engine
from services.vocoder.correction import MOST, MelCorrection
from tests.conftest import synthetic_vowels

SOUND = synthetic_vowels(1.5, seed=3)[: 110 * HOP_SAMPLES]
FRAMES = acoustic_frames(SOUND)


def corrected(samples: np.ndarray, frames: np.ndarray) -> np.ndarray:
    correction = MelCorrection()
    return np.concatenate([correction.push(samples, frames), correction.finish()])


def test_sound_that_is_right_stays_as_it_is() -> None:
    np.testing.assert_allclose(corrected(SOUND, FRAMES), SOUND, atol=1e-5)


@pytest.mark.parametrize("nats", [0.5, -0.7])
def test_what_is_too_quiet_or_loud_is_mended(nats: float) -> None:
    wanted = FRAMES.copy()
    wanted[:, :80] += np.float32(nats)
    found = corrected(SOUND, wanted)
    np.testing.assert_allclose(found, SOUND * np.exp(nats), atol=0.01 * np.abs(SOUND).max())


def test_a_tilted_spectrum_comes_nearer_to_what_was_asked_for() -> None:
    bent = np.convolve(SOUND, [1.0, -0.6])[: SOUND.size].astype(np.float32)
    loud = FRAMES[:, :80] > FRAMES[:, :80].max() - 5

    def error(samples: np.ndarray) -> float:
        return float(np.abs(log_mel(samples) - FRAMES[:, :80])[loud].mean())

    assert error(corrected(bent, FRAMES)) < 0.3 * error(bent)


def test_a_smoothed_correction_mends_the_tilt_and_leaves_single_bands() -> None:
    one_band = FRAMES.copy()
    one_band[:, 20] += 0.8
    correction = MelCorrection(4.0)
    found = np.concatenate([correction.push(SOUND, one_band), correction.finish()])
    plain = corrected(SOUND, one_band)
    assert (
        np.abs(log_mel(found) - FRAMES[:, :80])[:, 20].mean()
        < 0.3 * np.abs(log_mel(plain) - FRAMES[:, :80])[:, 20].mean()
    )


def test_no_correction_goes_beyond_its_limit() -> None:
    wanted = FRAMES.copy()
    wanted[:, :80] += 5
    np.testing.assert_allclose(corrected(SOUND, wanted), SOUND * np.exp(MOST), atol=0.01 * np.abs(SOUND).max() * 3)
    assert np.isfinite(corrected(np.zeros_like(SOUND), wanted)).all()


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 20), max_size=6), ahead=st.integers(0, 3))
def test_chunks_join_to_the_same_samples(cuts: list[int], ahead: int) -> None:
    """Also when the samples come later than their frames, as those of engines do."""
    samples, frames = SOUND[: 20 * HOP_SAMPLES], FRAMES[:20]
    wanted = frames + np.linspace(-1, 1, 82, dtype=np.float32)
    whole = corrected(samples, wanted)
    assert whole.shape == samples.shape
    correction = MelCorrection()
    edges = [0, *sorted(cuts), 20]
    parts, given_samples = [], 0
    for begin, end in zip(edges, edges[1:], strict=False):
        until = max(end - ahead, 0) * HOP_SAMPLES
        until = max(until, given_samples)
        parts.append(correction.push(samples[given_samples:until], wanted[begin:end]))
        given_samples = until
    parts += [correction.push(samples[given_samples:], wanted[:0]), correction.finish()]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_a_long_stream_keeps_little() -> None:
    correction = MelCorrection()
    for t in range(110):
        correction.push(SOUND[t * HOP_SAMPLES : (t + 1) * HOP_SAMPLES], FRAMES[t : t + 1])
    assert correction._samples.size < 2000
    assert len(correction._targets) < 5


def test_nothing_in_is_nothing_out() -> None:
    assert MelCorrection().finish().size == 0


def test_the_served_engine_measures_as_its_frames_say() -> None:
    plain = DraftEngine().synthesize(FRAMES, 1)
    served = Engine(DraftEngine()).synthesize(FRAMES, 1)
    assert served.shape == plain.shape == (110 * SAMPLE_RATE_HZ // 80,)
    errors = [float(np.abs(log_mel(samples) - FRAMES[:, :80]).mean()) for samples in (plain, served)]
    assert errors[1] < 0.9 * errors[0]
