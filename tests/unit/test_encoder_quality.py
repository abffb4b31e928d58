"""What the encoder says about a reference, where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from services.common.audio import SAMPLE_RATE_HZ, FloatArray, acoustic_frames
from services.encoder.quality import ONE_SPEAKER_CONSISTENCY, assess, snr_db, speaker_consistency
from services.encoder.voice_activity import find_speech
from tests.conftest import synthetic_vowels


def around(direction: FloatArray, count: int, spread: float, seed: int) -> FloatArray:
    """Unit vectors (count, 256) around a direction."""
    rng = np.random.default_rng(seed)
    vectors = direction + spread * rng.standard_normal((count, 256)) / 16
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def unit(seed: int) -> FloatArray:
    vector = np.random.default_rng(seed).random(256)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


A, B = unit(1), unit(2)


def speech_mask_of(samples: FloatArray) -> NDArray[np.bool_]:
    return find_speech(samples, acoustic_frames(samples)).mask


@pytest.mark.parametrize("true_snr_db", [10.0, 20.0, 30.0, 40.0])
def test_snr_is_the_snr(true_snr_db: float) -> None:
    clean = synthetic_vowels(6.0, noise_db=-96.0)
    mask = speech_mask_of(clean)
    speech_power = np.mean(clean[np.repeat(mask, 200)[: clean.size]] ** 2)
    level = np.sqrt(speech_power / 10 ** (true_snr_db / 10))
    noisy = clean + (level * np.random.default_rng(0).standard_normal(clean.size)).astype(np.float32)
    assert snr_db(noisy, mask) == pytest.approx(true_snr_db, abs=1.5)


def test_snr_of_digital_silence_is_bounded() -> None:
    silence = np.zeros(SAMPLE_RATE_HZ, np.float32)
    assert snr_db(silence, np.zeros(80, bool)) == 0.0
    loud = np.concatenate([silence, synthetic_vowels(1.0, noise_db=-120)])
    assert 60 < snr_db(loud, np.arange(160) >= 80) <= 80


def test_one_direction_is_consistent() -> None:
    assert speaker_consistency(around(A, 20, 0.3, 0)) > 0.95


@pytest.mark.parametrize("order", ["one after the other", "in turns"])
def test_two_directions_are_found_in_any_order(order: str) -> None:
    windows = np.concatenate([around(A, 8, 0.3, 0), around(B, 8, 0.3, 1)])
    if order == "in turns":
        windows = windows[[0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15]]
    assert speaker_consistency(windows) == pytest.approx(float(A @ B), abs=0.05)


def test_one_odd_window_is_no_second_speaker() -> None:
    windows = np.concatenate([around(A, 12, 0.2, 0), around(B, 1, 0.2, 1)])
    assert speaker_consistency(windows) > float(A @ B) + 0.05


def test_too_few_windows_say_nothing() -> None:
    assert speaker_consistency(around(A, 3, 0.3, 0)) == 1.0


def test_good_recording_gets_no_advice() -> None:
    samples = synthetic_vowels(10.0, noise_db=-60)
    activity = find_speech(samples, acoustic_frames(samples))
    quality = assess(samples, activity, around(A, 10, 0.2, 0))
    assert quality.advice == []
    assert quality.total_s == pytest.approx(10.0)
    assert 5.0 < quality.speech_s < 9.5
    assert quality.snr_db > 30
    assert not quality.multiple_speakers


def test_each_fault_gets_its_advice() -> None:
    samples = np.clip(4 * synthetic_vowels(3.0, noise_db=-35), -1, 1)
    activity = find_speech(samples, acoustic_frames(samples))
    quality = assess(samples, activity, np.concatenate([around(A, 5, 0.2, 0), around(B, 5, 0.2, 1)]))
    assert quality.clipped_share > 0.001
    assert quality.multiple_speakers
    assert quality.speaker_consistency < ONE_SPEAKER_CONSISTENCY
    text = " ".join(quality.advice)
    for word in ("more speech", "quieter", "level down", "one person"):
        assert word in text


def test_pauses_are_cut_and_gaps_in_words_are_not() -> None:
    pause = np.zeros(SAMPLE_RATE_HZ, np.float32)
    gap = np.zeros(SAMPLE_RATE_HZ // 10, np.float32)
    word = synthetic_vowels(0.9, noise_db=-80)
    samples = np.concatenate([pause, word, gap, word, pause])
    activity = find_speech(samples, acoustic_frames(samples))
    assert activity.speech_s == pytest.approx(1.9, abs=0.25)
    assert activity.trimmed.size / SAMPLE_RATE_HZ == pytest.approx(2.0, abs=0.25)
    assert activity.mask[80:230].mean() > 0.9
