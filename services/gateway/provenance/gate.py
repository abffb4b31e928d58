"""The release gate: what a stage has marked is looked for again, and only what carries its number goes out, signed.

Mark, detect, release: the stages mark (they hold the key, and the grant says the number), here the mark is found in the
finished work, and a manifest is signed for it. What fails any of the three is a failed job, and no file.
"""

from __future__ import annotations

from collections.abc import Mapping
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

ContentT = TypeVar("ContentT", bytes, Path)
CHECK_EVERY_S: Final = 3.0


@dataclass
class SpeechGate:
    """Looks at speech as it passes: whether it carries the number, all along.

    Looked at are stretches of `CHECK_EVERY_S`. One that does not show the mark (a pause, say) is looked at again
    together with what follows; two are enough to end the stream.
    """

    key: bytes
    number: int
    _waiting: list[FloatArray] = field(default_factory=list)
    _size: int = 0
    _passed: bool = False

    def write(self, samples: FloatArray) -> None:
        """Raises LikenessError MARK_FAILED when what has passed does not carry the mark."""
        self._waiting.append(samples)
        before, self._size = self._size, self._size + samples.size
        every = round(CHECK_EVERY_S * SAMPLE_RATE_HZ)
        if self._size // every == before // every:
            return
        stretch = np.concatenate(self._waiting)
        if carries_speech_mark(stretch, self.key, self.number):
            _require(True, "speech")
            self._waiting, self._size, self._passed = [], 0, True
        elif self._size >= 2 * every:
            _require(False, "speech")

    def finish(self) -> None:
        """The rest, unless what came before has passed: it is of the same marker.

        Raises:
            LikenessError: MARK_FAILED.
        """
        if self._size and not self._passed:
            require_speech_mark(np.concatenate(self._waiting), self.key, self.number)


def require_speech_mark(samples: FloatArray, key: bytes, number: int) -> None:
    """Raises LikenessError MARK_FAILED unless samples (n,) at 16 kHz carry the number."""
    _require(carries_speech_mark(samples, key, number), "speech")


def carries_speech_mark(samples: FloatArray, key: bytes, number: int) -> bool:
    """Whether samples (n,) at 16 kHz carry the number. See `confirms_audio_mark`."""
    from services.common.marking.audio import confirms_audio_mark  # searching takes libraries that few processes need

    return confirms_audio_mark(samples, SAMPLE_RATE_HZ, key, number)


def require_picture_mark(encoded: bytes, key: bytes, number: int) -> None:
    """Raises LikenessError MARK_FAILED unless a picture's file carries the number."""
    from services.common.marking.picture import picture_carries

    pixels = np.ascontiguousarray(decode_picture(encoded)[:, :, ::-1])
    _require(picture_carries(pixels, key, number), "picture")


def require_film_mark(path: Path, key: bytes, number: int) -> None:
    """Raises LikenessError MARK_FAILED unless a film carries the number in its pictures."""
    from services.common.marking.film import film_carries

    _require(film_carries(path, key, number), "film")


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
