"""/v1/swaps/live: a WebSocket on which frames are swapped as they come. See docs/architecture/02-live.md."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final, Literal

from apiflask import APIBlueprint
from flask import json, request
from flask_sock import Sock  # type: ignore[import-untyped]
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from simple_websocket import ConnectionClosed  # type: ignore[import-untyped]

from services.common.errors import LikenessError
from services.gateway.accounts import needs, starts_job
from services.gateway.accounts.audit import record_action
from services.gateway.api.fields import Identifier, current_gateway, current_tenant
from services.gateway.api.scope import current_request_id
from services.gateway.api.swap_form import AssignmentIn, Threshold
from services.gateway.assignments import MAX_ASSIGNMENTS, AssignmentOrder, Selection, assign
from services.gateway.context import Gateway
from services.gateway.jobs import JobState, end_job, start_job
from services.gateway.live import LiveFigures, LiveOrder, run_live
from services.gateway.observations import live_sessions_total
from services.gateway.painting import FaceRegion, Painting
from services.gateway.problems import describe
from services.gateway.swap import stage_fields

bp = APIBlueprint("live", __name__, enable_openapi=False)
sock = Sock()
SETUP_S: Final = 10.0
LINGER_S: Final = 3.0
SWITCHING_PROTOCOLS: Final = 101  # the status of an upgrade to a WebSocket
# Close codes of RFC 6455, 7.4.1, and its registry.
GOING_AWAY, POLICY, INTERNAL, TRY_AGAIN = 1001, 1008, 1011, 1013
_CALLED_OFF: Final = ("CONSENT_REQUIRED", "CONSENT_NOT_LIVE", "CANCELLED")


class LiveSetupIn(BaseModel):
    """The first message, as JSON text. Fields are those of POST /v1/swaps."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    type: Literal["setup"]
    face: Identifier | None = None
    assignments: Annotated[list[AssignmentIn], Field(min_length=1, max_length=MAX_ASSIGNMENTS)] | None = None
    selection: Selection = "largest"
    index: int | None = Field(None, ge=0, le=1000)
    reference_face: Identifier | None = None
    threshold: Threshold | None = None
    engine: str = Field("", max_length=100)
    enhancer: str = Field("", max_length=100)
    regions: list[FaceRegion] = Field(default_factory=list)
    keep_occluders: bool | None = None
    shape_strength: float | None = Field(None, ge=0, le=1)
    feather: float | None = Field(None, ge=0.01, le=0.5)
    pixel_boost: int | None = Field(None, ge=1, le=4)
    jpeg_quality: int = Field(85, ge=1, le=100)
    deadline_ms: int = Field(0, ge=0, le=60_000, description="Age at which a frame is worth nothing any more.")

    def orders(self) -> list[AssignmentOrder]:
        if (self.face is None) == (self.assignments is None):
            raise LikenessError("INVALID_FIELD", "Give either face or assignments.", field="face")
        given = self.assignments or [
            AssignmentIn(
                face=str(self.face),
                selection=self.selection,
                index=self.index,
                reference_face=self.reference_face,
                reference=None,
                threshold=self.threshold,
            )
        ]
        stems = [f"assignments.{number}." for number in range(len(given))] if self.assignments else [""]
        if any(item.reference is not None for item in given):
            detail = "Live, a reference is an enrolled face: give reference_face."
            raise LikenessError("INVALID_FIELD", detail, field="reference")
        return [
            AssignmentOrder(**item.model_dump(exclude={"reference"}), field=stem)
            for item, stem in zip(given, stems, strict=True)
        ]

    def painting(self) -> Painting:
        names = ("engine", "enhancer", "keep_occluders", "shape_strength", "feather", "pixel_boost")
        return Painting(regions=tuple(self.regions), **{name: getattr(self, name) for name in names})


@bp.before_request
def _without_compression() -> None:
    """The frames are compressed already; to do so again would only take time."""
    request.environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)


@sock.route("/v1/swaps/live", bp=bp)  # type: ignore[untyped-decorator]
@needs("swaps")
@starts_job
def live(ws: Any) -> None:
    """Setup, then frames, until one side closes. A failure is told as a problem, then the connection is closed."""
    gateway = current_gateway()
    try:
        with _place(gateway):
            _serve(gateway, ws)
    except ConnectionClosed:
        return
    except LikenessError as error:
        ws.send(json.dumps({"type": "error", "problem": describe(error)}))
        ws.close(_close_code(error), error.reason)
        # A socket that is closed while frames still arrive is reset, and the caller might never read why.
        ws.thread.join(LINGER_S)


@contextmanager
def _place(gateway: Gateway) -> Iterator[None]:
    if not gateway.live_places.acquire(blocking=False):
        detail = f"{gateway.settings.live_sessions} live swaps are running here already."
        raise LikenessError("QUEUE_FULL", detail, retry_after_s=10.0)
    try:
        yield
    finally:
        gateway.live_places.release()


def _serve(gateway: Gateway, ws: Any) -> None:
    tenant, request_id = current_tenant(), current_request_id()
    setup = _read_setup(ws.receive(timeout=SETUP_S))
    orders, painting = setup.orders(), setup.painting()
    assignments = assign(gateway, tenant, orders)
    with gateway.database.session() as session:
        job = start_job(
            session,
            tenant=tenant,
            kind="live",
            request_id=request_id,
            consent_id=assignments[0].consents[0],
            likeness_id=assignments[0].face,
            parameters={
                "assignments": [assignment.to_json() for assignment in assignments],
                "painting": painting.to_json(),
            },
            owner=gateway.process_id,
            in_background=True,
        )
    record_action("create_live_swap", job.id, SWITCHING_PROTOCOLS)
    ws.send(json.dumps({"type": "ready", "job": job.id}))
    figures = LiveFigures()
    state: JobState = "succeeded"
    failure: LikenessError | None = None
    try:
        run_live(
            gateway,
            job.id,
            LiveOrder(assignments, painting, setup.jpeg_quality, setup.deadline_ms, job.mark),
            tenant=tenant,
            request_id=request_id,
            names={**_below_setup(stage_fields(orders, "frame")), "frame": "frame"},
            receive=lambda seconds: ws.receive(timeout=seconds),
            send=ws.send,
            figures=figures,
        )
    except ConnectionClosed:
        raise
    except LikenessError as error:
        state, failure = "canceled" if error.reason in _CALLED_OFF else "failed", error
        raise
    except Exception as error:
        state, failure = "failed", LikenessError("INTERNAL", repr(error))
        raise
    finally:
        end_job(gateway.database, job.id, state, figures=figures.to_json(), error=failure)
        live_sessions_total.labels(state=state).inc()


def _below_setup(names: dict[str, str]) -> dict[str, str]:
    return {f"setup.{field}": name for field, name in names.items()}


def _read_setup(message: bytes | str | None) -> LiveSetupIn:
    if not isinstance(message, str):
        detail = f"The first message must be the setup, as JSON text, within {SETUP_S:.0f} seconds."
        raise LikenessError("REQUEST_MALFORMED", detail)
    try:
        return LiveSetupIn.model_validate_json(message)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or None
        raise LikenessError("INVALID_FIELD", first["msg"], field=field) from error


def _close_code(error: LikenessError) -> int:
    if error.reason == "DRAINING":
        return GOING_AWAY
    status = error.row.http_status
    if status in (429, 503, 504):
        return TRY_AGAIN
    return INTERNAL if status >= 500 else POLICY
