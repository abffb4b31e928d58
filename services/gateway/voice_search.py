"""The search for how a voice makes its sounds, led by the speaker encoder.

A recording's averages and classes of sounds say how the person spoke then; how this synthesizer's speech would have to
be changed to be taken for theirs, only listening to it tells. So sentences are spoken in the voice as it is, the
encoder says by how much the likeness would grow with each band of each frame, and the classes of sounds
(`services.common.sounds`) are moved that way, a little at a time: 48 classes x 20 cosines over the mel axis. Different
sentences are spoken in turn, so that what is found belongs to the voice and not to a sentence.

Words are recognised by what tells sounds from each other, so classes that are moved apart are charged, and those that
are alike far more than others; an equaliser that moves all of them alike costs next to nothing
(docs/adr/0017-guided-search.md).

Search: Adam (Kingma and Ba 2015), the step falling to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.common.audio import MEL_BINS, FloatArray
from services.common.profile import SpeakerProfile
from services.common.sounds import SHAPE_SIZE, SOUND_COUNT, SpokenSounds, shape_basis, sound_classes
from services.common.speaker_space import MIN_MEL_SPREAD, normalise, warp_matrix
from services.common.speech_activity import speech_frames

F64 = NDArray[np.float64]

SENTENCES_PER_ROUND: Final = 2
STEP: Final = 0.05  # of the first round, in the normalised space
LAST_STEP: Final = 0.02  # of the last, as a share of the first
RESTRAINT: Final = 0.01  # what a mean square of 1 in what the classes are moved apart costs, in cosine
EVEN_RESTRAINT: Final = 0.002  # the same, moved together
NEIGHBOUR_RESTRAINT: Final = 0.1  # the same, between classes that are alike
ALIKE: Final = 0.15  # mean square between the spectra of two that are: half of all classes have one nearer than this
SOFTNESS: Final = 2.0  # of the classes' shares in a frame, as in the synthesizer
_MEMORY: Final = (0.9, 0.999)  # of Adam: how much of the mean gradient, and of its square, is kept each round
_TINY: Final = 1e-8


@dataclass(frozen=True, eq=False)
class Listened:
    """A sentence in a trial's voice.

    Attributes:
        frames: acoustic frames (T, 82) that it was made of.
        gradient: by how much the likeness grows per neper in each of their bands, shape (T, 80).
    """

    frames: FloatArray
    gradient: FloatArray


@dataclass(frozen=True, eq=False)
class Found:
    """The corrected profile, the correction (48, 20), what the classes' corrections have in common (20,), and how many
    sentences were heard."""

    profile: SpeakerProfile
    correction: FloatArray
    common: FloatArray
    heard: int


Listen = Callable[[SpeakerProfile, int], Listened]  # profile, number of the sentence
RunAll = Callable[[Callable[[int], Listened], Sequence[int]], list[Listened]]


def corrected(profile: SpeakerProfile, correction: FloatArray | F64) -> SpeakerProfile:
    """The profile with a correction (48, 20) of its sounds; zeros leave it as it is."""
    return replace(profile, sounds=replace(_sounds(profile), correction=np.asarray(correction, np.float32)))


def search(
    profile: SpeakerProfile,
    listen: Listen,
    *,
    rounds: int,
    run_all: RunAll,
    may_go_on: Callable[[], bool] = lambda: True,
) -> Found:
    """Finds the correction of the profile's sounds over so many rounds, or until `may_go_on` says no.

    Args:
        listen: speaks a sentence in a profile's voice; sentences are numbered from 0, without end.
        run_all: maps a function over the sentences of a round, side by side where that is faster.

    Raises:
        ValueError: the profile has no sounds.
    """
    _sounds(profile)
    coordinates = (shape_basis() * np.maximum(profile.mel_spread, MIN_MEL_SPREAD)).T.astype(np.float64)  # (80, 20)
    correction = np.zeros((SOUND_COUNT, SHAPE_SIZE))
    mean, square = np.zeros_like(correction), np.zeros_like(correction)
    share = np.full(SOUND_COUNT, 1.0 / SOUND_COUNT)
    alike = _likenesses()
    heard = 0
    for number in range(rounds):
        if not may_go_on():
            break
        tried = corrected(profile, correction)

        def trial(sentence: int, tried: SpeakerProfile = tried) -> Listened:
            return listen(tried, sentence)

        sentences = [number * SENTENCES_PER_ROUND + offset for offset in range(SENTENCES_PER_ROUND)]
        answers = run_all(trial, sentences)
        heard += len(answers)
        growth, weights = np.zeros_like(correction), np.zeros(SOUND_COUNT)
        for answer in answers:
            count = min(len(answer.frames), len(answer.gradient))
            shares = sound_shares(answer.frames[:count], tried)
            growth += shares.T @ (answer.gradient[:count] @ coordinates) / len(answers)
            weights += shares.sum(axis=0)
        share = weights / max(float(weights.sum()), _TINY)
        slope = _charge_slope(correction, share, alike) - growth
        mean = _MEMORY[0] * mean + (1.0 - _MEMORY[0]) * slope
        square = _MEMORY[1] * square + (1.0 - _MEMORY[1]) * slope**2
        likely = mean / (1.0 - _MEMORY[0] ** (number + 1))
        size = np.sqrt(square / (1.0 - _MEMORY[1] ** (number + 1)))
        step = STEP * (1.0 - (1.0 - LAST_STEP) * number / rounds)
        correction = correction - step * likely / (size + _TINY)
    found = correction.astype(np.float32)
    return Found(corrected(profile, found), found, (share @ correction).astype(np.float32), heard)


def sound_shares(frames: FloatArray, profile: SpeakerProfile) -> FloatArray:
    """Share of each class of sounds in acoustic frames (T, 82) spoken in the profile's voice, shape (T, 48).

    Rows of speech sum to 1, others are 0. The frames' level is taken for the profile's own, whatever it is.
    """
    speech = speech_frames(frames)
    if not speech.any():
        return np.zeros((len(frames), SOUND_COUNT), np.float32)
    level = np.float32((frames[speech, :MEL_BINS] - profile.mel_mean).mean())
    own = frames.copy()
    own[:, :MEL_BINS] -= level
    classes = sound_classes()
    means = classes.mel @ warp_matrix(profile.formant_warp) + _sounds(profile).offsets(profile.formant_warp)
    return classes.membership(normalise(own, profile), means, SOFTNESS) * speech[:, None].astype(np.float32)


def _likenesses() -> F64:
    """How alike the spectra of two classes are, shape (48, 48): up to 1 for the same spectrum; 0 with itself."""
    spectra = sound_classes().mel.astype(np.float64)
    square = np.mean((spectra[:, None] - spectra[None]) ** 2, axis=2)
    alike: F64 = np.exp(-square / (2.0 * ALIKE)) * (1.0 - np.eye(len(spectra)))
    return alike


def _charge_slope(correction: F64, share: F64, alike: F64) -> F64:
    """Derivative of what a correction (48, 20) costs, by the correction.

    Args:
        share: how common each class is, shape (48,).
        alike: how alike two classes are, shape (48, 48).
    """
    common = share @ correction
    charge = share[:, None] * (RESTRAINT * (correction - common) + EVEN_RESTRAINT * common)
    ties = alike * share[:, None] * share / np.maximum(alike @ share, _TINY)[:, None]
    ties = 0.5 * (ties + ties.T)
    tied = ties.sum(axis=1)[:, None] * correction - ties @ correction
    slope: F64 = 2.0 * (charge + NEIGHBOUR_RESTRAINT * tied)
    return slope


def _sounds(profile: SpeakerProfile) -> SpokenSounds:
    if profile.sounds is None:
        raise ValueError("a profile without sounds cannot be searched for")
    return profile.sounds
