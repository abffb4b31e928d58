"""Structured logs: one JSON object per line, each with the id of the request it belongs to.

`log_format = "text"` writes readable lines instead. Whatever is passed as `extra=` becomes a field.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import uuid
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final

from services.common.tracing import trace_id, traceparent_var

REQUEST_ID_KEY: Final = "x-request-id"  # gRPC metadata key and HTTP header
request_id_var: ContextVar[str] = ContextVar("likeness_request_id", default="")
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def new_request_id() -> str:
    return uuid.uuid4().hex


def accept_request_id(value: str | bytes | None) -> str:
    """The caller's id when it is harmless (nothing that could forge a log line), else a new one."""
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else value or ""
    return text if _REQUEST_ID.fullmatch(text) else new_request_id()


def _extra_fields(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD and not key.startswith("_")}


class JsonFormatter(logging.Formatter):
    """One line per record."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := request_id_var.get():
            fields["request_id"] = request_id
        if trace := trace_id(traceparent_var.get()):
            fields["trace_id"] = trace
        fields |= _extra_fields(record)
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


class TextFormatter(logging.Formatter):
    """For a person at a terminal."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        extra = "".join(f" {key}={value}" for key, value in _extra_fields(record).items())
        line = f"{time} {record.levelname.lower():7} {self._service}: {record.getMessage()}{extra}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure_logging(level: str, log_format: str, service: str) -> None:
    """Sends all logs of this process to standard error in the given format; replaces what was configured before."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service) if log_format == "json" else TextFormatter(service))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
