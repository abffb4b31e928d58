"""How a job's record is shown."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from services.gateway.api.fields import unix_seconds
from services.gateway.db import Job
from services.gateway.jobs import JobKind, JobState


class JobError(BaseModel):
    """Why a job failed or was cancelled."""

    reason: str
    detail: str
    field: str | None


class Progress(BaseModel):
    """How far work in the background is; null where nothing is known yet."""

    phase: str = Field(description="waiting; of a film probing, swapping, joining; of others what they are at.")
    done: int = Field(0, description="Frames of a film, chunks of a text, items of a batch.")
    total: int | None = None
    rate: float | None = Field(None, description="Done per second.")
    seconds_left: float | None = None
    failed: int | None = Field(None, description="Of a batch: items done that did not succeed.")
    frames_done: int = Field(0, description="Of a film, as `done`.")
    frames_total: int | None = None
    frames_per_second: float | None = None


class JobOut(BaseModel):
    """The record of a job."""

    id: str
    object: Literal["job"]
    kind: JobKind
    status: JobState
    progress: Progress | None = Field(description="Of work in the background.")
    queue_position: int | None = Field(
        None, description="Of a queued job that is asked for alone: 1 is the next of this tenant."
    )
    priority: int = Field(description="Lower is earlier.")
    attempt: int = Field(description="Counts retries.")
    created_at: int
    started_at: int | None
    finished_at: int | None
    deadline_at: int | None = Field(description="When it fails unless it has ended.")
    expires_at: int | None = Field(description="When the record and its result are deleted.")
    request_id: str
    consent: str
    likeness: str = Field(description="Id of the voice or face.")
    target_media: str | None
    media: str | None = Field(description="Id of the result, where it was kept.")
    media_url: str | None
    timestamps_url: str | None = Field(description="Where the times of a speech's words are, if they were asked for.")
    batch: str | None = Field(description="Id of the batch that it is an item of.")
    custom_id: str | None = Field(description="Of an item of a batch.")
    webhook_url: str | None
    parameters: dict[str, Any]
    figures: dict[str, Any] = Field(description="What was measured; for speech see the response headers.")
    error: JobError | None


def show_job(job: Job, queue_position: int | None = None) -> JobOut:
    return JobOut.model_validate(
        {
            "id": job.id,
            "object": "job",
            "kind": job.kind,
            "status": job.state,
            "progress": show_progress(job.progress),
            "queue_position": queue_position,
            "priority": job.priority or 0,
            "attempt": job.attempt or 1,
            "created_at": unix_seconds(job.created_at),
            "started_at": moment(job.started_at),
            "finished_at": moment(job.finished_at),
            "deadline_at": moment(job.deadline_at),
            "expires_at": moment(job.expires_at),
            "request_id": job.request_id,
            "consent": job.consent_id,
            "likeness": job.likeness_id,
            "target_media": job.target_media_id,
            "media": job.media_id,
            "media_url": media_url(job),
            "timestamps_url": timestamps_url(job),
            "batch": job.batch_id,
            "custom_id": job.custom_id,
            "webhook_url": job.webhook_url,
            "parameters": job.parameters,
            "figures": job.figures,
            "error": job.error,
        }
    )


def show_progress(progress: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The same names for all kinds; films have names of their own beside them."""
    if progress is None:
        return None
    shown = dict(progress)
    for name, of_film in (("done", "frames_done"), ("total", "frames_total"), ("rate", "frames_per_second")):
        if of_film in shown:
            shown.setdefault(name, shown[of_film])
    return shown


def media_url(job: Job) -> str | None:
    return None if job.media_id is None else f"/v1/media/{job.media_id}"


def timestamps_url(job: Job) -> str | None:
    has_some = job.kind == "speech" and job.media_id is not None and job.parameters.get("timestamps")
    return f"/v1/jobs/{job.id}/timestamps" if has_some else None


def moment(value: datetime | None) -> int | None:
    return None if value is None else unix_seconds(value)
