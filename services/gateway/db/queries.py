"""Reading records: always of one tenant, so that nobody learns that another's exist."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, bindparam, select
from sqlalchemy.orm import Session

from services.common.errors import LikenessError
from services.gateway.db.models import Face, Record, Tenant, Voice

RecordT = TypeVar("RecordT", bound=Record)
ListedT = TypeVar("ListedT", bound=Record | Tenant)
NamedT = TypeVar("NamedT", Voice, Face)


@dataclass(frozen=True)
class Page(Generic[ListedT]):
    """Records, newest first, and whether older ones follow."""

    records: Sequence[ListedT]
    has_more: bool


def find(
    session: Session,
    model: type[RecordT],
    tenant: str,
    record_id: str,
    *conditions: ColumnElement[bool],
    what: str,
    field: str | None = None,
) -> RecordT:
    """The record of that id.

    Raises:
        LikenessError: NOT_FOUND, the same for one that does not exist and one of another tenant.
    """
    query = _by_id(model)
    if conditions:
        query = query.where(*conditions)
    record: RecordT | None = session.scalar(query, {"wanted_tenant": tenant, "wanted_id": record_id})
    if record is None:
        raise LikenessError("NOT_FOUND", f"There is no {what} {record_id!r}.", field=field)
    return record


@cache
def _by_id(model: type[RecordT]) -> Any:
    """Made once: building a statement takes as long as running it."""
    return select(model).where(model.tenant == bindparam("wanted_tenant"), model.id == bindparam("wanted_id"))


@cache
def _by_id_or_name(model: type[NamedT]) -> Any:
    by_name = select(model).where(model.tenant == bindparam("wanted_tenant"), model.name == bindparam("wanted_id"))
    return _by_id(model), by_name


def find_named(
    session: Session, model: type[NamedT], tenant: str, reference: str, *, what: str, field: str | None = None
) -> NamedT:
    """The voice or face of that id or, where no id matches, of that name.

    Raises:
        LikenessError: NOT_FOUND.
    """
    for query in _by_id_or_name(model):
        record: NamedT | None = session.scalar(query, {"wanted_tenant": tenant, "wanted_id": reference})
        if record is not None:
            return record
    raise LikenessError("NOT_FOUND", f"There is no {what} with the id or name {reference!r}.", field=field)


def get_page(
    session: Session,
    model: type[RecordT],
    tenant: str,
    *conditions: ColumnElement[bool],
    after: str | None,
    limit: int,
) -> Page[RecordT]:
    """At most `limit` records older than the one with the id `after`, newest first."""
    query = select(model).where(model.tenant == tenant, *conditions).order_by(model.id.desc()).limit(limit + 1)
    if after is not None:
        query = query.where(model.id < after)
    records = list(session.scalars(query))
    return Page(records[:limit], has_more=len(records) > limit)


def delete_record(session: Session, record: Record) -> None:
    """Deletes now, so that rows which the record points to can be deleted next."""
    session.delete(record)
    session.flush()
