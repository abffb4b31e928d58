"""Speaker statistics and speech activity, on sounds whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from services.common.audio import FRAMES_PER_SECOND, SAMPLE_RATE_HZ, FloatArray, acoustic_frames
from services.common.errors import LikenessError
from services.common.profile import speaker_statistics
from services.common.speech_activity import dilate, erode, speech_frames
from tests.conftest import synthetic_vowels


def noise(seconds: float, level_db: float, seed: int = 0) -> FloatArray:
    rng = np.random.default_rng(seed)
    return (10 ** (level_db / 20) * rng.standard_normal(round(seconds * SAMPLE_RATE_HZ))).astype(np.float32)


@pytest.mark.parametrize("f0_hz", [90.0, 130.0, 220.0])
def test_pitch_is_that_of_the_speaker(f0_hz: float) -> None:
    statistics = speaker_statistics(synthetic_vowels(4.0, f0_hz=f0_hz))
    assert np.exp(statistics.log_f0_median) == pytest.approx(f0_hz, rel=0.06)
    assert 0.02 < statistics.log_f0_spread < 0.15  # the glide is a tenth to either side


def test_samples_and_frames_give_the_same() -> None:
    samples = synthetic_vowels(2.0)
    a, b = speaker_statistics(samples), speaker_statistics(acoustic_frames(samples))
    assert a.log_f0_median == b.log_f0_median
    assert np.array_equal(a.mel_mean, b.mel_mean)
    assert np.array_equal(a.mel_spread, b.mel_spread)


def test_gain_moves_the_mean_by_its_logarithm_and_nothing_else() -> None:
    samples = synthetic_vowels(3.0, noise_db=-90.0)
    loud, quiet = speaker_statistics(samples), speaker_statistics(samples * np.float32(0.5))
    assert loud.mel_mean[:40] - quiet.mel_mean[:40] == pytest.approx(np.log(2) * np.ones(40), abs=0.05)
    assert loud.log_f0_median == pytest.approx(quiet.log_f0_median, abs=0.01)


def test_silence_around_speech_changes_nothing_much() -> None:
    samples = synthetic_vowels(3.0)
    padded = np.concatenate([noise(1.0, -60), samples, noise(2.0, -60)])
    a, b = speaker_statistics(samples), speaker_statistics(padded)
    assert np.abs(a.mel_mean - b.mel_mean).mean() < 0.15
    assert a.log_f0_median == pytest.approx(b.log_f0_median, abs=0.02)


def test_a_click_changes_nothing_much() -> None:
    samples = synthetic_vowels(3.0)
    clicked = samples.copy()
    clicked[20_000:20_020] = 1.0
    a, b = speaker_statistics(samples), speaker_statistics(clicked)
    assert np.abs(a.mel_mean - b.mel_mean).max() < 0.2
    assert np.abs(a.mel_spread - b.mel_spread).max() < 0.2


@pytest.mark.parametrize("recording", [np.zeros(32_000, np.float32), noise(2.0, -20), noise(2.0, -70)])
def test_no_speech_is_refused(recording: FloatArray) -> None:
    with pytest.raises(LikenessError) as raised:
        speaker_statistics(recording)
    assert raised.value.reason == "SPEECH_TOO_SHORT"


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="82"):
        speaker_statistics(np.zeros((10, 80), np.float32))


def test_speech_is_found_where_it_is() -> None:
    """One second of noise, two of vowels, one of noise."""
    samples = np.concatenate([noise(1.0, -55, 1), synthetic_vowels(2.0, noise_db=-55), noise(1.0, -55, 2)])
    mask = speech_frames(acoustic_frames(samples))
    second = round(FRAMES_PER_SECOND)
    assert mask[: second - 4].mean() < 0.02
    assert mask[second : 3 * second].mean() > 0.7
    assert mask[3 * second + 4 :].mean() < 0.02


def test_gain_does_not_move_speech() -> None:
    samples = synthetic_vowels(2.0, noise_db=-70)
    loud, quiet = (speech_frames(acoustic_frames(samples * np.float32(gain))) for gain in (1.0, 0.1))
    assert np.mean(loud != quiet) < 0.05


def test_dilate_and_erode() -> None:
    mask = np.array([0, 0, 0, 1, 0, 0, 0], bool)
    assert dilate(mask, 2).tolist() == [False, True, True, True, True, True, False]
    assert erode(dilate(mask, 2), 2).tolist() == mask.tolist()
    assert erode(np.ones(5, bool), 2).all()  # the ends do not count as silence
    assert dilate(mask, 0).tolist() == mask.tolist()
