"""What the client returns: frozen records of the API's JSON objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final, Self

ENDED: Final = ("succeeded", "failed", "canceled")  # of a job


class _FromJson:
    """Reads the fields that a record knows; the server may send more."""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        known = {item.name for item in fields(cls)}  # type: ignore[arg-type]
        return cls(**{name: item for name, item in value.items() if name in known})


@dataclass(frozen=True)
class Consent(_FromJson):
    """A person's permission to use their likeness, or the statement that a persona is synthetic."""

    id: str
    who: str
    kind: str  # spoken | filmed | attested | synthetic
    uses: list[str]
    state: str  # live | revoked | expired
    created_at: int  # Unix seconds
    evidence: str = ""
    attested_by: str | None = None
    expires_at: str | None = None
    revoked_at: str | None = None
    languages: list[str] = field(default_factory=list)  # none: any
    purpose: str | None = None
    evidence_media: str | None = None
    recorded_by: str = ""
    measured: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Voice(_FromJson):
    """An enrolled voice.

    Attributes:
        similarity: cosine of the calibrated voice's own speech to the recording; None when not calibrated.
        formant_warp: formant scale found at enrolment.
        quality: how good the recording is, under "advice" what to do better, under "clips" what became of each file.
        adaptation: when the voice was adapted, and "similarity_before" and "similarity"; None when it was not.
    """

    id: str
    name: str
    consent: str
    created_at: int  # Unix seconds
    sample_media: str = ""
    similarity: float | None = None
    formant_warp: float = 1.0
    quality: Mapping[str, Any] = field(default_factory=dict)
    adaptation: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Face(_FromJson):
    """An enrolled face; in its first picture the largest of `faces_found` faces, with `box` in pixels.

    `pictures` has one entry per picture of the person: the same, its "media", and its "distance" to the middle of all.
    """

    id: str
    consent: str
    created_at: int  # Unix seconds
    name: str | None = None
    picture_media: str = ""
    faces_found: int = 1
    box: Mapping[str, float] = field(default_factory=dict)
    pictures: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class SpeechFigures:
    """How a speech was made; None where the server did not measure.

    `real_time_factor` is seconds of computing per second of audio; below 1 is faster than it plays.
    `speaker_similarity` is the cosine of the speech's speaker embedding with the enrolled voice's.
    """

    real_time_factor: float | None = None
    time_to_first_audio_ms: float | None = None
    speaker_similarity: float | None = None


@dataclass(frozen=True)
class Word(_FromJson):
    """A word, and when it is spoken, in seconds from the beginning of the audio.

    Attributes:
        punctuated_word: with the signs that touch it.
    """

    word: str
    start: float
    end: float
    punctuated_word: str = ""


@dataclass(frozen=True)
class Speech:
    """Spoken text. `audio` is empty when it went into a file; `words` are there where timestamps were asked for."""

    audio: bytes
    content_type: str
    size_bytes: int
    job_id: str
    figures: SpeechFigures
    words: tuple[Word, ...] = ()


@dataclass(frozen=True)
class Swap:
    """A swapped picture.

    Attributes:
        faces: one entry per face put in: its box, and dlib's distances of the result to source and target (below 0.6
            is the same person; None where not measurable).
        seconds: what the server needed.
    """

    picture: bytes
    content_type: str
    job_id: str
    media_id: str
    faces: tuple[Mapping[str, Any], ...]
    seconds: float | None


@dataclass(frozen=True)
class MediaFile:
    """A file that the server keeps."""

    content: bytes
    content_type: str


@dataclass(frozen=True)
class Media(_FromJson):
    """What the server knows of a file."""

    id: str
    purpose: str
    file_name: str
    content_type: str
    size_bytes: int
    sha256: str
    created_at: int  # Unix seconds
    expires_at: str | None = None
    job: str | None = None


@dataclass(frozen=True)
class Progress(_FromJson):
    """How far work in the background is; None where nothing is known yet.

    `done`, `total` and `rate` (per second) count frames of a film, chunks of a text, items of a batch; films have them
    under names of their own as well.
    """

    phase: str  # waiting; of a film probing, swapping, joining
    frames_done: int = 0
    frames_total: int | None = None
    frames_per_second: float | None = None
    seconds_left: float | None = None
    done: int = 0
    total: int | None = None
    rate: float | None = None
    failed: int | None = None  # of a batch


@dataclass(frozen=True)
class Job(_FromJson):
    """What the server keeps of one piece of work: a speech, a swap, a live session or a batch.

    `progress` is that of work in the background, as JSON object; `queue_position` is known where a single queued job
    was asked for, and begins at 1.
    """

    id: str
    kind: str
    status: str  # queued | processing | succeeded | failed | canceled
    created_at: int  # Unix seconds
    media: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)
    progress: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    queue_position: int | None = None
    priority: int = 0
    attempt: int = 1
    started_at: int | None = None
    finished_at: int | None = None
    batch: str | None = None
    custom_id: str | None = None
    timestamps_url: str | None = None  # of a speech that was ordered with timestamps


@dataclass(frozen=True)
class JobEvent:
    """Something that happened to a job.

    Attributes:
        kind: "state" (data has "status", and "error") or "progress" (data as that of the job).
        id: continue after it.
    """

    kind: str
    data: Mapping[str, Any]
    id: int | None = None


@dataclass(frozen=True)
class BatchCounts(_FromJson):
    """Requests of a batch: all, those that succeeded, and those that failed or were canceled."""

    total: int = 0
    completed: int = 0
    failed: int = 0


@dataclass(frozen=True)
class Batch(_FromJson):
    """Requests that were sent together.

    Attributes:
        status: in_progress, finalizing, completed, failed, cancelled or expired.
        output_file_id: media with the results, once there are some.
        error: why the batch as such failed.
    """

    id: str
    status: str
    created_at: int  # Unix seconds
    request_counts: BatchCounts
    input_file_id: str | None = None
    output_file_id: str | None = None
    endpoint: str | None = None
    metadata: Mapping[str, str] | None = None
    error: Mapping[str, Any] | None = None
    rate: float | None = None  # requests done per second
    seconds_left: float | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        counts = BatchCounts.from_json(value.get("request_counts") or {})
        return super().from_json({**value, "request_counts": counts})

    @property
    def is_done(self) -> bool:
        return self.status in ("completed", "failed", "cancelled", "expired")
