"""/healthz, /readyz and /metrics: for those who operate the gateway."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Literal

from apiflask import APIBlueprint
from flask import Response
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError

from services.common.errors import LikenessError
from services.gateway.accounts import public
from services.gateway.api.fields import current_gateway, inline_schema
from services.gateway.context import Gateway
from services.gateway.stages import SERVICE_NAMES
from services.gateway.telemetry import metrics_page

bp = APIBlueprint("health", __name__, tag="Operation")
PROBE_KEY: Final = "work/readiness-probe"


class HealthOut(BaseModel):
    """This process answers."""

    status: Literal["ok"] = "ok"


class CheckOut(BaseModel):
    """One thing the gateway needs."""

    ok: bool
    detail: str | None = None


class ReadyOut(BaseModel):
    """Whether everything the gateway needs is there."""

    status: Literal["ready", "not_ready"]
    checks: dict[str, CheckOut]


_READY_RESPONSES: Final[Any] = {
    code: {"description": text, "content": {"application/json": {"schema": inline_schema(ReadyOut)}}}
    for code, text in ((200, "All are"), (503, "At least one is not; see checks"))
}
_METRICS_RESPONSES: Final[Any] = {
    200: {"description": "Text", "content": {"text/plain": {"schema": {"type": "string"}}}}
}


@bp.get("/healthz")
@bp.output(HealthOut)
@bp.doc(summary="Is the process alive", operation_id="get_health")
@public
def healthz() -> HealthOut:
    return HealthOut()


@bp.get("/readyz")
@bp.doc(
    summary="Are database, store and all stages there",
    operation_id="get_readiness",
    responses=_READY_RESPONSES,
)
@public
def readyz() -> tuple[dict[str, object], int]:
    checks = run_checks(current_gateway())
    ready = all(check.ok for check in checks.values())
    body = ReadyOut(status="ready" if ready else "not_ready", checks=checks)
    return body.model_dump(mode="json"), 200 if ready else 503


@bp.get("/metrics")
@bp.doc(
    summary="Prometheus metrics",
    operation_id="get_metrics",
    responses=_METRICS_RESPONSES,
)
@public
def metrics() -> Response:
    return metrics_page()


def run_checks(gateway: Gateway) -> dict[str, CheckOut]:
    """Asks all at the same time."""
    checks: dict[str, Callable[[], str | None]] = {
        "database": lambda: _check_database(gateway),
        "store": lambda: _check_store(gateway),
    }
    deadline_s = gateway.settings.health_deadline_s
    for stage in SERVICE_NAMES:
        checks[stage] = lambda stage=stage: gateway.stages.check(stage, deadline_s)  # type: ignore[misc]
    with ThreadPoolExecutor(max_workers=len(checks)) as pool:
        details = {name: pool.submit(check) for name, check in checks.items()}
        return {name: _show(future.result()) for name, future in details.items()}


def _show(detail: str | None) -> CheckOut:
    return CheckOut(ok=detail is None, detail=detail)


def _check_database(gateway: Gateway) -> str | None:
    try:
        gateway.database.check()
    except SQLAlchemyError as error:
        return type(error).__name__
    return None


def _check_store(gateway: Gateway) -> str | None:
    try:
        gateway.store.put(PROBE_KEY, b"ready", "text/plain")
    except LikenessError as error:
        return error.detail
    return None
