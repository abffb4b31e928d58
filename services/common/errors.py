"""Every reason for which a request can fail, with its gRPC code and HTTP status.

One table (`REASONS`) serves the stages, which turn a `LikenessError` into a `google.rpc.Status` with
`ErrorInfo`, and the gateway, which turns it into an RFC 9457 problem.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import grpc

ERROR_DOMAIN: Final = "likeness.v1"


@dataclass(frozen=True)
class Reason:
    """One row: how a reason is told in gRPC and in HTTP."""

    code: grpc.StatusCode
    http_status: int
    title: str


REASONS: Final[Mapping[str, Reason]] = {
    # the request is wrong
    "INVALID_FIELD": Reason(grpc.StatusCode.INVALID_ARGUMENT, 400, "A field of the request is not valid"),
    "REQUEST_MALFORMED": Reason(grpc.StatusCode.INVALID_ARGUMENT, 400, "The request cannot be read"),
    "METHOD_NOT_ALLOWED": Reason(grpc.StatusCode.UNIMPLEMENTED, 405, "The resource does not know this method"),
    "RANGE_NOT_SATISFIABLE": Reason(grpc.StatusCode.OUT_OF_RANGE, 416, "The file has no such range"),
    "MEDIA_EMPTY": Reason(grpc.StatusCode.INVALID_ARGUMENT, 422, "The file is empty"),
    "MEDIA_UNREADABLE": Reason(grpc.StatusCode.INVALID_ARGUMENT, 422, "The file cannot be decoded"),
    "MEDIA_UNSUPPORTED": Reason(grpc.StatusCode.INVALID_ARGUMENT, 415, "This kind of file is not supported"),
    "MEDIA_TOO_LARGE": Reason(grpc.StatusCode.INVALID_ARGUMENT, 413, "The file is too large"),
    "SPEECH_TOO_SHORT": Reason(grpc.StatusCode.INVALID_ARGUMENT, 422, "There is too little speech"),
    "TEXT_UNPRONOUNCEABLE": Reason(grpc.StatusCode.INVALID_ARGUMENT, 422, "The text has nothing to speak"),
    "MARKUP_INVALID": Reason(grpc.StatusCode.INVALID_ARGUMENT, 422, "The markup of the text cannot be read"),
    "PRONUNCIATION_INVALID": Reason(grpc.StatusCode.INVALID_ARGUMENT, 422, "A pronunciation cannot be read"),
    "ADAPTATION_REFUSED": Reason(grpc.StatusCode.FAILED_PRECONDITION, 422, "The voice cannot have this adaptation"),
    "LANGUAGE_UNSUPPORTED": Reason(grpc.StatusCode.INVALID_ARGUMENT, 422, "The language is not supported"),
    "SPEAKER_MISMATCH": Reason(grpc.StatusCode.INVALID_ARGUMENT, 422, "The recordings are of different people"),
    "FACE_NOT_FOUND": Reason(grpc.StatusCode.INVALID_ARGUMENT, 422, "No face was found"),
    "FACE_TOO_SMALL": Reason(grpc.StatusCode.INVALID_ARGUMENT, 422, "The face is too small"),
    "FACE_MISMATCH": Reason(grpc.StatusCode.INVALID_ARGUMENT, 422, "The pictures show different people"),
    "CHALLENGE_USED": Reason(grpc.StatusCode.FAILED_PRECONDITION, 409, "The task was used before"),
    "CHALLENGE_EXPIRED": Reason(grpc.StatusCode.FAILED_PRECONDITION, 410, "The task has expired"),
    "CONSENT_DOCUMENT_REQUIRED": Reason(grpc.StatusCode.INVALID_ARGUMENT, 422, "A signed document is required"),
    "MEDIA_CHECKSUM_MISMATCH": Reason(grpc.StatusCode.FAILED_PRECONDITION, 409, "The stored file has changed"),
    "UPLOAD_INCOMPLETE": Reason(grpc.StatusCode.FAILED_PRECONDITION, 409, "Parts of the upload are missing"),
    "UPLOAD_MISMATCH": Reason(grpc.StatusCode.INVALID_ARGUMENT, 422, "What was uploaded is not what was announced"),
    "UPLOAD_ENDED": Reason(grpc.StatusCode.FAILED_PRECONDITION, 410, "The upload has ended"),
    # the caller may not
    "UNAUTHENTICATED": Reason(grpc.StatusCode.UNAUTHENTICATED, 401, "The request is not authenticated"),
    "INSUFFICIENT_SCOPE": Reason(grpc.StatusCode.PERMISSION_DENIED, 403, "The key does not have the scope"),
    "TENANT_DISABLED": Reason(grpc.StatusCode.PERMISSION_DENIED, 403, "The tenant is disabled"),
    "ORIGIN_REFUSED": Reason(grpc.StatusCode.PERMISSION_DENIED, 403, "Another site may not use this server"),
    "CONSENT_REQUIRED": Reason(grpc.StatusCode.PERMISSION_DENIED, 403, "Consent is missing"),
    "CONSENT_NOT_LIVE": Reason(grpc.StatusCode.PERMISSION_DENIED, 403, "The consent has expired or was revoked"),
    "CONSENT_SPEAKER_MISMATCH": Reason(
        grpc.StatusCode.PERMISSION_DENIED, 403, "The recording is not of the person who consented"
    ),
    "CONSENT_KIND_REFUSED": Reason(grpc.StatusCode.PERMISSION_DENIED, 403, "This kind of consent is not enough here"),
    "LIKENESS_REFUSED": Reason(grpc.StatusCode.PERMISSION_DENIED, 403, "Such a likeness is refused with any consent"),
    "SAFETY_REFUSED": Reason(grpc.StatusCode.PERMISSION_DENIED, 403, "The safety classifier refuses this picture"),
    "PROOF_UNUSABLE": Reason(grpc.StatusCode.INVALID_ARGUMENT, 422, "The proof does not show what it must"),
    "PROOF_TASK_FAILED": Reason(grpc.StatusCode.INVALID_ARGUMENT, 422, "The task was not done as it was set"),
    "PROOF_SPLICED": Reason(grpc.StatusCode.INVALID_ARGUMENT, 422, "The proof is not one take of one person"),
    "PROOF_REPLAYED": Reason(grpc.StatusCode.INVALID_ARGUMENT, 422, "The proof was used before"),
    "PROOF_SYNTHETIC": Reason(grpc.StatusCode.INVALID_ARGUMENT, 422, "The proof was made by a machine"),
    "PROOF_OTHER_PERSON": Reason(grpc.StatusCode.PERMISSION_DENIED, 403, "The proof is of another person"),
    "PROOF_NOT_LIVE": Reason(grpc.StatusCode.INVALID_ARGUMENT, 422, "The proof shows no live person"),
    "CONSENT_FACE_MISMATCH": Reason(
        grpc.StatusCode.PERMISSION_DENIED, 403, "The pictures are not of the person who consented"
    ),
    "PROTECTED_PERSON": Reason(grpc.StatusCode.PERMISSION_DENIED, 403, "A protected person may not be cloned"),
    "GRANT_REQUIRED": Reason(grpc.StatusCode.UNAUTHENTICATED, 401, "The call carries no grant"),
    "GRANT_INVALID": Reason(grpc.StatusCode.UNAUTHENTICATED, 401, "The grant is not valid"),
    "GRANT_MISMATCH": Reason(grpc.StatusCode.PERMISSION_DENIED, 403, "The grant is for something else"),
    "SIGNATURE_INVALID": Reason(grpc.StatusCode.PERMISSION_DENIED, 403, "The URL has expired or was changed"),
    "NOT_FOUND": Reason(grpc.StatusCode.NOT_FOUND, 404, "There is no such object"),
    "ALREADY_EXISTS": Reason(grpc.StatusCode.ALREADY_EXISTS, 409, "The object exists already"),
    "IN_USE": Reason(grpc.StatusCode.FAILED_PRECONDITION, 409, "Something else needs the object"),
    "NOT_RETRYABLE": Reason(grpc.StatusCode.FAILED_PRECONDITION, 409, "This work cannot be retried"),
    "IDEMPOTENCY_IN_FLIGHT": Reason(grpc.StatusCode.ABORTED, 409, "The first request with this key is still running"),
    "IDEMPOTENCY_SPENT": Reason(
        grpc.StatusCode.ALREADY_EXISTS, 409, "The request was made before, its answer not kept"
    ),
    "IDEMPOTENCY_MISMATCH": Reason(grpc.StatusCode.INVALID_ARGUMENT, 422, "The key was used for another request"),
    "NOT_CANCELABLE": Reason(grpc.StatusCode.FAILED_PRECONDITION, 409, "This work cannot be cancelled"),
    # the server cannot, now
    "QUEUE_FULL": Reason(grpc.StatusCode.RESOURCE_EXHAUSTED, 429, "Too many requests are waiting"),
    "RATE_LIMITED": Reason(grpc.StatusCode.RESOURCE_EXHAUSTED, 429, "Too many requests"),
    "STAGE_UNAVAILABLE": Reason(grpc.StatusCode.UNAVAILABLE, 503, "A stage cannot be reached"),
    "MODEL_LOADING": Reason(grpc.StatusCode.UNAVAILABLE, 503, "The model is still loading"),
    "DRAINING": Reason(grpc.StatusCode.UNAVAILABLE, 503, "The server is shutting down"),
    "DEADLINE_EXCEEDED": Reason(grpc.StatusCode.DEADLINE_EXCEEDED, 504, "The time allowed has passed"),
    "CANCELLED": Reason(grpc.StatusCode.CANCELLED, 499, "The caller went away"),
    "GRANT_REFUSED": Reason(grpc.StatusCode.FAILED_PRECONDITION, 500, "A stage does not trust this gateway"),
    "MARK_FAILED": Reason(grpc.StatusCode.INTERNAL, 500, "The result could not be marked, and is not released"),
    "MANIFEST_FAILED": Reason(grpc.StatusCode.INTERNAL, 500, "The result's manifest could not be signed"),
    "MODEL_INVALID": Reason(grpc.StatusCode.FAILED_PRECONDITION, 500, "A model file is missing or was changed"),
    "SAFETY_UNAVAILABLE": Reason(grpc.StatusCode.UNAVAILABLE, 503, "The safety classifier that policy wants failed"),
    "TEMPLATE_UNREADABLE": Reason(grpc.StatusCode.FAILED_PRECONDITION, 500, "A biometric template cannot be decrypted"),
    "ISSUER_UNAVAILABLE": Reason(grpc.StatusCode.UNAVAILABLE, 503, "The token issuer's keys cannot be had"),
    "STORE_UNAVAILABLE": Reason(grpc.StatusCode.UNAVAILABLE, 503, "The object store cannot be reached"),
    "DATABASE_UNAVAILABLE": Reason(grpc.StatusCode.UNAVAILABLE, 503, "The database cannot be reached"),
    "INTERNAL": Reason(grpc.StatusCode.INTERNAL, 500, "Something failed inside"),
}


class LikenessError(Exception):
    """A failure that the caller is told about.

    Args:
        reason: a key of `REASONS`.
        detail: one or two sentences: what was wrong, what was expected, what to do.
        field: the request field at fault, where there is one.
        retry_after_s: when trying again may help.
    """

    def __init__(
        self, reason: str, detail: str, *, field: str | None = None, retry_after_s: float | None = None
    ) -> None:
        if reason not in REASONS:
            raise ValueError(f"unknown reason {reason!r}; add it to REASONS")
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.field = field
        self.retry_after_s = retry_after_s

    @property
    def row(self) -> Reason:
        return REASONS[self.reason]

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (self.reason, self.detail, self.field, self.retry_after_s)


def _rebuild(reason: str, detail: str, field: str | None, retry_after_s: float | None) -> LikenessError:
    return LikenessError(reason, detail, field=field, retry_after_s=retry_after_s)
