"""Idempotency-Key: a POST that is sent again does nothing again; it gets the answer that the first one got.

The first request with a key leaves a record before it begins, and its answer there when it has succeeded. Requests that
were refused changed nothing, so that their key is free again. Answers that are streamed, or not JSON and large, are not
kept: a speech is then spoken again, which with the same seed gives the same audio. Answers with a secret are not kept
either, and a repetition is told so.

https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/ (07)
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any, Final, TypeVar

from apiflask import APIFlask
from flask import Response, current_app, g, request
from sqlalchemy import delete, update
from sqlalchemy.exc import IntegrityError

from services.common.errors import LikenessError
from services.gateway.context import Gateway
from services.gateway.db import IdempotencyRecord, Process
from services.gateway.db.models import utc_now
from services.gateway.idempotency_records import KEPT_FOR

ViewT = TypeVar("ViewT", bound=Callable[..., Any])
HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotency-Replayed"
KEY_PATTERN: Final = r"^[\x21-\x7e]{1,255}$"
MAX_BODY_BYTES: Final = 1024 * 1024
IN_FLIGHT_RETRY_S: Final = 2.0
_BLOCK_BYTES: Final = 1024 * 1024
_NOT_KEPT: Final = ("content-length", "date", "server", "x-request-id", "ratelimit", "ratelimit-policy", "vary")
_ATTEMPTS: Final = 3


def answer_is_secret(view: ViewT) -> ViewT:
    """The view's answer holds what is shown once and must not be kept."""
    view.__dict__["answer_is_secret"] = True
    return view


def register_idempotency(app: APIFlask) -> None:
    """After authentication and limits: a refused request needs no record."""
    app.before_request(_begin)
    app.after_request(_remember)
    app.teardown_request(_clean_up)


def _begin() -> Response | None:
    key = request.headers.get(HEADER)
    if key is None or request.method != "POST" or "principal" not in g or request.endpoint is None:
        return None
    if re.fullmatch(KEY_PATTERN, key) is None:
        raise LikenessError("INVALID_FIELD", "1 to 255 visible ASCII characters are a key.", field=HEADER)
    fingerprint = _fingerprint()
    gateway: Gateway = current_app.extensions["likeness"]
    for _ in range(_ATTEMPTS):
        if _claim(gateway, key, fingerprint):
            g.idempotency_key = key
            return None
        record = _find(gateway, key)
        if record is None or _forget_abandoned(gateway, record):
            continue
        if record.fingerprint != fingerprint:
            detail = f"This {HEADER} came with another request before: other path, fields or files. Use a new one."
            raise LikenessError("IDEMPOTENCY_MISMATCH", detail)
        if record.status is not None:
            return _replay(record)
        break
    detail = f"A request with this {HEADER} is being worked on. Ask again for its answer."
    raise LikenessError("IDEMPOTENCY_IN_FLIGHT", detail, retry_after_s=IN_FLIGHT_RETRY_S)


def _claim(gateway: Gateway, key: str, fingerprint: str) -> bool:
    record = IdempotencyRecord(
        tenant=g.principal.tenant,
        key=key,
        created_at=utc_now(),
        fingerprint=fingerprint,
        owner=gateway.process_id,
    )
    try:
        with gateway.database.session() as session:
            session.add(record)
    except IntegrityError:
        return False
    return True


def _find(gateway: Gateway, key: str) -> IdempotencyRecord | None:
    with gateway.database.session() as session:
        return session.get(IdempotencyRecord, (g.principal.tenant, key))


def _forget_abandoned(gateway: Gateway, record: IdempotencyRecord) -> bool:
    """Deletes the record if it is too old, or of a process that will not finish it; whether it did."""
    is_old = record.created_at < utc_now() - KEPT_FOR
    with gateway.database.session() as session:
        is_mine = record.owner == gateway.process_id
        is_orphan = record.status is None and not is_mine and session.get(Process, record.owner) is None
        if not (is_old or is_orphan):
            return False
        session.execute(
            delete(IdempotencyRecord).where(
                IdempotencyRecord.tenant == record.tenant,
                IdempotencyRecord.key == record.key,
                IdempotencyRecord.created_at == record.created_at,
                IdempotencyRecord.owner == record.owner,
            )
        )
    return True


def _replay(record: IdempotencyRecord) -> Response:
    if record.body is None:
        detail = "This request was made before and succeeded. Its answer holds a secret and was not kept."
        raise LikenessError("IDEMPOTENCY_SPENT", detail)
    g.is_replay = True
    response = Response(record.body, status=record.status)
    response.headers.clear()
    response.headers.update(record.headers or {})
    response.headers[REPLAYED] = "true"
    return response


def _remember(response: Response) -> Response:
    if "idempotency_key" not in g:
        return response
    if not 200 <= response.status_code < 300:
        _release()
    elif getattr(current_app.view_functions[str(request.endpoint)], "answer_is_secret", False):
        _keep(response.status_code, {}, None)
    elif response.is_streamed or len(response.get_data()) > MAX_BODY_BYTES:
        # In flight until the last byte has gone.
        gateway, tenant, key = current_app.extensions["likeness"], g.principal.tenant, g.pop("idempotency_key")
        response.call_on_close(lambda: _delete(gateway, tenant, key))
    else:
        headers = {name: value for name, value in response.headers if name.lower() not in _NOT_KEPT}
        _keep(response.status_code, headers, response.get_data())
    return response


def _keep(status: int, headers: dict[str, str], body: bytes | None) -> None:
    gateway: Gateway = current_app.extensions["likeness"]
    mine = (
        IdempotencyRecord.tenant == g.principal.tenant,
        IdempotencyRecord.key == g.pop("idempotency_key"),
        IdempotencyRecord.owner == gateway.process_id,
    )
    with gateway.database.session() as session:
        session.execute(update(IdempotencyRecord).where(*mine).values(status=status, headers=headers, body=body))


def _clean_up(_error: BaseException | None) -> None:
    if "idempotency_key" in g:  # no answer was made
        _release()


def _release() -> None:
    _delete(current_app.extensions["likeness"], g.principal.tenant, g.pop("idempotency_key"))


def _delete(gateway: Gateway, tenant: str, key: str) -> None:
    mine = (
        IdempotencyRecord.tenant == tenant,
        IdempotencyRecord.key == key,
        IdempotencyRecord.owner == gateway.process_id,
        IdempotencyRecord.status.is_(None),
    )
    with gateway.database.session() as session:
        session.execute(delete(IdempotencyRecord).where(*mine))


def _fingerprint() -> str:
    """SHA-256 of method, path, query and body. Of a form its fields: the boundary is another one each time."""
    digest = hashlib.sha256()
    for piece in _pieces():
        digest.update(hashlib.sha256(piece).digest())
    return digest.hexdigest()


def _pieces() -> Iterator[bytes]:
    yield _bytes(f"{request.method} {request.full_path}")
    if request.mimetype not in ("multipart/form-data", "application/x-www-form-urlencoded"):
        settings = current_app.extensions["likeness"].settings
        request.max_content_length = max(settings.max_upload_bytes, settings.max_batch_bytes)  # only forms may be films
        yield request.get_data()
        return
    for name, value in sorted((_bytes(name), _bytes(value)) for name, value in request.form.items(multi=True)):
        yield name
        yield value
    for name, file in sorted(
        ((_bytes(name), file) for name, file in request.files.items(multi=True)), key=itemgetter(0)
    ):
        yield name
        content = hashlib.sha256()
        while block := file.stream.read(_BLOCK_BYTES):
            content.update(block)
        file.stream.seek(0)
        yield content.digest()


def _bytes(text: str | None) -> bytes:
    """Of what came from outside: the name of a field may be missing, and text may be no Unicode."""
    return (text or "").encode("utf-8", "surrogatepass")
