"""Text and a speaker -> acoustic frames, streamed: the stage without its server.

Each sentence is spoken phrase by phrase. The frames of a phrase come from the network in chunks; a chunk never depends
on how large the others are. Beyond the tempo that the network speaks well, time itself is stretched or squeezed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Final

import numpy as np

from services.common.audio import FRAME_CHANNELS, FRAMES_PER_SECOND, FloatArray
from services.common.errors import LikenessError
from services.common.profile import SpeakerProfile
from services.synthesizer.network import EncodedPhrase, Network
from services.synthesizer.space import VoiceSpace
from services.synthesizer.text import Phrase, analyse

SPEED_RANGE: Final = (0.25, 4.0)
SPOKEN_SPEED_RANGE: Final = (0.7, 1.5)  # what the network is asked for; the rest is stretched
PITCH_SHIFT_RANGE: Final = (-12.0, 12.0)
FIRST_CHUNK_FRAMES: Final = 24  # 0.3 s: soon to be heard
CHUNK_FRAMES: Final = 60
REMEMBERED_FRAMES: Final = 16_000  # 200 s of speech, 5 MB
STYLE: Final = "rms"  # of the learned ways of speaking the clearest by far, for speakers of any pitch

_PhraseKey = tuple[tuple[str, ...], float, tuple[int, int], int]  # symbols, tempo, seed, frames per chunk


@dataclass(frozen=True)
class SpeechOptions:
    """How it is spoken.

    Raises:
        LikenessError: INVALID_FIELD for a number out of range.
    """

    speed: float = 1.0
    pitch_shift_semitones: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, bounds in (("speed", SPEED_RANGE), ("pitch_shift_semitones", PITCH_SHIFT_RANGE)):
            value = getattr(self, name)
            if not bounds[0] <= value <= bounds[1]:  # also refuses NaN
                detail = f"{name} must lie between {bounds[0]:g} and {bounds[1]:g}, got {value:g}."
                raise LikenessError("INVALID_FIELD", detail, field=name)


@dataclass(frozen=True)
class WordTime:
    """When a word, as written, is spoken; seconds from the start of the whole utterance."""

    word: str
    start_s: float
    end_s: float


@dataclass(frozen=True, eq=False)
class FrameChunk:
    """Consecutive acoustic frames (n, 82) of one sentence."""

    frames: FloatArray
    sentence_index: int
    sentence_count: int
    sentence_end: bool
    words: tuple[WordTime, ...] = ()  # all words of the sentence, on its first chunk


class Synthesizer:
    """Speaks. One instance serves any number of threads.

    The frames of a phrase before they get a speaker are remembered for a while: who says the same again in another
    voice, as the search for a voice's calibration does, pays only for the voice.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._spoken: OrderedDict[_PhraseKey, FloatArray] = OrderedDict()  # normalised frames, last used last
        self._lock = threading.Lock()

    def synthesize(
        self,
        text: str,
        speaker: SpeakerProfile,
        options: SpeechOptions | None = None,
        language: str = "en",
        chunk_frames: int = CHUNK_FRAMES,
    ) -> Iterator[FrameChunk]:
        """Frames of a text in the voice of a speaker, as they come; the text is checked before the first.

        Raises:
            LikenessError: see `services.synthesizer.text.analyse`.
        """
        options = options or SpeechOptions()
        return self._speak(analyse(text, language), speaker, options, chunk_frames)

    def plain_frames(self, text: str, seed: int = 0) -> FloatArray:
        """Normalised frames (T, 82) of a text before they get a speaker, without the pauses after phrases."""
        made: list[FloatArray] = []
        for number, phrase in enumerate(analyse(text, "en")):
            made += self._phrase_frames(self._network.encode(phrase.sequence, STYLE), (seed, number), CHUNK_FRAMES)
        return np.concatenate(made)

    def _speak(
        self, phrases: list[Phrase], speaker: SpeakerProfile, options: SpeechOptions, chunk_frames: int
    ) -> Iterator[FrameChunk]:
        space = VoiceSpace(
            speaker,
            self._network.styles[STYLE],
            self._network.liveliness,
            pitch_offset=self._network.pitch_offsets[STYLE],
            pitch_shift_semitones=options.pitch_shift_semitones,
        )
        sentence_count = phrases[-1].sentence_index + 1
        spoken_speed = float(np.clip(options.speed, *SPOKEN_SPEED_RANGE))
        squeeze = options.speed / spoken_speed
        frames_before = phrase_number = 0
        for sentence_index, group in groupby(phrases, key=lambda phrase: phrase.sentence_index):
            sentence = list(group)
            encoded = [self._network.encode(phrase.sequence, STYLE).faster(spoken_speed) for phrase in sentence]
            words: list[WordTime] = []
            starts = frames_before
            for phrase, code in zip(sentence, encoded, strict=True):
                words += word_times(phrase, code, squeeze, starts)
                starts += squeezed_count(code.frame_count, squeeze) + _pause_frames(phrase, options.speed)
            frames_before = starts
            for phrase, code in zip(sentence, encoded, strict=True):
                last = phrase is sentence[-1]
                seed = (options.seed, phrase_number)
                phrase_number += 1
                key = (phrase.sequence.symbols, spoken_speed, seed, chunk_frames)
                pieces = squeezed(self._remembered(key, code), code.frame_count, squeeze)
                pause = space.silence(_pause_frames(phrase, options.speed))
                for frames, final in _mark_last(pieces):
                    acoustic = space(frames)
                    yield FrameChunk(
                        np.concatenate([acoustic, pause]) if final else acoustic,
                        sentence_index,
                        sentence_count,
                        sentence_end=final and last,
                        words=tuple(words),
                    )
                    words = []

    def _remembered(self, key: _PhraseKey, phrase: EncodedPhrase) -> Iterator[FloatArray]:
        """The same as `_phrase_frames`, made only once while it is remembered."""
        seed, chunk_frames = key[2:]
        with self._lock:
            known = self._spoken.get(key)
            if known is not None:
                self._spoken.move_to_end(key)
        if known is not None:
            edges = [0, *range(min(FIRST_CHUNK_FRAMES, len(known)), len(known), chunk_frames), len(known)]
            yield from (known[start:stop] for start, stop in pairwise(edges) if stop > start)
            return
        made = []
        for frames in self._phrase_frames(phrase, seed, chunk_frames):
            made.append(frames)
            yield frames
        with self._lock:
            self._spoken[key] = np.concatenate(made)
            while len(self._spoken) > 1 and sum(map(len, self._spoken.values())) > REMEMBERED_FRAMES:
                self._spoken.popitem(last=False)

    def _phrase_frames(self, phrase: EncodedPhrase, seed: tuple[int, int], chunk_frames: int) -> Iterator[FloatArray]:
        """Refined normalised frames of a phrase, chunk by chunk."""
        network, total = self._network, phrase.frame_count
        decoder = network.decode(phrase, seed)
        reach = network.reach_frames
        coarse = np.zeros((0, FRAME_CHANNELS), np.float32)  # from frame `first` on
        first = done = 0
        while done < total:
            stop = min(done + (FIRST_CHUNK_FRAMES if done == 0 else chunk_frames), total)
            needed = min(stop + reach, total) - (first + len(coarse))
            coarse = np.concatenate([coarse, decoder.read(needed)])
            refined = network.refine(coarse[: min(stop + reach, total) - first])
            yield refined[done - first : stop - first]
            keep = max(stop - reach, 0)
            coarse, first, done = coarse[keep - first :], keep, stop


def _pause_frames(phrase: Phrase, speed: float) -> int:
    return round(phrase.pause_after_s * FRAMES_PER_SECOND / speed)


def word_times(phrase: Phrase, code: EncodedPhrase, squeeze: float, first_frame: int) -> list[WordTime]:
    """When each written word of a phrase is spoken; words that are not spoken are left out."""
    ends = np.cumsum(code.durations) / squeeze
    starts = np.concatenate([[0.0], ends[:-1]])
    times: list[WordTime] = []
    for index, word in enumerate(phrase.words):
        symbols = [i for i, written in enumerate(phrase.written_index) if written == index]
        if symbols:
            start = (first_frame + starts[symbols[0]]) / FRAMES_PER_SECOND
            end = (first_frame + ends[symbols[-1]]) / FRAMES_PER_SECOND
            times.append(WordTime(word, round(float(start), 4), round(float(end), 4)))
    return times


def squeezed_count(frame_count: int, squeeze: float) -> int:
    """How many frames are left of so many after time was squeezed."""
    return max(round(frame_count / squeeze), 1)


def squeezed(chunks: Iterator[FloatArray], frame_count: int, squeeze: float) -> Iterator[FloatArray]:
    """Frames with time running `squeeze` times as fast, by linear interpolation between neighbours."""
    if abs(squeeze - 1.0) < 1e-6:
        yield from chunks
        return
    total = squeezed_count(frame_count, squeeze)
    positions = np.minimum(np.arange(total) * squeeze, frame_count - 1)
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


def _mark_last(pieces: Iterator[FloatArray]) -> Iterator[tuple[FloatArray, bool]]:
    held: FloatArray | None = None
    for piece in pieces:
        if held is not None:
            yield held, False
        held = piece
    if held is not None:
        yield held, True
