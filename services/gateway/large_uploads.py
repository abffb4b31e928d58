"""Large files in parts: announced, sent part by part to the store or to the gateway, put together, hashed, looked at.

    open -> completing -> completed, which has its media
    open | completing -> aborted: called off, too late, or not what was announced

Completing may be asked for again, also at the same time, and after a crash in the middle: everything it makes has a
name that follows from the upload's, and the last step is one transaction.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import IO, Final

from sqlalchemy import update

from services.common.errors import LikenessError
from services.common.store import StoredPart
from services.gateway.content_kinds import UploadPurpose, content_type_for
from services.gateway.context import Gateway
from services.gateway.db import Upload, find
from services.gateway.db.models import utc_now
from services.gateway.ids import new_id
from services.gateway.media import media_record, suffix_of
from services.gateway.signed_urls import sign_path
from services.gateway.uploads import SNIFFED_BYTES

UNFINISHED: Final = ("open", "completing")
MAX_PARTS: Final = 10_000  # of S3
_WHAT: Final = "upload"


@dataclass(frozen=True)
class UploadOrder:
    """A file that is announced. `sha256` is of the whole, in lower-case hexadecimal; None leaves it unchecked."""

    file_name: str
    size_bytes: int
    sha256: str | None
    purpose: UploadPurpose


def begin_upload(gateway: Gateway, tenant: str, order: UploadOrder) -> Upload:
    """Opens an upload. Raises LikenessError MEDIA_TOO_LARGE, STORE_UNAVAILABLE."""
    limit = gateway.settings.max_large_upload_bytes
    if order.size_bytes > limit:
        detail = f"The file has {order.size_bytes} bytes; at most {limit} are taken."
        raise LikenessError("MEDIA_TOO_LARGE", detail, field="size_bytes")
    upload_id = new_id("upload")
    key = f"uploads/{tenant}/{upload_id}"
    now = utc_now()
    upload = Upload(
        id=upload_id,
        tenant=tenant,
        created_at=now,
        state="open",
        purpose=order.purpose,
        file_name=order.file_name,
        size_bytes=order.size_bytes,
        part_size_bytes=max(gateway.settings.upload_part_bytes, -(-order.size_bytes // MAX_PARTS)),
        sha256=order.sha256,
        key=key,
        store_upload_id=gateway.store.parts.begin(key),
        parts=[],
        expires_at=now + timedelta(seconds=gateway.settings.upload_ttl_s),
    )
    with gateway.database.session() as session:
        session.add(upload)
    return upload


def part_count(upload: Upload) -> int:
    return -(-upload.size_bytes // upload.part_size_bytes)


def part_size(upload: Upload, number: int) -> int:
    """Bytes of a part, numbered from 1; all but the last are of the same size."""
    return min(upload.part_size_bytes, upload.size_bytes - (number - 1) * upload.part_size_bytes)


def parts_here(gateway: Gateway, upload: Upload) -> dict[int, StoredPart]:
    """The parts that are here and have the right size, by number."""
    if upload.state != "open":
        found: Sequence[StoredPart] = [StoredPart(**part) for part in upload.parts]
    else:
        try:
            found = gateway.store.parts.list(upload.key, str(upload.store_upload_id))
        except LikenessError as error:
            if error.reason != "NOT_FOUND":  # put together a moment ago
                raise
            found = []
    count = part_count(upload)
    return {
        part.number: part
        for part in found
        if 1 <= part.number <= count and part.size_bytes == part_size(upload, part.number)
    }


def part_url(gateway: Gateway, upload: Upload, number: int, base_url: str) -> str:
    """Where a part can be sent with PUT, without a key, for a short time: to the store, or else to the gateway."""
    seconds = gateway.settings.signed_url_ttl_s
    url = gateway.store.parts.presigned_put(upload.key, str(upload.store_upload_id), number, seconds)
    if url is not None:
        return url
    path = sign_path(gateway.store, "PUT", f"/v1/uploads/{upload.id}/parts/{number}", int(time.time()) + seconds)
    return f"{base_url.rstrip('/')}{path}"


def take_part(gateway: Gateway, upload: Upload, number: int, content: IO[bytes], size_bytes: int | None) -> StoredPart:
    """Keeps a part that was sent to the gateway.

    Raises:
        LikenessError: UPLOAD_ENDED, UPLOAD_MISMATCH for a part of another size, NOT_FOUND for one that is none of it.
    """
    require_open(upload)
    if not 1 <= number <= part_count(upload):
        detail = f"The parts of {upload.id} have the numbers 1 to {part_count(upload)}; there is no {number}."
        raise LikenessError("NOT_FOUND", detail)
    expected = part_size(upload, number)
    if size_bytes != expected:
        told = "it did not say how many it has" if size_bytes is None else f"it has {size_bytes}"
        raise LikenessError("UPLOAD_MISMATCH", f"Part {number} must have {expected} bytes; {told}.")
    part = gateway.store.parts.put(upload.key, str(upload.store_upload_id), number, content, expected)
    if part.size_bytes != expected:
        raise LikenessError("UPLOAD_MISMATCH", f"Part {number} broke off after {part.size_bytes} of {expected} bytes.")
    return part


def complete_upload(gateway: Gateway, tenant: str, upload_id: str) -> Upload:
    """Puts the parts together, compares size and hash with what was announced, looks what kind of file it is, and makes
    media of it. One that is complete already stays as it is.

    Raises:
        LikenessError: UPLOAD_INCOMPLETE when parts are missing or have a wrong size, which can be sent still;
            UPLOAD_MISMATCH and MEDIA_UNSUPPORTED, which end the upload; UPLOAD_ENDED; NOT_FOUND; STORE_UNAVAILABLE.
    """
    upload = _find(gateway, tenant, upload_id)
    if upload.state == "completed":
        return upload
    require_open(upload)
    try:
        _put_together(gateway, upload)
        sha256, size_bytes, head = _read_whole(gateway, upload.key)
    except LikenessError as error:
        if error.reason == "NOT_FOUND":  # another request has come to the end, or called it off, meanwhile
            return _as_it_ended(gateway, tenant, upload_id)
        raise
    try:
        if size_bytes != upload.size_bytes or (upload.sha256 is not None and sha256 != upload.sha256):
            detail = f"{size_bytes} bytes with the SHA-256 {sha256} arrived; {upload.size_bytes} bytes"
            detail += f" with {upload.sha256}" if upload.sha256 else ""
            raise LikenessError("UPLOAD_MISMATCH", f"{detail} were announced. Upload the file again.", field="sha256")
        content_type = content_type_for(upload.purpose, head)  # type: ignore[arg-type]
    except LikenessError:
        abort_upload(gateway, tenant, upload_id)
        raise
    return _make_media(gateway, upload, sha256, content_type)


def abort_upload(gateway: Gateway, tenant: str, upload_id: str) -> Upload:
    """Ends an upload and deletes what has arrived. One that has ended stays as it is."""
    upload = _find(gateway, tenant, upload_id)
    if _move(gateway, upload_id, UNFINISHED, "aborted"):
        gateway.store.parts.abort(upload.key, str(upload.store_upload_id))
        gateway.store.delete(upload.key)
    return _find(gateway, tenant, upload_id)


def require_open(upload: Upload) -> None:
    """Raises LikenessError UPLOAD_ENDED when nothing more can be sent."""
    if upload.state not in UNFINISHED:
        raise LikenessError("UPLOAD_ENDED", f"{upload.id} is {upload.state}. Begin another upload.")
    if upload.expires_at <= utc_now():
        raise LikenessError("UPLOAD_ENDED", f"{upload.id} has expired. Begin another upload.")


def _put_together(gateway: Gateway, upload: Upload) -> None:
    if upload.state == "completing" and gateway.store.exists(upload.key):
        return
    found = parts_here(gateway, upload)
    missing = [number for number in range(1, part_count(upload) + 1) if number not in found]
    if missing:
        if gateway.store.exists(upload.key):  # another request was faster
            return
        shown = ", ".join(map(str, missing[:20])) + (", ..." if len(missing) > 20 else "")
        detail = f"{len(missing)} of {part_count(upload)} parts are missing or have a wrong size: {shown}."
        raise LikenessError("UPLOAD_INCOMPLETE", detail)
    parts = [found[number] for number in sorted(found)]
    told = [{"number": part.number, "size_bytes": part.size_bytes, "etag": part.etag} for part in parts]
    if not _move(gateway, upload.id, UNFINISHED, "completing", parts=told):
        raise LikenessError("NOT_FOUND", "ended meanwhile")
    try:
        gateway.store.parts.complete(upload.key, str(upload.store_upload_id), parts)
    except LikenessError:
        if not gateway.store.exists(upload.key):
            raise


def _read_whole(gateway: Gateway, key: str) -> tuple[str, int, bytes]:
    """SHA-256, size, and the first bytes of an object."""
    digest, size_bytes, head = hashlib.sha256(), 0, b""
    with gateway.store.read(key) as blocks:
        for block in blocks:
            digest.update(block)
            size_bytes += len(block)
            if len(head) < SNIFFED_BYTES:
                head += block[:SNIFFED_BYTES]
    return digest.hexdigest(), size_bytes, head


def _make_media(gateway: Gateway, upload: Upload, sha256: str, content_type: str) -> Upload:
    media_id = f"media_{upload.id.removeprefix('upload_')}"
    key = f"media/{upload.tenant}/{media_id}.{suffix_of(content_type)}"
    try:
        stored = gateway.store.copy(upload.key, key, sha256=sha256, content_type=content_type)
    except LikenessError as error:
        if error.reason == "NOT_FOUND":
            return _as_it_ended(gateway, upload.tenant, upload.id)
        raise
    media = media_record(
        stored,
        media_id,
        tenant=upload.tenant,
        content_type=content_type,
        purpose="batch_input" if upload.purpose == "batch_input" else "upload",
        file_name=upload.file_name,
    )
    with gateway.database.session() as session:
        done = update(Upload).where(Upload.id == upload.id, Upload.state == "completing")
        result = session.execute(done.values(state="completed", media_id=media_id, sha256=sha256))
        if is_mine := bool(getattr(result, "rowcount", 0)):
            session.add(media)
    if is_mine:
        gateway.store.delete(upload.key)
    return _as_it_ended(gateway, upload.tenant, upload.id)


def _as_it_ended(gateway: Gateway, tenant: str, upload_id: str) -> Upload:
    """The upload, completed by somebody. Raises LikenessError UPLOAD_ENDED when it was called off."""
    upload = _find(gateway, tenant, upload_id)
    if upload.state == "completed":
        return upload
    if upload.state == "aborted":
        gateway.store.delete(upload.key)
        require_open(upload)
    raise LikenessError("STORE_UNAVAILABLE", "The parts are gone from the store. Begin another upload.")


def _find(gateway: Gateway, tenant: str, upload_id: str) -> Upload:
    with gateway.database.session() as session:
        return find(session, Upload, tenant, upload_id, what=_WHAT)


def _move(gateway: Gateway, upload_id: str, states: Sequence[str], state: str, **values: object) -> bool:
    with gateway.database.session() as session:
        moved = update(Upload).where(Upload.id == upload_id, Upload.state.in_(states)).values(state=state, **values)
        return bool(getattr(session.execute(moved), "rowcount", 0))
