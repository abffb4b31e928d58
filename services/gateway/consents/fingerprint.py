"""What a recording can be found again by, also after re-encoding, another level or a cut: pairs of spectral peaks.

As Wang 2003, "An industrial-strength audio search algorithm": peaks of the spectrogram outlast what codecs do to the
rest; the frequencies of two near ones and the time between them make a hash, of which many have to agree on one shift
in time. It is no biometric template: nobody's voice can be recognised or made from it, only this very recording.

What it does not find: a recording that was played faster or slower by more than about one percent, or whose pitch was
changed, nor mostly one that was played by a loudspeaker and recorded anew in an echoing room.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter
from scipy.signal import stft

from services.common.audio import SAMPLE_RATE_HZ, FloatArray

WINDOW: Final = 1024  # samples, 64 ms
HOP: Final = 256  # samples, 16 ms
BANDS_HZ: Final = (250.0, 3400.0)  # what a telephone leaves
NEIGHBOURHOOD: Final = (9, 7)  # bins, frames: a peak is the highest of these
PEAKS_PER_S: Final = 14
FAN: Final = 3  # later peaks that one is paired with
REACH: Final = 31  # frames, at most between both
# Chosen where nothing unrelated was found any more, see docs/architecture/06-consent.md.
MIN_AGREEING: Final = 10  # hashes that agree on one shift, and
MIN_SHARE: Final = 0.05  # of the shorter one's hashes


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """Hashes (n,), 22 bits each, and where each begins, in hops (n,)."""

    hashes: NDArray[np.int64]
    positions: NDArray[np.int64]

    def rows(self) -> set[tuple[int, int]]:
        """(hash, position), each once."""
        return set(zip(self.hashes.tolist(), self.positions.tolist(), strict=True))


def fingerprint(samples: FloatArray) -> Fingerprint:
    """Of mono 16 kHz samples (n,); of silence it is empty."""
    if samples.size < 2 * WINDOW:
        return Fingerprint(np.zeros(0, np.int64), np.zeros(0, np.int64))
    frequencies, _, spectrum = stft(
        samples, SAMPLE_RATE_HZ, nperseg=WINDOW, noverlap=WINDOW - HOP, boundary=None, padded=False
    )
    inside = (frequencies >= BANDS_HZ[0]) & (frequencies <= BANDS_HZ[1])
    level = np.log(np.abs(spectrum[inside]) + 1e-9)
    loud = level > np.percentile(level, 50)
    is_peak = (level == maximum_filter(level, NEIGHBOURHOOD, mode="constant", cval=-np.inf)) & loud
    bins, frames = np.nonzero(is_peak)
    heights = level[bins, frames]
    keep = _strongest(frames, heights, level.shape[1])
    order = np.lexsort((bins[keep], frames[keep]))
    return _pairs(bins[keep][order], frames[keep][order])


def agreement(wanted: Fingerprint, found: Iterable[tuple[int, int]], total: int | None = None) -> tuple[int, float]:
    """How many hashes of a kept recording agree with one shift in time, and their share of the shorter one's.

    Args:
        found: (hash, position) of the kept recording, at least those with hashes of `wanted`.
        total: of all hashes of the kept recording, when `found` has not all of them.
    """
    places: dict[int, list[int]] = {}
    for value, position in zip(wanted.hashes.tolist(), wanted.positions.tolist(), strict=True):
        places.setdefault(value, []).append(position)
    rows = list(found)
    shifts = Counter(kept - place for value, kept in rows for place in places.get(value, ()))
    if not shifts:
        return 0, 0.0
    best = max(shifts[shift - 1] + shifts[shift] + shifts[shift + 1] for shift in list(shifts))
    shorter = min(len(wanted.hashes), len(rows) if total is None else total)
    return best, best / max(shorter, 1)


def is_same(agreeing: int, share: float) -> bool:
    """Whether so much agreement means the same recording."""
    return agreeing >= MIN_AGREEING and share >= MIN_SHARE


def _strongest(frames: NDArray[np.int64], heights: FloatArray, frame_count: int) -> NDArray[np.int64]:
    """Indices of the highest peaks of each second."""
    per_block = SAMPLE_RATE_HZ // HOP
    kept: list[int] = []
    for start in range(0, frame_count, per_block):
        inside = np.nonzero((frames >= start) & (frames < start + per_block))[0]
        kept += inside[np.argsort(-heights[inside], kind="stable")[:PEAKS_PER_S]].tolist()
    return np.asarray(kept, np.int64)


def _pairs(bins: NDArray[np.int64], frames: NDArray[np.int64]) -> Fingerprint:
    hashes, positions = [], []
    for index in range(len(bins)):
        partners = 0
        for other in range(index + 1, len(bins)):
            gap = int(frames[other] - frames[index])
            if gap > REACH or partners == FAN:
                break
            if gap == 0:
                continue
            partners += 1
            hashes.append((int(bins[index]) << 14) | (int(bins[other]) << 5) | gap)
            positions.append(int(frames[index]))
    return Fingerprint(np.asarray(hashes, np.int64), np.asarray(positions, np.int64))
