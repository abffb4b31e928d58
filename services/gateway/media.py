"""Files of the gateway: published media, which a record names, and working copies that stages read and write."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from sqlalchemy import delete

from likeness.v1 import faceswap_pb2, types_pb2
from services.common.errors import LikenessError
from services.common.store import StoredObject, media_reference, read_reference
from services.gateway.context import Gateway
from services.gateway.db import Media, find
from services.gateway.db.models import utc_now
from services.gateway.ids import new_id

Purpose = Literal[
    "voice_sample",
    "face_picture",
    "swap_target",
    "swap_reference",
    "swap",
    "speech",
    "batch_input",
    "batch_result",
    "upload",
    "consent_evidence",
    "manifest",
    "timestamps",
]
BESIDE: Final = ("manifest", "timestamps")  # lie beside the output of a job, and go with it
INLINE_PICTURE_BYTES: Final = 1024 * 1024  # larger ones travel by reference
KEPT_WITH_LIKENESS: Final = ("voice_sample", "face_picture", "consent_evidence")  # not deleted by age
MAX_MEDIA_BYTES: Final = 512 * 1024 * 1024
MAX_SOURCE_BYTES: Final = 256 * 1024 * 1024  # of an upload that is enrolled, which is read into memory
_SUFFIXES: Final = {
    "audio/wav": "wav",
    "audio/mpeg": "mp3",
    "audio/flac": "flac",
    "audio/ogg": "ogg",
    "audio/aac": "aac",
    "audio/pcm": "pcm",
    "audio/mp4": "m4a",
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/bmp": "bmp",
    "image/gif": "gif",
    "video/mp4": "mp4",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "video/x-matroska": "mkv",
    "application/json": "json",
    "application/jsonl": "jsonl",
    "application/pdf": "pdf",
    "application/octet-stream": "bin",
    "application/c2pa": "c2pa",
}


def publish(
    gateway: Gateway, data: bytes, *, tenant: str, content_type: str, purpose: Purpose, job_id: str | None = None
) -> Media:
    """Stores a file and its record. With `publish_file` the one way by which a file gets an id that can be fetched.

    Args:
        job_id: of the job that made it.
    """
    return _record(
        gateway,
        lambda key: gateway.store.put(key, data, content_type),
        tenant=tenant,
        content_type=content_type,
        purpose=purpose,
        job_id=job_id,
    )


def publish_file(gateway: Gateway, path: Path, *, tenant: str, content_type: str, purpose: Purpose) -> Media:
    """The same for a file that is too large for the memory."""
    return _record(
        gateway,
        lambda key: gateway.store.put_file(key, path, content_type),
        tenant=tenant,
        content_type=content_type,
        purpose=purpose,
    )


def _record(
    gateway: Gateway,
    put: Callable[[str], StoredObject],
    *,
    tenant: str,
    content_type: str,
    purpose: Purpose,
    job_id: str | None = None,
) -> Media:
    media_id = new_id("media")
    stored = put(f"media/{tenant}/{media_id}.{suffix_of(content_type)}")
    media = media_record(stored, media_id, tenant=tenant, content_type=content_type, purpose=purpose, job_id=job_id)
    with gateway.database.session() as session:
        session.add(media)
    return media


def put_beside(
    gateway: Gateway,
    content: bytes,
    *,
    media_id: str,
    tenant: str,
    job_id: str,
    content_type: str,
    purpose: Purpose,
    file_name: str | None = None,
) -> Media:
    """Keeps a file that lies beside a job's output (its purpose is one of `BESIDE`). Doing it again replaces it.

    Raises:
        LikenessError: STORE_UNAVAILABLE.
    """
    key = f"media/{tenant}/{media_id}-{hashlib.sha256(content).hexdigest()[:16]}.{suffix_of(content_type)}"
    stored = gateway.store.put(key, content, content_type)
    with gateway.database.session() as session:
        before = session.get(Media, media_id)
        outdated = None if before is None or before.key == key else before.key
        media = session.merge(
            media_record(
                stored,
                media_id,
                tenant=tenant,
                content_type=content_type,
                purpose=purpose,
                job_id=job_id,
                file_name=file_name,
            )
        )
    if outdated is not None:
        gateway.store.delete(outdated)
    return media


def media_record(
    stored: StoredObject,
    media_id: str,
    *,
    tenant: str,
    content_type: str,
    purpose: Purpose,
    job_id: str | None = None,
    file_name: str | None = None,
) -> Media:
    """The record of a stored file, to be added in the transaction that publishes it.

    Args:
        job_id: of the job that made it.
        file_name: under which clients save it; by default its id and the suffix of its kind.
    """
    return Media(
        id=media_id,
        tenant=tenant,
        created_at=utc_now(),
        key=stored.key,
        sha256=stored.sha256,
        size_bytes=stored.size_bytes,
        content_type=content_type,
        purpose=purpose,
        file_name=file_name or f"{media_id}.{suffix_of(content_type)}",
        job_id=job_id,
    )


def suffix_of(content_type: str) -> str:
    return _SUFFIXES[content_type]


def withdraw(gateway: Gateway, media: Media) -> None:
    """Deletes a file and its record, when nothing points to the record any more."""
    with gateway.database.session() as session:
        session.execute(delete(Media).where(Media.id == media.id))
    gateway.store.delete(media.key)


def media_bytes(gateway: Gateway, media: Media) -> bytes:
    """The content, compared with the SHA-256 of the record."""
    return read_reference(gateway.store, reference_to(gateway, media), MAX_MEDIA_BYTES)


def bytes_of(gateway: Gateway, tenant: str, media_id: str, *, kinds: tuple[str, ...], field: str) -> bytes:
    """The content of media that a request names instead of sending a file.

    Args:
        kinds: how its content type may begin.

    Raises:
        LikenessError: NOT_FOUND, MEDIA_UNSUPPORTED, MEDIA_TOO_LARGE, naming the field.
    """
    with gateway.database.session() as session:
        media = find(session, Media, tenant, media_id, what="media", field=field)
    if not media.content_type.startswith(kinds):
        raise LikenessError("MEDIA_UNSUPPORTED", f"{media.id} is {media.content_type}.", field=field)
    if media.size_bytes > MAX_SOURCE_BYTES:
        detail = f"{media.id} has {media.size_bytes} bytes; here at most {MAX_SOURCE_BYTES} are taken."
        raise LikenessError("MEDIA_TOO_LARGE", detail, field=field)
    return media_bytes(gateway, media)


def reference_to(gateway: Gateway, media: Media) -> types_pb2.MediaReference:
    """How a stage is told of published media."""
    stored = StoredObject(media.key, media.sha256, media.size_bytes, media.content_type)
    return media_reference(gateway.store, stored)


@contextmanager
def picture_for_stage(gateway: Gateway, tenant: str, data: bytes) -> Iterator[faceswap_pb2.Picture]:
    """A picture as a stage takes it: inside the message when small, else by a reference that lives for the block."""
    if len(data) <= INLINE_PICTURE_BYTES:
        yield faceswap_pb2.Picture(encoded=data)
        return
    stored = gateway.store.put(f"work/{tenant}/{new_id('picture')}", data, "application/octet-stream")
    try:
        yield faceswap_pb2.Picture(media=media_reference(gateway.store, stored))
    finally:
        gateway.store.delete(stored.key)


@contextmanager
def destination_for_stage(gateway: Gateway, tenant: str) -> Iterator[types_pb2.MediaReference]:
    """Where a stage may write its result; what lies there is deleted after the block."""
    key = f"work/{tenant}/{new_id('result')}"
    try:
        yield types_pb2.MediaReference(bucket=gateway.store.bucket, key=key)
    finally:
        gateway.store.delete(key)


def picture_bytes(gateway: Gateway, picture: faceswap_pb2.Picture) -> bytes:
    """The bytes of a picture that a stage returned, inline or by reference."""
    if picture.WhichOneof("content") == "media":
        return read_reference(gateway.store, picture.media, MAX_MEDIA_BYTES)
    return picture.encoded
