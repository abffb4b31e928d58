"""Searches sound for marks: at any offset, from 6 % slower to 6 % faster, with or without a change of pitch."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import Final

import numpy as np

from services.common.audio import SAMPLE_RATE_HZ, FloatArray
from services.common.marking.audio_code import agreement, chance_of, read_number, statistic_for
from services.common.marking.audio_layout import CHIP_SAMPLES, FRAMES, NUMBER_BITS, WINDOW_SAMPLES, Layout
from services.common.marking.audio_tiles import Folded, fold, spectra_of

PERIOD_SAMPLES: Final = FRAMES * CHIP_SAMPLES
STRETCH_SAMPLES: Final = 5 * PERIOD_SAMPLES  # 6.4 s: what is searched at once
STRETCH_HOP_SAMPLES: Final = 3 * PERIOD_SAMPLES
LEAST_SAMPLES: Final = SAMPLE_RATE_HZ // 4
SPEED_STEP: Final = 0.003  # at the ends of a stretch a pattern is off by half a chip at most
SPEEDS: Final = tuple(float(speed) for speed in np.round(1.0 + SPEED_STEP * np.arange(-20, 21), 4))
RETIMED_STRETCHES: Final = 4  # the loudest; all of a long recording would take minutes
CANDIDATES: Final = 24  # beginnings of the pattern that are read, by their sync chips' statistic
RETIMED_CANDIDATES: Final = 96
MAX_CHANCE: Final = 1e-5  # that sound without a mark is taken for marked
SURE_CHANCE: Final = 1e-9  # nothing better is looked for
MAX_DOUBT: Final = 1e-4  # likelihood ratio of the second best number and the best


@dataclass(frozen=True)
class Reading:
    """A number, and a bound on the probability that chance alone gives a statistic like its."""

    number: int
    chance: float


class Search:
    """A search of 16 kHz samples, shape (n,), under one key or several: what is computed for one serves all."""

    def __init__(self, samples: FloatArray) -> None:
        self._samples = samples
        self._starts = _starts(samples.size)
        self._as_made: Folded | None = None
        self._retimed: dict[int, Folded] = {}

    def find(self, layout: Layout) -> Reading | None:
        """The least likely reading, if its chance is MAX_CHANCE at most.

        Half of that chance is given to sound that was not re-timed, half to all speeds together.
        """
        if self._samples.size < LEAST_SAMPLES:
            return None
        found = _best(self._folded_as_made(), layout, CANDIDATES)
        if found is not None and found.chance <= SURE_CHANCE:
            return found
        loudest = sorted(self._starts, key=lambda start: -float(np.square(self._stretch(start)).sum()))
        searched = loudest[:RETIMED_STRETCHES]
        for start in searched:
            other = _best(self._folded_retimed(start)[None], layout, RETIMED_CANDIDATES, len(searched))
            if other is not None and (found is None or other.chance < found.chance):
                found = other
            if found is not None and found.chance <= SURE_CHANCE:
                break
        return found

    def _stretch(self, start: int) -> FloatArray:
        return self._samples[start : start + STRETCH_SAMPLES]

    def _folded_as_made(self) -> Folded:
        if self._as_made is None:
            self._as_made = fold_stretches(self._samples)
        return self._as_made

    def _folded_retimed(self, start: int) -> Folded:
        """At all speeds but the original, (speeds * PHASES, FRAMES, BANDS)."""
        if start not in self._retimed:
            power = spectra_of(_padded(self._stretch(start)))
            speeds = [speed for speed in SPEEDS if speed != 1.0]
            self._retimed[start] = np.concatenate(
                [fold(power, speed, pitched) for speed in speeds for pitched in (True, False)]
            )
        return self._retimed[start]


def fold_stretches(samples: FloatArray) -> Folded:
    """Tiles at the speed at which they were made, of each stretch and of all together, (m, PHASES, FRAMES, BANDS)."""
    starts = _starts(samples.size)
    folded = np.stack([fold(spectra_of(_padded(samples[start : start + STRETCH_SAMPLES]))) for start in starts])
    if len(starts) == 1:
        return folded
    return np.concatenate([folded, folded.sum(axis=0, keepdims=True)])  # they begin whole periods apart: they add up


def _best(folded: Folded, layout: Layout, candidates: int, rivals: int = 1) -> Reading | None:
    """Reads each of folded (m, k, FRAMES, BANDS) at the beginnings that the sync chips make likely.

    As many such searches as `rivals` share half of the chance of an error.
    """
    trials = 2.0 * rivals * folded.shape[0] * folded.shape[1] * FRAMES * 2.0**NUMBER_BITS
    least = statistic_for(MAX_CHANCE, trials)
    best = None
    for stretch in folded:
        scores = agreement(stretch, layout.sync)
        for place in np.argpartition(-scores, candidates, axis=None)[:candidates]:
            row, frame = divmod(int(place), FRAMES)
            read = read_number(np.roll(stretch[row], -frame, axis=0), layout, least)
            if read is None or read.number == 0 or read.statistic * (read.statistic - read.second) < -log(MAX_DOUBT):
                continue
            chance = chance_of(read.statistic, trials)
            if best is None or chance < best.chance:
                best = Reading(read.number, chance)
    return best


def _starts(size: int) -> list[int]:
    """Where stretches begin; what the last leaves out is shorter than a period."""
    beyond = max(0, size - STRETCH_SAMPLES - PERIOD_SAMPLES)
    return [STRETCH_HOP_SAMPLES * index for index in range(-(-beyond // STRETCH_HOP_SAMPLES) + 1)]


def _padded(samples: FloatArray) -> FloatArray:
    return np.pad(samples, (0, max(0, WINDOW_SAMPLES - samples.size)))
