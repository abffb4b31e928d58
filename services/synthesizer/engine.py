"""Text and a speaker -> acoustic frames, streamed: the stage without its server.

Each sentence is spoken phrase by phrase. The frames of a phrase come from the network in chunks; a chunk never depends
on how large the others are. `timing` knows how long everything lasts before any of it is made.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Final

import numpy as np

from services.common.audio import FRAME_CHANNELS, FRAMES_PER_SECOND, FloatArray
from services.common.errors import LikenessError
from services.common.profile import SpeakerProfile
from services.common.speaker_space import LOG_F0
from services.synthesizer.network import EncodedPhrase, Network
from services.synthesizer.space import MAX_LOG_F0, MIN_LOG_F0, VoiceSpace
from services.synthesizer.text import Phrase, analyse
from services.synthesizer.timing import SPEED_RANGE, PhraseTiming, WordTime, time_phrase

PITCH_SHIFT_RANGE: Final = (-12.0, 12.0)
TEMPERATURE_RANGE: Final = (0.0, 1.5)
SEMITONE: Final = float(np.log(2.0)) / 12.0  # in natural log of frequency
FIRST_CHUNK_FRAMES: Final = 24  # 0.3 s: soon to be heard
CHUNK_FRAMES: Final = 60
MAX_PIECE_FRAMES: Final = 240  # of silence in one piece
REMEMBERED_FRAMES: Final = 16_000  # 200 s of speech, 5 MB
STYLE: Final = "rms"  # of the learned ways of speaking the clearest by far, for speakers of any pitch

# symbols, their durations, seed, frames per chunk, temperature
_PhraseKey = tuple[tuple[str, ...], bytes, tuple[int, int], int, float]


@dataclass(frozen=True)
class SpeechOptions:
    """How it is spoken.

    Attributes:
        temperature: how much speech varies with the seed: 0 not at all, 1 as in training.

    Raises:
        LikenessError: INVALID_FIELD for a number out of range.
    """

    speed: float = 1.0
    pitch_shift_semitones: float = 0.0
    seed: int = 0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        ranges = {"speed": SPEED_RANGE, "pitch_shift_semitones": PITCH_SHIFT_RANGE, "temperature": TEMPERATURE_RANGE}
        for name, bounds in ranges.items():
            value = getattr(self, name)
            if not bounds[0] <= value <= bounds[1]:  # also refuses NaN
                detail = f"{name} must lie between {bounds[0]:g} and {bounds[1]:g}, got {value:g}."
                raise LikenessError("INVALID_FIELD", detail, field=name)


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
        dictionary: Mapping[str, str] | None = None,
    ) -> Iterator[FrameChunk]:
        """Frames of a text in the voice of a speaker, as they come; the text is checked before the first.

        Args:
            text: plain, or SSML.
            dictionary: how words are pronounced that the speaker says otherwise; see `services.common.pronunciation`.

        Raises:
            LikenessError: see `services.synthesizer.text.analyse`; ADAPTATION_REFUSED for a voice that was adapted to
                another network.
        """
        options = options or SpeechOptions()
        self._require_fitting(speaker)
        return self._speak(analyse(text, language, dictionary), speaker, options, chunk_frames)

    def _require_fitting(self, speaker: SpeakerProfile) -> None:
        adaptation, version = speaker.adaptation, self._network.version
        if adaptation is not None and adaptation.network != version:
            detail = (
                f"The adaptation of the voice was made for the network {adaptation.network!r}, this is {version!r}. "
                "Make it again with this version, or remove it from the voice."
            )
            raise LikenessError("ADAPTATION_REFUSED", detail, field="speaker.adaptation.network")

    def plain_frames(self, text: str, seed: int = 0) -> FloatArray:
        """Normalised frames (T, 82) of a text before they get a speaker, without the pauses after phrases."""
        made: list[FloatArray] = []
        for number, phrase in enumerate(analyse(text, "en")):
            made += self._phrase_frames(self._network.encode(phrase.sequence, STYLE), (seed, number), CHUNK_FRAMES)
        return np.concatenate(made)

    def voice_space(self, speaker: SpeakerProfile, pitch_shift_semitones: float = 0.0) -> VoiceSpace:
        """From `plain_frames` to those of the speaker."""
        return VoiceSpace(
            speaker,
            self._network.styles[STYLE],
            self._network.liveliness,
            pitch_offset=self._network.pitch_offsets[STYLE],
            pitch_shift_semitones=pitch_shift_semitones,
        )

    def _speak(
        self, phrases: list[Phrase], speaker: SpeakerProfile, options: SpeechOptions, chunk_frames: int
    ) -> Iterator[FrameChunk]:
        space = self.voice_space(speaker, options.pitch_shift_semitones)
        sentence_count = phrases[-1].sentence_index + 1
        opening = space.silence(round(phrases[0].rest_before_s * FRAMES_PER_SECOND))
        frames_before, phrase_number = len(opening), 0
        for sentence_index, group in groupby(phrases, key=lambda phrase: phrase.sentence_index):
            sentence = [self._timed(phrase, options) for phrase in group]
            words: list[WordTime] = []
            for timing in sentence:
                words += timing.word_times(frames_before)
                frames_before += timing.frame_count + _pause_frames(timing.phrase, options.speed)
            for timing in sentence:
                seed = (options.seed, phrase_number)
                phrase_number += 1
                pieces = self._acoustic_pieces(timing, space, seed, options.temperature, chunk_frames)
                pause = space.silence(_pause_frames(timing.phrase, options.speed))
                last = timing is sentence[-1]
                for frames, final in _with_silence(opening, pieces, timing.frame_count, pause):
                    yield FrameChunk(
                        frames, sentence_index, sentence_count, sentence_end=final and last, words=tuple(words)
                    )
                    words = []
                opening = opening[:0]

    def _timed(self, phrase: Phrase, options: SpeechOptions) -> PhraseTiming:
        code = self._network.encode(phrase.sequence, STYLE)
        return time_phrase(phrase, code, options.speed, options.pitch_shift_semitones)

    def _acoustic_pieces(
        self, timing: PhraseTiming, space: VoiceSpace, seed: tuple[int, int], temperature: float, chunk_frames: int
    ) -> Iterator[FloatArray]:
        """Acoustic frames of a phrase, with its rests, chunk by chunk."""
        code = timing.code
        key = (timing.phrase.sequence.symbols, code.durations.tobytes(), seed, chunk_frames, temperature)
        pieces = map(space, timing.stretched(self._remembered(key, code)))
        return _with_rests(_with_pitch(pieces, timing.pitch_curve), timing.rests, space)

    def _remembered(self, key: _PhraseKey, phrase: EncodedPhrase) -> Iterator[FloatArray]:
        """The same as `_phrase_frames`, made only once while it is remembered."""
        seed, chunk_frames, temperature = key[2:]
        with self._lock:
            known = self._spoken.get(key)
            if known is not None:
                self._spoken.move_to_end(key)
        if known is not None:
            edges = [0, *range(min(FIRST_CHUNK_FRAMES, len(known)), len(known), chunk_frames), len(known)]
            yield from (known[start:stop] for start, stop in pairwise(edges) if stop > start)
            return
        made = []
        for frames in self._phrase_frames(phrase, seed, chunk_frames, temperature):
            made.append(frames)
            yield frames
        with self._lock:
            self._spoken[key] = np.concatenate(made)
            while len(self._spoken) > 1 and sum(map(len, self._spoken.values())) > REMEMBERED_FRAMES:
                self._spoken.popitem(last=False)

    def _phrase_frames(
        self, phrase: EncodedPhrase, seed: tuple[int, int], chunk_frames: int, temperature: float = 1.0
    ) -> Iterator[FloatArray]:
        """Refined normalised frames of a phrase, chunk by chunk."""
        network, total = self._network, phrase.frame_count
        decoder = network.decode(phrase, seed, temperature)
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
    """Rests last as long as was asked for, natural pauses go with the speed."""
    return round(phrase.pause_after_s * FRAMES_PER_SECOND / (1.0 if phrase.pause_is_exact else speed))


def _with_pitch(pieces: Iterator[FloatArray], curve: FloatArray | None) -> Iterator[FloatArray]:
    """Acoustic frames in pieces, higher by as many semitones as the curve has for each."""
    done = 0
    for frames in pieces:
        if curve is not None:
            shifted = frames[:, LOG_F0] + SEMITONE * curve[done : done + len(frames)]
            frames[:, LOG_F0] = np.clip(shifted, MIN_LOG_F0, MAX_LOG_F0)
            done += len(frames)
        yield frames


def _with_silence(
    opening: FloatArray, pieces: Iterator[FloatArray], frame_count: int, pause: FloatArray
) -> Iterator[tuple[FloatArray, bool]]:
    """Silence, pieces of so many frames together, silence; and which is the last. None waits for the next."""
    for silence in _in_pieces(opening):
        yield silence, False
    done = 0
    for piece in pieces:
        done += len(piece)
        if done < frame_count:
            yield piece, False
        else:
            yield np.concatenate([piece, pause[:MAX_PIECE_FRAMES]]), len(pause) <= MAX_PIECE_FRAMES
    for start in range(MAX_PIECE_FRAMES, len(pause), MAX_PIECE_FRAMES):
        yield pause[start : start + MAX_PIECE_FRAMES], start + MAX_PIECE_FRAMES >= len(pause)


def _with_rests(
    pieces: Iterator[FloatArray], rests: Sequence[tuple[int, int]], space: VoiceSpace
) -> Iterator[FloatArray]:
    """Acoustic frames in pieces, with silence before those frames that a rest precedes."""
    waiting = deque(rests)
    done = 0
    for piece in pieces:
        start = 0
        while waiting and waiting[0][0] <= done + len(piece):
            place, count = waiting.popleft()
            if place - done > start:
                yield piece[start : place - done]
            start = place - done
            yield from _in_pieces(space.silence(count))
        if start < len(piece):
            yield piece[start:]
        done += len(piece)


def _in_pieces(frames: FloatArray) -> Iterator[FloatArray]:
    """Frames in messages of a moderate size."""
    for start in range(0, len(frames), MAX_PIECE_FRAMES):
        yield frames[start : start + MAX_PIECE_FRAMES]
