"""/v1/batches: many requests in one file, in the shape of OpenAI's API."""

from __future__ import annotations

import io
import json
from typing import Annotated, Any, Final, Literal

from apiflask import APIBlueprint
from apiflask.fields import UploadFile
from apiflask.schema_adapters.pydantic import PydanticAdapter
from flask import Response, request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from services.common.errors import LikenessError
from services.gateway.accounts import needs, starts_job
from services.gateway.admission import takes_place
from services.gateway.api.batch_lines import MODELS, Findings, read_lines
from services.gateway.api.batch_orders import make_items
from services.gateway.api.fields import (
    Identifier,
    JsonBody,
    PageOut,
    PageQuery,
    current_gateway,
    current_tenant,
    inline_schema,
    page_out,
    unix_seconds,
)
from services.gateway.api.headers import takes_bodies
from services.gateway.api.job_views import JobError, moment
from services.gateway.api.jobs import cancel_record
from services.gateway.api.queue_fields import QueueFields, queue_options
from services.gateway.api.reasons import fails_with
from services.gateway.api.scope import current_request_id
from services.gateway.batches import CONTENT_TYPE, Counts, count_items, queue_batch
from services.gateway.db import Job, Media, find, get_page
from services.gateway.media import media_bytes, publish, withdraw
from services.gateway.problems import problem_response

bp = APIBlueprint("batches", __name__, url_prefix="/v1/batches", tag="Batches")
METADATA_ENTRIES: Final = 16

Endpoint = Literal["/v1/audio/speech", "/v1/swaps"]
BatchStatus = Literal["in_progress", "finalizing", "completed", "failed", "expired", "cancelled"]
_STATUS: Final[dict[str, BatchStatus]] = {
    "queued": "in_progress",
    "processing": "in_progress",
    "succeeded": "completed",
    "failed": "failed",
    "canceled": "cancelled",
}


def _from_json(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise PydanticCustomError("json", "expected a JSON object of texts") from error


_Text = Annotated[str, StringConstraints(max_length=512, pattern=r"^[^\x00]*$")]
_Key = Annotated[str, StringConstraints(max_length=64, pattern=r"^[^\x00]*$")]
Metadata = Annotated[dict[_Key, _Text], BeforeValidator(_from_json), Field(max_length=METADATA_ENTRIES)]


class BatchIn(QueueFields, JsonBody):
    """A batch whose file is here already."""

    input_file_id: Identifier = Field(description="Id of the file: of /v1/files, or other media.")
    endpoint: Endpoint | None = Field(None, description="What the url of every line must be.")
    completion_window: Literal["24h"] = Field("24h", description="As in OpenAI's API; see deadline_seconds.")
    metadata: Metadata | None = None


class BatchForm(QueueFields):
    """The same with the file itself."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True)

    file: UploadFile = Field(
        description="JSON lines: custom_id, method, url, body.",
        json_schema_extra={"type": "string", "format": "binary"},
    )
    endpoint: Endpoint | None = None
    completion_window: Literal["24h"] = "24h"
    metadata: Metadata | None = Field(None, json_schema_extra={"contentMediaType": "application/json"})


class RequestCounts(BaseModel):
    """Requests of the batch; canceled ones count as failed."""

    total: int
    completed: int
    failed: int


class BatchOut(BaseModel):
    """A batch. Its id is that of its job."""

    id: str
    object: Literal["batch"]
    endpoint: str | None
    status: BatchStatus
    input_file_id: str | None
    output_file_id: str | None = Field(description="Media with a line of JSON per request, failed ones included.")
    error_file_id: None = Field(description="Never there: the file of results has what failed.")
    completion_window: str
    request_counts: RequestCounts
    rate: float | None = Field(description="Requests done per second.")
    seconds_left: float | None
    created_at: int
    in_progress_at: int | None
    expires_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelled_at: int | None
    metadata: dict[str, str] | None
    error: JobError | None


def _status(job: Job) -> BatchStatus:
    if job.state == "failed" and (job.error or {}).get("reason") == "DEADLINE_EXCEEDED":
        return "expired"
    if job.state == "processing" and (job.progress or {}).get("phase") == "writing":
        return "finalizing"
    return _STATUS[job.state]


def show_batch(job: Job, counts: Counts) -> BatchOut:
    status, progress = _status(job), job.progress or {}
    ended = {name: moment(job.finished_at) if status == name else None for name in _STATUS.values()}
    return BatchOut.model_validate(
        {
            "id": job.id,
            "object": "batch",
            "endpoint": job.parameters.get("endpoint"),
            "status": status,
            "input_file_id": job.target_media_id,
            "output_file_id": job.media_id,
            "error_file_id": None,
            "completion_window": "24h",
            "request_counts": vars(counts),
            "rate": progress.get("rate"),
            "seconds_left": progress.get("seconds_left") if job.finished_at is None else None,
            "created_at": unix_seconds(job.created_at),
            "in_progress_at": moment(job.started_at),
            "expires_at": moment(job.deadline_at),
            "completed_at": ended["completed"],
            "failed_at": ended["failed"],
            "expired_at": moment(job.finished_at) if status == "expired" else None,
            "cancelled_at": ended["cancelled"],
            "metadata": job.parameters.get("metadata"),
            "error": job.error,
        }
    )


@bp.post("")
@needs("jobs")
@starts_job
@takes_bodies(json=inline_schema(BatchIn), form=inline_schema(BatchForm))
@bp.output(BatchOut, status_code=201)
@bp.doc(
    summary="Create a batch",
    description=(
        "Takes a file of JSON lines, each `{custom_id, method: POST, url, body}` with the body that the url takes "
        f"({', '.join(MODELS)}; swaps name their target by `target_media`), by id or as `file` of a form. All lines "
        "are checked before anything is begun; the problem lists every fault as `line n: ...` in `errors`. Each "
        "request becomes a job: `GET /v1/jobs?batch=`."
    ),
    operation_id="create_batch",
)
@fails_with("NOT_FOUND", "INVALID_FIELD", "QUEUE_FULL", "MEDIA_TOO_LARGE", "REQUEST_MALFORMED", "STORE_UNAVAILABLE")
@takes_place
def create_batch() -> Any:
    gateway, tenant = current_gateway(), current_tenant()
    is_form = request.mimetype == "multipart/form-data"
    model, location = (BatchForm, "form_and_files") if is_form else (BatchIn, "json")
    body: Any = PydanticAdapter(model).validate_input(request, location)
    options = queue_options(body)
    gateway.queue.require_room()
    media = None if is_form else _input_media(tenant, body.input_file_id)
    content = body.file.stream.read(gateway.settings.max_batch_bytes + 1) if media is None else _content(media)
    if len(content) > gateway.settings.max_batch_bytes:
        detail = f"A batch's file may have {gateway.settings.max_batch_bytes} bytes; split it."
        raise LikenessError("MEDIA_TOO_LARGE", detail, field="file" if media is None else "input_file_id")
    found = Findings()
    lines = read_lines(io.BytesIO(content), body.endpoint, gateway.settings.batch_items, found)
    items = make_items(gateway, tenant, lines, found)
    if found:
        return _refusal(found, "file" if media is None else "input_file_id")
    kept = media or publish(gateway, content, tenant=tenant, content_type=CONTENT_TYPE, purpose="batch_input")
    try:
        job = queue_batch(
            gateway,
            items,
            tenant=tenant,
            request_id=current_request_id(),
            parameters={
                "endpoint": body.endpoint,
                "metadata": body.metadata,
                "target_uploaded": media is None,  # then the file goes with the batch
            },
            input_media_id=kept.id,
            options=options,
        )
    except Exception:
        if media is None:
            withdraw(gateway, kept)
        raise
    return show_batch(job, Counts(total=len(items))), 201, {"Location": f"/v1/batches/{job.id}"}


def _refusal(found: Findings, field: str) -> Response:
    return problem_response(LikenessError("INVALID_FIELD", found.summary(), field=field), found.errors)


def _input_media(tenant: str, media_id: str) -> Media:
    with current_gateway().database.session() as session:
        return find(session, Media, tenant, media_id, what="file", field="input_file_id")


def _content(media: Media) -> bytes:
    gateway = current_gateway()
    if media.size_bytes > gateway.settings.max_batch_bytes:
        detail = f"A batch's file may have {gateway.settings.max_batch_bytes} bytes; split it."
        raise LikenessError("MEDIA_TOO_LARGE", detail, field="input_file_id")
    return media_bytes(gateway, media)


@bp.get("")
@needs("read", "jobs")
@bp.input(PageQuery, location="query", arg_name="page")
@bp.output(PageOut[BatchOut])
@bp.doc(summary="List batches", operation_id="list_batches")
def list_batches(page: PageQuery) -> dict[str, Any]:
    with current_gateway().database.session() as session:
        found = get_page(session, Job, current_tenant(), Job.kind == "batch", after=page.after, limit=page.limit)
        counts = count_items(session, [job.id for job in found.records])
    return page_out(found, lambda job: show_batch(job, counts[job.id]))


@bp.get("/<batch_id>")
@needs("read", "jobs")
@bp.output(BatchOut)
@bp.doc(summary="Get a batch", description="With its counts while it is worked on.", operation_id="get_batch")
@fails_with("NOT_FOUND")
def get_batch(batch_id: str) -> BatchOut:
    with current_gateway().database.session() as session:
        job = find(session, Job, current_tenant(), batch_id, Job.kind == "batch", what="batch")
        return show_batch(job, count_items(session, [job.id])[job.id])


@bp.post("/<batch_id>/cancel")
@needs("jobs")
@bp.output(BatchOut)
@bp.doc(
    summary="Cancel a batch",
    description="Cancels what has not been done. One that has ended stays as it is.",
    operation_id="cancel_batch",
)
@fails_with("NOT_FOUND", "NOT_CANCELABLE")
def cancel_batch(batch_id: str) -> BatchOut:
    job = cancel_record(batch_id, Job.kind == "batch", what="batch")
    with current_gateway().database.session() as session:
        return show_batch(job, count_items(session, [job.id])[job.id])
