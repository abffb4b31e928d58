"""Voices that were adapted: when, and what that measured."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("voices", schema=None) as batch_op:
        batch_op.add_column(sa.Column("adapted_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("adaptation", sa.JSON(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("voices", schema=None) as batch_op:
        batch_op.drop_column("adaptation")
        batch_op.drop_column("adapted_at")
