"""The gRPC client side: how the gateway, the command line and tests talk to a stage."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, NoReturn

import grpc

from services.common.deadlines import current_deadline
from services.common.logs import REQUEST_ID_KEY, request_id_var
from services.common.rpc_status import from_rpc
from services.common.server import MAX_MESSAGE_BYTES
from services.common.tls import TlsFiles, channel_credentials
from services.common.tracing import TRACEPARENT, Span, begin_span, traceparent_in

# Calls of one message each way: another replica may do them again when theirs is killed.
UNARY_METHODS: Final = (
    ("likeness.v1.EncoderService", "GuideSpeech"),
    ("likeness.v1.FaceSwapService", "DetectFaces"),
    ("likeness.v1.FaceSwapService", "SwapPicture"),
)
# Calls are spread over all addresses (gRPC service config, A6). Streaming calls have no retry policy: those that were
# tried again while their server was killed were seen to wait for ever (grpcio 1.85). What has not reached a server is
# sent again in any case.
_SERVICE_CONFIG: Final = json.dumps(
    {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {
                "name": [{"service": service, "method": method} for service, method in UNARY_METHODS],
                "retryPolicy": {
                    "maxAttempts": 3,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
    }
)


class _CallDetails(NamedTuple):
    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


class CallDetails(_CallDetails, grpc.ClientCallDetails):
    """What grpc expects interceptors to hand on."""


class _Propagation(
    grpc.UnaryUnaryClientInterceptor,  # type: ignore[type-arg]
    grpc.UnaryStreamClientInterceptor,  # type: ignore[type-arg]
    grpc.StreamUnaryClientInterceptor,  # type: ignore[type-arg]
    grpc.StreamStreamClientInterceptor,  # type: ignore[type-arg]
):
    """Hands the current request's id, trace and remaining time on to the calls made for it."""

    def _call(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        metadata = dict(details.metadata or ())
        span = begin_span(details.method.removeprefix("/"), "CLIENT", traceparent_in(metadata))
        call = continuation(self._details(details, span), request)
        if span is not None:
            call.add_done_callback(lambda ended: _end_span(span, ended))
        return call

    def _details(self, details: Any, span: Span | None) -> Any:
        deadline, timeout = current_deadline(), details.timeout
        if deadline is not None:
            left_s = max(0.0, deadline.remaining_s())
            timeout = left_s if timeout is None else min(timeout, left_s)
        metadata = list(details.metadata or ())
        request_id = request_id_var.get()
        if request_id and all(key != REQUEST_ID_KEY for key, _ in metadata):
            metadata.append((REQUEST_ID_KEY, request_id))
        if span is not None:
            metadata = [(key, value) for key, value in metadata if key != TRACEPARENT]
            metadata.append((TRACEPARENT, span.traceparent))
        return CallDetails(
            details.method, timeout, metadata, details.credentials, details.wait_for_ready, details.compression
        )

    def intercept_unary_unary(self, continuation: Callable[..., Any], client_call_details: Any, request: Any) -> Any:
        return self._call(continuation, client_call_details, request)

    def intercept_unary_stream(self, continuation: Callable[..., Any], client_call_details: Any, request: Any) -> Any:
        return self._call(continuation, client_call_details, request)

    def intercept_stream_unary(
        self, continuation: Callable[..., Any], client_call_details: Any, request_iterator: Iterator[Any]
    ) -> Any:
        return self._call(continuation, client_call_details, request_iterator)

    def intercept_stream_stream(
        self, continuation: Callable[..., Any], client_call_details: Any, request_iterator: Iterator[Any]
    ) -> Any:
        return self._call(continuation, client_call_details, request_iterator)


def _end_span(span: Span, call: Any) -> None:
    code = call.code()
    span.end(None if code in (None, grpc.StatusCode.OK) else code.name)


def open_channel(target: str, tls: TlsFiles | None = None) -> grpc.Channel:
    """A channel to a stage, made lazily: nothing is connected before the first call.

    Args:
        target: `host:port`, or `dns:///name:port` for all replicas behind a headless service.
        tls: for mutual TLS, in which each replica's certificate must hold the target's name; None: plain text.
    """
    options = [
        ("grpc.service_config", _SERVICE_CONFIG),
        ("grpc.enable_retries", 1),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", 5_000),  # what an attempt to connect may take, whatever its name says
        ("grpc.max_reconnect_backoff_ms", 2_000),  # a stage that comes back is found soon
        # Names are looked up when a connection ends, by default at most every half minute: new replicas would wait.
        ("grpc.dns_min_time_between_resolutions_ms", 1_000),
    ]
    if tls is None:
        channel = grpc.insecure_channel(target, options=options)
    else:
        channel = grpc.secure_channel(target, channel_credentials(tls), options=options)
    return grpc.intercept_channel(channel, _Propagation())


def call_metadata(request_id: str = "", traceparent: str = "") -> tuple[tuple[str, str], ...]:
    """Metadata of a call: the given request id, or that of the request at hand, and the trace where there is one."""
    pairs = ((REQUEST_ID_KEY, request_id or request_id_var.get()), (TRACEPARENT, traceparent))
    return tuple((key, value) for key, value in pairs if value)


def raise_from_rpc(error: grpc.RpcError, *, stage: str = "stage") -> NoReturn:
    """Raises the LikenessError that the stage sent, or the one that fits the gRPC code.

    Args:
        stage: name for the message where the stage could not be reached at all.
    """
    raise from_rpc(error, stage=stage) from error
