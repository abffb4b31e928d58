"""The calibration of a voice: what a recording's averages cannot tell is tried out, and the speaker encoder judges.

First a few formant warps: scaling the frequency axis moves formants, and only one scale fits a vocal tract. Then, from
the best of them, the search of `voice_search`. What was found is kept only if sentences that the search did not use
sound more like the person with it than without.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np

from services.common.profile import SpeakerProfile
from services.common.speaker_space import FORMANT_WARPS
from services.gateway.figures import measure_similarity
from services.gateway.stages import Call, Stages
from services.gateway.synthesis import SampleStream, Utterance
from services.gateway.voice_search import F64, search

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
        correction: what the search found, in its own units; empty when there was none or it was of no use.
        proposals: how many the search listened to.
    """

    profile: SpeakerProfile
    warp: float
    similarity: float
    engine: str
    trials: tuple[Trial, ...]
    similarity_before: float | None = None
    correction: tuple[float, ...] = ()
    proposals: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "warp": self.warp,
            "similarity": self.similarity,
            "similarity_before": self.similarity_before,
            "engine": self.engine,
            "trials": [asdict(trial) for trial in self.trials],
            "correction": list(self.correction),
            "proposals": self.proposals,
        }


def calibrate(stages: Stages, profile: SpeakerProfile, call: Call, *, threads: int, rounds: int) -> Calibration:
    """Finds the warp out of `FORMANT_WARPS`, then searches for so many rounds; 0 leaves it at the warp.

    Raises:
        LikenessError: what a stage failed with; a voice is not enrolled uncalibrated without saying so.
    """
    with ThreadPoolExecutor(max_workers=threads, thread_name_prefix="calibration") as pool:

        def judge(tried: SpeakerProfile, sentence: str) -> float:
            return _similarity(stages, tried, sentence, call)

        def run_all(function: Callable[[F64], float], proposals: list[F64]) -> list[float]:
            return list(pool.map(function, proposals))

        def proof(tried: SpeakerProfile) -> float:
            return float(np.mean(list(pool.map(lambda sentence: judge(tried, sentence), PROOF))))

        warped = [replace(profile, formant_warp=warp) for warp in FORMANT_WARPS]
        similarities = list(pool.map(lambda tried: round(judge(tried, SENTENCE), 5), warped))
        trials = tuple(Trial(warp, similarity) for warp, similarity in zip(FORMANT_WARPS, similarities, strict=True))
        best = int(np.argmax(similarities))
        start = warped[best]
        plain = Calibration(start, FORMANT_WARPS[best], similarities[best], ENGINE, trials)
        if rounds == 0:
            return plain
        enough_s = (1.0 - TIME_SHARE) * call.remaining_s()
        found = search(
            start,
            lambda tried, number: judge(tried, SEARCHED[number % len(SEARCHED)]),
            rounds=rounds,
            seed=SEED,
            run_all=run_all,
            may_go_on=lambda: call.remaining_s() > enough_s,
        )
        before, after = round(proof(start), 5), round(proof(found.profile), 5)
    if after <= before:
        return replace(plain, similarity=before, similarity_before=before, proposals=found.heard)
    return replace(
        plain,
        profile=found.profile,
        similarity=after,
        similarity_before=before,
        correction=tuple(round(float(value), 5) for value in found.correction),
        proposals=found.heard,
    )


def _similarity(stages: Stages, profile: SpeakerProfile, sentence: str, call: Call) -> float:
    """Speaks a sentence and compares it with the enrolled voice."""
    stream = SampleStream(stages, profile, Utterance(sentence, seed=SEED, engine=ENGINE), call)
    chunks = [chunk.samples for chunk in stream]
    samples = np.concatenate(chunks) if chunks else np.zeros(0, np.float32)
    return measure_similarity(stages, samples, profile.embedding, call, label="a trial of the calibration")
