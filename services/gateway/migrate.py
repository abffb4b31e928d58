"""`python -m services.gateway.migrate`: brings the database to this version's schema, the queue's tables included; on a
cluster before an upgrade.

On one machine the gateway does so itself when it starts.
"""

from __future__ import annotations

import sys

from sqlalchemy.exc import SQLAlchemyError

from services.gateway.db import Database, SchemaVersionError, head_revision
from services.gateway.jobs.tables import prepare_tables
from services.gateway.settings import GatewaySettings


def main() -> int:
    database = Database(GatewaySettings().resolved_database_url)
    try:
        database.migrate()
        prepare_tables(database)
    except SchemaVersionError as error:
        print(error, file=sys.stderr)
        return 2
    except SQLAlchemyError as error:
        print(f"The database cannot be migrated: {error}", file=sys.stderr)
        return 1
    finally:
        database.close()
    print(f"The database is at revision {head_revision()}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
