"""The lines of a batch's file: read one by one, each with all that is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.gateway.api.fields import JsonBody
from services.gateway.api.queue_fields import QUEUE_FIELDS
from services.gateway.api.speech import SpeechIn
from services.gateway.api.swap_form import SwapIn
from services.gateway.problems import FieldError

MAX_LINE_BYTES: Final = 256 * 1024
MAX_ERRORS: Final = 1000  # that are told; further ones are counted
MODELS: Final[dict[str, type[BaseModel]]] = {"/v1/audio/speech": SpeechIn, "/v1/swaps": SwapIn}
_UPLOADS: Final = ("target", "reference")


class LineIn(JsonBody):
    """A line as OpenAI's batches have it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    custom_id: str = Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")
    method: str = "POST"
    url: str
    body: dict[str, Any]


@dataclass(frozen=True)
class Line:
    """A request that is as it should be, so far. Numbers begin at 1."""

    number: int
    custom_id: str
    url: str
    body: Any  # SpeechIn | SwapIn


@dataclass
class Findings:
    """What is wrong with a file, by line."""

    errors: list[FieldError] = field(default_factory=list)
    more: int = 0

    def add(self, number: int, where: str, detail: str) -> None:
        if len(self.errors) >= MAX_ERRORS:
            self.more += 1
            return
        self.errors.append(FieldError(field=f"line {number}" + (f": {where}" if where else ""), detail=detail))

    def __bool__(self) -> bool:
        return bool(self.errors)

    def summary(self) -> str:
        count = len(self.errors) + self.more
        first = self.errors[0]
        more = f" The first {MAX_ERRORS} are listed." if self.more else ""
        return f"{count} faults in the file, the first: {first.field}: {first.detail}{more}"


def read_lines(file: IO[bytes], endpoint: str | None, max_items: int, found: Findings) -> list[Line]:
    """The lines that are sound; what is wrong with the others is added to `found`. Empty lines are passed over."""
    lines: list[Line] = []
    numbers: dict[str, int] = {}
    for number, text in _texts(file, found):
        line = _line(number, text, endpoint, found)
        if line is None:
            continue
        earlier = numbers.setdefault(line.custom_id, number)
        if earlier != number:
            found.add(number, "custom_id", f"is that of line {earlier}, too")
        lines.append(line)
        if len(lines) > max_items:
            found.add(number, "", f"a batch has {max_items} requests at most; split the file")
            return lines
    if not lines and not found:
        found.add(1, "", "the file has no request")
    return lines


def _texts(file: IO[bytes], found: Findings) -> Iterator[tuple[int, bytes]]:
    number = 0
    while text := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(text) > MAX_LINE_BYTES:
            found.add(number, "", f"is longer than {MAX_LINE_BYTES} bytes; what follows was not read")
            return
        if text.strip():
            yield number, text


def _line(number: int, text: bytes, endpoint: str | None, found: Findings) -> Line | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        found.add(number, "", f"is not JSON: {error}"[:200])
        return None
    try:
        line = LineIn.model_validate(value)
    except ValidationError as error:
        _tell(number, "", error, found)
        return None
    model = MODELS.get(line.url)
    if line.method != "POST":
        found.add(number, "method", "must be POST")
    elif model is None:
        found.add(number, "url", f"must be one of {', '.join(MODELS)}")
    elif endpoint is not None and line.url != endpoint:
        found.add(number, "url", f"differs from the batch's endpoint, {endpoint}")
    else:
        return _with_body(number, line, model, found)
    return None


def _with_body(number: int, line: LineIn, model: type[BaseModel], found: Findings) -> Line | None:
    for name in (*QUEUE_FIELDS, *(_UPLOADS if model is SwapIn else ())):
        if line.body.get(name) is not None:
            detail = "belongs to the batch, not to its requests" if name in QUEUE_FIELDS else "name media instead"
            found.add(number, f"body.{name}", detail)
            return None
    if line.body.get("stream") or line.body.get("stream_format") == "sse":
        found.add(number, "body.stream", "nobody listens to a batch; leave it out")
        return None
    try:
        return Line(number, line.custom_id, line.url, model.model_validate(line.body))
    except ValidationError as error:
        _tell(number, "body", error, found)
        return None


def _tell(number: int, stem: str, error: ValidationError, found: Findings) -> None:
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        path = ".".join(str(part) for part in item["loc"])
        found.add(number, ".".join(part for part in (stem, path) if part), item["msg"].removeprefix("Value error, "))
