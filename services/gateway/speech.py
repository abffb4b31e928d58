"""A sentence: consent, synthesizer, vocoder, container, figures. Used by requests, and by whatever else speaks."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Final, NoReturn

import numpy as np

from services.common.audio import SAMPLE_RATE_HZ, FloatArray
from services.common.encode_audio import CONTENT_TYPES, AudioFormat, AudioStreamEncoder, encode_audio
from services.common.errors import LikenessError
from services.common.profile import SpeakerProfile
from services.gateway.auditing import Entry
from services.gateway.context import Gateway
from services.gateway.db import Job, Media
from services.gateway.figures import SpeechFigures, begin_to_measure, model_versions
from services.gateway.jobs import JobState, end_job_in
from services.gateway.jobs.records import CALLED_OFF
from services.gateway.media import publish, withdraw
from services.gateway.observations import observe_speech
from services.gateway.provenance import EMBEDDING
from services.gateway.provenance.gate import SpeechGate, number_of, release
from services.gateway.speech_voice import why_unusable
from services.gateway.stages import Call, fields_called
from services.gateway.synthesis import SampleStream, Utterance, Word
from services.gateway.timestamps import store_words

_log: Final = logging.getLogger(__name__)
HTTP_NAMES: Final = {
    "text": "input",
    "speed": "speed",
    "pitch_shift_semitones": "pitch_shift",
    "options.engine": "vocoder",
    "engine": "vocoder",
}


@dataclass(frozen=True)
class SpeechOrder:
    """Who says what, in which container."""

    voice: str  # id or name
    utterance: Utterance
    format: AudioFormat
    keep: bool = False  # also as media, named in the job record
    timestamps: bool = False  # when each word is spoken is wanted


def recorded(order: SpeechOrder) -> dict[str, Any]:
    """What a job's record keeps of an order: nothing of what is said."""
    utterance = asdict(order.utterance)
    text, dictionary = utterance.pop("text"), utterance.pop("dictionary")
    return utterance | {
        "response_format": order.format,
        "timestamps": order.timestamps,
        "input_characters": len(text),
        "dictionary_entries": len(dictionary),
    }


@dataclass
class Speech:
    """One utterance on its way, and its job record.

    Take the whole with `complete()`, or iterate `pieces()`; then call `end()` in any case. An utterance that was not
    heard to its end is cancelled and its record says so.
    """

    gateway: Gateway
    call: Call
    tenant: str
    job: Job
    order: SpeechOrder
    profile: SpeakerProfile
    voice_similarity: float | None
    started_at: float
    figures: SpeechFigures = field(default_factory=SpeechFigures)
    _stream: SampleStream = field(init=False)
    _gate: SpeechGate = field(init=False)
    _sent: bytearray = field(init=False, default_factory=bytearray)
    _file: bytes | None = field(init=False, default=None)
    _made: list[FloatArray] = field(init=False, default_factory=list)
    _arrived_at: float = field(init=False, default=0.0)
    _sample_count: int = field(init=False, default=0)
    _similarity: Callable[[], float] | None = field(init=False, default=None)
    _exhausted: bool = field(init=False, default=False)
    _ended: bool = field(init=False, default=False)
    _called_off: bool = field(init=False, default=False)
    _checked_at: float = field(init=False)
    _entry: Callable[[], Entry] | None = field(init=False, default=None)
    is_recorded: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._gate = SpeechGate(self.gateway.keys.mark, number_of(self.job))
        self._stream = SampleStream(self.gateway.stages, self.profile, self.order.utterance, self.call)
        self._checked_at = time.monotonic()

    @property
    def job_id(self) -> str:
        return self.job.id

    @property
    def frame_count(self) -> int:
        return self._stream.frame_count

    @property
    def words(self) -> list[Word]:
        """When the words of those sentences are spoken that were begun so far."""
        return self._stream.words

    def complete(self, entry: Callable[[], Entry] | None = None) -> bytes:
        """The whole file, its headers with the right sizes; figures and record are final afterwards.

        Args:
            entry: of the audit, to be committed with the record when that is a success; then `is_recorded`.
        """
        self._entry = entry
        with self._failure_recorded():
            for _ in self._samples():
                pass
            data = self._file = self._signed(encode_audio(self._all_samples(), self.order.format))
        self.end()
        self.require_not_called_off()
        return data

    def require_not_called_off(self) -> None:
        """Once it has ended.

        Raises:
            LikenessError: why it was called off: NOT_FOUND when the voice was deleted, CONSENT_NOT_LIVE when its
                consent was revoked.
        """
        if not self._called_off:
            return
        with self.gateway.database.session() as session:
            job = session.get(Job, self.job_id)
            told = (job.error if job is not None else None) or {}
        reason, detail = told.get("reason", "CANCELLED"), told.get("detail", "The work was called off.")
        raise LikenessError("NOT_FOUND" if reason == "CANCELLED" else reason, detail, field="voice")

    def abandon(self) -> None:
        """Stops the stages; nothing is recorded."""
        self._ended = True
        self._stream.cancel()

    def pieces(self) -> Iterator[bytes]:
        """The file in pieces, none empty, each as soon as it exists; after the last the record is settled.

        Raises:
            LikenessError: what a stage failed with, and why the speech was called off, which breaks it off.
        """
        with self._failure_recorded():
            encoder = AudioStreamEncoder(self.order.format)
            for samples in self._samples():
                if piece := encoder.write(samples):
                    self._sent += piece
                    yield piece
            if piece := encoder.finish():
                self._sent += piece
                yield piece
        self.end()
        self.require_not_called_off()

    def end(self) -> None:
        """Settles the record: measures what was heard to its end, cancels what was not."""
        if self._ended:
            return
        if not self._exhausted:
            self._stream.cancel()
            self._record("canceled", error=LikenessError("CANCELLED", "The listener went away before the end."))
            return
        similarity = self._similarity or self._measuring()
        with self._failure_recorded():
            released = self._file or self._signed(bytes(self._sent), detached=True)
            media = self._keep() if self.order.keep else None
        sha256 = hashlib.sha256(released).hexdigest()
        self.figures.models = self._models()
        try:
            self.figures.speaker_similarity = round(similarity(), 5)
        except LikenessError as error:
            # The speech is sound and may be on its way already; that its likeness is unknown is told, not hidden.
            self.figures.similarity_error = f"{error.reason}: {error.detail}"
            _log.warning("job %s: similarity not measured: %s", self.job_id, error.detail)
        ended = self._record("succeeded", media_id=None if media is None else media.id, sha256=sha256)
        self._called_off = not ended
        if media is not None and self._called_off:
            withdraw(self.gateway, media)

    def _samples(self) -> Iterator[FloatArray]:
        """Samples as they leave the stages, and have passed the gate."""
        with fields_called(HTTP_NAMES):
            for chunk in self._stream:
                self._look_at_voice()
                self._arrived_at = max(self._arrived_at, chunk.arrived_at)
                self._made.append(chunk.samples)
                yield from self._noted(self._gate.write(chunk.samples))
            if not self._made:
                raise LikenessError("INTERNAL", "The stages returned no audio for this text.")
            self._similarity = self._measuring()
            yield from self._noted(self._gate.finish())
        self._exhausted = True

    def _look_at_voice(self) -> None:
        """From time to time. Raises LikenessError when the voice may not be used any more."""
        now = time.monotonic()
        if now - self._checked_at < self.gateway.settings.consent_interval_s:
            return
        self._checked_at = now
        with self.gateway.database.session() as session:
            withdrawn = why_unusable(session, self.job)
        if withdrawn is not None:
            raise withdrawn

    def _noted(self, samples: FloatArray) -> Iterator[FloatArray]:
        """The samples, once the figures speak of them; nothing when there are none."""
        if not samples.size:
            return
        if self.figures.ttfa_ms is None:
            self._arrived_at = time.monotonic()
            self.figures.ttfa_ms = round((self._arrived_at - self.started_at) * 1000.0, 2)
        elapsed_s = self._arrived_at - self.started_at  # how long the listener takes is no matter
        self._sample_count += samples.size
        self.figures.audio_seconds = round(self._sample_count / SAMPLE_RATE_HZ, 5)
        self.figures.real_time_factor = round(elapsed_s / self.figures.audio_seconds, 5)
        self.figures.vocoder = self._stream.engine
        yield samples

    def _all_samples(self) -> FloatArray:
        """Everything that was made (n,); the gate lets all of it pass, or nothing."""
        return np.concatenate(self._made)

    def _measuring(self) -> Callable[[], float]:
        """How alike it sounds: the encoder looks at that while the mark is looked for, and the file made and signed."""
        enrolled, samples = self.profile.embedding, self._all_samples()
        try:
            return begin_to_measure(self.gateway.stages, samples, enrolled, self.call, label="the speech")
        except LikenessError as error:
            return partial(_fail, error)

    def _keep(self) -> Media:
        """What was answered; of a stream, a file with the right sizes, where its container knows of such."""
        if self.order.timestamps:
            store_words(self.gateway, self.tenant, self.job_id, self.words, self.figures.audio_seconds)
        content_type = CONTENT_TYPES[self.order.format]
        kept = self._file
        if kept is None and content_type in EMBEDDING:
            kept = self._signed(encode_audio(self._all_samples(), self.order.format))
        return publish(
            self.gateway,
            kept or bytes(self._sent),
            tenant=self.tenant,
            content_type=content_type,
            purpose="speech",
            job_id=self.job_id,
        )

    def _signed(self, data: bytes, *, detached: bool = False) -> bytes:
        content_type = CONTENT_TYPES[self.order.format]
        return release(self.gateway, self.job, data, content_type, "speech", models=self._models(), detached=detached)

    def _models(self) -> dict[str, str]:
        return model_versions(self.gateway.settings.models_dir, self.figures.vocoder)

    @contextmanager
    def _failure_recorded(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._stream.cancel()
            told = error if isinstance(error, LikenessError) else LikenessError("INTERNAL", repr(error))
            self._record("canceled" if told.reason in CALLED_OFF else "failed", error=told)
            raise

    def _record(
        self,
        state: JobState,
        *,
        error: LikenessError | None = None,
        media_id: str | None = None,
        sha256: str | None = None,
    ) -> bool:
        """Whether this was the job's end, and not another before. When the voice may not be used any more, what is
        complete is no success either: the job is canceled."""
        self._ended = True
        with self.gateway.database.session() as session:
            withdrawn = why_unusable(session, self.job) if state == "succeeded" else None
            if withdrawn is not None:
                state, error, media_id, sha256 = "canceled", withdrawn, None, None
            entries = [self._entry()] if self._entry is not None and state == "succeeded" else []
            ended = end_job_in(
                session,
                self.job_id,
                state,
                figures=self.figures.to_json(),
                error=error,
                media_id=media_id,
                sha256=sha256,
                entries=entries,
            )
        self.is_recorded = ended and bool(entries)
        observe_speech(state, self.figures)
        return ended and withdrawn is None


def _fail(error: LikenessError) -> NoReturn:
    raise error
