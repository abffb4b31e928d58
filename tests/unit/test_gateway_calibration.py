"""What the calibration keeps of what its search found, by what a recogniser still understands."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from services.common.audio import FRAME_CHANNELS, FloatArray
from services.common.profile import SpeakerProfile
from services.common.sounds import SHAPE_SIZE, SOUND_COUNT
from services.gateway import calibration
from services.gateway.calibration import PROOF, WORDS_TO_LOSE, calibrate
from services.gateway.voice_search import Found, corrected
from tests.unit.test_gateway_voice_search import plain_profile

CORRECTION = np.full((SOUND_COUNT, SHAPE_SIZE), 0.4, np.float32)
CALL: Any = SimpleNamespace(remaining_s=lambda: 60.0)


def strength_of(profile: SpeakerProfile) -> float:
    assert profile.sounds is not None
    correction = profile.sounds.correction
    return 0.0 if correction is None else float(correction[0, 0] / CORRECTION[0, 0])


@pytest.fixture
def lost_words(monkeypatch: pytest.MonkeyPatch) -> dict[float, int]:
    """Strength of the correction -> words that the recogniser loses of a sentence; likeness grows with strength."""
    lost: dict[float, int] = {}
    last: list[float] = []

    def speak(stages: Any, profile: SpeakerProfile, sentence: str, call: Any) -> tuple[FloatArray, FloatArray]:
        return np.full(100, strength_of(profile), np.float32), np.zeros((1, FRAME_CHANNELS), np.float32)

    def likeness(samples: FloatArray) -> float:
        return 0.5 + 0.1 * float(samples[0])

    def recognise(samples: FloatArray) -> list[str]:
        last.append(round(float(samples[0]), 3))
        return []

    def search(profile: SpeakerProfile, listen: Any, **_: Any) -> Found:
        return Found(corrected(profile, CORRECTION), CORRECTION, CORRECTION[0], 60)

    monkeypatch.setattr(calibration, "_speak", speak)
    monkeypatch.setattr(calibration, "measure_similarity", lambda stages, samples, *_, **__: likeness(samples))
    monkeypatch.setattr(calibration, "begin_to_measure", lambda stages, samples, *_, **__: lambda: likeness(samples))
    monkeypatch.setattr(calibration, "recognise", recognise)
    monkeypatch.setattr(calibration, "word_errors", lambda wanted, got: lost.get(last[-1], 0))
    monkeypatch.setattr(calibration, "search", search)
    return lost


def found(rounds: int = 30) -> calibration.Calibration:
    stages: Any = None
    return calibrate(stages, plain_profile(), CALL, threads=1, rounds=rounds)


def test_what_was_found_is_kept_whole(lost_words: dict[float, int]) -> None:
    kept = found()
    assert strength_of(kept.profile) == kept.strength == 1.0
    assert (kept.similarity_before, kept.similarity, kept.proposals) == (0.5, 0.6, 60)
    assert kept.correction == (0.4,) * SHAPE_SIZE


def test_half_of_it_where_words_are_lost(lost_words: dict[float, int]) -> None:
    lost_words[1.0] = WORDS_TO_LOSE
    assert len(PROOF) * lost_words[1.0] > WORDS_TO_LOSE
    kept = found()
    assert strength_of(kept.profile) == kept.strength == 0.5
    assert kept.similarity == pytest.approx(0.55)
    assert kept.correction == pytest.approx((0.2,) * SHAPE_SIZE)


def test_nothing_of_it_where_words_are_lost_even_so(lost_words: dict[float, int]) -> None:
    lost_words.update({1.0: 4, 0.5: 3})
    kept = found()
    assert strength_of(kept.profile) == kept.strength == 0.0
    assert kept.similarity == kept.similarity_before == 0.5
    assert kept.correction == ()


def test_words_that_were_hard_before_are_not_held_against_it(lost_words: dict[float, int]) -> None:
    lost_words.update({0.0: 4, 1.0: 4, 0.5: 4})
    assert found().strength == 1.0


def test_without_a_search_there_is_no_strength(lost_words: dict[float, int]) -> None:
    assert found(rounds=0).strength is None
