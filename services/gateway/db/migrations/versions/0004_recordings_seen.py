"""Hashes of recordings that were here, so that none is a proof of consent twice."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "recording_hashes",
        sa.Column("object_id", sa.String(length=64), nullable=False, primary_key=True),
        sa.Column("position", sa.Integer(), nullable=False, primary_key=True, autoincrement=False),
        sa.Column("hash", sa.Integer(), nullable=False, primary_key=True, autoincrement=False, index=True),
    )


def downgrade() -> None:
    op.drop_table("recording_hashes")
