"""What every RPC of a stage passes through, whichever of the four kinds it is.

In this order: request id, readiness, deadline, grant, admission; then the servicer; then errors, metrics and the log
line. A servicer raises LikenessError and otherwise knows nothing of gRPC.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import grpc

from services.common.admission import Admission
from services.common.deadlines import Deadline, use_deadline
from services.common.errors import LikenessError
from services.common.grants import METADATA_KEY, GrantVerifier, use_grant
from services.common.logs import REQUEST_ID_KEY, accept_request_id, request_id_var
from services.common.metrics import request_seconds, requests_total
from services.common.rpc_status import abort_with
from services.common.tracing import begin_span, traceparent_in, traceparent_var

_log = logging.getLogger(__name__)
_CANCEL_SLACK_S: Final = 0.5  # so that whoever checks the deadline itself can say so
_NO_DEADLINE_S: Final = 1e7  # grpc reports calls without a deadline as having centuries left


class Gate:
    """Whether calls are let in; the server closes and opens it."""

    def __init__(self) -> None:
        self._refusal: tuple[str, str] | None = ("MODEL_LOADING", "The model is still loading; try again in a moment.")

    def open(self) -> None:
        self._refusal = None

    def close(self, reason: str, detail: str) -> None:
        self._refusal = (reason, detail)

    def check(self) -> None:
        """Raises the LikenessError with which calls are refused at the moment, if they are."""
        if self._refusal is not None:
            raise LikenessError(*self._refusal, retry_after_s=1.0)


class StageInterceptor(grpc.ServerInterceptor):  # type: ignore[type-arg]
    """Wraps the methods of one service; health and reflection pass untouched."""

    def __init__(
        self,
        service: str,
        admission: Admission,
        gate: Gate,
        default_deadline_s: float,
        verifier: GrantVerifier | None = None,
    ) -> None:
        self._service = service
        self._prefix = f"/{service}/"
        self._admission = admission
        self._gate = gate
        self._default_deadline_s = default_deadline_s
        self._verifier = verifier

    def intercept_service(self, continuation: Callable[..., Any], handler_call_details: Any) -> Any:
        handler = continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(self._prefix):
            return handler
        method = handler_call_details.method.removeprefix(self._prefix)
        kinds = {
            (False, False): (grpc.unary_unary_rpc_method_handler, handler.unary_unary),
            (False, True): (grpc.unary_stream_rpc_method_handler, handler.unary_stream),
            (True, False): (grpc.stream_unary_rpc_method_handler, handler.stream_unary),
            (True, True): (grpc.stream_stream_rpc_method_handler, handler.stream_stream),
        }
        make, behaviour = kinds[handler.request_streaming, handler.response_streaming]
        wrap = self._wrap_stream if handler.response_streaming else self._wrap_unary
        return make(
            wrap(behaviour, method, request_streaming=handler.request_streaming),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _wrap_unary(self, behaviour: Callable[..., Any], method: str, *, request_streaming: bool) -> Callable[..., Any]:
        def handle(request: Any, context: Any) -> Any:
            with self._call(method, context) as deadline:
                arriving = _checked(request, deadline) if request_streaming else request
                return behaviour(arriving, context)

        return handle

    def _wrap_stream(
        self, behaviour: Callable[..., Any], method: str, *, request_streaming: bool
    ) -> Callable[..., Iterator[Any]]:
        def handle(request: Any, context: Any) -> Iterator[Any]:
            with self._call(method, context) as deadline:
                arriving = _checked(request, deadline) if request_streaming else request
                for response in behaviour(arriving, context):
                    yield response
                    deadline.check()
                    if not context.is_active():
                        raise LikenessError("CANCELLED", "The caller went away.")

        return handle

    @contextmanager
    def _call(self, method: str, context: Any) -> Iterator[Deadline]:
        """Everything around the servicer."""
        metadata = dict(context.invocation_metadata())
        request_id = accept_request_id(metadata.get(REQUEST_ID_KEY))
        request_id_var.set(request_id)
        span = begin_span(f"{self._service}/{method}", "SERVER", traceparent_in(metadata), request_id=request_id)
        traceparent_var.set("" if span is None else span.traceparent)
        started_s = time.monotonic()
        code, failure = "OK", None
        deadline = self._deadline(context)
        try:
            context.set_trailing_metadata(((REQUEST_ID_KEY, request_id),))
            self._gate.check()
            grant = None if self._verifier is None else self._verifier.verify(metadata.get(METADATA_KEY, ""), method)
            with self._admitted(deadline, context), use_deadline(deadline), use_grant(grant):
                yield deadline
        except GeneratorExit:  # the stream was closed because the caller went away
            code = "CANCELLED"
            raise
        except LikenessError as error:
            code, failure = error.row.code.name, error
        except Exception:
            if context.is_active():
                _log.exception("unexpected failure in %s", method)
                detail = f"Something failed inside the server. Its log tells more under request id {request_id}."
                failure = LikenessError("INTERNAL", detail)
            else:  # reading from or writing to a call that has ended raises whatever gRPC likes
                failure = deadline.why_it_ended()
            code = failure.row.code.name
        finally:
            self._report(method, code, time.monotonic() - started_s, failure)
            if span is not None:
                span.set(**{"rpc.grpc.status_code": code})
                span.end(None if failure is None else failure.reason)
            request_id_var.set("")
            traceparent_var.set("")
        if failure is not None:
            abort_with(context, failure)

    def _deadline(self, context: Any) -> Deadline:
        left_s = context.time_remaining()
        none = left_s is None or left_s > _NO_DEADLINE_S
        return Deadline.after(self._default_deadline_s if none else left_s)

    @contextmanager
    def _admitted(self, deadline: Deadline, context: Any) -> Iterator[None]:
        with self._admission.slot(deadline, context.is_active):
            # gRPC ends calls that carry a deadline. A caller without one must not hold a slot for ever either.
            timer = threading.Timer(max(0.0, deadline.remaining_s()) + _CANCEL_SLACK_S, context.cancel)
            timer.daemon = True
            timer.start()
            try:
                yield
            finally:
                timer.cancel()

    def _report(self, method: str, code: str, seconds: float, failure: LikenessError | None) -> None:
        requests_total.labels(method=method, code=code).inc()
        request_seconds.labels(method=method).observe(seconds)
        fields: dict[str, object] = {"method": method, "code": code, "seconds": round(seconds, 4)}
        if failure is not None:
            fields |= {"reason": failure.reason, "detail": failure.detail}
        _log.info("rpc", extra=fields)


def _checked(requests: Iterator[Any], deadline: Deadline) -> Iterator[Any]:
    """The caller's messages, as long as there is time."""
    for request in requests:
        deadline.check()
        yield request
