"""OpenTelemetry traces: one id from the HTTP request, or the queued job, to the last stage.

Nothing of OpenTelemetry is imported unless `configure_tracing` is called with an endpoint. Contexts travel as text, as
a W3C `traceparent` (https://www.w3.org/TR/trace-context/): in HTTP headers, in gRPC metadata, in records of jobs, and
within a process from thread to thread with whatever carries the work.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, Literal

from services.common.settings import CommonSettings

TRACEPARENT: Final = "traceparent"
Kind = Literal["SERVER", "CLIENT", "CONSUMER"]
traceparent_var: ContextVar[str] = ContextVar("likeness_traceparent", default="")
_tracer: Any = None
_provider: Any = None


class Span:
    """One piece of work that is being timed; `end` is to be called once, from whichever thread."""

    def __init__(self, span: Any, traceparent: str) -> None:
        self._span = span
        self.traceparent = traceparent  # for what is done on its behalf

    def set(self, **attributes: str | int | float) -> None:
        for name, value in attributes.items():
            self._span.set_attribute(name, value)

    def end(self, failure: str | None = None) -> None:
        """Ends it, as failed when there is a word for the failure."""
        if failure is not None:
            from opentelemetry.trace import StatusCode

            self._span.set_status(StatusCode.ERROR, failure)
        self._span.end()


def configure_tracing(settings: CommonSettings, service: str, exporter: Any = None) -> None:
    """Begins to trace when the settings name a collector. Once in each process, after the fork.

    Args:
        service: such as "gateway".
        exporter: an OpenTelemetry SpanExporter that gets each span at once instead of the collector; for tests.

    Raises:
        RuntimeError: a collector is named and OpenTelemetry is not installed.
    """
    global _provider, _tracer
    if _tracer is not None or (exporter is None and not settings.otlp_endpoint):
        return
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
    except ImportError as error:
        detail = "LIKENESS_OTLP_ENDPOINT is set, which needs OpenTelemetry: pip install 'likeness[tracing]'"
        raise RuntimeError(detail) from error
    sampler = ParentBased(TraceIdRatioBased(settings.trace_share))
    resource = Resource.create({"service.name": f"likeness-{service}"})
    provider = TracerProvider(sampler=sampler, resource=resource)
    if exporter is None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter(endpoint=settings.otlp_endpoint.rstrip("/") + "/v1/traces")
        provider.add_span_processor(BatchSpanProcessor(exporter))
    else:
        provider.add_span_processor(SimpleSpanProcessor(exporter))
    _provider, _tracer = provider, provider.get_tracer("likeness")


def stop_tracing() -> None:
    """Sends what has not been sent, and traces no more."""
    global _provider, _tracer
    if _provider is not None:
        _provider.shutdown()
        _provider = _tracer = None


def begin_span(name: str, kind: Kind, parent: str = "", **attributes: str | int) -> Span | None:
    """A span under the traceparent, or that of the work at hand, or in a trace of its own; None without tracing."""
    if _tracer is None:
        return None
    from opentelemetry.trace import SpanKind

    context = _propagator().extract({TRACEPARENT: parent or traceparent_var.get()})
    span = _tracer.start_span(name, context=context, kind=SpanKind[kind], attributes=attributes)
    return Span(span, _text_of(span))


@contextmanager
def span(name: str, kind: Kind, parent: str = "", **attributes: str | int) -> Iterator[Span | None]:
    """The block as a span, under which everything is that begins within the block and this thread."""
    begun = begin_span(name, kind, parent, **attributes)
    if begun is None:
        yield None
        return
    token = traceparent_var.set(begun.traceparent)
    failure: str | None = None
    try:
        yield begun
    except BaseException as error:
        failure = type(error).__name__
        raise
    finally:
        traceparent_var.reset(token)
        begun.end(failure)


def traceparent_in(carrier: Mapping[str, Any]) -> str:
    """The traceparent that came along with a call, empty without one."""
    value = carrier.get(TRACEPARENT) or ""
    return value if isinstance(value, str) else ""


def trace_id(traceparent: str) -> str:
    """The 32 hexadecimal digits of the trace, for logs."""
    parts = traceparent.split("-")
    return parts[1] if len(parts) >= 4 else ""


def _text_of(span: Any) -> str:
    from opentelemetry.trace import set_span_in_context

    carrier: dict[str, str] = {}
    _propagator().inject(carrier, context=set_span_in_context(span))
    return carrier.get(TRACEPARENT, "")


def _propagator() -> Any:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator()
