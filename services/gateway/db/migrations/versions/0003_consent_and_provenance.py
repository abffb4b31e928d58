"""Proofs of consent, protected people, marks, a chained audit."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def _record_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("id", sa.String(length=64), nullable=False, primary_key=True),
        sa.Column("tenant", sa.String(length=64), nullable=False, index=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    ]


def upgrade() -> None:
    op.create_table(
        "consent_challenges",
        *_record_columns(),
        sa.Column("subject", sa.String(length=16), nullable=False),
        sa.Column("who", sa.String(length=200), nullable=False),
        sa.Column("uses", sa.JSON(), nullable=False),
        sa.Column("languages", sa.JSON(), nullable=False),
        sa.Column("task", sa.JSON(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False, index=True),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
    )
    op.create_table(
        "protected",
        *_record_columns(),
        sa.Column("subject", sa.String(length=16), nullable=False),
        sa.Column("who", sa.String(length=200), nullable=False),
        sa.Column("template", sa.LargeBinary(), nullable=False),
        sa.Column("proof", sa.JSON(), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
    )
    op.create_table(
        "marks",
        sa.Column("number", sa.BigInteger(), nullable=False, primary_key=True, autoincrement=False),
        sa.Column("tenant", sa.String(length=64), nullable=False, index=True),
        sa.Column("job_id", sa.String(length=64), nullable=False, index=True),
        sa.Column("consent_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("media_id", sa.String(length=64), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=True, index=True),
    )
    with op.batch_alter_table("consents", schema=None) as batch_op:
        batch_op.add_column(sa.Column("languages", sa.JSON(), nullable=False, server_default="[]"))
        batch_op.add_column(sa.Column("recorded_by", sa.String(length=100), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("evidence_media_id", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("template", sa.LargeBinary(), nullable=True))
        batch_op.add_column(sa.Column("proof", sa.JSON(), nullable=True))
        batch_op.add_column(sa.Column("receipt", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("mark", sa.BigInteger(), nullable=True))
    _number_unfinished_jobs()
    with op.batch_alter_table("audit", schema=None) as batch_op:
        batch_op.add_column(sa.Column("details", sa.JSON(), nullable=True))
        batch_op.add_column(sa.Column("seq", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("previous", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("sha256", sa.String(length=64), nullable=True))
        batch_op.create_index("audit_by_seq", ["seq"], unique=True)


def _number_unfinished_jobs() -> None:
    """Whatever may still make something gets the number that its output will carry."""
    jobs = sa.table("jobs", *map(sa.column, ("id", "tenant", "consent_id", "kind", "state", "mark", "created_at")))
    marks = sa.table("marks", *map(sa.column, ("number", "tenant", "job_id", "consent_id", "kind", "created_at")))
    connection = op.get_bind()
    rows = connection.execute(sa.select(jobs).where(jobs.c.state != "succeeded", jobs.c.kind != "batch")).all()
    numbers: set[int] = set()
    while len(numbers) < len(rows):
        numbers.add(1 + secrets.randbelow(2**32 - 1))
    for row, number in zip(rows, numbers, strict=True):
        connection.execute(
            sa.insert(marks).values(
                number=number,
                tenant=row.tenant,
                job_id=row.id,
                consent_id=row.consent_id,
                kind=row.kind,
                created_at=row.created_at,
            )
        )
        connection.execute(sa.update(jobs).where(jobs.c.id == row.id).values(mark=number))


def downgrade() -> None:
    with op.batch_alter_table("audit", schema=None) as batch_op:
        batch_op.drop_index("audit_by_seq")
        for column in ("sha256", "previous", "seq", "details"):
            batch_op.drop_column(column)
    with op.batch_alter_table("consents", schema=None) as batch_op:
        for column in ("receipt", "proof", "template", "evidence_media_id", "recorded_by", "languages"):
            batch_op.drop_column(column)
    op.drop_column("jobs", "mark")
    op.drop_table("marks")
    op.drop_table("protected")
    op.drop_table("consent_challenges")
