"""The calibration of a voice: what a recording's averages cannot tell is tried out, and the speaker encoder judges.

First a few formant warps: scaling the frequency axis moves formants, and only one scale fits a vocal tract. Then, from
the best of them, the search of `voice_search`. What was found is kept only if sentences that the search did not use
sound more like the person with it than without, and a recogniser hears their words as well; if it does not, half of
what was found is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np

from services.common.audio import FRAME_CHANNELS, FloatArray
from services.common.profile import SpeakerProfile
from services.common.recognition import recognise, word_errors, words
from services.common.speaker_space import FORMANT_WARPS
from services.common.wire import frames_from_wire
from services.gateway.figures import begin_to_measure, measure_similarity
from services.gateway.stages import Call, Stages
from services.gateway.synthesis import SampleStream, Utterance
from services.gateway.voice_search import Listened, corrected, search

SENTENCE: Final = "The quick brown fox jumps over the lazy dog, and both of them go home for dinner."
SEARCHED: Final = (
    SENTENCE,
    "Yesterday a small group of farmers came down from the hills to sell apples.",
    "Could you show me the shortest way to the old railway station?",
    "A large ship was waiting in the harbour while the wind grew stronger.",
    "My brother thinks that nobody should worry about such things.",
)
PROOF: Final = (
    "We should have asked the doctor to join us before the meeting began.",
    "Pick up those big yellow boxes and put them near the kitchen door.",
)
ENGINE: Final = "draft"  # needs no weights and is the fastest
SEED: Final = 7
LABEL: Final = "a trial of the calibration"
STRENGTHS: Final = (1.0, 0.5)  # of what the search found; the first that can be kept is
WORDS_TO_LOSE: Final = 1  # of the proof, more than before the search
TIME_SHARE: Final = 0.6  # of what is left of the deadline may go into the search


@dataclass(frozen=True)
class Trial:
    """One warp and the cosine of its speech to the enrolled voice."""

    warp: float
    similarity: float


@dataclass(frozen=True, eq=False)
class Calibration:
    """The calibrated profile, and how it came about.

    Attributes:
        warp: the best of the trials.
        similarity: cosine of the calibrated voice's speech to the recording, on sentences the search did not use where
            there was a search.
        similarity_before: the same before the search; None without one.
        correction: what the search found for all sounds alike, cosines over the mel axis; empty when there was none or
            it was of no use.
        strength: how much of what was found is used; None without a search.
        proposals: how many sentences the search listened to.
    """

    profile: SpeakerProfile
    warp: float
    similarity: float
    engine: str
    trials: tuple[Trial, ...]
    similarity_before: float | None = None
    correction: tuple[float, ...] = ()
    strength: float | None = None
    proposals: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "warp": self.warp,
            "similarity": self.similarity,
            "similarity_before": self.similarity_before,
            "engine": self.engine,
            "trials": [asdict(trial) for trial in self.trials],
            "correction": list(self.correction),
            "strength": self.strength,
            "proposals": self.proposals,
        }


def calibrate(stages: Stages, profile: SpeakerProfile, call: Call, *, threads: int, rounds: int) -> Calibration:
    """Finds the warp out of `FORMANT_WARPS`, then searches for so many rounds; 0 leaves it at the warp.

    A profile without sounds, of an encoder of before there were any, gets the warp only.

    Raises:
        LikenessError: what a stage failed with; a voice is not enrolled uncalibrated without saying so.
    """
    with ThreadPoolExecutor(max_workers=threads, thread_name_prefix="calibration") as pool:

        def judge(tried: SpeakerProfile) -> float:
            return round(_similarity(stages, tried, _speak(stages, tried, SENTENCE, call)[0], call), 5)

        def listen(tried: SpeakerProfile, number: int) -> Listened:
            samples, frames = _speak(stages, tried, SEARCHED[number % len(SEARCHED)], call)
            return Listened(frames, stages.guide(samples, tried.embedding, call)[1])

        def run_all(function: Callable[[int], Listened], sentences: Sequence[int]) -> list[Listened]:
            return list(pool.map(function, sentences))

        def proof(tried: SpeakerProfile) -> _Proof:
            heard = list(pool.map(lambda sentence: _prove(stages, tried, sentence, call), PROOF))
            return _Proof(round(float(np.mean([one.similarity for one in heard])), 5), sum(one.lost for one in heard))

        warped = [replace(profile, formant_warp=warp) for warp in FORMANT_WARPS]
        similarities = list(pool.map(judge, warped))
        trials = tuple(Trial(warp, similarity) for warp, similarity in zip(FORMANT_WARPS, similarities, strict=True))
        best = int(np.argmax(similarities))
        start = warped[best]
        plain = Calibration(start, FORMANT_WARPS[best], similarities[best], ENGINE, trials)
        if rounds == 0 or profile.sounds is None:
            return plain
        enough_s = (1.0 - TIME_SHARE) * call.remaining_s()
        found = search(start, listen, rounds=rounds, run_all=run_all, may_go_on=lambda: call.remaining_s() > enough_s)
        before = proof(start)
        searched = replace(plain, similarity=before.similarity, similarity_before=before.similarity, strength=0.0)
        searched = replace(searched, proposals=found.heard)
        for strength in STRENGTHS:
            tried = corrected(start, np.float32(strength) * found.correction)
            after = proof(tried)
            if after.similarity > before.similarity and after.lost <= before.lost + WORDS_TO_LOSE:
                common = tuple(round(float(value) * strength, 4) for value in found.common)
                return replace(
                    searched, profile=tried, similarity=after.similarity, correction=common, strength=strength
                )
        return searched


@dataclass(frozen=True)
class _Proof:
    """Sentences that the search did not use: their cosine to the enrolled voice, and words that a recogniser lost."""

    similarity: float
    lost: int


def _prove(stages: Stages, profile: SpeakerProfile, sentence: str, call: Call) -> _Proof:
    samples, _ = _speak(stages, profile, sentence, call)
    waiting = begin_to_measure(stages, samples, profile.embedding, call, label=LABEL)
    lost = word_errors(words(sentence), recognise(samples))  # while the encoder looks at it
    return _Proof(waiting(), lost)


def _speak(stages: Stages, profile: SpeakerProfile, sentence: str, call: Call) -> tuple[FloatArray, FloatArray]:
    """Samples (n,) of a sentence at 16 kHz, and the acoustic frames (T, 82) that they were made of."""
    stream = SampleStream(stages, profile, Utterance(sentence, seed=SEED, engine=ENGINE), call, keep_frames=True)
    samples = np.concatenate([np.zeros(0, np.float32), *(chunk.samples for chunk in stream)])
    frames = [frames_from_wire(frames, field="synthesizer.frames") for frames in stream.frames]
    return samples, np.concatenate([np.zeros((0, FRAME_CHANNELS), np.float32), *frames])


def _similarity(stages: Stages, profile: SpeakerProfile, samples: FloatArray, call: Call) -> float:
    """Compares what was spoken with the enrolled voice."""
    return measure_similarity(stages, samples, profile.embedding, call, label=LABEL)
