"""The history of the schema: one file a step in `versions`, run by Alembic. `python -m services.gateway.migrate` is the
command; where the database is SQLite the gateway and its workers run it themselves when they start."""
