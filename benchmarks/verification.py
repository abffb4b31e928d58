"""Who is it: retrieval among speakers, and the equal error rate of verification."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.common.audio import FloatArray

Scores = NDArray[np.float64]


def retrieval_top1(embeddings: FloatArray, speakers: list[int], enrolled: FloatArray) -> float:
    """Share of embeddings (N, 256) whose nearest row of `enrolled` (S, 256) is the row of their own speaker."""
    nearest = np.argmax(embeddings @ enrolled.T, axis=1)
    return float(np.mean(nearest == np.asarray(speakers)))


def equal_error_rate(same: Scores, different: Scores) -> float:
    """Error rate at the threshold where as many same-speaker scores lie below as different-speaker ones above.

    Between two thresholds the larger of both rates is taken where it is smallest: the value is never flattered.
    """
    if same.size == 0 or different.size == 0:
        raise ValueError("both kinds of trials are needed")
    thresholds = np.unique(np.concatenate([same, different]))
    missed = np.searchsorted(np.sort(same), thresholds, side="left") / same.size
    accepted = 1.0 - np.searchsorted(np.sort(different), thresholds, side="left") / different.size
    return float(np.min(np.maximum(missed, accepted)))


def trial_scores(embeddings: FloatArray, speakers: list[int], enrolled: FloatArray) -> tuple[Scores, Scores]:
    """Cosines of all pairs of embedding and enrolled speaker: those of the same speaker, and the others."""
    cosine = (embeddings @ enrolled.T).astype(np.float64)
    own = np.asarray(speakers)[:, None] == np.arange(len(enrolled))[None, :]
    return cosine[own], cosine[~own]
