"""The speaker-normalised space: its inverse, its silence, its formants."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.audio import FRAME_CHANNELS, MEL_BINS, FloatArray
from services.common.audio.mel import LOG_FLOOR, mel_edges_hz
from services.common.profile import SpeakerProfile
from services.common.sounds import SHAPE_SIZE, SOUND_COUNT, SpokenSounds, shape_basis, sound_classes
from services.common.speaker_space import LOG_F0, VOICING, normalise, warp_matrix
from services.synthesizer.space import (
    HEADROOM,
    LEVEL_CEILING,
    VoiceSpace,
    frame_level,
    limit,
    loudness,
)

EVEN = np.ones(FRAME_CHANNELS, np.float32)


def make_profile(seed: int = 0, log_f0_median: float = 5.0) -> SpeakerProfile:
    rng = np.random.default_rng(seed)
    embedding = rng.standard_normal(256).astype(np.float32)
    return SpeakerProfile(
        embedding=embedding / np.linalg.norm(embedding),
        log_f0_median=log_f0_median,
        log_f0_spread=0.12,
        mel_mean=(-4.0 - 0.02 * np.arange(MEL_BINS) + 0.3 * rng.standard_normal(MEL_BINS)).astype(np.float32),
        mel_spread=rng.uniform(1.0, 1.4, MEL_BINS).astype(np.float32),
    )


def speech_like(profile: SpeakerProfile, count: int = 200, seed: int = 1) -> FloatArray:
    rng = np.random.default_rng(seed)
    frames = np.zeros((count, FRAME_CHANNELS), np.float32)
    frames[:, :MEL_BINS] = profile.mel_mean + 0.7 * profile.mel_spread * rng.standard_normal((count, MEL_BINS))
    frames[:, LOG_F0] = profile.log_f0_median + profile.log_f0_spread * rng.standard_normal(count).clip(-2, 2)
    frames[:, VOICING] = rng.uniform(0, 1, count)
    return frames


def test_a_voice_given_back_to_its_own_speaker_is_unchanged_but_for_headroom() -> None:
    profile = make_profile()
    frames = speech_like(profile)
    back = VoiceSpace(profile, profile, EVEN)(normalise(frames, profile))
    np.testing.assert_allclose(back[:, :MEL_BINS], frames[:, :MEL_BINS] + HEADROOM, atol=1e-4)
    np.testing.assert_allclose(back[:, LOG_F0], frames[:, LOG_F0], atol=1e-5)
    np.testing.assert_allclose(back[:, VOICING], frames[:, VOICING], atol=1e-6)


def test_another_speaker_gets_his_own_average_and_pitch_at_the_same_loudness() -> None:
    learned, speaker = make_profile(0), make_profile(3, log_f0_median=4.6)
    frames = VoiceSpace(speaker, learned, EVEN)(normalise(speech_like(learned, 4000), learned))
    shape = frames[:, :MEL_BINS].mean(axis=0) - speaker.mel_mean
    assert np.ptp(shape) < 0.15  # the same spectrum, up to one gain
    assert frames[:, LOG_F0].mean() == pytest.approx(4.6, abs=0.02)
    gain = loudness(learned.mel_mean, learned.mel_spread) - loudness(speaker.mel_mean, speaker.mel_spread)
    assert shape.mean() == pytest.approx(gain + HEADROOM, abs=0.05)


def test_silence_stays_silent_whatever_the_noise_of_the_reference() -> None:
    learned = make_profile()
    noisy = replace(learned, mel_spread=np.full(MEL_BINS, 0.3, np.float32))  # hiss fills the gaps: little spread
    silent = np.full((50, FRAME_CHANNELS), -4.0, np.float32)
    out = VoiceSpace(noisy, learned, EVEN)(silent)
    own = VoiceSpace(learned, learned, EVEN)(silent)
    assert np.abs(out[:, :MEL_BINS] - own[:, :MEL_BINS]).max() < 0.02
    assert out[:, :MEL_BINS].mean() < -7.5
    assert out[:, VOICING].max() == 0


def test_loud_frames_are_turned_down_and_the_others_left_alone() -> None:
    mel = np.linspace(-9, 2, 40, dtype=np.float32)[:, None] + np.zeros((1, MEL_BINS), np.float32)
    limited = limit(mel)
    assert frame_level(limited).max() <= LEVEL_CEILING + 1e-5
    quiet = mel[:, 0] < LEVEL_CEILING - 1
    np.testing.assert_allclose(limited[quiet], mel[quiet], atol=1e-3)
    assert (np.diff(limited[:, 0]) > -1e-5).all()  # louder stays louder


def test_the_level_of_a_frame_is_that_of_white_noise_of_its_bands() -> None:
    assert frame_level(np.full((1, MEL_BINS), -3.0, np.float32))[0, 0] == pytest.approx(-3.0, abs=1e-5)


def test_explicit_silence_is_the_floor() -> None:
    profile = make_profile()
    frames = VoiceSpace(profile, profile, EVEN).silence(7)
    assert frames.shape == (7, FRAME_CHANNELS)
    np.testing.assert_allclose(frames[:, :MEL_BINS], np.log(LOG_FLOOR), rtol=1e-6)


@pytest.mark.parametrize("semitones", [-12.0, -3.0, 0.0, 7.0])
def test_pitch_shift_moves_pitch_and_nothing_else(semitones: float) -> None:
    profile = make_profile()
    normalised = np.clip(normalise(speech_like(profile), profile), -1, 1)  # within the range of pitch
    plain = VoiceSpace(profile, profile, EVEN)(normalised)
    shifted = VoiceSpace(profile, profile, EVEN, pitch_shift_semitones=semitones)(normalised)
    np.testing.assert_allclose(shifted[:, LOG_F0] - plain[:, LOG_F0], semitones / 12 * np.log(2), atol=1e-5)
    np.testing.assert_array_equal(shifted[:, :MEL_BINS], plain[:, :MEL_BINS])


@pytest.mark.parametrize("factor", [0.85, 0.92, 1.08, 1.16])
def test_a_formant_moves_by_the_warp_factor(factor: float) -> None:
    centres_hz = mel_edges_hz()[1:-1]
    peak_hz = 1800.0
    band = np.exp(-0.5 * (np.log(centres_hz / peak_hz) / 0.1) ** 2).astype(np.float32)
    warped = band @ warp_matrix(factor)
    centre = float(np.exp((np.log(centres_hz) * warped).sum() / warped.sum()))
    assert centre / peak_hz == pytest.approx(factor, rel=0.02)


def test_no_warp_is_the_identity_and_a_flat_spectrum_stays_flat() -> None:
    np.testing.assert_allclose(warp_matrix(1.0), np.eye(MEL_BINS), atol=1e-5)
    for factor in (0.85, 1.16):
        np.testing.assert_allclose(np.ones(MEL_BINS, np.float32) @ warp_matrix(factor), 1.0, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40))
def test_frames_are_made_one_by_one(seed: int, cut: int) -> None:
    learned, speaker = make_profile(0), replace(make_profile(seed), formant_warp=1.1)
    normalised = normalise(speech_like(learned, 41, seed), learned)
    space = VoiceSpace(speaker, learned, EVEN)
    parts = np.concatenate([space(normalised[:cut]), space(normalised[cut:])])
    np.testing.assert_allclose(parts, space(normalised), atol=1e-5)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="82"):
        normalise(np.zeros((3, 80), np.float32), make_profile())


def sounding(habit: float) -> SpokenSounds:
    """Every class is made brighter by `habit`, of which enough was heard to believe it."""
    expected = sound_classes().mel @ shape_basis().T
    return SpokenSounds(np.full(SOUND_COUNT, 1e6), expected + habit * np.eye(SHAPE_SIZE)[1], 1.0)


def test_sounds_move_speech_and_neither_silence_nor_pitch() -> None:
    profile = make_profile()
    normalised = np.clip(normalise(speech_like(profile), profile), -1, 1)
    normalised[:20] = -4.0
    plain = VoiceSpace(profile, profile, EVEN)(normalised)
    bright = VoiceSpace(replace(profile, sounds=sounding(-2.0)), profile, EVEN)(normalised)
    moved = bright[20:, :MEL_BINS] - plain[20:, :MEL_BINS]
    expected = -2.0 * profile.mel_spread * shape_basis()[1]
    np.testing.assert_allclose(np.median(moved, axis=0), expected, atol=0.1)
    np.testing.assert_allclose(bright[:20], plain[:20], atol=0.02)
    np.testing.assert_array_equal(bright[:, LOG_F0:], plain[:, LOG_F0:])


def test_sounds_leave_a_stream_equal_to_the_whole() -> None:
    profile = replace(make_profile(), sounds=sounding(1.0), formant_warp=1.08)
    normalised = normalise(speech_like(profile), profile)
    space = VoiceSpace(profile, make_profile(2), EVEN)
    pieces = np.concatenate([space(normalised[start : start + 7]) for start in range(0, len(normalised), 7)])
    np.testing.assert_allclose(pieces, space(normalised), atol=1e-4)
