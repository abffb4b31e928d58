"""The search for a voice, judged by an ear whose taste is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from services.common.profile import SpeakerProfile
from services.gateway.voice_search import PROPOSALS, SIZE, corrected, search


def plain_profile() -> SpeakerProfile:
    embedding = np.zeros(256)
    embedding[0] = 1.0
    return SpeakerProfile(embedding, 4.8, 0.2, np.full(80, -5.0), np.full(80, 1.5), formant_warp=1.08)


def in_turn(function: Callable[[np.ndarray], float], proposals: list[np.ndarray]) -> list[float]:
    return [function(proposal) for proposal in proposals]


def test_no_correction_changes_nothing() -> None:
    profile = plain_profile()
    same = corrected(profile, np.zeros(SIZE))
    np.testing.assert_array_equal(same.mel_mean, profile.mel_mean)
    np.testing.assert_array_equal(same.mel_spread, profile.mel_spread)
    assert same.formant_warp == 1.08


def test_a_correction_leaves_level_spread_pitch_and_formants() -> None:
    profile = plain_profile()
    changed = corrected(profile, np.random.default_rng(0).normal(0, 3, SIZE))
    assert changed.mel_mean.mean() == pytest.approx(profile.mel_mean.mean(), abs=1e-4)
    assert np.ptp(changed.mel_mean) > 0.5
    np.testing.assert_array_equal(changed.mel_spread, profile.mel_spread)
    assert (changed.log_f0_median, changed.formant_warp) == (profile.log_f0_median, profile.formant_warp)
    with pytest.raises(ValueError, match=str(SIZE)):
        corrected(profile, [0.0])


def test_the_search_finds_what_the_ear_likes() -> None:
    """The ear wants a certain spectrum; the search must come close to it, and hear every sentence."""
    profile = plain_profile()
    liked = np.zeros(SIZE)
    liked[:4] = [1.5, -1.0, 0.5, -0.5]
    wanted = corrected(profile, liked)
    rounds_heard: list[int] = []

    def ear(tried: SpeakerProfile, number: int) -> float:
        rounds_heard.append(number)
        return 1.0 - float(np.mean((tried.mel_mean - wanted.mel_mean) ** 2))

    found = search(profile, ear, rounds=40, seed=1, run_all=in_turn)
    assert ear(found.profile, 0) > 1.0 - 0.25 * (1.0 - ear(profile, 0))
    assert found.heard == 40 * PROPOSALS
    assert sorted(set(rounds_heard)) == list(range(40))


def test_the_search_stops_in_time_and_is_the_same_for_the_same_seed() -> None:
    profile = plain_profile()

    def ear(tried: SpeakerProfile, number: int) -> float:
        return -float(np.sum(tried.mel_mean[:10] + 5.0) ** 2)

    left = iter([True, True, False])
    short = search(profile, ear, rounds=40, seed=1, run_all=in_turn, may_go_on=lambda: next(left))
    again = search(profile, ear, rounds=2, seed=1, run_all=in_turn)
    assert short.heard == 2 * PROPOSALS
    np.testing.assert_array_equal(short.correction, again.correction)
    none = search(profile, ear, rounds=0, seed=1, run_all=in_turn)
    assert none.heard == 0
    np.testing.assert_array_equal(none.profile.mel_mean, profile.mel_mean)
