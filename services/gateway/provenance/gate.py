"""The release gate: what a stage has marked is looked for again, and only what carries its number goes out, signed.

Mark, detect, release: the stages mark (they hold the key, and the grant says the number), here the mark is found in the
finished work, and a manifest is signed for it. What fails any of the three is a failed job, and no file.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar, cast

import numpy as np

from services.common.audio import SAMPLE_RATE_HZ, FloatArray
from services.common.decode import decode_picture
from services.common.errors import LikenessError
from services.gateway.context import Gateway
from services.gateway.db import Job
from services.gateway.observations import marks_total
from services.gateway.provenance.claims import Ingredient, OutputClaim, OutputKind
from services.gateway.provenance.release import sign_output, store_sidecar

_log: Final = logging.getLogger(__name__)
ContentT = TypeVar("ContentT", bytes, Path)
HOLD_S: Final = 0.9  # as much shows whether it is marked: so it did in 60 of 60 pieces
HOLD_STEP_S: Final = 0.3
CHECK_EVERY_S: Final = 3.0
_NOTHING: Final = np.zeros(0, np.float32)


@dataclass
class SpeechGate:
    """Lets speech pass that carries the number, all along.

    Nothing leaves before the mark has been seen: the beginning is held back, `HOLD_S` of what can be heard. Then
    stretches of `CHECK_EVERY_S` are looked at as they pass. One that does not show the mark (a pause, say) is looked at
    again together with what follows; two are enough to end the stream.
    """

    key: bytes
    number: int
    _waiting: list[FloatArray] = field(default_factory=list)
    _size: int = 0
    _before: int = 0
    _look_at: int = round(HOLD_S * SAMPLE_RATE_HZ)
    _passed: bool = False

    def write(self, samples: FloatArray) -> FloatArray:
        """What may leave now, of these samples (n,) and of those that were held back: (m,), maybe nothing.

        Raises:
            LikenessError: MARK_FAILED when what has come does not carry the mark.
        """
        self._waiting.append(samples)
        self._size += samples.size
        if self._size < self._look_at:
            return samples if self._passed else _NOTHING
        stretch, at_last = np.concatenate(self._waiting), self._size >= 2 * CHECK_EVERY_S * SAMPLE_RATE_HZ
        surely = not (self._passed or at_last)
        if carries_speech_mark(stretch, self.key, self.number, begins_at=self._before, surely=surely):
            leaving = samples if self._passed else stretch
            self._waiting, self._size, self._before, self._passed = [], 0, self._before + self._size, True
        else:
            if at_last:
                _require(False, "speech")
            leaving = samples if self._passed else _NOTHING
        self._look_at = self._size + round((CHECK_EVERY_S if self._passed else HOLD_STEP_S) * SAMPLE_RATE_HZ)
        return leaving

    def finish(self) -> FloatArray:
        """What was held back to the end. After a stretch that passed nothing is: the rest is of the same marker.

        Raises:
            LikenessError: MARK_FAILED.
        """
        if self._passed or not self._size:
            return _NOTHING
        held = np.concatenate(self._waiting)
        require_speech_mark(held, self.key, self.number)
        return held


def require_speech_mark(samples: FloatArray, key: bytes, number: int) -> None:
    """Raises LikenessError MARK_FAILED unless samples (n,) at 16 kHz, from the first on, carry the number."""
    _require(carries_speech_mark(samples, key, number), "speech")


def carries_speech_mark(
    samples: FloatArray, key: bytes, number: int, *, begins_at: int = 0, surely: bool = False
) -> bool:
    """Whether samples (n,) at 16 kHz, as they come from the marker, carry the number. See `confirms_audio_mark`.

    Args:
        begins_at: how many came before.
        surely: sound of which too little can be heard does not count.

    Raises:
        LikenessError: MARK_FAILED when it cannot be looked for.
    """

    def look() -> bool:
        from services.common.marking.audio import confirms_audio_mark, is_enough_to_confirm

        enough = not surely or is_enough_to_confirm(samples, SAMPLE_RATE_HZ)
        return enough and confirms_audio_mark(samples, SAMPLE_RATE_HZ, key, number, begins_at=begins_at)

    return _looked(look, "speech")


def require_picture_mark(encoded: bytes, key: bytes, number: int) -> None:
    """Raises LikenessError MARK_FAILED unless a picture's file carries the number."""

    def look() -> bool:
        from services.common.marking.picture import picture_carries

        return picture_carries(np.ascontiguousarray(decode_picture(encoded)[:, :, ::-1]), key, number)

    _require(_looked(look, "picture"), "picture")


def require_film_mark(path: Path, key: bytes, number: int) -> None:
    """Raises LikenessError MARK_FAILED unless a film carries the number in its pictures."""

    def look() -> bool:
        from services.common.marking.film import film_carries

        return film_carries(path, key, number)

    _require(_looked(look, "film"), "film")


def _looked(look: Callable[[], bool], kind: OutputKind) -> bool:
    """What `look` says; where it fails, nothing is released. It imports what few processes need."""
    try:
        return look()
    except Exception as error:
        _log.exception("the detector of marks failed")
        marks_total.labels(kind=kind, outcome="missing").inc()
        detail = f"The mark of the finished {kind} could not be looked for, so that it is not released: {error}"
        raise LikenessError("MARK_FAILED", detail) from error


def _require(found: bool, kind: OutputKind) -> None:
    marks_total.labels(kind=kind, outcome="found" if found else "missing").inc()
    if not found:
        detail = f"The mark was not found in the finished {kind}, so that it is not released."
        raise LikenessError("MARK_FAILED", detail)


def number_of(job: Job) -> int:
    """Raises LikenessError MARK_FAILED for a job from before there were marks."""
    if not job.mark:
        raise LikenessError("MARK_FAILED", f"{job.id} has no number to mark its output with. Ask for it again.")
    return job.mark


def release(
    gateway: Gateway,
    job: Job,
    content: ContentT,
    content_type: str,
    kind: OutputKind,
    *,
    target: Ingredient | None = None,
    models: Mapping[str, str] = {},
    detached: bool = False,
) -> ContentT:
    """The file with its signed manifest, or itself where that lies beside it, which is stored then.

    Args:
        target: of a swap, what it was made of.
        models: versions by name.
        detached: it has been sent already.

    Raises:
        LikenessError: MANIFEST_FAILED, STORE_UNAVAILABLE.
    """
    claim = OutputClaim(
        kind=kind,
        job_id=job.id,
        consent_id=job.consent_id,
        mark=number_of(job),
        models=dict(models),
        ingredients=() if target is None else (target,),
    )
    signed = sign_output(gateway, content, content_type, claim=claim, detached=detached)
    if signed.sidecar is not None:
        store_sidecar(gateway, job.tenant, job.id, signed.sidecar, content_type)
    return cast(ContentT, signed.content)
