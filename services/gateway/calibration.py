"""The formant warp of a voice: found by trying a few and listening which one sounds most like the person.

A mel band's mean and spread can be copied from a reference; where the vocal tract puts the formants cannot. Scaling
the frequency axis moves them, and the speaker encoder judges the result.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np

from services.common.profile import SpeakerProfile
from services.gateway.figures import measure_similarity
from services.gateway.stages import Call, Stages
from services.gateway.synthesis import SampleStream, Utterance

WARPS: Final = (0.85, 0.92, 1.0, 1.08, 1.16, 1.24)
SENTENCE: Final = "The quick brown fox jumps over the lazy dog, and both of them go home for dinner."
ENGINE: Final = "draft"  # needs no weights and is the fastest
SEED: Final = 7


@dataclass(frozen=True)
class Trial:
    """One warp and the cosine of its speech to the enrolled voice."""

    warp: float
    similarity: float


@dataclass(frozen=True)
class Calibration:
    """All trials, and the one that won."""

    warp: float
    similarity: float
    engine: str
    trials: tuple[Trial, ...]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "trials": [asdict(trial) for trial in self.trials]}


def calibrate(stages: Stages, profile: SpeakerProfile, call: Call, *, threads: int) -> Calibration:
    """Speaks a fixed sentence with each of `WARPS` and keeps the one whose speaker embedding is nearest.

    Raises:
        LikenessError: what a stage failed with; a voice is not enrolled uncalibrated without saying so.
    """
    with ThreadPoolExecutor(max_workers=threads, thread_name_prefix="calibration") as pool:
        trials = tuple(pool.map(lambda warp: _try_warp(stages, profile, warp, call), WARPS))
    best = max(trials, key=lambda trial: trial.similarity)
    return Calibration(warp=best.warp, similarity=best.similarity, engine=ENGINE, trials=trials)


def _try_warp(stages: Stages, profile: SpeakerProfile, warp: float, call: Call) -> Trial:
    utterance = Utterance(SENTENCE, seed=SEED, engine=ENGINE)
    stream = SampleStream(stages, replace(profile, formant_warp=warp), utterance, call)
    chunks = [chunk.samples for chunk in stream]
    samples = np.concatenate(chunks) if chunks else np.zeros(0, np.float32)
    similarity = measure_similarity(stages, samples, profile.embedding, call, label=f"the trial with warp {warp}")
    return Trial(warp, round(similarity, 5))
