"""Classes of sounds: shares, formant scale and offsets of speakers whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from services.common.audio import FRAME_CHANNELS, MEL_BINS, FloatArray
from services.common.sounds import (
    RELEVANCE_FRAMES,
    SHAPE_SIZE,
    SOUND_COUNT,
    SpokenSounds,
    formant_scale,
    shape_basis,
    sound_classes,
    spoken_sounds,
)
from services.common.speaker_space import VOICING, warp_matrix


def spoken(scale: float = 1.0, habit: FloatArray | None = None, per_class: int = 12, seed: int = 0) -> FloatArray:
    """Normalised frames of somebody with formants at `scale` who adds `habit` (48, 80) to the classes."""
    classes = sound_classes()
    rng = np.random.default_rng(seed)
    numbers = rng.permutation(np.repeat(np.arange(SOUND_COUNT), per_class))
    means = classes.mel @ warp_matrix(scale) + (0.0 if habit is None else habit)
    frames = np.zeros((len(numbers), FRAME_CHANNELS), np.float32)
    frames[:, :MEL_BINS] = means[numbers] + 0.1 * rng.standard_normal((len(numbers), MEL_BINS))
    frames[:, VOICING] = classes.voicing[numbers]
    return frames


def test_classes_are_a_distribution_and_know_themselves() -> None:
    classes = sound_classes()
    assert classes.share.sum() == pytest.approx(1.0, abs=1e-5)
    assert (classes.variance > 0).all()
    shares = classes.membership(spoken())
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, atol=1e-5)
    means = np.zeros((SOUND_COUNT, FRAME_CHANNELS), np.float32)
    means[:, :MEL_BINS], means[:, VOICING] = classes.mel, classes.voicing
    own = np.diag(classes.membership(means))
    assert own.mean() > 0.6
    assert np.diag(classes.membership(means, softness=4.0)).mean() < own.mean()


def test_basis_is_orthonormal() -> None:
    np.testing.assert_allclose(shape_basis() @ shape_basis().T, np.eye(SHAPE_SIZE), atol=1e-5)


@pytest.mark.parametrize("scale", [0.9, 1.0, 1.16])
def test_the_formant_scale_of_a_speaker_is_found(scale: float) -> None:
    assert formant_scale(spoken(scale)) == pytest.approx(scale, abs=0.021)


def test_who_speaks_as_the_classes_do_needs_no_offsets() -> None:
    sounds = spoken_sounds(spoken(1.08))
    offsets = sounds.offsets(1.08)
    assert offsets.shape == (SOUND_COUNT, MEL_BINS)
    assert np.sqrt(np.mean(offsets**2)) < 0.1


def test_a_habit_is_found_where_it_was_heard_and_shrunk_where_little_was_heard() -> None:
    habit = np.zeros((SOUND_COUNT, MEL_BINS), np.float32)
    habit[5] = 2.0 * shape_basis()[2]
    sounds = spoken_sounds(spoken(1.0, habit, per_class=40))
    offsets = sounds.offsets(1.0) @ shape_basis().T
    assert offsets[5, 2] == pytest.approx(2.0, abs=0.7)
    rare = replace(sounds, frames=np.full(SOUND_COUNT, RELEVANCE_FRAMES / 3, np.float32)).offsets(1.0) @ shape_basis().T
    full = replace(sounds, frames=np.full(SOUND_COUNT, 1e6, np.float32)).offsets(1.0) @ shape_basis().T
    np.testing.assert_allclose(rare, 0.25 * full, atol=1e-3)


def test_unheard_classes_stay_as_they_are() -> None:
    nothing = SpokenSounds(np.zeros(SOUND_COUNT, np.float32), np.ones((SOUND_COUNT, SHAPE_SIZE), np.float32), 1.0)
    assert not nothing.offsets(1.1).any()


def test_there_and_back() -> None:
    sounds = spoken_sounds(spoken(1.04))
    back = SpokenSounds.from_json(sounds.to_json())
    assert back is not None
    np.testing.assert_allclose(back.shapes, sounds.shapes, atol=6e-4)
    np.testing.assert_allclose(back.frames, sounds.frames, atol=6e-3)
    assert back.correction is None
    correction = np.linspace(-1.0, 1.0, SOUND_COUNT * SHAPE_SIZE, dtype=np.float32).reshape(SOUND_COUNT, SHAPE_SIZE)
    corrected = SpokenSounds.from_json(replace(sounds, correction=correction).to_json())
    assert corrected is not None
    assert corrected.correction is not None
    np.testing.assert_allclose(corrected.correction, correction, atol=6e-4)
    old = {name: value for name, value in sounds.to_json().items() if name != "correction"}
    assert SpokenSounds.from_json(old) is not None
    assert SpokenSounds.from_json(sounds.to_json() | {"classes": "of another network"}) is None


@pytest.mark.parametrize("frames", [np.zeros((0, FRAME_CHANNELS), np.float32), np.zeros((9, 80), np.float32)])
def test_frames_of_another_shape_are_refused(frames: FloatArray) -> None:
    with pytest.raises(ValueError, match="normalised frames"):
        spoken_sounds(frames)


@pytest.mark.parametrize(
    ("name", "value"),
    [("frames", np.zeros(3)), ("frames", np.full(SOUND_COUNT, -1.0)), ("shapes", np.full((SOUND_COUNT, 20), np.nan))],
)
def test_impossible_sounds_are_refused(name: str, value: FloatArray) -> None:
    sounds = spoken_sounds(spoken())
    changed: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=name):
        replace(sounds, **changed)
