"""When each word of a speech is spoken: as it is answered, and kept beside the audio."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.gateway.context import Gateway
from services.gateway.db import Media
from services.gateway.media import Purpose, put_beside
from services.gateway.synthesis import Word

PURPOSE: Final[Purpose] = "timestamps"
CONTENT_TYPE: Final = "application/json"


def words_to_json(words: Iterable[Word]) -> list[dict[str, Any]]:
    return [asdict(word) for word in words]


def words_from_json(words: Iterable[Mapping[str, Any]], *, later_s: float = 0.0) -> list[Word]:
    """The words, all of them later by so many seconds."""
    found = (Word(**word) for word in words)
    return [replace(w, start=round(w.start + later_s, 4), end=round(w.end + later_s, 4)) for w in found]


def store_words(gateway: Gateway, tenant: str, job_id: str, words: Sequence[Word], audio_seconds: float) -> None:
    """Keeps the words beside a job's output: `GET /v1/jobs/{id}/timestamps` finds them. Doing it again replaces them.

    Raises:
        LikenessError: STORE_UNAVAILABLE.
    """
    kept = {
        "object": "audio.timestamps",
        "job": job_id,
        "duration": round(audio_seconds, 4),
        "words": words_to_json(words),
    }
    put_beside(
        gateway,
        json.dumps(kept, ensure_ascii=False).encode(),
        media_id=_media_id(job_id),
        tenant=tenant,
        job_id=job_id,
        content_type=CONTENT_TYPE,
        purpose=PURPOSE,
        file_name=f"{_media_id(job_id)}.json",
    )


def find_words(session: Session, tenant: str, job_id: str) -> Media | None:
    """The record of the words that lie beside a job's output."""
    wanted = Media.tenant == tenant, Media.id == _media_id(job_id), Media.purpose == PURPOSE
    found: Media | None = session.scalar(select(Media).where(*wanted))
    return found


def _media_id(job_id: str) -> str:
    return f"timestamps_{job_id.removeprefix('job_')}"
