"""The same sentence by the person and by the network, frame by frame: what an adaptation learns to bring together.

Dynamic time warping (Sakoe and Chiba 1978) on what sounds are told apart by; the network's frames are taken as they
would come in the person's voice before the adaptation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

from services.common.audio import MEL_BINS, FloatArray
from services.common.profile import SpeakerProfile
from services.common.sounds import heard, shape_basis
from services.common.speaker_space import VOICING
from services.common.speech_activity import speech_frames
from services.synthesizer.space import VoiceSpace

EDGE_FRAMES: Final = 5  # of silence kept around a recording's speech
STEP_COST: Final = 0.05  # of a step in time that only one of the two makes
SPEECH_LEVEL: Final = -1.8  # mean of the normalised bands: what is quieter in either says little of the voice


@dataclass(frozen=True, eq=False)
class Pairs:
    """Frames of the network with what the person makes of them.

    Attributes:
        shares: share of each class of sounds in each frame, shape (T, 48).
        residuals: what is to be added, in units of the speaker's spread, in coordinates of `shape_basis`, (T, 20).
    """

    shares: FloatArray
    residuals: FloatArray


def pair(plain: FloatArray, recording: FloatArray, speaker: SpeakerProfile, space: VoiceSpace) -> Pairs:
    """Pairs of one sentence.

    Args:
        plain: normalised frames (T, 82) of the network.
        recording: acoustic frames (T, 82) of the person.
        space: that of the speaker, unadapted.
    """
    speech = np.flatnonzero(speech_frames(recording))
    recording = recording[max(speech[0] - EDGE_FRAMES, 0) : speech[-1] + 1 + EDGE_FRAMES]
    spoken = (recording[:, :MEL_BINS] - speaker.mel_mean) / space.unit
    expected = space.deviation(plain) / space.unit
    features = heard(expected, plain[:, VOICING]), heard(spoken, 2.0 * recording[:, VOICING] - 1.0)
    ours, theirs = align(*features)
    loud = (plain[ours, :MEL_BINS].mean(axis=1) > SPEECH_LEVEL) & (spoken[theirs].mean(axis=1) > SPEECH_LEVEL)
    ours, theirs = ours[loud], theirs[loud]
    residuals = (spoken[theirs] - expected[ours]) @ shape_basis().T
    return Pairs(space.memberships(plain[ours]), np.asarray(residuals, np.float32))


def align(one: FloatArray, other: FloatArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of frames (n, d) and (m, d) that belong together, from the first pair to the last."""
    distance = ((one[:, None, :] - other[None, :, :]) ** 2).sum(axis=2)
    path = _cheapest_path(distance.astype(np.float64))
    return path[:, 0], path[:, 1]


@numba.njit(cache=True)
def _cheapest_path(distance: Any) -> Any:
    rows, columns = distance.shape
    cost = np.full((rows + 1, columns + 1), np.inf)
    cost[0, 0] = 0.0
    for i in range(1, rows + 1):
        for j in range(1, columns + 1):
            alone = min(cost[i - 1, j], cost[i, j - 1]) + STEP_COST
            cost[i, j] = distance[i - 1, j - 1] + min(cost[i - 1, j - 1], alone)
    path = np.empty((rows + columns, 2), np.int64)
    i, j, first = rows, columns, rows + columns
    while i > 0 and j > 0:
        first -= 1
        path[first] = i - 1, j - 1
        together, down, across = cost[i - 1, j - 1], cost[i - 1, j] + STEP_COST, cost[i, j - 1] + STEP_COST
        if together <= down and together <= across:
            i, j = i - 1, j - 1
        elif down <= across:
            i -= 1
        else:
            j -= 1
    return path[first:]
