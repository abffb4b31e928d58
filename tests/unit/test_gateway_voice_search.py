"""The search for a voice, led by an ear whose taste is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from services.common.audio import FRAME_CHANNELS, MEL_BINS, FloatArray
from services.common.profile import SpeakerProfile
from services.common.sounds import SHAPE_SIZE, SOUND_COUNT, SpokenSounds, shape_basis, sound_classes
from services.common.speaker_space import LOG_F0, VOICING, warp_matrix
from services.gateway.voice_search import ALIKE, SENTENCES_PER_ROUND, Found, Listened, corrected, search, sound_shares

WARP = 1.08
SPREAD = 1.5
FRAMES_OF_EACH = 4


def plain_profile() -> SpeakerProfile:
    embedding = np.zeros(256)
    embedding[0] = 1.0
    shapes = sound_classes().mel @ warp_matrix(WARP) @ shape_basis().T
    sounds = SpokenSounds(np.full(SOUND_COUNT, 100.0), shapes, WARP)
    return SpeakerProfile(embedding, 4.8, 0.2, np.full(80, -5.0), np.full(80, SPREAD), formant_warp=WARP, sounds=sounds)


def spoken(profile: SpeakerProfile) -> FloatArray:
    """Acoustic frames in which each class is heard a few times, as the profile makes it."""
    assert profile.sounds is not None
    mel = sound_classes().mel @ warp_matrix(WARP) + profile.sounds.offsets(WARP)
    frames = np.zeros((SOUND_COUNT, FRAME_CHANNELS), np.float32)
    frames[:, :MEL_BINS] = profile.mel_mean + SPREAD * mel
    frames[:, LOG_F0] = profile.log_f0_median
    frames[:, VOICING] = 0.5 * (sound_classes().voicing + 1.0)
    return np.repeat(frames, FRAMES_OF_EACH, axis=0)


def in_turn(function: Callable[[int], Listened], sentences: Sequence[int]) -> list[Listened]:
    return [function(sentence) for sentence in sentences]


class Ear:
    """Wants each class to be made in a certain way, and tells the way there."""

    def __init__(self, wanted: SpeakerProfile) -> None:
        self._wanted = spoken(wanted)[:, :MEL_BINS]
        self.heard: list[int] = []

    def likeness(self, profile: SpeakerProfile) -> float:
        return -float(np.mean((spoken(profile)[:, :MEL_BINS] - self._wanted) ** 2))

    def __call__(self, profile: SpeakerProfile, sentence: int) -> Listened:
        self.heard.append(sentence)
        frames = spoken(profile)
        return Listened(frames, 2.0 * (self._wanted - frames[:, :MEL_BINS]) / self._wanted.size)


def find(ear: Ear, rounds: int) -> Found:
    return search(plain_profile(), ear, rounds=rounds, run_all=in_turn)


def test_no_correction_changes_nothing() -> None:
    profile = plain_profile()
    same = corrected(profile, np.zeros((SOUND_COUNT, SHAPE_SIZE)))
    before, after = profile.sound_offsets(), same.sound_offsets()
    assert before is not None
    assert after is not None
    np.testing.assert_array_equal(after, before)


def test_a_correction_is_added_to_what_the_recording_told() -> None:
    profile = plain_profile()
    correction = np.random.default_rng(0).normal(0.0, 1.0, (SOUND_COUNT, SHAPE_SIZE)).astype(np.float32)
    changed = corrected(profile, correction)
    before, after = profile.sound_offsets(), changed.sound_offsets()
    assert before is not None
    assert after is not None
    np.testing.assert_allclose(after - before, correction @ shape_basis(), atol=1e-5)
    np.testing.assert_array_equal(changed.mel_mean, profile.mel_mean)
    with pytest.raises(ValueError, match="correction"):
        corrected(profile, np.zeros((SOUND_COUNT, 3)))


def test_sounds_are_told_apart_in_the_voices_own_frames() -> None:
    """Whatever the level; pauses belong to no class."""
    correction = np.zeros((SOUND_COUNT, SHAPE_SIZE), np.float32)
    correction[:, 2] = 2.0
    profile = corrected(plain_profile(), correction)
    frames = spoken(profile)
    frames[:, :MEL_BINS] += 0.7
    pause = np.full((20, FRAME_CHANNELS), -11.0, np.float32)
    pause[:, VOICING] = 0.0
    shares = sound_shares(np.concatenate([frames, pause]), profile)
    expected = np.repeat(np.arange(SOUND_COUNT), FRAMES_OF_EACH)
    heard = shares[: len(frames)].sum(axis=1) > 0.5
    assert heard.mean() > 0.7  # the silent classes are pauses
    assert np.mean(shares[: len(frames)].argmax(axis=1)[heard] == expected[heard]) > 0.9
    np.testing.assert_array_equal(shares[len(frames) :], 0.0)


def test_the_search_finds_what_the_ear_likes() -> None:
    """The ear wants all classes brighter, and the voiced ones otherwise."""
    profile = plain_profile()
    voiced = sound_classes().voicing > 0.0
    liked = np.zeros((SOUND_COUNT, SHAPE_SIZE), np.float32)
    liked[:, 1] = 0.3
    liked[voiced, 3] = -0.3
    ear = Ear(corrected(profile, liked))
    found = find(ear, 30)
    assert ear.likeness(found.profile) > 0.5 * ear.likeness(profile)
    assert found.correction[:, 1].mean() == pytest.approx(0.3, abs=0.15)
    assert found.heard == 30 * SENTENCES_PER_ROUND
    assert ear.heard == list(range(found.heard))


def test_sounds_that_are_alike_are_moved_alike() -> None:
    """An ear that would part every class from the others gets it where they are unlike each other already."""
    wishes = np.zeros((SOUND_COUNT, SHAPE_SIZE), np.float32)
    wishes[:, 2] = np.random.default_rng(1).choice([-1.0, 1.0], SOUND_COUNT)
    found = find(Ear(corrected(plain_profile(), wishes)), 30).correction[:, 2]
    spectra = sound_classes().mel
    apart = np.mean((spectra[:, None] - spectra[None]) ** 2, axis=2)
    parted = np.abs(found[:, None] - found[None])
    unlike_wishes = wishes[:, None, 2] != wishes[None, :, 2]
    near, far = unlike_wishes & (apart < ALIKE), unlike_wishes & (apart > 10.0 * ALIKE)
    assert near.any()
    assert parted[near].mean() < 0.8 * parted[far].mean()


def test_an_indifferent_ear_moves_nothing() -> None:
    def ear(profile: SpeakerProfile, sentence: int) -> Listened:
        frames = spoken(profile)
        return Listened(frames, np.zeros((len(frames), MEL_BINS), np.float32))

    found = search(plain_profile(), ear, rounds=3, run_all=in_turn)
    np.testing.assert_array_equal(found.correction, 0.0)


def test_the_search_stops_in_time() -> None:
    ear = Ear(corrected(plain_profile(), np.full((SOUND_COUNT, SHAPE_SIZE), 0.1)))
    left = iter([True, True, False])
    short = search(plain_profile(), ear, rounds=40, run_all=in_turn, may_go_on=lambda: next(left))
    assert short.heard == 2 * SENTENCES_PER_ROUND
    none = find(ear, 0)
    assert none.heard == 0
    np.testing.assert_array_equal(none.correction, 0.0)


def test_a_profile_without_sounds_cannot_be_searched_for() -> None:
    embedding = np.zeros(256)
    embedding[0] = 1.0
    bare = SpeakerProfile(embedding, 4.8, 0.2, np.full(80, -5.0), np.full(80, 1.5))
    with pytest.raises(ValueError, match="sounds"):
        search(bare, Ear(plain_profile()), rounds=1, run_all=in_turn)
