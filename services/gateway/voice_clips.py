"""Which of several recordings are of the person that most of them are of.

Each clip long enough to be judged alone is embedded; whoever does not sound like the others is left out of the voice
and reported. Clips too short for that are taken as they are. The embeddings of clips see their loud parts only and at
most `JUDGED_S` of each, so that judging costs less than the embedding of everything that follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.common.audio import SAMPLE_RATE_HZ, FloatArray
from services.common.errors import LikenessError
from services.gateway.context import Gateway
from services.gateway.stages import Call

JUDGED_S: Final = 15.0  # of one clip
# Cosines. Measured on sentences of 3.6 s of 40 speakers of speechocean762: of five clips of one person 0.3 % are left
# out, of one stranger among four or five 97 % are found; of two clips, 95 % of those of two people are refused, and
# 1.5 % of those of one. Longer clips are told apart better.
LIKE_ANOTHER: Final = 0.65  # of two clips of the same person
LIKE_THE_OTHERS: Final = 0.72  # of a clip and the mean of several of the same person
ROUNDS: Final = 5


@dataclass(frozen=True)
class Clip:
    """What was made of one recording.

    Attributes:
        number: from 1, in the order they were sent.
        similarity: cosine to the mean of the other clips that are used; None where it was too short to be judged, or
            there is nothing to compare it with.
        used: whether it is part of the voice.
    """

    number: int
    seconds: float
    similarity: float | None
    used: bool

    def record(self) -> dict[str, Any]:
        return asdict(self)


def same_speaker(embeddings: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Of L2-normalised embeddings (N, 256), N > 1: which are of the commonest speaker, and how like its others each is.

    Begins with the clip that is likest to all, and those like it; then whoever is like the mean of the others belongs.
    """
    cosines = (embeddings @ embeddings.T).astype(np.float64)
    belongs = cosines[int(np.argmax(cosines.sum(axis=1)))] >= LIKE_ANOTHER
    for _ in range(ROUNDS):
        likeness, needed = _likeness_to_others(embeddings, belongs)
        updated = likeness >= needed
        if not updated.any() or np.array_equal(updated, belongs):
            break
        belongs = updated
    return belongs, _likeness_to_others(embeddings, belongs)[0]


def _likeness_to_others(
    embeddings: NDArray[np.float32], belongs: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cosine of each embedding to the mean of the others that belong, and what it has to reach."""
    likeness = np.ones(len(embeddings))
    needed = np.ones(len(embeddings))
    for i, embedding in enumerate(embeddings):
        others = belongs.copy()
        others[i] = False
        if others.any():
            mean = embeddings[others].mean(axis=0)
            likeness[i] = float(embedding @ mean) / max(float(np.linalg.norm(mean)), 1e-9)
            needed[i] = LIKE_THE_OTHERS if others.sum() > 1 else LIKE_ANOTHER
    return likeness, needed


def judge_clips(
    gateway: Gateway, pieces: Sequence[FloatArray], call: Call, *, label: str, field: str
) -> tuple[FloatArray, list[Clip]]:
    """The clips (n,) of 16 kHz that fit together, end to end, and what became of each.

    Raises:
        LikenessError: SPEAKER_MISMATCH when no speaker has most of the clips; what the encoder failed with.
    """
    seconds = [round(piece.size / SAMPLE_RATE_HZ, 2) for piece in pieces]
    found = [_embedding(gateway, piece, call, label) for piece in pieces] if len(pieces) > 1 else [None]
    judged = [index for index, embedding in enumerate(found) if embedding is not None]
    similarity: dict[int, float] = {}
    left_out: set[int] = set()
    if len(judged) > 1:
        belongs, likeness = same_speaker(np.stack([e for e in found if e is not None]))
        similarity = {index: round(float(like), 4) for index, like in zip(judged, likeness, strict=True)}
        left_out = {index for index, fits in zip(judged, belongs, strict=True) if not fits}
        if 2 * len(left_out) >= len(judged):
            raise _split(sorted(set(judged) - left_out), sorted(left_out), field)
    clips = [
        Clip(index + 1, seconds[index], similarity.get(index), index not in left_out) for index in range(len(pieces))
    ]
    return np.concatenate([piece for index, piece in enumerate(pieces) if index not in left_out]), clips


def advice(clips: Sequence[Clip]) -> list[str]:
    """What to tell who sent clips that were left out."""
    return [
        f"Clip {clip.number} sounds like somebody else than the others and was left out. Send recordings of one person."
        for clip in clips
        if not clip.used
    ]


def _embedding(gateway: Gateway, piece: FloatArray, call: Call, label: str) -> NDArray[np.float32] | None:
    """Of one clip (n,); None when there is too little speech to judge it by."""
    part = piece[: round(JUDGED_S * SAMPLE_RATE_HZ)]
    try:
        embedded = gateway.stages.embed(part, call, label=label, embedding_only=True, surely_speech=True)
    except LikenessError as error:
        if error.reason != "SPEECH_TOO_SHORT":
            raise
        return None
    return np.asarray(embedded.profile.embedding, np.float32)


def _split(fitting: Sequence[int], others: Sequence[int], field: str) -> LikenessError:
    sides = [" and ".join(str(index + 1) for index in side) for side in (fitting, others)]
    which = f"Clip {sides[0]} sounds" if len(fitting) == 1 else f"Clips {sides[0]} sound"
    detail = (
        f"{which} like somebody else than {sides[1]}, and none of them has most of the clips."
        " Send recordings of one person."
    )
    return LikenessError("SPEAKER_MISMATCH", detail, field=field)
