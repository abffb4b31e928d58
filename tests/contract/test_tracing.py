"""One trace from the HTTP request to the last stage, also by way of the queue; nothing of it when it is off."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.common import tracing
from services.common.encode_audio import encode_audio
from services.common.logs import JsonFormatter
from services.gateway.app import create_app
from services.gateway.settings import GatewaySettings
from tests.contract.gateway_fakes import FakeStages, sine
from tests.contract.gateway_worker import worker_inside
from tests.waiting import wait_for

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
HEADERS = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
SYNTHESIZE = "likeness.v1.SynthesizerService/SynthesizeMel"
VOCODE = "likeness.v1.VocoderService/SynthesizeWaveform"


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    kept = InMemorySpanExporter()
    tracing.configure_tracing(GatewaySettings(), "test", kept)
    yield kept
    tracing.stop_tracing()


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewaySettings]:
    data_dir = tmp_path_factory.mktemp("tracing")
    fakes = FakeStages(data_dir)
    yield GatewaySettings(data_dir=data_dir, calibrate=False, log_level="error", **fakes.targets())
    fakes.close()


@pytest.fixture(scope="module")
def client(settings: GatewaySettings) -> Iterator[Any]:
    """Of a gateway that knows a voice."""
    app = create_app(settings)
    with app.test_client() as http:
        consent = {"who": "Ada, a sine", "kind": "synthetic", "evidence": "made by this test"}
        consent_id = http.post("/v1/audio/voice_consents", json=consent).get_json()["id"]
        sample = (io.BytesIO(encode_audio(sine(200.0, 3.0), "wav")), "ada.wav")
        form = {"name": "Ada", "consent": consent_id, "audio_sample": sample}
        assert http.post("/v1/audio/voices", data=form).status_code < 300
        yield http
    app.extensions["likeness"].close()


def _by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {f"{span.name} {span.kind.name}": span for span in exporter.get_finished_spans()}


def _is_child(child: ReadableSpan, parent: ReadableSpan) -> bool:
    return child.parent is not None and child.parent.span_id == parent.context.span_id


def test_one_trace_from_http_to_the_last_stage(exporter: InMemorySpanExporter, client: Any) -> None:
    response = client.post("/v1/audio/speech", json={"input": "Good morning.", "voice": "Ada"}, headers=HEADERS)
    assert response.status_code == 200 and len(response.data) > 1000
    response.close()
    spans = wait_for(lambda: len(found := _by_name(exporter)) >= 5 and found)
    assert {format(span.context.trace_id, "032x") for span in spans.values()} == {TRACE}
    request = spans["POST /v1/audio/speech SERVER"]
    assert request.attributes["http.response.status_code"] == 200
    for method in (SYNTHESIZE, VOCODE):
        assert _is_child(spans[f"{method} CLIENT"], request)
        assert _is_child(spans[f"{method} SERVER"], spans[f"{method} CLIENT"])
        assert spans[f"{method} SERVER"].attributes["rpc.grpc.status_code"] == "OK"


def test_a_queued_job_stays_in_the_trace_of_its_request(
    exporter: InMemorySpanExporter, client: Any, settings: GatewaySettings
) -> None:
    with worker_inside(settings):
        body = {"input": "Good evening.", "voice": "Ada"}
        accepted = client.post("/v1/audio/speech", json=body, headers={**HEADERS, "Prefer": "respond-async"})
        assert accepted.status_code == 202
        accepted.close()
        spans = wait_for(lambda: (found := _by_name(exporter)).get("job speech CONSUMER") and found)
    of_trace = {name for name, span in spans.items() if format(span.context.trace_id, "032x") == TRACE}
    assert {"POST /v1/audio/speech SERVER", "job speech CONSUMER"} <= of_trace
    assert {f"{method} {side}" for method in (SYNTHESIZE, VOCODE) for side in ("CLIENT", "SERVER")} <= of_trace
    assert _is_child(spans["job speech CONSUMER"], spans["POST /v1/audio/speech SERVER"])
    assert _is_child(spans[f"{VOCODE} CLIENT"], spans["job speech CONSUMER"])


def test_failures_are_marked(exporter: InMemorySpanExporter, client: Any) -> None:
    client.post("/v1/audio/speech", json={"input": "A calamity.", "voice": "Ada"}, headers=HEADERS).close()
    spans = wait_for(lambda: (found := _by_name(exporter)).get("POST /v1/audio/speech SERVER") and found)
    assert spans[f"{SYNTHESIZE} SERVER"].status.description == "INTERNAL"
    assert not spans["POST /v1/audio/speech SERVER"].status.is_ok


def test_probes_are_not_traced(exporter: InMemorySpanExporter, client: Any) -> None:
    assert client.get("/healthz", headers=HEADERS).status_code == 200
    assert exporter.get_finished_spans() == ()


def test_requests_without_a_trace_get_one_and_logs_name_it(exporter: InMemorySpanExporter, client: Any) -> None:
    client.get("/v1/models").close()
    (span,) = exporter.get_finished_spans()
    assert span.parent is None
    before = tracing.traceparent_var.get()
    with tracing.span("work", "CONSUMER", HEADERS["traceparent"]):
        record = logging.makeLogRecord({"msg": "hello", "levelname": "INFO"})
        assert json.loads(JsonFormatter("gateway").format(record))["trace_id"] == TRACE
    assert tracing.traceparent_var.get() == before


def test_without_a_collector_nothing_is_imported_or_sent(tmp_path: Path) -> None:
    """The stage modules and the gateway, as they start without the setting."""
    script = (
        "import sys, services.gateway.app, services.vocoder.servicer\n"
        "from services.common import tracing\n"
        "from services.gateway.settings import GatewaySettings\n"
        "tracing.configure_tracing(GatewaySettings(), 'gateway')\n"
        "assert tracing.begin_span('x', 'SERVER') is None\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry.sdk')]\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_a_malformed_parent_is_ignored(exporter: InMemorySpanExporter, client: Any) -> None:
    client.get("/v1/models", headers={"traceparent": "00-nonsense-01"}).close()
    (span,) = exporter.get_finished_spans()
    assert span.parent is None and span.context.trace_id != 0
