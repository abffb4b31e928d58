"""When each symbol of a phrase is spoken: tempo, stretched time, rests, and the times of its words.

The network is asked for a tempo that it speaks well; what remains to the tempo that was asked for is done by stretching
or squeezing time, symbol by symbol where a phrase has several. A rest that is longer than the pause at its place is
silence put into the middle of that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from services.common.audio import FRAME_CHANNELS, FRAMES_PER_SECOND, FloatArray
from services.synthesizer.network import EncodedPhrase
from services.synthesizer.text import Phrase

SPEED_RANGE: Final = (0.25, 4.0)
SPOKEN_SPEED_RANGE: Final = (0.7, 1.5)  # what the network is asked for; the rest is stretched
PITCH_GLIDE_FRAMES: Final = 5  # over which the pitch goes from one manner to the next


@dataclass(frozen=True)
class WordTime:
    """When a word, as written, is spoken; seconds from the start of the whole utterance.

    Attributes:
        punctuated: the word with the signs that touch it.
    """

    word: str
    start_s: float
    end_s: float
    punctuated: str = ""


@dataclass(frozen=True, eq=False)
class PhraseTiming:
    """A phrase, and its way through time.

    Attributes:
        code: what the decoder is asked for, durations in its own frames.
        squeeze: how much faster its frames then run; one factor, or one for each symbol (L,).
        rests: frame of the output before which silence stands, and how many frames of it; in order.
        pitch_shifts: semitones per symbol (L,); None where none are shifted.
    """

    phrase: Phrase
    code: EncodedPhrase
    squeeze: float | FloatArray
    rests: tuple[tuple[int, int], ...]
    pitch_shifts: FloatArray | None

    @cached_property
    def ends(self) -> FloatArray:
        """Where each symbol ends, in frames of the output, without rests (L,)."""
        return np.asarray(np.cumsum(self.code.durations / self.squeeze))

    @cached_property
    def spoken_frames(self) -> int:
        """Frames of the output, without rests."""
        if isinstance(self.squeeze, float):
            return squeezed_count(self.code.frame_count, self.squeeze)
        return max(round(float(self.ends[-1])), 1)

    @property
    def frame_count(self) -> int:
        return self.spoken_frames + sum(count for _, count in self.rests)

    def stretched(self, chunks: Iterator[FloatArray]) -> Iterator[FloatArray]:
        """Frames of the decoder (n, 82) as they run in the output."""
        if isinstance(self.squeeze, float):
            return squeezed(chunks, self.code.frame_count, self.squeeze)
        edges = np.concatenate([[0.0], np.cumsum(self.code.durations)])
        positions = np.interp(np.arange(self.spoken_frames), np.concatenate([[0.0], self.ends]), edges)
        return resampled(chunks, self.code.frame_count, np.minimum(positions, self.code.frame_count - 1))

    @cached_property
    def pitch_curve(self) -> FloatArray | None:
        """Semitones per frame of the output, without rests; None for no shift."""
        if self.pitch_shifts is None:
            return None
        symbols = np.searchsorted(self.ends, np.arange(self.spoken_frames) + 0.5)
        steps = self.pitch_shifts[np.minimum(symbols, len(self.ends) - 1)]
        half = PITCH_GLIDE_FRAMES // 2
        padded = np.pad(steps, half, mode="edge")
        kernel = np.full(PITCH_GLIDE_FRAMES, 1.0 / PITCH_GLIDE_FRAMES)
        return np.asarray(np.convolve(padded, kernel, mode="valid"), np.float32)

    def word_times(self, first_frame: int) -> list[WordTime]:
        """When each written word is spoken, if the phrase begins at that frame; what is not spoken is left out."""
        ends = self._with_rests(self.ends)
        starts = self._with_rests(np.concatenate([[0.0], self.ends[:-1]]))
        phrase, times = self.phrase, []
        for index, (word, punctuated) in enumerate(zip(phrase.words, phrase.punctuated, strict=True)):
            symbols = [i for i, written in enumerate(phrase.written_index) if written == index]
            if symbols:
                start, end = (first_frame + at for at in (starts[symbols[0]], ends[symbols[-1]]))
                start_s, end_s = (round(float(at) / FRAMES_PER_SECOND, 4) for at in (start, end))
                times.append(WordTime(word, start_s, end_s, punctuated))
        return times

    def _with_rests(self, frames: FloatArray) -> FloatArray:
        """Moments of the output without rests, as moments of the output with them."""
        moved = np.array(frames, np.float64)
        for place, count in self.rests:
            moved += np.where(frames > place, count, 0)
        return np.asarray(moved)


def time_phrase(phrase: Phrase, code: EncodedPhrase, speed: float, pitch_shift_semitones: float = 0.0) -> PhraseTiming:
    """How an encoded phrase (at speed 1) is spoken at that speed, with its manners and rests."""
    rates = np.array([manner.rate for manner in phrase.manners])
    speeds = np.clip(speed * rates, *SPEED_RANGE)
    if (speeds == speeds[0]).all():
        one = float(speeds[0])
        spoken_speed = float(np.clip(one, *SPOKEN_SPEED_RANGE))
        code, squeeze = code.faster(spoken_speed), one / spoken_speed
        factors: FloatArray = np.full(len(rates), squeeze, np.float32)
        timing_squeeze: float | FloatArray = squeeze
    else:
        spoken = np.clip(speeds, *SPOKEN_SPEED_RANGE)
        code, factors = code.faster(spoken.astype(np.float32)), (speeds / spoken).astype(np.float32)
        timing_squeeze = factors
    code, rests = _rests(phrase, code, factors)
    return PhraseTiming(phrase, code, timing_squeeze, rests, _pitch_shifts(phrase, pitch_shift_semitones))


def _rests(
    phrase: Phrase, code: EncodedPhrase, factors: FloatArray
) -> tuple[EncodedPhrase, tuple[tuple[int, int], ...]]:
    """Pauses cut down to the rests that are shorter, and the silence to be put into those that are not."""
    if not phrase.rests:
        return code, ()
    durations = code.durations.copy()
    lacking: list[tuple[int, int]] = []
    for symbol, seconds in phrase.rests:
        wanted = seconds * FRAMES_PER_SECOND
        there = durations[symbol] / factors[symbol]
        if wanted < there:
            durations[symbol] = wanted * factors[symbol]
        else:
            lacking.append((symbol, round(float(wanted - there))))
    ends = np.cumsum(durations / factors)
    places = [(round(float(ends[s] - 0.5 * durations[s] / factors[s])), count) for s, count in lacking if count]
    return EncodedPhrase(code.encoded, durations, code.ranges), tuple(places)


def _pitch_shifts(phrase: Phrase, around: float) -> FloatArray | None:
    """Semitones that the manners add to a shift of everything, the sum of both kept within 12."""
    shifts = np.array([manner.pitch_semitones for manner in phrase.manners])
    return (np.clip(shifts + around, -12.0, 12.0) - around).astype(np.float32) if shifts.any() else None


def squeezed_count(frame_count: int, squeeze: float) -> int:
    """How many frames are left of so many after time was squeezed."""
    return max(round(frame_count / squeeze), 1)


def squeezed(chunks: Iterator[FloatArray], frame_count: int, squeeze: float) -> Iterator[FloatArray]:
    """Frames with time running `squeeze` times as fast, by linear interpolation between neighbours."""
    if abs(squeeze - 1.0) < 1e-6:
        return chunks
    total = squeezed_count(frame_count, squeeze)
    return resampled(chunks, frame_count, np.minimum(np.arange(total) * squeeze, frame_count - 1))


def resampled(chunks: Iterator[FloatArray], frame_count: int, positions: FloatArray) -> Iterator[FloatArray]:
    """The frames (n, 82) at positions (m,), which rise, by linear interpolation between neighbours."""
    total = len(positions)
    window = np.zeros((0, FRAME_CHANNELS), np.float32)
    first = done = 0
    for chunk in chunks:
        window = np.concatenate([window, chunk])
        known = first + len(window)
        complete = known >= frame_count
        stop = total if complete else int(np.searchsorted(positions, known - 1, side="left"))
        if stop <= done:
            continue
        wanted = positions[done:stop] - first
        lower = np.minimum(wanted.astype(np.int64), len(window) - 1)
        upper = np.minimum(lower + 1, len(window) - 1)
        share = (wanted - lower).astype(np.float32)[:, None]
        yield (1.0 - share) * window[lower] + share * window[upper]
        done = stop
        keep = min(int(positions[min(done, total - 1)]) - first, len(window))
        window, first = window[keep:], first + keep
