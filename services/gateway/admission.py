"""How much work a process takes at the same time: what is beyond that is refused at once, so that it can be sent
elsewhere, or later, instead of waiting where nobody knows for how long.

A request with work occupies a place from its beginning until the last byte of its answer. There are fewer places than
threads, so that some are left for requests that are answered at once, refusals among them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

from apiflask import APIFlask
from flask import Response, current_app, g, request
from prometheus_client import Counter

from services.common.errors import LikenessError

ViewT = TypeVar("ViewT", bound=Callable[..., Any])
RETRY_AFTER_S: Final = 1.0
refused_total: Final = Counter("likeness_http_refused", "Requests refused because all places were taken", ["route"])


def takes_place(view: ViewT) -> ViewT:
    """The view works for longer than a moment: it needs a place."""
    view.__dict__["takes_place"] = True
    return view


def register_admission(app: APIFlask, places: int) -> None:
    """After authentication, so that strangers take no places."""
    free = threading.Semaphore(places)

    def take() -> None:
        if request.endpoint is None or "takes_place" not in current_app.view_functions[request.endpoint].__dict__:
            return
        if "principal" not in g:
            return
        if not free.acquire(blocking=False):
            refused_total.labels(str(request.url_rule)).inc()
            detail = "As much as this server can do at the same time is being done. Try again in a moment."
            raise LikenessError("QUEUE_FULL", detail, retry_after_s=RETRY_AFTER_S)
        g.work_place = free

    def hand_to_response(response: Response) -> Response:
        """One that is streamed goes on working; all others are done."""
        if response.is_streamed and (place := g.pop("work_place", None)) is not None:
            response.call_on_close(place.release)
        return response

    def give_back(_error: BaseException | None) -> None:
        """Where no response has it."""
        place = g.pop("work_place", None)
        if place is not None:
            place.release()

    app.before_request(take)
    app.after_request(hand_to_response)
    app.teardown_request(give_back)
