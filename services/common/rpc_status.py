"""LikenessError <-> google.rpc.Status: how a reason travels over gRPC (AIP-193)."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf import duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from services.common.errors import ERROR_DOMAIN, REASONS, LikenessError

_REASON_BY_CODE = {
    grpc.StatusCode.UNAVAILABLE: "STAGE_UNAVAILABLE",
    grpc.StatusCode.DEADLINE_EXCEEDED: "DEADLINE_EXCEEDED",
    grpc.StatusCode.CANCELLED: "CANCELLED",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "QUEUE_FULL",
}


def to_status(error: LikenessError) -> Any:
    """A google.rpc.Status with ErrorInfo, and with BadRequest and RetryInfo where there is a field or a delay."""
    status = status_pb2.Status(code=getattr(code_pb2, error.row.code.name), message=error.detail)
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN)
    if error.field is not None:
        info.metadata["field"] = error.field
    status.details.add().Pack(info)
    if error.field is not None:
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.detail)
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    if error.retry_after_s is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(round(error.retry_after_s * 1e9))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def abort_with(context: Any, error: LikenessError) -> None:
    """Ends the RPC with the error; always raises, as `context.abort` does."""
    context.abort_with_status(rpc_status.to_status(to_status(error)))


def from_rpc(error: grpc.RpcError, *, stage: str = "stage") -> LikenessError:
    """The LikenessError that a call failed with; where the server sent none, one by the gRPC code.

    Args:
        stage: what the caller was talking to, for messages such as "The encoder cannot be reached."
    """
    try:
        status = rpc_status.from_call(error) if isinstance(error, grpc.Call) else None
    except ValueError:  # details that contradict the code: not from one of our servers
        status = None
    if status is not None:
        found = _from_details(status)
        if found is not None:
            return found
    code = error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
    reason = _REASON_BY_CODE.get(code, "INTERNAL")
    detail = {
        "STAGE_UNAVAILABLE": f"The {stage} cannot be reached.",
        "DEADLINE_EXCEEDED": f"The {stage} did not answer in the time allowed.",
        "CANCELLED": f"The call to the {stage} was cancelled.",
        "QUEUE_FULL": f"The {stage} refused the call: a message or the number of calls is over its limit.",
    }.get(reason, f"The {stage} failed ({code.name}).")
    retry_after_s = 1.0 if reason in ("STAGE_UNAVAILABLE", "QUEUE_FULL") else None
    return LikenessError(reason, detail, retry_after_s=retry_after_s)


def _from_details(status: Any) -> LikenessError | None:
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    retry_after_s: float | None = None
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            detail.Unpack(info)
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            detail.Unpack(retry)
            retry_after_s = retry.retry_delay.ToNanoseconds() / 1e9
    if info.domain != ERROR_DOMAIN or info.reason not in REASONS:
        return None
    field = info.metadata.get("field")
    return LikenessError(info.reason, status.message, field=field, retry_after_s=retry_after_s)
