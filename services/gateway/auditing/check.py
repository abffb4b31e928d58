"""Whether the audit is what was written: every link of the chain, and what anchors say of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, func, select

from services.gateway.auditing.anchors import Anchor
from services.gateway.auditing.chain import FIRST_PREVIOUS, entry_sha256
from services.gateway.db import AuditEntry, Database

MAX_FINDINGS: Final = 100
_READ_AT_ONCE: Final = 1000


@dataclass(frozen=True)
class Finding:
    """One place where the audit is not what was written.

    `what` is one of: missing (entries between this one and the one before it), changed (its hash is another), moved
    (it does not follow the one before it), unreadable, rewritten (an anchor says another hash), cut (an anchor names an
    entry that is not there).
    """

    seq: int
    what: str
    detail: str


@dataclass
class AuditReport:
    """What was checked, and what was found.

    Attributes:
        entries: with a place in the chain.
        unchained: without one: written by an older version, and not yet put into the chain.
        head_seq, head_sha256: the last entry; 0 and zeros where there is none.
    """

    entries: int = 0
    unchained: int = 0
    head_seq: int = 0
    head_sha256: str = FIRST_PREVIOUS
    anchors: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_intact(self) -> bool:
        return not self.findings


def check_audit(database: Database, anchors: Sequence[Anchor] = ()) -> AuditReport:
    """Reads the whole chain, in blocks, and compares it with anchors that were taken of it.

    What was cut off at the end, or written anew from some entry on with fitting hashes, only an anchor shows.
    """
    report = AuditReport(anchors=len(anchors))
    told = {anchor.seq: anchor for anchor in anchors}
    with database.engine.connect() as connection:
        report.unchained = _count_unchained(connection)
        _follow(connection, report, told)
    for anchor in anchors:
        if anchor.seq > report.head_seq:
            _add(report, anchor.seq, "cut", f"On {anchor.taken_at} the chain went up to here.")
    return report


def _follow(connection: Connection, report: AuditReport, told: dict[int, Anchor]) -> None:
    columns = AuditEntry.__table__.columns
    query = select(*columns).where(AuditEntry.seq.is_not(None)).order_by(AuditEntry.seq)
    try:
        rows = connection.execution_options(yield_per=_READ_AT_ONCE).execute(query).mappings()
        for row in rows:
            _check_row(row, report)
            anchor = told.get(report.head_seq)
            if anchor is not None and anchor.sha256 != report.head_sha256:
                detail = f"On {anchor.taken_at} this entry had another hash: history was written anew."
                _add(report, anchor.seq, "rewritten", detail)
    except (ValueError, TypeError) as error:
        _add(report, report.head_seq + 1, "unreadable", f"What follows cannot be read: {error}")


def _check_row(row: Any, report: AuditReport) -> None:
    seq = int(row["seq"])
    report.entries += 1
    if seq != report.head_seq + 1:
        first, last = report.head_seq + 1, seq - 1
        _add(
            report, seq, "missing", f"Entry {first} is missing." if first == last else f"{first} to {last} are missing."
        )
    elif row["previous"] != report.head_sha256:
        _add(report, seq, "moved", f"{row['id']} does not follow the entry before it.")
    if entry_sha256(row) != row["sha256"]:
        _add(report, seq, "changed", f"{row['id']} is not what was written.")
    report.head_seq, report.head_sha256 = seq, str(row["sha256"])


def _count_unchained(connection: Connection) -> int:
    return connection.scalar(select(func.count()).select_from(AuditEntry).where(AuditEntry.seq.is_(None))) or 0


def _add(report: AuditReport, seq: int, what: str, detail: str) -> None:
    if len(report.findings) < MAX_FINDINGS:
        report.findings.append(Finding(seq, what, detail))
