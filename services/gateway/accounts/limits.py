"""How much is too much: requests of a key, unfinished jobs of a tenant, failed attempts of an address."""

from __future__ import annotations

import math
import time
from typing import Any, Final

from apiflask import APIFlask
from flask import Response, current_app, g, request
from flask_limiter import ApplicationLimit, Limiter, RateLimitExceeded
from limits import RateLimitItemPerMinute
from sqlalchemy import bindparam, func, or_, select

from services.common.errors import LikenessError
from services.gateway.accounts.marks import is_job_starter
from services.gateway.accounts.principal import Principal
from services.gateway.db import Job
from services.gateway.jobs.records import UNFINISHED
from services.gateway.problems import problem_response

WINDOW_S: Final = 60
POLICY: Final = "requests"
JOBS_RETRY_S: Final = 5.0
_COUNT: Final = (  # made once: building a statement takes as long as running it
    select(func.count())
    .select_from(Job)
    .where(or_(*(Job.state == state for state in UNFINISHED)), Job.tenant == bindparam("wanted_tenant"))
    .where(Job.batch_id.is_(None))
)


def register_limits(app: APIFlask, storage_url: str) -> None:
    """After authentication: whose limits hold is known by then. Public views have none."""
    limiter = Limiter(
        _whose,
        application_limits=[ApplicationLimit(_rate)],
        storage_uri=storage_url,
        strategy="sliding-window-counter",
        in_memory_fallback_enabled=True,  # without Redis each process counts for itself, and says so in the log
        key_prefix="likeness",
    )
    limiter.request_filter(lambda: not _rate())  # who has no limit is not counted
    limiter.init_app(app)
    app.extensions["likeness_limiter"] = limiter
    app.before_request(_check_jobs)
    app.after_request(_add_headers)
    app.register_error_handler(RateLimitExceeded, _refuse)


def count_failed_attempt() -> None:
    """Notes that this address sent wrong or no credentials. Valid ones are never refused for it.

    Raises:
        LikenessError: RATE_LIMITED when it was too often within a minute.
    """
    allowed = RateLimitItemPerMinute(current_app.extensions["likeness"].settings.failed_attempts_per_minute)
    whose = ("likeness", "failed", request.remote_addr or "unknown")
    strategy = current_app.extensions["likeness_limiter"].limiter
    if not strategy.hit(allowed, *whose):
        detail = f"More than {allowed.amount} requests within a minute came from your address without a valid key."
        raise LikenessError(
            "RATE_LIMITED", detail, retry_after_s=strategy.get_window_stats(allowed, *whose)[0] - time.time()
        )


def _whose() -> str:
    principal: Principal = g.principal
    return principal.key_id or f"{principal.tenant}:{principal.actor}"


def _rate() -> str:
    """Of this request; empty is without limit."""
    principal: Principal | None = g.get("principal")
    limit = None if principal is None else principal.limits.requests_per_minute
    return f"{limit}/minute" if limit else ""


def _check_jobs() -> None:
    """Looks before the work begins; requests at the same moment may pass together."""
    if request.endpoint is None or not is_job_starter(current_app.view_functions[request.endpoint]):
        return
    principal: Principal = g.principal
    limit = principal.limits.concurrent_jobs
    if limit is None:
        return
    with current_app.extensions["likeness"].database.engine.connect() as connection:
        count = connection.execute(_COUNT, {"wanted_tenant": principal.tenant}).scalar_one()
    if count >= limit:
        detail = f"{count} jobs of this tenant have not ended yet; {limit} may be at the same time."
        raise LikenessError("QUEUE_FULL", detail, retry_after_s=JOBS_RETRY_S)


def _refuse(error: RateLimitExceeded) -> Response:
    current = current_app.extensions["likeness_limiter"].current_limit
    detail = f"More than {current.limit.amount} requests within a minute."
    return problem_response(LikenessError("RATE_LIMITED", detail, retry_after_s=_seconds_left(current)))


def _add_headers(response: Response) -> Response:
    """https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/ (10): policy and what is left of it."""
    current = current_app.extensions["likeness_limiter"].current_limit
    if current is not None:
        response.headers["RateLimit-Policy"] = f'"{POLICY}";q={current.limit.amount};w={WINDOW_S}'
        response.headers["RateLimit"] = f'"{POLICY}";r={current.remaining};t={math.ceil(_seconds_left(current))}'
    return response


def _seconds_left(current: Any) -> float:
    return max(0.0, float(current.window.reset_time) - time.time())
