"""Phase of a recording's fundamental against the free-running draft: what keeps both in step during training.

Without it the draft's harmonics drift through the recording's, and a network could learn nothing from them.
"""

from __future__ import annotations

from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from services.common.audio import HOP_SAMPLES, MEL_BINS, SAMPLE_RATE_HZ
from services.vocoder.draft import F0_HIGH_HZ, F0_LOW_HZ, VOICED_FROM

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

WINDOW: Final = 600  # samples around a frame's centre
HARMONICS: Final = 5  # compared together, so that a weak fundamental does not matter
SHIFTS: Final = 128  # trial phases around the circle


@numba.njit(cache=True)
def _offsets(samples: F64, draft: F64, f0_hz: F64, voiced: NDArray[np.bool_]) -> F64:
    """Phase by which the draft's fundamental lags the recording's at each frame, shape (T,); 0 where unvoiced."""
    frames = f0_hz.size
    phase = np.zeros(frames * HOP_SAMPLES)
    turn = 0.0
    for n in range(phase.size):
        position = (n + 0.5 - HOP_SAMPLES / 2) / HOP_SAMPLES
        low = min(max(int(np.floor(position)), 0), frames - 1)
        high = min(low + 1, frames - 1)
        weight = min(max(position - low, 0.0), 1.0)
        turn += 2.0 * np.pi * (f0_hz[low] * (1.0 - weight) + f0_hz[high] * weight) / SAMPLE_RATE_HZ
        phase[n] = turn
    offsets = np.zeros(frames)
    for t in range(frames):
        if not voiced[t]:
            continue
        strength = np.zeros(HARMONICS, np.complex128)
        for k in range(HARMONICS):
            recorded = complex(0.0, 0.0)
            rendered = complex(0.0, 0.0)
            for i in range(WINDOW):
                n = t * HOP_SAMPLES + HOP_SAMPLES // 2 - WINDOW // 2 + i
                if 0 <= n < phase.size:
                    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * (i + 0.5) / WINDOW)
                    wave = window * complex(np.cos((k + 1) * phase[n]), -np.sin((k + 1) * phase[n]))
                    recorded += samples[n] * wave
                    rendered += draft[n] * wave
            strength[k] = recorded * np.conj(rendered)
        best = -1e30
        for shift in range(SHIFTS):
            angle = 2.0 * np.pi * shift / SHIFTS
            score = 0.0
            for k in range(HARMONICS):
                score += (strength[k] * complex(np.cos((k + 1) * angle), -np.sin((k + 1) * angle))).real
            if score > best:
                best = score
                offsets[t] = angle
    return offsets


def phase_nudges(samples: F32, draft: F32, frames: F32) -> F32:
    """Radians to move the draft's phase by on the way to each frame, shape (T,), for `DraftStream.push`.

    samples: the recording, shape (T * 200,). draft: the free-running draft of its frames, same shape.
    frames: (T, 82).
    """
    f0_hz = np.clip(np.exp(frames[:, MEL_BINS].astype(np.float64)), F0_LOW_HZ, F0_HIGH_HZ)
    voiced = frames[:, MEL_BINS + 1] > VOICED_FROM
    if not voiced.any():
        return np.zeros(len(frames), np.float32)
    offsets = _offsets(samples.astype(np.float64), draft.astype(np.float64), f0_hz, voiced)
    known = np.flatnonzero(voiced)
    following = known[np.minimum(np.searchsorted(known, np.arange(len(frames))), known.size - 1)]
    offsets = offsets[following]  # unvoiced frames turn towards the next voiced one, while nothing is heard
    steps = np.diff(offsets, prepend=offsets[0] * 0)
    return np.asarray(np.angle(np.exp(1j * steps)), np.float32)
