"""What Alembic runs for each command: it is given a connection by `services.gateway.db.engine`."""

from __future__ import annotations

from typing import Literal

from alembic import context

from services.gateway.db.models import Base, UtcDateTime


def _render_item(kind: str, value: object, _context: object) -> str | Literal[False]:
    """New steps say `sa.DateTime(timezone=True)` rather than name a class of today's code."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(value, UtcDateTime) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    render_item=_render_item,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
