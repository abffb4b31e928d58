"""Writes the chart's Grafana dashboard; with --check, only says whether it is up to date."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parents[1] / "charts" / "likeness" / "files" / "dashboard.json"
SOURCE = {"type": "prometheus", "uid": "${source}"}
WIDTH, HEIGHT, COLUMNS = 8, 8, 3

# Row, then panels: title, unit, and queries by their legends. $namespace is a variable of the dashboard.
Panel = tuple[str, str, dict[str, str]]
NS = 'namespace=~"$namespace"'


def _quantile(share: float, metric: str, by: str) -> str:
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket{{{NS}}}[5m])))"


ROWS: dict[str, list[Panel]] = {
    "Stages": [
        ("Calls", "reqps", {"{{method}}": f"sum by (method) (rate(likeness_requests_total{{{NS}}}[5m]))"}),
        (
            "Calls that failed",
            "reqps",
            {"{{method}} {{code}}": f'sum by (method, code) (rate(likeness_requests_total{{{NS}, code!="OK"}}[5m]))'},
        ),
        ("Time of a call, 95 %", "s", {"{{method}}": _quantile(0.95, "likeness_request_seconds", "method")}),
        (
            "Waiting and worked on",
            "short",
            {
                "{{stage}} waiting": f"sum by (stage) (likeness_queue_depth{{{NS}}})",
                "{{stage}} worked on": f"sum by (stage) (likeness_inflight{{{NS}}})",
            },
        ),
        ("Real-time factor, 95 %", "short", {"{{stage}}": _quantile(0.95, "likeness_real_time_factor", "stage")}),
        (
            "Items per model run",
            "short",
            {
                "{{stage}}": f"sum by (stage) (rate(likeness_batch_size_sum{{{NS}}}[5m]))"
                f" / sum by (stage) (rate(likeness_batch_size_count{{{NS}}}[5m]))"
            },
        ),
        (
            "Memory of the processes",
            "bytes",
            {"{{pod}}": f"max by (pod) (process_resident_memory_bytes{{{NS}}})"},
        ),
        (
            "GPU memory (needs dcgm-exporter)",
            "decmbytes",
            {"{{pod}}": f"sum by (pod) (DCGM_FI_DEV_FB_USED{{{NS}}})"},
        ),
        ("Time to load a model", "s", {"{{stage}}": f"max by (stage) (likeness_model_load_seconds{{{NS}}})"}),
    ],
    "Gateway": [
        (
            "Responses by status",
            "reqps",
            {"{{status}}": f"sum by (status) (rate(likeness_http_requests_total{{{NS}}}[5m]))"},
        ),
        (
            "Time until the response begins, 95 %",
            "s",
            {"{{route}}": _quantile(0.95, "likeness_http_request_seconds", "route")},
        ),
        (
            "Refused or failed, by reason",
            "reqps",
            {"{{reason}}": f"sum by (reason) (rate(likeness_problems_total{{{NS}}}[5m]))"},
        ),
    ],
    "What is made": [
        (
            "Speech: time to first audio",
            "s",
            {
                "median": _quantile(0.5, "likeness_speech_time_to_first_audio_seconds", ""),
                "95 %": _quantile(0.95, "likeness_speech_time_to_first_audio_seconds", ""),
            },
        ),
        ("Speech: real-time factor, 95 %", "short", {"95 %": _quantile(0.95, "likeness_speech_real_time_factor", "")}),
        (
            "Speech: likeness to the voice, median",
            "short",
            {"median": _quantile(0.5, "likeness_speech_similarity", "")},
        ),
        (
            "Films: pictures per second",
            "short",
            {
                "published": f"sum(rate(likeness_film_frames_total{{{NS}}}[5m]))",
                "written by stages": f"sum(rate(likeness_face_film_frames_total{{{NS}}}[5m]))",
            },
        ),
        ("Live: added time, 95 %", "s", {"95 %": _quantile(0.95, "likeness_face_live_seconds", "")}),
        (
            "Live: streams, and frames by outcome",
            "short",
            {
                "streams": f"sum(likeness_face_live_streams{{{NS}}})",
                "{{outcome}} per second": f"sum by (outcome) (rate(likeness_face_live_frames_total{{{NS}}}[5m]))",
            },
        ),
        (
            "Marks looked for before release",
            "ops",
            {"{{kind}} {{outcome}}": f"sum by (kind, outcome) (rate(likeness_marks_total{{{NS}}}[5m]))"},
        ),
    ],
    "Jobs": [
        ("Unfinished", "short", {"{{state}} {{kind}}": f"max by (state, kind) (likeness_jobs{{{NS}}})"}),
        ("Longest waiting", "s", {"oldest": f"max(likeness_job_oldest_waiting_seconds{{{NS}}})"}),
        (
            "Retries and take-overs",
            "short",
            {
                "retries: {{reason}}": f"sum by (reason) (increase(likeness_job_step_retries_total{{{NS}}}[5m]))",
                "taken over": f"sum(increase(likeness_job_takeovers_total{{{NS}}}[5m]))",
            },
        ),
        (
            "Webhooks",
            "reqps",
            {"{{outcome}}": f"sum by (outcome) (rate(likeness_webhook_attempts_total{{{NS}}}[5m]))"},
        ),
    ],
    "Tenants": [
        (
            "Jobs that ended, an hour",
            "short",
            {
                "{{tenant}} {{kind}} {{state}}": "sum by (tenant, kind, state)"
                f" (increase(likeness_tenant_jobs_total{{{NS}}}[1h]))"
            },
        ),
        (
            "Minutes made, an hour",
            "m",
            {
                "{{tenant}} {{kind}}": "sum by (tenant, kind)"
                f" (increase(likeness_tenant_made_seconds_total{{{NS}}}[1h])) / 60"
            },
        ),
    ],
}


def dashboard() -> dict[str, Any]:
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS.items():
        panels.append(
            {"type": "row", "title": title, "gridPos": {"x": 0, "y": top, "w": 24, "h": 1}, "id": len(panels) + 1}
        )
        top += 1
        for place, panel in enumerate(row):
            at = {"x": place % COLUMNS * WIDTH, "y": top + place // COLUMNS * HEIGHT, "w": WIDTH, "h": HEIGHT}
            panels.append(_panel(panel, at, len(panels) + 1))
        top += -(-len(row) // COLUMNS) * HEIGHT
    return {
        "uid": "likeness",
        "title": "Likeness",
        "tags": ["likeness"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [_source_variable(), _namespace_variable()]},
        "panels": panels,
    }


def _panel(panel: Panel, at: dict[str, int], number: int) -> dict[str, Any]:
    title, unit, queries = panel
    return {
        "type": "timeseries",
        "title": title,
        "id": number,
        "gridPos": at,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + place), "expr": query, "legendFormat": legend, "datasource": SOURCE}
            for place, (legend, query) in enumerate(queries.items())
        ],
    }


def _source_variable() -> dict[str, Any]:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _namespace_variable() -> dict[str, Any]:
    query = "label_values(likeness_model_load_seconds, namespace)"
    return {
        "name": "namespace",
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": "namespace"},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
    }


def text() -> str:
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    if sys.argv[1:] == ["--check"]:
        if FILE.read_text(encoding="utf-8") == text():
            return 0
        print(f"{FILE.name} is not what scripts/dashboard.py writes", file=sys.stderr)
        return 1
    FILE.write_text(text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
