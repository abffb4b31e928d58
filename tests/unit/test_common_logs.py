"""Log lines are one JSON object each, with the request's id, and cannot be forged by a caller."""

from __future__ import annotations

import json
import logging

import pytest

from services.common.logs import JsonFormatter, TextFormatter, accept_request_id, request_id_var


def record(message: str, **extra: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "n", "levelname": "INFO", "msg": message, "created": 0.0})
    vars(made).update(extra)
    return made


def test_json_line_has_the_fields_and_the_request() -> None:
    request_id_var.set("r-1")
    fields = json.loads(JsonFormatter("encoder").format(record("rpc", code="OK", seconds=0.5)))
    request_id_var.set("")
    assert fields["message"] == "rpc"
    assert (fields["service"], fields["request_id"], fields["code"]) == ("encoder", "r-1", "OK")
    assert fields["time"] == "1970-01-01T00:00:00.000+00:00"


def test_line_breaks_stay_inside_the_line() -> None:
    assert "\n" not in JsonFormatter("x").format(record('a\n{"level": "error"}'))


def test_text_line_is_readable() -> None:
    assert TextFormatter("encoder").format(record("serving", port=50051)).endswith("encoder: serving port=50051")


@pytest.mark.parametrize("value", ["abc-1", "a.b:c_d", "x" * 128])
def test_harmless_ids_are_kept(value: str) -> None:
    assert accept_request_id(value) == value


@pytest.mark.parametrize("value", [None, "", "a b", "a\nb", '"', "x" * 129, b"\xff\xfe"])
def test_other_ids_are_replaced(value: str | bytes | None) -> None:
    assert accept_request_id(value) != value
    assert len(accept_request_id(value)) == 32
