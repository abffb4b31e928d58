"""What request and response models share: text without control characters, pages, identifiers of the tenant."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Generic, Literal, TypeVar, cast

from flask import current_app
from pydantic import AfterValidator as After
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from services.gateway.accounts import current_principal
from services.gateway.context import Gateway
from services.gateway.db import Page
from services.gateway.db.models import Record, Tenant

# Text that has at least one visible character and no NUL, which PostgreSQL cannot keep.
SOME_TEXT: Final = r"^[^\x00]*[^\s\x00][^\x00]*$"
Name = Annotated[str, StringConstraints(max_length=100, pattern=SOME_TEXT)]
Person = Annotated[str, StringConstraints(max_length=200, pattern=SOME_TEXT)]
LongText = Annotated[str, StringConstraints(max_length=10_000, pattern=SOME_TEXT)]
Purpose = Annotated[
    str,
    StringConstraints(max_length=200, pattern=SOME_TEXT),
    Field(description="What it is for, in a few words. Sexual purposes are refused, whatever the consent."),
]
LanguageTag = Annotated[str, StringConstraints(max_length=35, pattern=r"^[A-Za-z0-9-]+$")]
Identifier = Annotated[str, StringConstraints(max_length=100, pattern=r"^[^\x00]+$")]

ModelT = TypeVar("ModelT", bound=BaseModel)
ListedT = TypeVar("ListedT", bound=Record | Tenant)


def _only_text(value: object) -> object:
    if value is not None and not isinstance(value, str):
        raise ValueError("expected a date and time as text, such as 2030-01-31T12:00:00Z")
    return value


def _to_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the year is out of range") from error


PointInTime = Annotated[AwareDatetime, BeforeValidator(_only_text), After(_to_utc), Field(strict=False)]


class JsonBody(BaseModel):
    """A JSON request body: exact types, and no field that nobody reads."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class FormBody(BaseModel):
    """A multipart request body: numbers arrive as text."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True)


class PageQuery(BaseModel):
    """Which part of a list."""

    limit: int = Field(20, ge=1, le=100, description="At most so many.")
    after: Identifier | None = Field(None, description="Continue after the object with this id.")


class PageOut(BaseModel, Generic[ModelT]):
    """Part of a list, newest first."""

    object: Literal["list"] = "list"
    data: list[ModelT]
    has_more: bool
    first_id: str | None
    last_id: str | None


class Deleted(BaseModel):
    """Says that an object is gone."""

    id: str
    object: str
    deleted: Literal[True] = True


def page_out(page: Page[ListedT], show: Callable[[ListedT], BaseModel]) -> dict[str, Any]:
    """A page of records as the body that `PageOut` describes."""
    records = page.records
    return {
        "object": "list",
        "data": [show(record) for record in records],
        "has_more": page.has_more,
        "first_id": records[0].id if records else None,
        "last_id": records[-1].id if records else None,
    }


def inline_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a model with its parts put in place, for responses that are described by hand."""
    schema = model.model_json_schema()
    parts = schema.pop("$defs", {})

    def resolve(node: Any) -> Any:
        if isinstance(node, dict):
            reference = node.get("$ref")
            if reference is not None:
                return resolve(parts[reference.rpartition("/")[2]])
            return {key: resolve(value) for key, value in node.items()}
        return [resolve(item) for item in node] if isinstance(node, list) else node

    return cast(dict[str, Any], resolve(schema))


def from_commas(value: object) -> object:
    """A form's text of several values as a list."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def unix_seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def current_gateway() -> Gateway:
    """The gateway behind the application that handles this request."""
    return cast(Gateway, current_app.extensions["likeness"])


def current_tenant() -> str:
    """Whose request this is."""
    return current_principal().tenant
