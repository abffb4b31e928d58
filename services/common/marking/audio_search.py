"""Searches sound for marks: at any offset, from 6 % slower to 6 % faster, with or without a change of pitch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import log
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.common.audio import SAMPLE_RATE_HZ, FloatArray
from services.common.marking.audio_code import agreement, chance_of, read_number
from services.common.marking.audio_layout import CHIP_SAMPLES, FRAMES, NUMBER_BITS, WINDOW_SAMPLES, Layout
from services.common.marking.audio_tiles import PHASES, Folded, fold, spectra_of

PERIOD_SAMPLES: Final = FRAMES * CHIP_SAMPLES
STRETCH_SAMPLES: Final = 5 * PERIOD_SAMPLES  # 6.4 s: what is searched at once
STRETCH_HOP_SAMPLES: Final = 3 * PERIOD_SAMPLES
LEAST_SAMPLES: Final = SAMPLE_RATE_HZ // 4
SPEED_STEP: Final = 0.003  # at the ends of a stretch a pattern is off by half a chip at most
SPEEDS: Final = tuple(float(speed) for speed in np.round(1.0 + SPEED_STEP * np.arange(-20, 21), 4))
RETIMED_STRETCHES: Final = 4  # the loudest; a whole film would take minutes
CANDIDATES: Final = 24  # beginnings of the pattern that are read, by their sync chips' statistic
RETIMED_CANDIDATES: Final = 160
MAX_DOUBT: Final = 1e-4  # likelihood of the second best number against the best; noise is as strong as 1, a mark as z
SURE_CHANCE: Final = 1e-9  # nothing better is looked for


@dataclass(frozen=True)
class Reading:
    """A number, and a bound on the probability that chance alone gives a statistic like its."""

    number: int
    chance: float


NOTHING: Final = Reading(0, 1.0)


def search(samples: FloatArray, layout: Layout) -> Reading:
    """The least likely reading of 16 kHz samples (n,); what was not re-timed has half of the whole chance."""
    if samples.size < LEAST_SAMPLES:
        return NOTHING
    starts = _starts(samples.size)
    best = _search_as_made(samples, starts, layout)
    if best.chance <= SURE_CHANCE:
        return best
    loudest = sorted(starts, key=lambda start: -float(np.square(samples[start : start + STRETCH_SAMPLES]).sum()))
    trials = 2.0 * min(len(starts), RETIMED_STRETCHES) * (2 * len(SPEEDS) - 2) * PHASES * FRAMES
    for start in loudest[:RETIMED_STRETCHES]:
        power = spectra_of(_padded(samples[start : start + STRETCH_SAMPLES]))
        found = _best(np.concatenate(list(_retimed(power))), layout, RETIMED_CANDIDATES, trials)
        best = min(best, found, key=lambda reading: reading.chance)
        if best.chance <= SURE_CHANCE:
            break
    return best


def fold_stretches(samples: FloatArray) -> Folded:
    """Tiles of each stretch at the speed at which it was made, (stretches, PHASES, FRAMES, BANDS)."""
    starts = _starts(samples.size)
    return np.stack([fold(spectra_of(_padded(samples[start : start + STRETCH_SAMPLES]))) for start in starts])


def _search_as_made(samples: FloatArray, starts: list[int], layout: Layout) -> Reading:
    folded = fold_stretches(samples)
    if len(starts) > 1:  # they begin whole periods apart, so that they add up
        folded = np.concatenate([folded, folded.sum(axis=0, keepdims=True)])
    trials = 2.0 * folded.shape[0] * PHASES * FRAMES
    readings = [_best(stretch, layout, CANDIDATES, trials) for stretch in folded]
    return min(readings, key=lambda reading: reading.chance)


def _retimed(power: NDArray[np.float32]) -> Iterator[Folded]:
    for speed in SPEEDS:
        if speed != 1.0:
            yield fold(power, speed)
            yield fold(power, speed, pitched=False)


def _best(folded: Folded, layout: Layout, candidates: int, trials: float) -> Reading:
    """Reads tiles (n, FRAMES, BANDS) at the beginnings that the sync chips make likely."""
    scores = agreement(folded, layout.sync)
    best = NOTHING
    for place in np.argpartition(-scores, candidates, axis=None)[:candidates]:
        row, frame = divmod(int(place), FRAMES)
        number, statistic, other = read_number(np.roll(folded[row], -frame, axis=0), layout)
        if statistic * (statistic - other) < -log(MAX_DOUBT):
            continue
        chance = chance_of(statistic, trials * 2.0**NUMBER_BITS)
        if number and chance < best.chance:
            best = Reading(number, chance)
    return best


def _starts(size: int) -> list[int]:
    """Where stretches begin: whole periods apart, the last reaches the end."""
    beyond = max(0, size - STRETCH_SAMPLES - PERIOD_SAMPLES)
    return [STRETCH_HOP_SAMPLES * index for index in range(-(-beyond // STRETCH_HOP_SAMPLES) + 1)]


def _padded(samples: FloatArray) -> FloatArray:
    return np.pad(samples, (0, max(0, WINDOW_SAMPLES - samples.size)))
